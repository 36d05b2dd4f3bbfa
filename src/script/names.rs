//! The names a script gives to its steps and approvals, as far as they stand in it as plain texts: what a flag may
//! mean is known before anything runs.

use std::collections::BTreeSet;

use rhai::{ASTNode, Expr, FnCallExpr, Stmt};

use super::library::Library;
use super::near;
use super::outcome::{Call, Say};
use crate::error::{Error, Exit, Kind};

/// Functions whose first argument is the name of a step.
const STEPS: [&str; 5] = ["step", "fact", "wait_until", "approve", "pivot"];

/// The names of one sort.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those that stand in the script.
    pub(super) plain: BTreeSet<String>,
    /// Others are put together while it runs.
    pub(super) computed: bool,
}

impl Names {
    fn take(&mut self, name: Option<&Expr>) {
        match name {
            Some(Expr::StringConstant(name, _)) => {
                self.plain.insert(name.to_string());
            }
            _ => self.computed = true,
        }
    }

    /// Whether `name` is one of them; `None` if that cannot be told.
    fn has(&self, name: &str) -> Option<bool> {
        if self.plain.contains(name) { Some(true) } else { (!self.computed).then_some(false) }
    }

    fn unknown(&self, what: &str, name: &str) -> Error {
        let error = Error::new(Kind::NotFound, format!("the script has no {what} `{name}`")).exit(Exit::Usage);
        match near::hint(name, self.plain.iter().map(String::as_str)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Every name in a script and its modules: of steps, and of approvals alone.
pub(super) fn of(library: &Library) -> (Names, Names) {
    let (mut steps, mut approvals) = (Names::default(), Names::default());
    for (_, text) in library.iter() {
        text.ast.walk(&mut |path: &[ASTNode<'_>]| {
            let call = match path.last() {
                Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) => call,
                _ => return true,
            };
            let name = call.name.as_str();
            if call.namespace.is_empty() && call.op_token.is_none() {
                if STEPS.contains(&name) {
                    steps.take(call.args.first());
                }
                if name == "approve" {
                    approvals.take(call.args.first());
                }
                if name == "parallel" {
                    group(call, &mut steps);
                }
            }
            true
        });
    }
    (steps, approvals)
}

/// The name of a `parallel` stands in its options.
fn group(call: &FnCallExpr, steps: &mut Names) {
    match call.args.get(1).filter(|_| call.args.len() == 3) {
        None => {
            steps.plain.insert("parallel".to_owned());
        }
        Some(Expr::Map(map, _)) => match map.0.iter().find(|(key, _)| key.name == "name") {
            Some((_, name)) => steps.take(Some(name)),
            None => {
                steps.plain.insert("parallel".to_owned());
            }
        },
        Some(Expr::DynamicConstant(options, _)) => {
            let options = options.read_lock::<rhai::Map>();
            let name = options.and_then(|options| options.get("name").map(ToString::to_string));
            steps.plain.insert(name.unwrap_or_else(|| "parallel".to_owned()));
        }
        Some(_) => steps.computed = true,
    }
}

/// Refuses flags that name what the script does not have, before anything begins.
pub(super) fn check(library: &Library, call: &Call) -> Result<(), Error> {
    let (steps, approvals) = of(library);
    let doubtful = |flag: &str, name: &str| {
        let text =
            format!("note: no `{name}` stands in the script; {flag} has an effect only if the script makes that name");
        (call.say)(Say::Line(&text));
    };
    for name in &call.approve {
        match approvals.has(step_name(name)) {
            Some(true) => {}
            Some(false) => return Err(approvals.unknown("approval", name)),
            None => doubtful("--approve", name),
        }
    }
    if let Some(until) = &call.until {
        match steps.has(step_name(until)) {
            Some(true) => {}
            Some(false) => {
                let error = steps.unknown("step", until);
                return Err(error.hint("--until takes NAME, or NAME[KEY] for one step of a loop"));
            }
            None => doubtful("--until", until),
        }
    }
    Ok(())
}

/// The name of the step in its key: `swap` in `move[a/b]/swap[c]`.
pub(super) fn step_name(key: &str) -> &str {
    let mut depth = 0_u32;
    let mut start = 0;
    for (at, byte) in key.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b'/' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    let last = &key[start..];
    last.split_once('[').map_or(last, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::script::library::Origin;
    use crate::script::{Script, engine};

    fn names(text: &str) -> (Names, Names) {
        let script =
            Script { name: "x".into(), path: None, text: format!("fn params() {{ #{{}} }} fn run(p) {{ {text} }}") };
        of(&Library::load(&engine::bare(), &script, &Origin::Files).unwrap())
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        let (steps, approvals) = names(
            r#"if p.x { step("a", || fact("b", || 1)); approve("go"); }
               parallel([1], |n| step("c", #{ key: "k" }, || n)); parallel([1], #{ name: "many" }, |n| n);"#,
        );
        assert_eq!(
            steps.plain.iter().map(String::as_str).collect::<Vec<_>>(),
            ["a", "b", "c", "go", "many", "parallel"]
        );
        assert_eq!((steps.computed, approvals.computed), (false, false));
        assert_eq!(approvals.plain.iter().map(String::as_str).collect::<Vec<_>>(), ["go"]);
        let (steps, approvals) = names("let n = p.x; step(`a ${n}`, || 1); approve(n);");
        assert!(steps.computed && approvals.computed);
    }

    #[test]
    fn the_name_is_the_last_part_of_a_key() {
        for (key, name) in [("a", "a"), ("swap[x/y]", "swap"), ("move[/srv/a]/copy", "copy"), ("a/b[c[d]/e]", "b")] {
            assert_eq!(step_name(key), name, "{key}");
        }
    }
}
