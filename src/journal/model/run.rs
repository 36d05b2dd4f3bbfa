//! Runs: their names, what creates and what ends one.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::journal::words::words;

/// The name of a run: a UUID of version 7, so that names sort by the time of creation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RunId(pub(in crate::journal) String);

impl RunId {
    /// A name nobody has yet.
    pub(in crate::journal) fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// The run of that name; `None` if no run can have it.
    pub(in crate::journal) fn named(name: &str) -> Option<Self> {
        let id = uuid::Uuid::parse_str(name).ok()?;
        (id.to_string() == name).then(|| Self(name.to_owned()))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last eight characters: the random part, enough to tell runs apart at a glance.
    #[must_use]
    pub fn short(&self) -> &str {
        let start = self.0.len().saturating_sub(8);
        self.0.get(start..).unwrap_or(&self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

words! {
    /// Which way a run is going.
    Mode {
        /// Forward.
        Run = "run",
        /// Back: undo closures, newest first.
        Undo = "undo",
    }
}

words! {
    /// How loud an event is.
    Level {
        /// Normal course.
        Info = "info",
        /// Something an operator should look at.
        Warn = "warn",
        /// Something failed.
        Error = "error",
    }
}

/// One module of a script as an incarnation saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `main`, `std/passes`, `./lib`.
    pub module: String,
    /// The whole text.
    pub text: String,
}

/// A run about to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The script's name, as shown.
    pub script: String,
    /// Its path, where it came from a file.
    pub script_path: Option<String>,
    /// Its parameters, secrets as references.
    pub params: Value,
    /// Which way it goes.
    pub mode: Mode,
    /// The full import closure.
    pub sources: Vec<Source>,
    /// Who runs it.
    pub operator: String,
    /// Version of decamp.
    pub tool_version: String,
    /// The command line, redacted.
    pub argv: Vec<String>,
}

/// How a run ends, for this incarnation or for good.
#[derive(Debug, Clone)]
pub enum RunEnd {
    /// All done.
    Succeeded,
    /// The script threw; resumable.
    Failed {
        /// What it threw.
        error: Value,
    },
    /// Stopped on request; resumable.
    Cancelled {
        /// `interrupt`, `terminate`, …
        reason: String,
    },
    /// Waits for a person: an approval or a decision.
    Waiting {
        /// For what.
        what: Value,
    },
    /// Undo came to its end.
    Undone,
    /// Undo stopped.
    UndoFailed {
        /// Why.
        error: Value,
    },
}
