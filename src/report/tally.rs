//! Takes an engine's events and keeps the numbers a painter shows. Never blocks the engine.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lanes::{Lane, Lanes};
use crate::progress::{Event, Held, Progress};
use crate::redact;
use crate::units::path_text;

/// Something to be shown once, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A new phase began.
    Phase(String),
    /// An entry could not be handled.
    Failed {
        /// Text form of its path.
        path: String,
        /// Why.
        error: String,
    },
    /// Something an operator should know.
    Notice {
        /// Text form of its path; may be empty.
        path: String,
        /// What.
        text: String,
    },
    /// A line for people.
    Line(String),
    /// One JSON event, for output as JSON lines.
    Event(serde_json::Value),
    /// Nothing more will come.
    Stop,
}

/// The numbers of the present phase.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Name of the phase.
    pub phase: String,
    /// Which phase it is, from 1; 0 before the first.
    pub number: u32,
    /// How long it has been going on.
    pub elapsed: Duration,
    /// Entries done.
    pub entries: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Entries expected; 0 while unknown.
    pub total_entries: u64,
    /// Bytes expected; 0 while unknown.
    pub total_bytes: u64,
    /// Entries that could not be handled, over all phases.
    pub failed: u64,
    /// Bytes a second that may be moved, if that is limited.
    pub limit: Option<u64>,
    /// Operations done, of about one request to a file system each.
    pub operations: u64,
    /// Workers that are at it.
    pub workers: u64,
    /// Why there are no more; `None`: there will be, if that helps.
    pub held: Option<Held>,
}

impl Snapshot {
    /// How much of the phase is done, from 0 to 1, as far as its total is known.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        let part = |done: u64, total: u64| (total > 0).then(|| (done as f64 / total as f64).min(1.0));
        match (part(self.entries, self.total_entries), part(self.bytes, self.total_bytes)) {
            // Small files cost by the entry, big ones by the byte; the mean is wrong for neither for long.
            (Some(entries), Some(bytes)) => Some((entries + bytes) / 2.0),
            (one, other) => one.or(other),
        }
    }

    /// Bytes a second since the phase began.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        per_second(self.bytes, self.elapsed)
    }

    /// Entries a second since the phase began.
    #[must_use]
    pub fn entries_per_second(&self) -> u64 {
        per_second(self.entries, self.elapsed)
    }

    /// Operations a second since the phase began.
    #[must_use]
    pub fn operations_per_second(&self) -> u64 {
        per_second(self.operations, self.elapsed)
    }

    /// Time the phase still takes at its mean speed; none in its first two seconds and its first hundredth.
    #[must_use]
    pub fn eta(&self) -> Option<Duration> {
        let fraction = self.fraction().filter(|fraction| *fraction >= 0.01)?;
        let spent = self.elapsed.as_secs_f64();
        (spent >= 2.0).then(|| Duration::from_secs_f64(spent * (1.0 - fraction) / fraction))
    }
}

/// So many a second; no rate at all from less than a millisecond.
#[must_use]
pub fn per_second(count: u64, elapsed: Duration) -> u64 {
    if elapsed < Duration::from_millis(1) { 0 } else { (count as f64 / elapsed.as_secs_f64()) as u64 }
}

/// What an engine says, without the values of secrets.
fn clean(text: &str) -> String {
    redact::text(text).into_owned()
}

/// Counts events.
#[derive(Debug)]
pub struct Tally {
    phase: Mutex<(String, u32, Instant)>,
    entries: AtomicU64,
    bytes: AtomicU64,
    total_entries: AtomicU64,
    total_bytes: AtomicU64,
    operations: AtomicU64,
    workers: Mutex<(u64, Option<Held>)>,
    /// Entries the last scan counted: what a pass over them has to do, unless the engine knows better.
    scanned: AtomicU64,
    shared: Arc<Shared>,
}

/// What a tally and its lanes have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lanes: Lanes,
    /// Number of the last phase.
    pub(super) number: AtomicU32,
    failed: AtomicU64,
    notices: AtomicU64,
    /// 0: no limit.
    limit: AtomicU64,
    /// How many failures and how many notices are passed on by name; the report has the rest.
    named: u64,
    news: Sender<News>,
}

impl Shared {
    pub(super) fn phase(&self, name: &str) {
        self.pass_on(News::Phase(clean(name)));
    }

    pub(super) fn failed(&self, path: &[u8], error: &str) {
        if self.failed.fetch_add(1, Relaxed) < self.named {
            self.pass_on(News::Failed { path: clean(&path_text(path)), error: clean(error) });
        }
    }

    pub(super) fn notice(&self, path: &[u8], text: &str) {
        if self.notices.fetch_add(1, Relaxed) < self.named {
            self.pass_on(News::Notice { path: clean(&path_text(path)), text: clean(text) });
        }
    }

    pub(super) fn limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(0), Relaxed);
    }

    fn pass_on(&self, news: News) {
        // The painter is gone only once the work is over: nobody is left to be told.
        self.news.send(news).ok();
    }
}

