//! What a run did to a destination, kept through the [`Checkpoint`] so that a later pass knows its own work and undo
//! can take it back.
//!
//! | kind | key | value |
//! |---|---|---|
//! | [`INTENT`] | directory, chunk | names about to be made there |
//! | [`MADE`] | directory, chunk | what was made: name, type, inode, its ctime, the source's ctime |
//! | [`IMAGE`] | path | former metadata of an entry that the run did not make |
//! | [`BACKUP`] | path | an entry moved to the backup directory, with its metadata |
//! | [`BIG`] | path | how far a big file has got |
//! | [`INODE`] | device, inode | newest ctime of a hard-linked inode that the run made or touched |
//! | [`REPLACING`] | directory, name | inode that was about to take the place of what had the name |
//! | [`UNLINKING`] | device, inode | names that inode has once the one at hand was made or removed; its ctime is not known yet |
//! | [`BEGAN`] | nothing | when the run was about to change the destination first, and whether that was empty |
//!
//! A directory's key is its path, a zero byte and the chunk number in big-endian order: against key order, children
//! come before their parents, and newer chunks before older ones, which they override.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;

use super::error::Error;
use super::sys::xattr::Xattrs;
use super::sys::{Kind, Meta};
use crate::progress::{Checkpoint, CheckpointError, Record};
use crate::units::Stamp;

pub(super) const INTENT: u8 = 1;
pub(super) const MADE: u8 = 2;
pub(super) const IMAGE: u8 = 3;
pub(super) const BACKUP: u8 = 4;
pub(super) const BIG: u8 = 5;
pub(super) const INODE: u8 = 6;
pub(super) const UNLINKING: u8 = 7;
pub(super) const REPLACING: u8 = 8;
pub(super) const BEGAN: u8 = 9;

/// An entry this run made, as it was when that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    pub kind: Kind,
    pub ino: u64,
    pub ctime: Stamp,
    /// The source's time of change.
    pub source: Stamp,
}

/// Former metadata of an entry, and what the run set instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub kind: Kind,
    pub ino: u64,
    pub mode: u32,
    pub owner: (u32, u32),
    pub atime: Stamp,
    pub mtime: Stamp,
    pub set_mode: u32,
    pub set_owner: (u32, u32),
    pub xattrs: Xattrs,
}

/// How far a big file has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Big {
    pub src: (u64, u64),
    pub size: u64,
    pub mtime: Stamp,
    /// The unfinished file's inode.
    pub ino: u64,
    /// It has a temporary name.
    pub temp: bool,
    /// Everything before this is on the disk.
    pub offset: u64,
}

/// What is known of one directory.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub made: HashMap<Vec<u8>, Made>,
    /// Names that were about to be made when the process died.
    pub intents: HashSet<Vec<u8>>,
    /// Names that were about to be replaced, and by which inode.
    pub replacing: HashMap<Vec<u8>, u64>,
    /// The next free chunk number.
    pub next: u32,
}

/// The ledger of one run.
#[derive(Clone, Copy)]
pub(super) struct Ledger<'a> {
    store: &'a dyn Checkpoint,
    pub keeps: bool,
}

