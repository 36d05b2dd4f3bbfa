//! Numbers of work that goes on side by side: every lane counts by phase, and lanes in the same phase are summed.
//!
//! What is shown is one phase, and it stays until no lane is in it any more: a picture that jumped between the copy of
//! one tree and the scan of another would tell nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::tally::{Shared, Snapshot};
use crate::progress::{Event, Held, Progress};

/// One phase and what the lanes have done in it.
#[derive(Debug)]
struct Group {
    name: String,
    number: u32,
    began: Instant,
    entries: AtomicU64,
    bytes: AtomicU64,
    total_entries: AtomicU64,
    total_bytes: AtomicU64,
    operations: AtomicU64,
    workers: AtomicU64,
    /// As the lane says that spoke last.
    held: Mutex<Option<Held>>,
}

/// The lanes that are open.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Groups, and how many lanes are in each.
    groups: Vec<(Arc<Group>, usize)>,
    shown: Option<Arc<Group>>,
}

impl Lanes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether work goes on side by side.
    pub(super) fn any(&self) -> bool {
        self.state().open > 0
    }

    /// The numbers of the phase that is shown; none if no lane is open.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let mut state = self.state();
        if state.open == 0 {
            return None;
        }
        let alive =
            |shown: &Arc<Group>| state.groups.iter().any(|(group, lanes)| *lanes > 0 && Arc::ptr_eq(group, shown));
        if !state.shown.as_ref().is_some_and(alive) {
            let most = state.groups.iter().filter(|(_, lanes)| *lanes > 0).max_by_key(|(_, lanes)| *lanes);
            state.shown = most.map(|(group, _)| group.clone()).or_else(|| state.shown.clone());
        }
        let Some(group) = &state.shown else { return Some(Snapshot::default()) };
        Some(Snapshot {
            phase: group.name.clone(),
            number: group.number,
            elapsed: group.began.elapsed(),
            entries: group.entries.load(Relaxed),
            bytes: group.bytes.load(Relaxed),
            total_entries: group.total_entries.load(Relaxed),
            total_bytes: group.total_bytes.load(Relaxed),
            operations: group.operations.load(Relaxed),
            workers: group.workers.load(Relaxed),
            held: *group.held.lock().unwrap_or_else(PoisonError::into_inner),
            ..Snapshot::default()
        })
    }
}

/// One line of work among others.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    group: Option<Arc<Group>>,
    /// Entries done in the present phase, and how many the last scan counted.
    entries: u64,
    scanned: u64,
    /// What this lane added to the totals of its group.
    expected: (u64, u64),
    /// Workers of this lane.
    workers: u64,
}

