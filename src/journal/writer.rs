//! The one thread that writes: it owns the connection, takes work over a channel, and answers after COMMIT.
//!
//! Fail-stop: when a commit, or anything of the system around it, has failed, every later write is answered with that
//! error, so that no effect can start whose intent is not durable. A refusal by the rules (a state machine, a lease)
//! rolls back and leaves the journal usable.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::Value;

use super::error::Error;
use super::events::{Log, lines};
use super::hash::Secret;
use super::model::{Level, RunId, StepId};
use super::store::events;
use super::view::EventRow;
use super::{crash, now_ms};

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

/// What the thread owns.
struct Core {
    sql: Connection,
    path: PathBuf,
    secret: Secret,
    broken: Option<Error>,
}

impl Core {
    fn write<T>(
        &mut self,
        name: &'static str,
        log: Option<&SharedLog>,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let result = transact(&mut self.sql, &self.secret, name, log, body).map_err(|error| error.at(name, &self.path));
        if let Err(error) = &result
            && !error.refusal()
        {
            self.broken = Some(error.clone());
        }
        result
    }
}

fn transact<T>(
    sql: &mut Connection,
    secret: &Secret,
    name: &str,
    log: Option<&SharedLog>,
    body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    // Immediate: a transaction that becomes a writer only later fails at once when another process has written.
    let sql = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut tx = Tx { sql, secret, now: now_ms(), rows: Vec::new() };
    let answer = body(&mut tx)?;
    let Tx { sql, rows, .. } = tx;
    let mut log = log.map(|log| log.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(log) = log.as_mut() {
        log.reserve(lines(&rows).len() as u64)?;
    }
    crash::point_in(name, "before commit");
    sql.commit()?;
    crash::point_in(name, "after commit");
    if let Some(log) = log.as_mut() {
        let sync = rows.iter().any(|row| row.step.is_some() || row.kind.starts_with("run."));
        log.append(&rows, sync)?;
        crash::point_in(name, "after events");
    }
    Ok(answer)
}

/// The handle on the thread; dropping it closes the database.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(sql: Connection, path: &Path, secret: Secret) -> Result<Self, Error> {
        let (jobs, queue) = channel();
        let core = Core { sql, path: path.to_path_buf(), secret, broken: None };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serve(core, &queue))
            .map_err(|source| Error::io("start the writer of", path, source))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// One transaction. On return it is durable, and its events are in `log`; an error means nothing was kept.
    pub(super) fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        log: Option<&SharedLog>,
        body: impl FnOnce(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let log = log.cloned();
        self.ask(move |core| core.write(name, log.as_ref(), body))
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
