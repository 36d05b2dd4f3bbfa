//! What a call of a native really does: the same registration code, other services behind it.

use std::collections::BTreeMap;

use serde_json::Value;

/// How natives and steps behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Everything is done and journalled.
    Live,
    /// Reads are real; effects are recorded and not done; nothing is journalled.
    Plan,
    /// Steps give back what the journal holds, up to the first that was not done; nothing is done.
    Replay,
    /// Effects are done and nothing is journalled: examples of the documentation, tests.
    #[cfg_attr(not(test), allow(dead_code, reason = "examples run in it, and these are tests"))]
    Test,
}

/// What the journal holds of the steps of an earlier incarnation, by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded(pub(crate) BTreeMap<String, RecordedStep>);

/// One such step.
#[derive(Debug, Clone)]
pub(crate) struct RecordedStep {
    /// Where it ended.
    pub(crate) state: RecordedState,
    /// Whether one of its effects began.
    pub(crate) acted: bool,
    /// Whether a person has to say what became of one of them.
    pub(crate) doubtful: bool,
    /// Its `release` gave back what it held: there is nothing left to undo.
    pub(crate) given_back: bool,
    /// The inputs it declared.
    pub(crate) inputs: Option<Value>,
}

/// Where a recorded step ended.
#[derive(Debug, Clone)]
pub(crate) enum RecordedState {
    /// With a result.
    Done(Value),
    /// With a failure that the script handled.
    Handled(Value),
    /// It did not, or with a failure that ended the run.
    Open,
}
