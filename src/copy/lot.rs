//! A part of one directory that several workers do at once.
//!
//! A directory belongs to one worker. Where that leaves others without work (one huge directory, the last ones of a tree)
//! its owner cuts off the next part as a lot; whoever is idle takes small pieces of it, and the owner does too. It goes on
//! with the directory when the lot is done.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// So much is taken at once. Behind a latency the last piece is what the others wait for.
const PIECE: usize = 4;
/// A part smaller than this is not worth sharing.
pub(super) const WORTH: usize = 4 * PIECE;

/// The part, and how much of it is taken.
pub(super) struct Lot<L> {
    pub work: L,
    size: usize,
    next: AtomicUsize,
    /// Those who help the owner at this moment.
    helpers: Mutex<usize>,
    left: Condvar,
}

/// One who helps; dropped when it leaves, however that comes.
pub(super) struct Helper<L>(Arc<Lot<L>>);

impl<L> Lot<L> {
    pub(super) fn new(work: L, size: usize) -> Arc<Self> {
        Arc::new(Self { work, size, next: AtomicUsize::new(0), helpers: Mutex::default(), left: Condvar::new() })
    }

    /// How many may find something to do.
    pub(super) fn room(&self) -> usize {
        self.size.saturating_sub(self.next.load(Ordering::Relaxed)).div_ceil(PIECE)
    }

    /// Takes the next piece.
    pub(super) fn claim(&self) -> Option<Range<usize>> {
        let start = self.next.fetch_add(PIECE, Ordering::Relaxed);
        (start < self.size).then(|| start..(start + PIECE).min(self.size))
    }

    /// Nothing more is to be taken.
    pub(super) fn stop(&self) {
        self.next.store(self.size, Ordering::Relaxed);
    }

    pub(super) fn join(self: &Arc<Self>) -> Helper<L> {
        *self.helpers() += 1;
        Helper(self.clone())
    }

    /// Waits until all helpers have left. The lot must be off the board, so that none comes.
    pub(super) fn wait(&self) {
        let waited = self.left.wait_while(self.helpers(), |helpers| *helpers > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn helpers(&self) -> MutexGuard<'_, usize> {
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> std::ops::Deref for Helper<L> {
    type Target = Lot<L>;

    fn deref(&self) -> &Lot<L> {
        &self.0
    }
}

impl<L> Drop for Helper<L> {
    fn drop(&mut self) {
        *self.0.helpers() -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_taken_once_and_the_owner_waits_for_all() {
        let lot = Lot::new(Mutex::new(Vec::new()), 1_001);
        let helpers: Vec<_> = (0..3).map(|_| lot.join()).collect();
        std::thread::scope(|scope| {
            for helper in helpers {
                scope.spawn(move || {
                    while let Some(range) = helper.claim() {
                        std::thread::yield_now();
                        helper.work.lock().unwrap_or_else(PoisonError::into_inner).extend(range);
                    }
                });
            }
            lot.wait();
            let mut taken = std::mem::take(&mut *lot.work.lock().unwrap_or_else(PoisonError::into_inner));
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..1_001));
        });
        assert_eq!((lot.claim(), lot.room()), (None, 0));
    }

    #[test]
    fn what_is_stopped_gives_nothing_out() {
        let lot = Lot::new((), 100);
        assert_eq!((lot.claim(), lot.room()), (Some(0..PIECE), 24));
        lot.stop();
        assert_eq!((lot.claim(), lot.room()), (None, 0));
    }
}
