//! Counts what one worker does: at once for tuning, and a little at a time for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::progress::{Event, Progress};

/// So much content counts as one operation.
const PIECE: u64 = 64 << 10;

/// A worker's counter.
pub(super) struct Meter<'a> {
    progress: &'a dyn Progress,
    /// Operations of all workers. Measured several times a second, so nothing is held back from it.
    done: &'a AtomicU64,
    untold: (u64, u64),
    /// Bytes that are no operation yet.
    odd: u64,
    /// Operations to count with the next entry.
    owed: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a dyn Progress, done: &'a AtomicU64) -> Self {
        Self { progress, done, untold: (0, 0), odd: 0, owed: 0 }
    }

    /// Counts entries and bytes that are done; tells them once they are many, or `often` bytes.
    pub(super) fn advance(&mut self, entries: u64, bytes: u64, often: u64) {
        self.odd += bytes;
        let owed = std::mem::take(&mut self.owed);
        self.work(entries + self.odd / PIECE + owed);
        self.odd %= PIECE;
        self.untold.0 += entries;
        self.untold.1 += bytes;
        if self.untold.0 >= 64 || self.untold.1 >= often {
            self.tell();
        }
    }

    /// Counts operations together with the entry that comes next: all workers share one counter.
    pub(super) fn owe(&mut self, operations: u64) {
        self.owed += operations;
    }

    /// Counts operations that finish no entry.
    pub(super) fn work(&self, operations: u64) {
        if operations > 0 {
            self.done.fetch_add(operations, Ordering::Relaxed);
        }
    }

    /// Tells what was not told yet.
    pub(super) fn tell(&mut self) {
        let (entries, bytes) = std::mem::take(&mut self.untold);
        if entries + bytes > 0 {
            self.progress.event(Event::Advance { entries, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, u64)>>);

    impl Progress for Told {
        fn event(&self, event: Event<'_>) {
            if let Event::Advance { entries, bytes } = event {
                self.0.lock().unwrap().push((entries, bytes));
            }
        }
    }

    #[test]
    fn operations_count_at_once_and_events_come_in_lots() {
        let (told, done) = (Told::default(), AtomicU64::new(0));
        let mut meter = Meter::new(&told, &done);
        for entry in 1..=63 {
            meter.advance(1, PIECE / 4, 1 << 40);
            assert_eq!(done.load(Ordering::Relaxed), entry + entry / 4, "parts of a piece add up");
        }
        assert_eq!(told.0.lock().unwrap().len(), 0);
        meter.advance(1, 0, 1 << 40);
        meter.advance(0, 5, 5);
        meter.advance(1, 1, 5);
        meter.work(7);
        assert_eq!(done.load(Ordering::Relaxed), 64 + 15 + 1 + 7);
        meter.owe(3);
        assert_eq!(done.load(Ordering::Relaxed), 64 + 15 + 1 + 7);
        meter.advance(0, 0, 1 << 40);
        assert_eq!(done.load(Ordering::Relaxed), 64 + 15 + 1 + 7 + 3);
        meter.tell();
        meter.tell();
        assert_eq!(*told.0.lock().unwrap(), [(64, 63 * PIECE / 4), (0, 5), (1, 1)]);
    }
}
