//! Putting back what a run did, newest step first.
//!
//! Closures cannot be kept on disk, so the recorded sources are run again with every done step answered from the
//! journal: that gives the undo closures, with their captures, up to the first step that was not done. Then they are
//! run backwards, each as a step of its own, so that undo can itself be interrupted and repeated. What natives recorded
//! for their own undo is put back after the closure of the step. A step is replayed with the parameters and results it
//! ran with, which later resumes may have changed.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::api::ctx::{Ctx, Kept};
use super::api::error::{Fail, Stop};
use super::api::{self, step::elapsed_ms};
use super::diagnose::Ending;
use super::library::{Library, Origin};
use super::outcome::{Call, Outcome, PlanItem, Say, StepLine};
use super::profile::{Profile, Recorded, RecordedStep};
use super::run::{Machine, as_begun, detail};
use super::story::{self, Story};
use super::{Script, alive, engine, release};
use crate::error::{Error, Exit, Kind};
use crate::journal::{Class, EffectRow, EffectStatus, Journal, Mode, Run, RunDetail, RunEnd, RunId, RunStatus, Source};

/// What the journal holds of a run's steps.
pub(super) fn recorded(detail: &RunDetail) -> Recorded {
    let steps = detail.steps.iter().map(|step| {
        // What was released has been put back already, or is done again.
        let gone = |effect: &EffectRow| effect.status == EffectStatus::Abandoned;
        let acted = detail.effects.iter().any(|effect| effect.step == step.id && !gone(effect));
        let unknown = |effect: &EffectRow| {
            let open = matches!(effect.status, EffectStatus::Intent | EffectStatus::InDoubt);
            open && effect.class != Class::Converge && effect.decision.is_none()
        };
        let doubtful = detail.effects.iter().any(|effect| effect.step == step.id && unknown(effect));
        let state = story::state(step.status, step.result.as_ref(), step.error.as_ref());
        let inputs = step.inputs.clone();
        (step.key.clone(), RecordedStep { state, acted, doubtful, given_back: false, inputs })
    });
    Recorded(steps.collect())
}

/// What an undo could not or would not put back.
#[derive(Default)]
struct Left {
    /// It, for people.
    lines: Vec<String>,
    /// Another undo can put back what it is hindered at; what has no undo has none later either.
    again: bool,
}

impl Left {
    /// Several passes have the same ledger, and each names what it finds there.
    fn add(&mut self, more: Self) {
        self.again |= more.again;
        for line in more.lines {
            if !self.lines.contains(&line) {
                self.lines.push(line);
            }
        }
    }
}

/// One step to put back.
struct Item<'a> {
    kept: Kept,
    effects: Vec<&'a EffectRow>,
    /// The machine its closure belongs to.
    machine: usize,
    /// What differed when it ran from the parameters in force at the end.
    with: Option<String>,
    /// What it did and its closure does not know of.
    unknown: Vec<String>,
}

/// What there is to undo, oldest first, and what does it.
struct Way<'a> {
    /// One for each stretch of the run that was replayed; the last has the parameters in force at the end.
    machines: Vec<Machine>,
    items: Vec<Item<'a>>,
    story: Story,
}

impl Item<'_> {
    /// Whether anything of it can be put back.
    fn acts(&self) -> bool {
        self.kept.closure.is_some() || self.effects.iter().any(|effect| effect.undo.is_some())
    }
}

impl Way<'_> {
    fn machine(&self) -> Result<&Machine, Error> {
        self.machines.last().ok_or_else(|| Error::new(Kind::Internal, "nothing was replayed"))
    }
}

