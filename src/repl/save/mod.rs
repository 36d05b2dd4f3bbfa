//! The session as a script: its good lines in order, so that `check` accepts them and a run can be resumed.
//!
//! What changes something becomes a step, what is read becomes a fact, paths become parameters with the typed value as
//! default, imports and functions stand on top. Lines that only looked are notes; what nothing uses is left out.

mod lift;
mod statement;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use lift::Lifted;
use statement::{Kind, Statement};

use crate::error::{Error, Exit, Kind as Failure};
use crate::redact;
use crate::script::check::Severity;
use crate::script::session::lex::{Part, tokens};
use crate::script::session::{Nature, Session};

/// Functions that keep their own place in the journal.
const FLOW: [&str; 7] = ["step", "fact", "parallel", "wait_until", "approve", "pivot", "note"];

/// A session as a script, and the lines that found no place in it.
pub(super) struct Saved {
    pub(super) text: String,
    /// Why, and the line.
    pub(super) left: Vec<(String, String)>,
}

/// The session as a script that lies at `path`. What `check` would refuse is left out as a comment, with all that
/// depends on it: a script that does something else than the session did would be worse than one that does less.
///
/// # Errors
/// `invalid` if there is nothing worth saving.
pub(super) fn script(session: &Session, path: &Path) -> Result<Saved, Error> {
    let mut all = statement::all(session.good());
    used(session, &mut all);
    if all.iter().all(|one| one.kind == Kind::Import) {
        let message = "there is nothing to save: no line changed, read or defined anything";
        return Err(Error::new(Failure::Invalid, message).exit(Exit::Failed));
    }
    let mut left: Left = BTreeMap::new();
    for (at, one) in all.iter().enumerate() {
        if redact::spoken(&one.text).is_some() || redact::text(&one.text) != one.text {
            left.insert(at, "it holds the value of a secret".to_owned());
        }
    }
    loop {
        depending(&all, &mut left);
        let (text, places) = whole(session, &all, &left);
        let Some((line, rule)) = refused(&text, path)? else {
            let named = |(at, why): (usize, String)| (why, redact::owned(all[at].text.clone()));
            return Ok(Saved { text, left: left.into_iter().map(named).collect() });
        };
        let found = places.get(line.saturating_sub(1)).copied().flatten().filter(|at| !left.contains_key(at));
        // A finding that belongs to no line: the last one goes, until there is none.
        let last = || (0..all.len()).rev().find(|at| !left.contains_key(at));
        match found.or_else(last) {
            Some(at) => left.insert(at, format!("check refuses it: {rule}")),
            None => {
                return Err(Error::new(Failure::Internal, format!("no script of this session is accepted: {rule}")));
            }
        };
    }
}

/// Statements that are left out, and why.
type Left = BTreeMap<usize, String>;

/// The first error of a script: its line and rule.
fn refused(text: &str, path: &Path) -> Result<Option<(usize, &'static str)>, Error> {
    let found = crate::script::check_text(text, path)?;
    Ok(found.into_iter().find(|one| one.severity == Severity::Error).map(|one| (one.line, one.rule)))
}

/// Leaves out what uses a variable or function that something left out would have made or changed.
fn depending(all: &[Statement], left: &mut Left) {
    let mut missing: Vec<String> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        if let (Kind::Let(name), false) = (&one.kind, left.contains_key(&at)) {
            // It is made anew, unless of itself.
            if !names_it(one.value(), name) {
                missing.retain(|other| other != name);
            }
        }
        let lacks = missing.iter().find(|name| one.kind != Kind::Function && one.uses(name));
        if let (Some(name), false) = (lacks, left.contains_key(&at)) {
            left.insert(at, format!("it uses `{name}`, which is not there"));
        }
        if left.contains_key(&at) {
            missing.extend(one.touches());
        }
    }
}

