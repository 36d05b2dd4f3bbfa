//! The end of a tree that is only read, wherever it is: what a walk asks of a directory or a file there is asked here, so
//! that it does not know whether it reads through a descriptor or from another place.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::data::{Fault, Mover, Tick};
use super::extents;
use super::far::{self, File, Folder};
use super::listing::{Buffer, Listing};
use super::names;
use super::sys::xattr::{self, Xattrs};
use super::sys::{self, Kind, Meta, Target};

/// A directory that is held open to be read.
#[derive(Debug)]
pub(super) enum EndDir {
    /// By a descriptor.
    Here(OwnedFd),
    /// At another place.
    Far(Arc<Folder>),
}

/// The same, lent.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// By a descriptor.
    Here(BorrowedFd<'a>),
    /// At another place.
    Far(&'a Arc<Folder>),
}

/// A regular file that is open to be read.
#[derive(Debug)]
pub(super) enum EndFile {
    /// By a descriptor.
    Here(OwnedFd),
    /// At another place.
    Far(Box<File>),
}

impl EndDir {
    pub(super) fn lend(&self) -> End<'_> {
        match self {
            Self::Here(fd) => End::Here(fd.as_fd()),
            Self::Far(folder) => End::Far(folder),
        }
    }
}

impl<'a> End<'a> {
    /// The metadata of a name, links not followed.
    pub(super) fn stat(self, name: &CStr) -> Result<Meta, Errno> {
        match self {
            Self::Here(fd) => sys::stat_at(fd, name),
            Self::Far(folder) => folder.stat(name),
        }
    }

    /// The same without what matters for directories only, where that is cheaper.
    pub(super) fn look(self, name: &CStr) -> Result<Meta, Errno> {
        match self {
            Self::Here(fd) => sys::look_at(fd, name),
            Self::Far(folder) => folder.stat(name),
        }
    }

    /// As [`End::stat`]; `None` where the name does not exist.
    pub(super) fn find(self, name: &CStr) -> Result<Option<Meta>, Errno> {
        match self.stat(name) {
            Ok(meta) => Ok(Some(meta)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The directory's own metadata.
    pub(super) fn meta(self) -> Result<Meta, Errno> {
        match self {
            Self::Here(fd) => sys::stat_fd(fd),
            Self::Far(folder) => folder.meta(),
        }
    }

    /// Where a link points to.
    pub(super) fn read_link(self, name: &CStr) -> Result<CString, Errno> {
        match self {
            Self::Here(fd) => sys::read_link(fd, name),
            Self::Far(folder) => folder.read_link(name),
        }
    }

    /// The attributes of a name.
    pub(super) fn xattrs(self, name: &CStr, scratch: &mut Vec<u8>) -> Result<Xattrs, Errno> {
        match self {
            Self::Here(fd) => xattr::read(Target::Name(fd, name), scratch),
            Self::Far(folder) => folder.xattrs(name),
        }
    }

    /// The directory's own attributes.
    pub(super) fn own_xattrs(self, scratch: &mut Vec<u8>) -> Result<Xattrs, Errno> {
        match self {
            Self::Here(fd) => xattr::read(Target::Fd(fd), scratch),
            Self::Far(folder) => folder.own_xattrs(),
        }
    }

    /// Opens a directory below.
    pub(super) fn dir(self, name: &CStr) -> Result<EndDir, Errno> {
        match self {
            Self::Here(fd) => sys::open_dir(fd, name).map(EndDir::Here),
            Self::Far(folder) => folder.dir(name).map(EndDir::Far),
        }
    }

    /// Opens the directory of that path below; `None` if there is none.
    pub(super) fn walk(self, path: &[u8]) -> Result<Option<EndDir>, Errno> {
        let mut at = self.dir(c".")?;
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            let name = CString::new(part).map_err(|_| Errno::INVAL)?;
            at = match at.lend().dir(&name) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(errno),
            };
        }
        Ok(Some(at))
    }

    /// Opens a regular file below.
    pub(super) fn file(self, name: &CStr) -> Result<EndFile, Errno> {
        match self {
            Self::Here(fd) => sys::open_read(fd, name).map(EndFile::Here),
            Self::Far(folder) => folder.file(name).map(|file| EndFile::Far(Box::new(file))),
        }
    }

    /// Reads the next piece of the directory, as [`Listing::read`] does.
    pub(super) fn list(
        self,
        listing: &mut Listing,
        buffer: &mut Buffer,
        keep: impl FnMut(&CStr, Kind) -> bool,
    ) -> Result<bool, Errno> {
        match self {
            Self::Here(fd) => listing.read(fd, buffer, keep),
            Self::Far(folder) => folder.list(listing, keep),
        }
    }

    /// Lets the listing begin anew.
    pub(super) fn rewind(self) -> Result<(), Errno> {
        match self {
            Self::Here(fd) => rustix::fs::seek(fd, SeekFrom::Start(0)).map(|_| ()),
            // What is asked of it afterwards is whether it has a name.
            Self::Far(folder) => folder.rest(),
        }
    }

    /// What type a name has, if there is one.
    pub(super) fn kind_of(self, name: &CStr) -> Result<Option<Kind>, Errno> {
        match self {
            Self::Here(_) => Ok(self.find(name)?.map(|meta| meta.kind)),
            Self::Far(folder) => folder.kind_of(name),
        }
    }

    /// How many bytes of a file are data and not holes; that it can be read at all is found out where that costs
    /// nothing.
    pub(super) fn data_length(self, name: &CStr, meta: &Meta) -> Result<u64, Errno> {
        match self {
            Self::Here(fd) => {
                let from = sys::open_read(fd, name)?;
                if extents::may_have_holes(meta) { extents::data_length(from.as_fd(), meta) } else { Ok(meta.size) }
            }
            Self::Far(folder) => folder.data_length(name, meta),
        }
    }

    /// Whether the directory, of which this is the metadata, is the root of a file system.
    pub(super) fn is_fs_root(self, meta: &Meta) -> bool {
        match self {
            Self::Here(fd) => names::is_fs_root(fd, meta),
            Self::Far(folder) => folder.is_fs_root(),
        }
    }
}

impl EndFile {
    pub(super) fn meta(&self) -> Result<Meta, Errno> {
        match self {
            Self::Here(fd) => sys::file_fd(fd),
            Self::Far(file) => file.meta(),
        }
    }

