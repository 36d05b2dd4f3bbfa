//! Follows the run's own events while it is worked on: what another process writes beside it takes effect here.
//!
//! One thread a run. It reads over the connection of the journal's writer, so it costs no lock and no second opening of
//! the database, and hands each event of another process to [`Ctx::hear`] in the order of the journal.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::api::ctx::Ctx;
use super::outcome::Say;
use crate::error::{Error, Kind};
use crate::journal::{EventRow, Journal, Level, RunId};
use crate::progress::Event;
use crate::rate::MaxRate;
use crate::units::Bytes;

/// So often the journal is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// The thread; it ends when this is dropped.
pub(super) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Takes in what the journal holds already, then follows it.
    ///
    /// # Errors
    /// As the journal fails; kind `io` if there is no thread to be had.
    pub(super) fn start(ctx: &Arc<Ctx>) -> Result<Self, Error> {
        let seen = listen(ctx, 0, false)?;
        let (stop, stopped) = channel();
        let watched = Arc::downgrade(ctx);
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || {
                let mut seen = seen;
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) && follow(&watched, &mut seen) {}
            })
            .map_err(|error| Error::new(Kind::Io, "cannot start the thread that follows the journal").because(error))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It has printed its own panic; the run does not depend on it.
            thread.join().ok();
        }
    }
}

/// One look; false when there is no use in another.
fn follow(ctx: &Weak<Ctx>, seen: &mut i64) -> bool {
    let Some(ctx) = ctx.upgrade() else { return false };
    match listen(&ctx, *seen, true) {
        Ok(last) => {
            *seen = last;
            true
        }
        Err(error) => {
            ctx.say(Say::Line(&format!(
                "the journal cannot be followed any more, so that changes from other terminals have no effect: {}",
                error.message
            )));
            false
        }
    }
}

/// Hears everything after `seen`, and returns the number of the last event.
fn listen(ctx: &Ctx, seen: i64, aloud: bool) -> Result<i64, Error> {
    let Some(run) = &ctx.run else { return Ok(seen) };
    let events = run.events_after(seen)?;
    events.iter().for_each(|event| ctx.hear(event, aloud));
    Ok(events.last().map_or(seen, |event| event.seq))
}

/// The event that changes how fast a run may move file content.
const RATE: &str = "run.rate";

impl Ctx {
    /// Takes in one event; `aloud`: it came while the run was going on.
    fn hear(&self, event: &EventRow, aloud: bool) {
        let Some(limit) = rate_of(event) else { return };
        if self.rate.limit() == limit.0 {
            return;
        }
        self.rate.set(limit.0);
        self.call.progress.event(Event::Limit(limit.0.map(|bytes| bytes.0)));
        if aloud {
            let by = event.data.get("by").and_then(Value::as_str).unwrap_or("somebody");
            self.say(Say::Line(&format!("max rate: {limit}, set by {by}")));
        }
    }
}

/// The limit an event sets, if it sets one.
pub(super) fn rate_of(event: &EventRow) -> Option<MaxRate> {
    (event.kind == RATE).then(|| MaxRate(event.data.get("bytes_per_second").and_then(Value::as_u64).map(Bytes)))
}

fn data(limit: MaxRate, via: &str) -> Value {
    json!({ "bytes_per_second": limit.0.map(|bytes| bytes.0), "via": via, "by": super::operator() })
}

/// Records the limit a run was started or resumed with.
pub(super) fn begin_with(run: &crate::journal::Run, limit: Option<MaxRate>) -> Result<(), Error> {
    let Some(limit) = limit else { return Ok(()) };
    Ok(run.event(Level::Info, RATE, None, data(limit, "flag"))?)
}

/// Records a limit from beside the run.
pub(super) fn set_rate(journal: &Journal, id: &RunId, limit: MaxRate) -> Result<(), Error> {
    Ok(journal.tell(id, Level::Info, RATE, data(limit, "rate"))?)
}
