//! What can go wrong with a command.

use std::time::Duration;

use crate::cancel::Cancelled;

/// A command that could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No program was named.
    #[error("the command is empty")]
    Empty,
    /// The program could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// First word of the command.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Reading its output or waiting for it failed.
    #[error("lost sight of `{program}`")]
    Lost {
        /// First word of the command.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took longer than allowed and was ended.
    #[error("`{program}` was not done within {limit:?} and was ended")]
    Timeout {
        /// First word of the command.
        program: String,
        /// What was allowed.
        limit: Duration,
    },
    /// The run was stopped while it ran; it was ended.
    #[error("`{program}` was ended")]
    Cancelled {
        /// First word of the command.
        program: String,
        /// Why the run was stopped.
        #[source]
        source: Cancelled,
    },
}
