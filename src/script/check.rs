//! Finding mistakes in a script without running it.
//!
//! Rhai itself finds unknown variables, never unknown functions: a typo in a branch that runs only when something
//! fails would show at the worst moment. The program is walked without optimisation, so that dead branches are seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rhai::{ASTNode, Engine, Expr, FnCallExpr, OptimizationLevel, Position, Stmt};

use super::library::{Library, MAIN, Origin, Text, functions};
use super::{Script, diagnose, docs, engine, near, params};
use crate::error::Error;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, but is probably not meant.
    Warning,
    /// Would fail, or do something else than it says.
    Error,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File as the user named it.
    pub file: String,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 if unknown.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// Short name of the rule: `syntax`, `unknown-function`, …
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line with a caret, rendered without colour.
    pub snippet: String,
}

/// Functions that run a closure as a step, and the positions of name and body counted from the end.
const STEPS: [&str; 3] = ["step", "fact", "wait_until"];

/// Functions that have a name in the journal and no body.
const MARKS: [&str; 2] = ["approve", "pivot"];

/// Words Rhai itself gives a meaning, which stand in no list of functions.
const KEYWORDS: [&str; 8] = ["Fn", "call", "curry", "type_of", "is_def_var", "is_def_fn", "is_shared", "print"];

/// Checks script files and the modules they import.
pub(super) fn files(paths: &[PathBuf]) -> Vec<Finding> {
    let mut engine = engine::bare();
    engine.set_optimization_level(OptimizationLevel::None);
    let mut findings: Vec<Finding> = paths.iter().flat_map(|path| file(&engine, path)).collect();
    findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    findings.dedup();
    findings
}

fn file(engine: &Engine, path: &Path) -> Vec<Finding> {
    let label = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return vec![whole(&label, "unreadable", format!("cannot be read: {error}"))],
    };
    let script = Script { name: label.clone(), path: Some(path.to_owned()), text };
    let library = match Library::load(engine, &script, &Origin::Files) {
        Ok(library) => library,
        Err(error) => return vec![from_error(&label, "syntax", error)],
    };
    // A standard module is checked when it is named itself.
    let own = library.iter().filter(|(name, _)| !name.starts_with("std/"));
    let mut findings: Vec<Finding> = own.flat_map(|(name, text)| walk(engine, &library, name, text)).collect();
    let is_script = functions(&library.main().ast).any(|def| matches!(def.name, "run" | "params"));
    if is_script && let Err(error) = params::of(engine, &library) {
        findings.push(from_error(&label, "params", error));
    }
    findings
}

fn whole(file: &str, rule: &'static str, message: String) -> Finding {
    let (hint, snippet) = (None, String::new());
    Finding { file: file.to_owned(), line: 0, column: 0, severity: Severity::Error, rule, message, hint, snippet }
}

fn from_error(file: &str, rule: &'static str, error: Error) -> Finding {
    let mut finding = whole(file, rule, error.message.clone());
    finding.hint = error.hints.first().cloned();
    if let Some(snippet) = error.snippet {
        let place = snippet
            .lines()
            .find_map(|line| line.split_once("╭─["))
            .map(|(_, place)| place.trim_end_matches(']').to_owned());
        if let Some([column, line, file]) = place
            .map(|place| place.rsplitn(3, ':').map(str::to_owned).collect::<Vec<_>>())
            .and_then(|parts| <[String; 3]>::try_from(parts).ok())
        {
            finding.line = line.parse().unwrap_or(0);
            finding.column = column.parse().unwrap_or(0);
            finding.file = file;
        }
        finding.snippet = snippet;
    }
    finding
}

/// What can be called in one text.
struct Known {
    /// Natives and Rhai's own functions; methods with a leading dot.
    natives: BTreeMap<String, BTreeSet<usize>>,
    /// The text's own functions.
    own: BTreeMap<String, BTreeSet<usize>>,
    /// Functions of imported modules as `alias::name`.
    imported: BTreeMap<String, BTreeSet<usize>>,
}

impl Known {
    fn of(engine: &Engine, library: &Library, text: &Text) -> Self {
        let table = |text: &Text| {
            let mut table: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
            for def in functions(&text.ast).filter(|def| !def.name.contains('$')) {
                table.entry(def.name.to_owned()).or_default().insert(def.params);
            }
            table
        };
        let mut imported = BTreeMap::new();
        for (alias, target) in &text.imports {
            let functions = library.get(target).map(table).unwrap_or_default();
            imported.extend(functions.into_iter().map(|(name, params)| (format!("{alias}::{name}"), params)));
        }
        Self { natives: docs::arities(engine), own: table(text), imported }
    }

    fn find(&self, name: &str) -> Option<BTreeSet<usize>> {
        let tables = [&self.natives, &self.own, &self.imported];
        let found: Vec<_> = tables.iter().filter_map(|table| table.get(name)).collect();
        (!found.is_empty()).then(|| found.into_iter().flatten().copied().collect())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let plain = self.natives.keys().filter(|name| name.starts_with(|c: char| c.is_alphabetic()));
        plain.chain(self.own.keys()).chain(self.imported.keys()).map(String::as_str)
    }
}

