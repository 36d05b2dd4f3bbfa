//! Keeps watch over a link: says that this side is still there, and notices when the other is not.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::frame::Kind;
use super::{Link, held};
use crate::wire::Broken;

pub(super) fn start(link: &Arc<Link>) {
    // Apart: saying something can block, and then it is the other one that counts.
    let (beating, watching) = (Arc::clone(link), Arc::clone(link));
    std::thread::spawn(move || beat(&beating));
    std::thread::spawn(move || watch(&watching));
}

impl Link {
    fn silent(&self) -> Duration {
        Duration::from_millis(self.silent.load(Ordering::Relaxed))
    }

    /// Waits; false once the link is over.
    fn pause(&self, span: Duration) -> bool {
        let over = || self.why.get().is_some() || self.closed.get().is_some();
        let end = Instant::now() + span;
        let mut lock = held(&self.lock);
        while !over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            lock = self.changed.wait_timeout(lock, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Waits until both sides have greeted; false if the link is over or `limit` has passed before.
    fn until_greeted(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut lock = held(&self.lock);
        while self.greeting.get().is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.why.get().is_some() || self.closed.get().is_some() {
                return false;
            }
            lock = self.changed.wait_timeout(lock, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits a moment for what the other side may have said before it went away.
    pub(super) fn last_words(&self) {
        let end = Instant::now() + Duration::from_millis(300);
        let mut lock = held(&self.lock);
        while self.why.get().is_none() && self.closed.get().is_none() && Instant::now() < end {
            lock = self.changed.wait_timeout(lock, Duration::from_millis(20)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Says something whenever nothing was said for a fourth of what the other side bears.
fn beat(link: &Link) {
    if !link.until_greeted(link.silent() + Duration::from_secs(1)) {
        return;
    }
    loop {
        let span = link.silent() / 4;
        let since = Duration::from_millis(link.millis().saturating_sub(link.said.load(Ordering::Relaxed)));
        if since < span {
            if !link.pause(span.saturating_sub(since).max(Duration::from_millis(1))) {
                return;
            }
            continue;
        }
        link.writer.post(link, Kind::Beat, 0, Vec::new());
        // Somebody else may be writing for long, and will write it then.
        if !link.pause(span) {
            return;
        }
    }
}

fn watch(link: &Link) {
    // What comes before a greeting is no sign of anybody.
    if !link.until_greeted(link.silent()) {
        return link.fail(Broken::Silent(link.silent()));
    }
    // Silence while this process itself did not run counts for nothing: what was said meanwhile waits to be read.
    let mut slept = Duration::ZERO;
    loop {
        let tick = (link.silent() / 8).max(Duration::from_millis(1));
        let before = link.millis();
        if !link.pause(tick) {
            return;
        }
        let now = link.millis();
        let late = Duration::from_millis(now - before).saturating_sub(tick);
        if late > tick * 2 {
            slept = Duration::from_millis(now);
        }
        let heard = Duration::from_millis(link.heard.load(Ordering::Relaxed)).max(slept);
        if Duration::from_millis(now).saturating_sub(heard) > link.silent() {
            return link.fail(Broken::Silent(link.silent()));
        }
    }
}
