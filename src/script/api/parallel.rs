//! `parallel`: one closure on several items, each on a thread and on a path of its own.
//!
//! The whole is a step of kind `group`, entered before its branches, so that a resumed run knows whether the script has
//! gone past it. A branch is only a part of the path of the steps inside (`parallel[KEY]/…`); inside a step, where
//! natives may change things without a further step, it is a step itself, so that its effects have numbers of their own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::{Value, json};

use super::branch::{End, Ends, own_key, plain_key};
use super::ctx::{Ctx, Frame};
use super::error::{self, Fail};
use super::options::Options;
use super::step::{self, Body, Failed};
use super::wanted::Wanted;
use crate::error::{Error, Kind};
use crate::journal::{Entered, NewStep, StepId, StepKind, StepOutcome};
use crate::script::engine::STACK_BYTES;
use crate::script::outcome::Say;
use crate::script::profile::{Profile, RecordedState};
use crate::script::value;

/// How many branches go on at once, if the script does not say.
const AT_ONCE: u64 = 4;

/// A `parallel` that is about to begin.
struct Group<'c> {
    context: &'c NativeCallContext<'c>,
    ctx: &'c Ctx,
    outer: Option<Frame>,
    name: String,
    /// Key of the whole.
    key: String,
    items: Vec<(String, Dynamic)>,
    body: FnPtr,
    at_once: usize,
    collect: bool,
}

/// What an earlier incarnation knows of the whole.
enum Before {
    /// It has not come to its end.
    Open(Option<StepId>),
    /// It ended, and the script went on.
    Done,
    /// It failed, and the script handled that: no branch begins any more that had not.
    Failed(Box<Error>),
}

/// `parallel(items, opts, body)`.
pub(super) fn parallel(
    context: &NativeCallContext<'_>,
    items: Array,
    opts: Map,
    mut body: FnPtr,
) -> Result<Dynamic, Fail> {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("parallel", opts);
    let name = options.text("name")?.unwrap_or_else(|| "parallel".to_owned());
    let at_once = options.count("max")?.unwrap_or(AT_ONCE);
    let key = options.closure("key")?;
    let collect = match options.text("on_error")?.as_deref() {
        None | Some("stop") => false,
        Some("collect") => true,
        Some(other) => {
            let error = Error::new(Kind::Invalid, format!("`on_error` cannot be `{other}`"));
            return Err(error.hint("known: stop, collect").into());
        }
    };
    options.done()?;
    if at_once == 0 {
        return Err(Error::new(Kind::Invalid, "option `max` of parallel must be at least 1").into());
    }
    let wanted = Wanted::plain(&name, StepKind::Group)?;
    step::freeze(&mut body);
    let outer = Ctx::frame();
    let items = keyed(context, items, key)?;
    let key = step::key_of(outer.as_ref(), &wanted);
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
    let group = Group { context, ctx: &ctx, outer, name, key, items, body, at_once, collect };
    group.run()
}

/// Every item with its key; equal keys are found before anything begins.
fn keyed(
    context: &NativeCallContext<'_>,
    items: Array,
    closure: Option<FnPtr>,
) -> Result<Vec<(String, Dynamic)>, Fail> {
    let mut seen = BTreeSet::new();
    let mut keyed = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let item = item.flatten();
        let key = match &closure {
            Some(closure) => {
                let given = closure.call_within_context::<Dynamic>(context, (item.clone(),)).map_err(Fail::Rhai)?;
                plain_key(&given)
                    .ok_or_else(|| Error::new(Kind::Invalid, format!("`key` gives no text or number for item {at}")))?
            }
            None => own_key(&item).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("item {at} of parallel has no key"))
                    .hint("give items a field `key`, `id` or `name`, or say how: #{ key: |item| item.uid }")
            })?,
        };
        if !seen.insert(key.clone()) {
            return Err(Error::new(Kind::Invalid, format!("two items of parallel have the key `{key}`"))
                .hint("give each a key of its own: #{ key: |item| … }")
                .into());
        }
        keyed.push((key, item));
    }
    Ok(keyed)
}

