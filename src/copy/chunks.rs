//! A big file that several threads copy at once, chunk by chunk: it keeps more than one request under way, and it is not
//! what everybody waits for at the end.
//!
//! What is before the chunk that began first and is not done is all written: this is the offset a later pass goes on
//! from, and the only one the copy's owner is told.

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::data::{Fault, Mover, Tick};
use super::error::Error;
use super::extents::Extents;
use crate::cancel::{Cancelled, Reason};

/// From this size on a file is worth the threads.
pub(super) const WORTH: u64 = 256 << 20;
/// What one of them takes at once.
const CHUNK: u64 = 64 << 20;
/// So many help, in all files of a pass together.
const MOST: usize = 3;
/// `f_type` of NFS. Its client collects what is written in order; two writers at once make it wait for the server.
const NFS: u64 = 0x6969;
/// So often the owner says how far its helpers are when it has nothing to do itself.
const LOOK: Duration = Duration::from_millis(100);

/// The threads that may still help; clones share them. The default has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

/// Threads that were taken; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken(Arc<AtomicUsize>, NonZeroUsize);

impl Streams {
    /// For a pass with so many workers; `None`: as many as it finds right.
    pub(super) fn of_pass(jobs: Option<usize>) -> Self {
        Self(Arc::new(AtomicUsize::new(jobs.map_or(MOST, |jobs| (jobs - 1).min(MOST)))))
    }

    /// Takes those that are left, if so much to copy to `to` is worth it.
    pub(super) fn take(&self, to: BorrowedFd<'_>, bytes: u64) -> Option<Taken> {
        if bytes < WORTH || rustix::fs::fstatfs(to).is_ok_and(|of| of.f_type as u64 == NFS) {
            return None;
        }
        NonZeroUsize::new(self.0.swap(0, Ordering::Relaxed)).map(|count| Taken(self.0.clone(), count))
    }
}

impl Taken {
    pub(super) fn count(&self) -> usize {
        self.1.get()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_add(self.count(), Ordering::Relaxed);
    }
}

/// What is left of the file, and how far everybody is.
struct Feed<'f, 'e> {
    extents: &'f mut Extents<'e>,
    /// What is left of the extent at hand.
    rest: (u64, u64),
    /// Where each thread is; `None`: it has no chunk.
    at: Vec<Option<u64>>,
    data: u64,
    /// Bytes done and not told yet.
    untold: u64,
    /// No more is to be done.
    over: bool,
    fault: Option<Fault>,
    helpers: usize,
}

struct Chunks<'f, 'e> {
    feed: Mutex<Feed<'f, 'e>>,
    /// A helper has got on, or left.
    moved: Condvar,
}

/// One who takes chunks; dropped when it leaves, however that comes.
struct Helper<'c, 'f, 'e>(&'c Chunks<'f, 'e>, usize);

impl Drop for Helper<'_, '_, '_> {
    fn drop(&mut self) {
        let mut feed = self.0.feed();
        feed.helpers -= 1;
        // One that left in a panic has not written its chunk.
        feed.over |= feed.at[self.1].is_some();
        drop(feed);
        self.0.moved.notify_all();
    }
}

impl Feed<'_, '_> {
    /// The next chunk, and whether its zeros may be holes.
    fn next(&mut self) -> Result<Option<(u64, u64, bool)>, Fault> {
        if self.over {
            return Ok(None);
        }
        if self.rest.0 >= self.rest.1 {
            match self.extents.next().map_err(Fault::Read)? {
                Some(extent) => self.rest = extent,
                None => {
                    self.over = true;
                    return Ok(None);
                }
            }
            self.data += self.rest.1 - self.rest.0;
        }
        let start = self.rest.0;
        self.rest.0 = (start + CHUNK).min(self.rest.1);
        Ok(Some((start, self.rest.0, self.extents.maybe_zeros)))
    }

    /// Everything before this is written.
    fn reached(&self) -> u64 {
        self.at.iter().flatten().copied().min().unwrap_or(self.rest.0)
    }
}