/// The key of a chunk of a directory.
pub(super) fn chunk_key(dir: &[u8], chunk: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(dir.len() + 5);
    key.extend_from_slice(dir);
    key.push(0);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Directory and chunk number of a key.
pub(super) fn split_key(key: &[u8]) -> Result<(&[u8], u32), Error> {
    let (rest, chunk) = key.split_last_chunk::<4>().ok_or(Error::BadRecord { what: "key" })?;
    let dir = rest.strip_suffix(&[0]).ok_or(Error::BadRecord { what: "key" })?;
    Ok((dir, u32::from_be_bytes(*chunk)))
}

impl Records {
    /// Whether what has the name now was begun by this run, which died before it could record it as made: either it
    /// is the inode that was to replace another, or the name was free (and what is there has yet to be looked at).
    pub(super) fn begun(&self, name: &[u8], ino: u64) -> bool {
        self.intents.contains(name) || self.replacing.get(name) == Some(&ino)
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn new(store: &'a dyn Checkpoint) -> Self {
        Self { store, keeps: store.keeps() }
    }

    pub(super) fn store(&self) -> &'a dyn Checkpoint {
        self.store
    }

    /// When the run was about to change the destination first; none if it never was.
    pub(super) fn began(&self) -> Result<Option<Stamp>, Error> {
        self.store.get(BEGAN, b"")?.map(|value| In(&value, "began").stamp()).transpose()
    }

    /// Whether the destination's root was empty then, so that whatever is in it came later.
    pub(super) fn began_empty(&self) -> Result<bool, Error> {
        let Some(value) = self.store.get(BEGAN, b"")? else { return Ok(false) };
        let mut input = In(&value, "began");
        input.stamp()?;
        Ok(input.0 == [1])
    }

    /// Keeps that it is about to, so that a power cut cannot take it away any more. `empty` is asked only then.
    pub(super) fn begin(&self, empty: impl FnOnce() -> Result<bool, Error>) -> Result<(), Error> {
        if self.keeps && self.began()?.is_none() {
            let empty = empty()?;
            let mut value = stamp_value(super::unrecorded::begin());
            value.push(u8::from(empty));
            self.store.put(&[Record { kind: BEGAN, key: b"", value: Some(&value) }])?;
            self.store.sync()?;
        }
        Ok(())
    }

    /// Whether an earlier pass has left records of entries.
    pub(super) fn has_history(&self) -> Result<bool, Error> {
        let mut any = false;
        for kind in [INTENT, MADE] {
            self.store.visit(kind, b"", false, &mut |_, _| {
                any = true;
                false
            })?;
        }
        Ok(any)
    }

    /// What is known of the names in `dir` that `wanted` chooses.
    pub(super) fn load(&self, dir: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Result<Records, Error> {
        let mut records = Records::default();
        let mut bad = None;
        let mut prefix = dir.to_vec();
        prefix.push(0);
        for kind in [MADE, INTENT] {
            self.store.visit(kind, &prefix, false, &mut |key, value| {
                let read = split_key(key).and_then(|(found, chunk)| {
                    // A longer path can begin with the same bytes only if a name held a zero byte.
                    debug_assert_eq!(found, dir);
                    records.next = records.next.max(chunk + 1);
                    if kind == MADE {
                        decode_made(value, &mut |name, made| {
                            if wanted(name) {
                                records.made.insert(name.to_vec(), made);
                            }
                        })
                    } else {
                        decode_intents(value, &mut |name| {
                            if wanted(name) {
                                records.intents.insert(name.to_vec());
                            }
                        })
                    }
                });
                bad = read.err();
                bad.is_none()
            })?;
            if let Some(error) = bad {
                return Err(error);
            }
        }
        self.store.visit(REPLACING, &prefix, false, &mut |key, value| {
            let name = &key[prefix.len()..];
            if wanted(name) {
                match In(value, "replacing").u64() {
                    Ok(ino) => drop(records.replacing.insert(name.to_vec(), ino)),
                    Err(error) => bad = Some(error),
                }
            }
            bad.is_none()
        })?;
        bad.map_or(Ok(records), Err)
    }

    /// Keeps that the inode is about to take the place of what has the name.
    pub(super) fn replacing(&self, dir: &[u8], name: &[u8], ino: u64) -> Result<(), CheckpointError> {
        let key = [dir, b"\0", name].concat();
        self.store.put(&[Record { kind: REPLACING, key: &key, value: Some(&ino.to_le_bytes()) }])
    }

    /// Keeps the names that are about to be made.
    pub(super) fn intend(&self, dir: &[u8], chunk: u32, names: &[&[u8]]) -> Result<(), CheckpointError> {
        let mut out = Out::default();
        for name in names {
            out.name(name);
        }
        self.store.put(&[Record { kind: INTENT, key: &chunk_key(dir, chunk), value: Some(&out.0) }])
    }

    /// Keeps what was made, in place of what was intended. `replaced`: names whose REPLACING record has done its duty.
    pub(super) fn made(
        &self,
        dir: &[u8],
        chunk: u32,
        made: &[(Vec<u8>, Made)],
        inodes: &[((u64, u64), Stamp)],
        replaced: &[Vec<u8>],
        intended: bool,
    ) -> Result<(), CheckpointError> {
        let key = chunk_key(dir, chunk);
        let mut out = Out::default();
        for (name, made) in made {
            out.made(name, made);
        }
        let inodes: Vec<_> = inodes.iter().map(|(id, ctime)| (inode_key(*id), stamp_value(*ctime))).collect();
        let replaced: Vec<_> = replaced.iter().map(|name| [dir, b"\0", name].concat()).collect();
        let mut records = Vec::with_capacity(2 + 2 * inodes.len() + replaced.len());
        if !made.is_empty() {
            records.push(Record { kind: MADE, key: &key, value: Some(&out.0) });
        }
        if intended {
            records.push(Record { kind: INTENT, key: &key, value: None });
        }
        records.extend(replaced.iter().map(|key| Record { kind: REPLACING, key, value: None }));
        for (key, value) in &inodes {
            records.push(Record { kind: INODE, key, value: Some(value) });
            records.push(Record { kind: UNLINKING, key, value: None });
        }
        if records.is_empty() { Ok(()) } else { self.store.put(&records) }
    }

    /// Keeps former metadata, unless older is kept already.
    pub(super) fn image(&self, path: &[u8], was: &Meta, set: &Meta, xattrs: &Xattrs) -> Result<(), CheckpointError> {
        if self.store.get(IMAGE, path)?.is_some() {
            return Ok(());
        }
        self.store.put(&[Record { kind: IMAGE, key: path, value: Some(&encode_image(was, set, xattrs)) }])
    }

    /// The metadata that the entry at `path` had before the run, if the run changed it.
    pub(super) fn former(&self, path: &[u8]) -> Result<Option<Image>, Error> {
        self.store.get(IMAGE, path)?.map(|value| Image::decode(&value)).transpose()
    }

    /// Keeps that an entry goes to the backup directory, with its metadata.
    pub(super) fn backup(&self, path: &[u8], was: &Meta, xattrs: &Xattrs) -> Result<(), CheckpointError> {
        self.store.put(&[Record { kind: BACKUP, key: path, value: Some(&encode_image(was, was, xattrs)) }])
    }

    /// How far the big file at `path` has got.
    pub(super) fn big(&self, path: &[u8]) -> Result<Option<Big>, Error> {
        self.store.get(BIG, path)?.map(|value| Big::decode(&value)).transpose()
    }

    /// Keeps, or forgets, how far a big file has got.
    pub(super) fn set_big(&self, path: &[u8], big: Option<&Big>) -> Result<(), CheckpointError> {
        let value = big.map(Big::encode);
        self.store.put(&[Record { kind: BIG, key: path, value: value.as_deref() }])
    }

    /// The newest recorded time of change of a hard-linked inode.
    pub(super) fn inode(&self, id: (u64, u64)) -> Result<Option<Stamp>, Error> {
        let value = self.store.get(INODE, &inode_key(id))?;
        value.map(|value| In(&value, "inode").stamp()).transpose()
    }

    /// How many names an inode was about to have when its time of change was last unknown.
    pub(super) fn unlinking(&self, id: (u64, u64)) -> Result<Option<u32>, Error> {
        let value = self.store.get(UNLINKING, &inode_key(id))?;
        value.map(|value| In(&value, "unlinking").u32()).transpose()
    }

    /// Whether an entry is as the run left it. A hard link made or removed changes the time of all names of the
    /// inode, so that the newest time known of the inode counts, too.
    pub(super) fn is_untouched(&self, id: (u64, u64), meta: &Meta, made: &Made) -> Result<bool, Error> {
        if (meta.kind, meta.ino) != (made.kind, made.ino) {
            return Ok(false);
        }
        if meta.ctime == made.ctime || self.inode(id)? == Some(meta.ctime) {
            return Ok(true);
        }
        // The process died between changing the number of names and recording the time that gave the others.
        Ok(self.unlinking(id)? == Some(meta.nlink))
    }

    /// Keeps how many names an inode will have, before its time of change is known.
    pub(super) fn set_unlinking(&self, id: (u64, u64), names: u32) -> Result<(), CheckpointError> {
        self.store.put(&[Record { kind: UNLINKING, key: &inode_key(id), value: Some(&names.to_le_bytes()) }])
    }

    /// The same, and with it the time of change the inode has now: if it was known only by the number of names, that is
    /// about to be another one, and a process that dies before the change leaves neither.
    pub(super) fn set_unlinking_from(&self, id: (u64, u64), now: Stamp, names: u32) -> Result<(), CheckpointError> {
        let (key, time, names) = (inode_key(id), stamp_value(now), names.to_le_bytes());
        self.store.put(&[
            Record { kind: INODE, key: &key, value: Some(&time) },
            Record { kind: UNLINKING, key: &key, value: Some(&names) },
        ])
    }

    /// Keeps the newest time of change of a hard-linked inode.
    pub(super) fn set_inode(&self, id: (u64, u64), ctime: Stamp) -> Result<(), CheckpointError> {
        self.store.put(&[Record { kind: INODE, key: &inode_key(id), value: Some(&stamp_value(ctime)) }])
    }
}

fn inode_key(id: (u64, u64)) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&id.0.to_be_bytes());
    key[8..].copy_from_slice(&id.1.to_be_bytes());
    key
}

