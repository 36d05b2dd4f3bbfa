//! A limit on bytes a second: shared by everything that moves data, and changed at any time by whoever has a handle.
//!
//! A token bucket that is paid afterwards: whoever has moved bytes owes them, and waits until the debt of all is paid
//! off. So only so much is ever ahead of the limit as one piece of each worker, and pieces are small where the limit is
//! ([`Rate::piece`]). Waiting ends early when the limit is raised or the work is cancelled.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::{Cancel, Cancelled};
use crate::units::{Bytes, ParseError};

/// A limit as a person gives and reads it: `50MiB` (a second) or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxRate(pub Option<Bytes>);

impl MaxRate {
    /// Reads `50MiB`, also with `/s` behind it, or `none`.
    ///
    /// # Errors
    /// [`ParseError`] for anything else, and for 0: nothing would ever move again.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError { text: text.to_owned(), expected: "a size a second such as 50MiB, or none" };
        let text = text.trim();
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(None));
        }
        let bytes = Bytes::parse(text.strip_suffix("/s").unwrap_or(text)).map_err(|_| bad())?;
        if bytes.0 == 0 { Err(bad()) } else { Ok(Self(Some(bytes))) }
    }
}

impl fmt::Display for MaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "at most {bytes}/s"),
            None => f.write_str("no limit"),
        }
    }
}

/// What was not used in this time is lost: an idle hour is no licence to flood the line.
const SAVED: Duration = Duration::from_millis(100);
/// Pieces are moved in about this time.
const PIECES_A_SECOND: u64 = 16;
/// Smaller pieces would cost more than they smooth.
const LEAST: u64 = 4 << 10;
/// So often a waiting worker looks whether it should stop: a token cannot wake it.
const LOOK: Duration = Duration::from_millis(50);

/// A handle on a limit; clones share it. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    own: Arc<Bucket>,
    /// The limit this one stands under: both must be kept.
    above: Option<Arc<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// Bytes a second; 0: no limit. Read without the lock where nothing has to be paid.
    limit: AtomicU64,
    account: Mutex<Account>,
    changed: Condvar,
}

#[derive(Debug)]
struct Account {
    /// Bytes that may be moved at once; below zero they are owed.
    balance: f64,
    at: Instant,
}

impl Default for Bucket {
    fn default() -> Self {
        let account = Account { balance: 0.0, at: Instant::now() };
        Self { limit: AtomicU64::new(0), account: Mutex::new(account), changed: Condvar::new() }
    }
}

impl Rate {
    /// A limit of its own; `None`: none for the time being.
    #[must_use]
    pub fn new(limit: Option<Bytes>) -> Self {
        let rate = Self::default();
        rate.set(limit);
        rate
    }

    /// A limit that stands under this one.
    #[must_use]
    pub fn below(&self, limit: Option<Bytes>) -> Self {
        Self { above: Some(Arc::clone(&self.own)), ..Self::new(limit) }
    }

    /// Changes the limit for everybody who shares it, at once. What is owed stays owed, and is paid at the new rate;
    /// without a limit it is forgiven.
    pub fn set(&self, limit: Option<Bytes>) {
        let mut account = self.own.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.earn(self.own.limit.load(Ordering::Relaxed));
        if limit.is_none() {
            account.balance = 0.0;
        }
        self.own.limit.store(limit.map_or(0, |bytes| bytes.0.max(1)), Ordering::Relaxed);
        self.own.changed.notify_all();
    }

    /// The limit in force: the lower one, where two are.
    #[must_use]
    pub fn limit(&self) -> Option<Bytes> {
        self.buckets().map(|bucket| bucket.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0).min().map(Bytes)
    }

    /// How much to move before paying, at most `most`.
    #[must_use]
    pub fn piece(&self, most: u64) -> u64 {
        self.limit().map_or(most, |limit| (limit.0 / PIECES_A_SECOND).max(LEAST).min(most))
    }

    /// Pays for `bytes` that were moved: returns when the limit allows to move more.
    ///
    /// # Errors
    /// [`Cancelled`] if the token is cancelled while it waits.
    pub fn pay(&self, bytes: u64, cancel: &Cancel) -> Result<(), Cancelled> {
        self.buckets().try_for_each(|bucket| bucket.pay(bytes, cancel))
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        std::iter::once(&*self.own).chain(self.above.as_deref())
    }
}

