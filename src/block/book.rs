//! The books of a pair of devices: which extents are durable on the target, in which pass they got there, and with which
//! digests.
//!
//! They are kept in the caller's store, or in a file of fixed places that later runs can read as well. The rule that all
//! else rests on: an extent is entered only after the target has said that it is durable; and before an extent beyond
//! the *mark* is written, a higher mark is durable in the books. So whatever is neither entered nor beyond the mark may
//! have been written in part, and is asked about before it is relied on or sent again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use super::digest::{Digest, Grains};
use super::error::Error;
use super::geometry::{GRAINS, Geometry};
use super::options::Content;
use crate::progress::{Checkpoint, Record};
use crate::units::path_text;
use crate::wire::{Malformed, Put, Take};

/// What the books are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: String,
    pub(super) target: String,
    /// Bytes that are copied.
    pub(super) size: u64,
    /// The pass that is under way or was the last.
    pub(super) pass: u32,
    /// It is over.
    pub(super) complete: bool,
    /// No extent from here on was written in this pass.
    pub(super) mark: u64,
    /// The first pass whose entries are relied on.
    pub(super) since: u32,
    /// What the target holds where no entry says.
    pub(super) content: Content,
    /// Where somebody was found to have written to the target, once it was: nothing here is relied on any more.
    pub(super) disturbed: Option<u64>,
}

/// One extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The pass that last knew it to be so.
    pub(super) pass: u32,
    /// That pass wrote it, and has not read it back.
    pub(super) unproved: bool,
    pub(super) grains: Grains,
}

// Kinds of records in a store; the tree engine's are small numbers.
const HEADER: u8 = 64;
const EXTENT: u8 = 65;

pub(super) enum Books<'a> {
    Store(&'a dyn Checkpoint),
    File(DigestFile),
}

impl<'a> Books<'a> {
    /// The books in a file, or in a store.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::BadDigests`] for a file that is something else or that another pass has.
    pub(super) fn open(file: Option<&Path>, store: &'a dyn Checkpoint) -> Result<Self, Error> {
        file.map_or(Ok(Self::Store(store)), |path| DigestFile::open(path).map(Self::File))
    }

    /// Where they are, for people.
    fn name(&self) -> String {
        match self {
            Self::Store(_) => "the run's own store".to_owned(),
            Self::File(file) => file.path.clone(),
        }
    }

    /// What cannot be used, and why.
    pub(super) fn bad(&self, why: impl Into<String>) -> Error {
        Error::BadDigests { path: self.name(), why: why.into() }
    }

    /// Whether anything is kept at all.
    pub(super) fn keeps(&self) -> bool {
        match self {
            Self::Store(store) => store.keeps(),
            Self::File(_) => true,
        }
    }

    pub(super) fn header(&self) -> Result<Option<Header>, Error> {
        let bytes = match self {
            Self::Store(store) => store.get(HEADER, b"")?,
            Self::File(file) => file.header()?,
        };
        let read = |bytes: &[u8]| Header::take(Take(bytes)).map_err(|error| self.bad(error.to_string()));
        bytes.as_deref().map(read).transpose()
    }

    /// Keeps the header; on return it survives a power cut.
    pub(super) fn set_header(&mut self, header: &Header) -> Result<(), Error> {
        let bytes = header.bytes();
        match self {
            Self::Store(store) => {
                store.put(&[Record { kind: HEADER, key: b"", value: Some(&bytes) }])?;
                Ok(store.sync()?)
            }
            Self::File(file) => file.set_header(&bytes),
        }
    }

    /// Keeps entries; on return they survive the death of this process.
    pub(super) fn put(&mut self, entries: &[(u64, Entry)]) -> Result<(), Error> {
        match self {
            Self::Store(store) => {
                let rows: Vec<_> =
                    entries.iter().map(|(index, entry)| (index.to_be_bytes(), entry.bytes(*index))).collect();
                let records: Vec<_> =
                    rows.iter().map(|(key, value)| Record { kind: EXTENT, key, value: Some(value) }).collect();
                Ok(store.put(&records)?)
            }
            Self::File(file) => entries.iter().try_for_each(|(index, entry)| file.put(*index, &entry.bytes(*index))),
        }
    }