/// The findings of one text.
fn walk(engine: &Engine, library: &Library, name: &str, text: &Text) -> Vec<Finding> {
    let known = Known::of(engine, library, text);
    let mut findings = Vec::new();
    let mut steps: BTreeMap<(usize, String), Position> = BTreeMap::new();
    let mut report = |at: Position, rule: &'static str, message: String, hint: Option<String>| {
        findings.push(Finding {
            file: text.label.clone(),
            line: at.line().unwrap_or(0),
            column: at.position().unwrap_or(0),
            severity: Severity::Error,
            rule,
            message,
            hint,
            snippet: diagnose::snippet(&text.label, &text.text, at),
        });
    };
    text.ast.walk(&mut |path: &[ASTNode<'_>]| {
        let (call, at, method) = match path.last() {
            Some(ASTNode::Stmt(Stmt::FnCall(call, at)) | ASTNode::Expr(Expr::FnCall(call, at))) => (call, *at, false),
            Some(ASTNode::Expr(Expr::MethodCall(call, at))) => (call, *at, true),
            _ => return true,
        };
        if call.op_token.is_none() {
            unknown(&known, call, at, method, &mut report);
            let named = STEPS.contains(&call.name.as_str()) || MARKS.contains(&call.name.as_str());
            if call.namespace.is_empty() && !method && named {
                step(text, path, call, at, &mut steps, &mut report);
            }
        }
        true
    });
    if name == MAIN {
        for def in functions(&text.ast).filter(|def| known.natives.contains_key(def.name) && !def.name.contains('$')) {
            if known.natives[def.name].contains(&def.params) {
                let at = def.start;
                report(
                    at,
                    "shadowed-function",
                    format!("`{}` hides the function of that name", def.name),
                    Some("give it another name".into()),
                );
            }
        }
    }
    findings
}

type Report<'r> = dyn FnMut(Position, &'static str, String, Option<String>) + 'r;

/// A call of a function that does not exist, or with a number of parameters it does not take.
fn unknown(known: &Known, call: &FnCallExpr, at: Position, method: bool, report: &mut Report<'_>) {
    let name = call.name.as_str();
    if name.contains('$') || KEYWORDS.contains(&name) {
        return;
    }
    let full = if call.namespace.is_empty() { name.to_owned() } else { format!("{}::{name}", call.namespace) };
    let given = call.args.len() + usize::from(method);
    let found = if method { known.find(&format!(".{name}")).or_else(|| known.find(name)) } else { known.find(&full) };
    match found {
        None => report(
            at,
            "unknown-function",
            format!("there is no function `{full}`"),
            near::hint(&full, known.names()).filter(|hint| hint.starts_with("did")),
        ),
        // A method may also be a closure kept in a map, or a script function that uses `this`.
        Some(arities) if !(arities.contains(&given) || method && known.own.contains_key(name)) => {
            let takes: Vec<String> =
                arities.iter().map(|count| count.saturating_sub(usize::from(method)).to_string()).collect();
            report(
                at,
                "wrong-arity",
                format!("`{full}` takes {} parameters, not {}", takes.join(" or "), call.args.len()),
                None,
            );
        }
        Some(_) => {}
    }
}

/// A step whose body is no closure, or whose name stands twice in one function.
fn step(
    text: &Text,
    path: &[ASTNode<'_>],
    call: &FnCallExpr,
    at: Position,
    steps: &mut BTreeMap<(usize, String), Position>,
    report: &mut Report<'_>,
) {
    let name = call.name.as_str();
    if let (Some(body), false) = (call.args.last(), MARKS.contains(&name)) {
        let block = match body {
            // A closure with captures is a block that shares them and then makes the closure.
            Expr::Stmt(block) => !block.iter().any(|stmt| matches!(stmt, Stmt::Share(_))),
            _ => false,
        };
        let no_closure = block
            || matches!(
                body,
                Expr::StringConstant(..)
                    | Expr::IntegerConstant(..)
                    | Expr::BoolConstant(..)
                    | Expr::Map(..)
                    | Expr::Array(..)
                    | Expr::Unit(_)
            );
        if no_closure {
            report(
                body.position(),
                "step-body",
                format!("the body of `{name}` is no closure: it would run before the step begins"),
                Some(format!("write {name}(\"name\", || {{ … }})")),
            );
        }
    }
    let keyed = call.args.iter().any(|arg| match arg {
        Expr::Map(map, _) => map.0.iter().any(|(key, _)| key.name == "key"),
        Expr::StringConstant(..) | Expr::FnCall(..) => false,
        Expr::DynamicConstant(value, _) => value.read_lock::<rhai::Map>().is_some_and(|map| map.contains_key("key")),
        _ => false,
    });
    let Some(Expr::StringConstant(step, _)) = call.args.first() else { return };
    if keyed {
        return;
    }
    let looped = path.iter().any(|node| matches!(node, ASTNode::Stmt(Stmt::For(..) | Stmt::While(..) | Stmt::Do(..))));
    if looped {
        report(
            at,
            "step-in-loop",
            format!("the step `{step}` in a loop has no key: the second turn would be refused"),
            Some("give it a key of its own: #{ key: item.id }".into()),
        );
        return;
    }
    // Two steps of one name are fine in two branches; in one straight line the second is refused.
    let owner = functions(&text.ast).position(|def| !def.name.contains('$') && def.holds(at.line()));
    let branched =
        path.iter().any(|node| matches!(node, ASTNode::Stmt(Stmt::If(..) | Stmt::Switch(..) | Stmt::TryCatch(..))));
    let nested = path.len() > 1
        && path[..path.len() - 1].iter().any(|node| match node {
            ASTNode::Stmt(Stmt::FnCall(outer, _)) | ASTNode::Expr(Expr::FnCall(outer, _)) => {
                STEPS.contains(&outer.name.as_str())
            }
            _ => false,
        });
    // An approval and a pivot of one name fail wherever they stand: both are passed, one after the other.
    if (branched || nested) && !MARKS.contains(&name) {
        return;
    }
    if let Some(first) = steps.insert((owner.map_or(usize::MAX, |at| at), step.to_string()), at) {
        report(
            at,
            "duplicate-step",
            format!("a second step of the name `{step}`; the first is in line {}", first.line().unwrap_or(0)),
            Some("give one of them another name, or a `key`".into()),
        );
    }
}
