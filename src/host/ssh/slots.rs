//! How many sessions are open at once on one connection. Servers refuse an eleventh by default (`MaxSessions 10`): who
//! comes later waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancel::{Cancel, Cancelled};

/// A number of places.
#[derive(Debug, Clone)]
pub(super) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    taken: usize,
    most: usize,
}

/// One of them, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Inner>);

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(State { taken: 0, most: most.max(1) }), freed: Condvar::new() }))
    }

    /// Waits for a place.
    pub(super) fn take(&self, cancel: &Cancel) -> Result<Slot, Cancelled> {
        let mut state = self.0.lock();
        while state.taken >= state.most {
            cancel.check()?;
            // A token has no way to wake this wait, so it looks at it now and then.
            let wait = self.0.freed.wait_timeout(state, Duration::from_millis(20));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        cancel.check()?;
        state.taken += 1;
        Ok(Slot(Arc::clone(&self.0)))
    }

    /// The server opened no further session: as many as are open now, without the one that was refused, are all it has.
    /// False if none is open but that one.
    pub(super) fn refused(&self) -> bool {
        let mut state = self.0.lock();
        if state.taken <= 1 {
            return false;
        }
        state.most = state.most.min(state.taken - 1);
        true
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cancel::Reason;

    #[test]
    fn nobody_gets_a_place_too_many_and_a_refusal_is_learned_from() {
        let slots = Slots::new(3);
        let cancel = Cancel::new();
        let held: Vec<Slot> = (0..3).map(|_| slots.take(&cancel).unwrap()).collect();
        let stopped = Cancel::new();
        stopped.cancel(Reason::Interrupt);
        assert!(slots.take(&stopped).is_err());
        assert!(slots.refused());
        drop(held);
        let held: Vec<Slot> = (0..2).map(|_| slots.take(&cancel).unwrap()).collect();
        let late = std::thread::spawn({
            let (slots, cancel) = (slots.clone(), cancel.clone());
            move || drop(slots.take(&cancel).unwrap())
        });
        drop(held);
        late.join().unwrap();
        let _one = slots.take(&cancel).unwrap();
        assert!(!slots.refused());
    }
}
