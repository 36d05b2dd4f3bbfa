//! `approve`: what only a person can say, on this terminal, from another one, or in advance.

use std::time::{Duration, Instant};

use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::json;

use super::ctx::{Ctx, Halt};
use super::error::{Fail, Stop};
use super::options::Options;
use super::step::{self, Body, Failed, Memory};
use super::wanted::Wanted;
use crate::error::{Error, Exit, Kind};
use crate::journal::{Run, Signal, SignalState, StepKind};
use crate::script::outcome::{PlanItem, Question, Say};
use crate::script::profile::Profile;

/// How often a wait looks whether somebody answered elsewhere.
const LOOK: Duration = Duration::from_millis(200);

/// How often it says what it waits for.
const TELL: Duration = Duration::from_secs(30);

/// `approve(name, opts)`.
pub(super) fn approve(context: &NativeCallContext<'_>, name: &str, opts: Map) -> Result<(), Fail> {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("approve", opts);
    let wanted = Wanted::plain(name, StepKind::Approval)?;
    let summary = options.text("summary")?.unwrap_or_else(|| name.to_owned());
    let details = options.texts("show")?;
    let dangerous = options.flag("dangerous")?;
    options.done()?;
    if ctx.profile() == Profile::Plan {
        let key = Ctx::frame().map(|frame| frame.key).unwrap_or_default();
        let granted = ctx.call.approve.iter().any(|given| given == name) || (ctx.call.yes && !dangerous);
        let how = if dangerous { "needs its own" } else { "needs" };
        ctx.state().plan.push(PlanItem {
            step: key,
            function: "approve".into(),
            target: name.to_owned(),
            certainty: "exact",
            changes: None,
            summary: format!("{how} --approve {name}: {summary}"),
            data: json!({ "name": name, "granted": granted, "dangerous": dangerous }),
        });
        return Ok(());
    }
    let question = Question { name: name.to_owned(), summary, details, dangerous };
    let _approved = step::run_with(context, wanted, &Body::default(), &|memory: &Memory| {
        decide(&ctx, &question, memory).map(|()| Dynamic::UNIT).map_err(Failed::Native)
    })?;
    Ok(())
}

/// An answer is kept under the key of the approval's step: one that was given to a question covers no other question
/// that another branch, or the step of another item, asks by the same name.
fn decide(ctx: &Ctx, question: &Question, memory: &Memory) -> Result<(), Fail> {
    let (Some(run), Some(step)) = (&ctx.run, memory.step) else { return Ok(()) };
    let key = Ctx::frame().map_or_else(|| question.name.clone(), |frame| frame.key);
    let given = |given: &String| *given == question.name || *given == key;
    let granted = ctx.call.approve.iter().any(given);
    let question = &Question { name: key.clone(), ..question.clone() };
    let name = question.name.as_str();
    let by = super::super::operator();
    if granted {
        return Ok(run.grant(name, "flag", &by)?);
    }
    if let Some(answer) = answer(run, name)? {
        return answer;
    }
    if ctx.call.yes && !question.dangerous {
        return Ok(run.grant(name, "yes", &by)?);
    }
    run.ask(
        name,
        step,
        json!({ "summary": question.summary, "details": question.details, "dangerous": question.dangerous }),
    )?;
    // A question that cannot be read from the journal stays open here, and the next write says why.
    let elsewhere = || ctx.state().halt.is_some() || !matches!(answer(run, name), Ok(None));
    let commands = commands(ctx, run, name);
    if let Some(ask) = &ctx.call.ask {
        let mut asked = question.clone();
        asked.details.push(format!("from another terminal: {}", commands[0]));
        match ask.ask(&asked, &elsewhere) {
            Some(true) => return Ok(run.grant(name, "prompt", &by)?),
            Some(false) => {
                run.refuse(name, &by)?;
                return Err(Error::new(Kind::Denied, format!("`{name}` was not approved")).into());
            }
            None => {}
        }
    }
    let mut told: Option<Instant> = None;
    loop {
        if let Some(answer) = answer(run, name)? {
            return answer;
        }
        ctx.cancel().check().map_err(Error::from)?;
        match ctx.state().halt {
            Some(Halt::Pause) => return Err(Stop::Paused.into()),
            Some(Halt::Question) => return Err(waiting(question, &commands).into()),
            None if !ctx.call.wait_for_approval => return Err(waiting(question, &commands).into()),
            None => {}
        }
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            told = Some(Instant::now());
            let text =
                format!("waiting for the approval `{name}`: {}; approve it with: {}", question.summary, commands[0]);
            ctx.say(Say::Line(&text));
        }
        // A cancelled wait is seen at the next turn.
        ctx.cancel().sleep(LOOK).ok();
    }
}

/// The commands that approve and go on.
fn commands(ctx: &Ctx, run: &Run, name: &str) -> [String; 2] {
    let (id, quoted) = (run.id().as_str(), shlex::try_quote(name).unwrap_or(name.into()));
    let flag = &ctx.call.state_flag;
    [format!("decamp approve {id} {quoted}{flag}"), format!("decamp resume {id}{flag}")]
}

fn waiting(question: &Question, commands: &[String; 2]) -> Stop {
    let error = Error::new(Kind::Denied, format!("waiting for the approval `{}`: {}", question.name, question.summary));
    Stop::Error(error.hints(commands.clone()).exit(Exit::Approval))
}

/// What a person has said by now.
fn answer(run: &Run, name: &str) -> Result<Option<Result<(), Fail>>, Fail> {
    let Some(signal) = run.signal(name)? else { return Ok(None) };
    if signal.state == SignalState::Granted {
        return Ok(Some(Ok(())));
    }
    Ok(signal.denied().then(|| Err(denied(run, &signal).into())))
}

fn denied(run: &Run, signal: &Signal) -> Error {
    let who = signal.by.as_deref().unwrap_or("somebody");
    let note = signal.note().map(|note| format!(": {note}")).unwrap_or_default();
    let name = &signal.name;
    Error::new(Kind::Denied, format!("`{name}` was denied by {who}{note}")).hint(format!(
        "to allow it after all: decamp approve {} {}",
        run.id().as_str(),
        shlex::try_quote(name).unwrap_or(name.into())
    ))
}
