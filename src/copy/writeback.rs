//! Starts the writing of what is copied while more is copied, so that the destination's disk does not stand idle until
//! the end and the last sync is short.
//!
//! Small files are not worth a call each (`sync_file_range` makes the file system place every one by itself): now and
//! then the file system as a whole is synced, by a thread of its own.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use rustix::io::Errno;

/// As often as that, if there is something new.
const PAUSE: Duration = Duration::from_secs(1);
/// So many new entries, or 64 KiB each, are worth it.
const WORTH: u64 = 2_000;

/// The thread.
pub(super) struct Writeback<'s> {
    stop: Sender<()>,
    thread: ScopedJoinHandle<'s, Result<(), Errno>>,
}

impl<'s> Writeback<'s> {
    /// Starts it. `fd` is a descriptor of the destination opened for this purpose: the kernel tells a failed write once
    /// to each, and the last sync must hear of it too. `None` if there can be no more threads: the last sync does it all.
    pub(super) fn start<'e>(scope: &'s Scope<'s, 'e>, fd: OwnedFd, written: &'e AtomicU64) -> Option<Self> {
        let (stop, stopped) = channel();
        let work = move || write_back(&fd, written, &stopped, PAUSE);
        let thread = std::thread::Builder::new().name("writeback".into()).spawn_scoped(scope, work).ok()?;
        Some(Self { stop, thread })
    }

    /// Ends it and says what it met.
    pub(super) fn end(self) -> Result<(), Errno> {
        drop(self.stop);
        self.thread.join().unwrap_or(Ok(()))
    }
}

fn write_back(fd: &OwnedFd, written: &AtomicU64, stopped: &Receiver<()>, pause: Duration) -> Result<(), Errno> {
    let mut before = 0;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let now = written.load(Ordering::Relaxed);
        if is_worth(before, now) {
            before = now;
            rustix::fs::syncfs(fd)?;
        }
    }
    Ok(())
}

/// Whether there is enough new since the last time.
fn is_worth(before: u64, now: u64) -> bool {
    now - before >= WORTH
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::fs::{Mode, OFlags};

    /// A descriptor that cannot be synced, so that it is seen that somebody tried.
    fn unsyncable() -> OwnedFd {
        rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap()
    }

    #[test]
    fn what_is_written_is_synced_and_a_failure_is_told() {
        let (written, (_stop, stopped)) = (AtomicU64::new(WORTH), channel());
        // It ends by itself: with the error of the first sync.
        let met = write_back(&unsyncable(), &written, &stopped, Duration::from_millis(1));
        assert_eq!(met, Err(Errno::BADF));
    }

    #[test]
    fn what_is_not_worth_it_is_left_to_the_last_sync() {
        assert!(is_worth(0, WORTH) && !is_worth(0, WORTH - 1));
        assert!(is_worth(7, WORTH + 7) && !is_worth(7, WORTH + 6), "only what is new counts");
    }

    #[test]
    fn who_ends_it_does_not_wait_for_the_pause() {
        let written = AtomicU64::new(WORTH);
        std::thread::scope(|scope| {
            let early = Writeback::start(scope, unsyncable(), &written).unwrap();
            assert_eq!(early.end(), Ok(()));
        });
    }
}