impl Lane {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        shared.lanes.state().open += 1;
        Self { shared, now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes over to another phase; `None`: to none.
    fn turn(&self, name: Option<&str>) {
        let mut now = self.now();
        let mut state = self.shared.lanes.state();
        if let Some(left) = now.group.take() {
            if left.name == "scan" {
                now.scanned = now.entries;
            }
            left.workers.fetch_sub(std::mem::take(&mut now.workers), Relaxed);
            if let Some((_, lanes)) = state.groups.iter_mut().find(|(group, _)| Arc::ptr_eq(group, &left)) {
                *lanes -= 1;
            }
        }
        now.entries = 0;
        now.expected = (0, 0);
        let Some(name) = name else { return };
        let known = state.groups.iter_mut().find(|(group, _)| group.name == name);
        let group = match known {
            Some((group, lanes)) => {
                *lanes += 1;
                group.clone()
            }
            None => {
                let group = Arc::new(Group {
                    name: name.to_owned(),
                    number: self.shared.number.fetch_add(1, Relaxed) + 1,
                    began: Instant::now(),
                    entries: AtomicU64::new(0),
                    bytes: AtomicU64::new(0),
                    total_entries: AtomicU64::new(0),
                    total_bytes: AtomicU64::new(0),
                    operations: AtomicU64::new(0),
                    workers: AtomicU64::new(0),
                    held: Mutex::default(),
                });
                state.groups.push((group.clone(), 1));
                self.shared.phase(name);
                group
            }
        };
        drop(state);
        if ["copy", "verify"].contains(&name) {
            now.expected.0 = now.scanned;
            group.total_entries.fetch_add(now.scanned, Relaxed);
        }
        now.group = Some(group);
    }

    fn expect(&self, entries: u64, bytes: u64) {
        let mut now = self.now();
        let Some(group) = now.group.clone() else { return };
        let (was_entries, was_bytes) = std::mem::replace(&mut now.expected, (entries, bytes));
        group.total_entries.fetch_add(entries.wrapping_sub(was_entries), Relaxed);
        group.total_bytes.fetch_add(bytes.wrapping_sub(was_bytes), Relaxed);
    }
}

impl Progress for Lane {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Phase(name) => self.turn(Some(name)),
            Event::Total { entries, bytes } => self.expect(entries, bytes),
            Event::Advance { entries, bytes } => {
                let mut now = self.now();
                now.entries += entries;
                if let Some(group) = &now.group {
                    group.entries.fetch_add(entries, Relaxed);
                    group.bytes.fetch_add(bytes, Relaxed);
                }
            }
            Event::Workers { running, operations, held } => {
                let mut now = self.now();
                let Some(group) = now.group.clone() else { return };
                let was = std::mem::replace(&mut now.workers, running as u64);
                group.operations.fetch_add(operations, Relaxed);
                group.workers.fetch_add(now.workers.wrapping_sub(was), Relaxed);
                *group.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
            }
            Event::Limit(limit) => self.shared.limit(limit),
            Event::Failed { path, error } => self.shared.failed(path, error),
            Event::Notice { path, text } => self.shared.notice(path, text),
        }
    }

    fn lane(&self) -> Option<Box<dyn Progress>> {
        Some(Box::new(Self::open(self.shared.clone())))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.turn(None);
        let mut state = self.shared.lanes.state();
        state.open -= 1;
        if state.open == 0 {
            *state = State::default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tally::Tally;
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn lanes_in_one_phase_are_summed_and_none_overwrites_another() {
        let tally = Tally::new(9, channel().0);
        let (one, two) = (tally.lane().unwrap(), tally.lane().unwrap());
        for (lane, entries) in [(&one, 10), (&two, 30)] {
            lane.event(Event::Phase("scan"));
            lane.event(Event::Advance { entries, bytes: 0 });
        }
        assert_eq!(tally.snapshot().entries, 40);
        one.event(Event::Phase("copy"));
        one.event(Event::Advance { entries: 4, bytes: 7 });
        // One lane still scans, and that is what is shown.
        assert_eq!((tally.snapshot().phase.as_str(), tally.snapshot().entries), ("scan", 40));
        two.event(Event::Phase("copy"));
        two.event(Event::Advance { entries: 6, bytes: 1 });
        two.event(Event::Total { entries: 50, bytes: 90 });
        let seen = tally.snapshot();
        assert_eq!((seen.phase.as_str(), seen.entries, seen.bytes), ("copy", 10, 8));
        assert_eq!((seen.total_entries, seen.total_bytes), (60, 90));
        for (lane, running) in [(&one, 8), (&two, 8), (&one, 4)] {
            lane.event(Event::Workers { running, operations: 100, held: None });
        }
        assert_eq!((tally.snapshot().workers, tally.snapshot().operations), (12, 300));
        one.event(Event::Phase("delete"));
        assert_eq!((tally.snapshot().phase.as_str(), tally.snapshot().workers), ("copy", 8));
        two.event(Event::Failed { path: b"x", error: "no" });
        assert_eq!(tally.snapshot().failed, 1);
        drop((one, two));
        assert_eq!(tally.snapshot().phase, "");
    }
}