/// `decamp undo`.
pub(super) fn undo(id: &str, call: &Call) -> Result<Outcome, Error> {
    let since = Instant::now();
    let (id, detail, sources) = detail(id, call)?;
    let call = &as_begun(&id, call)?;
    refuse(&detail)?;
    if let Some(reader) = Journal::read(&call.state)? {
        alive::check(&reader, &detail)?;
    }
    let journal = Journal::open(&call.state)?;
    let run = journal.take_over(&id, Mode::Undo, &sources)?;
    (call.say)(Say::Run { id: run.id().as_str(), epoch: run.epoch() });
    let way = replay(call, Some(run), &detail, &sources, Story::of(&id, &detail, call)?)?;
    way.machines.iter().for_each(|machine| machine.ctx.set_profile(Profile::Live));
    let machine = way.machine()?;
    let Some(run) = &machine.ctx.run else { return Err(Error::new(Kind::Internal, "no run")) };
    run.watch(&machine.ctx.call.cancel)?;
    let mut left = Left::default();
    for item in way.items.iter().rev() {
        let key = format!("undo:{}", item.kept.key);
        let begun = Instant::now();
        machine.ctx.say(Say::Begin { key: &key, attempt: 1 });
        let done = machine.ctx.call.cancel.check().map_err(Error::from).and_then(|()| put_back(&way, item, &key));
        let whole = match done {
            Ok(more) => {
                let whole = more.lines.is_empty();
                left.add(more);
                whole
            }
            Err(error) => {
                if let Some(full) = run.paused() {
                    return Err(full.into());
                }
                let exit = error.exit_code();
                let exit = if matches!(exit, Exit::Failed | Exit::Usage) { Exit::UndoIncomplete } else { exit };
                let end = RunEnd::UndoFailed { error: super::value::describe(&api::error::payload(&error).into()) };
                run.finish_with(end, Some(exit.code()))?;
                return Err(error.exit(exit).hint(format!("it can be repeated: decamp undo {}", run.id().as_str())));
            }
        };
        let acted = whole || item.acts();
        machine.ctx.ended(&key, if whole { "undone" } else { "left" }, acted, begun);
        machine.ctx.say(Say::End { key: &key, changed: acted, elapsed_ms: elapsed_ms(begun) });
    }
    let exit = if left.lines.is_empty() { Exit::Success } else { Exit::UndoIncomplete };
    let stopped = left.again.then(|| {
        let id = run.id();
        format!(
            "it keeps its targets; take away what is in the way, then: decamp undo {id}\nor put the rest back by hand, \
             then: decamp abandon {id}"
        )
    });
    if left.again {
        // It keeps its targets: what stood in the way can be taken away, and the rest put back by another undo.
        let message = format!("undo is incomplete; left: {}", left.lines.join(" | "));
        let error = serde_json::json!({ "kind": Kind::Conflict.name(), "message": message, "left": left.lines });
        run.finish_with(RunEnd::UndoFailed { error }, Some(exit.code()))?;
    } else {
        api::hold::give_back(&machine.ctx)?;
        run.finish_with(RunEnd::Undone, Some(exit.code()))?;
    }
    // What the script noted while it was replayed belongs to the run, not to its undo.
    machine.ctx.state().notes.clear();
    let status = if left.lines.is_empty() { "undone" } else { "undo_incomplete" };
    Ok(Outcome { left: left.lines, stopped, exit, ..machine.outcome(&detail.summary.script, status, since) })
}

/// `decamp undo --plan`.
pub(super) fn plan(id: &str, call: &Call) -> Result<Outcome, Error> {
    let since = Instant::now();
    let (id, detail, sources) = detail(id, call)?;
    let call = &as_begun(&id, call)?;
    refuse(&detail)?;
    let way = replay(call, None, &detail, &sources, Story::of(&id, &detail, call)?)?;
    let items = &way.items;
    let mut outcome = way.machine()?.outcome(&detail.summary.script, "planned", since);
    outcome.steps = Vec::new();
    outcome.notes = Vec::new();
    outcome.plan = items.iter().rev().map(planned).collect();
    outcome.steps.extend(items.iter().rev().map(|item| StepLine {
        key: format!("undo:{}", item.kept.key),
        state: "planned",
        changed: true,
        elapsed_ms: 0,
    }));
    Ok(outcome)
}

