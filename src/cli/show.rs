//! `decamp show`: all that the journal knows of one run, and what can be done about it.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::ctx::{Ctx, shell_word};
use super::state;
use super::when::{exact, minute};
use crate::error::{Error, Exit};
use crate::journal::{EffectRow, EffectStatus, RunDetail, RunStatus, Signal, SignalState, StepRow};
use crate::rate::MaxRate;
use crate::report::human::count;
use crate::report::notes::{one_line, section, table};
use crate::report::style::Style;
use crate::script;
use crate::script::session;
use crate::script::site::Used;
use crate::units::{path_text, show_duration};

/// Show a run: steps, effects, targets, and what to do next
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  decamp show 4f1c09aa")]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    let mut found = reader.run(&id)?;
    let next = next_steps(&found, &ctx.state_flag());
    let events = reader.events(&id)?;
    let amended = script::amend(&mut found.summary.params, &events)?;
    let more = More {
        rate: script::rate_of(&events),
        site: Used::recorded(&events),
        amended,
        place: script::place(&events).map(str::to_owned),
    };
    ctx.result(|| text(&found, &more, &next, ctx.out), || data(&found, &more, &next));
    Ok(Exit::Success)
}

/// What the events of a run tell beside its rows.
#[derive(Default)]
pub(super) struct More {
    rate: Option<MaxRate>,
    site: Option<Used>,
    /// Parameters that were changed on resume, and when.
    amended: Vec<(i64, Value)>,
    place: Option<String>,
}

/// Commands that make sense now, with why.
fn next_steps(found: &RunDetail, state: &str) -> Vec<String> {
    let run = &found.summary;
    let id = &run.id;
    let approve = |signal: &Signal| {
        let command = format!("decamp approve {id} {}{state}", shell_word(&signal.name));
        let by = signal.by.as_deref().unwrap_or("somebody");
        if signal.denied() {
            return format!("`{}` was denied by {by}; to allow it after all: {command}", signal.name);
        }
        format!("it waits for the approval `{}`: {command}", signal.name)
    };
    let asked = found.signals.iter().filter(|signal| signal.state == SignalState::Asked).map(approve);
    if run.live {
        let live = "a process is working on it; Ctrl-C (SIGINT) there stops it and saves its state";
        return asked.chain([live.to_owned()]).collect();
    }
    let session = session::is_session(&run.script, run.script_path.as_deref());
    let resume = format!("go on with it: decamp resume {id}{state}");
    let undo = format!("put back what it did: decamp undo {id}{state}");
    let abandon = format!("give it up: decamp abandon {id}{state}");
    let mut next = Vec::new();
    let over = matches!(run.status, RunStatus::Undone | RunStatus::Abandoned);
    for step in in_doubt(found).filter(|_| !over) {
        let key = shell_word(&step.key);
        next.push(format!("`{}` is in doubt; look, then: decamp decide {id} {key} happened|retry{state}", step.key));
    }
    next.extend(asked);
    match run.status {
        RunStatus::Running | RunStatus::Waiting | RunStatus::Failed | RunStatus::Cancelled => {
            if !session {
                next.push(resume);
            }
            if run.pivot.is_none() {
                next.push(undo);
            }
            next.push(abandon);
        }
        RunStatus::Undoing | RunStatus::UndoFailed => {
            next.extend([undo.replace("put back", "go on putting back"), abandon])
        }
        RunStatus::Succeeded if run.pivot.is_none() => next.push(undo),
        RunStatus::Succeeded | RunStatus::Undone | RunStatus::Abandoned => {}
    }
    next
}

/// Steps whose outcome only a person can tell.
pub(super) fn in_doubt(found: &RunDetail) -> impl Iterator<Item = &StepRow> {
    let doubtful = |step: &&StepRow| found.effects.iter().any(|e| e.step == step.id && doubt(e));
    found.steps.iter().filter(doubtful)
}

fn doubt(effect: &EffectRow) -> bool {
    effect.status == EffectStatus::InDoubt && effect.decision.is_none()
}

