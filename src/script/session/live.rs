//! The run behind the live lines of a session: made at the first of them, each a step of it, ended when the session is.
//!
//! A session cannot be resumed: what its lines meant depended on what a person saw. It can be undone like any run, by
//! what the natives recorded; for that the journal holds a script that does nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rhai::Dynamic;
use serde_json::json;

use super::Word;
use crate::error::{Error, Exit, Kind};
use crate::host::tree::Ours;
use crate::journal::{
    Class, EffectOutcome, EffectRow, EffectStatus, Entered, Journal, Mode, NewRun, NewStep, Run, RunEnd, RunSummary,
    Source, StepId, StepKind, StepOutcome,
};
use crate::script::api::ctx::Ctx;
use crate::script::api::{self, hold};
use crate::script::library::MAIN;
use crate::script::outcome::{Call, Say};
use crate::script::profile::{Profile, Recorded};
use crate::script::value;

/// The name such runs have in place of a script's.
const NAME: &str = "repl";

/// The script the journal holds of a session: undo puts back what natives recorded, and has nothing to replay.
const SOURCE: &str =
    "//! An interactive session. Its steps are the lines that were typed.\nfn params() { #{} }\nfn run(p) { }\n";

/// A session's run that was left open, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its id.
    pub run: String,
    /// What is not known to be whole: step, native and target of each.
    pub open: Vec<String>,
    /// How the process should end.
    pub exit: Exit,
}

/// The live side of a session.
#[derive(Default)]
pub(super) struct Live {
    journal: Option<Journal>,
    run: Option<Arc<Run>>,
    /// Destinations that are locked as long as the session lasts.
    claims: BTreeMap<PathBuf, Ours>,
    /// The journal failed: nothing more may be changed.
    broken: bool,
}

/// The key of the step of a line.
pub(super) fn key(line: usize) -> String {
    format!("line[{line}]")
}

impl Live {
    /// The run, if a line has made it.
    pub(super) fn run(&self) -> Option<Arc<Run>> {
        self.run.clone()
    }

    /// Begins the step of a line that may change something, and the run with the first.
    pub(super) fn enter(&mut self, call: &Call, line: usize, typed: &str) -> Result<StepId, Error> {
        if self.broken {
            return Err(Error::new(Kind::Io, "the journal has failed in this session: nothing more can be changed")
                .hint("leave, mend the journal, and look at what was done: decamp runs")
                .exit(Exit::Journal));
        }
        let run = self.begin(call)?;
        let entered = run.enter(NewStep {
            key: key(line),
            parent: None,
            name: "line".to_owned(),
            kind: StepKind::Step,
            inputs: None,
            captured: json!({ "line": typed }),
            body_hash: blake3::hash(typed.as_bytes()).to_hex().to_string(),
            source: NAME.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            deadline_ms: None,
        });
        match entered.map_err(Error::from) {
            Ok(Entered::Run { step, .. }) => Ok(step),
            Ok(Entered::Replay { .. } | Entered::Rethrow { .. }) => {
                Err(Error::new(Kind::Internal, format!("line {line} was entered before")))
            }
            Err(error) => Err(self.note(error)),
        }
    }

