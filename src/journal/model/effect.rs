//! Effects: what begins one, what that finds, and how it ends.

use serde::Serialize;
use serde_json::Value;

use super::step::StepId;
use crate::journal::words::words;

/// An effect of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EffectId(pub(in crate::journal) i64);

words! {
    /// What repeating an effect means.
    Class {
        /// Repeating is harmless.
        Converge = "converge",
        /// Repeating is harmful.
        Once = "once",
        /// Needs a guard and a before-image.
        Destroy = "destroy",
    }
}

words! {
    /// A person's answer about an effect in doubt.
    Decision {
        /// It took effect: do not act again.
        Happened = "happened",
        /// It did not take effect, or may be repeated: act again.
        Retry = "retry",
    }
}

/// An effect of an earlier attempt of a step.
#[derive(Debug, Clone)]
pub struct OldEffect {
    /// The effect.
    pub effect: EffectId,
    /// Its place in the step.
    pub seq: u32,
    /// The native that acted.
    pub function: String,
    /// What it acted on.
    pub target: String,
    /// What repeating it means.
    pub class: Class,
    /// Outcome unknown; otherwise it is done.
    pub in_doubt: bool,
    /// Its result, if done.
    pub result: Option<Value>,
}

/// An effect about to begin.
#[derive(Debug, Clone)]
pub struct NewEffect {
    /// The step it belongs to.
    pub step: StepId,
    /// Its place in the step.
    pub seq: u32,
    /// The native that acts.
    pub function: String,
    /// What it acts on.
    pub target: String,
    /// What repeating it means.
    pub class: Class,
    /// What is asked for, redacted.
    pub request: Value,
    /// What undoes it.
    pub undo: Option<Value>,
    /// The state before.
    pub before: Option<Vec<u8>>,
}

/// What beginning an effect found.
#[derive(Debug, Clone)]
pub enum Begun {
    /// The intent is durable: act.
    Act {
        /// The effect.
        effect: EffectId,
        /// Stable across attempts.
        idem_key: String,
    },
    /// Done by an earlier attempt: do not act.
    Done {
        /// The effect.
        effect: EffectId,
        /// Its stored result.
        result: Value,
    },
    /// An earlier process died while it acted: probe, obey the decision, or stop and ask.
    InDoubt {
        /// The effect.
        effect: EffectId,
        /// Stable across attempts.
        idem_key: String,
        /// What repeating it means.
        class: Class,
        /// A person's answer, if given.
        decision: Option<Decision>,
        /// When it was begun.
        since_ms: i64,
    },
}

/// How an effect ended.
#[derive(Debug, Clone)]
pub enum EffectOutcome {
    /// It took effect.
    Done {
        /// What it returned.
        result: Value,
        /// Found out by a probe or told by a person, rather than by the native returning.
        reconciled: bool,
    },
    /// It certainly did not take effect, or its partial effect is harmless to repeat.
    Failed {
        /// Why.
        error: Value,
    },
    /// Given up; nobody will find out.
    Abandoned,
}
