//! What `run`, `resume` and `undo` share: the call of the script host, what is told meanwhile, and the way on when it
//! does not end well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::Terminal;
use super::ctx::Ctx;
use super::global::Format;
use super::onward::{OnApproval, Onward};
use super::outcome;
use super::signals::stop_on_signals;
use crate::cancel::Cancel;
use crate::error::{Error, Exit, Kind};
use crate::rate::MaxRate;
use crate::report::json::SCHEMA;
use crate::report::live::Live;
use crate::script::outcome::{Ask, Call, ChangedInputs, Outcome, Say};
use crate::script::site::Used;
use crate::script::{self, Script};
use crate::units::show_duration;

/// Flags of everything that goes forward or back.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Flags {
    /// Say what would be done; change nothing
    #[arg(long, short = 'n', alias = "dry-run")]
    pub(crate) plan: bool,

    /// With --plan: exit with 3 if there are changes to make
    #[arg(long, requires = "plan")]
    pub(crate) exit_code: bool,

    /// Answer confirmations with yes; dangerous approvals still need --approve
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,

    /// Grant this approval in advance; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) approve: Vec<String>,

    /// What a new run keeps of its site file.
    #[arg(skip)]
    pub(crate) site: Option<Used>,
    /// What `--max-rate` of run and resume gives; there is nothing to move in an undo.
    #[arg(skip)]
    pub(crate) max_rate: Option<MaxRate>,

    /// What run and resume take beside; an undo goes to its end and asks nothing.
    #[arg(skip)]
    pub(crate) onward: Onward,

    /// What resume takes beside.
    #[arg(skip)]
    pub(crate) changed_inputs: ChangedInputs,

    /// What `--out` and `--from-plan` of run give.
    #[arg(skip)]
    pub(crate) plan_file: super::plan_file::Wish,
}

/// What is to be done.
pub(crate) enum Job {
    /// A new run of a script with resolved parameters.
    Run(Box<Script>, Value),
    /// The rest of a run.
    Resume { run: String, accept_script_change: bool, amend: Vec<(String, Vec<String>)> },
    /// A run backwards.
    Undo(String),
}

pub(crate) fn execute(ctx: &Ctx, flags: &Flags, job: &Job) -> Result<Exit, Error> {
    let state = ctx.state_dir()?;
    stop_on_signals(&ctx.cancel)?;
    let live = Arc::new(ctx.live());
    // Known once the journal has the run in its hands: before that there is nothing to go on with.
    let run = Arc::new(Mutex::new(None));
    let call = Call {
        state,
        approve: flags.approve.clone(),
        yes: flags.yes,
        accept_script_change: matches!(job, Job::Resume { accept_script_change: true, .. }),
        amend: match job {
            Job::Resume { amend, .. } => amend.clone(),
            Job::Run(..) | Job::Undo(..) => Vec::new(),
        },
        site: flags.site.clone(),
        kept: flags.plan_file.kept.clone(),
        accept_drift: flags.plan_file.accept_drift,
        max_rate: flags.max_rate,
        progress: live.progress(),
        cancel: ctx.cancel.clone(),
        ask: ask(ctx, &live, &ctx.cancel),
        say: teller(ctx, &live, &run),
        argv: ctx.argv.clone(),
        until: flags.onward.until.clone(),
        wait_for_approval: flags.onward.on_approval == Some(OnApproval::Wait),
        changed_inputs: flags.changed_inputs,
        step_by_step: flags.onward.step,
        state_flag: ctx.state_flag(),
    };
    if call.step_by_step && call.ask.is_none() && !flags.plan {
        return Err(Error::new(Kind::Invalid, "--step asks before each step, and there is no terminal to ask on"));
    }
    let done = match (job, flags.plan) {
        (Job::Run(script, params), false) => script::run(script, params.clone(), &call),
        (Job::Run(script, params), true) => script::plan(script, params.clone(), &call),
        (Job::Resume { run, .. }, false) => script::resume(run, &call),
        (Job::Resume { run, .. }, true) => script::plan_resume(run, &call),
        (Job::Undo(run), false) => script::undo(run, &call),
        (Job::Undo(run), true) => script::plan_undo(run, &call),
    };
    let run = run.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let done = match (done, &run) {
        (Err(error), Some(run)) if flags.onward.undo_on_failure && !flags.plan => match undone(&call, run, error) {
            Ok(error) => {
                live.finish();
                ctx.note_run(run);
                return Err(error);
            }
            Err(error) => Err(error),
        },
        (done, _) => done,
    };
    live.finish();
    if let (Ok(outcome), Job::Run(script, params)) = (&done, job) {
        flags.plan_file.keep(|| script::keep_plan(script, params, outcome))?;
    }
    match done {
        Ok(outcome) => Ok(show(ctx, flags, &outcome)),
        Err(error) => Err(way_on(ctx, flags, job, run, error)),
    }
}

