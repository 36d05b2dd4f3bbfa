//! Paths that were typed, as parameters of the script.

use super::statement::{Statement, words};
use crate::repl::complete::parameters;
use crate::script::docs::Doc;
use crate::script::session::Session;
use crate::script::session::lex::{Part, Token};

/// Names that flags of `decamp run` have already.
const TAKEN: [&str; 12] =
    ["help", "plan", "yes", "approve", "exit_code", "output", "progress", "state_dir", "color", "set", "site", "until"];

/// Names of positional parameters that say nothing about what is given.
const VAGUE: [&str; 6] = ["path", "argv", "opts", "name", "text", "body"];

struct Parameter {
    name: String,
    kind: &'static str,
    /// The literal as it was typed, quotes included.
    value: String,
}

/// The parameters found so far.
pub(super) struct Lifted<'s> {
    session: &'s Session,
    argument: &'static str,
    found: Vec<Parameter>,
}

impl<'s> Lifted<'s> {
    pub(super) fn new(session: &'s Session, all: &[Statement]) -> Self {
        let free = ["p", "given", "parameters"].into_iter().find(|name| !all.iter().any(|one| one.uses(name)));
        Self { session, argument: free.unwrap_or("given_parameters"), found: Vec::new() }
    }

    /// What the script calls its parameters.
    pub(super) fn argument(&self) -> &str {
        self.argument
    }

    /// `text` with the paths in it replaced. With `variable`, a text that is all of its value is one as well.
    pub(super) fn lift(&mut self, text: &str, variable: Option<&str>) -> String {
        let all = words(text);
        let (mut out, mut from) = (String::new(), 0);
        for (at, token) in all.iter().enumerate() {
            let literal = token.of(text);
            let plain = token.part == Part::Text && literal.starts_with('"') && !literal.contains('\\');
            let key = all.get(at + 1).is_some_and(|next| next.of(text) == ":");
            let content = literal.trim_matches('"');
            let path = ["/", "./", "../"].iter().any(|lead| content.starts_with(lead));
            let whole = variable.is_some() && all.len() == 4 && at == 3;
            // Part of a longer text: what stands for a path is made of it later.
            let beside = |at: Option<usize>| at.and_then(|at| all.get(at)).map_or("", |token| token.of(text));
            let fragment = beside(at.checked_sub(1)) == "+" || beside(Some(at + 1)) == "+";
            let path = !fragment && (path || self.path_argument(text, &all, at));
            if !plain || key || !(path || whole) {
                continue;
            }
            let name = match variable {
                Some(name) if whole => name.to_owned(),
                _ => self.name(text, &all, at).unwrap_or_else(|| base(content)),
            };
            let name = self.parameter(&name, if path { "path" } else { "string" }, literal);
            out.push_str(&text[from..token.start]);
            out.push_str(&format!("{}.{name}", self.argument));
            from = token.end;
        }
        out + &text[from..]
    }

    fn parameter(&mut self, wanted: &str, kind: &'static str, value: &str) -> String {
        if let Some(known) = self.found.iter().find(|known| known.value == value && known.kind == kind) {
            return known.name.clone();
        }
        // Flags are written in small letters.
        let wanted = wanted.to_lowercase();
        let wanted = wanted.trim_matches('_');
        let wanted = if TAKEN.contains(&wanted) { format!("{wanted}_value") } else { wanted.to_owned() };
        let mut name = wanted.clone();
        let mut number = 1;
        while self.found.iter().any(|known| known.name == name) {
            number += 1;
            name = format!("{wanted}_{number}");
        }
        self.found.push(Parameter { name: name.clone(), kind, value: value.to_owned() });
        name
    }

    /// Whether the literal at `at` is all of an argument that is declared to be a path.
    fn path_argument(&self, text: &str, all: &[Token], at: usize) -> bool {
        let ends = all.get(at + 1).is_some_and(|next| matches!(next.of(text), "," | ")"));
        let begins = at.checked_sub(1).is_some_and(|before| matches!(all[before].of(text), "(" | ","));
        let declared = |doc: &Doc, name: &str| {
            let kinds = ["path", "endpoint"].map(|kind| format!("{name}: {kind}"));
            doc.signatures.iter().any(|signature| kinds.iter().any(|kind| signature.contains(kind)))
        };
        ends && begins && self.called(text, all, at).is_some_and(|(doc, named)| declared(doc, &named))
    }

    /// What the literal at `at` is called: the option it is the value of, or the parameter it is given for.
    fn name(&self, text: &str, all: &[Token], at: usize) -> Option<String> {
        if at >= 2 && all[at - 1].of(text) == ":" && all[at - 2].part == Part::Word {
            return Some(all[at - 2].of(text).to_owned());
        }
        self.called(text, all, at).map(|(_, named)| named).filter(|named| !VAGUE.contains(&named.as_str()))
    }

    /// The function that is given the literal at `at`, and for which parameter.
    fn called(&self, text: &str, all: &[Token], at: usize) -> Option<(&'s Doc, String)> {
        let session: &'s Session = self.session;
        let (mut depth, mut position) = (0_usize, 0_usize);
        for back in (0..at).rev() {
            match all[back].of(text) {
                ")" | "]" | "}" => depth += 1,
                "(" if depth == 0 => {
                    let name = all.get(back.checked_sub(1)?)?.of(text);
                    let space = back.checked_sub(3).filter(|_| back >= 3 && all[back - 2].of(text) == "::");
                    let full =
                        space.map_or_else(|| name.to_owned(), |space| format!("{}::{name}", all[space].of(text)));
                    let doc = session.docs().iter().find(|doc| doc.name == full)?;
                    let named = parameters(doc.signatures.first()?).into_iter().nth(position)?;
                    return Some((doc, named));
                }
                "[" | "{" | "#{" if depth == 0 => return None,
                "(" | "[" | "{" | "#{" => depth -= 1,
                "," if depth == 0 => position += 1,
                _ => {}
            }
        }
        None
    }

    /// The lines that declare them.
    pub(super) fn declared(&self) -> String {
        let line = |known: &Parameter| {
            let help = if known.kind == "path" { "a path of the session" } else { "a text of the session" };
            format!(
                "    {}: #{{ type: \"{}\", \"default\": {}, help: \"{help}\" }},\n",
                known.name, known.kind, known.value
            )
        };
        self.found.iter().map(line).collect()
    }
}

/// A name made of the last part of a path.
fn base(path: &str) -> String {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let name = name.trim_matches('_');
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name.to_owned() } else { "location".to_owned() }
}
