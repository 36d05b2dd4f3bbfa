//! Signals: questions to people and their answers.

use serde::Serialize;
use serde_json::Value;

use super::step::StepId;
use crate::journal::words::words;

words! {
    /// Whether a question has been answered.
    SignalState {
        /// Asked, not answered.
        Asked = "asked",
        /// Granted.
        Granted = "granted",
    }
}

/// A question to a person, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    /// Name of the approval.
    pub name: String,
    /// Whether it was answered.
    pub state: SignalState,
    /// The step that asks.
    pub step: Option<StepId>,
    /// What is asked.
    pub question: Option<Value>,
    /// How the answer came: `flag`, `prompt`, `yes`.
    pub via: Option<String>,
    /// Who answered.
    pub by: Option<String>,
    /// When it was asked.
    pub asked_ms: Option<i64>,
    /// When it was answered.
    pub decided_ms: Option<i64>,
}
