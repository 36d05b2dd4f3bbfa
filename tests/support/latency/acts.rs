//! What a request does to the backing directory once it has waited.

use std::io::Error;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use fuser::{FileAttr, Generation, Request, TimeOrNow};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps, UTIME_OMIT, Uid,
    chmodat, chownat, fstat, ftruncate, lgetxattr, lgetxattr_query, linkat, llistxattr, llistxattr_query, openat,
    renameat_with, seek, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::super::fuse as convert;
use super::nodes::{Listed, Nodes, Place};

/// The backing directory, and what the kernel knows of it.
pub(super) struct Tree {
    pub(super) nodes: Nodes,
    /// How long the kernel may believe a name and the attributes behind it.
    pub(super) valid: Duration,
}

/// An entry as the kernel is told of it.
pub(super) type Found = (FileAttr, Generation);

/// What a new entry is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    uid: u32,
    gid: u32,
    /// A link has none of its own.
    mode: Option<(u32, u32)>,
}

impl Wanted {
    /// Belongs to the caller; `mode` comes with the mask that holds where the directory hands down no ACL.
    pub(super) fn by(request: &Request, mode: Option<(u32, u32)>) -> Self {
        Self { uid: request.uid(), gid: request.gid(), mode }
    }
}

/// What a `setattr` asks for.
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
    pub(super) handle: Option<u64>,
}

