//! How many sessions are open at once on one connection. Servers refuse an eleventh by default (`MaxSessions 10`): who
//! comes later waits, unless all there are will be held as long as an agent is.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Of these, so many by whoever will not be done soon.
    kept: usize,
    most: usize,
    /// Since when, and when last, the only one was refused, with none opened in between.
    alone: Option<(Instant, Instant)>,
}

/// So long a server may take to notice that a session has ended, before its place is free.
const LAG: Duration = Duration::from_secs(2);

/// One of them, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    inner: Arc<Inner>,
    kept: bool,
}

/// Why there is no place.
#[derive(Debug)]
pub(super) enum NoSlot {
    /// All are held by those that stay; so many are all.
    Kept(usize),
    /// Nobody waits for one any more.
    Cancelled(Cancelled),
}

impl From<Cancelled> for NoSlot {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        let state = State { taken: 0, kept: 0, most: most.max(1), alone: None };
        Self(Arc::new(Inner { state: Mutex::new(state), freed: Condvar::new() }))
    }

    /// Waits for a place, as long as one can become free.
    pub(super) fn take(&self, cancel: &Cancel) -> Result<Slot, NoSlot> {
        let mut state = self.0.lock();
        while state.taken >= state.most {
            cancel.check()?;
            if state.kept >= state.most {
                return Err(NoSlot::Kept(state.most));
            }
            // A token has no way to wake this wait, so it looks at it now and then.
            let wait = self.0.freed.wait_timeout(state, Duration::from_millis(20));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        cancel.check()?;
        state.taken += 1;
        Ok(Slot { inner: Arc::clone(&self.0), kept: false })
    }

    /// The server opened a session.
    pub(super) fn opened(&self) {
        self.0.lock().alone = None;
    }

    /// The server opened no further session: as many as are open now, without the one that was refused, are all it has.
    /// False if none is open but that one, and the server has had time to notice the end of those before.
    pub(super) fn refused(&self) -> bool {
        let mut state = self.0.lock();
        if state.taken > 1 {
            state.most = state.most.min(state.taken - 1);
            return true;
        }
        let now = Instant::now();
        let since = state.alone.filter(|(_, last)| now - *last < LAG).map_or(now, |(since, _)| since);
        let waits = now - since < LAG;
        state.alone = waits.then_some((since, now));
        waits
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Says that it is held as long as an agent is: nobody should wait for it.
    pub(super) fn keep(&mut self) {
        if !std::mem::replace(&mut self.kept, true) {
            self.inner.lock().kept += 1;
            self.inner.freed.notify_all();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.taken -= 1;
        state.kept -= usize::from(self.kept);
        drop(state);
        self.inner.freed.notify_one();
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
        let mut one = slots.take(&cancel).unwrap();
        // The end of the one before may not have been noticed yet.
        let begun = Instant::now();
        while slots.refused() {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(begun.elapsed() >= LAG);
        // Nobody waits for what will not come.
        let mut two = slots.take(&cancel).unwrap();
        two.keep();
        one.keep();
        assert!(matches!(slots.take(&cancel), Err(NoSlot::Kept(2))));
        drop(one);
        drop(slots.take(&cancel).unwrap());
    }
}
