//! A regular file of the other end: content that has come already, or a stream of it, or grains of it where most is
//! here.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::folder::Folder;
use super::roads::{Letters, Road};
use super::words::{self, DELTA, GRAIN, INLINE, ask, corrupt, tell};
use crate::copy::data::{self, Fault, Mover, Tick, write_at};
use crate::copy::extents::Extents;
use crate::copy::sys::xattr::Xattrs;
use crate::copy::sys::{self, Meta, retry};
use crate::wire::{Broken, Put, Take};

/// The other end hears so often what was taken.
const TAKEN: u64 = 1 << 20;
/// Marks of so many grains go in one message, and so far ahead of what was sent for them.
const MARKS: u64 = 64;
const MARKS_AHEAD: u64 = 32 << 20;

/// Bytes within a message.
#[derive(Debug)]
pub(super) struct Bytes {
    pub all: Arc<Vec<u8>>,
    pub from: usize,
    pub to: usize,
}

impl Bytes {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let to = bytes.len();
        Self { all: Arc::new(bytes), from: 0, to }
    }

    fn get(&self) -> &[u8] {
        &self.all[self.from..self.to]
    }
}

/// What came of one file.
#[derive(Debug)]
pub(super) struct Small {
    pub meta: Meta,
    pub xattrs: Result<Xattrs, Errno>,
    /// `None`: it is large, or has holes, or would not keep still.
    pub content: Option<Bytes>,
}

/// A regular file of the other end.
#[derive(Debug)]
pub(in crate::copy) struct File {
    folder: Arc<Folder>,
    name: CString,
    now: RefCell<Small>,
    /// It was read, and must be asked anew what it is.
    used: Cell<bool>,
    /// What is to be replaced by it.
    base: RefCell<Option<(OwnedFd, Meta)>>,
}

/// A stream that is being taken.
struct Taking<'t> {
    file: &'t File,
    id: u64,
    road: Arc<Road>,
    letters: Arc<Letters>,
    size: u64,
    /// Everything before is written or a hole.
    at: u64,
    /// The end of what was written.
    written: u64,
    data: u64,
    untaken: u64,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.file.folder.roads().no_more_letters(self.id);
    }
}

impl File {
    pub(super) fn new(folder: &Arc<Folder>, name: &CStr, now: Small) -> Self {
        let now = RefCell::new(now);
        Self { folder: folder.clone(), name: name.to_owned(), now, used: Cell::new(false), base: RefCell::default() }
    }

    /// Lets what is to be replaced stand for the parts of it that are the same.
    pub(in crate::copy) fn set_base(&self, old: OwnedFd) {
        if self.now.borrow().meta.size >= DELTA
            // Without it all of the file comes.
            && let Ok(meta) = sys::stat_fd(&old)
            && meta.size >= DELTA
        {
            *self.base.borrow_mut() = Some((old, meta));
        }
    }

    pub(in crate::copy) fn meta(&self) -> Result<Meta, Errno> {
        if self.used.take() {
            *self.now.borrow_mut() = self.folder.fetch(&self.name)?;
        }
        Ok(self.now.borrow().meta)
    }

    pub(in crate::copy) fn state(&self) -> Result<Meta, Errno> {
        Ok(self.now.borrow().meta)
    }

    pub(in crate::copy) fn xattrs(&self) -> Result<Xattrs, Errno> {
        self.now.borrow().xattrs.clone()
    }

    /// Whether a part of the content is the same as that of a file that is here.
    pub(in crate::copy) fn same(&self, other: BorrowedFd<'_>, (start, end): (u64, u64)) -> Result<bool, Fault> {
        let mut buffer = vec![0; 64 << 10];
        if let Some(content) = &self.now.borrow().content {
            let content = content.get();
            let Some(part) = content.get(start as usize..end as usize) else { return Err(Fault::Shrank) };
            let mut at = start;
            for piece in part.chunks(buffer.len()) {
                let count = data::fill(other, &mut buffer[..piece.len()], at).map_err(Fault::Write)?;
                if buffer[..count] != *piece {
                    return Ok(false);
                }
                at += count as u64;
            }
            return Ok(true);
        }
        let asked = self.folder.ask_digest(&self.name, (start, end)).map_err(Fault::Read)?;
        let (mine, count) = digest(other, (start, end), &mut buffer).map_err(Fault::Write)?;
        let (theirs, length) = self.folder.digest(asked).map_err(Fault::Read)?;
        if length < end - start {
            return Err(Fault::Shrank);
        }
        Ok(count == length && mine == theirs)
    }

