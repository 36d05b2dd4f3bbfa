//! What must not stay as it is when a run stops half way: a frozen source is thawed again.
//!
//! A step's `release` closure runs when the run fails or is stopped before the next pivot. What it was holding is gone
//! then, so the step and everything after it run again on resume. A killed process releases nothing: resuming finds
//! the hold still there and goes on under it.

use rhai::Dynamic;

use super::api::ctx::Kept;
use super::api::error::payload;
use super::diagnose::Ending;
use super::outcome::Say;
use super::run::Machine;
use super::value;
use crate::error::Error;
use crate::journal::{Entered, NewStep, StepKind, StepOutcome};

/// Runs every release closure, newest first, and gives back `failure`, with what could not be released added to it.
pub(super) fn all(machine: &Machine, mut failure: Error) -> Error {
    let releases = std::mem::take(&mut machine.ctx.state().releases);
    for kept in releases.iter().rev() {
        machine.ctx.say(Say::Line(&format!("releasing {}", kept.key)));
        if let Err(error) = one(machine, kept) {
            failure = failure.hint(format!("step {} could not be released: {}", kept.key, error.message));
        }
    }
    failure
}

fn one(machine: &Machine, kept: &Kept) -> Result<(), Error> {
    let Some(run) = &machine.ctx.run else { return Ok(()) };
    let key = format!("release:{}:{}", kept.key, run.epoch());
    closing_step(machine, kept, &key)?;
    if let Some(step) = kept.step {
        run.reopen(step)?;
    }
    Ok(())
}

/// Runs a kept closure as a step of its own, under `key`; one that is done already is not run again.
pub(super) fn closing_step(machine: &Machine, kept: &Kept, key: &str) -> Result<(), Error> {
    let Some(run) = &machine.ctx.run else { return Ok(()) };
    let entered = run.enter(NewStep {
        key: key.to_owned(),
        parent: None,
        name: key.to_owned(),
        kind: StepKind::Step,
        inputs: None,
        captured: value::describe(&kept.result),
        body_hash: String::new(),
        source: String::new(),
        line: 0,
        deadline_ms: None,
    })?;
    let step = match entered {
        Entered::Replay { .. } => return Ok(()),
        Entered::Rethrow { step, .. } | Entered::Run { step, .. } => step,
    };
    // The run may have been cancelled: what must be released is released all the same.
    let called = machine.within_step(step, key, || machine.call_kept(kept));
    match called {
        Ok(result) => {
            let result = value::encode(&result, "result").unwrap_or_else(|_| value::describe(&Dynamic::UNIT));
            run.leave(step, StepOutcome::Done { result, changed: true })?;
            Ok(())
        }
        Err(Ending::Failed(error)) => {
            let outcome = match error.exit_code() {
                crate::error::Exit::InDoubt => StepOutcome::Interrupted,
                _ => StepOutcome::Failed { error: value::describe(&payload(&error).into()) },
            };
            run.leave(step, outcome)?;
            Err(error)
        }
        Err(Ending::PlanEnds(_) | Ending::ReplayEnds) => {
            run.leave(step, StepOutcome::Interrupted)?;
            Ok(())
        }
    }
}
