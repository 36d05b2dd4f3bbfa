//! How a step runs: entered in the journal, its closure called with frozen captures, retried, ended, remembered.

use std::time::{Duration, Instant};

use rhai::{Dynamic, FnPtr, NativeCallContext};
use serde_json::Value;

use super::ctx::{Context, Ctx, Frame, Kept};
use super::error::{self, Fail, Stop};
use super::wanted::Wanted;
use crate::error::{Error, Kind};
use crate::journal::{self, Entered, Level, NewStep, Run, StepId, StepKind, StepOutcome};
use crate::redact;
use crate::script::outcome::{ChangedInputs, Question, Say};
use crate::script::profile::Profile;
use crate::script::release::HOLDS;
use crate::script::value;
use crate::units::show_duration;

pub(super) fn not_data(error: value::NotData) -> Error {
    Error::new(Kind::Invalid, error.to_string())
}

/// Replaces a closure's captures, which Rhai shares with the variables, by copies: a closure made in a loop keeps the
/// item it was made for, and a change inside it cannot be lost on replay.
pub(super) fn freeze(closure: &mut FnPtr) {
    let frozen: Vec<Dynamic> = closure.iter_curry().map(Dynamic::flatten_clone).collect();
    closure.set_curry(frozen);
}

fn captured(closure: &FnPtr) -> Value {
    closure.iter_curry().map(value::describe).collect()
}

/// Runs a step whose body is a closure of the script.
pub(super) fn run(context: &NativeCallContext<'_>, mut wanted: Wanted, mut body: FnPtr) -> Result<Dynamic, Fail> {
    freeze(&mut body);
    wanted.undo.as_mut().map(freeze);
    wanted.release.as_mut().map(freeze);
    let what = Body { captured: captured(&body), name: body.fn_name().to_owned() };
    run_with(context, wanted, &what, &|_| body.call_within_context::<Dynamic>(context, ()).map_err(Failed::Rhai))
}

/// What is kept of a body for display and comparison.
#[derive(Default)]
pub(super) struct Body {
    pub(super) captured: Value,
    pub(super) name: String,
}

/// How a body failed.
pub(super) enum Failed {
    /// In the script: an error of Rhai, kept whole for its positions.
    Rhai(Box<rhai::EvalAltResult>),
    /// In a native.
    Native(Fail),
}

/// What a body is told about the journal's memory of it.
pub(super) struct Memory {
    /// The stored deadline of a wait, in milliseconds since 1970.
    pub(super) deadline_ms: Option<i64>,
    /// Journal id.
    pub(super) step: Option<StepId>,
}

pub(super) type BodyFn<'b> = dyn Fn(&Memory) -> Result<Dynamic, Failed> + 'b;

/// Runs a step.
pub(super) fn run_with(
    context: &NativeCallContext<'_>,
    wanted: Wanted,
    what: &Body,
    body: &BodyFn<'_>,
) -> Result<Dynamic, Fail> {
    let ctx = Ctx::of(context)?;
    let parent = Ctx::frame();
    let key = key_of(parent.as_ref(), &wanted);
    if let Some(label) = redact::held(&key) {
        return Err(Error::new(Kind::Invalid, format!("the name of a step holds the value of {label}"))
            .hint("names and keys of steps are kept in the journal")
            .into());
    }
    ctx.may_begin(&key, wanted.kind)?;
    ctx.may_pass(&wanted.name, &key, wanted.kind)?;
    ctx.ask_for(&key, wanted.kind)?;
    if !ctx.state().seen.insert(key.clone()) {
        return Err(Error::new(Kind::Invalid, format!("a second step of the name `{key}`"))
            .hint("give steps in a loop a key of their own: step(\"name\", #{ key: item.id }, || { … })")
            .into());
    }
    match ctx.profile() {
        Profile::Replay => super::replay::replay(context, &ctx, &wanted, &key, body),
        Profile::Plan => super::replay::plan(context, &ctx, &wanted, &key, body),
        Profile::Test => {
            attempt(&ctx, &wanted, &key, None, None, body).map_err(|failed| failed.into_fail()).map(|(d, _)| d)
        }
        Profile::Live => {
            let run = ctx.run.as_ref().ok_or_else(|| Fail::Error(Error::new(Kind::Internal, "no run")))?;
            live(context, &ctx, run, &wanted, &key, parent.as_ref(), what, body)
        }
    }
}

