//! A run this process works on: what the script host calls, from whatever thread.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::lock::RunLock;
use super::store::{begin, effects, enter, events, incarnations, leases, runs, signals, steps};
use super::watch::Watch;
use super::writer::{SharedLog, Tx};
use super::{
    Begun, EffectId, EffectOutcome, Entered, Error, EventRow, Fingerprint, Lease, Level, NewEffect, NewStep,
    ProgressStore, RunEnd, RunId, Shared, Signal, Source, StepId, StepOutcome, StepRow, Target, clean, crash,
};
use crate::cancel::Cancel;
use crate::redact;

/// The event that tells that the run has a progress store.
pub(super) const PROGRESS: &str = "progress.made";

/// A run this process works on: nobody else can, as long as this lives. `Send` and `Sync`.
///
/// Every call that writes is durable when it returns. Each can fail with [`Error::Full`], [`Error::Busy`],
/// [`Error::Io`], [`Error::Sql`] and [`Error::Superseded`]; after the first failure of the journal itself all later
/// writes fail alike, and no effect may start.
#[derive(Debug)]
pub struct Run {
    // Ends before what it looks after.
    watch: Mutex<Option<Watch>>,
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
        Self {
            watch: Mutex::default(),
            shared,
            id,
            epoch,
            dir,
            log,
            seen: Arc::default(),
            progress: Mutex::new(None),
            _lock: lock,
        }
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

    /// What makes the hashes of this journal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.shared.secret.clone())
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

    /// As `write`, for what has happened already.
    fn close<T: Send + 'static>(
        &self,
        name: &'static str,
        body: impl FnOnce(&mut Tx<'_>, &RunId, i64) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (id, epoch) = (self.id.clone(), self.epoch);
        self.shared.writer.close(name, Some(&self.log), move |tx| body(tx, &id, epoch))
    }

    /// Looks after the journal while this run works, and stops `cancel` when it is full.
    ///
    /// # Errors
    /// [`Error::Io`] if no thread can be started.
    pub fn watch(&self, cancel: &Cancel) -> Result<(), Error> {
        self.shared.writer.stops(cancel);
        let watch = Watch::start(Arc::clone(&self.shared), Arc::clone(&self.log))?;
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        Ok(())
    }

    /// Why this run was paused, if the journal had no space left for it. Looks at the space once more.
    #[must_use]
    pub fn paused(&self) -> Option<Error> {
        match self.shared.writer.look(&self.log) {
            Ok(()) => self.shared.writer.paused(),
            Err(error) => Some(error),
        }
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
        let (seen, new) = (self.seen.clone(), clean::step(new));
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
        let outcome = clean::step_outcome(outcome);
        self.close("leave the step", move |tx, id, epoch| steps::leave(tx, id, epoch, step, &outcome))
    }

