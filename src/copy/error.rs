//! What can go wrong with a tree as a whole ([`Error`]) and with one entry of it ([`EntryError`]).

use rustix::io::Errno;

use super::claim::Marker;
use super::identity::RootId;
use super::report::Shortfall;
use crate::cancel::Cancelled;
use crate::progress::CheckpointError;
use crate::wire::Broken;

/// A failure that ends a pass, a scan or a comparison. Failures of single entries are counted in the report instead.
///
/// Paths are in their text form ([`crate::units::path_text`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The work was asked to stop. What was copied stays.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The store of progress failed. What was copied stays.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A system call on a root, or one that concerns the whole pass, failed.
    #[error("{op} `{path}`: {source}")]
    Io {
        /// What was tried: `open`, `statfs`, `syncfs`, …
        op: &'static str,
        /// Text form of the path.
        path: String,
        /// Why it failed.
        #[source]
        source: Errno,
    },
    /// A root, or the directory that should hold it, does not exist.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The missing path.
        path: String,
    },
    /// A root is something else than a directory.
    #[error("`{path}` is not a directory")]
    NotDirectory {
        /// The path.
        path: String,
    },
    /// Both roots are the same directory, perhaps through a link or a bind mount.
    #[error("`{src}` and `{dst}` are the same directory")]
    SameDirectory {
        /// The source.
        src: String,
        /// The destination.
        dst: String,
    },
    /// The destination lies below the source.
    #[error("the destination `{dst}` lies inside the source `{src}`")]
    DestInsideSource {
        /// The source.
        src: String,
        /// The destination.
        dst: String,
    },
    /// The source lies below the destination.
    #[error("the source `{src}` lies inside the destination `{dst}`")]
    SourceInsideDest {
        /// The source.
        src: String,
        /// The destination.
        dst: String,
    },
    /// A root is not the directory that it was: unmounted, remounted or replaced.
    #[error("`{path}` is no longer the same directory: it was {expected} and is {found}")]
    RootChanged {
        /// The root.
        path: String,
        /// As it was when the run began.
        expected: RootId,
        /// As it is now.
        found: RootId,
    },
    /// The source holds nothing and the destination does; accepted by the name `empty-source`.
    #[error("the source `{src}` is empty and the destination `{dst}` is not")]
    EmptySource {
        /// The source.
        src: String,
        /// The destination.
        dst: String,
    },
    /// More would be deleted than allowed. Nothing was deleted; what was copied stays.
    #[error("{would} entries would be deleted, {limit} are allowed (the destination holds {dest_entries})")]
    TooManyDeletes {
        /// Entries that would be deleted.
        would: u64,
        /// Entries that may be.
        limit: u64,
        /// Entries of the destination.
        dest_entries: u64,
    },
    /// Another run has the destination.
    #[error("another run has this destination{}", .by.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Held {
        /// Who, if the marker can be read.
        by: Option<Marker>,
    },
    /// What has the name of a run's marker is none. In a source it would be data that is left out in silence.
    #[error("`{path}` is not a marker of a run")]
    BadMarker {
        /// The marker's path.
        path: String,
    },
    /// Nothing can be written to the destination.
    #[error("`{path}` cannot be written to: {reason}")]
    ReadOnly {
        /// The destination.
        path: String,
        /// Why.
        reason: String,
    },
    /// The destination, or the user's quota there, is full. What was copied stays; the next pass goes on from there.
    #[error("no space left in `{path}`; what was copied stays")]
    NoSpace {
        /// The destination.
        path: String,
    },
    /// The destination cannot hold what the source has.
    #[error("the destination cannot hold: {}", .0.iter().map(|s| s.reason.as_str()).collect::<Vec<_>>().join("; "))]
    CannotHold(Vec<Shortfall>),
    /// The backup directory is not on the destination's file system.
    #[error("the backup directory `{backup}` is not on the file system of the destination")]
    BackupElsewhere {
        /// The backup directory.
        backup: String,
    },
    /// A pattern of entries to leave out cannot be understood.
    #[error("the pattern `{pattern}` cannot be used: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A record of an earlier pass cannot be understood.
    #[error("a record of an earlier pass cannot be understood ({what})")]
    BadRecord {
        /// Which sort of record.
        what: &'static str,
    },
    /// The other end of a tree cannot be spoken with any more. What was copied stays.
    #[error(transparent)]
    Apart(#[from] Apart),
    /// The engine's own books do not balance: entries were lost between listing and copying. A defect of decamp.
    #[error("{listed} entries were listed and {accounted} accounted for: a defect of decamp, do not trust this copy")]
    CountMismatch {
        /// Entries listed.
        listed: u64,
        /// Entries that have an outcome.
        accounted: u64,
    },
}

/// Why the other end of a tree cannot be spoken with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Apart {
    /// The connection broke; it may be made again.
    #[error("the other end of the tree cannot be reached any more: {0}")]
    Cut(String),
    /// The other end sent what cannot be. Nothing more of it is believed.
    #[error("the other end of the tree cannot be trusted: {0}")]
    Corrupt(String),
    /// The other end does not want to.
    #[error("the other end of the tree refuses: {0}")]
    Refused(String),
}

impl From<Broken> for Apart {
    fn from(broken: Broken) -> Self {
        let text = broken.to_string();
        match broken {
            Broken::Corrupt(_) => Self::Corrupt(text),
            Broken::Refused(_) => Self::Refused(text),
            Broken::Cut | Broken::Silent(_) | Broken::Io(_) | Broken::Cancelled(_) => Self::Cut(text),
        }
    }
}

impl Error {
    /// Makes the maker of an [`Error::Io`] for a call on `path`.
    pub(crate) fn io(op: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self + use<> {
        let path = crate::units::path_text(path);
        move |source| Self::Io { op, path, source }
    }
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
