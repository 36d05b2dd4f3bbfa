//! Slips of the pen that Rhai takes without a word: texts that are not filled in, failures that vanish, values that are
//! lost.

use std::collections::BTreeSet;

use rhai::{ASTFlags, Expr, FlowControl, Stmt};

use super::program::{Def, Module, Node, closure_of, walk};
use super::report::Report;
use crate::script::shape::{Native, Type};

/// `"${name}"`, where `name` is a variable of the text: only back-ticks fill it in.
pub(super) fn interpolation(module: &Module, report: &mut Report) {
    let mut names: BTreeSet<String> = module.defs.iter().flat_map(|def| def.params.clone()).collect();
    let mut texts = Vec::new();
    let mut visit = |path: &[Node<'_>]| match path {
        [.., Node::Stmt(Stmt::Var(var, ..))] => {
            names.insert(var.0.name.to_string());
        }
        [.., Node::Stmt(Stmt::For(each, _))] => {
            names.insert(each.0.name.to_string());
        }
        // A part of a text in back-ticks has been filled in already.
        [.., Node::Expr(Expr::InterpolatedString(..)), Node::Expr(Expr::StringConstant(..))] => {}
        [.., Node::Expr(Expr::StringConstant(text, at))] if text.contains("${") => texts.push((text.to_string(), *at)),
        _ => {}
    };
    walk(&module.top, &mut visit);
    module.defs.iter().for_each(|def| walk(&def.body, &mut visit));
    for (text, at) in texts {
        let meant = text.split("${").skip(1).find_map(|rest| {
            let inside = rest.split_once('}')?.0;
            let first = inside.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
            names.contains(first).then(|| inside.to_owned())
        });
        if let Some(inside) = meant {
            let message = format!("`${{{inside}}}` is left as it is in a text with double quotes");
            report.add(module, at, "plain-interpolation", message, Some("write the text in back-ticks: `…`".into()));
        }
    }
}

/// `catch` blocks that do nothing, or let the failure of a step go by unseen.
pub(super) fn catches(natives: &[Native], module: &Module, report: &mut Report) {
    let named = |name: &str| natives.iter().any(|native| native.name() == name && native.named());
    let mut visit = |path: &[Node<'_>]| {
        let Some(Node::Stmt(Stmt::TryCatch(flow, at))) = path.last() else { return };
        if flow.branch.iter().all(|stmt| matches!(stmt, Stmt::Noop(_))) {
            let hint = "say what is to happen then, or let the failure stop the run";
            report.add(module, *at, "empty-catch", "this `catch` does nothing".into(), Some(hint.into()));
            return;
        }
        if steps_in(flow, &named) && !heeds(flow) {
            let message = "this `catch` neither looks at the failure of a step nor throws it again".to_owned();
            let hint = "catch (e) and look at e.kind; throw e for what is not expected";
            report.add(module, *at, "swallowed-failure", message, Some(hint.into()));
        }
    };
    walk(&module.top, &mut visit);
    module.defs.iter().for_each(|def| walk(&def.body, &mut visit));
}

fn steps_in(flow: &FlowControl, named: &dyn Fn(&str) -> bool) -> bool {
    let mut found = false;
    walk(flow.body.statements(), &mut |path: &[Node<'_>]| {
        if let Some(Node::Stmt(Stmt::FnCall(call, _)) | Node::Expr(Expr::FnCall(call, _))) = path.last() {
            found |= call.namespace.is_empty() && named(&call.name);
        }
    });
    found
}

/// Whether a `catch` reads the failure or throws.
fn heeds(flow: &FlowControl) -> bool {
    let name = match &flow.expr {
        Expr::Variable(name, ..) => Some(name.1.clone()),
        _ => None,
    };
    let mut heeds = false;
    walk(flow.branch.statements(), &mut |path: &[Node<'_>]| match path.last() {
        Some(Node::Stmt(Stmt::Return(_, flags, _))) => heeds |= flags.contains(ASTFlags::BREAK),
        Some(Node::Expr(Expr::Variable(used, ..))) => heeds |= name.as_ref().is_some_and(|name| used.1 == *name),
        _ => {}
    });
    heeds
}

/// Methods that change the value they are called on.
const CHANGERS: [&str; 12] =
    ["push", "append", "insert", "pop", "shift", "remove", "clear", "set", "mixin", "retain", "drain", "truncate"];

/// Closures that natives keep have copies of what they capture: what they change is lost, unless they use it themselves.
pub(super) fn lost(natives: &[Native], module: &Module, report: &mut Report) {
    let runs = |name: &str| {
        let takes = |native: &Native| {
            native.body().is_some() || native.options.iter().any(|option| matches!(option.kind, Type::Closure(_)))
        };
        natives.iter().any(|native| native.name() == name && takes(native))
    };
    let mut kept = Vec::new();
    let mut visit = |path: &[Node<'_>]| {
        let Some(Node::Expr(expr)) = path.last() else { return };
        let Some((name, captures)) = closure_of(expr).filter(|(_, captures)| *captures > 0) else { return };
        let around = path.iter().rev().skip(1).find_map(|node| match node {
            Node::Stmt(Stmt::FnCall(call, _)) | Node::Expr(Expr::FnCall(call, _)) => Some(call),
            _ => None,
        });
        if around.is_some_and(|call| call.namespace.is_empty() && runs(&call.name)) {
            kept.push((name, captures));
        }
    };
    walk(&module.top, &mut visit);
    module.defs.iter().for_each(|def| walk(&def.body, &mut visit));
    for (name, captures) in kept {
        if let Some(def) = module.closure(&name) {
            lost_in(def, captures, module, report);
        }
    }
}

fn lost_in(def: &Def, captures: usize, module: &Module, report: &mut Report) {
    for captured in &def.params[..captures] {
        let (mut changed, mut used, mut own) = (None, false, false);
        walk(&def.body, &mut |path: &[Node<'_>]| match path {
            [.., Node::Stmt(Stmt::Var(var, ..))] => own |= var.0.name == captured.as_str(),
            [.., Node::Stmt(Stmt::Assignment(set))] if root(&set.1.lhs) == Some(captured) => {
                changed.get_or_insert(set.1.lhs.start_position());
            }
            [.., Node::Expr(Expr::Dot(pair, ..))] if changes(&pair.rhs) && root(&pair.lhs) == Some(captured) => {
                changed.get_or_insert(pair.lhs.start_position());
            }
            [before @ .., Node::Expr(Expr::Variable(name, ..))] if name.1 == captured.as_str() => {
                used |= !before.iter().any(|node| match node {
                    Node::Stmt(Stmt::Assignment(set)) => root(&set.1.lhs) == Some(captured),
                    Node::Expr(Expr::Dot(pair, ..)) => changes(&pair.rhs) && root(&pair.lhs) == Some(captured),
                    _ => false,
                });
            }
            _ => {}
        });
        if let (Some(at), false, false) = (changed, used, own) {
            let message = format!("`{captured}` is changed in a copy: the closure keeps the value it had");
            let hint = "give the value back from the closure: let x = step(\"name\", || …)";
            report.add(module, at, "lost-assignment", message, Some(hint.into()));
        }
    }
}

fn changes(method: &Expr) -> bool {
    matches!(method, Expr::MethodCall(call, _) if CHANGERS.contains(&call.name.as_str()))
}

/// The variable that `a.b[c]` is a part of.
fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Variable(name, ..) => Some(name.1.as_str()),
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => root(&pair.lhs),
        _ => None,
    }
}