fn text(found: &RunDetail, more: &More, next: &[String], style: Style) -> String {
    let run = &found.summary;
    let mut out = format!("{} {}\n", style.bold("run"), run.id);
    let mut row = |label: &str, value: String| {
        writeln!(out, "  {label:<10}{value}").ok();
    };
    row(
        "script",
        run.script_path.as_ref().map_or_else(|| run.script.clone(), |path| format!("{} ({path})", run.script)),
    );
    if let Some(site) = &more.site {
        row("site file", format!("{} (blake3 {})", site.path, &site.hash[..site.hash.len().min(16)]));
    }
    let times = count(u64::try_from(run.epoch).unwrap_or_default(), "time", "times");
    row("state", format!("{}, taken up {times}", run.state()));
    row("started", format!("{} by {}, decamp {}", exact(run.created_ms), run.operator, run.tool_version));
    if let Some(ended) = run.finished_ms {
        let code = run.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        row("ended", format!("{}{code}", exact(ended)));
    }
    if let Some(place) = &more.place {
        row("begun in", place.clone());
    }
    if let Some(rate) = more.rate {
        row("max rate", rate.to_string());
    }
    if let Some(pivot) = &run.pivot {
        row("pivot", format!("{pivot}: the point of no return is passed"));
    }
    if let Some(outcome) = run.outcome.as_ref().filter(|outcome| !outcome.is_null()) {
        row("outcome", one_line("", outcome.get("message").unwrap_or(outcome)));
    }
    out.push_str(&section(&style.bold("parameters"), &run.params));
    for (at, values) in &more.amended {
        out.push_str(&section(&style.bold(&format!("changed at {}", exact(*at))), values));
    }
    if !found.steps.is_empty() {
        writeln!(out, "{}", style.bold("steps")).ok();
        indented(&mut out, &steps(found));
    }
    let held: Vec<_> = found.leases.iter().filter(|lease| lease.released_ms.is_none()).collect();
    if !held.is_empty() {
        writeln!(out, "{}", style.bold("holds")).ok();
        for lease in held {
            let path = path_text(&lease.target.path);
            writeln!(out, "  {path} ({}, since {})", lease.target.mode, minute(lease.acquired_ms)).ok();
        }
    }
    if !next.is_empty() {
        writeln!(out, "{}", style.bold("next")).ok();
        for line in next {
            writeln!(out, "  {line}").ok();
        }
    }
    out
}

fn indented(out: &mut String, text: &str) {
    for line in text.lines() {
        writeln!(out, "  {line}").ok();
    }
}

/// Steps in order; below each the effects that did not simply succeed.
fn steps(found: &RunDetail) -> String {
    let mut rows = Vec::new();
    for step in &found.steps {
        let span = step.finished_ms.and_then(|end| u64::try_from(end - step.started_ms).ok());
        let span = span.map_or_else(|| "-".to_owned(), |ms| show_duration(Duration::from_millis(ms)));
        let changed = if step.changed == Some(true) { "changed" } else { "-" };
        let why =
            step.error.as_ref().map(|error| one_line("", error.get("message").unwrap_or(error))).unwrap_or_default();
        let cells = [&step.key, step.kind.name(), step.status.name(), changed, &step.attempt.to_string(), &span, &why];
        rows.push(cells.map(str::to_owned).to_vec());
        let of_step = found.effects.iter().filter(|e| e.step == step.id && e.status != EffectStatus::Done);
        rows.extend(of_step.map(|effect| {
            let what = format!("  {} {}", effect.function, effect.target);
            let since = format!("since {}", exact(effect.started_ms));
            let decision = effect.decision.map(|d| format!(", decided: {d}")).unwrap_or_default();
            let note = format!("{since}{decision}");
            [&what, effect.class.name(), effect.status.name(), "-", &effect.attempt.to_string(), "-", &note]
                .map(str::to_owned)
                .to_vec()
        }));
    }
    table(&["step", "kind", "state", "effect", "attempt", "time", "note"].map(str::to_owned), &rows)
}

/// All of it, for programs.
pub(super) fn data(found: &RunDetail, more: &More, next: &[String]) -> Value {
    let steps: Value = found
        .steps
        .iter()
        .map(|s| {
            json!({
                "step": s.key,
                "kind": s.kind.name(),
                "status": s.status.name(),
                "attempt": s.attempt,
                "changed": s.changed,
                "result": s.result,
                "error": s.error,
                "source": s.source,
                "line": s.line,
                "started_at_ms": s.started_ms,
                "finished_at_ms": s.finished_ms,
            })
        })
        .collect();
    let effects: Value = found
        .effects
        .iter()
        .map(|e| {
            let step = found.steps.iter().find(|step| step.id == e.step).map(|step| &step.key);
            json!({
                "step": step,
                "seq": e.seq,
                "function": e.function,
                "target": e.target,
                "class": e.class.name(),
                "status": e.status.name(),
                "attempt": e.attempt,
                "decision": e.decision.map(|d| d.name()),
                "reconciled": e.reconciled,
                "request": e.request,
                "result": e.result,
                "error": e.error,
                "started_at_ms": e.started_ms,
                "finished_at_ms": e.finished_ms,
            })
        })
        .collect();
    let leases: Value = found
        .leases
        .iter()
        .map(|l| {
            json!({
                "path": path_text(&l.target.path),
                "key": l.target.key,
                "mode": l.target.mode.name(),
                "acquired_at_ms": l.acquired_ms,
                "released_at_ms": l.released_ms,
            })
        })
        .collect();
    json!({
        "run": found.summary,
        "state": found.summary.state(),
        "site": more.site.as_ref().map(|site| json!({ "path": site.path, "blake3": site.hash, "secrets": site.secrets })),
        "cwd": more.place,
        "max_rate_bytes": more.rate.and_then(|rate| rate.0).map(|bytes| bytes.0),
        "params_changed": more.amended.iter().map(|(at, params)| json!({ "at_ms": at, "params": params })).collect::<Value>(),
        "steps": steps,
        "effects": effects,
        "leases": leases,
        "approvals": found.signals,
        "next": next,
    })
}
