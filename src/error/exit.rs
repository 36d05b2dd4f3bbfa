//! How the process ends: one table, read by `--help`, README and the tests.

use crate::cancel::Reason;

/// How the process ends. One table: `--help`, README and the tests read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exit {
    /// Done, or nothing to do.
    #[default]
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

    /// The end of work that was asked to stop.
    #[must_use]
    pub fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::Interrupt => Self::Interrupted,
            Reason::Terminate => Self::Terminated,
            Reason::HangUp => Self::HangUp,
            Reason::Internal | Reason::Deadline => Self::Failed,
        }
    }

    /// The number the process exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        assert_eq!(codes.last(), Some(&143));
    }

    #[test]
    fn signals_end_as_shells_count_them() {
        let reasons = [Reason::Interrupt, Reason::Terminate, Reason::HangUp, Reason::Internal, Reason::Deadline];
        assert_eq!(reasons.map(|reason| Exit::of_reason(reason).code()), [130, 143, 129, 1, 1]);
    }
}