/// The script, and for each of its lines the statement it comes from.
fn whole(session: &Session, all: &[Statement], left: &Left) -> (String, Vec<Option<usize>>) {
    let mut lifted = Lifted::new(session, all);
    let mut names = Names::default();
    let mut body: Vec<(usize, String)> = Vec::new();
    let out_of = |at: usize, why: &str| {
        let mut lines = vec![format!("// left out, {why}:")];
        lines.extend(redact::text(&all[at].text).lines().map(|line| format!("//     {line}")));
        lines.join("\n")
    };
    for (at, one) in all.iter().enumerate().filter(|(_, one)| one.kind != Kind::Import) {
        match (left.get(&at), &one.kind) {
            (Some(why), _) => body.push((at, out_of(at, why))),
            (None, Kind::Function) => {}
            (None, _) => body.extend(written(session, one, &mut lifted, &mut names).into_iter().map(|text| (at, text))),
        }
    }
    let mut out: Vec<(Option<usize>, String)> = Vec::new();
    let mut say = |at: Option<usize>, text: &str| out.extend(text.split('\n').map(|line| (at, line.to_owned())));
    say(
        None,
        "//! Saved from an interactive session.\n//!\n//! Paths are parameters; their defaults are what was typed.",
    );
    let kept = |kind: Kind| all.iter().enumerate().filter(move |(at, one)| one.kind == kind && !left.contains_key(at));
    let imports: Vec<_> = kept(Kind::Import).collect();
    if !imports.is_empty() {
        say(None, "");
    }
    for (at, import) in imports {
        say(Some(at), &format!("{};", import.text));
    }
    say(None, &format!("\nfn params() {{ #{{\n{}}} }}", lifted.declared()));
    say(None, &format!("\nfn run({}) {{", lifted.argument()));
    for (at, text) in &body {
        for line in text.lines() {
            say(Some(*at), format!("    {line}").trim_end());
        }
    }
    say(None, "}");
    for (at, function) in kept(Kind::Function) {
        say(None, "");
        say(Some(at), &function.text);
    }
    let (places, lines): (Vec<_>, Vec<_>) = out.into_iter().unzip();
    (lines.join("\n") + "\n", places)
}

/// Leaves out what nothing uses: from the end, so that what only it used goes as well.
fn used(session: &Session, all: &mut Vec<Statement>) {
    let mut at = all.len();
    while let Some(next) = at.checked_sub(1) {
        at = next;
        let one = &all[at];
        let later = |name: &str| {
            let functions = all[..at].iter().filter(|one| one.kind == Kind::Function);
            all[at + 1..].iter().chain(functions).any(|other| other.uses(name))
        };
        let keep = match (&one.kind, session.nature(&one.text)) {
            (Kind::Import, _) => {
                let alias = one.text.split_whitespace().next_back().unwrap_or_default();
                let elsewhere = all[..at].iter().all(|other| other.text != one.text);
                elsewhere && all.iter().enumerate().any(|(place, other)| place != at && other.uses(alias))
            }
            // The latest of a name counts.
            (Kind::Function, _) => {
                let head = one.head();
                let name = head.split('/').next().unwrap_or_default();
                let others = || all.iter().enumerate().filter(|(place, _)| *place != at);
                let called = others().any(|(_, other)| other.uses(name));
                let alone = all.iter().all(|other| matches!(other.kind, Kind::Function | Kind::Import));
                let latest = !all[at + 1..].iter().any(|other| other.kind == Kind::Function && other.head() == head);
                latest && (called || alone)
            }
            (_, Nature::Changes) => at == 0 || all[at - 1].text != one.text || one.flows(),
            (Kind::Let(name), Nature::Pure) => later(name),
            (Kind::Let(name), Nature::Reads) if !later(name) => {
                // Looked at and not used: a note says what was seen.
                let (data, value) = (session.is_data(name), one.value().to_owned());
                all[at] = Statement { text: value, kind: Kind::Expression, data };
                data
            }
            (Kind::Let(_), Nature::Reads) => true,
            (Kind::Assign(name), _) => later(name),
            (Kind::Block, _) => true,
            (Kind::Expression, nature) => nature == Nature::Reads && one.data || one.flows(),
        };
        if !keep {
            all.remove(at);
        }
    }
}

