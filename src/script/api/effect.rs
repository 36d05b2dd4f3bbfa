//! One call of a mutating native: intent before, outcome after, and what happens when the outcome is not known.

use serde_json::Value;

use super::ctx::Ctx;
use super::error::{Fail, Stop};
use crate::error::{Error, Exit, Kind};
use crate::journal::{Begun, Class, Decision, EffectId, EffectOutcome, NewEffect, crash};
use crate::redact;
use crate::script::outcome::PlanItem;
use crate::script::profile::Profile;

/// What a native is about to do.
pub(crate) struct Effect {
    /// The native: `copy::tree`.
    pub(crate) function: &'static str,
    /// What it acts on, for people.
    pub(crate) target: String,
    /// What repeating it would mean.
    pub(crate) class: Class,
    /// What was asked for, without secrets: an effect in doubt is only taken up again by the same request.
    pub(crate) request: Value,
    /// How the native itself puts it back, if it can.
    pub(crate) undo: Option<Value>,
    /// What that needs of what is there now; what an earlier attempt saw counts.
    pub(crate) before: Option<Vec<u8>>,
    /// The result to assume when a person or a probe says that it happened.
    pub(crate) happened: Value,
}

/// Looks whether what an effect is to do is there already.
pub(crate) type Look<'l> = &'l dyn Fn() -> Result<bool, Fail>;

/// What a native would do.
pub(crate) struct Planned {
    /// The result the script goes on with.
    pub(crate) result: Value,
    /// `exact`, `maybe` or `unknown`.
    pub(crate) certainty: &'static str,
    /// Whether it would change anything.
    pub(crate) changes: Option<bool>,
    /// One line for people.
    pub(crate) summary: String,
}

/// A failure of an effect, and whether it is certain that nothing of it goes on or has half happened.
pub(crate) struct Unfinished {
    /// The failure.
    pub(crate) error: Error,
    /// Repeating it is harmless: it failed for good.
    pub(crate) settled: bool,
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        Self { settled: error.kind != Kind::Cancelled, error }
    }
}

/// What is found out about an effect whose outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probed {
    /// To ask for it again is harmless: it gives the outcome, or it never began.
    Again,
    /// Nothing: a person has to say.
    Unknown,
}

impl Ctx {
    /// Does `effect` once: `act` does it and says whether it changed anything, `plan` says what it would do.
    ///
    /// # Errors
    /// Kind `invalid` outside a step and in what only reads; what `act` or `plan` failed with. Stops the script if the journal fails or the
    /// outcome of an earlier attempt is in doubt.
    pub(crate) fn effect(
        &self,
        effect: Effect,
        plan: impl FnOnce() -> Result<Planned, Error>,
        act: impl FnOnce() -> Result<(Value, bool), Unfinished>,
    ) -> Result<Value, Fail> {
        self.effect_looking(effect, None, || Ok(Probed::Unknown), plan, act)
    }

    /// The same for one that can be looked for where it acts: `probe` is asked before a person is.
    ///
    /// # Errors
    /// As [`Ctx::effect`]; what `probe` failed with.
    pub(crate) fn effect_probed(
        &self,
        effect: Effect,
        probe: impl FnOnce() -> Result<Probed, Fail>,
        plan: impl FnOnce() -> Result<Planned, Error>,
        act: impl FnOnce() -> Result<(Value, bool), Unfinished>,
    ) -> Result<Value, Fail> {
        self.effect_looking(effect, None, probe, plan, act)
    }

    /// The same unless `there` finds that it is done already. So it can be repeated without harm, and is of class
    /// `converge`: what an earlier attempt left unknown is looked for.
    ///
    /// # Errors
    /// As [`Ctx::effect`], and what `there` failed with: then nothing was done.
    pub(crate) fn effect_unless(
        &self,
        effect: Effect,
        there: Look<'_>,
        plan: impl FnOnce() -> Result<Planned, Error>,
        act: impl FnOnce() -> Result<(Value, bool), Unfinished>,
    ) -> Result<Value, Fail> {
        self.effect_looking(effect, Some(there), || Ok(Probed::Unknown), plan, act)
    }

