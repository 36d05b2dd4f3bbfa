//! Which parts of a file hold data, and which are holes.

use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::data::SMALL;
use super::sys::Meta;

/// How many bytes of a file are data and not holes.
pub(super) fn data_length(fd: BorrowedFd<'_>, meta: &Meta) -> Result<u64, Errno> {
    let mut extents = Extents::new(fd, meta, 0);
    let mut length = 0;
    while let Some((first, last)) = extents.next()? {
        length += last - first;
    }
    Ok(length)
}

/// Whether a file can have holes at all that are worth asking for.
pub(super) fn may_have_holes(meta: &Meta) -> bool {
    meta.size >= SMALL || meta.blocks.saturating_mul(512) < meta.size
}

/// The parts of a file that hold data.
pub(super) struct Extents<'a> {
    fd: BorrowedFd<'a>,
    at: u64,
    size: u64,
    ask: bool,
    sparse: bool,
    /// The file takes less space than its size, and the file system does not say where its holes are.
    pub maybe_zeros: bool,
}

impl<'a> Extents<'a> {
    pub(super) fn new(fd: BorrowedFd<'a>, meta: &Meta, start: u64) -> Self {
        let sparse = meta.blocks.saturating_mul(512) < meta.size;
        Self { fd, at: start, size: meta.size, ask: may_have_holes(meta), sparse, maybe_zeros: false }
    }

    /// Ends there for now; the next call may let it go on.
    pub(super) fn end_at(&mut self, size: u64) {
        self.size = size;
    }

    /// Where the part begins that was not asked for yet.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next part, from where to where.
    pub(super) fn next(&mut self) -> Result<Option<(u64, u64)>, Errno> {
        if self.at >= self.size {
            return Ok(None);
        }
        if !self.ask {
            return Ok(Some((std::mem::replace(&mut self.at, self.size), self.size)));
        }
        let first = match rustix::fs::seek(self.fd, SeekFrom::Data(self.at)) {
            Ok(first) => first.max(self.at),
            // No data up to the end.
            Err(Errno::NXIO) => {
                self.at = self.size;
                return Ok(None);
            }
            Err(errno) if errno == Errno::INVAL || super::sys::is_unsupported(errno) => {
                self.ask = false;
                self.maybe_zeros = self.sparse;
                return self.next();
            }
            Err(errno) => return Err(errno),
        };
        if first >= self.size {
            self.at = self.size;
            return Ok(None);
        }
        let last = match rustix::fs::seek(self.fd, SeekFrom::Hole(first)) {
            Ok(last) => last.min(self.size),
            Err(Errno::NXIO) => self.size,
            Err(errno) => return Err(errno),
        };
        // All of it is data, says a file system that stores less than that: it does not really know.
        if first == 0 && last == self.size && self.sparse {
            self.maybe_zeros = true;
        }
        // A file that is cut short meanwhile can put the hole before the data.
        self.at = last.max(first + 1).min(self.size);
        Ok(Some((first, self.at)))
    }
}
