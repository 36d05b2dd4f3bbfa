//! The Rhai side: finds, checks and runs scripts, and gives them everything they can call.
//!
//! A script has `params()` and `run(p)`. It runs on a thread of its own; what it calls goes through [`api`], where every
//! mutating native is an effect inside a journalled step. The same registration serves every profile ([`profile`]).

mod alive;
pub(crate) mod api;
pub mod check;
mod definitions;
mod diagnose;
pub mod docs;
mod embedded;
mod engine;
mod forget;
mod library;
mod names;
pub(crate) mod near;
pub mod outcome;
pub mod params;
mod place;
pub mod plan_file;
mod profile;
mod release;
mod run;
pub(crate) mod secret;
pub mod session;
mod shape;
pub mod site;
mod story;
mod undo;
mod value;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Exit, Kind};
use crate::journal::{EventRow, Journal, Reader, RunDetail, RunId, Source};
use crate::rate::MaxRate;
use check::Finding;
use docs::Doc;
use library::{Library, Origin};
use outcome::{Call, Outcome};
use params::Param;

/// A script that was found.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its name: `move-tree`, or the file as given.
    pub name: String,
    /// Its file, absolute; none for a shipped script.
    pub path: Option<PathBuf>,
    /// Its text.
    pub text: String,
}

impl Script {
    /// What it is called in messages.
    fn label(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => format!("{}.rhai", self.name),
        }
    }
}

/// Finds a shipped script by name, or a file (anything with a `/` or ending in `.rhai`).
///
/// # Errors
/// `not_found` with the nearest shipped name; `io` if a file cannot be read.
pub fn find(name: &str) -> Result<Script, Error> {
    if name.contains('/') || name.ends_with(".rhai") {
        let failed = |error: std::io::Error| {
            let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("cannot read the script `{name}`")).because(error).exit(Exit::Usage)
        };
        let path = std::path::absolute(api::paths::kept_path(name)?).map_err(failed)?;
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        return Ok(Script { name: name.to_owned(), path: Some(path), text });
    }
    if let Some(text) = embedded::script(name) {
        return Ok(Script { name: name.to_owned(), path: None, text });
    }
    let known = embedded::script_names();
    let error = Error::new(Kind::NotFound, format!("there is no shipped script `{name}`")).exit(Exit::Usage);
    let error = match near::hint(name, known.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error,
    };
    Err(error.hint("a script in a file is named with its path: ./NAME.rhai"))
}

/// The shipped scripts: name and text, by name.
#[must_use]
pub fn shipped() -> Vec<(String, String)> {
    embedded::script_names().into_iter().filter_map(|name| embedded::script(&name).map(|text| (name, text))).collect()
}

/// First line of a script's `//!` documentation, for lists.
#[must_use]
pub fn title(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("//!")).map(|line| line.trim().to_owned()).unwrap_or_default()
}

