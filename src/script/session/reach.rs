//! What a line would call: whether that may change the world decides if it needs a step in the journal.
//!
//! Calls are followed by name into functions of the session, into closures that its variables hold and into imported
//! modules. Where that cannot tell, the answer is the careful one.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Array, Dynamic, Expr, FnCallExpr, FnPtr, Map, Scope, Stmt};

use super::Nature;
use crate::error::{Error, Exit, Kind};
use crate::script::docs::Doc;
use crate::script::library::Text;

/// What the natives do, by name; methods by their last part.
pub(super) struct Natives {
    functions: BTreeMap<String, Nature>,
    methods: BTreeMap<String, Nature>,
}

impl Natives {
    /// From the natives' own documentation: one that does not say it only reads may change something.
    pub(super) fn of(docs: &[Doc]) -> Self {
        let (mut functions, mut methods) = (BTreeMap::new(), BTreeMap::new());
        for doc in docs.iter().filter(|doc| !doc.name.starts_with("std/")) {
            let nature = match doc.section("Effects") {
                None => Nature::Pure,
                Some(text) if text.starts_with("Reads only.") => Nature::Reads,
                Some(text) if text.starts_with("None") && !text.contains("journalled") => Nature::Pure,
                Some(_) => Nature::Changes,
            };
            match doc.name.split_once('.') {
                Some((_, method)) => methods.insert(method.to_owned(), nature),
                None => functions.insert(doc.name.clone(), nature),
            };
        }
        Self { functions, methods }
    }
}

/// Everything a line can see.
pub(super) struct Scene<'a> {
    pub(super) natives: &'a Natives,
    /// Texts by name, the line's own left out.
    pub(super) texts: Vec<(&'a str, &'a Text)>,
    /// What aliases of imports stand for.
    pub(super) aliases: BTreeMap<&'a str, &'a str>,
    pub(super) scope: &'a Scope<'static>,
}

/// A function to be looked into: the text it is called from (none: the line) and its name.
type Called = (Option<String>, String);

impl Scene<'_> {
    /// The most that `own` would do.
    pub(super) fn nature(&self, own: &Text) -> Nature {
        let mut worst = Nature::Pure;
        let mut open: Vec<Called> = Vec::new();
        for stmt in own.ast.statements() {
            worst = worst.max(self.walk(|on_node| stmt.walk(&mut Vec::new(), on_node), None, &mut open));
        }
        // A closure of the line itself is there to be called.
        let closures = only(&own.ast, |name| name.contains('$'));
        worst = worst.max(self.walk(|on_node| closures.walk(on_node), None, &mut open));
        let mut seen: BTreeSet<Called> = BTreeSet::new();
        while let Some(called) = open.pop() {
            if worst == Nature::Changes {
                return worst;
            }
            if !seen.insert(called.clone()) {
                continue;
            }
            let (from, name) = called;
            let inside =
                self.texts.iter().filter(|(text, _)| from.as_deref() == Some(*text)).map(|(name, text)| (*name, *text));
            let others = self.texts.iter().map(|(name, text)| (*name, *text));
            let texts: Vec<(Option<&str>, &Text)> = if from.is_none() {
                std::iter::once((None, own)).chain(others.map(|(name, text)| (Some(name), text))).collect()
            } else {
                inside.map(|(name, text)| (Some(name), text)).collect()
            };
            for (place, text) in texts {
                let function = only(&text.ast, |function| function == name);
                worst = worst.max(self.walk(|on_node| function.walk(on_node), place, &mut open));
            }
        }
        worst
    }

    fn walk(
        &self,
        walk: impl FnOnce(&mut dyn FnMut(&[ASTNode<'_>]) -> bool) -> bool,
        place: Option<&str>,
        open: &mut Vec<Called>,
    ) -> Nature {
        let mut worst = Nature::Pure;
        walk(&mut |path: &[ASTNode<'_>]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) => {
                    worst = worst.max(self.call(call, false, place, open));
                }
                Some(ASTNode::Expr(Expr::MethodCall(call, _))) => worst = worst.max(self.call(call, true, place, open)),
                Some(ASTNode::Expr(Expr::Variable(variable, ..))) => {
                    let name = variable.1.as_str();
                    // A function can be named without being called: somebody else calls it then.
                    open.push((place.map(str::to_owned), name.to_owned()));
                    self.scope.get(name).into_iter().for_each(|value| closures(value, open, 4));
                }
                Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) => closures(value, open, 4),
                _ => {}
            }
            true
        });
        worst
    }

    fn call(&self, call: &FnCallExpr, method: bool, place: Option<&str>, open: &mut Vec<Called>) -> Nature {
        let name = call.name.as_str();
        if !call.namespace.is_empty() {
            let root = call.namespace.to_string();
            if let Some(native) = self.natives.functions.get(&format!("{root}::{name}")) {
                return softened(*native, call);
            }
            let own = place.and_then(|place| self.texts.iter().find(|(text, _)| *text == place));
            let alias = own.and_then(|(_, text)| text.imports.iter().find(|(alias, _)| *alias == root));
            let target = alias.map(|(_, target)| target.as_str()).or_else(|| self.aliases.get(root.as_str()).copied());
            open.push((target.map(str::to_owned), name.to_owned()));
            return Nature::Pure;
        }
        open.push((place.map(str::to_owned), name.to_owned()));
        let found = if method { None } else { self.natives.functions.get(name) };
        found.or_else(|| self.natives.methods.get(name)).map_or(Nature::Pure, |native| softened(*native, call))
    }
}

