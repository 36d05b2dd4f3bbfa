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
    /// How the answer came: `flag`, `prompt`, `yes`, `command`; `denied` for a no from elsewhere.
    pub via: Option<String>,
    /// Who answered.
    pub by: Option<String>,
    /// When it was asked.
    pub asked_ms: Option<i64>,
    /// When it was answered.
    pub decided_ms: Option<i64>,
}

impl Signal {
    /// Somebody said no, and nobody has said yes since.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.state == SignalState::Asked && self.decided_ms.is_some()
    }

    /// Nobody has answered yet.
    #[must_use]
    pub fn open(&self) -> bool {
        self.state == SignalState::Asked && self.decided_ms.is_none()
    }

    /// What was said with the answer.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.question.as_ref()?.get("note")?.as_str()
    }
}

/// A person's answer to an approval.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Yes or no.
    pub granted: bool,
    /// Who answers.
    pub by: String,
    /// What is said with it.
    pub note: Option<String>,
}
