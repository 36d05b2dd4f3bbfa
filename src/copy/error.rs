//! What can go wrong with a tree as a whole ([`Error`]) and with one entry of it ([`EntryError`]).

use rustix::io::Errno;

use crate::cancel::Cancelled;
use crate::progress::CheckpointError;

/// A failure that ends a pass, a scan or a comparison. Failures of single entries are counted in the report instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The work was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The store of progress failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A system call on a root, or one that concerns the whole pass, failed.
    #[error("{op} `{path}`")]
    Io {
        /// What was tried: `open`, `statfs`, `syncfs`, …
        op: &'static str,
        /// Text form of the path.
        path: String,
        /// Why it failed.
        #[source]
        source: Errno,
    },
}

/// One entry that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryError {
    /// Path below the root, raw bytes.
    pub path: Vec<u8>,
    /// What was tried.
    pub op: &'static str,
    /// Why it failed.
    pub reason: String,
}