/// The key of a step within the one around it.
pub(super) fn key_of(parent: Option<&Frame>, wanted: &Wanted) -> String {
    let mut key = parent.map(|frame| format!("{}/", frame.key)).unwrap_or_default();
    key.push_str(&wanted.name);
    if let Some(own) = &wanted.key {
        key.push_str(&format!("[{own}]"));
    }
    key
}

#[allow(clippy::too_many_arguments, reason = "one call site; every part is needed at once")]
fn live(
    context: &NativeCallContext<'_>,
    ctx: &Ctx,
    run: &Run,
    wanted: &Wanted,
    key: &str,
    parent: Option<&Frame>,
    what: &Body,
    body: &BodyFn<'_>,
) -> Result<Dynamic, Fail> {
    let since = Instant::now();
    let position = context.call_position();
    let text = ctx.library.get().map(|library| library.body(&what.name)).unwrap_or_default();
    let new = NewStep {
        key: key.to_owned(),
        parent: parent.and_then(|frame| frame.step),
        name: wanted.name.clone(),
        kind: wanted.kind,
        inputs: wanted.inputs.clone(),
        captured: what.captured.clone(),
        body_hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
        source: context.call_source().or_else(|| context.fn_source()).unwrap_or_default().to_owned(),
        line: u32::try_from(position.line().unwrap_or(0)).unwrap_or(0),
        deadline_ms: wanted.deadline.map(|span| now_ms().saturating_add(millis(span))),
    };
    let entered = match run.enter(new.clone()) {
        Err(journal::Error::InputsChanged { was, now, .. }) => changed_inputs(ctx, run, new, *was, &now)?,
        entered => entered?,
    };
    let (step, mut number, deadline_ms, mut retry_at_ms) = match entered {
        Entered::Replay { step, result, body_changed } => {
            ctx.say(Say::Replayed { key });
            ctx.state().acted |= wanted.kind == StepKind::Step;
            if body_changed {
                ctx.say(Say::Line(&format!("step {key} was changed since; its result is kept")));
            }
            let result = value::decode(&result);
            keep(context, ctx, wanted, key, Some(step), &result);
            ctx.ended(key, "replayed", false, since);
            ctx.reached(wanted.goal(), key)?;
            return Ok(result);
        }
        Entered::Rethrow { error, step } => {
            ctx.ended(key, "handled", false, since);
            keep(context, ctx, wanted, key, Some(step), &Dynamic::UNIT);
            return Err(error::from_payload(&value::decode(&error)).into());
        }
        Entered::Run { step, attempt, deadline_ms, retry_at_ms, .. } => (step, attempt, deadline_ms, retry_at_ms),
    };
    if wanted.release.is_some() {
        // Before the body: whoever gives the run up must be told even if it dies in the middle.
        run.event(Level::Info, HOLDS, Some(step), Value::Null)?;
    }
    loop {
        if let Some(at) = retry_at_ms.take() {
            let left = Duration::from_millis(u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0));
            ctx.say(Say::Line(&format!("step {key} is tried again in {}", show_duration(left))));
            if let Err(stop) = ctx.pause(left) {
                run.leave(step, StepOutcome::Interrupted)?;
                return Err(stop);
            }
        }
        ctx.say(Say::Begin { key, attempt: number });
        let failed = match attempt(ctx, wanted, key, Some(step), deadline_ms, body) {
            Ok((result, changed)) => match value::encode(&result, "result") {
                Ok(kept) => {
                    run.leave(step, StepOutcome::Done { result: kept, changed })?;
                    keep(context, ctx, wanted, key, Some(step), &result);
                    ctx.ended(key, "done", changed, since);
                    ctx.say(Say::End { key, changed, elapsed_ms: elapsed_ms(since) });
                    ctx.reached(wanted.goal(), key)?;
                    return Ok(result);
                }
                Err(not) => Failed::Native(not_data(not).into()),
            },
            Err(failed) => failed,
        };
        let Some(error) = failed.error() else {
            // Ended from outside: neither done nor failed, so that resuming takes it up again.
            keep_release(context, ctx, wanted, key, step);
            run.leave(step, StepOutcome::Interrupted)?;
            return Err(failed.into_fail());
        };
        if error.kind.retryable() && u64::from(number) <= wanted.retry.retries {
            let at = now_ms().saturating_add(millis(wanted.retry.wait(number)));
            ctx.say(Say::Line(&format!("step {key} failed: {}", error.message)));
            number += 1;
            run.retry_at(step, at, number, as_json(&error))?;
            retry_at_ms = Some(at);
            // The body begins again, and with it the steps inside.
            let inside = format!("{key}/");
            ctx.state().seen.retain(|other| !other.starts_with(&inside));
            continue;
        }
        keep_release(context, ctx, wanted, key, step);
        fail(ctx, run, step, key, &error, since)?;
        return Err(failed.into_fail());
    }
}

