//! Which directory a root really is: a path can be unmounted, remounted or replaced while a run goes on.

use std::fmt;

/// The identity of a root directory, kept in the journal and checked before every pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootId {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode of the directory.
    pub ino: u64,
    /// `f_fsid` of the file system.
    pub fsid: u64,
    /// `f_type` of the file system.
    pub fs_type: u64,
}
