//! One end: it opens a device, says what it is, holds it, and does what it is asked, one extent at a time.
//!
//! An end keeps no state between two requests but the open device, so requests may come in any order, over any line and
//! from many threads. It believes nothing: every request is checked against the length that was agreed on before.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::buffer::{Buffer, Pool};
use super::codec::{Pace, Packer};
use super::digest;
use super::error::Error;
use super::ext4::{self, Used};
use super::facts::{self, Facts};
use super::geometry::{GRAIN, Geometry, grain, grains, runs};
use super::handle::{Access, Handle, Kind};
use super::load::{Loaded, Loader};
use super::message::{Begin, Body, Have, Payload, Reply, Request};
use crate::units::{ByteRange, path_text};

/// What an end is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To be read from. It never writes, whatever it is asked.
    Source,
    /// To be written to.
    Target,
}

impl Role {
    /// The name in messages for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

struct Opened {
    fd: Option<OwnedFd>,
    path: Vec<u8>,
    facts: Facts,
}

struct Begun {
    handle: Handle,
    cut: Geometry,
    path: String,
    used: Option<Used>,
    zero_unreadable: bool,
    pace: Pace,
    /// What is written where a device cannot be told to forget.
    zeros: Buffer,
}

pub(super) struct End {
    role: Role,
    opened: Mutex<Option<Opened>>,
    begun: OnceLock<Begun>,
    pool: Pool,
    /// Lines data of it goes to.
    lines: usize,
}

/// What each thread that works for an end has for itself.
#[derive(Default)]
pub(super) struct Worker {
    packer: Packer,
}

impl End {
    /// An end whose data goes to so many lines.
    pub(super) fn new(role: Role, lines: usize) -> Self {
        Self { role, opened: Mutex::default(), begun: OnceLock::new(), pool: Pool::default(), lines }
    }

    /// What was agreed on, once it was.
    pub(super) fn cut(&self) -> Option<Geometry> {
        self.begun.get().map(|begun| begun.cut)
    }

    /// Hears how long a line took for data of this end.
    pub(super) fn sent(&self, index: u64, body: &Body, sending: Duration) {
        if let Some((begun, range)) = self.begun.get().and_then(|begun| Some((begun, begun.cut.range(index)?))) {
            begun.pace.sent(body.raw_len(range.len()), sending);
        }
    }

    /// Does what is asked; a failure is an answer as well.
    pub(super) fn handle(&self, worker: &mut Worker, request: Request) -> Reply {
        let answer = match request {
            Request::Open { path } => self.open(path).map(Reply::Opened),
            Request::Begin(begin) => self.begin(&begin),
            Request::Read { index, have } => self.read(worker, index, have),
            Request::Digest { index } => self.digest(index),
            Request::Write { index, body } => self.write(worker, index, &body),
            Request::Sync => self.sync(),
        };
        answer.unwrap_or_else(Reply::Failed)
    }

    fn open(&self, path: Vec<u8>) -> Result<Facts, Error> {
        let text = path_text(&path);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let (fd, facts) = match rustix::fs::open(&path[..], flags, Mode::empty()) {
            Ok(fd) => {
                let facts = facts::of(&fd, &path).map_err(|errno| match errno {
                    Errno::NOTBLK => Error::NotBlock { path: text.clone() },
                    errno => Error::io("stat", &text)(errno),
                })?;
                (Some(fd), facts)
            }
            Err(Errno::NOENT) if self.role == Role::Target && can_be_made(&path) => (None, facts::missing(&path)),
            Err(Errno::NOENT) => return Err(Error::NotFound { path: text }),
            Err(errno) => return Err(Error::io("open", &text)(errno)),
        };
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Opened { fd, path, facts: facts.clone() });
        Ok(facts)
    }

