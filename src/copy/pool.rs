//! Workers over directories: one task is one directory, and it is worked on by one worker at a time.
//!
//! Every worker goes depth first on its own stack. The subdirectories it has found but not entered are on offer: an
//! idle worker takes one from the oldest offer, which is nearest to the root and so most likely large. Nothing else
//! is queued, so memory is bounded by depth and by the size of a piece of a listing.
//!
//! When the last child of a directory is finished, whoever finished it finishes the directory: metadata of a
//! directory is set after everything below it.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::dir::{Budget, Dir, Pair};
use super::error::Error;
use crate::cancel::Cancel;

/// With so many children waiting, a directory's own worker enters them before it lists more.
const ENOUGH: usize = 4 << 10;

const FIRST_WORKERS: usize = 8;
const MOST_WORKERS: usize = 64;
const TICK: Duration = Duration::from_millis(250);
/// A stack only ever holds one frame of the pool and the calls of one entry.
const STACK: usize = 512 << 10;

/// A subdirectory that was found and not entered yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub name: CString,
    /// The job's own bits: on which sides it is, and so on.
    pub bits: u8,
    /// The inode that was found under the name on the side that matters to the job; 0 if it does not matter.
    pub ino: u64,
}

/// Children, packed.
#[derive(Debug, Default)]
pub(super) struct Children {
    packed: Vec<u8>,
    count: usize,
}

impl Children {
    pub(super) fn push(&mut self, name: &CStr, bits: u8, ino: u64) {
        let bytes = name.to_bytes_with_nul();
        self.packed.extend_from_slice(bytes);
        self.packed.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        self.packed.push(bits);
        self.packed.extend_from_slice(&ino.to_le_bytes());
        self.count += 1;
    }

    fn pop(&mut self) -> Option<Child> {
        let (rest, ino) = self.packed.split_last_chunk::<8>()?;
        let (&bits, rest) = rest.split_last()?;
        let (rest, length) = rest.split_last_chunk::<2>()?;
        let start = rest.len() - usize::from(u16::from_le_bytes(*length));
        let name = CStr::from_bytes_with_nul(&rest[start..]).ok()?.to_owned();
        let child = Child { name, bits, ino: u64::from_le_bytes(*ino) };
        self.packed.truncate(start);
        self.count -= 1;
        Some(child)
    }

    fn append(&mut self, other: &mut Self) {
        self.packed.append(&mut other.packed);
        self.count += std::mem::take(&mut other.count);
    }
}

/// What is done in every directory.
pub(super) trait Job: Sync {
    /// What a worker has of its own: buffers and counts.
    type Worker;
    /// How far a directory's listing has got.
    type Cursor: Default;

    /// Makes a worker's own things.
    fn worker(&self) -> Self::Worker;

    /// Opens a child. `None`: it could not be, and that is counted.
    fn open(&self, worker: &mut Self::Worker, parent: &Arc<Dir>, child: Child) -> Result<Option<Arc<Dir>>, Error>;

    /// Does the next piece of a directory and tells the subdirectories found. Returns whether there is more to do.
    fn step(
        &self,
        worker: &mut Self::Worker,
        dir: &Arc<Dir>,
        pair: &Pair,
        cursor: &mut Self::Cursor,
        found: &mut Children,
    ) -> Result<bool, Error>;

    /// Finishes a directory after everything below it.
    fn finish(&self, worker: &mut Self::Worker, dir: &Arc<Dir>, pair: &Pair) -> Result<(), Error>;

    /// A directory could not be reached again; it counts as failed and is not finished.
    fn lost(&self, worker: &mut Self::Worker, dir: &Arc<Dir>, errno: Errno) -> Result<(), Error>;

    /// Takes a worker's counts.
    fn retire(&self, worker: Self::Worker);
}

struct Offer {
    dir: Arc<Dir>,
    children: Mutex<Children>,
}

impl Offer {
    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Frame<C> {
    dir: Arc<Dir>,
    offer: Arc<Offer>,
    cursor: C,
    more: bool,
}

#[derive(Default)]
struct Board {
    /// Offers that have children, oldest first.
    offers: VecDeque<Arc<Offer>>,
    finished: bool,
}

struct Pool<'a, J: Job> {
    job: &'a J,
    cancel: &'a Cancel,
    budget: &'a Budget,
    board: Mutex<Board>,
    changed: Condvar,
    idle: AtomicUsize,
    stop: AtomicBool,
    error: Mutex<Option<Error>>,
    /// Pieces of work done, for tuning.
    done: &'a AtomicU64,
}

/// How many trees are worked on at this moment: they share processors and file descriptors.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

struct Running;