fn stamp_value(stamp: Stamp) -> Vec<u8> {
    let mut out = Out::default();
    out.stamp(stamp);
    out.0
}

/// Reads an INTENT record.
pub(super) fn decode_intents(value: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let mut input = In(value, "intent");
    while !input.0.is_empty() {
        each(input.name()?);
    }
    Ok(())
}

/// Reads a REPLACING record: directory, name, and the inode.
pub(super) fn decode_replacing<'k>(key: &'k [u8], value: &[u8]) -> Result<(&'k [u8], &'k [u8], u64), Error> {
    let at = key.iter().position(|&byte| byte == 0).ok_or(Error::BadRecord { what: "replacing" })?;
    Ok((&key[..at], &key[at + 1..], In(value, "replacing").u64()?))
}

/// Reads a MADE record.
pub(super) fn decode_made(value: &[u8], each: &mut dyn FnMut(&[u8], Made)) -> Result<(), Error> {
    let mut input = In(value, "made");
    while !input.0.is_empty() {
        let name = input.name()?;
        let made = Made { kind: input.kind()?, ino: input.u64()?, ctime: input.stamp()?, source: input.stamp()? };
        each(name, made);
    }
    Ok(())
}

fn encode_image(was: &Meta, set: &Meta, xattrs: &Xattrs) -> Vec<u8> {
    let mut out = Out::default();
    out.0.push(was.kind.letter());
    out.u64(was.ino);
    for number in [was.mode, was.uid, was.gid, set.mode, set.uid, set.gid] {
        out.u32(number);
    }
    out.stamp(was.atime);
    out.stamp(was.mtime);
    for (name, value) in xattrs {
        out.name(name.to_bytes());
        out.u32(value.len() as u32);
        out.0.extend_from_slice(value);
    }
    out.0
}

