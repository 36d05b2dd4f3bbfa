//! What was asked of the file system: requests by kind, and how many waited at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A request that costs a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lookup,
    Getattr,
    Setattr,
    Readlink,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Symlink,
    Link,
    Rename,
    Open,
    Create,
    Read,
    Write,
    Fsync,
    Seek,
    Allocate,
    /// One buffer of names with their attributes.
    Readdirplus,
    Getxattr,
    Listxattr,
    Setxattr,
    Removexattr,
}

impl Kind {
    pub(crate) const ALL: [Self; 23] = [
        Self::Lookup,
        Self::Getattr,
        Self::Setattr,
        Self::Readlink,
        Self::Mknod,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Symlink,
        Self::Link,
        Self::Rename,
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Fsync,
        Self::Seek,
        Self::Allocate,
        Self::Readdirplus,
        Self::Getxattr,
        Self::Listxattr,
        Self::Setxattr,
        Self::Removexattr,
    ];

    /// As the protocol writes it.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_uppercase()
    }
}

/// The counters of a mount.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_kind: [AtomicU64; Kind::ALL.len()],
    waiting: AtomicU64,
    most: AtomicU64,
}

impl Tally {
    /// A request begins to wait.
    pub(super) fn began(&self, kind: Kind) {
        self.by_kind[kind as usize].fetch_add(1, Ordering::Relaxed);
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(waiting, Ordering::Relaxed);
    }

    /// A request has waited.
    pub(super) fn waited(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let by_kind = Kind::ALL.into_iter().map(|kind| (kind, self.by_kind[kind as usize].load(Ordering::Relaxed)));
        Counts {
            by_kind: by_kind.filter(|(_, times)| *times > 0).collect(),
            most_in_flight: self.most.load(Ordering::Relaxed),
        }
    }

    /// Counts from zero again.
    pub(super) fn reset(&self) {
        for counter in &self.by_kind {
            counter.store(0, Ordering::Relaxed);
        }
        self.most.store(self.waiting.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// What was asked since the mount or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Kinds that were never asked for are not in it.
    pub(crate) by_kind: BTreeMap<Kind, u64>,
    /// The most requests that waited at once. It tells little of a mount without a delay.
    pub(crate) most_in_flight: u64,
}

impl Counts {
    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, times) in &self.by_kind {
            write!(f, "{} {times}, ", kind.name())?;
        }
        write!(f, "{} in all, {} at once", self.total(), self.most_in_flight)
    }
}
