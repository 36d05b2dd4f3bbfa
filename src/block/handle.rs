//! A device or image file that is held open: ranges of it are read, written, zeroed and made durable.
//!
//! Two descriptors lead to the same storage: one past the page cache (`O_DIRECT`) where that works, and a plain one for
//! the rest: the last bytes of an image that is no multiple of a sector, and file systems without direct access.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::buffer::{ALIGN, Pool};
use super::device;
use super::geometry::EXTENT;
use crate::units::ByteRange;

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A block device.
    Device,
    /// A regular file.
    Image,
    /// Nothing yet: an image that is to be made.
    Missing,
}

/// How a handle is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To read, beside others.
    Shared,
    /// To read, and nobody else may have it exclusively.
    Read,
    /// To write, and nobody else may have it exclusively.
    Write,
}

#[derive(Debug)]
pub(super) struct Handle {
    kind: Kind,
    plain: OwnedFd,
    direct: Option<OwnedFd>,
    /// What direct access has to be a multiple of, bytes.
    sector: usize,
}

impl Handle {
    /// Opens again what `found` is open on, so that it is surely the same.
    ///
    /// # Errors
    /// `EBUSY` if somebody has it exclusively, `EROFS`, `EACCES`, …
    pub(super) fn reopen(found: impl AsFd, kind: Kind, access: Access) -> Result<Self, Errno> {
        let path = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
        let rights = if access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
        let exclusive = access != Access::Shared;
        let claim = if exclusive && kind == Kind::Device { OFlags::EXCL } else { OFlags::empty() };
        let plain = rustix::fs::open(&path, rights | OFlags::CLOEXEC | claim, Mode::empty())?;
        if exclusive && kind == Kind::Image {
            let lock = match access {
                Access::Write => FlockOperation::NonBlockingLockExclusive,
                _ => FlockOperation::NonBlockingLockShared,
            };
            rustix::fs::flock(&plain, lock).map_err(|errno| if errno == Errno::AGAIN { Errno::BUSY } else { errno })?;
        }
        let direct = rustix::fs::open(&path, rights | OFlags::CLOEXEC | OFlags::DIRECT, Mode::empty()).ok();
        let sector = match kind {
            Kind::Device => rustix::fs::ioctl_blksszget(&plain).map_or(ALIGN, |sector| sector as usize),
            _ => ALIGN,
        };
        let handle = Self { kind, plain, direct: None, sector: sector.clamp(512, ALIGN) };
        rustix::fs::fadvise(&handle.plain, 0, None, Advice::Sequential).ok();
        Ok(Self { direct: direct.filter(can_read), ..handle })
    }

    /// What can be read alone, bytes.
    pub(super) fn sector(&self) -> usize {
        self.sector
    }

    /// Bytes in all, as the kernel says now.
    pub(super) fn size(&self) -> Result<u64, Errno> {
        size(&self.plain, self.kind)
    }

    /// The descriptor for a range: the direct one if the range suits it.
    fn suits(&self, start: u64, len: usize) -> &OwnedFd {
        let aligned = start.is_multiple_of(self.sector as u64) && len.is_multiple_of(self.sector);
        self.direct.as_ref().filter(|_| aligned).unwrap_or(&self.plain)
    }

    /// Fills `into` with what begins at `start`. `into` is aligned.
    ///
    /// # Errors
    /// What the kernel says; `ENODATA` if it ends before.
    pub(super) fn read(&self, start: u64, into: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < into.len() {
            let at = start + done as u64;
            let fd = self.suits(at, into.len() - done);
            match rustix::io::pread(fd, &mut into[done..], at) {
                Ok(0) => return Err(Errno::NODATA),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// As [`Handle::read`], into memory that is anywhere.
    ///
    /// # Errors
    /// As there.
    pub(super) fn read_plain(&self, start: u64, into: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < into.len() {
            match rustix::io::pread(&self.plain, &mut into[done..], start + done as u64) {
                Ok(0) => return Err(Errno::NODATA),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Writes all of `data` at `start`. `data` is aligned.
    ///
    /// # Errors
    /// What the kernel says; `EIO` if it takes nothing.
    pub(super) fn write(&self, start: u64, data: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < data.len() {
            let at = start + done as u64;
            let fd = self.suits(at, data.len() - done);
            match rustix::io::pwrite(fd, &data[done..], at) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Makes a range read as zeros: freed where that can be, written where not. `zeros` are as many as are written at
    /// once, and aligned.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn zero(&self, range: ByteRange, zeros: &[u8]) -> Result<(), Errno> {
        let freed = match self.kind {
            Kind::Device if range.start.is_multiple_of(512) && range.len().is_multiple_of(512) => {
                device::zero_out(&self.plain, range)
            }
            Kind::Image => rustix::fs::fallocate(
                &self.plain,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                range.start,
                range.len(),
            ),
            _ => Err(Errno::OPNOTSUPP),
        };
        match freed {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NOTTY | Errno::PERM) => {}
            done => return done,
        }
        let mut at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(zeros.len());
            self.write(at, &zeros[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// Whether nothing was ever stored in a range of an image.
    pub(super) fn is_hole(&self, range: ByteRange) -> bool {
        // The offset of the descriptor is nobody's here: everything is read and written at a place.
        self.kind == Kind::Image
            && match rustix::fs::seek(&self.plain, SeekFrom::Data(range.start)) {
                Ok(data) => data >= range.end,
                Err(errno) => errno == Errno::NXIO,
            }
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fdatasync(&self.plain)
    }

    /// Forgets what the page cache holds of a range, so that the next read asks the device.
    pub(super) fn forget(&self, range: ByteRange) {
        if self.direct.is_none() || range.len() < EXTENT {
            let length = std::num::NonZeroU64::new(range.len());
            rustix::fs::fadvise(&self.plain, range.start, length, Advice::DontNeed).ok();
        }
    }
}

/// Whether a read past the page cache works: some file systems refuse it at the open, some at the first read.
fn can_read(direct: &OwnedFd) -> bool {
    let mut buffer = Pool::default().get();
    !matches!(rustix::io::pread(direct, &mut buffer[..ALIGN], 0), Err(Errno::INVAL | Errno::OPNOTSUPP))
}

/// Bytes of what is open.
pub(super) fn size(fd: impl AsFd, kind: Kind) -> Result<u64, Errno> {
    match kind {
        Kind::Device => device::size(fd),
        Kind::Image => Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0)),
        Kind::Missing => Ok(0),
    }
}