    fn begin(&self, begin: &Begin) -> Result<Reply, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_mut().ok_or_else(|| Error::lied("", "it is to be held before it was opened"))?;
        let text = opened.facts.path.clone();
        let fd = match (&opened.fd, begin.create) {
            (Some(fd), false) => fd.try_clone().map_err(|error| io_error("open", &text, &error))?,
            (None, true) if self.role == Role::Target => {
                make(&opened.path, begin.length).map_err(Error::io("create", &text))?
            }
            (None, _) => return Err(Error::NotFound { path: text }),
            (Some(_), true) => return Err(Error::io("create", &text)(Errno::EXIST)),
        };
        let access = match (self.role, begin.exclusive) {
            (Role::Target, _) => Access::Write,
            (Role::Source, true) => Access::Read,
            (Role::Source, false) => Access::Shared,
        };
        let kind = if opened.fd.is_none() { Kind::Image } else { opened.facts.kind };
        let handle = Handle::reopen(&fd, kind, access).map_err(|errno| refused(errno, &opened.facts))?;
        let now = facts::of(&fd, &opened.path).map_err(Error::io("stat", &text))?;
        if opened.fd.is_some() && now.identity != begin.identity {
            let (path, role, expected) = (text, self.role.name(), begin.identity.clone());
            return Err(Error::Other { path, role, expected, found: now.identity });
        }
        if self.role == Role::Target && !now.uses.is_empty() {
            return Err(Error::InUse { path: text, by: now.uses });
        }
        if now.size < begin.length {
            return Err(Error::Resized { path: text, before: begin.length, now: now.size });
        }
        let used = if begin.used_only { Some(self.used(&handle, &now)?) } else { None };
        let mut zeros = Pool::default().get();
        zeros.fill(0);
        let begun = Begun {
            handle,
            cut: Geometry::new(begin.length),
            path: text.clone(),
            used,
            zero_unreadable: begin.zero_unreadable && self.role == Role::Source,
            pace: Pace::new(begin.compress).over(self.lines),
            zeros,
        };
        self.begun.set(begun).map_err(|_| Error::lied(&text, "it is to be held a second time"))?;
        Ok(Reply::Begun { identity: now.identity })
    }

    fn used(&self, handle: &Handle, facts: &Facts) -> Result<Used, Error> {
        let no = |why: String| Error::NoMap { path: facts.path.clone(), why };
        if !facts.writers.is_empty() {
            return Err(no(facts.writers.join(", ")));
        }
        ext4::map(facts.size, |range| {
            let mut bytes = vec![0; usize::try_from(range.len()).unwrap_or(0)];
            // Tables are anywhere in memory: the page cache does not mind.
            handle.read_plain(range.start, &mut bytes)?;
            Ok(bytes)
        })
        .map_err(no)
    }

    fn begun(&self) -> Result<&Begun, Error> {
        self.begun.get().ok_or_else(|| Error::lied("", "it is to work before it is held"))
    }

    fn place(&self, index: u64) -> Result<(&Begun, ByteRange), Error> {
        let begun = self.begun()?;
        let range = begun.cut.range(index);
        Ok((begun, range.ok_or_else(|| Error::lied(&begun.path, format!("extent {index} lies behind the end")))?))
    }

    fn load(&self, begun: &Begun, range: ByteRange) -> Result<Loaded, Error> {
        let loader = Loader {
            handle: &begun.handle,
            path: &begun.path,
            pool: &self.pool,
            used: begun.used.as_ref(),
            zero_unreadable: begun.zero_unreadable,
        };
        loader.load(range)
    }

    fn read(&self, worker: &mut Worker, index: u64, have: Have) -> Result<Reply, Error> {
        let (begun, range) = self.place(index)?;
        let loaded = self.load(begun, range)?;
        let all = super::geometry::all(loaded.grains.count());
        let wanted = match have {
            None => all,
            Some(have) => loaded.grains.differing(&have),
        };
        let zero = loaded.grains.zero_mask() & wanted;
        let data = wanted & !zero;
        let digests =
            loaded.grains.digests().iter().enumerate().filter(|(at, _)| data & (1 << at) != 0).map(|(_, d)| *d);
        let mut body = Body {
            data,
            zero,
            digests: digests.collect(),
            packed: false,
            payload: Payload::Nothing,
            lost: loaded.lost,
        };
        if let Some(mut buffer) = loaded.buffer.filter(|_| data != 0) {
            let len = gather(&mut buffer, range.len(), data);
            let packed = worker.packer.pack(begun.pace.level(), &buffer[..len], 0);
            body.packed = packed.is_some();
            body.payload = match packed {
                Some(packed) => Payload::Message(packed, 0),
                None => Payload::Buffer(buffer, len),
            };
        }
        Ok(Reply::Extent { index, body })
    }

    fn digest(&self, index: u64) -> Result<Reply, Error> {
        let (begun, range) = self.place(index)?;
        begun.handle.forget(range);
        Ok(Reply::Grains { index, grains: self.load(begun, range)?.grains })
    }

    fn write(&self, worker: &mut Worker, index: u64, body: &Body) -> Result<Reply, Error> {
        let (begun, range) = self.place(index)?;
        if self.role != Role::Target {
            return Err(Error::lied(&begun.path, "a source is to be written to"));
        }
        let raw = usize::try_from(body.raw_len(range.len())).unwrap_or(usize::MAX);
        let scratch;
        let data = match &body.payload {
            Payload::Buffer(buffer, len) if !body.packed && *len == raw => &buffer[..raw],
            payload => {
                scratch = self.unpacked(worker, body, payload.bytes(), raw, &begun.path)?;
                &scratch[..raw]
            }
        };
        let mut at = 0;
        for (first, end) in runs(body.data) {
            let (first, last) = (grain(range.len(), first), grain(range.len(), end - 1));
            let len = (last.end - first.start) as usize;
            begun
                .handle
                .write(range.start + first.start, &data[at..at + len])
                .map_err(Error::io("write", &begun.path))?;
            at += len;
        }
        for (first, end) in runs(body.zero) {
            let (first, last) = (grain(range.len(), first), grain(range.len(), end - 1));
            let part = ByteRange { start: range.start + first.start, end: range.start + last.end };
            begun.handle.zero(part, &begun.zeros).map_err(Error::io("zero", &begun.path))?;
        }
        Ok(Reply::Written { index })
    }

    /// The data of a message: unpacked, aligned, and what its digests say, before any of it is written.
    fn unpacked(&self, worker: &mut Worker, body: &Body, sent: &[u8], raw: usize, path: &str) -> Result<Buffer, Error> {
        let mut buffer = self.pool.get();
        if raw > buffer.len() {
            return Err(Error::lied(path, "an extent has more than an extent"));
        }
        let into = &mut buffer[..raw];
        if body.packed {
            if !worker.packer.unpack(sent, into) {
                return Err(Error::lied(path, "an extent cannot be unpacked"));
            }
        } else if sent.len() == raw {
            into.copy_from_slice(sent);
        } else {
            return Err(Error::lied(path, "an extent is not as long as it says"));
        }
        let pieces = into.chunks(GRAIN as usize);
        if pieces.len() != body.digests.len() {
            return Err(Error::lied(path, "an extent has not as many digests as data"));
        }
        if pieces.zip(&body.digests).any(|(bytes, digest)| digest::of_grain(bytes) != *digest) {
            return Err(Error::lied(path, "data does not have the digest that came with it"));
        }
        Ok(buffer)
    }

    fn sync(&self) -> Result<Reply, Error> {
        let begun = self.begun()?;
        if self.role != Role::Target {
            return Err(Error::lied(&begun.path, "a source is to be synced"));
        }
        begun.handle.sync().map_err(Error::io("sync", &begun.path))?;
        Ok(Reply::Synced)
    }
}