/// The functions of a program whose name is wanted, and nothing else.
fn only(ast: &AST, wanted: impl Fn(&str) -> bool) -> AST {
    let mut functions = ast.clone_functions_only();
    functions.retain_functions(|_, _, name, _| wanted(name));
    functions
}

/// A native that changes things only reads if the call says so itself.
fn softened(native: Nature, call: &FnCallExpr) -> Nature {
    let said = |name: &str| {
        call.args.iter().any(|arg| match arg {
            Expr::Map(map, _) => {
                map.0.iter().any(|(key, value)| key.name == name && matches!(value, Expr::BoolConstant(true, _)))
            }
            Expr::DynamicConstant(value, _) => value
                .read_lock::<Map>()
                .is_some_and(|map| map.get(name).is_some_and(|value| value.as_bool() == Ok(true))),
            _ => false,
        })
    };
    if native == Nature::Changes && (said("read_only") || said("dry_run")) { Nature::Reads } else { native }
}

/// The closures in a value.
fn closures(value: &Dynamic, open: &mut Vec<Called>, left: usize) {
    if let Some(closure) = value.read_lock::<FnPtr>() {
        open.push((None, closure.fn_name().to_owned()));
        closure.iter_curry().for_each(|value| closures(value, open, left.saturating_sub(1)));
    } else if let (Some(map), 1..) = (value.read_lock::<Map>(), left) {
        map.values().for_each(|value| closures(value, open, left - 1));
    } else if let (Some(items), 1..) = (value.read_lock::<Array>(), left) {
        items.iter().for_each(|value| closures(value, open, left - 1));
    }
}

/// Options of a step that keep a closure for later.
const HOOKS: [&str; 2] = ["undo", "release"];

/// Refuses steps with hooks: a session keeps no closures that could be called after it.
pub(super) fn refuse_hooks(own: &Text) -> Result<(), Error> {
    let mut found = None;
    own.ast.walk(&mut |path: &[ASTNode<'_>]| {
        let call = match path.last() {
            Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) => call,
            _ => return true,
        };
        if call.name == "step" {
            for arg in &call.args {
                let hook = |key: &str| HOOKS.iter().find(|hook| **hook == key).copied();
                found = found.or(match arg {
                    Expr::Map(map, _) => map.0.iter().find_map(|(key, _)| hook(&key.name)),
                    Expr::DynamicConstant(value, _) => {
                        value.read_lock::<Map>().and_then(|map| map.keys().find_map(|key| hook(key)))
                    }
                    _ => None,
                });
            }
        }
        found.is_none()
    });
    match found {
        None => Ok(()),
        Some(hook) => {
            Err(Error::new(Kind::Unsupported, format!("a session cannot keep the `{hook}` closure of a step"))
                .hint("what natives do is put back by `decamp undo` without it")
                .hint("for more, write a script: :save FILE makes one of this session")
                .exit(Exit::Usage))
        }
    }
}