    fn begin(&mut self, call: &Call) -> Result<Arc<Run>, Error> {
        if let Some(run) = &self.run {
            return Ok(Arc::clone(run));
        }
        let journal = match &self.journal {
            Some(journal) => journal.clone(),
            None => Journal::open(&call.state)?,
        };
        let run = journal.create(NewRun {
            script: NAME.to_owned(),
            script_path: None,
            params: json!({}),
            mode: Mode::Run,
            sources: vec![Source { module: MAIN.to_owned(), text: SOURCE.to_owned() }],
            operator: crate::script::operator(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            argv: call.argv.clone(),
        })?;
        (call.say)(Say::Run { id: run.id().as_str(), epoch: run.epoch() });
        self.journal = Some(journal);
        Ok(Arc::clone(self.run.insert(Arc::new(run))))
    }

    /// Remembers that the journal failed, if that is what the failure is.
    fn note(&mut self, error: Error) -> Error {
        self.broken |= error.exit_code() == Exit::Journal;
        error
    }

    /// Gives the services of a line what the session holds, and the question before what cannot be taken back.
    pub(super) fn lend(&mut self, ctx: &Ctx, word: Option<Word>) {
        ctx.state().claims = std::mem::take(&mut self.claims);
        let yes = ctx.call.yes;
        let guard = move |function: &str, target: &str, class: Class| {
            if class == Class::Converge || yes {
                return Ok(());
            }
            let question = format!("{function} `{target}` cannot be repeated or taken back");
            match &word {
                Some(word) if word(&question) => Ok(()),
                Some(_) => Err(Error::new(Kind::Denied, format!("{function} `{target}` was not confirmed"))),
                None => Err(Error::new(Kind::Denied, format!("{question}, and nobody is here to be asked"))
                    .hint("--yes answers for every line")),
            }
        };
        // The cell was made empty with the services of this line.
        drop(ctx.guard.set(Box::new(guard)));
    }

    /// Takes back what was lent.
    pub(super) fn take_back(&mut self, ctx: &Ctx) {
        self.claims = std::mem::take(&mut ctx.state().claims);
    }

    /// Ends the step of a line.
    pub(super) fn leave(
        &mut self,
        step: StepId,
        ended: Result<Option<&Dynamic>, &Error>,
        changed: bool,
    ) -> Result<(), Error> {
        let Some(run) = &self.run else { return Err(Error::new(Kind::Internal, "no run")) };
        let outcome = match ended {
            Ok(result) => {
                let result = result.map(value::describe).unwrap_or_default();
                StepOutcome::Done { result, changed }
            }
            // What a journal could not write down before, it cannot now.
            Err(error) if error.exit_code() == Exit::Journal => {
                self.broken = true;
                return Ok(());
            }
            Err(error) if error.kind == Kind::Cancelled || error.exit_code() == Exit::Approval => {
                StepOutcome::Interrupted
            }
            Err(error) => StepOutcome::Failed { error: value::describe(&api::error::payload(error).into()) },
        };
        run.leave(step, outcome).map_err(|error| self.note(error.into()))
    }

    /// Ends the run: whole if nothing of it was left half done.
    pub(super) fn finish(&mut self, call: &Call, exit: Exit) -> Result<Option<Left>, Error> {
        let (Some(run), Some(journal)) = (self.run.take(), self.journal.take()) else { return Ok(None) };
        let id = run.id().clone();
        if self.broken {
            let open = vec!["the journal failed: what was done last may not be in it".to_owned()];
            return Ok(Some(Left { run: id.as_str().to_owned(), open, exit: Exit::Journal }));
        }
        let detail = journal.reader()?.run(&id)?;
        let named = |effect: &EffectRow| {
            let step = detail.steps.iter().find(|step| step.id == effect.step).map_or("", |step| step.key.as_str());
            format!("{step}: {} {}", effect.function, effect.target)
        };
        // A later line that did the same thing to the same target has made it whole.
        let mended = |effect: &EffectRow| {
            detail.effects.iter().any(|later| {
                later.step > effect.step
                    && later.status == EffectStatus::Done
                    && (&later.function, &later.target) == (&effect.function, &effect.target)
            })
        };
        let unsure = |effect: &&EffectRow| match (effect.class, effect.status) {
            (_, EffectStatus::Done | EffectStatus::Abandoned) | (Class::Once, EffectStatus::Failed) => false,
            (Class::Once, _) => effect.decision.is_none(),
            (Class::Converge | Class::Destroy, _) => !mended(effect),
        };
        let open: Vec<String> = detail.effects.iter().filter(unsure).map(named).collect();
        if open.is_empty() {
            for effect in detail.effects.iter().filter(|effect| effect.class != Class::Once) {
                if matches!(effect.status, EffectStatus::Intent | EffectStatus::InDoubt) {
                    let error = json!({ "message": "stopped, and done by a later line" });
                    run.settle(effect.id, EffectOutcome::Failed { error })?;
                }
            }
            let ctx = Ctx::sharing(call.clone(), Some(Arc::clone(&run)), Profile::Live, Recorded::default());
            ctx.state().claims = std::mem::take(&mut self.claims);
            hold::give_back(&ctx)?;
            match run.finish_with(RunEnd::Succeeded, Some(exit.code())) {
                Ok(()) => return Ok(None),
                Err(crate::journal::Error::Unsettled { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let asked = detail.effects.iter().any(|effect| effect.class == Class::Once && unsure(&effect));
        let exit = if asked { Exit::InDoubt } else { Exit::Failed };
        run.finish_with(RunEnd::Cancelled { reason: "the session was left".to_owned() }, Some(exit.code()))?;
        Ok(Some(Left { run: id.as_str().to_owned(), open, exit }))
    }
}

/// Whether a run of that script, from that file, was an interactive session.
#[must_use]
pub fn is_session(script: &str, path: Option<&str>) -> bool {
    script == NAME && path.is_none()
}

/// Says why a session cannot be resumed.
pub(in crate::script) fn refuse_resume(run: &RunSummary) -> Result<(), Error> {
    if !is_session(&run.script, run.script_path.as_deref()) {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, format!("run {} was an interactive session, which cannot be resumed", run.id))
        .hint(format!("put back what its lines did: decamp undo {}", run.id))
        .hint(format!("leave everything as it is and free its targets: decamp abandon {}", run.id))
        .exit(Exit::Usage))
}
