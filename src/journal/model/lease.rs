//! Leases: what a run may touch.

use super::run::RunId;
use crate::journal::words::words;

words! {
    /// What sort of thing a lease is on.
    TargetKind {
        /// A directory tree.
        Tree = "tree",
        /// A block device or an image of one.
        Block = "block",
    }
}

words! {
    /// How a lease excludes others.
    LeaseMode {
        /// The target is only read: others may read it too.
        Shared = "shared",
        /// The target is changed: nobody else may hold it.
        Exclusive = "exclusive",
    }
}

/// What a lease is taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What sort of thing.
    pub kind: TargetKind,
    /// Its identity: `tree:<dev>:<ino>`, `block:<what the engine knows it by>`.
    pub key: String,
    /// Canonical absolute path, as bytes: a lease on a directory holds what is below it.
    pub path: Vec<u8>,
    /// How it excludes others.
    pub mode: LeaseMode,
}

/// A lease of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run that holds it.
    pub run: RunId,
    /// On what.
    pub target: Target,
    /// Since when.
    pub acquired_ms: i64,
    /// Until when, if it was given back.
    pub released_ms: Option<i64>,
}
