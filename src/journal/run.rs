//! A run this process works on: what the script host calls, from whatever thread.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::lock::RunLock;
use super::store::{begin, effects, enter, incarnations, leases, runs, signals, steps};
use super::writer::{SharedLog, Tx};
use super::{
    Begun, EffectId, EffectOutcome, Entered, Error, Lease, Level, NewEffect, NewStep, ProgressStore, RunEnd, RunId,
    Shared, Signal, Source, StepId, StepOutcome, StepRow, Target, crash,
};

/// A run this process works on: nobody else can, as long as this lives. `Send` and `Sync`.
///
/// Every call that writes is durable when it returns. Each can fail with [`Error::Full`], [`Error::Busy`],
/// [`Error::Io`], [`Error::Sql`] and [`Error::Superseded`]; after the first failure of the journal itself all later
/// writes fail alike, and no effect may start.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
    id: RunId,
    epoch: i64,
    dir: PathBuf,
    log: SharedLog,
    seen: Arc<Mutex<HashSet<String>>>,
    progress: Mutex<Option<ProgressStore>>,
    _lock: RunLock,
}

impl Run {
    pub(super) fn new(shared: Arc<Shared>, id: RunId, epoch: i64, lock: RunLock, log: SharedLog) -> Self {
        let dir = shared.run_dir(&id);
        Self { shared, id, epoch, dir, log, seen: Arc::default(), progress: Mutex::new(None), _lock: lock }
    }

