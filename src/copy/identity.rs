//! Which directory a root really is: a path can be unmounted, remounted or replaced while a run goes on.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use crate::units::{ParseError, path_text};

/// The identity of a root directory, kept in the journal and checked before every pass.
///
/// Its text form is four hexadecimal numbers, `dev:ino:fsid:type`, and is read back by [`FromStr`].
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

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}:{:x}:{:x}", self.dev, self.ino, self.fsid, self.fs_type)
    }
}

impl FromStr for RootId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError { text: text.to_owned(), expected: "the identity of a directory (dev:ino:fsid:type)" };
        let mut parts = text.split(':').map(|part| u64::from_str_radix(part, 16));
        let mut next = || parts.next().and_then(Result::ok).ok_or_else(bad);
        let id = Self { dev: next()?, ino: next()?, fsid: next()?, fs_type: next()? };
        if parts.next().is_some() { Err(bad()) } else { Ok(id) }
    }
}

/// The identity of the directory at `path`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], or [`Error::Io`] if it cannot be opened or asked.
pub fn root_id(path: &Path) -> Result<RootId, Error> {
    let fd = open_root(path)?;
    of_fd(&fd).map_err(Error::io("stat", path.as_os_str().as_bytes()))
}

/// The identity of an open directory.
pub(super) fn of_fd(fd: impl AsFd) -> Result<RootId, Errno> {
    let stat = rustix::fs::fstat(&fd)?;
    let volume = rustix::fs::fstatvfs(&fd)?;
    let kind = rustix::fs::fstatfs(&fd)?;
    Ok(RootId { dev: stat.st_dev, ino: stat.st_ino, fsid: volume.f_fsid, fs_type: kind.f_type as u64 })
}

/// Opens a root, leaving its time of access alone where that is permitted. Links in the path are followed: the user
/// named it so.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let bytes = path.as_os_str().as_bytes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        other => other,
    };
    match opened {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT) => Err(Error::NotFound { path: path_text(bytes) }),
        Err(Errno::NOTDIR) => Err(Error::NotDirectory { path: path_text(bytes) }),
        Err(source) => Err(Error::io("open", bytes)(source)),
    }
}

/// Refuses a root that is not the one expected, looking at the held descriptor and, again, at what the path leads to.
pub(super) fn check(path: &Path, held: impl AsFd, expected: &RootId) -> Result<(), Error> {
    let bytes = path.as_os_str().as_bytes();
    let held = of_fd(held).map_err(Error::io("stat", bytes))?;
    for found in [held, root_id(path)?] {
        if found != *expected {
            return Err(Error::RootChanged { path: path_text(bytes), expected: expected.clone(), found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_identity_survives_its_text_form() {
        let id = root_id(Path::new("/")).unwrap();
        assert_eq!(id.to_string().parse::<RootId>().unwrap(), id);
        for text in ["", "1:2:3", "1:2:3:4:5", "1:2:3:x"] {
            assert!(text.parse::<RootId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_root_and_a_file_are_told_apart() {
        assert!(matches!(root_id(Path::new("/nowhere/at/all")), Err(Error::NotFound { .. })));
        assert!(matches!(root_id(Path::new("/proc/self/stat")), Err(Error::NotDirectory { .. })));
    }

    #[test]
    fn another_directory_is_refused() {
        let id = root_id(Path::new("/")).unwrap();
        let held = open_root(Path::new("/proc")).unwrap();
        assert!(matches!(check(Path::new("/"), &held, &id), Err(Error::RootChanged { .. })));
        let held = open_root(Path::new("/")).unwrap();
        assert!(matches!(check(Path::new("/proc"), &held, &id), Err(Error::RootChanged { .. })));
        check(Path::new("/"), &held, &id).unwrap();
    }
}