    /// Writes the content from `start` on, as [`Mover::copy`] does.
    pub(in crate::copy) fn copy(
        &self,
        mover: &mut Mover,
        to: BorrowedFd<'_>,
        meta: &Meta,
        start: u64,
        tick: &mut Tick<'_>,
    ) -> Result<u64, Fault> {
        self.used.set(true);
        let content = self.now.borrow_mut().content.take();
        if let Some(content) = content {
            let content = content.get();
            let part = content.get(start as usize..).unwrap_or_default();
            write_at(to, part, start).map_err(Fault::Write)?;
            if !part.is_empty() {
                tick(content.len() as u64, part.len() as u64).map_err(Fault::Stop)?;
                mover.pay(part.len() as u64)?;
            }
            return Ok(part.len() as u64);
        }
        let base = if start == 0 { self.base.borrow_mut().take() } else { None };
        match self.stream(mover, to, meta, (start, base.as_ref()), tick)? {
            Some(data) => Ok(data),
            // What was put together is not what the other end has: all of it, then.
            None => {
                rustix::fs::ftruncate(to, 0).map_err(Fault::Write)?;
                self.stream(mover, to, meta, (0, None), tick)?.ok_or(Fault::Shrank)
            }
        }
    }

    /// Takes a stream. `None`: what is written now does not have the digest that it should have.
    fn stream(
        &self,
        mover: &mut Mover,
        to: BorrowedFd<'_>,
        meta: &Meta,
        (start, base): (u64, Option<&(OwnedFd, Meta)>),
        tick: &mut Tick<'_>,
    ) -> Result<Option<u64>, Fault> {
        let roads = self.folder.roads();
        roads.check().map_err(Fault::Read)?;
        let id = roads.number();
        let road = roads.road().ok_or(Fault::Read(Errno::CONNABORTED))?;
        let letters = roads.letters(id);
        let mut put = Put::of(ask::READ);
        put.number(id).number(self.folder.id()).bytes(self.name.to_bytes());
        put.number(start).number(meta.size).flag(base.is_some());
        roads.send(&road, &put.0);
        let mut taking =
            Taking { file: self, id, road, letters, size: meta.size, at: start, written: start, data: 0, untaken: 0 };
        let mut marked = 0;
        let result = loop {
            if let Some((old, was)) = base {
                marked = match taking.mark(old, marked, was.size.min(meta.size)) {
                    Ok(marked) => marked,
                    Err(errno) => break Err(Fault::Write(errno)),
                };
            }
            let letter = match taking.letters.take(roads) {
                Ok(letter) => letter,
                Err(errno) => break Err(Fault::Read(errno)),
            };
            match taking.letter(letter, mover, to, base.map(|(old, was)| (old, was, marked)), tick) {
                Ok(None) => {}
                Ok(Some(sum)) => break Ok(sum),
                Err(fault) => break Err(fault),
            }
        };
        let sum = match result {
            Ok(sum) => sum,
            Err(fault) => {
                let mut put = Put::of(ask::STOP);
                put.number(id);
                roads.send(&taking.road, &put.0);
                return Err(fault);
            }
        };
        if taking.written < meta.size {
            rustix::fs::ftruncate(to, meta.size).map_err(Fault::Write)?;
        }
        if let Some(sum) = sum {
            let mut buffer = vec![0; 256 << 10];
            let (found, _) = digest(to, (0, meta.size), &mut buffer).map_err(Fault::Write)?;
            if found != sum {
                return Ok(None);
            }
        }
        Ok(Some(taking.data))
    }
}