/// Enters a done step whose declared inputs are others now, as the person or the flag says.
fn changed_inputs(ctx: &Ctx, run: &Run, new: NewStep, was: Value, now: &Value) -> Result<Entered, Fail> {
    let key = new.key.clone();
    let ask = |what: &str| {
        let question = Question {
            name: key.clone(),
            summary: format!("its inputs are not what they were when it ran; {what}"),
            details: vec![format!("it ran with {was}"), format!("it would run with {now}")],
            dangerous: false,
        };
        ctx.call.ask.as_ref().and_then(|ask| ask.ask(&question, &|| false))
    };
    let choice = match ctx.call.changed_inputs {
        ChangedInputs::Ask if ask("run it again?") == Some(true) => ChangedInputs::Redo,
        ChangedInputs::Ask if ask("keep the result it has?") == Some(true) => ChangedInputs::Keep,
        choice => choice,
    };
    match choice {
        ChangedInputs::Keep => {
            ctx.say(Say::Line(&format!("step {key} keeps its result; it ran with {was}, now {now}")));
            Ok(run.enter(NewStep { inputs: Some(was), ..new })?)
        }
        ChangedInputs::Redo => {
            ctx.say(Say::Line(&format!("step {key} is run again; it ran with {was}, now {now}")));
            run.redo(&key)?;
            Ok(run.enter(new)?)
        }
        ChangedInputs::Ask | ChangedInputs::Abort => {
            let error = journal::Error::InputsChanged { key, was: Box::new(was), now: Box::new(now.clone()) };
            let how = format!("decamp resume {} --on-changed-inputs=keep   (or redo)", run.id().as_str());
            Err(Stop::Error(Error::from(error).hint(how)).into())
        }
    }
}

/// Milliseconds since a moment.
pub(crate) fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn fail(ctx: &Ctx, run: &Run, step: StepId, key: &str, error: &Error, since: Instant) -> Result<(), Fail> {
    run.leave(step, StepOutcome::Failed { error: as_json(error) })?;
    ctx.ended(key, "failed", false, since);
    ctx.say(Say::Failed { key, message: &error.message });
    Ok(())
}

fn as_json(error: &Error) -> Value {
    value::describe(&error::payload(error).into())
}

