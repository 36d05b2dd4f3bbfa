//! Where requests wait: each for the same time from its own arrival, none for another. Hundreds may wait at once, and no
//! thread waits with them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is done when the wait is over.
type Job = Box<dyn FnOnce() + Send>;

/// They only do the work after the wait, so there need not be as many as requests.
const WORKERS: usize = 4;

#[derive(Default)]
struct State {
    /// All wait equally long, so they become due in the order they came.
    jobs: VecDeque<(Instant, Job)>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) struct Line {
    delay: Duration,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Line {
    pub(super) fn new(delay: Duration) -> io::Result<Self> {
        let mut line = Self { delay, shared: Arc::default(), workers: Vec::new() };
        let wanted = if delay.is_zero() { 0 } else { WORKERS };
        for at in 0..wanted {
            let shared = line.shared.clone();
            let worker = thread::Builder::new().name(format!("latency-{at}"));
            line.workers.push(worker.spawn(move || shared.work())?);
        }
        Ok(line)
    }

    /// Does `job` after the delay; without a delay at once, on the caller's thread.
    pub(super) fn wait(&self, job: impl FnOnce() + Send + 'static) {
        if self.delay.is_zero() {
            return job();
        }
        self.shared.lock().jobs.push_back((Instant::now() + self.delay, Box::new(job)));
        self.shared.changed.notify_one();
    }
}

impl Drop for Line {
    /// What still waits is done first.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            worker.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some((due, _)) = state.jobs.front() else {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let next = state.jobs.pop_front();
            drop(state);
            // Another worker watches for the one behind it meanwhile.
            self.changed.notify_one();
            if let Some((_, job)) = next {
                job();
            }
            state = self.lock();
        }
    }
}