/// The lines of one statement in the script.
fn written(session: &Session, one: &Statement, lifted: &mut Lifted<'_>, names: &mut Names) -> Vec<String> {
    let nature = session.nature(&one.text);
    if one.flows() {
        return vec![format!("{};", lifted.lift(&one.text, None))];
    }
    if let (Kind::Let(name), true) = (&one.kind, nature == Nature::Pure) {
        let text = lifted.lift(&one.text, Some(name));
        // What is a parameter is no constant.
        let text = text.strip_prefix("const ").map_or_else(|| text.clone(), |rest| format!("let {rest}"));
        return vec![format!("{text};")];
    }
    let head = one.text.strip_suffix(one.value()).unwrap_or_default().to_owned();
    let value = lifted.lift(one.value(), None);
    match (&one.kind, nature) {
        // A step keeps data; a secret or a closure is made anew.
        (Kind::Let(variable), Nature::Changes) if !session.is_data(variable) => {
            vec![format!("let {variable} = {value};")]
        }
        (Kind::Block, Nature::Changes) => {
            block(one, &lifted.lift(&one.text, None), names.fresh(&statement::name(session, one)))
        }
        (_, Nature::Changes) => {
            let name = names.fresh(&statement::name(session, one));
            vec![format!("{head}step(\"{name}\", || {value});")]
        }
        (Kind::Let(variable), Nature::Reads) if session.is_data(variable) => {
            vec![format!("{head}fact(\"{}\", || {value});", names.fresh(variable))]
        }
        (Kind::Expression, _) => {
            let name = names.fresh(&statement::name(session, one));
            vec![format!("note(\"{name}\", fact(\"{name}\", || {value}));")]
        }
        (Kind::Block, _) => vec![lifted.lift(&one.text, None)],
        _ => vec![format!("{head}{value};")],
    }
}

/// A block that changes something, as one step: what it assigns outside itself comes back as the step's result, because
/// a closure works on copies.
fn block(one: &Statement, text: &str, name: String) -> Vec<String> {
    let inner: String = text.lines().map(|line| format!("    {line}\n")).collect();
    let assigned = one.assigned();
    match assigned.as_slice() {
        [] => vec![format!("step(\"{name}\", || {{\n{inner}}});")],
        [only] => vec![format!("{only} = step(\"{name}\", || {{\n    let {only} = {only};\n{inner}    {only}\n}});")],
        many => {
            let own: String = many.iter().map(|variable| format!("    let {variable} = {variable};\n")).collect();
            let map: Vec<String> = many.iter().map(|variable| format!("{variable}: {variable}")).collect();
            let kept = format!("kept_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
            let mut lines =
                vec![format!("let {kept} = step(\"{name}\", || {{\n{own}{inner}    #{{ {} }}\n}});", map.join(", "))];
            lines.extend(many.iter().map(|variable| format!("{variable} = {kept}.{variable};")));
            lines
        }
    }
}

/// Names that were given: a second one of a kind gets a number.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while self.0.contains(&name) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        self.0.push(name.clone());
        name
    }
}

/// Whether `name` is a word of `text` that stands for a variable, a function or a module.
fn names_it(text: &str, name: &str) -> bool {
    let all: Vec<_> = tokens(text).into_iter().filter(|token| token.part != Part::Space).collect();
    all.iter().enumerate().any(|(at, token)| {
        let before = at.checked_sub(1).map(|before| all[before].of(text));
        token.part == Part::Word && token.of(text) == name && !matches!(before, Some("." | "?."))
    })
}

/// Writes the script; a file that is there is only replaced if that was said.
///
/// # Errors
/// `exists` with the way to replace it; `io`.
pub(super) fn write(path: &Path, text: &str, replace: bool) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true);
    if replace {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return Error::new(Failure::Exists, format!("`{}` exists", path.display()))
                .hint(format!("to replace it: :save! {}", path.display()));
        }
        Error::new(Failure::Io, format!("cannot write `{}`", path.display())).because(error)
    };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
