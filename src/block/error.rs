//! What can go wrong with a copy of a device, as one thing each that a caller could treat differently.

use rustix::io::Errno;

use super::facts::Identity;
use super::signature::Signature;
use crate::cancel::Cancelled;
use crate::progress::CheckpointError;
use crate::units::Bytes;
use crate::wire::{Broken, Malformed};

/// By whom something is used that nobody can be named for.
pub(super) const HELD: &str = "another process or mount namespace has it exclusively";

/// A failure that ends the work. Paths are in their text form ([`crate::units::path_text`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The work was asked to stop. What is recorded as written stays.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The store of progress failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The conversation with the end at the other side broke off. What is recorded as written stays.
    #[error("the end that has `{path}` cannot be reached any more: {broken}")]
    Broken {
        /// Its path there.
        path: String,
        /// What happened.
        #[source]
        broken: Broken,
    },
    /// A system call failed.
    #[error("{op} `{path}`: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// The device or file.
        path: String,
        /// Why it failed.
        #[source]
        source: Errno,
    },
    /// There is nothing of that name.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The path.
        path: String,
    },
    /// It is neither a block device nor a regular file.
    #[error("`{path}` is neither a block device nor an image file")]
    NotBlock {
        /// The path.
        path: String,
    },
    /// The source does not fit on the target.
    #[error("the target `{path}` has {target} bytes, the source has {source_size}")]
    Smaller {
        /// The target.
        path: String,
        /// Bytes of the target.
        target: u64,
        /// Bytes of the source.
        source_size: u64,
    },
    /// Somebody uses it.
    #[error("`{path}` is in use: {}", .by.join(", "))]
    InUse {
        /// The device or file.
        path: String,
        /// By what: `mounted at /srv`, `held by dm-0`, …
        by: Vec<String>,
    },
    /// The target cannot be written to.
    #[error("`{path}` is read-only")]
    ReadOnly {
        /// The target.
        path: String,
    },
    /// The target holds something, and nobody said that it may be overwritten.
    #[error("the target `{path}` holds {}", .found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Signature {
        /// The target.
        path: String,
        /// What it holds.
        found: Vec<Signature>,
    },
    /// Both ends are the same storage, or parts of the same that overlap.
    #[error("`{source_path}` and `{target}` are the same storage: {how}")]
    Same {
        /// The source.
        source_path: String,
        /// The target.
        target: String,
        /// By what they are known to be.
        how: String,
    },
    /// The source is what was the target, or the other way round.
    #[error("source and target are swapped: `{path}` was the {was}")]
    Swapped {
        /// The device or file.
        path: String,
        /// What it was: `source` or `target`.
        was: &'static str,
    },
    /// A path leads to something else than was expected.
    #[error("`{path}` is not the {role} it was: expected {expected}, found {found}")]
    Other {
        /// The path.
        path: String,
        /// `source` or `target`.
        role: &'static str,
        /// What was expected.
        expected: Identity,
        /// What was found.
        found: Identity,
    },
    /// The size is not what it was when it was opened.
    #[error("the size of `{path}` changed from {before} to {now} bytes")]
    Resized {
        /// The device or file.
        path: String,
        /// Bytes before.
        before: u64,
        /// Bytes now.
        now: u64,
    },
    /// Somebody wrote to the target after the last pass.
    #[error("the target `{path}` was written to since the last pass, at byte {offset} or near it")]
    TargetChanged {
        /// The target.
        path: String,
        /// The first place that was found changed.
        offset: u64,
    },
    /// The device cannot be read there.
    #[error("`{path}` cannot be read at byte {offset} ({length} bytes): {source}")]
    Unreadable {
        /// The device.
        path: String,
        /// Where.
        offset: u64,
        /// How much was asked for.
        length: u64,
        /// What the kernel says.
        #[source]
        source: Errno,
    },
    /// There is no room for what is written to an image file.
    #[error("no space left for `{path}`")]
    NoSpace {
        /// The image.
        path: String,
    },
    /// What was read back is not what was written.
    #[error("`{path}` does not hold what was written to it: {extents} extents differ, the first at byte {offset}")]
    Mismatch {
        /// The target.
        path: String,
        /// How many extents.
        extents: u64,
        /// Where the first one begins.
        offset: u64,
    },
    /// The file of digests cannot be used.
    #[error("the digests in `{path}` cannot be used: {why}")]
    BadDigests {
        /// The file, or the run's own store.
        path: String,
        /// Why.
        why: String,
    },
    /// There is no map of used blocks to go by.
    #[error("`{path}` has no map of used blocks that could be relied on: {why}")]
    NoMap {
        /// The source.
        path: String,
        /// Why.
        why: String,
    },
    /// The end at the other side said what cannot be. Nothing of it was written.
    #[error("the end that has `{path}` said what cannot be: {what}")]
    Lied {
        /// Its path there.
        path: String,
        /// What.
        what: String,
    },
}

impl Error {
    /// Makes the maker of an [`Error::Io`] for a call on `path`.
    pub(super) fn io(op: &'static str, path: &str) -> impl FnOnce(Errno) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace { path },
            source => Self::Io { op, path, source },
        }
    }

    /// What the other end said that cannot be.
    pub(super) fn lied(path: &str, what: impl Into<String>) -> Self {
        Self::Lied { path: path.to_owned(), what: what.into() }
    }

    /// The same about what is called `name` here: the other end knows it by its path there.
    pub(super) fn about(mut self, name: &str) -> Self {
        if let Self::Io { path, .. }
        | Self::NotFound { path }
        | Self::NotBlock { path }
        | Self::InUse { path, .. }
        | Self::ReadOnly { path }
        | Self::Other { path, .. }
        | Self::Resized { path, .. }
        | Self::Unreadable { path, .. }
        | Self::NoSpace { path }
        | Self::NoMap { path, .. }
        | Self::Broken { path, .. }
        | Self::Lied { path, .. } = &mut self
        {
            name.clone_into(path);
        }
        self
    }

    /// Somebody has it open exclusively, and nothing more is known of them: it may be an attempt of before whose end has
    /// not yet noticed that nobody leads it any more.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::InUse { by, .. } if by.iter().all(|by| by == HELD))
    }

    /// A message of the other end that cannot be read.
    pub(super) fn malformed(path: &str) -> impl FnOnce(Malformed) -> Self + use<> {
        let path = path.to_owned();
        move |malformed| Self::Lied { path, what: malformed.to_string() }
    }
}

/// A range that could not be read and was filled with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// First byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", Bytes(self.bytes), self.offset)
    }
}