/// The whole of a script's `//!` documentation.
#[must_use]
pub fn about(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

/// The parameters a script declares.
///
/// # Errors
/// `invalid` if the script does not compile, has no `params()` or `run(p)`, or declares something that is not a parameter.
pub fn params(script: &Script) -> Result<Vec<Param>, Error> {
    run::on_script_thread(|| {
        let engine = engine::bare();
        let library = Library::load(&engine, script, &Origin::Files)?;
        params::of(&engine, &library)
    })
}

/// Runs a script: everything is journalled.
///
/// # Errors
/// As the script failed; the run stays in the journal and can be resumed or undone.
pub fn run(script: &Script, params: Value, call: &Call) -> Result<Outcome, Error> {
    run::on_script_thread(|| run::run(script, &params, call))
}

/// Says what a run would do; changes nothing.
///
/// # Errors
/// As the script failed.
pub fn plan(script: &Script, params: Value, call: &Call) -> Result<Outcome, Error> {
    run::on_script_thread(|| run::plan(script, &params, call))
}

/// A plan that [`plan`] made, in the form it is kept in.
///
/// # Errors
/// If the script cannot be read any more.
pub fn keep_plan(script: &Script, params: &Value, outcome: &Outcome) -> Result<plan_file::KeptPlan, Error> {
    run::on_script_thread(|| run::keep(script, params, outcome))
}

/// Goes on with an unfinished run (`run` is an id, or a unique part of one).
///
/// # Errors
/// As the script failed; `conflict` if it is still running.
pub fn resume(run: &str, call: &Call) -> Result<Outcome, Error> {
    run::on_script_thread(|| run::resume(run, call))
}

/// Says what resuming would do.
///
/// # Errors
/// As [`resume`].
pub fn plan_resume(run: &str, call: &Call) -> Result<Outcome, Error> {
    run::on_script_thread(|| run::plan_resume(run, call))
}

/// Puts back what a run did, newest step first.
///
/// # Errors
/// As the undo failed; it can be repeated.
pub fn undo(run: &str, call: &Call) -> Result<Outcome, Error> {
    run::on_script_thread(|| undo::undo(run, call))
}

/// Says what undo would do.
///
/// # Errors
/// As [`undo`].
pub fn plan_undo(run: &str, call: &Call) -> Result<Outcome, Error> {
    run::on_script_thread(|| undo::plan(run, call))
}

/// Gives a run up: releases its targets, leaves everything as it is.
///
/// # Errors
/// `conflict` if it is still running. If the mark on a target cannot be removed: why; it is abandoned nevertheless.
pub fn abandon(run: &str, call: &Call) -> Result<(), Error> {
    run::on_script_thread(|| forget::abandon(run, call))
}

/// Changes how fast a run may move file content, from beside it.
///
/// # Errors
/// As the journal fails.
pub fn set_rate(state: &Path, run: &RunId, limit: MaxRate) -> Result<(), Error> {
    watch::set_rate(&Journal::open(state)?, run, limit)
}

/// The limit a run's events leave it with; `None`: nobody ever set one.
#[must_use]
pub fn rate_of(events: &[EventRow]) -> Option<MaxRate> {
    events.iter().rev().find_map(watch::rate_of)
}

/// Puts what a run's resumes changed over the parameters it began with; gives back when that was, and what.
///
/// # Errors
/// `internal` if `params` is no map.
pub fn amend(params: &mut Value, events: &[EventRow]) -> Result<Vec<(i64, Value)>, Error> {
    let mut changes = Vec::new();
    for event in events.iter().filter(|event| event.kind == run::AMENDED) {
        if let Some(values) = event.data.as_object() {
            run::amend(params, values)?;
            changes.push((event.at, event.data.clone()));
        }
    }
    Ok(changes)
}

/// The point of no return that a run has passed, if any.
///
/// # Errors
/// `not_found`; as the journal cannot be read.
pub fn pivot(run: &str, call: &Call) -> Result<Option<String>, Error> {
    Ok(run::detail(run, call)?.1.summary.pivot)
}

/// The names of the approvals that stand in the recorded sources of a run.
///
/// # Errors
/// `internal` if the journal does not hold them.
pub fn approvals(found: &RunDetail, sources: &[Source]) -> Result<BTreeSet<String>, Error> {
    run::on_script_thread(|| {
        let library = undo::library(found, sources)?;
        Ok(names::of(&library).1.plain)
    })
}

/// Refuses to say or do anything about an interrupted command that still runs.
///
/// # Errors
/// `conflict` (exit code 7) with its process.
pub fn at_rest(reader: &Reader, found: &RunDetail) -> Result<(), Error> {
    alive::check(reader, found)
}

/// The directory a run was begun in.
#[must_use]
pub fn place(events: &[EventRow]) -> Option<&str> {
    place::of(events)
}

/// Steps of a run that hold something which is given back only by resuming or undoing it.
#[must_use]
pub fn held(events: &[EventRow]) -> Vec<String> {
    release::outstanding(events)
}

/// Checks script files, of a directory all below it; `std/…` imports and relative ones are followed. Gives back how many
/// files were checked, and what was found.
///
/// # Errors
/// `io` or `not_found` if a directory holds no scripts, `internal` if the check itself failed: no findings would look
/// like a clean script.
pub fn check(files: &[PathBuf]) -> Result<(usize, Vec<Finding>), Error> {
    run::on_script_thread(|| check::files(files))
}

/// Checks the text of a script as if it lay at `path`, from which its imports are found.
///
/// # Errors
/// `internal` if the check itself failed.
pub fn check_text(text: &str, path: &Path) -> Result<Vec<Finding>, Error> {
    run::on_script_thread(|| Ok(check::text(text, path)))
}

/// Documentation of every function a script can call, natives first, then the standard modules.
#[must_use]
pub fn docs() -> Vec<Doc> {
    docs::all()
}

/// Definitions of all these for editors: names of files and their texts.
#[must_use]
pub fn definitions() -> Vec<(String, String)> {
    definitions::files()
}

/// Whether a text was made by [`definitions`], so that it may be made again.
#[must_use]
pub fn is_definition(text: &str) -> bool {
    text.starts_with(definitions::HEAD)
}

/// Who runs this: user name and number, and who became that user with sudo.
pub(crate) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    // Without a line in the file the number has to do.
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let own = name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"));
    match std::env::var("SUDO_USER") {
        Ok(user) if !user.is_empty() => format!("{user} as {own}"),
        _ => own,
    }
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
