//! Looks after the journal while a run works: every minute at the space that is left, every ten minutes for a copy.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::error::Error;
use super::model::Level;
use super::writer::SharedLog;
use super::{Shared, crash, open};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);

/// The thread that looks; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to look after the journal of a run.
    pub(super) fn start(shared: Arc<Shared>, log: SharedLog) -> Result<Self, Error> {
        let (stop, stopped) = channel();
        let every = crash::interval(EVERY);
        let path = shared.dir.clone();
        let thread = thread::Builder::new()
            .name("journal watch".to_owned())
            .spawn(move || {
                let mut told = Told::default();
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    // A journal that cannot take even this answers the next effect with the same error.
                    told.look(&shared, &log).ok();
                }
            })
            .map_err(|source| Error::io("start the watch of", &path, source))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It only looks: what it could not tell is met by whoever writes next.
            thread.join().ok();
        }
    }
}

/// What was told already, and is not told again before it is over.
#[derive(Default)]
struct Told {
    low: bool,
    no_copy: bool,
}

impl Told {
    fn look(&mut self, shared: &Shared, log: &SharedLog) -> Result<(), Error> {
        shared.writer.look(log)?;
        let free = open::free(&shared.dir)?;
        let low = free < open::SPACE;
        if low && !self.low {
            warn(shared, log, "space.low", json!({ "free_bytes": free, "wanted_bytes": open::SPACE }))?;
        }
        self.low = low;
        let copied = shared.back_up(true);
        if let Err(error) = &copied
            && !self.no_copy
        {
            warn(shared, log, "backup.failed", json!({ "message": error.to_string() }))?;
        }
        self.no_copy = copied.is_err();
        Ok(())
    }
}

fn warn(shared: &Shared, log: &SharedLog, kind: &'static str, data: serde_json::Value) -> Result<(), Error> {
    let run = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).run().clone();
    shared.writer.close("record a warning", Some(log), move |tx| tx.event(&run, Level::Warn, kind, None, data))
}
