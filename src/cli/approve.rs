//! `decamp approve`: a person's answer to a run that waits for it, from any terminal.

use serde_json::json;

use super::ctx::{Ctx, shell_word};
use super::state;
use crate::error::{Error, Exit, Kind};
use crate::journal::{Answer, Journal, Mode, Reader, RunDetail, RunId, Signal, SignalState, StepStatus};
use crate::script;

/// Answer an approval that a run waits for, or will ask for
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A process that waits goes on by itself; otherwise the next `decamp resume` finds the answer.\n\nExamples:\n  \
                        decamp approve 4f1c09aa cutover\n  decamp approve 4f1c09aa cutover --deny --note \"not before Monday\""
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Name of the approval, as `decamp show RUN` lists it; its last part will do where only one is asked for
    name: String,

    /// Say no
    #[arg(long)]
    deny: bool,

    /// Say why; kept in the journal
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    ctx.note_run(id.as_str());
    let found = reader.run(&id)?;
    if found.summary.status.finished() || found.summary.mode == Mode::Undo {
        let message = format!("run {id} asks for nothing any more: it is {}", found.summary.state());
        return Err(Error::new(Kind::Invalid, message).hint(format!("see what it did: decamp show {id}")));
    }
    let name = meant(&reader, &found, &id, &args.name)?;
    let before = found.signals.iter().find(|signal| signal.name == name);
    if let Some(signal) = before.filter(|signal| passed(&found, signal)) {
        let by = signal.by.as_deref().unwrap_or("somebody");
        return Err(Error::new(Kind::Invalid, format!("`{name}` was approved by {by}, and run {id} is past it"))
            .hint(format!("see where it stands: decamp show {id}"))
            .exit(Exit::Usage));
    }
    let answer = Answer { granted: !args.deny, by: script::operator(), note: args.note };
    Journal::open(&ctx.state_dir()?)?.answer(&id, &name, &answer)?;
    let word = if args.deny { "denied" } else { "approved" };
    let instead = before.map(instead).unwrap_or_default();
    let go_on = if found.summary.live {
        "its process finds the answer by itself".to_owned()
    } else {
        format!("go on with: decamp resume {id}{}", ctx.state_flag())
    };
    ctx.result(
        || format!("{word} `{name}` of run {id}{instead}\n{go_on}"),
        || json!({ "run": id.as_str(), "name": name, "answer": word, "by": answer.by, "note": answer.note }),
    );
    Ok(Exit::Success)
}

/// Whether the step that asked has gone on with the answer.
fn passed(found: &RunDetail, signal: &Signal) -> bool {
    let step = found.steps.iter().find(|step| Some(step.id) == signal.step);
    signal.state == SignalState::Granted && step.is_some_and(|step| step.status == StepStatus::Done)
}

/// What was answered before, where this answer takes its place.
fn instead(signal: &Signal) -> String {
    let by = signal.by.as_deref().unwrap_or("somebody");
    let note = signal.note().map(|note| format!(": {note}")).unwrap_or_default();
    if signal.denied() { format!(" (before, {by} denied it{note})") } else { String::new() }
}

/// The approval that is meant: its key, or its name where only one of that name is asked for.
fn meant(reader: &Reader, found: &RunDetail, id: &RunId, name: &str) -> Result<String, Error> {
    if found.signals.iter().any(|signal| signal.name == name) {
        return Ok(name.to_owned());
    }
    let asked: Vec<&str> = found.signals.iter().filter(|signal| signal.open()).map(|s| s.name.as_str()).collect();
    let inside = format!("/{name}");
    let unsettled = found.signals.iter().filter(|signal| !passed(found, signal));
    let of_name: Vec<&str> = unsettled.map(|s| s.name.as_str()).filter(|key| key.ends_with(&inside)).collect();
    match of_name[..] {
        [] => {}
        [one] => return Ok(one.to_owned()),
        _ => {
            let commands = of_name.iter().map(|key| format!("decamp approve {id} {}", shell_word(key)));
            return Err(Error::new(Kind::Invalid, format!("run {id} asks for more than one `{name}`"))
                .hints(commands)
                .exit(Exit::Usage));
        }
    }
    let written = script::approvals(found, &reader.sources(id)?)?;
    if written.contains(name.rsplit('/').next().unwrap_or(name)) {
        return Ok(name.to_owned());
    }
    let mut error = Error::new(Kind::NotFound, format!("run {id} has no approval `{name}`")).exit(Exit::Usage);
    let all = written.iter().map(String::as_str).chain(asked.iter().copied());
    if let Some(hint) = script::near::hint(name, all) {
        error = error.hint(hint);
    }
    Err(if asked.is_empty() {
        error.hint("it waits for none at present")
    } else {
        error.hints(asked.iter().map(|asked| format!("it waits for: decamp approve {id} {}", shell_word(asked))))
    })
}
