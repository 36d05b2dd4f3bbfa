//! What a line of a session gave, and what is kept of it for saving.

use serde_json::Value;

use crate::script::outcome::PlanItem;

/// What a line gave.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Its value as plain data; what is no data is named.
    pub value: Value,
    /// The value's type as scripts know it: `map`, `string`, `host`; `()` for none.
    pub kind: String,
    /// Whether the value is plain data, so that a run could keep it.
    pub data: bool,
    /// Its number among the results, by which later lines call it; none if there is no value.
    pub number: Option<usize>,
    /// What it would change, when it was planned.
    pub plan: Vec<PlanItem>,
    /// Where and why the plan could not look further.
    pub stops: Option<String>,
    /// What it noted.
    pub notes: Vec<(String, Value)>,
    /// What the person should know beside the result.
    pub warnings: Vec<String>,
    /// Whether it changed something.
    pub changed: bool,
    /// Wall time.
    pub elapsed_ms: u64,
}

/// A line that was good, for saving.
#[derive(Debug, Clone)]
pub struct Good {
    /// Its text as it was typed.
    pub text: String,
    /// The number of its result, if it had one.
    pub number: Option<usize>,
    /// Which result `_` meant in it.
    pub last: Option<usize>,
    /// Its value is plain data.
    pub data: bool,
}