    /// One entry of an extent of `bytes`; what is damaged counts as missing.
    pub(super) fn get(&self, index: u64, bytes: u64) -> Result<Option<Entry>, Error> {
        let found = match self {
            Self::Store(store) => store.get(EXTENT, &index.to_be_bytes())?,
            Self::File(file) => file.get(index)?,
        };
        Ok(found.and_then(|found| Entry::read(&found, index, bytes)))
    }

    /// Visits every entry there is.
    pub(super) fn each(&self, cut: Geometry, mut visit: impl FnMut(u64, Entry)) -> Result<(), Error> {
        if let Self::Store(store) = self {
            store.visit(EXTENT, b"", false, &mut |key, value| {
                let index = key.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX);
                if let Some(entry) = cut.range(index).and_then(|range| Entry::read(value, index, range.len())) {
                    visit(index, entry);
                }
                true
            })?;
            return Ok(());
        }
        for index in 0..cut.extents() {
            let bytes = cut.range(index).map_or(0, |range| range.len());
            if let Some(entry) = self.get(index, bytes)? {
                visit(index, entry);
            }
        }
        Ok(())
    }
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.bytes(self.source.as_bytes()).bytes(self.target.as_bytes()).number(self.size);
        put.number(u64::from(self.pass)).flag(self.complete).number(self.mark).number(u64::from(self.since));
        put.byte(match self.content {
            Content::Unknown => 0,
            Content::Zero => 1,
            Content::Compare => 2,
        });
        put.flag(self.disturbed.is_some()).number(self.disturbed.unwrap_or(0));
        put.0
    }

    fn take(mut take: Take<'_>) -> Result<Self, Malformed> {
        let header = Self {
            source: super::facts::string(&mut take)?,
            target: super::facts::string(&mut take)?,
            size: take.number()?,
            pass: take.small()?,
            complete: take.flag()?,
            mark: take.number()?,
            since: take.small()?,
            content: match take.byte()? {
                0 => Content::Unknown,
                1 => Content::Zero,
                2 => Content::Compare,
                _ => return Err(Malformed::Range),
            },
            disturbed: {
                let (was, offset) = (take.flag()?, take.number()?);
                was.then_some(offset)
            },
        };
        take.end()?;
        Ok(header)
    }
}

/// Bytes of an entry: pass, a flag, a count, two that are zero, digests, and a sum over all of it and its place.
const ENTRY: usize = 8 + 16 * GRAINS + 16;

fn sum(place: u64, bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&place.to_le_bytes());
    hasher.update(bytes);
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    sum
}

impl Entry {
    fn bytes(&self, index: u64) -> [u8; ENTRY] {
        let mut out = [0; ENTRY];
        out[..4].copy_from_slice(&self.pass.to_le_bytes());
        out[4] = u8::from(self.unproved);
        out[5] = self.grains.count() as u8;
        let digests = self.grains.digests().as_flattened();
        out[8..8 + digests.len()].copy_from_slice(digests);
        let sum = sum(index, &out[..ENTRY - 16]);
        out[ENTRY - 16..].copy_from_slice(&sum);
        out
    }

    /// Reads the entry of an extent of so many bytes; `None` for what was never written, or only in part.
    fn read(found: &[u8], index: u64, bytes: u64) -> Option<Self> {
        let found: &[u8; ENTRY] = found.try_into().ok()?;
        if found[ENTRY - 16..] != sum(index, &found[..ENTRY - 16]) {
            return None;
        }
        let pass = u32::from_le_bytes(*found.first_chunk()?);
        let (digests, _) = found[8..ENTRY - 16].as_chunks::<16>();
        let grains = Grains::kept(bytes, digests.get(..usize::from(found[5]))?)?;
        Some(Self { pass, unproved: found[4] != 0, grains })
    }
}

const MAGIC: &[u8; 8] = b"dcmpblk1";
/// Two places for the header, so that one is whole at any time.
const SLOT: u64 = 4096;

/// Digests in a file: the header twice, then one entry after another.
pub(super) struct DigestFile {
    path: String,
    file: File,
    sequence: u64,
}

