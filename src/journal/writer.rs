//! The one thread that writes: it owns the connection, takes work over a channel, and answers after COMMIT.
//!
//! Fail-stop: when a commit, or anything of the system around it, has failed, every later write is answered with that
//! error, so that no effect can start whose intent is not durable. A refusal by the rules (a state machine, a lease)
//! rolls back and leaves the journal usable. A full disk does not break the journal: the reserve is given up, the run
//! is recorded as paused, and from then on only outcomes of what has begun are taken.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::{Value, json};

use super::error::Error;
use super::events::Log;
use super::hash::Secret;
use super::model::{Level, RunId, StepId};
use super::store::{events, images, runs};
use super::view::EventRow;
use super::{ballast, crash, now_ms, open};
use crate::cancel::{Cancel, Reason};

/// The event file of the run a write belongs to.
pub(super) type SharedLog = Arc<Mutex<Log>>;

type Job = Box<dyn FnOnce(&mut Core) + Send>;

/// One transaction, with what every write needs.
pub(super) struct Tx<'c> {
    pub(super) sql: Transaction<'c>,
    pub(super) secret: &'c Secret,
    pub(super) now: i64,
    rows: Vec<EventRow>,
}

impl Tx<'_> {
    /// Records an event in this transaction; its line follows the commit.
    pub(super) fn event(
        &mut self,
        run: &RunId,
        level: Level,
        kind: &str,
        step: Option<StepId>,
        data: Value,
    ) -> Result<(), Error> {
        let row = events::insert(&self.sql, run, self.now, level, kind, step, data)?;
        self.rows.push(row);
        Ok(())
    }
}

/// What is asked to stop when the journal is full.
type Stop = Arc<Mutex<Option<Cancel>>>;

/// What the thread owns.
struct Core {
    sql: Connection,
    path: PathBuf,
    secret: Secret,
    broken: Option<Error>,
    /// Space ran out, and what was held back is given up.
    low: Option<Error>,
    /// That was recorded: only outcomes are taken from here on.
    paused: Option<Error>,
    stop: Stop,
}

impl Core {
    /// One transaction. One that is `closing` records what has happened, and is taken from the reserve if need be.
    fn write<T>(
        &mut self,
        name: &'static str,
        log: Option<&SharedLog>,
        closing: bool,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.spend()?;
        if !closing && let Some(error) = self.low.clone() {
            self.pause(&error, log)?;
            return Err(error);
        }
        let result = transact(&mut self.sql, &self.secret, name, log, body).map_err(|error| error.at(name, &self.path));
        match &result {
            Err(error @ Error::Full { .. }) if self.low.is_none() => {
                self.low = Some(error.clone());
                self.give_up()?;
                self.pause(error, log)?;
            }
            Err(error) if !error.refusal() => self.broken = Some(error.clone()),
            _ => {}
        }
        result
    }

    /// Gives the reserve up when hardly any space is left.
    fn spend(&mut self) -> Result<(), Error> {
        let free = open::free(self.dir())?;
        if self.low.is_some() || free >= crash::floor(FLOOR) {
            return Ok(());
        }
        self.low = Some(Error::Full { path: self.dir().to_path_buf(), space: Some((free, FLOOR)) });
        self.give_up()
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn give_up(&self) -> Result<(), Error> {
        ballast::give_up(self.dir())
    }

    /// Records that the run stops for want of space, and stops what it does. Whatever cannot be recorded even now breaks
    /// the journal.
    fn pause(&mut self, error: &Error, log: Option<&SharedLog>) -> Result<(), Error> {
        if self.paused.is_some() {
            return Ok(());
        }
        self.paused = Some(error.clone());
        if let Some(cancel) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            cancel.cancel(Reason::Internal);
        }
        let Some(log) = log else { return Ok(()) };
        let run = log.lock().unwrap_or_else(PoisonError::into_inner).run().clone();
        let name = "record the pause";
        let recorded = transact(&mut self.sql, &self.secret, name, Some(log), |tx| runs::pause(tx, &run));
        if let Err(second) = recorded {
            self.broken = Some(second.at(name, &self.path));
        }
        Ok(())
    }
}

