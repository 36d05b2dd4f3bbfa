//! The one place that words errors for people, and picks the exit code: [`Error`] is a kind, a message, hints and the
//! chain of causes.

use std::error::Error as StdError;
use std::fmt;

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

/// How the process ends. One table: `--help`, README and the tests read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Success = 0,
    /// The run failed.
    Failed = 1,
    /// Wrong use: flags, parameters, a script that does not compile.
    Usage = 2,
    /// `run --plan --exit-code`: there are changes to make.
    Changes = 3,
    /// The other side does not answer.
    Unreachable = 4,
    /// Waiting for an approval nobody can give here.
    Approval = 5,
    /// Another run holds the target.
    Held = 6,
    /// An effect is in doubt and a decision is needed.
    InDoubt = 7,
    /// The journal cannot be used: full disk, corrupt, wrong version, network file system.
    Journal = 8,
    /// Undo is incomplete.
    UndoIncomplete = 9,
    /// `check` found errors.
    CheckFailed = 10,
    /// Only `check --strict`: warnings.
    CheckWarnings = 11,
    /// Data differ (compare, verification).
    Differ = 12,
    /// Finished, but some entries were not copied; they are named.
    Incomplete = 13,
    /// Hang-up (SIGHUP); state is saved.
    HangUp = 129,
    /// Interrupted (SIGINT); state is saved.
    Interrupted = 130,
    /// Terminated (SIGTERM); state is saved.
    Terminated = 143,
}

impl Exit {
    /// Every code with its meaning, as `--help` and README print it.
    pub const TABLE: [(Self, &'static str); 17] = [
        (Self::Success, "done, or nothing to do"),
        (Self::Failed, "the run failed"),
        (Self::Usage, "wrong use: flags, parameters, a script that does not compile"),
        (Self::Changes, "run --plan --exit-code: there are changes to make"),
        (Self::Unreachable, "the other side does not answer"),
        (Self::Approval, "waiting for an approval that nobody can give here"),
        (Self::Held, "another run holds the target"),
        (Self::InDoubt, "an effect is in doubt: a decision is needed"),
        (Self::Journal, "the journal cannot be used: full disk, corrupt, wrong version, network file system"),
        (Self::UndoIncomplete, "undo is incomplete; what was left is named"),
        (Self::CheckFailed, "check found errors"),
        (Self::CheckWarnings, "check --strict found warnings"),
        (Self::Differ, "data differ (compare, verification)"),
        (Self::Incomplete, "finished, but some entries were not copied; they are named"),
        (Self::HangUp, "hang-up; state is saved"),
        (Self::Interrupted, "interrupted; state is saved"),
        (Self::Terminated, "terminated; state is saved"),
    ];

    /// The number the process exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
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

    /// The causes, outermost first, each once.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next: Option<&dyn StdError> = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(cause) = next {
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
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
