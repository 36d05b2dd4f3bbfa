//! Putting back what a run did, newest step first.
//!
//! Closures cannot be kept on disk, so the recorded sources are run again with every done step answered from the
//! journal: that gives the undo closures, with their captures, up to the first step that was not done. Then they are
//! run backwards, each as a step of its own, so that undo can itself be interrupted and repeated. What natives recorded
//! for their own undo is put back after the closure of the step.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::api::ctx::{Ctx, Kept};
use super::api::error::{Fail, Stop};
use super::api::{self, step::elapsed_ms};
use super::diagnose::Ending;
use super::library::{Library, Origin};
use super::outcome::{Call, Outcome, PlanItem, Say, StepLine};
use super::profile::{Profile, Recorded, RecordedState, RecordedStep};
use super::run::{Machine, detail};
use super::{Script, engine, release};
use crate::error::{Error, Exit, Kind};
use crate::journal::{EffectRow, EffectStatus, Journal, Mode, Run, RunDetail, RunEnd, RunStatus, Source, StepStatus};

/// Whether what the effect did has been taken back already.
fn gone(status: EffectStatus) -> bool {
    status == EffectStatus::Abandoned
}

/// What the journal holds of a run's steps.
pub(super) fn recorded(detail: &RunDetail) -> Recorded {
    let steps = detail.steps.iter().map(|step| {
        // What was released has been put back already.
        let acted = detail.effects.iter().any(|effect| effect.step == step.id && !gone(effect.status));
        let state = match (step.status, &step.result, &step.error) {
            (StepStatus::Done, result, _) => RecordedState::Done(result.clone().unwrap_or(Value::Null)),
            (StepStatus::Handled, _, Some(error)) => RecordedState::Handled(error.clone()),
            _ => RecordedState::Open,
        };
        (step.key.clone(), RecordedStep { state, acted })
    });
    Recorded(steps.collect())
}

/// One step to put back.
struct Item<'a> {
    kept: Kept,
    effects: Vec<&'a EffectRow>,
}

/// `decamp undo`.
pub(super) fn undo(id: &str, call: &Call) -> Result<Outcome, Error> {
    let since = Instant::now();
    let (id, detail, sources) = detail(id, call)?;
    refuse(&detail)?;
    let journal = Journal::open(&call.state)?;
    let run = journal.take_over(&id, Mode::Undo, &sources)?;
    (call.say)(Say::Run { id: run.id().as_str(), epoch: run.epoch() });
    let machine = machine(call, Some(run), &detail, &sources)?;
    let items = replay(&machine, &detail)?;
    machine.ctx.set_profile(Profile::Live);
    let Some(run) = &machine.ctx.run else { return Err(Error::new(Kind::Internal, "no run")) };
    let mut left = Vec::new();
    for item in items.iter().rev() {
        let key = format!("undo:{}", item.kept.key);
        let begun = Instant::now();
        machine.ctx.say(Say::Begin { key: &key, attempt: 1 });
        let done = machine.ctx.call.cancel.check().map_err(Error::from).and_then(|()| put_back(&machine, item, &key));
        match done {
            // Several passes have the same ledger, and each names what it finds there.
            Ok(lines) => left.extend(lines.into_iter().filter(|line| !left.contains(line)).collect::<Vec<_>>()),
            Err(error) => {
                let exit = error.exit_code();
                let exit = if matches!(exit, Exit::Failed | Exit::Usage) { Exit::UndoIncomplete } else { exit };
                let end = RunEnd::UndoFailed { error: super::value::describe(&api::error::payload(&error).into()) };
                run.finish_with(end, Some(exit.code()))?;
                return Err(error.exit(exit).hint(format!("it can be repeated: decamp undo {}", run.id().as_str())));
            }
        }
        machine.ctx.ended(&key, "undone", true, begun);
        machine.ctx.say(Say::End { key: &key, changed: true, elapsed_ms: elapsed_ms(begun) });
    }
    api::hold::give_back(&machine.ctx)?;
    let exit = if left.is_empty() { Exit::Success } else { Exit::UndoIncomplete };
    run.finish_with(RunEnd::Undone, Some(exit.code()))?;
    // What the script noted while it was replayed belongs to the run, not to its undo.
    machine.ctx.state().notes.clear();
    let status = if left.is_empty() { "undone" } else { "undo_incomplete" };
    Ok(Outcome { left, exit, ..machine.outcome(&detail.summary.script, status, since) })
}