fn planned(item: &Item<'_>) -> PlanItem {
    let natives = item.effects.iter().filter(|effect| effect.undo.is_some());
    let mut what: Vec<String> = natives.map(|effect| format!("{} {}", effect.function, effect.target)).collect();
    if item.kept.closure.is_some() {
        let with = item.with.as_ref().map(|with| format!(" with {with}, as it ran")).unwrap_or_default();
        what.insert(0, format!("the step's undo closure{with}"));
    }
    what.extend(item.unknown.iter().cloned());
    PlanItem {
        step: item.kept.key.clone(),
        function: "undo".into(),
        target: item.kept.key.clone(),
        certainty: "maybe",
        changes: Some(true),
        summary: if what.is_empty() {
            "changed something and has no undo: put it back by hand".into()
        } else {
            what.join(", ")
        },
        data: Value::Null,
    }
}

/// Refuses what cannot be undone.
fn refuse(detail: &RunDetail) -> Result<(), Error> {
    let summary = &detail.summary;
    if let Some(pivot) = &summary.pivot {
        let done: Vec<&str> =
            detail.steps.iter().filter(|step| step.changed == Some(true)).map(|step| step.key.as_str()).collect();
        return Err(Error::new(
            Kind::Unsupported,
            format!("run {} has passed the point of no return `{pivot}`", summary.id),
        )
        .hint(format!("steps that changed something, to be put back by hand: {}", done.join(", ")))
        .exit(Exit::UndoIncomplete));
    }
    match summary.status {
        RunStatus::Undone => {
            Err(Error::new(Kind::Invalid, format!("run {} is undone already", summary.id)).exit(Exit::Usage))
        }
        RunStatus::Abandoned => {
            Err(Error::new(Kind::Invalid, format!("run {} was abandoned", summary.id)).exit(Exit::Usage))
        }
        _ => Ok(()),
    }
}

/// The script of a run as it was recorded.
pub(super) fn library(detail: &RunDetail, sources: &[Source]) -> Result<Library, Error> {
    let text = sources.iter().find(|source| source.module == super::library::MAIN);
    let text = text.ok_or_else(|| Error::new(Kind::Internal, "the journal does not hold the script"))?.text.clone();
    let path = detail.summary.script_path.as_deref().map(api::paths::kept_path).transpose()?;
    let script = Script { name: detail.summary.script.clone(), path, text };
    Library::load(&engine::bare(), &script, &Origin::Recorded(sources))
}

/// A machine that replays one stretch of the run.
fn machine(
    call: &Call,
    run: Option<Arc<Run>>,
    detail: &RunDetail,
    sources: &[Source],
    (recorded, params): (Recorded, &Value),
) -> Result<Machine, Error> {
    let library = library(detail, sources)?;
    let ctx = Ctx::sharing(call.clone(), run, Profile::Replay, recorded);
    let declared = super::params::of(&engine::bare(), &library).unwrap_or_default();
    let texts = library.iter().map(|(_, text)| &text.ast);
    super::secret::register(&ctx.secrets, &declared, params, texts, &call.cancel);
    Ok(Machine::new(ctx, library))
}

/// The script of a run that is only looked back at, run once more against the journal alone: what it knows of hosts is
/// known then.
pub(super) fn looked_back(id: &RunId, call: &Call, detail: &RunDetail, sources: &[Source]) -> Result<Machine, Error> {
    let params = &detail.summary.params;
    let machine = machine(&as_begun(id, call)?, None, detail, sources, (recorded(detail), params))?;
    machine.ctx.looks_back_at(call.state.join("runs").join(id.as_str()));
    // However that ends: it has come as far as it could.
    machine.call(params).ok();
    machine.ctx.set_profile(Profile::Live);
    Ok(machine)
}

