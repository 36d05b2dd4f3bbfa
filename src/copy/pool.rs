//! Workers over directories: one task is one directory, and it is worked on by one worker at a time.
//!
//! Every worker goes depth first on its own stack. The subdirectories it has found but not entered are on offer: an
//! idle worker takes one from the oldest offer, which is nearest to the root and so most likely large. Nothing else
//! is queued, so memory is bounded by depth and by the size of a piece of a listing.
//!
//! One who finds neither helps with a directory that another worker has (`lot`).
//!
//! When the last child of a directory is finished, whoever finished it finishes the directory: metadata of a
//! directory is set after everything below it.
//!
//! How many work is measured while they do (`tune`). One who is not wanted for now hands back what it holds and parks.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Instant;

use rustix::io::Errno;

use super::Work;
use super::board::{Board, Frame, Offer, Task};
use super::children::{Child, Children};
use super::dir::{Budget, Dir, Pair};
use super::end::End;
use super::error::Error;
use super::far::{Deliver, Folder};
use super::lot::Lot;
use super::report::Effort;
use super::tune::{Look, Tuner};
use crate::cancel::Cancel;
use crate::progress::Event;

/// With so many children waiting, a directory's own worker enters them before it lists more.
const ENOUGH: usize = 4 << 10;

const MOST_WORKERS: usize = 256;
/// A stack only ever holds one frame of the pool and the calls of one entry.
const STACK: usize = 512 << 10;

/// What is done in every directory.
pub(super) trait Job: Sync {
    /// What a worker has of its own: buffers and counts. One who parks has none.
    type Worker;
    /// How far a directory's listing has got.
    type Cursor: Default + Send + 'static;
    /// A part of a directory that several workers can do at once.
    type Part: Send + Sync + 'static;

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

    /// Cuts off the next piece of a directory for several workers, and says how large it is. `None`: it is for one alone.
    fn share(
        &self,
        _: &mut Self::Worker,
        _: &Arc<Dir>,
        _: &Arc<Pair>,
        _: &mut Self::Cursor,
    ) -> Result<Option<(Self::Part, usize)>, Error> {
        Ok(None)
    }

    /// Does some of what was cut off. `false`: no more is to be done.
    fn help(&self, _: &mut Self::Worker, _: &Self::Part, _: Range<usize>) -> bool {
        false
    }

    /// Takes what all have done of what was cut off; `whole`: nothing is left of it.
    fn close(
        &self,
        _: &mut Self::Worker,
        _: &mut Self::Cursor,
        _: &Self::Part,
        _: bool,
        _: &mut Children,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// How a child of these bits is asked for at another place before a worker enters it; `None`: it is not there.
    fn asks(&self, _: u8) -> Option<u8> {
        None
    }

    /// Finishes a directory after everything below it.
    fn finish(&self, worker: &mut Self::Worker, dir: &Arc<Dir>, pair: &Pair) -> Result<(), Error>;

    /// A directory could not be reached again; it counts as failed and is not finished.
    fn lost(&self, worker: &mut Self::Worker, dir: &Arc<Dir>, errno: Errno) -> Result<(), Error>;

    /// Takes a worker's counts.
    fn retire(&self, worker: Self::Worker);
}

/// Why a worker leaves its work.
enum Leave {
    Park,
    End,
}

struct Pool<'a, J: Job> {
    job: &'a J,
    cancel: &'a Cancel,
    budget: &'a Budget,
    board: Arc<Board<J::Cursor, J::Part>>,
    error: Mutex<Option<Error>>,
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
    work: &Work<'_>,
    jobs: Option<NonZeroUsize>,
    done: &AtomicU64,
) -> Result<Effort, Error> {
    let running = Running::enter();
    let tuner = Tuner::new(jobs.map(NonZeroUsize::get), most_workers());
    let effort = tuned(job, root, budget, work, tuner, done)?;
    drop(running);
    Ok(effort)
}

