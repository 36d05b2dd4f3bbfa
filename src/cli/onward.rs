//! The flags of everything that goes forward: how far, whom to ask, and what to do when it fails.

use clap::ValueEnum;

use crate::script::outcome::ChangedInputs;

/// Flags of `run` and `resume`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Onward {
    /// Stop after the step NAME, or NAME[KEY] of a loop; a point of no return is passed only if it is named
    #[arg(long, value_name = "STEP")]
    pub(crate) until: Option<String>,

    /// Ask before each step; needs a terminal
    #[arg(long)]
    pub(crate) step: bool,

    /// Where nobody can be asked: exit with 5 and resume later, or wait for `decamp approve` [default: exit]
    #[arg(long, value_enum, value_name = "exit|wait", hide_possible_values = true)]
    pub(crate) on_approval: Option<OnApproval>,

    /// If the run fails before a point of no return, put back what it did
    #[arg(long)]
    pub(crate) undo_on_failure: bool,
}

/// What to do where nobody can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnApproval {
    /// End the process; the run waits.
    Exit,
    /// Wait for an answer from elsewhere.
    Wait,
}

/// What to do with a done step whose declared inputs are others now.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum OnChangedInputs {
    /// Ask, and stop where nobody can be asked.
    #[default]
    Ask,
    /// Keep its result.
    Keep,
    /// Run it again.
    Redo,
    /// Stop.
    Abort,
}

impl From<OnChangedInputs> for ChangedInputs {
    fn from(given: OnChangedInputs) -> Self {
        match given {
            OnChangedInputs::Ask => Self::Ask,
            OnChangedInputs::Keep => Self::Keep,
            OnChangedInputs::Redo => Self::Redo,
            OnChangedInputs::Abort => Self::Abort,
        }
    }
}
