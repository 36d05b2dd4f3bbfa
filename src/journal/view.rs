//! What the journal shows: rows of runs, steps, effects and events, as read-only data.

use serde::Serialize;
use serde_json::Value;

use super::model::{Class, Decision, EffectId, Lease, Level, Mode, RunId, Signal, StepId, StepKind};
use super::step::{EffectStatus, RunStatus, StepStatus};

/// One run in a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its name.
    pub id: RunId,
    /// Its script.
    pub script: String,
    /// The script's file, if it came from one.
    pub script_path: Option<String>,
    /// Its parameters.
    pub params: Value,
    /// The command line that created it.
    pub argv: Vec<String>,
    /// Which way it goes.
    pub mode: Mode,
    /// Its stored status.
    pub status: RunStatus,
    /// A living process has it.
    pub live: bool,
    /// How many processes have worked on it.
    pub epoch: i64,
    /// Who created it.
    pub operator: String,
    /// Version of decamp that created it.
    pub tool_version: String,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
    /// When its last process ended it.
    pub finished_ms: Option<i64>,
    /// How that process exited.
    pub exit_code: Option<i64>,
    /// What it threw, what it waits for, or why it was cancelled.
    pub outcome: Option<Value>,
    /// Key of the point of no return it has passed.
    pub pivot: Option<String>,
    /// Steps entered.
    pub steps: u64,
    /// Steps done.
    pub steps_done: u64,
}

impl RunSummary {
    /// Its process died without a word.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        !self.live && matches!(self.status, RunStatus::Running | RunStatus::Undoing)
    }

    /// Its status for people.
    #[must_use]
    pub fn state(&self) -> &'static str {
        state(self.status, self.live)
    }
}

/// A status for people: `interrupted` and `undo interrupted` where no process lives.
pub(super) fn state(status: RunStatus, live: bool) -> &'static str {
    match (status, live) {
        (RunStatus::Running, false) => "interrupted",
        (RunStatus::Undoing, false) => "undo interrupted",
        _ => status.name(),
    }
}

/// One run with all that belongs to it.
#[derive(Debug, Clone)]
pub struct RunDetail {
    /// The run itself.
    pub summary: RunSummary,
    /// Its steps, in the order they were first entered.
    pub steps: Vec<StepRow>,
    /// Its effects, by step and sequence number.
    pub effects: Vec<EffectRow>,
    /// Its leases, given back or not.
    pub leases: Vec<Lease>,
    /// Its approvals.
    pub signals: Vec<Signal>,
    /// The processes that worked on it.
    pub incarnations: Vec<IncarnationRow>,
    /// The modules each of them saw.
    pub sources: Vec<SourceRow>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRow {
    /// The step.
    pub id: StepId,
    /// Its key.
    pub key: String,
    /// The enclosing step.
    pub parent: Option<StepId>,
    /// Its place in the order of first entries.
    pub ord: i64,
    /// Its name.
    pub name: String,
    /// What sort of step.
    pub kind: StepKind,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts so far.
    pub attempt: u32,
    /// The incarnation that started it last.
    pub epoch: i64,
    /// Declared inputs.
    pub inputs: Option<Value>,
    /// Captured values.
    pub captured: Option<Value>,
    /// Hash of its body.
    pub body_hash: String,
    /// Module it stands in.
    pub source: String,
    /// Line there.
    pub line: u32,
    /// Whether it changed anything.
    pub changed: Option<bool>,
    /// What it returned.
    pub result: Option<Value>,
    /// What it threw last.
    pub error: Option<Value>,
    /// When it is tried again.
    pub retry_at_ms: Option<i64>,
    /// When it gives up.
    pub deadline_ms: Option<i64>,
    /// When it was started last.
    pub started_ms: i64,
    /// When it ended.
    pub finished_ms: Option<i64>,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectRow {
    /// The effect.
    pub id: EffectId,
    /// Its step.
    pub step: StepId,
    /// Its place there.
    pub seq: u32,
    /// Attempt of the step that acted last.
    pub attempt: u32,
    /// Incarnation that acted last.
    pub epoch: i64,
    /// The native.
    pub function: String,
    /// What it acted on.
    pub target: String,
    /// What repeating it means.
    pub class: Class,
    /// Idempotency key.
    pub idem_key: String,
    /// The request, redacted.
    pub request: Value,
    /// Where it stands.
    pub status: EffectStatus,
    /// A person's answer.
    pub decision: Option<Decision>,
    /// Its outcome was found out rather than returned.
    pub reconciled: bool,
    /// Name of the blob that holds the state before, see `Reader::blob`.
    pub before: Option<String>,
    /// What undoes it.
    pub undo: Option<Value>,
    /// What it returned.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it began last.
    pub started_ms: i64,
    /// When its outcome was known.
    pub finished_ms: Option<i64>,
}

/// One process that worked on a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IncarnationRow {
    /// Counts from 1.
    pub epoch: i64,
    /// Which way it went.
    pub mode: Mode,
    /// Machine.
    pub host: String,
    /// Which boot of it.
    pub boot_id: String,
    /// Process.
    pub pid: i64,
    /// Its start in clock ticks since boot: tells it from a later process of the same number.
    pub pid_start: i64,
    /// Version of decamp.
    pub tool_version: String,
    /// When it began.
    pub started_ms: i64,
    /// When it ended, as far as known.
    pub ended_ms: Option<i64>,
    /// How it ended.
    pub end_reason: Option<String>,
}

/// One module that an incarnation saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceRow {
    /// The incarnation.
    pub epoch: i64,
    /// The module.
    pub module: String,
    /// blake3 of its text, 64 hexadecimal digits.
    pub hash: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// Its number; ascending, not gapless within a run.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// How loud.
    pub level: Level,
    /// `step.done`, `effect.intent`, …
    pub kind: String,
    /// Key of the step it is about.
    pub step: Option<String>,
    /// What else there is to say.
    pub data: Value,
}