/// Puts back what a failed run did, as was asked for beforehand. The failure of a run that is over then, or as an error
/// that of one which can be gone on with.
fn undone(call: &Call, run: &str, mut error: Error) -> Result<Error, Error> {
    let waits = matches!(error.exit_code(), Exit::Approval | Exit::InDoubt | Exit::Journal | Exit::Held | Exit::Usage);
    if error.kind == Kind::Cancelled || waits {
        return Err(error);
    }
    match script::pivot(run, call) {
        Ok(None) => {}
        Ok(Some(pivot)) => {
            return Err(error.hint(format!("not undone: the run has passed the point of no return `{pivot}`")));
        }
        Err(why) => return Err(error.hint(format!("not undone: {}", why.message))),
    }
    (call.say)(Say::Line(&format!("failed: {}; undoing, as asked", error.message)));
    let back = Call { until: None, step_by_step: false, approve: Vec::new(), ..call.clone() };
    match script::undo(run, &back) {
        Ok(done) => {
            error.hints.retain(|hint| !hint.contains("decamp resume"));
            Ok(if done.left.is_empty() {
                error.hint("everything the run did was put back (--undo-on-failure)")
            } else {
                let error = error.hint("the run was undone (--undo-on-failure); left as it is:").hints(done.left);
                let onward = done.stopped.iter().flat_map(|stopped| stopped.lines()).map(str::to_owned);
                let error = error.hints(onward);
                error.exit(Exit::UndoIncomplete)
            })
        }
        Err(why) => {
            error.hints.retain(|hint| !hint.contains("decamp resume"));
            let error = error.hint(format!("its undo failed: {}", why.message)).hints(why.hints);
            Ok(error.exit(Exit::UndoIncomplete))
        }
    }
}

fn show(ctx: &Ctx, flags: &Flags, done: &Outcome) -> Exit {
    ctx.result(|| outcome::text(done, ctx.out), || outcome::json(done));
    let pending = done.plan.iter().any(|item| item.changes != Some(false)) || done.plan_stops.is_some();
    if flags.exit_code && done.exit == Exit::Success && pending { Exit::Changes } else { done.exit }
}

/// The failure with the exact command that goes on from here.
fn way_on(ctx: &Ctx, flags: &Flags, job: &Job, run: Option<String>, mut error: Error) -> Error {
    if error.kind == Kind::Cancelled && error.exit.is_none() {
        error.exit = ctx.cancel.reason().map(Exit::of_reason);
    }
    if let (Job::Resume { run, .. } | Job::Undo(run), _) | (Job::Run(..), Some(run)) = (job, &run) {
        ctx.note_run(run);
    }
    let Some(run) = run.filter(|_| !flags.plan) else { return error };
    // A run held by somebody else is not ours to go on with.
    if error.exit_code() == Exit::Held {
        if let Ok(state) = ctx.state_dir() {
            let sessions = script::session::runs(&state).into_iter().filter(|(_, script, _)| script == "repl");
            let refused: Vec<String> = sessions.map(|(id, ..)| format!("decamp resume {id}")).collect();
            // An interactive session cannot be resumed.
            error.hints.retain(|hint| !refused.iter().any(|command| hint.contains(command.as_str())));
        }
        return error;
    }
    let verb = if matches!(job, Job::Undo(_)) { "undo" } else { "resume" };
    // Wrong use was found before anything began, and the run was given up with it.
    let given_up = matches!(job, Job::Run(..)) && error.exit_code() == Exit::Usage;
    error.hints = exact_commands(error.hints, verb, &run, &ctx.state_flag(), given_up);
    error
}

/// The hints with a command that goes on with the run, and with the flag that lets every such command find it.
fn exact_commands(hints: Vec<String>, verb: &str, run: &str, state: &str, given_up: bool) -> Vec<String> {
    let plain = format!("decamp {verb} {run}");
    let mut found = false;
    let mut exact: Vec<String> = hints
        .into_iter()
        .map(|hint| {
            found |= hint.contains(&plain);
            let command = hint.contains("decamp ") && hint.contains(run);
            let hint = if hint == plain { format!("state is saved; go on with: {plain}") } else { hint };
            if command && !hint.ends_with(state) { format!("{hint}{state}") } else { hint }
        })
        .collect();
    if !found && !given_up {
        exact.push(format!("state is saved; go on with: {plain}{state}"));
    }
    exact
}

