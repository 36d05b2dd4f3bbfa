//! What a caller hands to the host, and what comes back from a run.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::cancel::Cancel;
use crate::error::Exit;
use crate::progress::{Progress, Silent};

/// A question that only a person can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The approval's name, as `--approve NAME` takes it.
    pub name: String,
    /// What is asked, one sentence.
    pub summary: String,
    /// What the answer should be based on, one line each.
    pub details: Vec<String>,
}

/// Puts questions to a person. Absent where nobody can answer.
pub trait Ask: Send + Sync {
    /// The person's answer; `None` if they could not be asked after all.
    fn ask(&self, question: &Question) -> Option<bool>;
}

/// Everything a run needs from outside.
#[derive(Clone)]
pub struct Call {
    /// Where the journal lives.
    pub state: PathBuf,
    /// Approvals granted in advance, by name.
    pub approve: Vec<String>,
    /// Ordinary confirmations are answered with yes; approvals are not.
    pub yes: bool,
    /// On resume: go on although the script was edited since.
    pub accept_script_change: bool,
    /// On resume: parameters that have another value from here on, by name, with the texts given for them.
    pub amend: Vec<(String, Vec<String>)>,
    /// Where progress goes.
    pub progress: Arc<dyn Progress>,
    /// Stops the run.
    pub cancel: Cancel,
    /// Puts questions to a person, if one is there.
    pub ask: Option<Arc<dyn Ask>>,
    /// Receives one line for people per event worth seeing while the run goes on (a step begins, waits, ends).
    pub say: Arc<dyn Fn(Say<'_>) + Send + Sync>,
    /// The command line, for the record.
    pub argv: Vec<String>,
}

impl Call {
    /// A call that says nothing, asks nobody and grants nothing.
    #[must_use]
    pub fn quiet(state: PathBuf) -> Self {
        Self {
            state,
            approve: Vec::new(),
            yes: false,
            accept_script_change: false,
            amend: Vec::new(),
            progress: Arc::new(Silent),
            cancel: Cancel::new(),
            ask: None,
            say: Arc::new(|_| {}),
            argv: Vec::new(),
        }
    }
}

/// One thing worth telling while a run goes on.
#[derive(Debug, Clone, Copy)]
pub enum Say<'a> {
    /// The run exists in the journal under this id from now on.
    Run { id: &'a str, epoch: i64 },
    /// A step begins; `attempt` counts from 1.
    Begin { key: &'a str, attempt: u32 },
    /// A step ended.
    End { key: &'a str, changed: bool, elapsed_ms: u64 },
    /// A step was done in an earlier incarnation and is not run again.
    Replayed { key: &'a str },
    /// A step failed.
    Failed { key: &'a str, message: &'a str },
    /// The script printed a line, or the host has something to say (a script change, a retry, a wait).
    Line(&'a str),
}

/// What happened to one step, for the closing summary.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLine {
    /// The step's key.
    pub key: String,
    /// `done`, `replayed`, `failed`, `handled`, `undone`, `planned`.
    pub state: &'static str,
    /// Whether it changed anything.
    pub changed: bool,
    /// Wall time, of this incarnation.
    pub elapsed_ms: u64,
}

/// One intended effect of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanItem {
    /// The step it belongs to.
    pub step: String,
    /// The native, such as `copy::tree`.
    pub function: String,
    /// What it acts on.
    pub target: String,
    /// `exact`, `maybe` (depends on what comes before) or `unknown`.
    pub certainty: &'static str,
    /// Whether it would change anything, as far as can be told.
    pub changes: Option<bool>,
    /// One line for people.
    pub summary: String,
    /// The planned result.
    pub data: Value,
}

/// How a run ended, short of an error.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The run's id; none for a plan.
    pub run: Option<String>,
    /// Script name.
    pub script: String,
    /// `succeeded`, `planned`, `undone`, `undo_incomplete`, `incomplete` (entries not copied).
    pub status: &'static str,
    /// How the process should end.
    pub exit: Exit,
    /// Steps in order.
    pub steps: Vec<StepLine>,
    /// The plan, for a plan.
    pub plan: Vec<PlanItem>,
    /// Where and why a plan could not look further.
    pub plan_stops: Option<String>,
    /// `note(section, value)` in order.
    pub notes: Vec<(String, Value)>,
    /// What the script's `run` returned.
    pub result: Value,
    /// What undo could not or would not put back, for people.
    pub left: Vec<String>,
    /// Wall time of this incarnation.
    pub elapsed_ms: u64,
}
