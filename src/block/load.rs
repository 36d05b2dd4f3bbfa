//! Reads one extent: what is known to be zeros is not read, what cannot be read is reported to the sector.

use rustix::io::Errno;

use super::buffer::{Buffer, Pool};
use super::digest::Grains;
use super::error::{Error, Lost};
use super::ext4::Used;
use super::geometry::{GRAIN, grain, grains};
use super::handle::Handle;
use crate::units::ByteRange;

/// What an extent holds.
pub(super) struct Loaded {
    /// Its bytes; `None`: zeros.
    pub(super) buffer: Option<Buffer>,
    pub(super) grains: Grains,
    pub(super) lost: Vec<Lost>,
}

/// How extents of one device are read.
pub(super) struct Loader<'h> {
    pub(super) handle: &'h Handle,
    pub(super) path: &'h str,
    pub(super) pool: &'h Pool,
    /// What the file system on it uses; everything else counts as zeros.
    pub(super) used: Option<&'h Used>,
    /// What cannot be read counts as zeros.
    pub(super) zero_unreadable: bool,
}

impl Loader<'_> {
    /// # Errors
    /// [`Error::Unreadable`], unless that counts as zeros; [`Error::Resized`] if the device became shorter.
    pub(super) fn load(&self, range: ByteRange) -> Result<Loaded, Error> {
        let len = usize::try_from(range.len()).unwrap_or(0);
        let is_used = |part: ByteRange| self.used.is_none_or(|used| used.any(part));
        if self.handle.is_hole(range) || !is_used(range) {
            return Ok(Loaded { buffer: None, grains: Grains::zeros(range.len()), lost: Vec::new() });
        }
        let mut buffer = self.pool.get();
        let into = &mut buffer[..len];
        let lost = match self.handle.read(range.start, into) {
            Ok(()) => Vec::new(),
            Err(Errno::NODATA) => return Err(self.resized(range)),
            Err(_) if self.zero_unreadable => self.salvage(range, into)?,
            Err(source) => {
                let (offset, length) = (range.start, range.len());
                return Err(Error::Unreadable { path: self.path.to_owned(), offset, length, source });
            }
        };
        for index in 0..grains(range.len()) {
            let part = grain(range.len(), index);
            let place = ByteRange { start: range.start + part.start, end: range.start + part.end };
            if !is_used(place) {
                into[part.start as usize..part.end as usize].fill(0);
            }
        }
        let grains = Grains::of(into);
        Ok(Loaded { buffer: Some(buffer), grains, lost })
    }

    fn resized(&self, range: ByteRange) -> Error {
        let now = self.handle.size().unwrap_or(range.start);
        Error::Resized { path: self.path.to_owned(), before: range.end, now }
    }

    /// Reads what can be read, in ever smaller pieces; the rest becomes zeros.
    fn salvage(&self, range: ByteRange, into: &mut [u8]) -> Result<Vec<Lost>, Error> {
        let mut lost: Vec<Lost> = Vec::new();
        // From the last to the first, so that the next one is at the end.
        let mut open = vec![(range.start, range.len(), GRAIN)];
        while let Some((offset, bytes, step)) = open.pop() {
            let mut at = offset + bytes.next_multiple_of(step);
            if bytes > step {
                while at > offset {
                    at -= step;
                    open.push((at, step.min(offset + bytes - at), step));
                }
                continue;
            }
            let from = (offset - range.start) as usize;
            let part = &mut into[from..from + bytes as usize];
            match self.handle.read(offset, part) {
                Ok(()) => {}
                Err(Errno::NODATA) => return Err(self.resized(range)),
                Err(_) if step > self.handle.sector() as u64 => {
                    let smaller = if step > 4096 { 4096 } else { self.handle.sector() as u64 };
                    open.push((offset, bytes, smaller));
                }
                Err(_) => {
                    part.fill(0);
                    match lost.last_mut().filter(|last| last.offset + last.bytes == offset) {
                        Some(last) => last.bytes += bytes,
                        None => lost.push(Lost { offset, bytes }),
                    }
                }
            }
        }
        Ok(lost)
    }
}
