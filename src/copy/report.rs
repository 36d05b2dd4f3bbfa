//! What a pass, a scan or a comparison found and did. Every count of every worker ends here.

use std::time::Duration;

use super::error::EntryError;
use super::options::Loss;
use crate::progress::Held;

/// How many names a report keeps of each sort; the counts beside them are always complete.
pub const NAMED: usize = 1_000;

/// Entries by type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular files (each name of a hard-linked file counts).
    pub files: u64,
    /// Directories, the root included.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// FIFOs, sockets and devices.
    pub specials: u64,
}

impl Counts {
    /// All entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.files + self.dirs + self.links + self.specials
    }
}

/// The report of [`super::tree`].
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Entries seen in the source, by type. `listed.entries()` is the sum of created, updated, unchanged, skipped
    /// (accepted by name), vanished and the failed entries of the source.
    pub listed: Counts,
    /// Entries made in the destination.
    pub created: Counts,
    /// Entries whose content was replaced.
    pub updated: u64,
    /// Entries of which only metadata (owner, mode, times, xattrs, ACL) was changed.
    pub meta_updated: u64,
    /// Entries that were already as they should be.
    pub unchanged: u64,
    /// Entries removed from the destination (or that would be), everything below deleted directories included.
    pub deleted: u64,
    /// Entries of the destination moved to the backup directory instead of being lost.
    pub backed_up: u64,
    /// Entries this run did not make and that were (or would be) replaced or deleted.
    pub foreign: u64,
    /// Entries left out because a loss was accepted by name, or left to a later pass (`Options::more_follow`).
    pub skipped: u64,
    /// Entries that were listed and gone when they were to be read.
    pub vanished: u64,
    /// Files that changed while they were read; the next pass copies them again.
    pub changed: u64,
    /// Entries that could not be handled. Zero means: everything listed is in the destination.
    pub failed: u64,
    /// The first [`NAMED`] of the failed entries.
    pub errors: Vec<EntryError>,
    /// Apparent size of the source's regular files (hard-linked content once).
    pub listed_bytes: u64,
    /// Bytes of file content written to the destination (or that would be; holes do not count).
    pub copied_bytes: u64,
    /// Entries found in the destination before this pass changed it (within what was walked).
    pub dest_entries: u64,
    /// Wall time.
    pub elapsed: Duration,
    /// Nothing was written: the pass was asked for with `dry_run`.
    pub planned: bool,
    /// What the copying walk took.
    pub effort: Effort,
}

/// How a walk over a tree was worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Operations done, of about one request to a file system each: a look at an entry, what making it takes beyond
    /// that, 64 KiB of content.
    pub operations: u64,
    /// Wall time of the walk alone.
    pub elapsed: Duration,
    /// Workers at the end.
    pub workers: usize,
    /// Workers at most.
    pub most_workers: usize,
    /// Why there were no more; `None`: the walk was over before that could be told.
    pub held: Option<Held>,
}

impl Report {
    /// Entries the report says something about; failures of the destination's own entries count as well, so that it is
    /// at least the number of entries listed.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        let done = self.created.entries() + self.updated + self.meta_updated + self.unchanged;
        done + self.skipped + self.vanished + self.failed
    }
}

/// The report of [`super::scan`].
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Entries by type.
    pub counts: Counts,
    /// Apparent size of regular files (hard-linked content once).
    pub bytes: u64,
    /// Space they take (512-byte blocks times 512; hard-linked content once).
    pub disk_bytes: u64,
    /// Names of files with more than one name, beyond the first name of each.
    pub hardlinks: u64,
    /// Files that take less space than their size.
    pub sparse: u64,
    /// Entries with an xattr that is neither ACL nor capability, if looked at.
    pub xattrs: u64,
    /// Entries with an access control list, if looked at.
    pub acls: u64,
    /// Files with capabilities, if looked at.
    pub capabilities: u64,
    /// Sockets (no file system can be given one by a copy).
    pub sockets: u64,
    /// Devices.
    pub devices: u64,
    /// Entries not owned by the user who runs the scan, or of a group that user is not in.
    pub others_owner: u64,
    /// Entries whose times are not whole seconds.
    pub subsecond: u64,
    /// Length in bytes of the longest name, and of the longest path below the root.
    pub longest_name: u64,
    /// See `longest_name`.
    pub longest_path: u64,
    /// Size of the largest file.
    pub largest_bytes: u64,
    /// Names that are not UTF-8.
    pub odd_names: u64,
    /// Entries that could not be read, with the first [`NAMED`] of them.
    pub failed: u64,
    /// See `failed`.
    pub errors: Vec<EntryError>,
    /// Directories on which another file system is mounted.
    pub mounts: u64,
    /// Entries of which a quick scan saw name and type only.
    pub names_only: u64,
    /// Digest of the tree, 64 hexadecimal digits (see [`super::digest`]); empty for a quick scan.
    pub digest: String,
    /// Wall time.
    pub elapsed: Duration,
}