impl<'f, 'e> Chunks<'f, 'e> {
    fn feed(&self) -> MutexGuard<'_, Feed<'f, 'e>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies chunks until there are no more. `tick` is the owner's; helpers have none.
    fn work(
        &self,
        number: usize,
        mover: &mut Mover,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        pair: (u64, u64),
        mut tick: Option<&mut Tick<'_>>,
    ) -> Result<(), Fault> {
        loop {
            let (start, end, maybe_zeros) = {
                let mut feed = self.feed();
                let next = feed.next()?;
                feed.at[number] = next.map(|(start, ..)| start);
                match next {
                    Some(chunk) => chunk,
                    None => return Ok(()),
                }
            };
            let mut step = |at, bytes| {
                let mut feed = self.feed();
                feed.at[number] = Some(at);
                feed.untold += bytes;
                if feed.fault.is_some() {
                    return Err(Error::Cancelled(Cancelled(Reason::Internal)));
                }
                let Some(tick) = &mut tick else { return Ok(()) };
                let (reached, bytes) = (feed.reached(), std::mem::take(&mut feed.untold));
                drop(feed);
                tick(reached, bytes)
            };
            mover.range(from, to, pair, (start, end), maybe_zeros, &mut step)?;
        }
    }

    /// Keeps the first of all faults, and ends the work.
    fn fail(&self, fault: Fault) {
        let mut feed = self.feed();
        feed.fault.get_or_insert(fault);
        feed.over = true;
    }