    fn effect_looking(
        &self,
        effect: Effect,
        there: Option<Look<'_>>,
        probe: impl FnOnce() -> Result<Probed, Fail>,
        plan: impl FnOnce() -> Result<Planned, Error>,
        act: impl FnOnce() -> Result<(Value, bool), Unfinished>,
    ) -> Result<Value, Fail> {
        let function = effect.function;
        self.may_change(function)?;
        let frame = Self::with_frame(|frame| {
            let seq = frame.next_effect;
            frame.next_effect += 1;
            (frame.step, frame.key.clone(), seq)
        });
        let Some((step, key, seq)) = frame else { return Err(Error::new(Kind::Internal, "no step").into()) };
        // Where crash tests forget what is in doubt, what is there already is forgotten as well.
        let look = there.filter(|_| !crash::probes_off());
        let there = || look.map_or(Ok(false), |look| self.only_reading(look));
        match self.profile() {
            Profile::Plan => {
                let planned = if there()? {
                    let summary = "is done already".to_owned();
                    Planned { result: effect.happened, certainty: "exact", changes: Some(false), summary }
                } else {
                    plan()?
                };
                self.state().plan.push(PlanItem {
                    step: key,
                    function: function.to_owned(),
                    target: effect.target,
                    certainty: planned.certainty,
                    changes: planned.changes,
                    summary: planned.summary,
                    data: planned.result.clone(),
                });
                Ok(planned.result)
            }
            Profile::Replay => Err(Stop::ReplayEnds.into()),
            Profile::Test if there()? => Ok(effect.happened),
            Profile::Test => match act() {
                Ok((result, changed)) => Ok(self.did(result, changed)),
                Err(unfinished) => Err(unfinished.error.into()),
            },
            Profile::Live => {
                let (Some(run), Some(step)) = (&self.run, step) else {
                    return Err(Error::new(Kind::Internal, format!("{function} has no run to be recorded in")).into());
                };
                if let Some(guard) = self.guard.get() {
                    guard(function, &effect.target, effect.class)?;
                }
                self.state().acted = true;
                let begun = run.begin(NewEffect {
                    step,
                    seq,
                    function: function.to_owned(),
                    target: effect.target.clone(),
                    class: effect.class,
                    request: effect.request,
                    undo: effect.undo,
                    before: effect.before,
                })?;
                let settle = |id| {
                    let result = effect.happened.clone();
                    run.settle(id, EffectOutcome::Done { result: result.clone(), reconciled: true }).map(|()| result)
                };
                match begun {
                    Begun::Act { effect: id, .. } if there()? => Ok(settle(id)?),
                    Begun::Act { effect, idem_key } => self.act(effect, idem_key, act),
                    Begun::Done { result, .. } => Ok(result),
                    Begun::InDoubt { effect: id, idem_key, decision: Some(Decision::Retry), .. } => {
                        run.act_again(id)?;
                        self.act(id, idem_key, act)
                    }
                    Begun::InDoubt { effect: id, decision: Some(Decision::Happened), .. } => {
                        Ok(self.did(settle(id)?, true))
                    }
                    Begun::InDoubt { effect: id, idem_key, decision: None, .. } => {
                        if probe()? == Probed::Again {
                            run.act_again(id)?;
                            return self.act(id, idem_key, act);
                        }
                        Err(Stop::Error(in_doubt(run.id().as_str(), &key, function, &effect.target)).into())
                    }
                }
            }
        }
    }

    /// Whether a native may change something where it is called: in a step, and in nothing that only reads.
    ///
    /// # Errors
    /// Kind `invalid` if not.
    pub(crate) fn may_change(&self, function: &str) -> Result<(), Fail> {
        // A branch outside any step is a part of the path, and no step.
        let Some(frame) = Self::frame().filter(|frame| !frame.bare) else {
            return Err(Error::new(Kind::Invalid, format!("{function} changes things and is called outside a step"))
                .hint("wrap it: step(\"name\", || { … }), so that it is remembered and can be resumed and undone")
                .into());
        };
        let Some(reads) = frame.reads else { return Ok(()) };
        let message = format!("{function} changes things and is called in `{reads}`, which only reads");
        Err(Error::new(Kind::Invalid, message).hint("do it in a step: step(\"name\", || { … })").into())
    }

    /// Looks; what that calls may change nothing.
    fn only_reading(&self, look: Look<'_>) -> Result<bool, Fail> {
        let outer = Self::with_frame(|frame| frame.reads.replace("unless"));
        let found = look();
        Self::with_frame(|frame| frame.reads = outer.flatten());
        found
    }

    fn act(
        &self,
        effect: EffectId,
        idem_key: String,
        act: impl FnOnce() -> Result<(Value, bool), Unfinished>,
    ) -> Result<Value, Fail> {
        let Some(run) = &self.run else { return Err(Error::new(Kind::Internal, "no run").into()) };
        Self::with_frame(|frame| frame.effect = Some((effect, idem_key)));
        let acted = act();
        Self::with_frame(|frame| frame.effect = None);
        match acted {
            Ok((result, changed)) => {
                // As it is recorded: a replay gives the script nothing else.
                let result = redact::json(result);
                crash::point("effect.acted");
                run.settle(effect, EffectOutcome::Done { result: result.clone(), reconciled: false })?;
                Ok(self.did(result, changed))
            }
            Err(Unfinished { error, settled }) => {
                if settled {
                    let error = super::error::payload(&error);
                    let error = crate::script::value::describe(&error.into());
                    run.settle(effect, EffectOutcome::Failed { error })?;
                }
                Err(error.into())
            }
        }
    }

    fn did(&self, result: Value, changed: bool) -> Value {
        Self::with_frame(|frame| frame.changed |= changed);
        result
    }
}

fn in_doubt(run: &str, key: &str, function: &str, target: &str) -> Error {
    Error::new(
        Kind::Conflict,
        format!("it is not known whether {function} `{target}` of step `{key}` took effect: an earlier process ended in the middle of it"),
    )
    .exit(Exit::InDoubt)
    .hint(format!("look at `{target}`, then say what you found:"))
    .hint(format!("decamp decide {run} '{key}' happened   (it took effect: go on after it)"))
    .hint(format!("decamp decide {run} '{key}' retry      (it did not: do it again)"))
    .hint(format!("then: decamp resume {run}"))
}