/// One difference between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path below the roots.
    pub path: Vec<u8>,
    /// `only-left`, `only-right`, `type`, `size`, `content`, `mode`, `owner`, `mtime`, `link-target`, `device`,
    /// `xattr`, `acl`, `capability`, `hardlink`.
    pub what: &'static str,
    /// Both values for people, left then right.
    pub detail: String,
}

/// The report of [`super::compare`].
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Left side.
    pub left: Side,
    /// Right side.
    pub right: Side,
    /// Differences found.
    pub differences: u64,
    /// The first [`NAMED`] of them.
    pub named: Vec<Difference>,
    /// Files whose content was read on both sides, and their bytes (one side).
    pub content_files: u64,
    /// See `content_files`.
    pub content_bytes: u64,
    /// Entries that could not be compared, with the first [`NAMED`] of them.
    pub failed: u64,
    /// See `failed`.
    pub errors: Vec<EntryError>,
    /// Wall time.
    pub elapsed: Duration,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Entries by type.
    pub counts: Counts,
    /// Apparent size of regular files (hard-linked content once).
    pub bytes: u64,
    /// Digest of what was compared, 64 hexadecimal digits; equal trees have equal digests.
    pub digest: String,
}

/// What a destination can hold, and what the user may do there. `None`: cannot be told without writing a named file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Type of the file system (`ext4`, `nfs`, or its magic number in hexadecimal).
    pub fs_type: String,
    /// Mounted read-only, or not writable by the user.
    pub writable: bool,
    /// Why not, if so.
    pub read_only_reason: Option<String>,
    /// Bytes and inodes an ordinary process may still use (`None`: the file system has no inode limit).
    pub free_bytes: u64,
    /// See `free_bytes`.
    pub free_inodes: Option<u64>,
    /// Owner and group can be set to any number and stay.
    pub chown: Option<bool>,
    /// The server changes owners (`all`: every owner, `root`: only the super-user's).
    pub squash: Option<&'static str>,
    /// `user.` xattrs can be set.
    pub xattr: Option<bool>,
    /// POSIX ACLs can be set.
    pub acl: Option<bool>,
    /// `security.capability` can be set.
    pub capability: Option<bool>,
    /// Files can have several names.
    pub hardlink: Option<bool>,
    /// Holes stay holes.
    pub holes: Option<bool>,
    /// Smallest step of a file's time in nanoseconds.
    pub time_ns: Option<u64>,
    /// Devices can be made.
    pub device: Option<bool>,
    /// Longest name in bytes.
    pub name_max: u64,
}

/// One thing that the source has and the destination cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// What would be lost; `None` if nothing can be accepted in its place (too little space, names too long).
    pub loss: Option<Loss>,
    /// How many entries are concerned.
    pub entries: u64,
    /// Why, for people.
    pub reason: String,
}

/// The report of [`super::undo`].
#[derive(Debug, Clone, Default)]
pub struct Undone {
    /// Entries removed that the run had made.
    pub removed: u64,
    /// Entries moved back from the backup directory.
    pub restored: u64,
    /// Entries whose former metadata was put back.
    pub meta_restored: u64,
    /// Entries left as they are, and why: changed by others since, or not empty.
    pub left: u64,
    /// The first [`NAMED`] of them, with the reason.
    pub named: Vec<(Vec<u8>, String)>,
    /// Entries that could not be handled.
    pub failed: u64,
    /// The first [`NAMED`] of them.
    pub errors: Vec<EntryError>,
}