impl Taking<'_> {
    /// Tells the other end of further grains of the old file, not too far ahead. Returns how many bytes it knows of.
    fn mark(&self, old: &OwnedFd, mut marked: u64, length: u64) -> Result<u64, Errno> {
        let mut grain = vec![0; GRAIN as usize];
        while marked < length && marked < self.at + MARKS_AHEAD {
            let mut put = Put::of(ask::GRAINS);
            put.number(self.id);
            let mut marks = Vec::new();
            for _ in 0..MARKS {
                if marked >= length {
                    break;
                }
                let wanted = (length - marked).min(GRAIN) as usize;
                let count = data::fill(old, &mut grain[..wanted], marked)?;
                marks.extend_from_slice(&words::mark(&grain[..count]));
                marked += wanted as u64;
            }
            put.flag(marked >= length).raw(&marks);
            self.file.folder.roads().send(&self.road, &put.0);
        }
        Ok(marked)
    }

    /// Takes one letter. `Some` at the end, with the digest that the whole must have if not all of it was sent.
    fn letter(
        &mut self,
        (kind, body): (u8, Vec<u8>),
        mover: &Mover,
        to: BorrowedFd<'_>,
        base: Option<(&OwnedFd, &Meta, u64)>,
        tick: &mut Tick<'_>,
    ) -> Result<Option<Option<[u8; 32]>>, Fault> {
        let mut take = Take(&body);
        match kind {
            tell::DATA => {
                let at = self.read(take.number().map_err(Broken::from))?;
                let content = take.rest();
                self.place(at, content.len() as u64)?;
                write_at(to, content, at).map_err(Fault::Write)?;
                self.written = self.at;
                self.data += content.len() as u64;
                self.untaken += content.len() as u64;
                if self.untaken >= TAKEN {
                    let mut put = Put::of(ask::TAKEN);
                    put.number(self.id).number(self.untaken);
                    self.file.folder.roads().send(&self.road, &put.0);
                    self.untaken = 0;
                }
                tick(self.at, content.len() as u64).map_err(Fault::Stop)?;
                mover.pay(content.len() as u64)?;
                Ok(None)
            }
            tell::SAME => {
                let (at, length) = self.read((|| Ok((take.number()?, take.number()?)))())?;
                let Some((old, was, _)) = base.filter(|(_, _, marked)| at.saturating_add(length) <= *marked) else {
                    return self.read(Err(corrupt("grains that were not asked for")));
                };
                self.place(at, length)?;
                // What is a hole there stays one here.
                let mut extents = Extents::new(old.as_fd(), was, at);
                while let Some((first, last)) = extents.next().map_err(Fault::Write)? {
                    if first >= self.at {
                        break;
                    }
                    take_over(old.as_fd(), to, first, last.min(self.at) - first)?;
                }
                self.written = self.at;
                tick(self.at, 0).map_err(Fault::Stop)?;
                Ok(None)
            }
            tell::FAILED => {
                let errno = self.read(words::errno(&mut take).map_err(Broken::from))?;
                Err(Fault::Read(errno.unwrap_or(Errno::IO)))
            }
            tell::END => {
                let folder = &self.file.folder;
                let (end, sum, after, xattrs) = self.read((|| {
                    let (_, end) = (take.number()?, take.number()?);
                    let sum = if take.flag()? { Some(take.array()?) } else { None };
                    let before = words::meta(&mut take, None)?;
                    let mut after = words::meta(&mut take, Some(&before))?;
                    folder.roads().place(&mut after);
                    Ok((end, sum, after, words::xattrs(&mut take)?))
                })())?;
                *self.file.now.borrow_mut() = Small { meta: after, xattrs, content: None };
                if end < self.size { Err(Fault::Shrank) } else { Ok(Some(sum)) }
            }
            _ => self.read(Err(corrupt("another answer than was asked for"))),
        }
    }

    /// Takes a step forward to the end of what lies at `at`.
    fn place(&mut self, at: u64, length: u64) -> Result<(), Fault> {
        if at < self.at || length == 0 || at.checked_add(length).is_none_or(|end| end > self.size) {
            return self.read(Err(corrupt("a piece of a file out of its place")));
        }
        self.at = at + length;
        Ok(())
    }

    fn read<T>(&self, read: Result<T, Broken>) -> Result<T, Fault> {
        read.map_err(|broken| {
            self.file.folder.roads().broke(broken);
            Fault::Read(Errno::CONNABORTED)
        })
    }
}

/// Takes a part of the old file over into the new one; shared where the file system can do that.
fn take_over(old: BorrowedFd<'_>, to: BorrowedFd<'_>, mut at: u64, mut length: u64) -> Result<(), Fault> {
    while length > 0 {
        let (mut input, mut output) = (at, at);
        match retry(|| rustix::fs::copy_file_range(old, Some(&mut input), to, Some(&mut output), length as usize)) {
            Ok(count) if count > 0 => {
                at += count as u64;
                length -= count as u64;
            }
            Err(errno) if sys::is_full(errno) => return Err(Fault::Write(errno)),
            _ => break,
        }
    }
    let mut buffer = vec![0; length.min(INLINE) as usize];
    while length > 0 {
        let wanted = length.min(INLINE) as usize;
        let count = data::fill(old, &mut buffer[..wanted], at).map_err(Fault::Write)?;
        if count < wanted {
            // Somebody has cut it meanwhile; the digest of the whole would not fit.
            return Err(Fault::Write(Errno::STALE));
        }
        write_at(to, &buffer[..count], at).map_err(Fault::Write)?;
        at += count as u64;
        length -= count as u64;
    }
    Ok(())
}

/// The digest of a part of a file that is here, and how many bytes of it there are.
pub(in crate::copy) fn digest(
    fd: BorrowedFd<'_>,
    (start, end): (u64, u64),
    buffer: &mut [u8],
) -> Result<([u8; 32], u64), Errno> {
    let mut hasher = blake3::Hasher::new();
    let mut at = start;
    while at < end {
        let wanted = (end - at).min(buffer.len() as u64) as usize;
        let count = data::fill(fd, &mut buffer[..wanted], at)?;
        hasher.update(&buffer[..count]);
        at += count as u64;
        if count < wanted {
            break;
        }
    }
    Ok((*hasher.finalize().as_bytes(), at - start))
}
