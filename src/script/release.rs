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
use crate::error::{Error, Kind};
use crate::journal::key::side_by_side;
use crate::journal::{Entered, EventRow, NewStep, StepKind, StepOutcome};

/// The event of a step that holds something from then on.
pub(super) const HOLDS: &str = "step.holds";

/// What became of the release closures of a run that stops.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// Keys of the steps that gave back what they held.
    pub(super) steps: Vec<String>,
    /// What could not be released, and why.
    pub(super) failed: Vec<String>,
}

/// Runs every release closure, newest first.
pub(super) fn all(machine: &Machine) -> Released {
    let releases = {
        let mut state = machine.ctx.state();
        // What stopped the script from beginning further steps is no reason to leave anything held.
        state.halt = None;
        std::mem::take(&mut state.releases)
    };
    let mut released = Released::default();
    for kept in releases.iter().rev() {
        machine.ctx.say(Say::Line(&format!("releasing {}", kept.key)));
        match one(machine, kept) {
            Ok(()) => released.steps.push(kept.key.clone()),
            Err(error) => {
                released.failed.push(format!("step {} could not be released: {}", kept.key, error.message));
            }
        }
    }
    released
}

/// Steps that hold something, by the story of their run: neither released, nor undone, nor behind a point of no return.
pub(super) fn outstanding(events: &[EventRow]) -> Vec<String> {
    let mut held: Vec<String> = Vec::new();
    for event in events {
        let Some(key) = &event.step else { continue };
        match event.kind.as_str() {
            HOLDS if !held.contains(key) => held.push(key.clone()),
            "step.released" => held.retain(|other| other != key),
            "run.pivot" => held.retain(|other| side_by_side(other, key)),
            "step.done" => held.retain(|other| *key != format!("undo:{other}")),
            _ => {}
        }
    }
    held
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
        Err(Ending::PlanEnds(_) | Ending::ReplayEnds | Ending::Reached(_)) => {
            run.leave(step, StepOutcome::Interrupted)?;
            // What it was to give back or put back may still be as it was: that is never said to be done.
            let message = format!("the closure of step `{}` ended before its work was done", kept.key);
            Err(Error::new(Kind::Internal, message).hint("look at what it acts on, and finish by hand what is missing"))
        }
    }
}
