//! What goes into the journal, without the values of secrets.
//!
//! What a run is resumed and undone from (keys, parameters, inputs, results of steps, how to undo an effect) is kept as
//! it is: whoever makes it refuses such a value ([`crate::redact::held`]), since another one in its place would be wrong.

use super::{EffectOutcome, NewEffect, NewRun, NewStep, RunEnd, StepOutcome};
use crate::redact::{json, owned};

pub(super) fn run(new: NewRun) -> NewRun {
    NewRun { argv: new.argv.into_iter().map(owned).collect(), ..new }
}

pub(super) fn step(new: NewStep) -> NewStep {
    NewStep { captured: json(new.captured), ..new }
}

pub(super) fn effect(new: NewEffect) -> NewEffect {
    NewEffect { target: owned(new.target), request: json(new.request), ..new }
}

pub(super) fn step_outcome(outcome: StepOutcome) -> StepOutcome {
    match outcome {
        StepOutcome::Failed { error } => StepOutcome::Failed { error: json(error) },
        other => other,
    }
}

pub(super) fn effect_outcome(outcome: EffectOutcome) -> EffectOutcome {
    match outcome {
        EffectOutcome::Done { result, reconciled } => EffectOutcome::Done { result: json(result), reconciled },
        EffectOutcome::Failed { error } => EffectOutcome::Failed { error: json(error) },
        EffectOutcome::Abandoned => EffectOutcome::Abandoned,
    }
}

pub(super) fn end(end: RunEnd) -> RunEnd {
    match end {
        RunEnd::Failed { error } => RunEnd::Failed { error: json(error) },
        RunEnd::UndoFailed { error } => RunEnd::UndoFailed { error: json(error) },
        RunEnd::Waiting { what } => RunEnd::Waiting { what: json(what) },
        RunEnd::Cancelled { reason } => RunEnd::Cancelled { reason: owned(reason) },
        other @ (RunEnd::Succeeded | RunEnd::Undone) => other,
    }
}