/// `decamp undo --plan`.
pub(super) fn plan(id: &str, call: &Call) -> Result<Outcome, Error> {
    let since = Instant::now();
    let (_, detail, sources) = detail(id, call)?;
    refuse(&detail)?;
    let machine = machine(call, None, &detail, &sources)?;
    let items = replay(&machine, &detail)?;
    let mut outcome = machine.outcome(&detail.summary.script, "planned", since);
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
        what.insert(0, "the step's undo closure".into());
    }
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

fn machine(call: &Call, run: Option<Run>, detail: &RunDetail, sources: &[Source]) -> Result<Machine, Error> {
    let text = sources.iter().find(|source| source.module == super::library::MAIN);
    let text = text.ok_or_else(|| Error::new(Kind::Internal, "the journal does not hold the script"))?.text.clone();
    let path = detail.summary.script_path.as_deref().map(api::paths::path).transpose()?;
    let script = Script { name: detail.summary.script.clone(), path, text };
    let library = Library::load(&engine::bare(), &script, &Origin::Recorded(sources))?;
    Ok(Machine::new(Ctx::new(call.clone(), run, Profile::Replay, recorded(detail)), library))
}

/// Runs the script against the journal alone and gives back what to undo, oldest first.
fn replay<'d>(machine: &Machine, detail: &'d RunDetail) -> Result<Vec<Item<'d>>, Error> {
    match machine.call(&detail.summary.params) {
        Ok(_) | Err(Ending::ReplayEnds) => {}
        // A failure the script threw by itself after its last step: everything before it has been seen.
        Err(Ending::Failed(error)) if error.exit_code() != Exit::Journal && error.kind != Kind::Cancelled => {}
        Err(Ending::Failed(error)) => return Err(error),
        Err(Ending::PlanEnds(_)) => return Err(Error::new(Kind::Internal, "the replay ended like a plan")),
    }
    let keys: BTreeMap<&str, _> = detail.steps.iter().map(|step| (step.key.as_str(), step.id)).collect();
    let kept = std::mem::take(&mut machine.ctx.state().undos);
    let mut seen: std::collections::BTreeSet<String> = kept.iter().map(|kept| kept.key.clone()).collect();
    let effects_of = |key: &str| -> Vec<&EffectRow> {
        let step = keys.get(key);
        detail.effects.iter().filter(|effect| Some(&effect.step) == step).collect()
    };
    let mut items: Vec<Item<'d>> = kept.into_iter().map(|kept| Item { effects: effects_of(&kept.key), kept }).collect();
    // Steps the replay did not come to, such as those of an earlier text of the script, still have effects to put back.
    for step in &detail.steps {
        let effects = effects_of(&step.key);
        let own = step.key.starts_with("undo:") || step.key.starts_with("release:");
        if !own && effects.iter().any(|effect| effect.undo.is_some()) && seen.insert(step.key.clone()) {
            let kept = Kept { key: step.key.clone(), step: Some(step.id), closure: None, result: rhai::Dynamic::UNIT };
            items.push(Item { kept, effects });
        }
    }
    items.retain(|item| item.kept.closure.is_some() || !item.effects.is_empty());
    Ok(items)
}

fn failure(fail: Fail) -> Error {
    match fail {
        Fail::Error(error) | Fail::Stop(Stop::Error(error)) => error,
        Fail::Stop(Stop::PlanEnds(_) | Stop::ReplayEnds) => Error::new(Kind::Internal, "the undo ended like a plan"),
        Fail::Rhai(error) => Error::new(Kind::Internal, error.to_string()),
    }
}

/// Puts one step back; lines for people about what was left.
fn put_back(machine: &Machine, item: &Item<'_>, key: &str) -> Result<Vec<String>, Error> {
    if item.kept.closure.is_some() {
        release::closing_step(machine, &item.kept, key)?;
    }
    let mut left = Vec::new();
    for effect in item.effects.iter().rev() {
        match effect.undo.as_ref() {
            Some(recorded) => left.extend(api::undo_native(&machine.ctx, recorded).map_err(failure)?),
            None if item.kept.closure.is_some() => {}
            None if effect.status == EffectStatus::Failed || gone(effect.status) => {}
            None => left.push(format!("{} {}: has no undo; put it back by hand", effect.function, effect.target)),
        }
    }
    Ok(left)
}