impl Bucket {
    fn pay(&self, bytes: u64, cancel: &Cancel) -> Result<(), Cancelled> {
        if self.limit.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.earn(self.limit.load(Ordering::Relaxed));
        account.balance -= bytes as f64;
        loop {
            let limit = self.limit.load(Ordering::Relaxed);
            account.earn(limit);
            if limit == 0 || account.balance >= 0.0 {
                return Ok(());
            }
            cancel.check()?;
            let wait = Duration::from_secs_f64((-account.balance / limit as f64).min(LOOK.as_secs_f64()));
            account = self.changed.wait_timeout(account, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Account {
    /// Adds what the time since the last look is worth.
    fn earn(&mut self, limit: u64) {
        let now = Instant::now();
        let worth = now.duration_since(self.at).as_secs_f64() * limit as f64;
        self.balance = (self.balance + worth).min(limit as f64 * SAVED.as_secs_f64());
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cancel::Reason;

    fn timed(work: impl FnOnce()) -> Duration {
        let began = Instant::now();
        work();
        began.elapsed()
    }

    #[test]
    fn what_all_workers_move_together_keeps_the_limit() {
        let rate = Rate::new(Some(Bytes(1 << 20)));
        let spent = timed(|| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..8).for_each(|_| rate.pay(16 << 10, &Cancel::new()).unwrap()));
                }
            });
        });
        assert!(spent >= Duration::from_millis(450), "512 KiB at 1 MiB a second in {spent:?}");
        assert!(spent < Duration::from_secs(5), "{spent:?}");
    }

    #[test]
    fn raising_the_limit_wakes_whoever_waits() {
        let rate = Rate::new(Some(Bytes(1)));
        let waiting = rate.clone();
        let worker = std::thread::spawn(move || timed(|| waiting.pay(1 << 20, &Cancel::new()).unwrap()));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!worker.is_finished());
        rate.set(None);
        assert!(worker.join().unwrap() < Duration::from_secs(10));
    }

    #[test]
    fn cancelling_ends_the_wait() {
        let rate = Rate::new(Some(Bytes(1)));
        let cancel = Cancel::new();
        let token = cancel.clone();
        let worker = std::thread::spawn(move || rate.pay(1 << 20, &token));
        cancel.cancel(Reason::Interrupt);
        assert_eq!(worker.join().unwrap(), Err(Cancelled(Reason::Interrupt)));
    }

    #[test]
    fn of_two_limits_both_are_kept() {
        let run = Rate::new(None);
        let call = run.below(Some(Bytes(4 << 20)));
        assert_eq!((run.limit(), call.limit()), (None, Some(Bytes(4 << 20))));
        run.set(Some(Bytes(1 << 20)));
        assert_eq!(call.limit(), Some(Bytes(1 << 20)));
        let spent = timed(|| call.pay(256 << 10, &Cancel::new()).unwrap());
        assert!(spent >= Duration::from_millis(200), "{spent:?}");
        run.set(None);
        assert_eq!(call.limit(), Some(Bytes(4 << 20)));
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let rate = Rate::new(Some(Bytes(1 << 20)));
        std::thread::sleep(Duration::from_millis(300));
        let spent = timed(|| rate.pay(512 << 10, &Cancel::new()).unwrap());
        assert!(spent >= Duration::from_millis(350), "{spent:?}");
    }

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!(MaxRate::parse("20MiB"), Ok(MaxRate(Some(Bytes(20 << 20)))));
        assert_eq!(MaxRate::parse(" 1kb/s "), Ok(MaxRate(Some(Bytes(1_000)))));
        assert_eq!(MaxRate::parse("None"), Ok(MaxRate(None)));
        for bad in ["", "0", "fast", "-1", "1MiB/h"] {
            assert!(MaxRate::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(MaxRate(Some(Bytes(20 << 20))).to_string(), "at most 20.0 MiB/s");
    }

    #[test]
    fn pieces_are_small_where_the_limit_is() {
        assert_eq!(Rate::default().piece(8 << 20), 8 << 20);
        assert_eq!(Rate::new(Some(Bytes(1 << 20))).piece(8 << 20), 64 << 10);
        assert_eq!(Rate::new(Some(Bytes(100))).piece(8 << 20), 4 << 10);
        assert_eq!(Rate::new(Some(Bytes(1 << 40))).piece(8 << 20), 8 << 20);
    }
}