/// Moves the grains of a set to the front; how many bytes they are.
fn gather(buffer: &mut [u8], bytes: u64, mask: super::geometry::Mask) -> usize {
    let mut at = 0;
    for index in (0..grains(bytes)).filter(|index| mask & (1 << index) != 0) {
        let part = grain(bytes, index);
        let (start, end) = (part.start as usize, part.end as usize);
        if at != start {
            buffer.copy_within(start..end, at);
        }
        at += end - start;
    }
    at
}

/// Whether an image could be made there.
fn can_be_made(path: &[u8]) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.is_dir() && path.file_name().is_some() && path.symlink_metadata().is_err()
}

/// Makes an image of so many bytes, all of them holes.
fn make(path: &[u8], length: u64) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::ftruncate(&fd, length)?;
    rustix::fs::fsync(&fd)?;
    Ok(fd)
}

fn refused(errno: Errno, facts: &Facts) -> Error {
    let path = facts.path.clone();
    match errno {
        Errno::BUSY => {
            let another = || vec![super::error::HELD.to_owned()];
            let by = if facts.uses.is_empty() { another() } else { facts.uses.clone() };
            Error::InUse { path, by }
        }
        Errno::ROFS => Error::ReadOnly { path },
        errno => Error::io("open", &path)(errno),
    }
}

fn io_error(op: &'static str, path: &str, error: &std::io::Error) -> Error {
    Error::io(op, path)(Errno::from_io_error(error).unwrap_or(Errno::IO))
}