impl Running {
    fn enter() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The most workers one tree may have now.
fn most_workers() -> usize {
    let trees = RUNNING.load(Ordering::Relaxed).max(1);
    // Each worker holds a few files open beside its directories.
    (super::sys::file_limit() / 24 / trees).clamp(2, (MOST_WORKERS / trees).max(2))
}

/// Runs `job` over the tree at `root`. `done` counts the job's operations while it runs.
///
/// # Errors
/// The first error of the job, or [`Error::Cancelled`].
pub(super) fn run<J: Job>(
    job: &J,
    root: Arc<Dir>,
    budget: &Budget,
    cancel: &Cancel,
    jobs: Option<NonZeroUsize>,
    done: &AtomicU64,
) -> Result<(), Error> {
    let pool = Pool {
        job,
        cancel,
        budget,
        board: Mutex::default(),
        changed: Condvar::new(),
        idle: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        error: Mutex::new(None),
        done,
    };
    let running = Running::enter();
    std::thread::scope(|scope| pool.conduct(scope, root, jobs))?;
    drop(running);
    match pool.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

impl<J: Job> Pool<'_, J> {
    /// Starts workers, and more of them as long as that makes the work faster.
    fn conduct<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        root: Arc<Dir>,
        jobs: Option<NonZeroUsize>,
    ) -> Result<(), Error> {
        let mut workers = 0;
        let mut first = Some(root);
        let mut start = |count: usize| -> Result<(), Error> {
            for _ in 0..count {
                let root = first.take();
                let made = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || self.work(root));
                if let Err(error) = made {
                    // Fewer workers than wished are no harm; none are.
                    if workers > 0 {
                        return Ok(());
                    }
                    let errno = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
                    return Err(Error::io("start a worker for", b"the tree")(errno));
                }
                workers += 1;
            }
            Ok(())
        };
        let mut count = jobs.map_or(FIRST_WORKERS, NonZeroUsize::get).min(most_workers());
        start(count)?;
        let (mut before, mut then) = (0, Instant::now());
        let mut best = 0.0_f64;
        let mut growing = jobs.is_none();
        let mut board = self.board();
        while !board.finished && !self.stop.load(Ordering::Relaxed) {
            board = self.changed.wait_timeout(board, TICK).unwrap_or_else(PoisonError::into_inner).0;
            if let Err(cancelled) = self.cancel.check() {
                self.fail(cancelled.into());
            }
            let now = Instant::now();
            if !growing || now - then < TICK {
                continue;
            }
            let done = self.done.load(Ordering::Relaxed);
            let rate = (done - before) as f64 / (now - then).as_secs_f64();
            (before, then) = (done, now);
            // Idle workers mean that there is nothing to give to more of them.
            let most = most_workers();
            if self.idle.load(Ordering::Relaxed) > 0 || count >= most {
                continue;
            }
            if rate > best * 1.05 {
                best = rate;
                let more = (count / 2).max(1).min(most - count);
                drop(board);
                start(more)?;
                count += more;
                board = self.board();
            } else {
                growing = false;
            }
        }
        drop(board);
        self.changed.notify_all();
        Ok(())
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    fn work(&self, root: Option<Arc<Dir>>) {
        // Should a worker panic, the others must not wait for its work for ever; the scope then passes the panic on.
        let guard = StopOnPanic(self);
        let mut worker = self.job.worker();
        if let Err(error) = self.work_on(&mut worker, root) {
            self.fail(error);
        }
        self.job.retire(worker);
        drop(guard);
    }

    fn work_on(&self, worker: &mut J::Worker, root: Option<Arc<Dir>>) -> Result<(), Error> {
        let mut stack: Vec<Frame<J::Cursor>> = root.map(Self::frame).into_iter().collect();
        while !self.stop.load(Ordering::Relaxed) {
            self.cancel.check()?;
            let Some(top) = stack.last_mut() else {
                match self.steal() {
                    Some((parent, child)) => self.enter(worker, &parent, child, &mut stack)?,
                    None => return Ok(()),
                }
                continue;
            };
            let waiting = top.offer.children().count;
            if top.more && waiting < ENOUGH {
                self.step(worker, top)?;
            } else if let Some(child) = self.take(&top.offer) {
                let parent = top.dir.clone();
                self.enter(worker, &parent, child, &mut stack)?;
            } else if !top.more
                && let Some(frame) = stack.pop()
            {
                self.release(worker, frame.dir)?;
            }
        }
        Ok(())
    }

    fn frame(dir: Arc<Dir>) -> Frame<J::Cursor> {
        let offer = Arc::new(Offer { dir: dir.clone(), children: Mutex::default() });
        Frame { dir, offer, cursor: J::Cursor::default(), more: true }
    }