    /// How the file is after it was read; `once`: by one call.
    pub(super) fn state(&self, once: bool) -> Result<Meta, Errno> {
        match self {
            // What came by one read is of one moment, and if it changed since, its time tells the next pass. More of
            // it may be of several moments: there a network file system has to ask its server.
            Self::Here(fd) if once => sys::state_fd(fd),
            Self::Here(fd) => sys::file_fd(fd),
            Self::Far(file) => file.state(),
        }
    }

    pub(super) fn xattrs(&self, scratch: &mut Vec<u8>) -> Result<Xattrs, Errno> {
        match self {
            Self::Here(fd) => xattr::read(Target::Fd(fd.as_fd()), scratch),
            Self::Far(file) => file.xattrs(),
        }
    }

    /// Lets `old`, which the file will replace and which is so long, stand for the parts of it that are the same: they
    /// need not come from another place.
    pub(super) fn set_base(&self, old: impl FnOnce() -> Result<OwnedFd, Errno>, size: u64) {
        if let Self::Far(file) = self
            && size >= far::words::DELTA
            && let Ok(old) = old()
        {
            file.set_base(old);
        }
    }

    /// Copies the content from `start` on, as [`Mover::copy`] does.
    pub(super) fn copy(
        &self,
        mover: &mut Mover,
        to: BorrowedFd<'_>,
        meta: &Meta,
        to_dev: u64,
        start: u64,
        tick: &mut Tick<'_>,
    ) -> Result<u64, Fault> {
        match self {
            Self::Here(fd) => mover.copy(fd.as_fd(), to, meta, to_dev, start, tick),
            Self::Far(file) => file.copy(mover, to, meta, start, tick),
        }
    }

    /// Whether a part of the content is the same, as [`Mover::same`] tells.
    pub(super) fn same(
        &self,
        mover: &mut Mover,
        other: BorrowedFd<'_>,
        part: (u64, u64),
        tick: &mut Tick<'_>,
    ) -> Result<bool, Fault> {
        match self {
            Self::Here(fd) => mover.same(fd.as_fd(), other, part, tick),
            Self::Far(file) => file.same(other, part),
        }
    }
}
