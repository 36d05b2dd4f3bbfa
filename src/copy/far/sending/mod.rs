//! The end that reads: holds the source by descriptors, and lists, reads and digests what it is asked for. It writes
//! nothing, anywhere.
//!
//! One thread a line takes requests, a few serve them, and nothing waits for the other end but for room on the line:
//! a stream that has used up its window is put away until the other end has taken of it. The other end names
//! directories by numbers it has given them, and entries by one name below such a directory, so that it reaches nothing
//! but what lies below the root.

mod folder;
mod look;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use self::folder::Opened;
use self::stream::{Ears, Stream};
use super::words::{self, VERSION, ask, corrupt, tell};
use crate::copy::exclude::Exclude;
use crate::copy::identity::{self, open_root};
use crate::copy::listing::Buffer;
use crate::copy::sys;
use crate::copy::{Error, claim};
use crate::wire::{Broken, Inbox, Line, Outbox, Put, Take};

/// More requests than this are never waiting, from a peer that keeps to the rules.
const MOST_WAITING: usize = 1 << 20;

/// Lets the other ends of `lines`, which all belong to one of them, read the tree that the first message on the first
/// line names. Returns when all of them are done.
///
/// # Errors
/// [`Broken`] if a line broke, or if something came that cannot be. What cannot be read is told to the other end and is
/// no error here.
pub fn serve(lines: Vec<Line>) -> Result<(), Broken> {
    let mut lines = lines.into_iter();
    let Some(mut first) = lines.next() else { return Ok(()) };
    let mut message = Vec::new();
    if !first.inbox.receive(&mut message)? {
        return first.outbox.finish();
    }
    let sending = match Sending::open(&message)? {
        Ok(sending) => sending,
        Err(error) => {
            let mut put = Put::of(tell::ROOT);
            put.flag(false);
            super::errors::put(&mut put, &error);
            first.outbox.send(&[&put.0])?;
            return first.outbox.finish();
        }
    };
    let mut put = Put::of(tell::ROOT);
    put.flag(true);
    sending.put_root(&mut put)?;
    first.outbox.send(&[&put.0])?;
    first.outbox.flush()?;
    let results: Vec<Result<(), Broken>> = std::thread::scope(|scope| {
        let all: Vec<_> = std::iter::once(first).chain(lines).map(|line| scope.spawn(|| sending.road(line))).collect();
        let joined = all.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.into_iter().collect()
}

/// The tree that is read, and what is open of it.
struct Sending {
    root: OwnedFd,
    path: PathBuf,
    folders: Mutex<HashMap<u64, Arc<Opened>>>,
    most_open: usize,
}

/// One line with its requests.
struct Road {
    outbox: Mutex<Box<dyn Outbox>>,
    work: Mutex<Queue>,
    changed: Condvar,
    streams: Mutex<HashMap<u64, Known>>,
    /// Something may have been kept back.
    dirty: AtomicBool,
}

/// A stream that was asked for.
#[derive(Default)]
struct Known {
    /// What is said of it may come before it is open.
    ears: Arc<Ears>,
    stream: Option<Arc<Stream>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    busy: usize,
    /// No more requests come.
    over: bool,
    broken: Option<Broken>,
}

/// One request.
enum Job {
    /// Open a directory below another one (0: the root), and list it.
    Folder { id: u64, parent: u64, name: CString, flags: u8 },
    /// The next piece of a directory.
    More { id: u64 },
    /// Small files of a directory.
    Files { id: u64, names: Vec<CString> },
    /// Begin a stream.
    Read { stream: u64, folder: u64, name: CString, start: u64, size: u64, delta: bool },
    /// Go on with a stream.
    Turn(Arc<Stream>),
    /// What a name is now.
    Look { id: u64, folder: u64, name: CString, data: bool },
    /// The digest of a part of a file.
    Digest { id: u64, folder: u64, name: CString, part: (u64, u64) },
    /// What the root is now.
    Root { id: u64 },
}

/// What a thread that serves has of its own.
#[derive(Default)]
struct Hand {
    buffer: Buffer,
    scratch: Vec<u8>,
    content: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sending {
    fn open(message: &[u8]) -> Result<Result<Self, Error>, Broken> {
        let mut take = Take(message);
        if take.byte()? != ask::HELLO {
            return Err(corrupt("a request before the greeting"));
        }
        let version = take.number()?;
        if version != VERSION {
            return Err(Broken::Refused(format!(
                "the other side speaks version {version} of trees, this one {VERSION}"
            )));
        }
        let path = PathBuf::from(OsStr::from_bytes(take.bytes()?));
        let marker_is_data = take.flag()?;
        take.end()?;
        Ok(Self::held(path, marker_is_data))
    }

    fn held(path: PathBuf, marker_is_data: bool) -> Result<Self, Error> {
        let root = open_root(&path)?;
        if !marker_is_data {
            claim::check(&root, path.as_os_str().as_bytes(), &Exclude::default())?;
        }
        let most_open = (sys::file_limit() / 2).max(64);
        Ok(Self { root, path, folders: Mutex::default(), most_open })
    }

    /// What the root is, and where.
    fn put_root(&self, put: &mut Put) -> Result<(), Broken> {
        let failed = |errno: Errno| Broken::Io(errno.into());
        let id = identity::of_fd(&self.root).map_err(failed)?;
        let meta = sys::stat_fd(&self.root).map_err(failed)?;
        put.bytes(id.to_string().as_bytes()).bytes(&super::machine()).number(self.most_open as u64);
        words::put_meta(put, &meta, None);
        Ok(())
    }

    fn folder(&self, id: u64) -> Result<Arc<Opened>, Errno> {
        lock(&self.folders).get(&id).cloned().ok_or(Errno::STALE)
    }

    /// Serves one line to its end.
    fn road(&self, line: Line) -> Result<(), Broken> {
        let Line { outbox, mut inbox } = line;
        let road = Road {
            outbox: Mutex::new(outbox),
            work: Mutex::default(),
            changed: Condvar::new(),
            streams: Mutex::default(),
            dirty: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            let hands = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) + 2;
            for _ in 0..hands {
                // A thread more or less is no harm, none at all is told by the line.
                let started = std::thread::Builder::new().stack_size(512 << 10);
                if let Err(error) = started.spawn_scoped(scope, || self.hand(&road)) {
                    road.fail(error.into());
                }
            }
            let ended = road.take_in(self, &mut *inbox);
            let mut queue = lock(&road.work);
            queue.over = true;
            if let Err(broken) = ended {
                queue.broken.get_or_insert(broken);
            }
            road.changed.notify_all();
        });
        match road.work.into_inner().unwrap_or_else(PoisonError::into_inner).broken {
            Some(broken) => Err(broken),
            None => road.outbox.into_inner().unwrap_or_else(PoisonError::into_inner).finish(),
        }
    }

    /// Serves requests until there are no more.
    fn hand(&self, road: &Road) {
        let mut hand = Hand::default();
        while let Some(job) = road.next() {
            let done = self.serve(road, &mut hand, job);
            let mut queue = lock(&road.work);
            queue.busy -= 1;
            if queue.over {
                road.changed.notify_all();
            }
            drop(queue);
            if let Err(broken) = done {
                road.fail(broken);
            }
        }
    }

    fn serve(&self, road: &Road, hand: &mut Hand, job: Job) -> Result<(), Broken> {
        match job {
            Job::Folder { id, parent, name, flags } => self.open_folder(road, hand, id, (parent, &name), flags),
            Job::More { id } => match self.folder(id) {
                Ok(folder) => self.list(road, hand, id, &folder, Put::of(tell::ENTRIES), 0),
                Err(errno) => road.lost(id, errno),
            },
            Job::Files { id, names } => self.files(road, hand, id, &names),
            Job::Read { stream, folder, name, start, size, delta } => {
                // It may have been given up already.
                let Some(ears) = road.ears(stream) else { return Ok(()) };
                let part = (stream, start, size);
                match self.folder(folder).and_then(|folder| Stream::open(&folder, &name, part, delta, &ears)) {
                    Ok(opened) => {
                        if let Some(known) = lock(&road.streams).get_mut(&stream) {
                            known.stream = Some(opened.clone());
                        }
                        self.turn(road, hand, &opened)
                    }
                    Err(errno) => {
                        lock(&road.streams).remove(&stream);
                        road.failed(stream, errno)
                    }
                }
            }
            Job::Turn(stream) => self.turn(road, hand, &stream),
            Job::Look { id, folder, name, data } => self.look(road, hand, id, folder, &name, data),
            Job::Digest { id, folder, name, part } => self.digest(road, hand, id, folder, &name, part),
            Job::Root { id } => {
                let held = identity::of_fd(&self.root);
                let found = identity::root_id(&self.path);
                let mut put = Put::of(tell::ANSWER);
                put.number(id);
                words::put_errno(&mut put, held.as_ref().err().copied());
                put.bytes(held.map(|id| id.to_string()).unwrap_or_default().as_bytes());
                // Gone or not, it is not what it was.
                put.bytes(found.map(|id| id.to_string()).unwrap_or_default().as_bytes());
                road.send(&[&put.0])
            }
        }
    }
}

impl Road {
    /// Takes requests in until the other end has finished.
    fn take_in(&self, sending: &Sending, inbox: &mut dyn Inbox) -> Result<(), Broken> {
        let mut message = Vec::new();
        while inbox.receive(&mut message)? {
            let mut take = Take(&message);
            let mut jobs = Vec::new();
            match take.byte()? {
                ask::FOLDERS => {
                    while !take.0.is_empty() {
                        let (id, parent, flags) = (take.number()?, take.number()?, take.byte()?);
                        let name = take.bytes()?;
                        // The directory itself, opened anew: another place in the listing.
                        let name = if name.is_empty() { c".".into() } else { words::checked(name.to_vec())? };
                        jobs.push(Job::Folder { id, parent, name, flags });
                    }
                }
                ask::MORE => jobs.push(Job::More { id: take.number()? }),
                ask::FILES => {
                    let id = take.number()?;
                    let mut names = Vec::new();
                    while !take.0.is_empty() {
                        names.push(words::name(&mut take)?);
                    }
                    jobs.push(Job::Files { id, names });
                }
                ask::READ => {
                    let (stream, folder) = (take.number()?, take.number()?);
                    let name = words::name(&mut take)?;
                    let (start, size, delta) = (take.number()?, take.number()?, take.flag()?);
                    lock(&self.streams).insert(stream, Known::default());
                    jobs.push(Job::Read { stream, folder, name, start, size, delta });
                }
                ask::GRAINS => {
                    let id = take.number()?;
                    let last = take.flag()?;
                    let marks = take.rest();
                    jobs.extend(self.woken(id, |ears| ears.marks(marks, last)));
                }
                ask::TAKEN => {
                    let (id, bytes) = (take.number()?, take.number()?);
                    jobs.extend(self.woken(id, |ears| ears.taken(bytes)));
                }
                ask::STOP => {
                    lock(&self.streams).remove(&take.number()?);
                }
                ask::LOOK => {
                    let (id, folder) = (take.number()?, take.number()?);
                    jobs.push(Job::Look { id, folder, name: words::name(&mut take)?, data: take.flag()? });
                }
                ask::DIGEST => {
                    let (id, folder) = (take.number()?, take.number()?);
                    let name = words::name(&mut take)?;
                    jobs.push(Job::Digest { id, folder, name, part: (take.number()?, take.number()?) });
                }
                ask::CLOSE => {
                    let mut folders = lock(&sending.folders);
                    while !take.0.is_empty() {
                        folders.remove(&take.number()?);
                    }
                }
                ask::ROOT => jobs.push(Job::Root { id: take.number()? }),
                kind => return Err(corrupt(format!("a request of unknown kind {kind}"))),
            }
            take.end()?;
            let mut queue = lock(&self.work);
            if queue.broken.is_some() {
                return Ok(());
            }
            if queue.jobs.len() + jobs.len() > MOST_WAITING {
                return Err(corrupt("more requests than can be"));
            }
            queue.jobs.extend(jobs);
            drop(queue);
            self.changed.notify_all();
        }
        Ok(())
    }

    fn ears(&self, id: u64) -> Option<Arc<Ears>> {
        lock(&self.streams).get(&id).map(|known| known.ears.clone())
    }

    /// Lets a stream hear something; the job, if somebody must go on with it.
    fn woken(&self, id: u64, hear: impl FnOnce(&Ears) -> bool) -> Option<Job> {
        let streams = lock(&self.streams);
        let known = streams.get(&id)?;
        if hear(&known.ears) { known.stream.clone().map(Job::Turn) } else { None }
    }

    /// The next request; `None`: there will be none. Before waiting, what was kept back goes out.
    fn next(&self) -> Option<Job> {
        let mut queue = lock(&self.work);
        loop {
            if queue.broken.is_some() {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.busy += 1;
                return Some(job);
            }
            if self.dirty.swap(false, Ordering::AcqRel) {
                drop(queue);
                if let Err(broken) = lock(&self.outbox).flush() {
                    self.fail(broken);
                }
                queue = lock(&self.work);
                continue;
            }
            if queue.over && queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn again(&self, stream: &Arc<Stream>) {
        lock(&self.work).jobs.push_back(Job::Turn(stream.clone()));
        self.changed.notify_all();
    }

    fn fail(&self, broken: Broken) {
        lock(&self.work).broken.get_or_insert(broken);
        self.changed.notify_all();
    }

    fn send(&self, parts: &[&[u8]]) -> Result<(), Broken> {
        lock(&self.outbox).send(parts)?;
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    fn lost(&self, id: u64, errno: Errno) -> Result<(), Broken> {
        self.refuse(tell::LOST, id, errno)
    }

    fn failed(&self, id: u64, errno: Errno) -> Result<(), Broken> {
        self.refuse(tell::FAILED, id, errno)
    }

    fn refuse(&self, kind: u8, id: u64, errno: Errno) -> Result<(), Broken> {
        let mut put = Put::of(kind);
        put.number(id);
        words::put_errno(&mut put, Some(errno));
        self.send(&[&put.0])
    }
}