    fn step(&self, worker: &mut J::Worker, frame: &mut Frame<J::Cursor>) -> Result<(), Error> {
        let pair = match frame.dir.pair() {
            Ok(pair) => pair,
            Err(errno) => {
                frame.more = false;
                return self.job.lost(worker, &frame.dir, errno);
            }
        };
        let mut found = Children::default();
        frame.more = self.job.step(worker, &frame.dir, &pair, &mut frame.cursor, &mut found)?;
        if !frame.more {
            frame.cursor = J::Cursor::default();
        }
        if found.count == 0 {
            return Ok(());
        }
        frame.dir.add_children(found.count);
        let mut board = self.board();
        let mut children = frame.offer.children();
        let listed = children.count > 0;
        children.append(&mut found);
        drop(children);
        if !listed {
            board.offers.push_back(frame.offer.clone());
        }
        drop(board);
        if self.idle.load(Ordering::Relaxed) > 0 {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Takes a child of one's own offer.
    fn take(&self, offer: &Arc<Offer>) -> Option<Child> {
        let mut children = offer.children();
        let child = children.pop()?;
        if children.count == 0 {
            drop(children);
            self.withdraw(offer);
        }
        Some(child)
    }

    /// Takes an offer off the board, unless it was filled again meanwhile.
    fn withdraw(&self, offer: &Arc<Offer>) {
        let mut board = self.board();
        if offer.children().count == 0
            && let Some(at) = board.offers.iter().rposition(|other| Arc::ptr_eq(other, offer))
        {
            board.offers.remove(at);
        }
    }

    /// Waits for a child of anybody's. `None`: all is done, or must stop.
    fn steal(&self) -> Option<(Arc<Dir>, Child)> {
        let mut board = self.board();
        loop {
            if board.finished || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            while let Some(offer) = board.offers.front().cloned() {
                let mut children = offer.children();
                let child = children.pop();
                let empty = children.count == 0;
                drop(children);
                if empty {
                    board.offers.pop_front();
                }
                if let Some(child) = child {
                    return Some((offer.dir.clone(), child));
                }
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            board = self.changed.wait_timeout(board, TICK).unwrap_or_else(PoisonError::into_inner).0;
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn enter(
        &self,
        worker: &mut J::Worker,
        parent: &Arc<Dir>,
        child: Child,
        stack: &mut Vec<Frame<J::Cursor>>,
    ) -> Result<(), Error> {
        if self.budget.is_exceeded() {
            // The frames at the bottom are needed last.
            for frame in stack.iter().filter(|frame| !frame.more).take(stack.len().saturating_sub(2)) {
                if frame.dir.parent.is_some() && frame.dir.opened().is_some() {
                    frame.dir.close();
                    break;
                }
            }
        }
        match self.job.open(worker, parent, child)? {
            Some(dir) => stack.push(Self::frame(dir)),
            None => self.release(worker, parent.clone())?,
        }
        Ok(())
    }

    /// One thing of `dir` is done; if it was the last, finishes it, and so on upwards.
    fn release(&self, worker: &mut J::Worker, mut dir: Arc<Dir>) -> Result<(), Error> {
        while dir.one_done() {
            match dir.pair() {
                Ok(pair) => {
                    self.job.finish(worker, &dir, &pair)?;
                    if let Some(parent) = &dir.parent {
                        parent.reopen_from(&pair);
                    }
                }
                Err(errno) => self.job.lost(worker, &dir, errno)?,
            }
            dir.close();
            let Some(parent) = dir.parent.clone() else {
                self.board().finished = true;
                self.changed.notify_all();
                return Ok(());
            };
            dir = parent;
        }
        if self.budget.is_exceeded() {
            dir.close();
        }
        Ok(())
    }
}

struct StopOnPanic<'a, 'b, J: Job>(&'a Pool<'b, J>);

impl<J: Job> Drop for StopOnPanic<'_, '_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop.store(true, Ordering::Release);
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn children_come_back_as_they_were_put() {
        let mut children = Children::default();
        children.push(c"one", 1, 7);
        children.push(c"", 3, u64::MAX);
        let mut more = Children::default();
        more.push(c"a\xff", 0, 0);
        children.append(&mut more);
        let names: Vec<_> = std::iter::from_fn(|| children.pop()).map(|c| (c.name, c.bits, c.ino)).collect();
        assert_eq!(names, [(c"a\xff".into(), 0, 0), (c"".into(), 3, u64::MAX), (c"one".into(), 1, 7)]);
        assert_eq!((children.count, more.count), (0, 0));
    }
}
