//! What the workers of a pool have in common: subdirectories on offer, directories handed back half done, and who
//! waits for what.
//!
//! One lock guards all of it. Whatever a thread waits for is changed under that lock, so that nobody sleeps through
//! a change; there is no wait that a time-out has to end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::children::{Child, Children};
use super::dir::{Dir, Pair};
use super::far::Deliver;
use super::lot::{Helper, Lot};

/// The subdirectories of one directory that nobody has entered yet.
pub(super) struct Offer {
    dir: Arc<Dir>,
    children: Mutex<Children>,
}

impl Offer {
    pub(super) fn new(dir: Arc<Dir>) -> Arc<Self> {
        Arc::new(Self { dir, children: Mutex::default() })
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.children().count()
    }
}

/// A directory that a worker has begun.
pub(super) struct Frame<C> {
    pub dir: Arc<Dir>,
    pub offer: Arc<Offer>,
    pub cursor: C,
    /// It is not listed to its end; then it must stay open, because its descriptors know how far the listing got.
    pub more: bool,
    pub pair: Option<Arc<Pair>>,
}

/// What an idle worker goes on with.
pub(super) enum Task<C, L> {
    Go(Frame<C>),
    Enter(Arc<Dir>, Child),
    Help(Helper<L>),
}

struct State<C, L> {
    /// Offers that have children, oldest first.
    offers: VecDeque<Arc<Offer>>,
    /// Directories that are not listed to their end, of workers who have parked.
    handed: Vec<Frame<C>>,
    /// Directories that have arrived from another place.
    arrived: VecDeque<(Arc<Dir>, Child)>,
    /// Parts of directories whose owners want help.
    lots: Vec<Arc<Lot<L>>>,
    parked: usize,
}

/// The workers' meeting place.
pub(super) struct Board<C, L> {
    state: Mutex<State<C, L>>,
    /// Workers who wait for work. Changed under the lock, and looked at without.
    idle: AtomicUsize,
    /// There is work for one who is idle.
    work: Condvar,
    /// More workers are wanted.
    grown: Condvar,
    /// All is over.
    over: Condvar,
    /// Workers whose number is not below this park. Changed under the lock, and looked at without.
    wanted: AtomicUsize,
    /// Nobody goes on: all is done, or something went wrong. Changed under the lock, and looked at without.
    ended: AtomicBool,
}

impl<C: Send, L: Send + Sync> Deliver for Board<C, L> {
    fn deliver(&self, parent: Arc<Dir>, child: Child) {
        self.state().arrived.push_back((parent, child));
        self.work.notify_one();
    }
}