/// No effect begins with less space than this, beside what is held back.
const FLOOR: u64 = 4 << 20;

fn transact<T>(
    sql: &mut Connection,
    secret: &Secret,
    name: &str,
    log: Option<&SharedLog>,
    body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    // Immediate: a transaction that becomes a writer only later fails at once when another process has written.
    let sql = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    images::forget(&sql)?;
    let mut tx = Tx { sql, secret, now: now_ms(), rows: Vec::new() };
    let answer = body(&mut tx)?;
    let mut log = log.map(|log| log.lock().unwrap_or_else(PoisonError::into_inner));
    let text = match log.as_mut() {
        Some(log) => {
            if tx.rows.is_empty() && images::any(&tx.sql)? {
                // A row never changes without a line that says so.
                tx.event(log.run(), Level::Info, "rows.changed", None, json!({}))?;
            }
            let text = log.text(&tx.sql, tx.rows.len())?;
            log.reserve(text.bytes.len() as u64)?;
            Some(text)
        }
        None => None,
    };
    let Tx { sql, rows, .. } = tx;
    crash::point_in(name, "before commit");
    sql.commit()?;
    crash::point_in(name, "after commit");
    if let (Some(log), Some(text)) = (log.as_mut(), text) {
        let sync = rows.iter().any(|row| row.step.is_some() || row.kind.starts_with("run."));
        log.append(text, sync)?;
        crash::point_in(name, "after events");
    }
    Ok(answer)
}

/// The handle on the thread; dropping it closes the database.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    stop: Stop,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(sql: Connection, path: &Path, secret: Secret) -> Result<Self, Error> {
        let (jobs, queue) = channel();
        let stop = Stop::default();
        let path_buf = path.to_path_buf();
        let core = Core { sql, path: path_buf, secret, broken: None, low: None, paused: None, stop: Arc::clone(&stop) };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serve(core, &queue))
            .map_err(|source| Error::io("start the writer of", path, source))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), stop })
    }

    /// Stops this work when the journal is full.
    pub(super) fn stops(&self, cancel: &Cancel) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel.clone());
    }

    /// Looks whether there is space, and pauses the run of `log` if not.
    pub(super) fn look(&self, log: &SharedLog) -> Result<(), Error> {
        let log = Arc::clone(log);
        self.ask(move |core| {
            core.spend()?;
            match core.low.clone() {
                Some(error) => core.pause(&error, Some(&log)),
                None => Ok(()),
            }
        })
    }

    /// Why the journal takes only outcomes, if it does.
    pub(super) fn paused(&self) -> Option<Error> {
        self.ask(|core| Ok(core.paused.clone())).ok().flatten()
    }

    /// One transaction. On return it is durable, and its events are in `log`; an error means nothing was kept.
    pub(super) fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        log: Option<&SharedLog>,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let log = log.cloned();
        self.ask(move |core| core.write(name, log.as_ref(), false, body))
    }

    /// As [`Writer::write`], for what has happened already: a full disk does not keep it from being recorded as long as
    /// there is a reserve.
    pub(super) fn close<T: Send + 'static>(
        &self,
        name: &'static str,
        log: Option<&SharedLog>,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let log = log.cloned();
        self.ask(move |core| core.write(name, log.as_ref(), true, body))
    }

    /// Reads over the writer's connection: sees everything written so far.
    pub(super) fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(move |core| body(&core.sql).map_err(|error| error.at("be read", &core.path)))
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = channel();
        let job: Job = Box::new(move |core| {
            // Nobody waits any more if the caller's thread is gone: the work itself is done.
            answer.send(work(core)).ok();
        });
        self.jobs.as_ref().ok_or(Error::Stopped)?.send(job).map_err(|_| Error::Stopped)?;
        answered.recv().map_err(|_| Error::Stopped)?
    }
}

fn serve(mut core: Core, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job(&mut core);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was answered to every caller as `Stopped`.
            thread.join().ok();
        }
    }
}
