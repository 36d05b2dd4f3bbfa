//! What a script asks a step to be: its name, key, hooks, retries and deadline.

use std::time::Duration;

use rhai::FnPtr;
use serde_json::Value;

use super::options::Options;
use super::step::not_data;
use crate::error::{Error, Kind};
use crate::journal::StepKind;
use crate::script::value;

/// What a script asked a step to be.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) kind: StepKind,
    pub(super) key: Option<String>,
    pub(super) undo: Option<FnPtr>,
    pub(super) release: Option<FnPtr>,
    pub(super) inputs: Option<Value>,
    pub(super) retry: Retry,
    pub(super) deadline: Option<Duration>,
}

/// How often and how soon a failed step is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub(super) retries: u64,
    base: Duration,
    cap: Duration,
    exponential: bool,
}

impl Retry {
    const NEVER: Self =
        Self { retries: 0, base: Duration::from_secs(2), cap: Duration::from_secs(60), exponential: true };

    /// The wait before attempt number `attempt + 1`.
    pub(super) fn wait(self, attempt: u32) -> Duration {
        let doublings = if self.exponential { attempt.saturating_sub(1).min(30) } else { 0 };
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

impl Wanted {
    /// A step without options.
    pub(super) fn plain(name: &str, kind: StepKind) -> Result<Self, Error> {
        // The two words begin the names of steps that the host makes itself.
        let own = name.starts_with("release:") || name.starts_with("undo:");
        let odd = own || name.is_empty() || name.chars().any(|c| c.is_control() || "/[]".contains(c));
        if odd {
            return Err(Error::new(Kind::Invalid, format!("`{name}` cannot be the name of a step"))
                .hint("a name is not empty and has no `/`, `[`, `]` or control characters; put the rest into `key`"));
        }
        let (key, undo, release, inputs, deadline) = (None, None, None, None, None);
        Ok(Self { name: name.to_owned(), kind, key, undo, release, inputs, retry: Retry::NEVER, deadline })
    }

    /// The name by which `--until` may mean it; a branch has the name of its group.
    pub(super) fn goal(&self) -> &str {
        if self.kind == StepKind::Branch { "" } else { &self.name }
    }

    /// The branch `key` of a `parallel` inside a step.
    pub(super) fn branch(name: &str, key: &str) -> Self {
        let (undo, release, inputs, deadline) = (None, None, None, None);
        let key = Some(key.to_owned());
        Self {
            name: name.to_owned(),
            kind: StepKind::Branch,
            key,
            undo,
            release,
            inputs,
            retry: Retry::NEVER,
            deadline,
        }
    }

    /// The options every step has; those of one function alone are taken by that function first.
    pub(super) fn options(mut self, options: &mut Options<'_>) -> Result<Self, Error> {
        self.key = options.key("key")?;
        self.deadline = options.duration("deadline")?;
        if let Some(inputs) = options.any("inputs") {
            self.inputs = Some(value::encode_inputs(&inputs, "inputs").map_err(not_data)?);
        }
        self.retry.retries = options.count("retries")?.unwrap_or(0);
        if let Some(base) = options.duration("base")? {
            self.retry.base = base;
        }
        if let Some(cap) = options.duration("cap")? {
            self.retry.cap = cap;
        }
        match options.text("backoff")?.as_deref() {
            None | Some("exponential") => {}
            Some("fixed") => self.retry.exponential = false,
            Some(other) => {
                return Err(Error::new(Kind::Invalid, format!("there is no backoff `{other}`"))
                    .hint("known: exponential, fixed"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let retry = Retry { retries: 9, ..Retry::NEVER };
        let waits: Vec<u64> = (1..=7).map(|attempt| retry.wait(attempt).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(Retry { exponential: false, ..retry }.wait(7).as_secs(), 2);
    }

    #[test]
    fn a_step_name_that_would_spoil_its_key_is_refused() {
        assert!(Wanted::plain("copy", StepKind::Step).is_ok());
        for name in ["", "a/b", "a[1]", "a\nb", "undo:a", "release:a"] {
            assert!(Wanted::plain(name, StepKind::Step).is_err(), "{name:?}");
        }
    }
}
