//! Asking long work to stop: one token, shared by everything a run does.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why work was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Ctrl-C (SIGINT).
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The terminal went away (SIGHUP).
    HangUp,
    /// The program itself: another worker failed, a lease was lost, the journal cannot be written.
    Internal,
    /// The deadline of this part of the work passed.
    Deadline,
}

/// The error of work that stopped because it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Cancelled(pub Reason);

/// A token that work looks at between two pieces; clones share one state, and may have a deadline of their own.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    state: Arc<State>,
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    /// 0 while work may go on, else the code of the first [`Reason`].
    code: AtomicU8,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Cancel {
    /// A token nobody has cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same token, which also counts as cancelled once `deadline` has passed (the earlier one if it has one).
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        let deadline = self.deadline.map_or(deadline, |own| own.min(deadline));
        Self { state: Arc::clone(&self.state), deadline: Some(deadline) }
    }

    /// Asks the work to stop; the first reason stays. Wakes every [`Cancel::sleep`].
    pub fn cancel(&self, reason: Reason) {
        let code = match reason {
            Reason::Interrupt => 1,
            Reason::Terminate => 2,
            Reason::HangUp => 3,
            Reason::Internal | Reason::Deadline => 4,
        };
        let _held = self.state.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A second reason does not replace the first: the exit code tells what came first.
        self.state.code.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst).ok();
        self.state.changed.notify_all();
    }

    /// The reason the work should stop for, if it should.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.state.code.load(Ordering::Relaxed) {
            0 => self.deadline.filter(|deadline| *deadline <= Instant::now()).map(|_| Reason::Deadline),
            1 => Some(Reason::Interrupt),
            2 => Some(Reason::Terminate),
            3 => Some(Reason::HangUp),
            _ => Some(Reason::Internal),
        }
    }

    /// Whether work should go on.
    ///
    /// # Errors
    /// [`Cancelled`] once the token is cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.reason().map_or(Ok(()), |reason| Err(Cancelled(reason)))
    }

    /// Waits for `span`, or until the token is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`] as soon as the token is cancelled.
    pub fn sleep(&self, span: Duration) -> Result<(), Cancelled> {
        let end = Instant::now() + span;
        let wake = self.deadline.map_or(end, |deadline| deadline.min(end));
        let mut held = self.state.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let now = Instant::now();
            if end <= now {
                return Ok(());
            }
            let left = wake.saturating_duration_since(now);
            held = self.state.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let token = Cancel::new();
        assert_eq!(token.check(), Ok(()));
        token.cancel(Reason::HangUp);
        token.clone().cancel(Reason::Interrupt);
        assert_eq!(token.check(), Err(Cancelled(Reason::HangUp)));
    }

    #[test]
    fn a_deadline_ends_the_part_it_was_given_to_and_no_other() {
        let token = Cancel::new();
        let part = token.until(Instant::now() + Duration::from_millis(20));
        assert_eq!(part.sleep(Duration::from_secs(600)), Err(Cancelled(Reason::Deadline)));
        assert_eq!(token.check(), Ok(()));
        token.cancel(Reason::Interrupt);
        assert_eq!(part.check(), Err(Cancelled(Reason::Interrupt)));
    }

    #[test]
    fn cancelling_wakes_a_sleeper() {
        let token = Cancel::new();
        let sleeper = token.clone();
        let thread = std::thread::spawn(move || sleeper.sleep(Duration::from_secs(600)));
        token.cancel(Reason::Terminate);
        assert_eq!(thread.join().unwrap(), Err(Cancelled(Reason::Terminate)));
    }
}