impl DigestFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let text = path_text(path.as_os_str().as_encoded_bytes());
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| failed("open", &text, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::BadDigests { path: text, why: "another pass is at work with them".into() });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed("lock", &text, &error)),
        }
        let mut book = Self { path: text, file, sequence: 0 };
        let len = book.file.metadata().map_err(|error| failed("stat", &book.path, &error))?.len();
        book.header()?;
        book.sequence = book.slots()?.iter().map(|(sequence, _)| *sequence).max().unwrap_or(0);
        if len > 0 && book.sequence == 0 {
            return Err(Error::BadDigests {
                path: book.path,
                why: "the file holds something else, or is damaged".into(),
            });
        }
        Ok(book)
    }

    /// Every header that is whole, with its sequence.
    fn slots(&self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut found = Vec::new();
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT as usize];
            if !self.read(slot * SLOT, &mut bytes)? {
                continue;
            }
            let mut take = Take(&bytes);
            let mut parse = || -> Result<_, Malformed> {
                let magic: [u8; 8] = take.array()?;
                let sequence = u64::from_le_bytes(take.array()?);
                let header = take.bytes()?.to_vec();
                Ok((magic, sequence, header, take.array::<16>()?))
            };
            if let Ok((magic, sequence, header, check)) = parse()
                && magic == *MAGIC
                && check == sum(sequence, &header)
            {
                found.push((sequence, header));
            }
        }
        Ok(found)
    }

    fn header(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.slots()?.into_iter().max_by_key(|(sequence, _)| *sequence).map(|(_, header)| header))
    }

    fn set_header(&mut self, header: &[u8]) -> Result<(), Error> {
        self.sequence += 1;
        let mut put = Put::default();
        put.raw(MAGIC).raw(&self.sequence.to_le_bytes()).bytes(header).raw(&sum(self.sequence, header));
        put.0.resize(SLOT as usize, 0);
        // Entries before the header that counts them, and the header before what comes after it.
        self.sync()?;
        self.write(self.sequence % 2 * SLOT, &put.0)?;
        self.sync()
    }

    fn put(&self, index: u64, entry: &[u8]) -> Result<(), Error> {
        self.write(2 * SLOT + index * ENTRY as u64, entry)
    }

    fn get(&self, index: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = vec![0; ENTRY];
        Ok(self.read(2 * SLOT + index * ENTRY as u64, &mut bytes)?.then_some(bytes))
    }

    /// `false` if the file ends before.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<bool, Error> {
        match self.file.read_exact_at(into, at) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(failed("read", &self.path, &error)),
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, at).map_err(|error| failed("write", &self.path, &error))
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|error| failed("sync", &self.path, &error))
    }
}

fn failed(op: &'static str, path: &str, error: &std::io::Error) -> Error {
    Error::io(op, path)(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::progress::Forgetful;

    fn header(pass: u32) -> Header {
        Header {
            source: "a".to_owned(),
            target: "b".to_owned(),
            size: 3 << 20,
            pass,
            complete: false,
            mark: 9,
            since: 1,
            content: Content::Zero,
            disturbed: Some(7),
        }
    }

    #[test]
    fn a_file_gives_back_what_was_kept_and_nothing_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("digests");
        let mut books = Books::open(Some(&path), &Forgetful).unwrap();
        assert!(books.header().unwrap().is_none() && books.keeps());
        assert!(matches!(Books::open(Some(&path), &Forgetful), Err(Error::BadDigests { .. })), "it is locked");
        books.set_header(&header(1)).unwrap();
        books.set_header(&header(2)).unwrap();
        let entry = Entry { pass: 2, unproved: true, grains: Grains::of(&vec![7; 1 << 20]) };
        books.put(&[(0, entry), (2, entry)]).unwrap();
        drop(books);
        let books = Books::open(Some(&path), &Forgetful).unwrap();
        assert_eq!(books.header().unwrap(), Some(header(2)));
        assert_eq!(books.get(2, 1 << 20).unwrap(), Some(entry));
        assert_eq!((books.get(1, 1 << 20).unwrap(), books.get(2, 5).unwrap()), (None, None));
        let mut seen = Vec::new();
        books.each(Geometry::new(3 << 20), |index, _| seen.push(index)).unwrap();
        assert_eq!(seen, [0, 2]);
        drop(books);
        // The newer header torn: the older one counts. An entry torn: it is missing.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"x", 20).unwrap();
        file.write_all_at(b"x", 2 * SLOT + 100).unwrap();
        let books = Books::open(Some(&path), &Forgetful).unwrap();
        assert_eq!(books.header().unwrap(), Some(header(1)));
        assert_eq!(books.get(0, 1 << 20).unwrap(), None);
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letter");
        std::fs::write(&path, "dear sir").unwrap();
        assert!(matches!(Books::open(Some(&path), &Forgetful), Err(Error::BadDigests { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"dear sir");
    }
}
