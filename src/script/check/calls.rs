//! Functions: those that do not exist, are called in another way than they can be, or hide others.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{Engine, Expr, FnCallExpr, Position, Stmt};

use super::program::{Module, Node, Program, walk};
use super::report::Report;
use crate::script::shape::Native;
use crate::script::{docs, near};

/// Words Rhai itself gives a meaning, which stand in no list of functions.
const KEYWORDS: [&str; 8] = ["Fn", "call", "curry", "type_of", "is_def_var", "is_def_fn", "is_shared", "print"];

type Arities = BTreeMap<String, BTreeSet<usize>>;

/// What can be called in one text.
pub(super) struct Known<'k> {
    /// Natives and Rhai's own functions; methods with a leading dot.
    natives: &'k Arities,
    /// The text's own functions.
    own: Arities,
    /// Functions of imported modules as `alias::name`.
    imported: Arities,
}

impl<'k> Known<'k> {
    pub(super) fn of(natives: &'k Arities, program: &Program, module: &Module) -> Self {
        let table = |module: &Module| {
            let mut table = Arities::new();
            for def in module.defs.iter().filter(|def| !def.anonymous()) {
                table.entry(def.name.clone()).or_default().insert(def.params.len());
            }
            table
        };
        let mut imported = Arities::new();
        for (alias, target) in &module.imports {
            let functions = program.module(target).map(table).unwrap_or_default();
            imported.extend(functions.into_iter().map(|(name, params)| (format!("{alias}::{name}"), params)));
        }
        Self { natives, own: table(module), imported }
    }

    fn find(&self, name: &str) -> Option<BTreeSet<usize>> {
        let tables = [self.natives, &self.own, &self.imported];
        let found: Vec<_> = tables.iter().filter_map(|table| table.get(name)).collect();
        (!found.is_empty()).then(|| found.into_iter().flatten().copied().collect())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let plain = self.natives.keys().filter(|name| name.starts_with(|c: char| c.is_alphabetic()));
        plain.chain(self.own.keys()).chain(self.imported.keys()).map(String::as_str)
    }
}

/// Every name with the numbers of parameters it takes.
pub(super) fn arities(engine: &Engine) -> Arities {
    docs::arities(engine)
}

/// Calls of functions that do not exist, or with a number of parameters they do not take.
pub(super) fn unknown(known: &Known<'_>, module: &Module, report: &mut Report) {
    let mut visit = |path: &[Node<'_>]| {
        let (call, at, method) = match path.last() {
            Some(Node::Stmt(Stmt::FnCall(call, at)) | Node::Expr(Expr::FnCall(call, at))) => (call, *at, false),
            Some(Node::Expr(Expr::MethodCall(call, at))) => (call, *at, true),
            _ => return,
        };
        if call.op_token.is_none() {
            one(known, module, call, at, method, report);
        }
    };
    walk(&module.top, &mut visit);
    module.defs.iter().for_each(|def| walk(&def.body, &mut visit));
}

fn one(known: &Known<'_>, module: &Module, call: &FnCallExpr, at: Position, method: bool, report: &mut Report) {
    let at = if call.namespace.is_empty() { at } else { call.namespace.position() };
    let name = call.name.as_str();
    if name.contains('$') || KEYWORDS.contains(&name) {
        return;
    }
    let full = if call.namespace.is_empty() { name.to_owned() } else { format!("{}::{name}", call.namespace) };
    let given = call.args.len() + usize::from(method);
    let found = if method { known.find(&format!(".{name}")).or_else(|| known.find(name)) } else { known.find(&full) };
    match found {
        None => {
            let hint = near::hint(&full, known.names()).filter(|hint| hint.starts_with("did"));
            report.add(module, at, "unknown-function", format!("there is no function `{full}`"), hint);
        }
        // A method may also be a closure kept in a map, or a script function that uses `this`.
        Some(arities) if !(arities.contains(&given) || method && known.own.contains_key(name)) => {
            let takes: Vec<String> =
                arities.iter().map(|count| count.saturating_sub(usize::from(method)).to_string()).collect();
            let message = format!("`{full}` takes {} parameters, not {}", takes.join(" or "), call.args.len());
            report.add(module, at, "wrong-arity", message, None);
        }
        Some(_) => {}
    }
}

/// Functions of the text that hide others: Rhai takes a script's own function first, also where it is called as a method.
pub(super) fn shadowed(known: &Known<'_>, natives: &[Native], module: &Module, report: &mut Report) {
    let method_of = |name: &str| {
        natives.iter().any(|native| native.name().split_once('.').is_some_and(|(_, method)| method == name))
    };
    let own = |name: &str| natives.iter().any(|native| native.name() == name) || method_of(name);
    for def in module.defs.iter().filter(|def| !def.anonymous()) {
        let plain = known.natives.get(&def.name).is_some_and(|takes| takes.contains(&def.params.len()));
        let method = known.natives.get(&format!(".{}", def.name));
        // Called as a method, a script's function has the receiver as `this` and not among its parameters.
        let method = method_of(&def.name) && method.is_some_and(|takes| takes.contains(&(def.params.len() + 1)));
        if plain || method {
            let rule = if own(&def.name) { "shadowed-function" } else { "shadowed-standard" };
            let whose = if own(&def.name) { "decamp's" } else { "Rhai's own" };
            let message = format!("`{}` hides {whose} function of that name", def.name);
            report.add(module, module.name_of(def), rule, message, Some("give it another name".into()));
        }
    }
}
