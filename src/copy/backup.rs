//! Entries that would be lost are kept at the same place below the backup directory, on the same file system.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::error::Error;
use super::identity::open_root;
use super::options::Loss;
use super::sys::xattr::{self, Xattrs};
use super::sys::{self, Kind, Meta, Target};
use crate::units::path_text;

/// An open backup directory.
#[derive(Debug)]
pub(super) struct Backup {
    root: OwnedFd,
    pub id: (u64, u64),
}

/// What became of an entry that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is in the backup directory and still in its place.
    Linked,
    /// It is in the backup directory only.
    Moved,
}

impl Backup {
    /// Opens the backup directory, which must be on the file system `dev`; makes it unless `dry`. `None`: it does not
    /// exist and was not made.
    pub(super) fn open(path: &Path, dev: u64, dry: bool) -> Result<Option<Self>, Error> {
        let bytes = path.as_os_str().as_bytes();
        let root = match open_root(path) {
            Err(Error::NotFound { .. }) => {
                let parent = open_root(super::overlap::parent_of(path))?;
                Self::check(&parent, dev, bytes)?;
                if dry {
                    return Ok(None);
                }
                rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)).map_err(Error::io("make", bytes))?;
                open_root(path)?
            }
            other => other?,
        };
        let id = Self::check(&root, dev, bytes)?;
        Ok(Some(Self { root, id }))
    }

    fn check(fd: &OwnedFd, dev: u64, path: &[u8]) -> Result<(u64, u64), Error> {
        let meta = sys::stat_fd(fd).map_err(Error::io("stat", path))?;
        if meta.dev == dev { Ok(meta.id()) } else { Err(Error::BackupElsewhere { backup: path_text(path) }) }
    }

    /// The directory of that path below the backup directory, made where it is missing.
    pub(super) fn dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut at = self
            .root
            .try_clone()
            .map_err(|error| error.raw_os_error().map_or(Errno::MFILE, Errno::from_raw_os_error))?;
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            let name = CString::new(part).map_err(|_| Errno::INVAL)?;
            match rustix::fs::mkdirat(&at, &name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            at = sys::open_dir(&at, &name)?;
        }
        Ok(at)
    }

    /// Keeps `name` of the directory `from`, which has the path `dir`. `link`: it should stay in its place for now.
    pub(super) fn keep(
        &self,
        from: BorrowedFd<'_>,
        dir: &[u8],
        name: &std::ffi::CStr,
        meta: &Meta,
        link: bool,
    ) -> Result<Kept, Errno> {
        let to = self.dir(dir)?;
        if link {
            match rustix::fs::linkat(from, name, &to, name, AtFlags::empty()) {
                Ok(()) => return Ok(Kept::Linked),
                Err(Errno::EXIST) if sys::stat_at(&to, name)?.id() == meta.id() => return Ok(Kept::Linked),
                Err(Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(errno),
            }
        }
        match sys::find_at(&to, name)? {
            // Kept by link before a crash, and now to leave its place: renaming one name of an inode to another does
            // nothing at all.
            Some(old) if old.id() == meta.id() && meta.kind != Kind::Dir => sys::unlink(from, name)?,
            Some(_) => return Err(Errno::EXIST),
            None => rustix::fs::renameat(from, name, &to, name)?,
        }
        Ok(Kept::Moved)
    }

    /// What is kept at that path.
    pub(super) fn find(&self, path: &[u8]) -> Result<Option<Meta>, Errno> {
        let mut at = sys::open_dir(&self.root, c".")?;
        let mut parts = path.split(|&byte| byte == b'/').peekable();
        while let Some(part) = parts.next() {
            let name = CString::new(part).map_err(|_| Errno::INVAL)?;
            if parts.peek().is_none() {
                return sys::find_at(&at, &name);
            }
            at = match sys::open_dir(&at, &name) {
                Err(Errno::NOENT) => return Ok(None),
                other => other?,
            };
        }
        Ok(None)
    }

    /// Keeps a directory's metadata, once it is empty and about to go.
    pub(super) fn keep_dir(&self, path: &[u8], meta: &Meta, xattrs: &Xattrs) -> Result<(), Errno> {
        let fd = self.dir(path)?;
        dress(Target::Fd(fd.as_fd()), meta, xattrs)
    }
}

/// Gives a directory the metadata of another one. The owner stays where the user may not change it.
pub(super) fn dress(target: Target<'_>, meta: &Meta, xattrs: &Xattrs) -> Result<(), Errno> {
    match target.chown(Some(meta.uid), Some(meta.gid)) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    // ACLs last: they may take from us the right to set the others.
    let (acls, others): (Vec<_>, Vec<_>) =
        xattrs.iter().partition(|(name, _)| xattr::property(name) == Some(Loss::Acl));
    for (name, value) in others.into_iter().chain(acls) {
        xattr::set(target, name, value)?;
    }
    target.chmod(meta.mode)?;
    target.set_times(meta.atime, meta.mtime)
}