/// Runs the script against the journal alone and gives back what to undo, oldest first.
fn replay<'d>(
    call: &Call,
    run: Option<Run>,
    detail: &'d RunDetail,
    sources: &[Source],
    story: Story,
) -> Result<Way<'d>, Error> {
    let run = run.map(Arc::new);
    let keys: std::collections::BTreeMap<&str, _> =
        detail.steps.iter().map(|step| (step.key.as_str(), step.id)).collect();
    let effects_of = |key: &str| -> Vec<&EffectRow> {
        let step = keys.get(key);
        detail.effects.iter().filter(|effect| Some(&effect.step) == step).collect()
    };
    let mut machines = Vec::new();
    let mut items: Vec<Item<'d>> = Vec::new();
    for stretch in (0..story.stretches()).filter(|stretch| story.needed(*stretch)) {
        let params = story.params(stretch);
        let recorded = story.recorded(stretch, detail);
        let machine = machine(call, run.clone(), detail, sources, (recorded, &params))?;
        match machine.call(&params) {
            Ok(_) | Err(Ending::ReplayEnds | Ending::Reached(_)) => {}
            // A failure the script threw by itself after its last step: everything before it has been seen.
            Err(Ending::Failed(error)) if error.exit_code() != Exit::Journal && error.kind != Kind::Cancelled => {}
            Err(Ending::Failed(error)) => return Err(error),
            Err(Ending::PlanEnds(_)) => return Err(Error::new(Kind::Internal, "the replay ended like a plan")),
        }
        let kept = std::mem::take(&mut machine.ctx.state().undos);
        items.extend(kept.into_iter().filter(|kept| story.from(&kept.key, stretch)).map(|kept| Item {
            effects: effects_of(&kept.key),
            machine: machines.len(),
            with: story.other_params(stretch),
            unknown: unknown(&story, &kept),
            kept,
        }));
        machines.push(machine);
    }
    let mut seen: std::collections::BTreeSet<String> = items.iter().map(|item| item.kept.key.clone()).collect();
    // Steps the replay did not come to, such as those of an earlier text of the script, still have effects to put back.
    for step in &detail.steps {
        let effects = effects_of(&step.key);
        // An effect without a way back is named, so that a person can put it back.
        let to_tell = effects.iter().any(|effect| effect.undo.is_some() || !story.left_nothing(&step.key, effect));
        if !story::hook(&step.key) && to_tell && seen.insert(step.key.clone()) {
            let kept = Kept { key: step.key.clone(), step: Some(step.id), closure: None, result: rhai::Dynamic::UNIT };
            items.push(Item { kept, effects, machine: 0, with: None, unknown: Vec::new() });
        }
    }
    items.retain(|item| item.kept.closure.is_some() || !item.effects.is_empty());
    // Branches of a parallel are replayed one after the other; what counts is the order in which their steps ended. One
    // that did not end is the newest. The sort is stable: steps and those inside them keep their order.
    items.sort_by_key(|item| story.ended.get(&item.kept.key).copied().unwrap_or(i64::MAX));
    Ok(Way { machines, items, story })
}

/// What a step did with other parameters than its closure knows of.
fn unknown(story: &Story, kept: &Kept) -> Vec<String> {
    let before = if kept.closure.is_some() { story.acted_before(&kept.key) } else { Default::default() };
    let line = |with| format!("step {} acted with {with} before; put back by hand what it did then", kept.key);
    before.into_iter().map(line).collect()
}

fn failure(fail: Fail) -> Error {
    match fail {
        Fail::Error(error) | Fail::Stop(Stop::Error(error)) => error,
        Fail::Stop(Stop::PlanEnds(_) | Stop::ReplayEnds | Stop::Reached(_) | Stop::Paused) => {
            Error::new(Kind::Internal, "the undo ended like a plan")
        }
        Fail::Rhai(error) => Error::new(Kind::Internal, error.to_string()),
    }
}

/// Puts one step back, but for what is left.
fn put_back(way: &Way<'_>, item: &Item<'_>, key: &str) -> Result<Left, Error> {
    let machine = way.machine()?;
    if item.kept.closure.is_some() {
        release::closing_step(way.machines.get(item.machine).unwrap_or(machine), &item.kept, key)?;
    }
    let mut left = Left { lines: item.unknown.clone(), again: false };
    for effect in item.effects.iter().rev() {
        match effect.undo.as_ref() {
            Some(recorded) => {
                let lines = api::undo_native(&machine.ctx, effect, recorded).map_err(failure)?;
                left.add(Left { again: !lines.is_empty(), lines });
            }
            None if item.kept.closure.is_some() => {}
            None if way.story.left_nothing(&item.kept.key, effect) => {}
            None => {
                let line = format!("{} {}: has no undo; put it back by hand", effect.function, effect.target);
                left.add(Left { lines: vec![line], again: false });
            }
        }
    }
    Ok(left)
}