/// Who answers questions here, while work that `cancel` stops waits for it.
pub(crate) fn ask(ctx: &Ctx, live: &Arc<Live>, cancel: &Cancel) -> Option<Arc<dyn Ask>> {
    ctx.interactive().then(|| {
        Arc::new(Terminal { live: Arc::clone(live), cancel: cancel.clone(), turn: Mutex::default() }) as Arc<dyn Ask>
    })
}

/// Tells each thing as it happens, as a line for people or as one JSON event, and remembers the run's name.
fn teller(ctx: &Ctx, live: &Arc<Live>, run: &Arc<Mutex<Option<String>>>) -> Arc<dyn Fn(Say<'_>) + Send + Sync> {
    let (live, run, events) = (Arc::clone(live), Arc::clone(run), ctx.format() == Format::Ndjson);
    Arc::new(move |say| {
        if let Say::Run { id, .. } = say {
            *run.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
        }
        if matches!(say, Say::Begin { .. } | Say::End { .. } | Say::Failed { .. }) {
            live.rest();
        }
        if events {
            live.emit(event(say));
        } else {
            live.line(&line(say));
        }
    })
}

/// One line for people.
pub(crate) fn line(say: Say<'_>) -> String {
    match say {
        Say::Run { id, epoch: 1 } => format!("run {id}"),
        Say::Run { id, epoch } => format!("run {id}, taken up for the {} time", ordinal(epoch)),
        Say::Begin { key, attempt: 1 } => format!("> {key}"),
        Say::Begin { key, attempt } => format!("> {key} (attempt {attempt})"),
        Say::End { key, changed, elapsed_ms } => {
            let what = if changed { "done" } else { "done, nothing to change" };
            format!("  {key}: {what} ({})", show_duration(Duration::from_millis(elapsed_ms)))
        }
        Say::Replayed { key } => format!("= {key} (done before)"),
        Say::Failed { key, message } => format!("! {key}: {message}"),
        Say::Line(text) => text.to_owned(),
    }
}

fn ordinal(number: i64) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

fn event(say: Say<'_>) -> Value {
    match say {
        Say::Run { id, epoch } => json!({ "schema": SCHEMA, "event": "run", "run": id, "epoch": epoch }),
        Say::Begin { key, attempt } => {
            json!({ "schema": SCHEMA, "event": "step_begin", "step": key, "attempt": attempt })
        }
        Say::End { key, changed, elapsed_ms } => {
            json!({ "schema": SCHEMA, "event": "step_end", "step": key, "changed": changed, "elapsed_ms": elapsed_ms })
        }
        Say::Replayed { key } => json!({ "schema": SCHEMA, "event": "step_replayed", "step": key }),
        Say::Failed { key, message } => {
            json!({ "schema": SCHEMA, "event": "step_failed", "step": key, "message": message })
        }
        Say::Line(text) => json!({ "schema": SCHEMA, "event": "line", "text": text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_end_as_people_say_them() {
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal).join(" "),
            "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th"
        );
    }

    #[test]
    fn the_command_that_goes_on_is_exact_and_there_once() {
        let hints = |all: &[&str]| all.iter().map(|hint| (*hint).to_owned()).collect::<Vec<_>>();
        let on = "state is saved; go on with: decamp resume 0198 --state-dir /s";
        assert_eq!(exact_commands(hints(&["do it"]), "resume", "0198", " --state-dir /s", false), ["do it", on]);
        assert_eq!(exact_commands(hints(&["decamp resume 0198"]), "resume", "0198", " --state-dir /s", false), [on]);
        let approve = "decamp resume 0198 --approve x";
        assert_eq!(exact_commands(hints(&[approve]), "resume", "0198", "", false), [approve]);
    }

    #[test]
    fn steps_are_told_in_one_line_each() {
        let ended = Say::End { key: "copy", changed: false, elapsed_ms: 65_000 };
        assert_eq!(line(ended), "  copy: done, nothing to change (1m 05s)");
        assert_eq!(event(ended)["elapsed_ms"], 65_000);
        assert_eq!(line(Say::Begin { key: "copy", attempt: 2 }), "> copy (attempt 2)");
    }
}
