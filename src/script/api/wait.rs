//! What the flow functions do beyond running a step: waiting, marking the point of no return, noting.

use std::time::{Duration, Instant};

use rhai::{Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::options::{self, Options};
use super::step::{self, Body, Failed, Memory};
use super::wanted::Wanted;
use crate::error::{Error, Kind};
use crate::journal::key::side_by_side;
use crate::journal::{Level, StepKind};
use crate::script::outcome::Say;
use crate::script::profile::Profile;
use crate::script::secret::Secret;
use crate::script::value;
use crate::units::show_duration;

/// `step(name, opts, body)`.
pub(super) fn step_with(context: &NativeCallContext<'_>, name: &str, opts: Map, body: FnPtr) -> Result<Dynamic, Fail> {
    let mut options = Options::new("step", opts);
    let mut wanted = Wanted::plain(name, StepKind::Step)?.options(&mut options)?;
    wanted.undo = options.closure("undo")?;
    wanted.release = options.closure("release")?;
    options.done()?;
    step::run(context, wanted, body)
}

/// `fact(name, opts, body)`.
pub(super) fn fact_with(context: &NativeCallContext<'_>, name: &str, opts: Map, body: FnPtr) -> Result<Dynamic, Fail> {
    let mut options = Options::new("fact", opts);
    let wanted = Wanted::plain(name, StepKind::Fact)?.options(&mut options)?;
    options.done()?;
    step::run(context, wanted, body)
}

/// `wait_until(name, opts, body)`.
pub(super) fn wait_until(
    context: &NativeCallContext<'_>,
    name: &str,
    opts: Map,
    mut body: FnPtr,
) -> Result<Dynamic, Fail> {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("wait_until", opts);
    let mut wanted = Wanted::plain(name, StepKind::Poll)?;
    wanted.key = options.key("key")?;
    let timeout = options.duration("timeout")?;
    let every = options.duration("every")?.unwrap_or(Duration::from_secs(5)).max(Duration::from_millis(10));
    options.done()?;
    let timeout = timeout.ok_or_else(|| {
        Error::new(Kind::Invalid, "wait_until needs the option `timeout`")
            .hint("every wait has an end: #{ timeout: \"10m\" }")
    })?;
    wanted.deadline = Some(timeout);
    step::freeze(&mut body);
    let planning = ctx.profile() == Profile::Plan;
    let what = Body { captured: Value::Null, name: body.fn_name().to_owned() };
    step::run_with(context, wanted, &what, &|memory: &Memory| {
        let left = memory
            .deadline_ms
            .map_or(timeout, |at| Duration::from_millis(u64::try_from(at.saturating_sub(step::now_ms())).unwrap_or(0)));
        let end = Instant::now() + left;
        let mut told = Instant::now();
        loop {
            let seen = body.call_within_context::<Dynamic>(context, ()).map_err(Failed::Rhai)?;
            let come = !seen.is_unit() && seen.as_bool() != Ok(false);
            if come || planning {
                return Ok(seen);
            }
            let now = Instant::now();
            if now >= end {
                let text = format!("`{name}` did not come within {}", show_duration(timeout));
                return Err(Failed::Native(Error::new(Kind::Timeout, text).into()));
            }
            if now >= told {
                told = now + Duration::from_secs(30);
                ctx.say(Say::Line(&format!("waiting for {name}, at most {} more", show_duration(end - now))));
            }
            let pause = every.min(end - now);
            ctx.pause(pause).map_err(Failed::Native)?;
        }
    })
}

/// `pivot(name)`.
pub(super) fn pivot(context: &NativeCallContext<'_>, name: &str) -> Result<(), Fail> {
    let ctx = Ctx::of(context)?;
    let wanted = Wanted::plain(name, StepKind::Pivot)?;
    let _passed = step::run_with(context, wanted, &Body::default(), &|memory: &Memory| {
        if let (Some(run), Some(step)) = (&ctx.run, memory.step) {
            run.pivot(step).map_err(|error| Failed::Native(error.into()))?;
        }
        Ok(Dynamic::UNIT)
    })?;
    let pivot = Ctx::frame().map(|frame| format!("{}/", frame.key)).unwrap_or_default() + name;
    let mut state = ctx.state();
    // What other branches hold has nothing to do with this one's point of no return.
    state.releases.retain(|kept| side_by_side(&kept.key, &pivot));
    state.pivot = Some(name.to_owned());
    Ok(())
}

/// `note(section, value)`.
pub(super) fn note(context: &NativeCallContext<'_>, section: &str, noted: &Dynamic) -> Result<(), Fail> {
    let ctx = Ctx::of(context)?;
    let data = value::encode(noted, "value").map_err(step::not_data)?;
    if let (Some(run), Profile::Live) = (&ctx.run, ctx.profile()) {
        let step = Ctx::frame().and_then(|frame| frame.step);
        run.event(Level::Info, "note", step, json!({ "section": section, "value": data }))?;
    }
    ctx.state().notes.push((section.to_owned(), data));
    Ok(())
}

/// `sleep(time)`.
pub(super) fn sleep(context: &NativeCallContext<'_>, time: &Dynamic) -> Result<(), Fail> {
    let ctx = Ctx::of(context)?;
    let fraction = time.as_float().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let span = fraction.or_else(|| options::duration(time)).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`{time}` is no duration")).hint("write \"90s\" or a number of seconds")
    })?;
    if matches!(ctx.profile(), Profile::Plan | Profile::Replay) {
        return Ok(());
    }
    ctx.pause(span)
}

/// `is_plan()`.
pub(super) fn is_plan(context: &NativeCallContext<'_>) -> Result<bool, Fail> {
    Ok(Ctx::of(context)?.profile() == Profile::Plan)
}

/// `assert_eq(left, right)`.
pub(super) fn assert_eq(left: &Dynamic, right: &Dynamic) -> Result<(), Fail> {
    if left.is::<Secret>() || right.is::<Secret>() {
        return Err(Error::new(Kind::Invalid, "assert_eq would show what it compares")
            .hint("compare secrets with ==")
            .into());
    }
    let (left, right) = (value::describe(left), value::describe(right));
    if left == right {
        return Ok(());
    }
    Err(Error::new(Kind::Mismatch, format!("{left} is not {right}")).into())
}
