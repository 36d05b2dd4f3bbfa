//! What a subcommand works with: where results go, how progress is shown, where state is kept, what stops it.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use etcetera::BaseStrategy;
use serde_json::{Value, json};

use super::global::{Format, Global};
use crate::cancel::Cancel;
use crate::error::{Error, Exit, Kind};
use crate::report::json::document;
use crate::report::live::Live;
use crate::report::output::{Output, tell};
use crate::report::style::Style;
use crate::units::path_text;

/// The surroundings of one subcommand.
pub(crate) struct Ctx {
    global: Global,
    output: Arc<Output>,
    /// Style of what goes to standard output.
    pub(crate) out: Style,
    /// Style of what goes to standard error.
    pub(crate) err: Style,
    /// Stops long work.
    pub(crate) cancel: Cancel,
    /// The command line as it was given, in the text form of paths.
    pub(crate) argv: Vec<String>,
    run: OnceLock<String>,
}

impl Ctx {
    pub(crate) fn new(global: Global, args: &[OsString]) -> Self {
        let color = global.color();
        let argv = args.iter().map(|arg| path_text(arg.as_encoded_bytes())).collect();
        Self {
            global,
            output: Arc::default(),
            out: Style::new(color, &stdout()),
            err: Style::new(color, &stderr()),
            cancel: Cancel::new(),
            argv,
            run: OnceLock::new(),
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.global.format()
    }

    /// Begins to show progress.
    pub(crate) fn live(&self) -> Live {
        Live::start(self.global.mode(), Arc::clone(&self.output))
    }

    /// Prints a result: `text` for people, `value` otherwise.
    pub(crate) fn result(&self, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) {
        match self.format() {
            Format::Text => self.output.line(&text()),
            Format::Json => self.output.json(document(value()), true),
            Format::Ndjson => self.output.json(document(json!({ "event": "result", "result": value() })), false),
        }
    }

    /// Prints one item of a list that is shown while it comes: a line of text, or one JSON line.
    pub(crate) fn item(&self, text: impl FnOnce() -> String, event: impl FnOnce() -> Value) {
        match self.format() {
            Format::Text => self.output.line(&text()),
            Format::Json | Format::Ndjson => self.output.json(document(event()), false),
        }
    }

    /// Prints text as it is, whatever the form of output: what another program reads.
    pub(crate) fn raw(&self, text: &str) {
        self.output.line(text);
    }

    /// Whether the reader of standard output has gone away.
    pub(crate) fn closed(&self) -> bool {
        self.output.closed()
    }

    /// Remembers which run a failure belongs to.
    pub(crate) fn note_run(&self, run: &str) {
        self.run.set(run.to_owned()).ok();
    }

    /// Words a failure for people, and for programs where they read.
    pub(crate) fn failure(&self, error: &Error) {
        tell(&error.render(self.err.on()));
        let (run, error) = (self.run.get(), error.to_json());
        match self.format() {
            Format::Text => {}
            Format::Json => self.output.json(document(json!({ "run": run, "error": error })), true),
            Format::Ndjson => {
                self.output.json(document(json!({ "event": "error", "run": run, "error": error })), false);
            }
        }
    }

    /// Ends the command: what could not be written to standard output makes it fail.
    pub(crate) fn finish(&self, exit: Exit) -> Exit {
        match self.output.finish() {
            Ok(()) => exit,
            Err(source) => {
                let error = Error::new(Kind::Io, "cannot write to standard output").because(source);
                tell(&error.render(self.err.on()));
                if exit == Exit::Success { Exit::Failed } else { exit }
            }
        }
    }

    /// Whether somebody is there to be asked: terminals on both sides, and output for people.
    pub(crate) fn interactive(&self) -> bool {
        self.format() == Format::Text && stdin().is_terminal() && stderr().is_terminal()
    }

    /// Where the journal lives.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, Error> {
        let given = self.global.state_dir.clone();
        let named = || std::env::var_os("DECAMP_STATE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        if let Some(dir) = given.or_else(named) {
            return std::path::absolute(&dir).map_err(|source| {
                Error::new(Kind::Invalid, "the state directory is not a usable path")
                    .because(source)
                    .hint("give --state-dir DIR")
            });
        }
        let xdg = etcetera::base_strategy::Xdg::new().ok().and_then(|xdg| xdg.state_dir());
        xdg.map(|dir| dir.join("decamp")).ok_or_else(|| {
            Error::new(Kind::Invalid, "no home directory to keep state in")
                .hint("set DECAMP_STATE_DIR or give --state-dir DIR")
        })
    }

    /// The flag that must be repeated on a command that is to find the same journal; empty if none.
    pub(crate) fn state_flag(&self) -> String {
        self.global.state_dir.as_ref().map_or_else(String::new, |dir| {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
            format!(" --state-dir {}", shell_word(&dir.to_string_lossy()))
        })
    }
}

/// A word as a shell reads it back.
pub(crate) fn shell_word(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}
