//! What the file system of a tree takes in all: an upper bound for the tree that costs one call instead of a look at
//! every entry.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::Error;
use super::identity::open_root;
use super::report::Probe;
use super::sys;

/// Kinds of file systems (`f_type`) whose own count is smaller than what their files take elsewhere, because they
/// compress or share what they hold: btrfs, squashfs, EROFS.
const DENSE: [u64; 3] = [0x9123_683e, 0x7371_7368, 0xe0f5_e1e2];

/// What is in use on the file system that a directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, all trees of the file system together.
    pub bytes: u64,
    /// Inodes, all trees together; 0 where they are not counted.
    pub inodes: u64,
    /// The directory is the root of its mount: what is in use is most likely its own.
    pub whole: bool,
}

impl Usage {
    /// Whether the destination has room for all of it.
    #[must_use]
    pub fn fits(&self, probe: &Probe) -> bool {
        let inodes = match probe.free_inodes {
            None => true,
            Some(free) => self.inodes > 0 && self.inodes <= free,
        };
        inodes && self.bytes <= probe.free_bytes
    }
}

/// What the file system of `root` takes (`statvfs`); `None` where that is no upper bound for a tree on it. What is
/// mounted below `root` is not in it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::Io`].
pub fn usage(root: &Path) -> Result<Option<Usage>, Error> {
    let path = root.as_os_str().as_bytes();
    let dir = open_root(root)?;
    let volume = rustix::fs::fstatvfs(&dir).map_err(Error::io("statvfs", path))?;
    let kind = rustix::fs::fstatfs(&dir).map_err(Error::io("statfs", path))?.f_type;
    if volume.f_blocks == 0 || DENSE.contains(&(kind as u64)) {
        return Ok(None);
    }
    Ok(Some(Usage {
        bytes: volume.f_blocks.saturating_sub(volume.f_bfree).saturating_mul(volume.f_frsize),
        inodes: volume.f_files.saturating_sub(volume.f_ffree),
        whole: sys::stat_fd(&dir).map_err(Error::io("stat", path))?.mount_root,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_space_and_inodes_must_be_there() {
        let usage = Usage { bytes: 100, inodes: 10, whole: false };
        let probe = Probe { free_bytes: 100, free_inodes: Some(10), ..Probe::default() };
        assert!(usage.fits(&probe));
        assert!(usage.fits(&Probe { free_inodes: None, ..probe.clone() }));
        assert!(!usage.fits(&Probe { free_bytes: 99, ..probe.clone() }));
        assert!(!usage.fits(&Probe { free_inodes: Some(9), ..probe.clone() }));
        // Where the source does not count them, nothing is known.
        assert!(!Usage { inodes: 0, ..usage }.fits(&probe));
    }
}
