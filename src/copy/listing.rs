//! A directory's names, read in pieces and kept compactly: one arena of bytes and a small record for each name.
//!
//! A directory of ordinary size is one piece. A huge one comes in pieces of about [`PIECE`] names, so that memory stays
//! flat however many there are.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::RawDir;
use rustix::io::Errno;

use super::names;
use super::sys::{self, Kind};

/// About how many names a piece holds; a buffer that the kernel has filled is always finished.
pub(super) const PIECE: usize = 16 << 10;

const BUFFER: usize = 64 << 10;
/// Memory of a listing with fewer names is not worth thinking of.
const WORTH: usize = 256;

/// One name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    start: u32,
    len: u16,
    pub kind: Kind,
    pub ino: u64,
}

/// A piece of a directory.
#[derive(Debug, Default, Clone)]
pub(super) struct Listing {
    arena: Vec<u8>,
    pub items: Vec<Item>,
}

/// What the kernel fills; one for each worker, and made when the worker lists for the first time.
#[derive(Default)]
pub(super) struct Buffer(Vec<MaybeUninit<u8>>);

impl Listing {
    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.items.clear();
    }

    /// The name of an item, with the zero byte that system calls want.
    pub(super) fn name(&self, item: &Item) -> &CStr {
        let start = item.start as usize;
        let bytes = &self.arena[start..=start + usize::from(item.len)];
        // Names are only ever pushed with their terminator, and the kernel puts no zero byte inside one.
        CStr::from_bytes_with_nul(bytes).unwrap_or_default()
    }

    pub(super) fn bytes(&self, item: &Item) -> &[u8] {
        let start = item.start as usize;
        &self.arena[start..start + usize::from(item.len)]
    }

    pub(super) fn push(&mut self, name: &CStr, kind: Kind, ino: u64) {
        let bytes = name.to_bytes_with_nul();
        // A piece is far below 4 GiB: PIECE names and one buffer of the kernel's, or what another end may send.
        let item = Item { start: self.arena.len() as u32, len: (bytes.len() - 1) as u16, kind, ino };
        self.arena.extend_from_slice(bytes);
        self.items.push(item);
    }

    /// Reads the next piece of `dir` in place of this one; `keep` chooses among the names. Returns whether more may
    /// follow. A type the file system does not tell is asked for.
    pub(super) fn read(
        &mut self,
        dir: BorrowedFd<'_>,
        buffer: &mut Buffer,
        mut keep: impl FnMut(&CStr, Kind) -> bool,
    ) -> Result<bool, Errno> {
        self.clear();
        buffer.0.resize(BUFFER, MaybeUninit::uninit());
        let mut raw = RawDir::new(dir.as_fd(), &mut buffer.0);
        loop {
            match raw.next() {
                None => {
                    self.shrink();
                    return Ok(false);
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(errno)) => return Err(errno),
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    if name == c"." || name == c".." {
                        continue;
                    }
                    let mut kind = Kind::of_type(entry.file_type());
                    if kind == Kind::Unknown {
                        // Gone meanwhile: whoever uses the name finds that out again, and says so.
                        kind = sys::find_at(dir, name)?.map_or(Kind::Unknown, |meta| meta.kind);
                    }
                    if keep(name, kind) {
                        self.push(name, kind, entry.ino());
                    }
                }
            }
            if self.items.len() >= PIECE && raw.is_buffer_empty() {
                return Ok(true);
            }
        }
    }

    /// A frame keeps its listing while it works on it: give back what doubling took too much, where that is worth a
    /// copy of what is there.
    fn shrink(&mut self) {
        if self.items.len() >= WORTH {
            self.arena.shrink_to_fit();
            self.items.shrink_to_fit();
        }
    }

    /// Whether a name has the shape of a temporary one.
    pub(super) fn has_temps(&self) -> bool {
        self.items.iter().any(|item| names::is_temp(self.bytes(item)))
    }

    /// Item numbers in the order of their names.
    pub(super) fn by_name(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.items.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.bytes(&self.items[a as usize]).cmp(self.bytes(&self.items[b as usize])));
        order
    }

    /// Finds a name in the order that [`Listing::by_name`] made; returns its place in that order.
    pub(super) fn find(&self, order: &[u32], name: &[u8]) -> Option<usize> {
        order.binary_search_by(|&at| self.bytes(&self.items[at as usize]).cmp(name)).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn names_come_in_pieces_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let count = PIECE + 5_000;
        for number in 0..count {
            fs::create_dir(dir.path().join(format!("d{number}"))).unwrap();
        }
        fs::write(dir.path().join("left-out"), "").unwrap();
        let fd = rustix::fs::open(dir.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        let (mut listing, mut buffer) = (Listing::default(), Buffer::default());
        let mut seen = std::collections::HashSet::new();
        let mut pieces = 0;
        loop {
            let more = listing.read(fd.as_fd(), &mut buffer, |name, _| name != c"left-out").unwrap();
            pieces += 1;
            for item in &listing.items {
                assert_eq!(item.kind, Kind::Dir);
                assert!(seen.insert(listing.name(item).to_owned()));
            }
            let order = listing.by_name();
            for (place, &at) in order.iter().enumerate() {
                assert_eq!(listing.find(&order, listing.bytes(&listing.items[at as usize])), Some(place));
            }
            if !more {
                break;
            }
        }
        assert_eq!((seen.len(), pieces), (count, 2));
    }
}
