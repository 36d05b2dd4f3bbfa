//! The one place that words errors for people, and picks the exit code: [`Error`] is a kind, a message, hints and the
//! chain of causes.
//!
//! Engines and journal have typed errors of their own; `engines` and `journal` turn each variant into words.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::cancel::Cancelled;

mod agent;
mod block;
mod engines;
mod exit;
mod journal;
mod k8s;
mod ssh;

pub use engines::{BY_HAND, cannot_hold, kind_of};
pub use exit::Exit;

/// What sort of failure it is: the closed list scripts branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something that was named does not exist.
    NotFound,
    /// Something that was to be made exists already.
    Exists,
    /// A right is missing.
    Denied,
    /// What was given cannot be right, whatever the state of the world.
    Invalid,
    /// The thing itself cannot do what was asked.
    Unsupported,
    /// A deadline passed.
    Timeout,
    /// Somebody else holds it, or it changed under us.
    Conflict,
    /// The other side does not answer.
    Unreachable,
    /// No space, inodes or quota left.
    NoSpace,
    /// Two things that must agree do not.
    Mismatch,
    /// A command or a remote side reported failure.
    RemoteFailed,
    /// Stopped on request.
    Cancelled,
    /// The system failed to read or write.
    Io,
    /// A mistake of this program.
    Internal,
}

impl Kind {
    /// Every kind, in the order they are documented.
    pub const ALL: [Self; 14] = [
        Self::NotFound,
        Self::Exists,
        Self::Denied,
        Self::Invalid,
        Self::Unsupported,
        Self::Timeout,
        Self::Conflict,
        Self::Unreachable,
        Self::NoSpace,
        Self::Mismatch,
        Self::RemoteFailed,
        Self::Cancelled,
        Self::Io,
        Self::Internal,
    ];

    /// The word scripts and JSON know the kind by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Timeout => "timeout",
            Self::Conflict => "conflict",
            Self::Unreachable => "unreachable",
            Self::NoSpace => "no_space",
            Self::Mismatch => "mismatch",
            Self::RemoteFailed => "remote_failed",
            Self::Cancelled => "cancelled",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether trying again, with nothing changed by hand, may help.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable | Self::Conflict)
    }
}

/// A failure, worded for people. The chain below it is kept down to the system call.
#[derive(Debug)]
pub struct Error {
    /// What sort of failure it is.
    pub kind: Kind,
    /// How the process should end, where the kind alone does not say.
    pub exit: Option<Exit>,
    /// Names the thing; lower case, no full stop, does not repeat its cause.
    pub message: String,
    /// What to do next, one sentence each.
    pub hints: Vec<String>,
    /// The script line, rendered, where a script is concerned.
    pub snippet: Option<String>,
    /// The cause.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure with neither cause nor hint yet.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, exit: None, message: message.into(), hints: Vec::new(), snippet: None, source: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets how the process ends.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = Some(exit);
        self
    }

    /// How the process ends for this failure.
    #[must_use]
    pub fn exit_code(&self) -> Exit {
        self.exit.unwrap_or(match self.kind {
            Kind::Invalid => Exit::Usage,
            Kind::Unreachable => Exit::Unreachable,
            Kind::Mismatch => Exit::Differ,
            _ => Exit::Failed,
        })
    }

    /// Adds several hints.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// The causes, outermost first, each once; what a line above says already is left out.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&dyn StdError> = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(cause) = next {
            let text = cause.to_string();
            // That it was stopped is the message itself; the token's own words add nothing.
            let said = causes.last().unwrap_or(&self.message).ends_with(&text) || cause.is::<Cancelled>();
            if !said {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }

    /// The failure as text for people: message, script line, numbered causes, hints.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let paint = |code: &str, text: &str| {
            if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut out = format!("{} {}\n", paint("1;31", "error:"), self.message);
        if let Some(snippet) = &self.snippet {
            writeln!(out, "{}", snippet.trim_end()).ok();
        }
        for (at, cause) in self.causes().iter().enumerate() {
            writeln!(out, "  {}: {cause}", at + 1).ok();
        }
        for hint in &self.hints {
            writeln!(out, "{} {hint}", paint("36", "hint:")).ok();
        }
        out
    }

    /// The failure as data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "message": self.message,
            "causes": self.causes(),
            "hints": self.hints,
            "retryable": self.kind.retryable(),
            "snippet": self.snippet,
            "exit_code": self.exit_code().code(),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_rendered_with_causes_and_hints() {
        let error = Error::new(Kind::Io, "cannot read `x`")
            .because(std::io::Error::other("disk on fire"))
            .hint("put it out")
            .hint("run again");
        assert_eq!(
            error.render(false),
            "error: cannot read `x`\n  1: disk on fire\nhint: put it out\nhint: run again\n"
        );
        assert!(error.render(true).starts_with("\x1b[1;31merror:\x1b[0m cannot"));
        assert_eq!(error.to_json()["exit_code"], 1);
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let inner = Error::new(Kind::Io, "no space");
        let outer = Error::new(Kind::Io, "cannot write: no space").because(inner);
        assert!(outer.causes().is_empty());
    }

    #[test]
    fn a_stop_on_request_has_no_cause() {
        let stopped = Error::from(Cancelled(crate::cancel::Reason::Interrupt));
        assert_eq!(stopped.render(false), "error: interrupted\n");
    }

    #[test]
    fn kinds_have_one_name_each() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("other"), None);
    }
}
