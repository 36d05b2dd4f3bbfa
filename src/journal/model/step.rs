//! Steps: what enters one, what that finds, and how it ends.

use serde::Serialize;
use serde_json::Value;

use super::effect::OldEffect;
use crate::journal::words::words;

/// A step of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(pub(in crate::journal) i64);

words! {
    /// What sort of step it is.
    StepKind {
        /// A closure with effects.
        Step = "step",
        /// A read done once and kept.
        Fact = "fact",
        /// A value that must not change between incarnations (time, random number, environment).
        Value = "value",
        /// A question a person answers.
        Approval = "approval",
        /// A wait until something holds.
        Poll = "poll",
        /// The point of no return.
        Pivot = "pivot",
        /// Work on several items side by side.
        Group = "group",
        /// One item of a group inside a step.
        Branch = "branch",
    }
}

/// A step about to be entered.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Path of enclosing groups and branches, name and key: `group/branch[item]/name[key]`.
    pub key: String,
    /// The enclosing step.
    pub parent: Option<StepId>,
    /// The name alone.
    pub name: String,
    /// What sort of step.
    pub kind: StepKind,
    /// Declared inputs; a done step entered with others is an error.
    pub inputs: Option<Value>,
    /// Captured values, for display; never compared.
    pub captured: Value,
    /// Hash of the closure's source text.
    pub body_hash: String,
    /// Module the step stands in.
    pub source: String,
    /// Line in that module.
    pub line: u32,
    /// When a wait gives up, in milliseconds since 1970; what was stored first stays.
    pub deadline_ms: Option<i64>,
}

/// What entering a step found.
#[derive(Debug, Clone)]
pub enum Entered {
    /// Done before: use this result, do not run the body.
    Replay {
        /// The step.
        step: StepId,
        /// Its stored result.
        result: Value,
        /// The body's text is another one now; the result stands.
        body_changed: bool,
    },
    /// Failed before, and the script caught it: throw this again, so that it takes the same branch.
    Rethrow {
        /// The step.
        step: StepId,
        /// The stored error.
        error: Value,
    },
    /// Run the body.
    Run {
        /// The step.
        step: StepId,
        /// Counts from 1, over all incarnations.
        attempt: u32,
        /// An earlier process died inside the body.
        lost: bool,
        /// When a wait gives up: as stored at the first entry.
        deadline_ms: Option<i64>,
        /// Do not start before this time.
        retry_at_ms: Option<i64>,
        /// Effects of earlier attempts that are done or in doubt, by sequence number.
        effects: Vec<OldEffect>,
    },
}

/// How a step ended.
#[derive(Debug, Clone)]
pub enum StepOutcome {
    /// The body returned.
    Done {
        /// What it returned.
        result: Value,
        /// Whether anything was changed.
        changed: bool,
    },
    /// The body threw.
    Failed {
        /// What it threw.
        error: Value,
    },
    /// The body was stopped on request: neither done nor failed.
    Interrupted,
}