impl Tree {
    pub(super) fn over(backing: &Path, valid: Duration) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { nodes: Nodes::new(openat(CWD, backing, flags, Mode::empty())?)?, valid })
    }

    /// Finds an entry; the kernel then knows it once more.
    fn enter(&self, place: &Place) -> Result<Found, Errno> {
        let stat = place.stat()?;
        let (ino, generation) = self.nodes.found(place, &stat)?;
        Ok((convert::attr(ino, &stat, None), generation))
    }

    pub(super) fn lookup(&self, dir: u64, name: &[u8]) -> Result<Found, Errno> {
        self.enter(&self.nodes.name_in(dir, name)?)
    }

    pub(super) fn getattr(&self, ino: u64, handle: Option<u64>) -> Result<FileAttr, Errno> {
        let stat = match handle {
            Some(handle) => fstat(&self.nodes.handle(handle)?.file)?,
            None => self.nodes.place(ino)?.stat()?,
        };
        Ok(convert::attr(ino, &stat, None))
    }

    pub(super) fn setattr(&self, ino: u64, change: &Change) -> Result<FileAttr, Errno> {
        let place = self.nodes.place(ino)?;
        if let Some(size) = change.size {
            match change.handle {
                Some(handle) => ftruncate(&self.nodes.handle(handle)?.file, size)?,
                None => ftruncate(place.open(OFlags::WRONLY)?, size)?,
            }
        }
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
            chownat(&*place.dir, &*place.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = change.mode {
            chmodat(&*place.dir, &*place.name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let time = |time: Option<TimeOrNow>| {
                time.map_or(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, |time| convert::timespec(time, None))
            };
            let both = Timestamps { last_access: time(change.atime), last_modification: time(change.mtime) };
            utimensat(&*place.dir, &*place.name, &both, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(convert::attr(ino, &place.stat()?, None))
    }

    /// Makes a new entry and gives it the owner and mode it would have, had the caller made it.
    pub(super) fn make<T>(
        &self,
        dir: u64,
        name: &[u8],
        wanted: Wanted,
        call: impl FnOnce(&Place, Mode) -> Result<T, Errno>,
    ) -> Result<(T, Found), Errno> {
        let above = self.nodes.place(dir)?;
        let place = self.nodes.name_in(dir, name)?;
        let inherits = lgetxattr_query(above.path(), "system.posix_acl_default").is_ok();
        let (bits, umask) = wanted.mode.unwrap_or((0o777, 0));
        let bits = if inherits { bits & 0o7777 } else { bits & 0o7777 & !umask };
        let made = call(&place, Mode::from_raw_mode(bits))?;
        let stat = place.stat()?;
        let gid = if of_group(&above.stat()?) { stat.st_gid } else { wanted.gid };
        if (stat.st_uid, stat.st_gid) != (wanted.uid, gid) {
            let (uid, gid) = (Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(gid)));
            chownat(&*place.dir, &*place.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        // The mask of this process has been applied as well, and a new owner takes the right to become one away.
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let bits = if is_dir { bits | (stat.st_mode & 0o2000) } else { bits };
        if wanted.mode.is_some() && !inherits && place.stat()?.st_mode & 0o7777 != bits {
            chmodat(&*place.dir, &*place.name, Mode::from_raw_mode(bits), AtFlags::empty())?;
        }
        Ok((made, self.enter(&place)?))
    }

    /// Makes a file and opens it.
    pub(super) fn create(&self, dir: u64, name: &[u8], wanted: Wanted, flags: i32) -> Result<(u64, Found), Errno> {
        let access = access(flags) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fresh =
            |place: &Place, mode| openat(&*place.dir, &*place.name, access | OFlags::CREATE | OFlags::EXCL, mode);
        match self.make(dir, name, wanted, fresh) {
            // Another made it since the kernel looked; whoever did not insist on a new one opens that one.
            Err(Errno::EXIST) if flags & OFlags::EXCL.bits().cast_signed() == 0 => {
                let place = self.nodes.name_in(dir, name)?;
                let found = self.enter(&place)?;
                Ok((self.nodes.keep(place.open(access)?), found))
            }
            made => made.map(|(fd, found): (OwnedFd, _)| (self.nodes.keep(fd), found)),
        }
    }

    pub(super) fn open(&self, ino: u64, flags: i32) -> Result<u64, Errno> {
        Ok(self.nodes.keep(self.nodes.place(ino)?.open(access(flags))?))
    }

    pub(super) fn read(&self, handle: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let handle = self.nodes.handle(handle)?;
        let mut data = vec![0; size as usize];
        let read = handle.file.read_at(&mut data, offset).map_err(|error| os_error(&error))?;
        data.truncate(read);
        Ok(data)
    }

    pub(super) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let written = self.nodes.handle(handle)?.file.write_at(data, offset).map_err(|error| os_error(&error))?;
        u32::try_from(written).map_err(|_| Errno::IO)
    }

    pub(super) fn seek(&self, handle: u64, offset: i64, whence: i32) -> Result<i64, Errno> {
        let at = offset.try_into().map_err(|_| Errno::NXIO);
        let to = match whence {
            0 => SeekFrom::Start(at?),
            2 => SeekFrom::End(offset),
            3 => SeekFrom::Data(at?),
            4 => SeekFrom::Hole(at?),
            _ => return Err(Errno::INVAL),
        };
        i64::try_from(seek(&self.nodes.handle(handle)?.file, to)?).map_err(|_| Errno::OVERFLOW)
    }

    pub(super) fn link(&self, ino: u64, dir: u64, name: &[u8]) -> Result<Found, Errno> {
        let (from, to) = (self.nodes.place(ino)?, self.nodes.name_in(dir, name)?);
        linkat(&*from.dir, &*from.name, &*to.dir, &*to.name, AtFlags::empty())?;
        self.enter(&to)
    }

    pub(super) fn remove(&self, dir: u64, name: &[u8], flags: AtFlags) -> Result<(), Errno> {
        let place = self.nodes.name_in(dir, name)?;
        let was = place.stat()?;
        unlinkat(&*place.dir, &*place.name, flags)?;
        self.nodes.lost(&place, &was);
        Ok(())
    }

    pub(super) fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: RenameFlags) -> Result<(), Errno> {
        let [from, to] = [self.nodes.name_in(from.0, from.1)?, self.nodes.name_in(to.0, to.1)?];
        let (was, over) = (from.stat()?, to.stat().ok());
        renameat_with(&*from.dir, &*from.name, &*to.dir, &*to.name, flags)?;
        match over {
            // Two names of one file stay what they are.
            Some(over) if over.st_ino == was.st_ino => {}
            Some(over) if flags.contains(RenameFlags::EXCHANGE) => {
                self.nodes.moved(&from, &to, &was);
                self.nodes.moved(&to, &from, &over);
            }
            over => {
                if let Some(over) = over {
                    self.nodes.lost(&to, &over);
                }
                self.nodes.moved(&from, &to, &was);
            }
        }
        Ok(())
    }

    pub(super) fn opendir(&self, ino: u64) -> Result<u64, Errno> {
        Ok(self.nodes.keep(self.nodes.place(ino)?.open(OFlags::DIRECTORY)?))
    }

    /// The names from `offset` on; they are read when the kernel begins.
    pub(super) fn names(&self, ino: u64, handle: u64, offset: u64) -> Result<Vec<Listed>, Errno> {
        let handle = self.nodes.handle(handle)?;
        let mut listing = handle.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            listing.clear();
            for item in Dir::read_from(&handle.file)? {
                let item = item?;
                let name = item.file_name().to_bytes();
                let number = if is_dots(name) { ino } else { self.nodes.number(item.ino()) };
                listing.push((number, name.to_vec()));
            }
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        Ok(listing.get(offset..).unwrap_or_default().to_vec())
    }

    /// An attribute, or the list of their names: the size alone if the kernel gave no room.
    pub(super) fn attribute(&self, ino: u64, of: &Of, size: u32) -> Result<Attribute, Errno> {
        let path = &*self.nodes.place(ino)?.path();
        let mut value = vec![0; size as usize];
        let used = match of {
            Of::Name(name) if size == 0 => lgetxattr_query(path, &**name)?,
            Of::Name(name) => lgetxattr(path, &**name, &mut *value)?,
            Of::Names if size == 0 => llistxattr_query(path)?,
            Of::Names => llistxattr(path, &mut *value)?,
        };
        if size == 0 {
            return Ok(Attribute::Size(u32::try_from(used).map_err(|_| Errno::OVERFLOW)?));
        }
        value.truncate(used);
        Ok(Attribute::Value(value))
    }
}

/// A question for attributes.
pub(super) enum Of {
    Name(Vec<u8>),
    Names,
}

/// What is answered to it.
pub(super) enum Attribute {
    Size(u32),
    Value(Vec<u8>),
}

/// The entries every directory has; the kernel wants no attributes of them.
pub(super) fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

fn of_group(dir: &Stat) -> bool {
    dir.st_mode & 0o2000 != 0
}

/// The kernel gives each write its offset and has resolved the name: what is left is how to open.
fn access(flags: i32) -> OFlags {
    let kept = OFlags::RDONLY | OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC;
    OFlags::from_bits_retain(flags.cast_unsigned()) & kept
}

fn os_error(error: &Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