/// Runs `job` with as many workers as `tuner` says.
fn tuned<J: Job>(
    job: &J,
    root: Arc<Dir>,
    budget: &Budget,
    work: &Work<'_>,
    tuner: Tuner,
    done: &AtomicU64,
) -> Result<Effort, Error> {
    let pool =
        Pool { job, cancel: work.cancel, budget, board: Arc::new(Board::new(tuner.wanted())), error: Mutex::new(None) };
    let effort = std::thread::scope(|scope| pool.conduct(scope, root, tuner, work, done))?;
    match pool.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(effort),
    }
}

impl<J: Job> Pool<'_, J> {
    /// Has as many workers at work as the tuner wants, until all is done.
    fn conduct<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        root: Arc<Dir>,
        mut tuner: Tuner,
        work: &Work<'_>,
        done: &AtomicU64,
    ) -> Result<Effort, Error> {
        let began = Instant::now();
        let before = done.load(Ordering::Relaxed);
        let so_far = || done.load(Ordering::Relaxed) - before;
        let mut root = Some(root);
        let (mut workers, mut told, mut most_at_once) = (0, 0, 0);
        // As many as the system lets a process have, once it has said so.
        let mut room = usize::MAX;
        loop {
            while workers < tuner.wanted().min(room) {
                let (number, root) = (workers, root.take());
                let started = std::thread::Builder::new().stack_size(STACK);
                match started.spawn_scoped(scope, move || self.work(number, root)) {
                    Ok(_) => workers += 1,
                    // Fewer workers than wished are no harm; none are.
                    Err(_) if workers > 0 => room = workers,
                    Err(error) => {
                        let errno = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
                        return Err(Error::io("start a worker for", b"the tree")(errno));
                    }
                }
            }
            let (idle, parked) = self.board.resting();
            let running = workers - parked;
            most_at_once = most_at_once.max(running);
            let operations = so_far();
            work.progress.event(Event::Workers { running, operations: operations - told, held: tuner.held() });
            told = operations;
            if self.board.is_ended() {
                break;
            }
            self.board.watch(tuner.pause());
            if let Err(cancelled) = self.cancel.check() {
                self.fail(cancelled.into());
            }
            if !self.board.is_ended() {
                let most = most_workers().min(room);
                let look = Look { at: began.elapsed(), done: so_far(), running, idle, most };
                tuner.look(&look);
                self.board.want(tuner.wanted());
            }
        }
        Ok(Effort {
            operations: so_far(),
            elapsed: began.elapsed(),
            workers: tuner.wanted().min(workers),
            most_workers: most_at_once,
            held: tuner.held(),
        })
    }

    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.board.end();
    }

    fn work(&self, number: usize, root: Option<Arc<Dir>>) {
        // Should a worker panic, the others must not wait for its work for ever; the scope then passes the panic on.
        let guard = EndOnPanic(&self.board);
        let mut stack: Vec<Frame<J::Cursor>> = root.map(Self::frame).into_iter().collect();
        loop {
            let mut worker = self.job.worker();
            let left = self.work_on(number, &mut worker, &mut stack);
            self.job.retire(worker);
            match left {
                Ok(Leave::Park) if self.board.park(number) => {}
                Ok(_) => break,
                Err(error) => {
                    self.fail(error);
                    break;
                }
            }
        }
        drop(guard);
    }

    fn work_on(
        &self,
        number: usize,
        worker: &mut J::Worker,
        stack: &mut Vec<Frame<J::Cursor>>,
    ) -> Result<Leave, Error> {
        while !self.board.is_ended() {
            self.cancel.check()?;
            if !self.board.wants(number) {
                self.hand_back(worker, stack)?;
                return Ok(Leave::Park);
            }
            let Some(top) = stack.last_mut() else {
                match self.board.steal(number) {
                    Some(Task::Go(frame)) => stack.push(frame),
                    Some(Task::Enter(parent, child)) => self.enter(worker, &parent, child, stack)?,
                    Some(Task::Help(lot)) => {
                        self.help(worker, &lot, Some(number));
                    }
                    // All is over, or it parks.
                    None => {}
                }
                continue;
            };
            if top.more && top.offer.count() < ENOUGH {
                self.step(worker, top)?;
            } else if let Some(child) = self.board.take(&top.offer) {
                let parent = top.dir.clone();
                self.enter(worker, &parent, child, stack)?;
            } else if !top.more
                && let Some(frame) = stack.pop()
            {
                self.release(worker, frame.dir)?;
            }
        }
        Ok(Leave::End)
    }

    /// Leaves all of a stack to others: what is on offer stays there, and what is not listed to its end goes to the
    /// board.
    fn hand_back(&self, worker: &mut J::Worker, stack: &mut Vec<Frame<J::Cursor>>) -> Result<(), Error> {
        for frame in stack.drain(..).rev() {
            if frame.more {
                self.board.hand_back(frame);
            } else {
                self.release(worker, frame.dir)?;
            }
        }
        Ok(())
    }

    fn frame(dir: Arc<Dir>) -> Frame<J::Cursor> {
        let offer = Offer::new(dir.clone());
        Frame { dir, offer, cursor: J::Cursor::default(), more: true, pair: None }
    }

    fn step(&self, worker: &mut J::Worker, frame: &mut Frame<J::Cursor>) -> Result<(), Error> {
        let pair = match frame.pair.take().map_or_else(|| frame.dir.pair(), Ok) {
            Ok(pair) => pair,
            Err(errno) => {
                frame.more = false;
                return self.job.lost(worker, &frame.dir, errno);
            }
        };
        let mut found = Children::default();
        let shared = match self.board.has_idle() {
            true => self.job.share(worker, &frame.dir, &pair, &mut frame.cursor)?,
            false => None,
        };
        match shared {
            Some((part, size)) => self.together(worker, frame, (part, size), &mut found)?,
            None => frame.more = self.job.step(worker, &frame.dir, &pair, &mut frame.cursor, &mut found)?,
        }
        if found.count() > 0 {
            frame.dir.add_children(found.count());
            if let Some(End::Far(folder)) = pair.left() {
                found = self.ask(&frame.dir, folder, found);
            }
            self.board.offer(&frame.offer, found);
        }
        if frame.more {
            frame.pair = Some(pair);
        } else {
            frame.cursor = J::Cursor::default();
        }
        Ok(())
    }

    /// Does a part of a directory with the help of others.
    fn together(
        &self,
        worker: &mut J::Worker,
        frame: &mut Frame<J::Cursor>,
        (part, size): (J::Part, usize),
        found: &mut Children,
    ) -> Result<(), Error> {
        let lot = Lot::new(part, size);
        self.board.share(&lot);
        let mine = self.help(worker, &lot, None);
        self.board.unshare(&lot);
        lot.wait();
        self.job.close(worker, &mut frame.cursor, &lot.work, mine && !self.board.is_ended(), found)
    }

    /// Does pieces of a lot while there are some; a helper goes when it is no longer wanted. Returns whether nothing
    /// went wrong.
    fn help(&self, worker: &mut J::Worker, lot: &Lot<J::Part>, helper: Option<usize>) -> bool {
        while helper.is_none_or(|number| self.board.wants(number))
            && let Some(piece) = lot.claim()
        {
            if self.board.is_ended() || !self.job.help(worker, &lot.work, piece) {
                lot.stop();
                return false;
            }
        }
        true
    }

    /// Asks another place for the children that are there: they come to the board when they have arrived. Returns the
    /// others.
    fn ask(&self, dir: &Arc<Dir>, folder: &Arc<Folder>, mut found: Children) -> Children {
        let (mut asked, mut others) = (Vec::new(), Children::default());
        while let Some(child) = found.pop() {
            match self.job.asks(child.bits) {
                Some(flags) => asked.push((child, flags)),
                None => others.push(&child.name, child.bits, child.ino),
            }
        }
        if !asked.is_empty() {
            let to: Arc<dyn Deliver> = self.board.clone();
            folder.roads().wish(folder, dir, asked, &to);
        }
        others
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
                self.board.end();
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

struct EndOnPanic<'a, C, L>(&'a Board<C, L>);

impl<C, L> Drop for EndOnPanic<'_, C, L> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests;