impl Image {
    /// The former metadata, put over what else is known of an entry.
    pub(super) fn over(&self, now: &Meta) -> Meta {
        let (uid, gid) = self.owner;
        Meta { mode: self.mode, uid, gid, atime: self.atime, mtime: self.mtime, ..*now }
    }

    /// Reads an IMAGE or a BACKUP record.
    pub(super) fn decode(value: &[u8]) -> Result<Self, Error> {
        let mut input = In(value, "image");
        let (kind, ino, mode) = (input.kind()?, input.u64()?, input.u32()?);
        let owner = (input.u32()?, input.u32()?);
        let set_mode = input.u32()?;
        let set_owner = (input.u32()?, input.u32()?);
        let (atime, mtime) = (input.stamp()?, input.stamp()?);
        let mut xattrs = Xattrs::new();
        while !input.0.is_empty() {
            let name = CString::new(input.name()?).map_err(|_| Error::BadRecord { what: "image" })?;
            let length = input.u32()? as usize;
            xattrs.push((name, input.take(length)?.to_vec()));
        }
        Ok(Self { kind, ino, mode, owner, atime, mtime, set_mode, set_owner, xattrs })
    }
}

impl Big {
    fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        for number in [self.src.0, self.src.1, self.size, self.ino, self.offset, u64::from(self.temp)] {
            out.u64(number);
        }
        out.stamp(self.mtime);
        out.0
    }

    fn decode(value: &[u8]) -> Result<Self, Error> {
        let mut input = In(value, "big file");
        let src = (input.u64()?, input.u64()?);
        let (size, ino, offset, temp) = (input.u64()?, input.u64()?, input.u64()?, input.u64()? != 0);
        Ok(Self { src, size, mtime: input.stamp()?, ino, temp, offset })
    }
}

