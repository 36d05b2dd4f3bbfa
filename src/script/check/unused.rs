//! What is declared and never used: variables, functions, imports; and code that is never reached.

use std::collections::BTreeSet;

use rhai::{ASTFlags, Expr, Stmt};

use super::program::{Def, Module, Node, Program, closure_of, walk};
use super::report::Report;

/// Variables that are declared and never read.
pub(super) fn variables(module: &Module, report: &mut Report) {
    let bodies = module.defs.iter().map(|def| def.body.as_slice()).chain([module.top.as_slice()]);
    for body in bodies {
        let top = std::ptr::eq(body, module.top.as_slice());
        let mut declared = Vec::new();
        let mut read = BTreeSet::new();
        let mut visit = |path: &[Node<'_>]| match path {
            [.., Node::Stmt(Stmt::Var(var, flags, at))] if !flags.contains(ASTFlags::EXPORTED) => {
                let at = if var.0.pos.is_none() { *at } else { var.0.pos };
                declared.push((var.0.name.to_string(), at));
            }
            [.., Node::Stmt(Stmt::Export(export, _))] => {
                read.insert(export.0.name.to_string());
            }
            // What is only assigned is not read.
            [.., Node::Stmt(Stmt::Assignment(set)), Node::Expr(Expr::Variable(..))] if is_target(path, &set.1.lhs) => {}
            [.., Node::Expr(Expr::Variable(name, ..))] => {
                read.insert(name.1.to_string());
            }
            _ => {}
        };
        walk(body, &mut visit);
        if top {
            // A constant of the text is read by its functions as global::NAME.
            module.defs.iter().for_each(|def| walk(&def.body, &mut visit));
            declared.retain(|(name, _)| {
                module.top.iter().any(|stmt| matches!(stmt, Stmt::Var(var, ..) if var.0.name == name.as_str()))
            });
        }
        for (name, at) in declared.into_iter().filter(|(name, _)| !name.starts_with('_') && !read.contains(name)) {
            let hint = "take it out, or begin its name with _";
            report.add(module, at, "unused-variable", format!("`{name}` is never read"), Some(hint.into()));
        }
    }
}

fn is_target(path: &[Node<'_>], target: &Expr) -> bool {
    matches!(path.last(), Some(Node::Expr(expr)) if std::ptr::eq(*expr, target))
}

/// Functions that nobody calls: of a script all but its two, of a module the private ones.
pub(super) fn functions(program: &Program, module: &Module, report: &mut Report) {
    let script = module.name == program.main().name && program.is_script();
    let named = |def: &Def| {
        let mut names = BTreeSet::new();
        names_in(&def.body, &mut names);
        names
    };
    // A function that only calls itself is not used; a closure is part of the function it is made in.
    let mut reached = BTreeSet::new();
    names_in(&module.top, &mut reached);
    reached.extend(["run".to_owned(), "params".to_owned()]);
    if !script {
        reached.extend(module.defs.iter().filter(|def| !def.private && !def.anonymous()).map(|def| def.name.clone()));
    }
    loop {
        let before = reached.len();
        for def in module.defs.iter().filter(|def| reached.contains(&def.name)).map(named).collect::<Vec<_>>() {
            reached.extend(def);
        }
        if reached.len() == before {
            break;
        }
    }
    for def in module.defs.iter().filter(|def| !def.anonymous() && !reached.contains(&def.name)) {
        let message = format!("`{}` is never called", def.name);
        report.add(module, module.name_of(def), "unused-function", message, Some("take it out".into()));
    }
}

/// Every name that is called or mentioned, closures among them.
fn names_in(body: &[Stmt], names: &mut BTreeSet<String>) {
    walk(body, &mut |path: &[Node<'_>]| match path.last() {
        Some(Node::Stmt(Stmt::FnCall(call, _)) | Node::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _))) => {
            names.insert(call.name.to_string());
        }
        Some(Node::Expr(Expr::Variable(name, ..))) => {
            names.insert(name.1.to_string());
        }
        // Fn("name")
        Some(Node::Expr(Expr::StringConstant(text, _))) => {
            names.insert(text.to_string());
        }
        Some(Node::Expr(expr)) => names.extend(closure_of(expr).map(|(name, _)| name)),
        _ => {}
    });
}

/// Imports whose alias is never used.
pub(super) fn imports(module: &Module, report: &mut Report) {
    let mut used = BTreeSet::new();
    let mut imported = Vec::new();
    let mut visit = |path: &[Node<'_>]| match path.last() {
        Some(Node::Stmt(Stmt::FnCall(call, _)) | Node::Expr(Expr::FnCall(call, _))) if !call.namespace.is_empty() => {
            used.insert(call.namespace.root().to_owned());
        }
        Some(Node::Expr(Expr::Variable(name, ..))) if !name.2.is_empty() => {
            used.insert(name.2.root().to_owned());
        }
        Some(Node::Stmt(Stmt::Import(import, at))) => imported.push((import.1.name.to_string(), *at)),
        _ => {}
    };
    walk(&module.top, &mut visit);
    module.defs.iter().for_each(|def| walk(&def.body, &mut visit));
    for (alias, at) in imported.into_iter().filter(|(alias, _)| !used.contains(alias)) {
        let message = format!("the module `{alias}` is never used");
        report.add(module, at, "unused-import", message, Some("take the import out".into()));
    }
}

/// Code behind what leaves the block in every case.
pub(super) fn unreachable(module: &Module, report: &mut Report) {
    let block = |body: &[Stmt], report: &mut Report| {
        let leaves = |stmt: &Stmt| matches!(stmt, Stmt::Return(..) | Stmt::BreakLoop(..));
        let Some(at) = body.iter().position(leaves) else { return };
        let Some(next) = body[at + 1..].iter().find(|stmt| !matches!(stmt, Stmt::Noop(_))) else { return };
        let line = body[at].position().line().unwrap_or(0);
        let message = format!("this is never reached: line {line} leaves before it");
        report.add(module, next.position(), "unreachable-code", message, Some("take it out".into()));
    };
    for body in module.defs.iter().map(|def| def.body.as_slice()).chain([module.top.as_slice()]) {
        block(body, report);
        walk(body, &mut |path: &[Node<'_>]| match path.last() {
            Some(Node::Stmt(Stmt::Block(inner))) => block(inner.statements(), report),
            Some(Node::Expr(Expr::Stmt(inner))) => block(inner.statements(), report),
            Some(Node::Stmt(
                Stmt::If(flow, _) | Stmt::While(flow, _) | Stmt::Do(flow, ..) | Stmt::TryCatch(flow, _),
            )) => {
                block(flow.body.statements(), report);
                block(flow.branch.statements(), report);
            }
            Some(Node::Stmt(Stmt::For(each, _))) => block(each.2.body.statements(), report),
            _ => {}
        });
    }
}