    /// Waits for the helpers, and goes on telling how far they are.
    fn settle(&self, tick: &mut Tick<'_>) {
        let mut feed = self.feed();
        while feed.helpers > 0 {
            feed = self.moved.wait_timeout(feed, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            let (reached, bytes, failed) = (feed.reached(), std::mem::take(&mut feed.untold), feed.fault.is_some());
            drop(feed);
            if !failed && let Err(error) = tick(reached, bytes) {
                self.fail(Fault::Stop(error));
            }
            feed = self.feed();
        }
    }
}

/// Copies the data that `extents` names with so many `helpers`. Returns how many bytes that were, and where they end.
///
/// # Errors
/// The first fault of any thread; all have ended then.
pub(super) fn copy(
    mover: &mut Mover,
    ends: (BorrowedFd<'_>, BorrowedFd<'_>),
    pair: (u64, u64),
    extents: &mut Extents<'_>,
    helpers: usize,
    tick: &mut Tick<'_>,
) -> Result<(u64, u64), Fault> {
    let rest = (extents.at(), 0);
    let at = vec![None; helpers + 1];
    let feed = Feed { extents, rest, at, data: 0, untold: 0, over: false, fault: None, helpers: 0 };
    let chunks = Chunks { feed: Mutex::new(feed), moved: Condvar::new() };
    std::thread::scope(|scope| {
        for number in 1..=helpers {
            let (mut mover, chunks) = (mover.helper(), &chunks);
            chunks.feed().helpers += 1;
            let helper = Helper(chunks, number);
            let help = move || {
                let helper = helper;
                if let Err(fault) = chunks.work(number, &mut mover, ends, pair, None) {
                    chunks.fail(fault);
                    chunks.feed().at[number] = None;
                }
                drop(helper);
            };
            // Fewer are no harm.
            if std::thread::Builder::new().name("chunks".into()).spawn_scoped(scope, help).is_err() {
                break;
            }
        }
        if let Err(fault) = chunks.work(0, mover, ends, pair, Some(&mut *tick)) {
            chunks.fail(fault);
        }
        chunks.settle(tick);
    });
    let mut feed = chunks.feed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(fault) = feed.fault.take() {
        return Err(fault);
    }
    let (reached, untold) = (feed.reached(), feed.untold);
    if untold > 0 {
        tick(reached, untold).map_err(Fault::Stop)?;
    }
    Ok((feed.data, feed.rest.1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::copy::sys;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    /// A file with data in many places, and so many chunks.
    fn scattered(dir: &std::path::Path) -> File {
        let path = dir.join("from");
        let file = File::create(&path).unwrap();
        for number in 0..200_u64 {
            let content: Vec<u8> = (0..70_000_u64).map(|at| (at * (number + 3) % 251) as u8 | 1).collect();
            file.write_all_at(&content, number * 300_000).unwrap();
        }
        file.set_len(200 * 300_000).unwrap();
        File::open(&path).unwrap()
    }

    fn run(from: &File, to: &File, tick: &mut Tick<'_>) -> Result<(u64, u64), Fault> {
        let meta = sys::stat_fd(from).unwrap();
        let mut extents = Extents::new(from.as_fd(), &meta, 0);
        copy(&mut Mover::default(), (from.as_fd(), to.as_fd()), (meta.dev, meta.dev), &mut extents, 3, tick)
    }

    #[test]
    fn all_of_it_arrives_and_what_is_told_to_be_written_is() {
        let dir = tempfile::tempdir().unwrap();
        let from = scattered(dir.path());
        let to = File::options().read(true).write(true).create_new(true).open(dir.path().join("to")).unwrap();
        let (mut told, mut before) = (0, 0);
        let mut tick = |reached: u64, bytes| {
            told += bytes;
            assert!(reached >= before, "{reached} after {before}");
            let length = to.metadata().unwrap().len().min(reached);
            for at in (before / 300_000..=reached / 300_000).map(|number| number * 300_000).filter(|at| *at < length) {
                let (mut left, mut right) = ([0; 70_000], [0; 70_000]);
                let wanted = left.len().min((reached - at) as usize);
                from.read_exact_at(&mut left[..wanted], at).unwrap();
                to.read_exact_at(&mut right[..wanted], at).unwrap();
                assert!(left == right, "at {at}");
            }
            before = reached;
            Ok(())
        };
        let (data, end) = run(&from, &to, &mut tick).unwrap();
        assert_eq!(told, data);
        assert!((200 * 70_000..200 * 80_000).contains(&data), "{data}");
        to.set_len(end.max(200 * 300_000)).unwrap();
        assert!(std::fs::read(dir.path().join("from")).unwrap() == std::fs::read(dir.path().join("to")).unwrap());
    }

    #[test]
    fn a_failure_of_any_of_them_is_the_failure_of_all() {
        let dir = tempfile::tempdir().unwrap();
        let from = scattered(dir.path());
        let path = dir.path().join("to");
        File::create(&path).unwrap();
        let unwritable = File::open(&path).unwrap();
        let met = run(&from, &unwritable, &mut |_, _| Ok(()));
        assert!(matches!(met, Err(Fault::Write(rustix::io::Errno::BADF))), "{met:?}");

        let to = File::options().write(true).open(&path).unwrap();
        let met = run(&from, &to, &mut |_, _| Err(Error::Cancelled(Cancelled(Reason::Interrupt))));
        assert!(matches!(met, Err(Fault::Stop(Error::Cancelled(Cancelled(Reason::Interrupt))))), "{met:?}");
    }

    #[test]
    fn a_pass_has_so_many_threads_to_spare() {
        let to = tempfile::tempfile().unwrap();
        let count = |streams: &Streams, bytes| streams.take(to.as_fd(), bytes).map_or(0, |taken| taken.count());
        let streams = Streams::of_pass(None);
        let first = streams.take(to.as_fd(), WORTH).unwrap();
        assert_eq!((first.count(), count(&streams, WORTH)), (MOST, 0));
        drop(first);
        assert_eq!(count(&streams, WORTH - 1), 0);
        assert_eq!(count(&streams, WORTH), MOST);
        assert_eq!(count(&Streams::of_pass(Some(1)), WORTH), 0, "one worker is one");
        assert_eq!(count(&Streams::of_pass(Some(2)), WORTH), 1);
    }
}