impl<C, L> Board<C, L> {
    pub(super) fn new(wanted: usize) -> Self {
        let state = State {
            offers: VecDeque::new(),
            handed: Vec::new(),
            arrived: VecDeque::new(),
            lots: Vec::new(),
            parked: 0,
        };
        Self {
            state: Mutex::new(state),
            idle: AtomicUsize::new(0),
            work: Condvar::new(),
            grown: Condvar::new(),
            over: Condvar::new(),
            wanted: AtomicUsize::new(wanted),
            ended: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<C, L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody goes on from here.
    pub(super) fn end(&self) {
        let _held = self.state();
        self.ended.store(true, Ordering::Release);
        for waiting in [&self.work, &self.grown, &self.over] {
            waiting.notify_all();
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Says how many workers are wanted.
    pub(super) fn want(&self, workers: usize) {
        let _held = self.state();
        // Those who are idle and no longer wanted go and park: a call that there is work must not be lost on them.
        match self.wanted.swap(workers, Ordering::Relaxed).cmp(&workers) {
            std::cmp::Ordering::Less => self.grown.notify_all(),
            std::cmp::Ordering::Greater => self.work.notify_all(),
            std::cmp::Ordering::Equal => {}
        }
    }

    /// Whether the worker of this number is one of those that are wanted.
    pub(super) fn wants(&self, number: usize) -> bool {
        number < self.wanted.load(Ordering::Relaxed)
    }

    /// How many workers are idle, and how many are parked.
    pub(super) fn resting(&self) -> (usize, usize) {
        let state = self.state();
        (self.idle.load(Ordering::Relaxed), state.parked)
    }

    /// Waits until all is over, at most for `span`.
    pub(super) fn watch(&self, span: Duration) {
        let state = self.state();
        let waited = self.over.wait_timeout_while(state, span, |_| !self.is_ended());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the worker of this number is wanted. `false`: all is over.
    pub(super) fn park(&self, number: usize) -> bool {
        let mut state = self.state();
        state.parked += 1;
        let waits = |_: &mut State<C, L>| !self.is_ended() && !self.wants(number);
        state = self.grown.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.parked -= 1;
        !self.is_ended()
    }

    /// Puts children of a directory on offer.
    pub(super) fn offer(&self, offer: &Arc<Offer>, mut found: Children) {
        if found.count() == 0 {
            return;
        }
        let mut state = self.state();
        let awake = found.count().min(self.idle.load(Ordering::Relaxed));
        let mut children = offer.children();
        let listed = children.count() > 0;
        children.append(&mut found);
        drop(children);
        if !listed {
            state.offers.push_back(offer.clone());
        }
        for _ in 0..awake {
            self.work.notify_one();
        }
    }

    /// Gives a directory that is not listed to its end to whoever is idle next.
    pub(super) fn hand_back(&self, frame: Frame<C>) {
        self.state().handed.push(frame);
        self.work.notify_one();
    }

    /// Whether anybody waits for work at this moment.
    pub(super) fn has_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Asks those who are idle for help.
    pub(super) fn share(&self, lot: &Arc<Lot<L>>) {
        let mut state = self.state();
        state.lots.push(lot.clone());
        // The owner takes a piece, too.
        for _ in 1..lot.room().min(self.idle.load(Ordering::Relaxed) + 1) {
            self.work.notify_one();
        }
    }

    /// Takes a lot back: nobody comes to help any more.
    pub(super) fn unshare(&self, lot: &Arc<Lot<L>>) {
        self.state().lots.retain(|other| !Arc::ptr_eq(other, lot));
    }

    /// Takes a child of one's own offer.
    pub(super) fn take(&self, offer: &Arc<Offer>) -> Option<Child> {
        let mut children = offer.children();
        let child = children.pop()?;
        if children.count() == 0 {
            drop(children);
            self.withdraw(offer);
        }
        Some(child)
    }

    /// Takes an offer off the board, unless it was filled again meanwhile.
    fn withdraw(&self, offer: &Arc<Offer>) {
        let mut state = self.state();
        if offer.count() == 0
            && let Some(at) = state.offers.iter().rposition(|other| Arc::ptr_eq(other, offer))
        {
            state.offers.remove(at);
        }
    }

    /// Waits for something to do. `None`: all is over, or the worker of this number is no longer wanted.
    pub(super) fn steal(&self, number: usize) -> Option<Task<C, L>> {
        let mut state = self.state();
        loop {
            if self.is_ended() || !self.wants(number) {
                return None;
            }
            if let Some(frame) = state.handed.pop() {
                return Some(Task::Go(frame));
            }
            if let Some((parent, child)) = state.arrived.pop_front() {
                return Some(Task::Enter(parent, child));
            }
            while let Some(offer) = state.offers.front().cloned() {
                let mut children = offer.children();
                let child = children.pop();
                let empty = children.count() == 0;
                drop(children);
                if empty {
                    state.offers.pop_front();
                }
                if let Some(child) = child {
                    return Some(Task::Enter(offer.dir.clone(), child));
                }
            }
            if let Some(lot) = state.lots.iter().find(|lot| lot.room() > 0) {
                return Some(Task::Help(lot.join()));
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
