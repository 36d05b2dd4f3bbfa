//! `decamp repl`: the functions scripts use, one line at a time.
//!
//! | file | noun |
//! |---|---|
//! | `shell` | one session with a person or a pipe: what a line does |
//! | `command` | what begins with a colon |
//! | `editor` `prompt` `history` `reader` | typing on a terminal |
//! | `complete/` `highlight` | what could come next, and colours |
//! | `show` | results as text |
//! | `save/` | the session as a script |
//! | `interrupt` `quiet` `word` | signals · keys typed ahead · the question before what cannot be taken back |
//!
//! A line runs on the thread of the script; the one that reads waits for it, and signals come to a third, so that
//! Ctrl-C stops the line and nothing else.

mod command;
mod complete;
mod editor;
mod highlight;
mod history;
mod interrupt;
mod plain;
mod prompt;
mod quiet;
mod reader;
mod save;
mod shell;
mod show;
mod word;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::cancel::Cancel;
use crate::error::{Error, Exit};
use crate::report::live::Live;
use crate::report::style::Style;
use crate::script::outcome::{Ask, Say};
use crate::script::session::Mode;

/// How results are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text for people.
    Text,
    /// One document when all lines are done.
    Json,
    /// One JSON line a result.
    Ndjson,
}

/// Where lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A person at a terminal.
    Terminal,
    /// Standard input, to its end.
    Pipe,
    /// The command line.
    Lines(Vec<String>),
}

/// Finds who answers approvals while a line runs that the token stops.
pub type Asker<'s> = dyn Fn(&Arc<Live>, &Cancel) -> Option<Arc<dyn Ask>> + 's;

/// Everything a session needs from outside.
pub struct Setup<'s> {
    /// Where the journal and the history live.
    pub state: PathBuf,
    /// Where lines come from.
    pub input: Input,
    /// How the session begins.
    pub mode: Mode,
    /// Nothing may be changed, whatever is typed; commands that are declared to only read still run.
    pub read_only: bool,
    /// Answers the question before what cannot be taken back.
    pub yes: bool,
    /// Approvals granted in advance.
    pub approve: Vec<String>,
    /// The command line, for the record.
    pub argv: Vec<String>,
    /// How results are given.
    pub form: Form,
    /// Style of results.
    pub out: Style,
    /// Style of everything else.
    pub err: Style,
    /// The terminal can move its cursor.
    pub redraws: bool,
    /// Prints a result.
    pub print: &'s dyn Fn(&str),
    /// Prints one result for programs, and the document of all at the end.
    pub emit: &'s dyn Fn(Value),
    /// Words a failure for people.
    pub tell: &'s dyn Fn(&Error),
    /// Begins to show progress.
    pub live: &'s dyn Fn() -> Live,
    /// Words what happens meanwhile.
    pub line: fn(Say<'_>) -> String,
    /// Who answers approvals, if somebody can.
    pub ask: &'s Asker<'s>,
    /// Runs another subcommand that only looks: `runs`, `show`, `log`, `docs`.
    pub command: &'s dyn Fn(&[&str]) -> Result<Exit, Error>,
}

/// Reads lines and evaluates them until there are no more.
///
/// # Errors
/// The failure of the first bad line, where no person is there to go on after it; what ending the session's run failed
/// with.
pub fn run(setup: &Setup<'_>) -> Result<Exit, Error> {
    let interrupt = interrupt::Interrupt::watch(setup.input == Input::Terminal)?;
    let mut shell = shell::Shell::new(setup, &interrupt);
    let read = match &setup.input {
        Input::Terminal if setup.redraws => editor::read(&mut shell),
        Input::Terminal => plain::prompted(&mut shell),
        Input::Pipe => plain::piped(&mut shell),
        Input::Lines(lines) => lines.iter().try_for_each(|line| shell.line(line).map(drop)),
    };
    shell.close(read)
}