impl Group<'_> {
    fn run(&self) -> Result<Dynamic, Fail> {
        let since = Instant::now();
        self.ctx.may_begin(&self.key, StepKind::Group)?;
        let twice = {
            let mut state = self.ctx.state();
            let keys = self.items.iter().map(|(key, _)| self.branch_key(key));
            // What is inside a step enters its branches as steps, and these count themselves.
            let bare = self.bare();
            let known = |state: &mut super::ctx::State, key: String| (!state.seen.insert(key.clone())).then_some(key);
            known(&mut state, self.key.clone()).or_else(|| keys.filter(|_| bare).find_map(|key| known(&mut state, key)))
        };
        if let Some(key) = twice {
            return Err(Error::new(Kind::Invalid, format!("a second parallel or step of the name `{key}`"))
                .hint("give it a name of its own: parallel(items, #{ name: \"second\" }, |item| …)")
                .into());
        }
        match self.before()? {
            Before::Open(step) => {
                if step.is_some() {
                    self.ctx.say(Say::Begin { key: &self.key, attempt: 1 });
                }
                let ends = self.branches(false)?;
                self.leave(step, ends, since)
            }
            Before::Done => {
                let ends = self.branches(false)?;
                self.leave(None, ends, since)
            }
            Before::Failed(error) => {
                let mut ends = self.branches(true)?;
                match ends.stop() {
                    Some(stop) => Err(stop.into()),
                    None => Err((*error).into()),
                }
            }
        }
    }

    /// Whether branches are no steps: there is no step around them that natives could belong to.
    fn bare(&self) -> bool {
        self.outer.as_ref().is_none_or(|outer| outer.bare)
    }

    fn branch_key(&self, key: &str) -> String {
        format!("{}[{key}]", self.key)
    }

    /// Enters the whole, in the journal or in what was recorded of it.
    fn before(&self) -> Result<Before, Fail> {
        let recorded = self.ctx.recorded.0.get(&self.key).map(|recorded| &recorded.state);
        let handled = |error: &Value| Before::Failed(Box::new(error::from_payload(&value::decode(error))));
        match self.ctx.profile() {
            Profile::Test => return Ok(Before::Open(None)),
            Profile::Plan | Profile::Replay => {
                return Ok(match recorded {
                    Some(RecordedState::Done(_)) => Before::Done,
                    Some(RecordedState::Handled(error)) => handled(error),
                    Some(RecordedState::Open) | None => Before::Open(None),
                });
            }
            Profile::Live => {}
        }
        let Some(run) = &self.ctx.run else { return Err(Error::new(Kind::Internal, "no run").into()) };
        let position = self.context.call_position();
        let keys: Vec<&str> = self.items.iter().map(|(key, _)| key.as_str()).collect();
        let entered = run.enter(NewStep {
            key: self.key.clone(),
            parent: self.outer.as_ref().and_then(|frame| frame.step),
            name: self.name.clone(),
            kind: StepKind::Group,
            inputs: None,
            captured: json!({ "items": keys, "max": self.at_once }),
            body_hash: String::new(),
            source: self.context.call_source().or_else(|| self.context.fn_source()).unwrap_or_default().to_owned(),
            line: u32::try_from(position.line().unwrap_or(0)).unwrap_or(0),
            deadline_ms: None,
        })?;
        Ok(match entered {
            Entered::Replay { .. } => Before::Done,
            Entered::Rethrow { error, .. } => handled(&error),
            Entered::Run { step, .. } => Before::Open(Some(step)),
        })
    }

    /// Runs the branches; with `begun`, one after the other and only those that had begun before.
    fn branches(&self, begun: bool) -> Result<Ends, Fail> {
        let ends: Mutex<Vec<End>> = Mutex::new(self.items.iter().map(|_| End::NotBegun).collect());
        let changed = AtomicBool::new(false);
        let closed = AtomicBool::new(false);
        let keep = |at: usize, end: End| {
            if matches!(end, End::Failed(_)) && !self.collect && !begun || matches!(end, End::Stopped(_)) {
                closed.store(true, Ordering::SeqCst);
            }
            ends.lock().unwrap_or_else(PoisonError::into_inner)[at] = end;
        };
        let one_by_one = begun || matches!(self.ctx.profile(), Profile::Plan | Profile::Replay);
        if one_by_one {
            for (at, item) in self.items.iter().enumerate() {
                if !begun || self.began(&item.0)? {
                    let (end, _) = self.branch(item);
                    keep(at, end);
                }
            }
        } else {
            let next = AtomicUsize::new(0);
            let work = || {
                while !closed.load(Ordering::SeqCst) {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(item) = self.items.get(at) else { break };
                    let (end, wrote) = self.branch(item);
                    changed.fetch_or(wrote, Ordering::SeqCst);
                    keep(at, end);
                }
            };
            std::thread::scope(|scope| {
                let threads: Result<Vec<_>, std::io::Error> = (0..self.at_once.min(self.items.len()))
                    .map(|number| {
                        let builder = std::thread::Builder::new().name(format!("{} {}", self.name, number + 1));
                        builder.stack_size(STACK_BYTES).spawn_scoped(scope, work)
                    })
                    .collect();
                let failed = |message: &str| Fail::Error(Error::new(Kind::Io, message.to_owned()));
                let threads = threads.map_err(|error| {
                    closed.store(true, Ordering::SeqCst);
                    Fail::Error(Error::new(Kind::Io, "cannot start the thread of a branch").because(error))
                })?;
                // A panic is a defect of this program: it has been printed, and the journal holds what was done.
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().map_err(|_| failed("the thread of a branch failed")))
            })?;
        }
        let changed = changed.into_inner();
        if changed {
            Ctx::with_frame(|frame| frame.changed = true);
        }
        let keys = self.items.iter().map(|(key, _)| key.clone()).collect();
        Ok(Ends { keys, ends: ends.into_inner().unwrap_or_else(PoisonError::into_inner), changed })
    }

    /// Whether a branch had begun in an earlier incarnation, or in this one.
    fn began(&self, key: &str) -> Result<bool, Fail> {
        let key = self.branch_key(key);
        if let (Profile::Live, Some(run)) = (self.ctx.profile(), &self.ctx.run) {
            return Ok(run.began(&key)?);
        }
        let inside = format!("{key}/");
        Ok(self.ctx.recorded.0.keys().any(|other| *other == key || other.starts_with(&inside)))
    }

    /// Runs one branch on this thread; tells whether it changed anything.
    fn branch(&self, (key, item): &(String, Dynamic)) -> (End, bool) {
        let cancel = self.outer.as_ref().map_or_else(|| self.ctx.call.cancel.clone(), |outer| outer.cancel.clone());
        let progress = self.outer.as_ref().and_then(|outer| outer.progress.clone());
        let lane = progress.unwrap_or_else(|| self.ctx.call.progress.clone()).lane();
        let call = || {
            let called = self.body.call_within_context::<Dynamic>(self.context, (item.flatten_clone(),));
            called.map_err(Failed::Rhai)
        };
        let full = self.branch_key(key);
        let mut frame = match &self.outer {
            Some(outer) if !outer.bare => outer.clone(),
            _ => Frame { bare: true, ..Frame::new(None, &full, cancel) },
        };
        frame.changed = false;
        frame.progress = lane.map(Into::into);
        let entered = Ctx::enter(frame);
        let result = if self.bare() {
            call().map_err(Failed::into_fail)
        } else {
            let wanted = Wanted::branch(&self.name, key);
            let what = Body { captured: value::describe(item), name: self.body.fn_name().to_owned() };
            step::run_with(self.context, wanted, &what, &|_| call())
        };
        let changed = Ctx::with_frame(|frame| frame.changed).unwrap_or(false);
        drop(entered);
        (End::of(self.ctx, result), changed)
    }

    /// Ends the whole: its results in the order of the items, or how it failed.
    fn leave(&self, step: Option<StepId>, mut ends: Ends, since: Instant) -> Result<Dynamic, Fail> {
        let recorded = |outcome: StepOutcome| match (&self.ctx.run, step) {
            (Some(run), Some(step)) => run.leave(step, outcome).map_err(Fail::from),
            _ => Ok(()),
        };
        if let Some(stop) = ends.stop() {
            recorded(StepOutcome::Interrupted)?;
            return Err(stop.into());
        }
        if let Some(failed) = ends.failure(self.collect) {
            let error =
                failed.error().unwrap_or_else(|| Error::new(Kind::Internal, "a branch failed without a reason"));
            recorded(StepOutcome::Failed { error: value::describe(&error::payload(&error).into()) })?;
            if step.is_some() {
                self.ctx.ended(&self.key, "failed", false, since);
                self.ctx.say(Say::Failed { key: &self.key, message: &error.message });
            }
            return Err(failed.into_fail());
        }
        let changed = ends.changed;
        recorded(StepOutcome::Done { result: Value::Null, changed })?;
        if step.is_some() {
            self.ctx.ended(&self.key, "done", changed, since);
            self.ctx.say(Say::End { key: &self.key, changed, elapsed_ms: step::elapsed_ms(since) });
        }
        self.ctx.reached(&self.name, &self.key)?;
        Ok(ends.results(self.collect))
    }
}
