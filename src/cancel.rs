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
}

/// The error of work that stopped because it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Cancelled(pub Reason);

/// A token that work looks at between two pieces; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<State>);

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

    /// Asks the work to stop; the first reason stays. Wakes every [`Cancel::sleep`].
    pub fn cancel(&self, reason: Reason) {
        let code = match reason {
            Reason::Interrupt => 1,
            Reason::Terminate => 2,
            Reason::HangUp => 3,
            Reason::Internal => 4,
        };
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A second reason does not replace the first: the exit code tells what came first.
        self.0.code.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst).ok();
        self.0.changed.notify_all();
    }

    /// The reason the work should stop for, if it should.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.0.code.load(Ordering::Relaxed) {
            0 => None,
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
        let mut held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            held = self.0.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
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
    fn cancelling_wakes_a_sleeper() {
        let token = Cancel::new();
        let sleeper = token.clone();
        let thread = std::thread::spawn(move || sleeper.sleep(Duration::from_secs(600)));
        token.cancel(Reason::Terminate);
        assert_eq!(thread.join().unwrap(), Err(Cancelled(Reason::Terminate)));
    }
}