    /// Remembers that a step's body is run again, when, and as which attempt: a restart neither counts anew nor skips
    /// the wait.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the step is not running.
    pub fn retry_at(&self, step: StepId, at_ms: i64, attempt: u32, error: Value) -> Result<(), Error> {
        let (seen, error) = (self.seen.clone(), redact::json(error));
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

    /// Makes a done step, and what is inside it, run again: its inputs are others now. What came after it stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AfterPivot`] if it stands before a passed point of no return.
    pub fn redo(&self, key: &str) -> Result<(), Error> {
        let key = key.to_owned();
        self.write("release the step", move |tx, id, epoch| steps::redo(tx, id, epoch, &key))
    }

    /// Begins an effect: act only on [`Begun::Act`].
    ///
    /// # Errors
    /// [`Error::RequestChanged`] if something else is asked for at the place of an effect that is in doubt, or that is
    /// done and must not be repeated; [`Error::Illegal`] if the step is not running.
    pub fn begin(&self, new: NewEffect) -> Result<Begun, Error> {
        let new = clean::effect(new);
        self.write("record the intent", move |tx, id, epoch| begin::begin(tx, id, epoch, &new, crash::probes_off()))
    }

    /// Records the outcome of an effect.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the effect is neither begun nor in doubt.
    pub fn settle(&self, effect: EffectId, outcome: EffectOutcome) -> Result<(), Error> {
        let outcome = clean::effect_outcome(outcome);
        self.close("record the outcome", move |tx, id, epoch| effects::settle(tx, id, epoch, effect, &outcome))
    }

    /// Turns an effect in doubt into an intent again, after a probe or a person said that it did not happen.
    ///
    /// # Errors
    /// [`Error::Illegal`] if the effect is not in doubt.
    pub fn act_again(&self, effect: EffectId) -> Result<(), Error> {
        self.write("record the new intent", move |tx, id, epoch| effects::act_again(tx, id, epoch, effect))
    }

    /// Records an event, without the values of secrets.
    ///
    /// # Errors
    /// What any write can fail with.
    pub fn event(&self, level: Level, kind: &str, step: Option<StepId>, data: Value) -> Result<(), Error> {
        self.event_as_it_is(level, kind, step, redact::json(data))
    }

    /// Records an event that later incarnations go by: the caller has refused the values of secrets in it.
    ///
    /// # Errors
    /// What any write can fail with.
    pub fn event_as_it_is(&self, level: Level, kind: &str, step: Option<StepId>, data: Value) -> Result<(), Error> {
        let kind = kind.to_owned();
        self.close("record the event", move |tx, id, _| tx.event(id, level, &kind, step, data))
    }

    /// Events of this run with a number above `seq`, oldest first, whoever wrote them.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn events_after(&self, seq: i64) -> Result<Vec<EventRow>, Error> {
        let id = self.id.clone();
        self.shared.writer.read(move |sql| events::after(sql, &id, seq))
    }

    /// Records that this run does the kept plan of that name, unless another run has: then it is given back.
    ///
    /// # Errors
    /// What any write can fail with.
    pub fn claim_plan(&self, plan: &str) -> Result<Option<RunId>, Error> {
        let plan = plan.to_owned();
        self.write("record the plan", move |tx, id, _| {
            let other = events::run_of_plan(&tx.sql, &plan)?;
            if other.is_none() {
                tx.event(id, Level::Info, events::PLAN, None, json!({ "id": plan }))?;
            }
            Ok(other)
        })
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
        let (name, question) = (name.to_owned(), redact::json(question));
        self.write("record the question", move |tx, id, epoch| signals::ask(tx, id, epoch, &name, step, &question))
    }

    /// The approval of that name and what was answered, from here or from another process.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn signal(&self, name: &str) -> Result<Option<Signal>, Error> {
        let (id, name) = (self.id.clone(), name.to_owned());
        self.shared.writer.read(move |sql| signals::get(sql, &id, &name))
    }

    /// Records that a person said no when asked; the next process asks again.
    ///
    /// # Errors
    /// What any write can fail with.
    pub fn refuse(&self, name: &str, by: &str) -> Result<(), Error> {
        self.event(Level::Warn, "signal.denied", None, serde_json::json!({ "name": name, "via": "prompt", "by": by }))
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
    /// [`Error::Full`]; [`Error::Corrupt`] also for one that was there once and is gone or empty; [`Error::Io`], [`Error::Sql`].
    pub fn progress(&self) -> Result<ProgressStore, Error> {
        let mut slot = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = slot.as_ref() {
            return Ok(store.clone());
        }
        let id = self.id.clone();
        let made = self.shared.writer.read(move |sql| events::any(sql, &id, PROGRESS))?;
        let store = ProgressStore::open(&self.dir, &self.id, made)?;
        if !made {
            self.event(Level::Info, PROGRESS, None, serde_json::json!({}))?;
        }
        Ok(slot.insert(store).clone())
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
        let end = clean::end(end);
        if self.shared.writer.paused().is_some() {
            // That is how it ended, and it is recorded.
            return Ok(());
        }
        self.close("end the run", move |tx, id, epoch| runs::finish(tx, id, epoch, &end, exit_code))?;
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

    /// Whether the step of that key, or one inside it, was ever entered: `key` may be that of a branch.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Sql`].
    pub fn began(&self, key: &str) -> Result<bool, Error> {
        let (id, key) = (self.id.clone(), key.to_owned());
        self.shared.writer.read(move |sql| steps::began(sql, &id, &key))
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
