//! Steps that do nothing: answered from the journal on undo, only looked at in a plan.

use std::time::Instant;

use rhai::{Dynamic, NativeCallContext};
use serde_json::Value;

use super::ctx::{Ctx, Frame};
use super::error::{self, Fail, Stop};
use super::step::{BodyFn, Failed, Memory, attempt, keep};
use super::wanted::Wanted;
use crate::script::outcome::{ChangedInputs, Say};
use crate::script::profile::RecordedState;
use crate::script::value;

/// Gives back what the journal holds; ends the script at the first step that was not done.
pub(super) fn replay(
    context: &NativeCallContext<'_>,
    ctx: &Ctx,
    wanted: &Wanted,
    key: &str,
    body: &BodyFn<'_>,
) -> Result<Dynamic, Fail> {
    let Some(recorded) = ctx.recorded.0.get(key) else { return Err(Stop::ReplayEnds.into()) };
    match &recorded.state {
        RecordedState::Done(result) => {
            // The steps inside have undo closures of their own, which only their own calls can give.
            look_inside(ctx, key, body);
            let result = value::decode(result);
            if !recorded.given_back {
                keep(context, ctx, wanted, key, None, &result);
            }
            Ok(result)
        }
        RecordedState::Handled(error) if recorded.given_back => Err(error::from_payload(&value::decode(error)).into()),
        RecordedState::Handled(error) => {
            keep(context, ctx, wanted, key, None, &Dynamic::UNIT);
            Err(error::from_payload(&value::decode(error)).into())
        }
        RecordedState::Open => {
            look_inside(ctx, key, body);
            if recorded.acted && !recorded.given_back {
                keep(context, ctx, wanted, key, None, &Dynamic::UNIT);
            }
            Err(Stop::ReplayEnds.into())
        }
    }
}

/// Calls the body of a step that has steps inside, so that these are registered too.
fn look_inside(ctx: &Ctx, key: &str, body: &BodyFn<'_>) {
    let prefix = format!("{key}/");
    let nested = ctx.recorded.0.range(prefix.clone()..).next().is_some_and(|(other, _)| other.starts_with(&prefix));
    if nested {
        let _entered = Ctx::enter(Frame::new(None, key, ctx.cancel()));
        // It ends at its first effect, or where a read fails today; what was registered until then stays.
        drop(body(&Memory { deadline_ms: None, step: None }));
    }
}

/// Whether a done step is to be run again because its declared inputs are others than it ran with; ends the plan where a
/// resume would stop to ask that.
fn redone(ctx: &Ctx, wanted: &Wanted, key: &str, was: Option<&Value>) -> Result<bool, Fail> {
    let (Some(was), Some(now)) = (was, &wanted.inputs) else { return Ok(false) };
    if was == now {
        return Ok(false);
    }
    match ctx.call.changed_inputs {
        ChangedInputs::Keep => {
            ctx.say(Say::Line(&format!("step {key} keeps its result; it ran with {was}, now {now}")));
            Ok(false)
        }
        ChangedInputs::Redo => {
            ctx.say(Say::Line(&format!("step {key} is run again; it ran with {was}, now {now}")));
            Ok(true)
        }
        ChangedInputs::Ask | ChangedInputs::Abort => Err(Stop::PlanEnds(format!(
            "step `{key}` ran with {was}, and its inputs are {now} now: resume with --on-changed-inputs=keep or redo"
        ))
        .into()),
    }
}

/// Runs the body with effects that are only recorded; a step that is done already gives its result.
pub(super) fn plan(
    context: &NativeCallContext<'_>,
    ctx: &Ctx,
    wanted: &Wanted,
    key: &str,
    body: &BodyFn<'_>,
) -> Result<Dynamic, Fail> {
    let since = Instant::now();
    let recorded = ctx.recorded.0.get(key);
    match recorded.map(|recorded| &recorded.state) {
        Some(RecordedState::Done(result))
            if !redone(ctx, wanted, key, recorded.and_then(|step| step.inputs.as_ref()))? =>
        {
            ctx.ended(key, "replayed", false, since);
            return Ok(value::decode(result));
        }
        Some(RecordedState::Handled(error)) => return Err(error::from_payload(&value::decode(error)).into()),
        Some(RecordedState::Done(_) | RecordedState::Open) | None => {}
    }
    let (result, _) = attempt(ctx, wanted, key, None, None, body).map_err(Failed::into_fail)?;
    keep(context, ctx, wanted, key, None, &result);
    ctx.ended(key, "planned", false, since);
    ctx.reached(wanted.goal(), key)?;
    Ok(result)
}
