//! What scan and compare have in common: reading one side, counting it, and taking its content's digest.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::Work;
use super::data::fill;
use super::dir::Dir;
use super::end::End;
use super::error::{EntryError, Error};
use super::meter::Meter;
use super::report::NAMED;
use super::sys::xattr::Xattrs;
use super::sys::{self, Kind, Meta};
use super::trouble::say;
use crate::progress::Event;

/// Each of many workers may have two of these, and what was read should still be in the processor's cache when it is
/// digested.
const BUFFER: usize = 64 << 10;

/// What is known of an entry beside its metadata.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct More {
    pub target: Option<CString>,
    pub xattrs: Xattrs,
}

/// Reads what is known of an entry beside its metadata.
pub(super) fn look(
    dir: End<'_>,
    name: &CStr,
    kind: Kind,
    xattrs: bool,
    scratch: &mut Vec<u8>,
) -> Result<More, (&'static str, Errno)> {
    let target = match kind {
        Kind::Link => Some(dir.read_link(name).map_err(|errno| ("read the link", errno))?),
        _ => None,
    };
    let xattrs = match xattrs {
        true => dir.xattrs(name, scratch).map_err(|errno| ("list the attributes of", errno))?,
        false => Xattrs::new(),
    };
    Ok(More { target, xattrs })
}

/// Inodes with several names, until all were seen.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<(u64, u64), u32>>);

impl Seen {
    /// Whether this is the first name of its inode.
    pub(super) fn is_first(&self, meta: &Meta) -> bool {
        if meta.nlink < 2 || meta.kind == Kind::Dir {
            return true;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = false;
        let unseen = seen.entry(meta.id()).or_insert_with(|| {
            first = true;
            meta.nlink
        });
        *unseen = unseen.saturating_sub(1);
        if *unseen == 0 {
            seen.remove(&meta.id());
        }
        first
    }
}

/// How a worker tells progress and trouble.
pub(super) struct Voice<'a> {
    work: &'a Work<'a>,
    meter: Meter<'a>,
    pub failed: u64,
    pub errors: Vec<EntryError>,
}

impl<'a> Voice<'a> {
    pub(super) fn new(work: &'a Work<'a>, done: &'a AtomicU64) -> Self {
        Self { work, meter: Meter::new(work.progress, done), failed: 0, errors: Vec::new() }
    }

    pub(super) fn advance(&mut self, entries: u64, bytes: u64) {
        self.meter.advance(entries, bytes, 4 << 20);
    }

    /// Counts an entry of the side that progress does not count.
    pub(super) fn looked(&self) {
        self.meter.work(1);
    }

    pub(super) fn tell(&mut self) {
        self.meter.tell();
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        Ok(self.work.cancel.check()?)
    }

    pub(super) fn fail(&mut self, dir: &Dir, name: &[u8], op: &'static str, errno: Errno) {
        let (path, reason) = (dir.path_of(name), say(errno));
        self.work.progress.event(Event::Failed { path: &path, error: &format!("cannot {op} it: {reason}") });
        self.failed += 1;
        if self.errors.len() < NAMED {
            self.errors.push(EntryError { path, op, reason });
        }
    }
}

/// Adds a worker's errors to those of others.
pub(super) fn absorb(errors: &mut Vec<EntryError>, more: Vec<EntryError>) {
    let room = NAMED.saturating_sub(errors.len());
    errors.extend(more.into_iter().take(room));
}

/// Reads content and takes its digest.
#[derive(Debug, Default)]
pub(super) struct Reader {
    first: Vec<u8>,
    second: Vec<u8>,
}

/// Why content could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    Left(Errno),
    Right(Errno),
    Stop(Error),
}

impl Reader {
    /// The digest of a file's content. Zero-filled parts count like any others.
    pub(super) fn digest(&mut self, dir: End<'_>, name: &CStr, voice: &mut Voice<'_>) -> Result<[u8; 32], Unread> {
        let fd = match dir {
            End::Here(dir) => sys::open_read(dir, name).map_err(Unread::Left)?,
            End::Far(folder) => {
                let whole = folder.ask_digest(name, (0, u64::MAX)).and_then(|asked| folder.digest(asked));
                let (digest, length) = whole.map_err(Unread::Left)?;
                voice.advance(0, length);
                return Ok(digest);
            }
        };
        self.first.resize(BUFFER, 0);
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        loop {
            voice.check().map_err(Unread::Stop)?;
            let count = fill(fd.as_fd(), &mut self.first, at).map_err(Unread::Left)?;
            hasher.update(&self.first[..count]);
            at += count as u64;
            voice.advance(0, count as u64);
            if count < BUFFER {
                return Ok(*hasher.finalize().as_bytes());
            }
        }
    }

    /// The digests of two files' contents, read side by side and compared directly; they are equal only if every
    /// byte is. As long as the bytes are equal, one digest stands for both.
    pub(super) fn both(
        &mut self,
        left: End<'_>,
        right: BorrowedFd<'_>,
        name: &CStr,
        voice: &mut Voice<'_>,
    ) -> Result<([u8; 32], [u8; 32], u64), Unread> {
        let left = match left {
            End::Here(left) => left,
            End::Far(folder) => {
                // Both ends read at once, each its own.
                let asked = folder.ask_digest(name, (0, u64::MAX)).map_err(Unread::Left)?;
                let two = match self.digest(End::Here(right), name, voice) {
                    Err(Unread::Left(errno)) => return Err(Unread::Right(errno)),
                    other => other?,
                };
                let (one, length) = folder.digest(asked).map_err(Unread::Left)?;
                return Ok((one, two, length));
            }
        };
        let one = sys::open_read(left, name).map_err(Unread::Left)?;
        let two = sys::open_read(right, name).map_err(Unread::Right)?;
        self.first.resize(BUFFER, 0);
        self.second.resize(BUFFER, 0);
        let mut hasher = blake3::Hasher::new();
        let mut other: Option<blake3::Hasher> = None;
        let mut at = 0;
        loop {
            voice.check().map_err(Unread::Stop)?;
            let a = fill(one.as_fd(), &mut self.first, at).map_err(Unread::Left)?;
            let b = fill(two.as_fd(), &mut self.second, at).map_err(Unread::Right)?;
            if other.is_none() && self.first[..a] != self.second[..b] {
                other = Some(hasher.clone());
            }
            hasher.update(&self.first[..a]);
            if let Some(other) = &mut other {
                other.update(&self.second[..b]);
            }
            at += a.max(b) as u64;
            voice.advance(0, a.max(b) as u64);
            if a < BUFFER && b < BUFFER {
                let first = *hasher.finalize().as_bytes();
                let second = other.map_or(first, |other| *other.finalize().as_bytes());
                return Ok((first, second, at));
            }
        }
    }
}
