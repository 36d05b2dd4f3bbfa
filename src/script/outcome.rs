//! What a caller hands to the host, and what comes back from a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::plan_file::KeptPlan;
use super::site::Used;
use crate::cancel::Cancel;
use crate::error::Exit;
use crate::progress::{Progress, Silent};
use crate::rate::MaxRate;
use crate::redact;

/// A question that only a person can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The approval's name, as `--approve NAME` takes it.
    pub name: String,
    /// What is asked, one sentence.
    pub summary: String,
    /// What the answer should be based on, one line each.
    pub details: Vec<String>,
    /// A slip of the finger must not answer it: the name has to be typed.
    pub dangerous: bool,
}

/// Puts questions to a person. Absent where nobody can answer.
pub trait Ask: Send + Sync {
    /// The person's answer; `None` if they could not be asked after all, or if `elsewhere` says that the question is
    /// settled without them.
    fn ask(&self, question: &Question, elsewhere: &dyn Fn() -> bool) -> Option<bool>;
}

/// What to do with a done step whose declared inputs are others now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangedInputs {
    /// Ask; where nobody can be asked, stop.
    #[default]
    Ask,
    /// Keep its result.
    Keep,
    /// Run it again.
    Redo,
    /// Stop.
    Abort,
}

/// Everything a run needs from outside.
#[derive(Clone)]
pub struct Call {
    /// Where the journal lives.
    pub state: PathBuf,
    /// Approvals granted in advance, by name.
    pub approve: Vec<String>,
    /// Ordinary confirmations and approvals are answered with yes; dangerous approvals are not.
    pub yes: bool,
    /// Where nobody can be asked, an approval is waited for instead of ending the process.
    pub wait_for_approval: bool,
    /// On resume: what to do with a done step whose inputs are others now.
    pub changed_inputs: ChangedInputs,
    /// Every step is asked about before it begins.
    pub step_by_step: bool,
    /// The flag that must be repeated on a command that is to find the same journal; empty if none.
    pub state_flag: String,
    /// On resume: go on although the script was edited since.
    pub accept_script_change: bool,
    /// On resume: parameters that have another value from here on, by name, with the texts given for them.
    pub amend: Vec<(String, Vec<String>)>,
    /// What a new run keeps of the site file it was started with.
    pub site: Option<Used>,
    /// The run stops after the step of this name or key.
    pub until: Option<String>,
    /// The kept plan a new run must keep to.
    pub kept: Option<Arc<KeptPlan>>,
    /// Go on although the world is not as it was planned.
    pub accept_drift: bool,
    /// How fast file content may be moved; `None`: as it was, or as fast as can be.
    pub max_rate: Option<MaxRate>,
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
            wait_for_approval: false,
            changed_inputs: ChangedInputs::default(),
            step_by_step: false,
            state_flag: String::new(),
            accept_script_change: false,
            amend: Vec::new(),
            site: None,
            until: None,
            kept: None,
            accept_drift: false,
            max_rate: None,
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
    /// `done`, `replayed`, `failed`, `handled`, `undone`, `left` (an undo could not put all of it back), `planned`.
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

impl PlanItem {
    /// The same without the values of secrets: plans are shown, and may be kept.
    pub(crate) fn clean(self) -> Self {
        let (target, summary, data) =
            (redact::owned(self.target), redact::owned(self.summary), redact::json(self.data));
        Self { target, summary, data, ..self }
    }
}

/// How a run ended, short of an error.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The run's id; none for a plan.
    pub run: Option<String>,
    /// Script name.
    pub script: String,
    /// `succeeded`, `waiting`, `planned`, `undone`, `undo_incomplete`, `incomplete` (entries not copied).
    pub status: &'static str,
    /// How the process should end.
    pub exit: Exit,
    /// Steps in order.
    pub steps: Vec<StepLine>,
    /// The plan, for a plan.
    pub plan: Vec<PlanItem>,
    /// Where and why a plan could not look further.
    pub plan_stops: Option<String>,
    /// Where the run stopped on request, or what its undo left it with, and how to go on.
    pub stopped: Option<String>,
    /// Identities of the roots a plan looked at, by path; none: it did not exist.
    pub targets: BTreeMap<String, Option<String>>,
    /// `note(section, value)` in order.
    pub notes: Vec<(String, Value)>,
    /// What the script's `run` returned.
    pub result: Value,
    /// What undo could not or would not put back, for people.
    pub left: Vec<String>,
    /// Wall time of this incarnation.
    pub elapsed_ms: u64,
}