/// Writes a value.
#[derive(Debug, Default)]
struct Out(Vec<u8>);

impl Out {
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn stamp(&mut self, stamp: Stamp) {
        self.0.extend_from_slice(&stamp.sec.to_le_bytes());
        self.u32(stamp.nsec);
    }

    /// A name is at most 255 bytes, an attribute's name too.
    fn name(&mut self, name: &[u8]) {
        self.0.extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.0.extend_from_slice(name);
    }

    fn made(&mut self, name: &[u8], made: &Made) {
        self.name(name);
        self.0.push(made.kind.letter());
        self.u64(made.ino);
        self.stamp(made.ctime);
        self.stamp(made.source);
    }
}

/// Reads a value; what it is of is named where it cannot be read.
struct In<'v>(&'v [u8], &'static str);

impl<'v> In<'v> {
    fn bad(&self) -> Error {
        Error::BadRecord { what: self.1 }
    }

    fn take(&mut self, length: usize) -> Result<&'v [u8], Error> {
        let (head, rest) = self.0.split_at_checked(length).ok_or_else(|| self.bad())?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| self.bad())?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn stamp(&mut self) -> Result<Stamp, Error> {
        Ok(Stamp { sec: i64::from_le_bytes(self.array()?), nsec: self.u32()? })
    }

    fn kind(&mut self) -> Result<Kind, Error> {
        let [letter] = self.array()?;
        Kind::from_letter(letter).ok_or_else(|| self.bad())
    }

    fn name(&mut self) -> Result<&'v [u8], Error> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_survive_their_encoding() {
        let stamp = Stamp { sec: -5, nsec: 7 };
        let made = Made { kind: Kind::Fifo, ino: 9, ctime: stamp, source: Stamp { sec: 1, nsec: 2 } };
        let mut out = Out::default();
        out.made(b"a\xff", &made);
        out.made(b"", &made);
        let mut seen = Vec::new();
        decode_made(&out.0, &mut |name, made| seen.push((name.to_vec(), made))).unwrap();
        assert_eq!(seen, [(b"a\xff".to_vec(), made), (Vec::new(), made)]);
        assert!(decode_made(&out.0[..out.0.len() - 1], &mut |_, _| ()).is_err());
        let big = Big { src: (1, 2), size: 3, mtime: stamp, ino: 4, temp: true, offset: 5 };
        assert_eq!(Big::decode(&big.encode()).unwrap(), big);
    }

    #[test]
    fn against_key_order_children_come_before_parents() {
        let mut keys = [("", 0), ("a", 0), ("a", 1), ("a/b", 0), ("a.b", 0), ("a/b/c", 2), ("b", 0)]
            .map(|(dir, chunk)| chunk_key(dir.as_bytes(), chunk));
        keys.sort();
        let order: Vec<_> = keys.iter().rev().map(|key| split_key(key).unwrap()).collect();
        let place = |dir: &[u8]| order.iter().position(|(found, _)| *found == dir).unwrap();
        assert!(place(b"a/b/c") < place(b"a/b") && place(b"a/b") < place(b"a") && place(b"a") < place(b""));
        assert!(order.iter().position(|k| *k == (b"a", 1)) < order.iter().position(|k| *k == (b"a", 0)));
    }
}
