//! Steps that do nothing: answered from the journal on undo, only looked at in a plan.

use std::time::Instant;

use rhai::{Dynamic, NativeCallContext};

use super::ctx::{Ctx, Frame};
use super::error::{self, Fail, Stop};
use super::step::{BodyFn, Failed, Memory, attempt, keep};
use super::wanted::Wanted;
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
            keep(context, ctx, wanted, key, None, &result);
            Ok(result)
        }
        RecordedState::Handled(error) => {
            keep(context, ctx, wanted, key, None, &Dynamic::UNIT);
            Err(error::from_payload(&value::decode(error)).into())
        }
        RecordedState::Open => {
            look_inside(ctx, key, body);
            if recorded.acted {
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
        let frame = Frame { step: None, key: key.to_owned(), next_effect: 0, changed: false, cancel: ctx.cancel() };
        let _entered = Ctx::enter(frame);
        // It ends at its first effect, or where a read fails today; what was registered until then stays.
        drop(body(&Memory { deadline_ms: None, step: None }));
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
    match ctx.recorded.0.get(key).map(|recorded| &recorded.state) {
        Some(RecordedState::Done(result)) => {
            ctx.ended(key, "replayed", false, since);
            return Ok(value::decode(result));
        }
        Some(RecordedState::Handled(error)) => return Err(error::from_payload(&value::decode(error)).into()),
        Some(RecordedState::Open) | None => {}
    }
    let (result, _) = attempt(ctx, wanted, key, None, None, body).map_err(Failed::into_fail)?;
    keep(context, ctx, wanted, key, None, &result);
    ctx.ended(key, "planned", false, since);
    Ok(result)
}