/// Calls the body once, as the innermost step of this thread.
pub(super) fn attempt(
    ctx: &Ctx,
    wanted: &Wanted,
    key: &str,
    step: Option<StepId>,
    deadline_ms: Option<i64>,
    body: &BodyFn<'_>,
) -> Result<(Dynamic, bool), Failed> {
    let mut cancel = ctx.cancel();
    let left = deadline_ms.map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0)));
    // A wait looks at its deadline itself: it has a last value to report.
    if let (Some(left), false) = (left.or(wanted.deadline), wanted.kind == StepKind::Poll) {
        cancel = cancel.until(Instant::now() + left);
    }
    let outer = Ctx::frame().is_some();
    let reads = match wanted.kind {
        StepKind::Fact => Some("fact"),
        StepKind::Poll => Some("wait_until"),
        // A branch is a part of what is around it.
        StepKind::Branch => Ctx::frame().and_then(|outer| outer.reads),
        _ => None,
    };
    let entered = Ctx::enter(Frame { reads, ..Frame::new(step, key, cancel) });
    let result = body(&Memory { deadline_ms, step });
    let changed = Ctx::with_frame(|frame| frame.changed).unwrap_or(false);
    drop(entered);
    if outer && changed {
        Ctx::with_frame(|frame| frame.changed = true);
    }
    result.map(|result| (result, changed)).map_err(|failed| failed.deadline(wanted, key))
}

impl Failed {
    /// The failure, if the step failed; none if the script was ended from outside.
    pub(super) fn error(&self) -> Option<Error> {
        match self {
            Self::Rhai(error) => match error.unwrap_inner() {
                rhai::EvalAltResult::ErrorTerminated(..) => None,
                rhai::EvalAltResult::ErrorRuntime(thrown, _) => Some(error::from_payload(thrown)),
                other => Some(Error::new(Kind::Invalid, crate::script::diagnose::words(other))),
            },
            Self::Native(Fail::Error(error)) => Some(error::from_payload(&error::payload(error).into())),
            Self::Native(Fail::Stop(_)) => None,
            Self::Native(Fail::Rhai(error)) => Some(Error::new(Kind::Internal, error.to_string())),
        }
    }

    pub(super) fn into_fail(self) -> Fail {
        match self {
            Self::Rhai(error) => Fail::Rhai(error),
            Self::Native(fail) => fail,
        }
    }

    /// Work that was stopped by the step's own deadline has failed; the run goes on.
    fn deadline(self, wanted: &Wanted, key: &str) -> Self {
        let stopped = match &self {
            Self::Rhai(error) => match error.unwrap_inner() {
                rhai::EvalAltResult::ErrorTerminated(token, _) => error::stopped_by_deadline(token),
                _ => false,
            },
            Self::Native(Fail::Stop(Stop::Error(error))) => error::is_deadline(error),
            Self::Native(_) => false,
        };
        match wanted.deadline {
            Some(span) if stopped => {
                let text = format!("step `{key}` was not done within {}", show_duration(span));
                Self::Native(Fail::Error(Error::new(Kind::Timeout, text)))
            }
            _ => self,
        }
    }
}

/// Remembers how to undo and release a step.
pub(super) fn keep(
    context: &NativeCallContext<'_>,
    ctx: &Ctx,
    wanted: &Wanted,
    key: &str,
    step: Option<StepId>,
    result: &Dynamic,
) {
    let kept = |closure: Option<&FnPtr>| Kept {
        key: key.to_owned(),
        step,
        closure: closure.map(|closure| (closure.clone(), Context::keep(context))),
        result: result.flatten_clone(),
    };
    let mut state = ctx.state();
    state.undos.push(kept(wanted.undo.as_ref()));
    if wanted.release.is_some() {
        state.releases.push(kept(wanted.release.as_ref()));
    }
}

/// Remembers to release a step that began and was not done: it may have done half of it.
fn keep_release(context: &NativeCallContext<'_>, ctx: &Ctx, wanted: &Wanted, key: &str, step: StepId) {
    if let Some(release) = &wanted.release {
        let closure = Some((release.clone(), Context::keep(context)));
        ctx.state().releases.push(Kept { key: key.to_owned(), step: Some(step), closure, result: Dynamic::UNIT });
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A span as the journal keeps it.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