    /// The run's name.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Which incarnation this process is, from 1.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The run's own directory, `runs/<id>/`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        body: impl FnOnce(&mut Tx<'_>, &RunId, i64) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (id, epoch) = (self.id.clone(), self.epoch);
        self.shared.writer.write(name, Some(&self.log), move |tx| body(tx, &id, epoch))
    }

    /// Enters a step: replays its outcome, or starts its body.
    ///
    /// A step that failed earlier in this incarnation, and is not in another branch of the same `parallel`, has been
    /// caught by the script when a later one starts its body: its failure becomes its outcome, in the same transaction.
    ///
    /// # Errors
    /// [`Error::DuplicateKey`] for a key entered before in this incarnation; [`Error::InputsChanged`] for a step that
    /// has its outcome; [`Error::AfterPivot`] for a new step before a passed point of no return.
    pub fn enter(&self, new: NewStep) -> Result<Entered, Error> {
        let seen = self.seen.clone();
        self.write("enter the step", move |tx, id, epoch| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.contains(&new.key) {
                return Err(Error::DuplicateKey { key: new.key });
            }
            let entered = enter::enter(tx, id, epoch, &seen, &new)?;
            seen.insert(new.key);
            Ok(entered)
        })
    }

    /// Ends the body of a step. An interrupted one is neither done nor failed, and runs again in the next incarnation.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the step is not running.
    pub fn leave(&self, step: StepId, outcome: StepOutcome) -> Result<(), Error> {
        self.write("leave the step", move |tx, id, epoch| steps::leave(tx, id, epoch, step, &outcome))
    }

    /// Remembers that a step's body is run again, when, and as which attempt: a restart neither counts anew nor skips
    /// the wait.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the step is not running.
    pub fn retry_at(&self, step: StepId, at_ms: i64, attempt: u32, error: Value) -> Result<(), Error> {
        let seen = self.seen.clone();
        self.write("record the retry", move |tx, id, epoch| {
            steps::retry_at(tx, id, epoch, step, at_ms, attempt, &error)?;
            // The body begins again, and with it the steps inside.
            let inside = format!("{}/", steps::head(&tx.sql, id, step)?.key);
            seen.lock().unwrap_or_else(PoisonError::into_inner).retain(|key| !key.starts_with(&inside));
            Ok(())
        })
    }

    /// Makes a step, and everything that began after it, run again on resume: what it held was given back.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the step is not of this run.
    pub fn reopen(&self, step: StepId) -> Result<(), Error> {
        self.write("release the step", move |tx, id, epoch| steps::reopen(tx, id, epoch, step))
    }

    /// Begins an effect: act only on [`Begun::Act`].
    ///
    /// # Errors
    /// [`Error::RequestChanged`] if something else is asked for at the place of an effect that is in doubt, or that is
    /// done and must not be repeated; [`Error::Illegal`] if the step is not running.
    pub fn begin(&self, new: NewEffect) -> Result<Begun, Error> {
        self.write("record the intent", move |tx, id, epoch| begin::begin(tx, id, epoch, &new, crash::probes_off()))
    }

    /// Records the outcome of an effect.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the effect is neither begun nor in doubt.
    pub fn settle(&self, effect: EffectId, outcome: EffectOutcome) -> Result<(), Error> {
        self.write("record the outcome", move |tx, id, epoch| effects::settle(tx, id, epoch, effect, &outcome))
    }

    /// Turns an effect in doubt into an intent again, after a probe or a person said that it did not happen.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the effect is not in doubt.
    pub fn act_again(&self, effect: EffectId) -> Result<(), Error> {
        self.write("record the new intent", move |tx, id, epoch| effects::act_again(tx, id, epoch, effect))
    }

    /// Records an event.
    ///
    /// # Errors
    /// What any write can fail with.
    pub fn event(&self, level: Level, kind: &str, step: Option<StepId>, data: Value) -> Result<(), Error> {
        let kind = kind.to_owned();
        self.write("record the event", move |tx, id, _| tx.event(id, level, &kind, step, data))
    }

    /// Records that this step is the point of no return, and that it is passed; a copy of the journal is made before.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the step is not of this run.
    pub fn pivot(&self, step: StepId) -> Result<(), Error> {
        self.shared.back_up(false)?;
        self.write("record the pivot", move |tx, id, epoch| runs::pivot(tx, id, epoch, step))
    }

    /// Grants an approval, asked for or not yet.
    ///
    /// # Errors
    /// What any write can fail with.
    pub fn grant(&self, name: &str, via: &str, by: &str) -> Result<(), Error> {
        let (name, via, by) = (name.to_owned(), via.to_owned(), by.to_owned());
        self.write("record the approval", move |tx, id, epoch| signals::grant(tx, id, epoch, &name, &via, &by))
    }

    /// Asks for an approval; the step waits until it is granted.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the step is not running.
    pub fn ask(&self, name: &str, step: StepId, question: Value) -> Result<(), Error> {
        let name = name.to_owned();
        self.write("record the question", move |tx, id, epoch| signals::ask(tx, id, epoch, &name, step, &question))
    }

    /// The approval of that name, if it has been granted.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn granted(&self, name: &str) -> Result<Option<Signal>, Error> {
        let (id, name) = (self.id.clone(), name.to_owned());
        let signal = self.shared.writer.read(move |sql| signals::get(sql, &id, &name))?;
        Ok(signal.filter(|signal| signal.state == super::SignalState::Granted))
    }

    /// Takes a lease: from now on no other run can touch the target, or anything above or below it.
    ///
    /// # Errors
    /// [`Error::Held`] if another unfinished run holds it, whether its process lives or not.
    pub fn lease(&self, target: Target) -> Result<(), Error> {
        let dir = self.shared.runs_dir();
        self.write("take the lease", move |tx, id, epoch| leases::take(tx, id, epoch, &target, &dir))
    }

    /// The leases this run holds.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn leases(&self) -> Result<Vec<Lease>, Error> {
        let id = self.id.clone();
        let all = self.shared.writer.read(move |sql| leases::of(sql, &id))?;
        Ok(all.into_iter().filter(|lease| lease.released_ms.is_none()).collect())
    }

    /// The store of what engines need to resume and undo; one for the run, opened at the first call.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Corrupt`], [`Error::Io`], [`Error::Sql`].
    pub fn progress(&self) -> Result<ProgressStore, Error> {
        let mut slot = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = slot.as_ref() {
            return Ok(store.clone());
        }
        Ok(slot.insert(ProgressStore::open(&self.dir)?).clone())
    }

    /// Ends this incarnation, as [`Run::finish_with`] without an exit code.
    ///
    /// # Errors
    /// See [`Run::finish_with`].
    pub fn finish(&self, end: RunEnd) -> Result<(), Error> {
        self.finish_with(end, None)
    }

    /// Ends this incarnation with the code the process will exit with. Leases are given back only when the run has
    /// come to its end: succeeded or undone.
    ///
    /// # Errors
    /// [`Error::Unsettled`] for a success while a step was not left or an effect is in doubt; [`Error::Illegal`] if
    /// the run cannot end like that.
    pub fn finish_with(&self, end: RunEnd, exit_code: Option<u8>) -> Result<(), Error> {
        self.write("end the run", move |tx, id, epoch| runs::finish(tx, id, epoch, &end, exit_code))?;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).trim()
    }

    /// The sources the previous incarnation saw; none in the first.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn epoch_sources(&self) -> Result<Vec<Source>, Error> {
        let (id, epoch) = (self.id.clone(), self.epoch);
        self.shared.writer.read(move |sql| incarnations::sources(sql, &id, epoch - 1))
    }

    /// What is recorded of a step, without entering it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn recorded(&self, key: &str) -> Result<Option<StepRow>, Error> {
        let (id, key) = (self.id.clone(), key.to_owned());
        self.shared.writer.read(move |sql| steps::by_key(sql, &id, &key))
    }
}