impl Tally {
    /// A tally that passes the first `named` failures and notices on to `news`.
    #[must_use]
    pub fn new(named: u64, news: Sender<News>) -> Self {
        Self {
            phase: Mutex::new((String::new(), 0, Instant::now())),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_entries: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            workers: Mutex::default(),
            scanned: AtomicU64::new(0),
            shared: Arc::new(Shared {
                lanes: Lanes::default(),
                number: AtomicU32::new(0),
                failed: AtomicU64::new(0),
                notices: AtomicU64::new(0),
                limit: AtomicU64::new(0),
                named,
                news,
            }),
        }
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let failed = self.shared.failed.load(Relaxed);
        let limit = Some(self.shared.limit.load(Relaxed)).filter(|limit| *limit > 0);
        if let Some(lanes) = self.shared.lanes.snapshot() {
            return Snapshot { failed, limit, ..lanes };
        }
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (workers, held) = *self.workers();
        Snapshot {
            phase: phase.0.clone(),
            number: phase.1,
            elapsed: phase.2.elapsed(),
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            total_entries: self.total_entries.load(Relaxed),
            total_bytes: self.total_bytes.load(Relaxed),
            failed,
            limit,
            operations: self.operations.load(Relaxed),
            workers,
            held,
        }
    }

    fn workers(&self) -> MutexGuard<'_, (u64, Option<Held>)> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the phase: nothing is counted until the next one begins.
    pub(super) fn rest(&self) {
        // That a step of one lane is over says nothing about the others.
        if !self.shared.lanes.any() && self.snapshot().number > 0 {
            self.reset("");
        }
    }

    fn begin(&self, name: &str) {
        self.reset(name);
        self.shared.phase(name);
    }

    fn reset(&self, name: &str) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if phase.0 == "scan" {
            self.scanned.store(self.entries.load(Relaxed), Relaxed);
        }
        for counter in [&self.entries, &self.bytes, &self.total_entries, &self.total_bytes, &self.operations] {
            counter.store(0, Relaxed);
        }
        *self.workers() = (0, None);
        if ["copy", "verify"].contains(&name) {
            self.total_entries.store(self.scanned.load(Relaxed), Relaxed);
        }
        *phase = (clean(name), self.shared.number.fetch_add(1, Relaxed) + 1, Instant::now());
    }
}

impl Progress for Tally {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Phase(name) => self.begin(name),
            Event::Total { entries, bytes } => {
                self.total_entries.store(entries, Relaxed);
                self.total_bytes.store(bytes, Relaxed);
            }
            Event::Advance { entries, bytes } => {
                self.entries.fetch_add(entries, Relaxed);
                self.bytes.fetch_add(bytes, Relaxed);
            }
            Event::Workers { running, operations, held } => {
                self.operations.fetch_add(operations, Relaxed);
                *self.workers() = (running as u64, held);
            }
            Event::Limit(limit) => self.shared.limit(limit),
            Event::Failed { path, error } => self.shared.failed(path, error),
            Event::Notice { path, text } => self.shared.notice(path, text),
        }
    }

    fn lane(&self) -> Option<Box<dyn Progress>> {
        Some(Box::new(Lane::open(self.shared.clone())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_new_phase_starts_from_zero_and_failures_stay() {
        let (sender, news) = channel();
        let tally = Tally::new(1, sender);
        tally.event(Event::Phase("copy"));
        tally.event(Event::Total { entries: 10, bytes: 100 });
        tally.event(Event::Advance { entries: 5, bytes: 20 });
        tally.event(Event::Failed { path: b"a\xff", error: "no" });
        tally.event(Event::Failed { path: b"b", error: "no" });
        let seen = tally.snapshot();
        assert_eq!((seen.entries, seen.bytes, seen.total_entries, seen.failed), (5, 20, 10, 2));
        assert_eq!(seen.fraction(), Some(0.35));
        tally.event(Event::Workers { running: 8, operations: 30, held: None });
        tally.event(Event::Workers { running: 6, operations: 12, held: Some(Held::NoGain) });
        let seen = tally.snapshot();
        assert_eq!((seen.workers, seen.operations, seen.held), (6, 42, Some(Held::NoGain)));
        tally.event(Event::Phase("delete"));
        let seen = tally.snapshot();
        assert_eq!((seen.workers, seen.operations, seen.held), (0, 0, None));
        assert_eq!((seen.phase.as_str(), seen.number, seen.entries, seen.total_bytes), ("delete", 2, 0, 0));
        assert_eq!((seen.failed, seen.fraction()), (2, None));
        let news: Vec<_> = news.try_iter().collect();
        let failed = News::Failed { path: "a\\xff".into(), error: "no".into() };
        assert_eq!(news, [News::Phase("copy".into()), failed, News::Phase("delete".into())]);
    }

    #[test]
    fn what_a_scan_counted_is_what_a_pass_expects() {
        let tally = Tally::new(1, channel().0);
        tally.event(Event::Phase("scan"));
        tally.event(Event::Advance { entries: 40, bytes: 0 });
        tally.rest();
        tally.event(Event::Phase("copy"));
        tally.event(Event::Advance { entries: 10, bytes: 5 });
        assert_eq!((tally.snapshot().total_entries, tally.snapshot().fraction()), (40, Some(0.25)));
        tally.event(Event::Phase("sync"));
        assert_eq!(tally.snapshot().fraction(), None);
    }

    #[test]
    fn time_left_follows_from_what_is_done() {
        let seen = Snapshot {
            elapsed: Duration::from_secs(10),
            entries: 25,
            total_entries: 100,
            bytes: 1000,
            ..Snapshot::default()
        };
        assert_eq!(seen.eta(), Some(Duration::from_secs(30)));
        assert_eq!(seen.bytes_per_second(), 100);
        assert_eq!(Snapshot { elapsed: Duration::from_secs(1), ..seen }.eta(), None);
    }
}
