//! A run from its first record to its last: forward, resumed, planned.

use std::sync::Arc;
use std::time::Instant;

use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, Scope};
use serde_json::{Value, json};

use super::api::ctx::{Ctx, Frame, Kept};
use super::diagnose::{self, Ending};
use super::library::{Library, Origin};
use super::outcome::{Call, Outcome, PlanItem, Say};
use super::place;
use super::plan_file::{self, KeptPlan};
use super::profile::{Profile, Recorded};
use super::{Script, alive, api, check, engine, names, release, secret, site, value, watch};
use crate::cancel::Cancel;
use crate::error::{Error, Exit, Kind};
use crate::journal::{Journal, Level, Mode, NewRun, Reader, RunDetail, RunEnd, RunId, Source, StepId};

/// Runs `work` on a thread with a stack deep enough for scripts.
pub(super) fn on_script_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("script".into()).stack_size(engine::STACK_BYTES);
        let thread = builder
            .spawn_scoped(scope, work)
            .map_err(|error| Error::new(Kind::Io, "cannot start the thread of the script").because(error))?;
        // A panic is a defect of this program: it has been printed, and the journal holds what was done.
        thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the script's thread failed")))
    })
}

/// A script with its engine, ready to be called.
pub(super) struct Machine {
    pub(super) ctx: Arc<Ctx>,
    pub(super) engine: Engine,
}

impl Drop for Machine {
    /// A kept closure holds the context it was made in, which holds the run, which holds the closure: without this the
    /// run would stay locked until the process ends.
    fn drop(&mut self) {
        let mut state = self.ctx.state();
        let kept = (std::mem::take(&mut state.undos), std::mem::take(&mut state.releases));
        drop(state);
        drop(kept);
    }
}

impl Machine {
    /// Builds the engine behind `ctx` and gives it the texts of `library`.
    pub(super) fn new(ctx: Ctx, library: Library) -> Self {
        let ctx = Arc::new(ctx);
        let engine = engine::build(&ctx);
        // The cell was made empty with the context a line above.
        drop(ctx.library.set(library));
        Self { ctx, engine }
    }

    /// The texts.
    pub(super) fn library(&self) -> Result<&Library, Error> {
        self.ctx.library.get().ok_or_else(|| Error::new(Kind::Internal, "the script was not loaded"))
    }

    /// Calls the script's `run` with its parameters.
    pub(super) fn call(&self, params: &Value) -> Result<Dynamic, Ending> {
        let library = self.library().map_err(Ending::Failed)?;
        let ast: &AST = &library.main().ast;
        let argument = value::decode(params);
        // Evaluating the top level again is what gives functions the imports written there.
        let options = CallFnOptions::new().eval_ast(true);
        let called: Result<Dynamic, Box<EvalAltResult>> =
            self.engine.call_fn_with_options(options, &mut Scope::new(), ast, "run", (argument,));
        called.map_err(|error| diagnose::ending(&self.engine, library, &error))
    }

    /// Calls a closure that was kept.
    pub(super) fn call_kept(&self, kept: &Kept) -> Result<Dynamic, Ending> {
        let Some((closure, context)) = &kept.closure else { return Ok(Dynamic::UNIT) };
        let context = context.restore(&self.engine);
        let called = closure.call_within_context::<Dynamic>(&context, (kept.result.clone(),));
        called.map_err(|error| match self.library() {
            Ok(library) => diagnose::ending(&self.engine, library, &error),
            Err(error) => Ending::Failed(error),
        })
    }

    /// Does `work` as the step `step`; a run that was cancelled is no reason to leave it.
    pub(super) fn within_step<T>(&self, step: StepId, key: &str, work: impl FnOnce() -> T) -> T {
        let _entered = Ctx::enter(Frame::new(Some(step), key, Cancel::new()));
        work()
    }

    /// What has gathered, as the outcome of a run that ended with `status`.
    pub(super) fn outcome(&self, script: &str, status: &'static str, since: Instant) -> Outcome {
        let state = self.ctx.state();
        Outcome {
            run: self.ctx.run.as_ref().map(|run| run.id().as_str().to_owned()),
            script: script.to_owned(),
            status,
            steps: state.steps.clone(),
            plan: state.plan.iter().cloned().map(PlanItem::clean).collect(),
            targets: state.targets.clone(),
            notes: state.notes.clone(),
            elapsed_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..Outcome::default()
        }
    }
}

/// `decamp run`.
pub(super) fn run(script: &Script, params: &Value, call: &Call) -> Result<Outcome, Error> {
    let library = load(script, &Origin::Files)?;
    check::refuse(&library)?;
    names::check(&library, call)?;
    foresee(call, &library, params)?;
    if let Some(kept) = &call.kept {
        plan_file::usable(kept, script, &library, call)?;
        replan(script, params, call, kept)?;
    }
    let journal = Journal::open(&call.state)?;
    let run = journal.create(NewRun {
        script: script.name.clone(),
        script_path: script.path.as_ref().map(|path| api::paths::text(path)),
        params: params.clone(),
        mode: Mode::Run,
        sources: library.sources(),
        operator: super::operator(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        argv: call.argv.clone(),
    })?;
    if let Some(site) = &call.site {
        run.event_as_it_is(Level::Info, site::EVENT, None, site.json())?;
    }
    (call.say)(Say::Run { id: run.id().as_str(), epoch: run.epoch() });
    let id = run.id().clone();
    let machine = Machine::new(Ctx::new(call.clone(), Some(run), Profile::Live, Recorded::default()), library);
    let ended = claim_plan(&machine).and_then(|()| forward(&machine, &script.name, params));
    drop(machine);
    if ended.as_ref().is_err_and(|error| matches!(error.exit_code(), Exit::Usage | Exit::Held))
        && !begun(&journal, &id)?
    {
        // Refused before it did anything: there is nothing to go on with, and nothing to hold targets for.
        journal.abandon(&id)?;
    }
    ended
}

/// Whether an effect of the run has begun.
fn begun(journal: &Journal, id: &RunId) -> Result<bool, Error> {
    Ok(!journal.reader()?.run(id)?.effects.is_empty())
}

/// `decamp resume`.
pub(super) fn resume(id: &str, call: &Call) -> Result<Outcome, Error> {
    let journal = Journal::open(&call.state)?;
    let reader = journal.reader()?;
    let id = reader.resolve(id)?;
    let mut detail = reader.run(&id)?;
    amend_from(&reader, &mut detail)?;
    if detail.summary.mode == Mode::Undo {
        return Err(Error::new(Kind::Conflict, format!("run {id} is being undone"))
            .hint(format!("decamp undo {id}"))
            .exit(Exit::Usage));
    }
    over(&detail)?;
    super::session::refuse_resume(&detail.summary)?;
    alive::check(&reader, &detail)?;
    let script = found_again(&detail)?;
    let library = load(&script, &Origin::Files)?;
    let amended = super::params::amended(&super::params::of(&engine::bare(), &library)?, &call.amend)?;
    names::check(&library, call)?;
    let (call, sources) = (&as_begun(&id, call)?, library.sources());
    refuse_edited(&reader.sources(&id)?, &library)?;
    let mut params = detail.summary.params.clone();
    amend(&mut params, &amended)?;
    foresee(call, &library, &params)?;
    accept_changes(&reader.sources(&id)?, &sources, call)?;
    let run = journal.take_over(&id, Mode::Run, &sources)?;
    (call.say)(Say::Run { id: run.id().as_str(), epoch: run.epoch() });
    if !amended.is_empty() {
        run.event_as_it_is(Level::Info, AMENDED, None, Value::Object(amended))?;
    }
    let recorded = super::undo::recorded(&detail);
    let machine = Machine::new(Ctx::new(call.clone(), Some(run), Profile::Live, recorded), library);
    machine.ctx.state().acted = !detail.effects.is_empty();
    forward(&machine, &script.name, &params)
}

/// Reads the secrets that can be seen to be needed, and refuses parameters that hold one.
fn foresee(call: &Call, library: &Library, params: &Value) -> Result<(), Error> {
    let aliases = call.site.as_ref().map(|site| site.secrets.clone()).unwrap_or_default();
    let declared = super::params::of(&engine::bare(), library)?;
    let texts = library.iter().map(|(_, text)| &text.ast);
    secret::foresee(&secret::Secrets::new(aliases, None), &declared, params, texts, &call.cancel)
}

/// Goes where the run was begun, and gives the call with what the run keeps of its site file.
pub(super) fn as_begun(id: &RunId, call: &Call) -> Result<Call, Error> {
    let events = Journal::read(&call.state)?.map(|reader| reader.events(id)).transpose()?.unwrap_or_default();
    place::enter(id, &events, call)?;
    Ok(Call { site: site::Used::recorded(&events), ..call.clone() })
}

/// The event that keeps parameters changed on resume.
pub(super) const AMENDED: &str = "run.amended";

/// Puts changed values over those the run began with.
pub(super) fn amend(params: &mut Value, amended: &serde_json::Map<String, Value>) -> Result<(), Error> {
    let Some(values) = params.as_object_mut() else {
        return Err(Error::new(Kind::Internal, "the run's parameters are not a map"));
    };
    values.extend(amended.clone());
    Ok(())
}

/// Puts what earlier resumes changed over the parameters of a recorded run.
fn amend_from(reader: &Reader, detail: &mut RunDetail) -> Result<(), Error> {
    let events = reader.events(&detail.summary.id)?;
    super::amend(&mut detail.summary.params, &events).map(drop)
}

/// Refuses to go on with a run that has come to its end.
fn over(detail: &RunDetail) -> Result<(), Error> {
    let summary = &detail.summary;
    if !summary.status.finished() {
        return Ok(());
    }
    let error = Error::new(Kind::Invalid, format!("run {} is over: it is {}", summary.id, summary.status));
    Err(error.hint(format!("see what it did: decamp show {}", summary.id)).exit(Exit::Usage))
}

/// Calls `run` and brings the run to its end, good or bad.
fn forward(machine: &Machine, script: &str, params: &Value) -> Result<Outcome, Error> {
    let since = Instant::now();
    let Some(run) = &machine.ctx.run else { return Err(Error::new(Kind::Internal, "no run")) };
    run.watch(&machine.ctx.call.cancel)?;
    watch::begin_with(run, machine.ctx.call.max_rate)?;
    let watched = watch::Watch::start(&machine.ctx)?;
    let ending = machine.call(params);
    // Until after the releases, which may take their time as well.
    let _watched = watched;
    let finish = |end: RunEnd, exit: Exit| run.finish_with(end, Some(exit.code())).map_err(Error::from);
    match ending {
        Ok(result) => {
            let result = value::encode(&result, "the result of run").unwrap_or_else(|_| value::describe(&result));
            api::hold::give_back(&machine.ctx)?;
            // Somebody wanted the run to stop at a place that it never came to: that is not what they asked for.
            let missed = machine.ctx.call.until.as_ref();
            let exit = if missed.is_some() { Exit::Failed } else { Exit::Success };
            let stopped = missed.map(|until| format!("--until {until} was not reached: the script came to its end"));
            finish(RunEnd::Succeeded, exit)?;
            Ok(Outcome { result, exit, stopped, ..machine.outcome(script, "succeeded", since) })
        }
        Err(Ending::Reached(place)) => {
            let released = release::all(machine);
            let short = machine.ctx.state().short;
            let asked = if short { "" } else { ", as asked" };
            let what = json!({ "message": format!("stopped {place}{asked}"), "released": released.steps });
            if let Some(first) = released.failed.first() {
                let error = Error::new(Kind::RemoteFailed, format!("stopped {place}{asked}, but {first}"));
                let error = error.hints(released.failed.iter().skip(1).cloned());
                finish(RunEnd::Failed { error: value::describe(&api::error::payload(&error).into()) }, Exit::Failed)?;
                return Err(error.hint(format!("decamp resume {}", run.id().as_str())));
            }
            let exit = if short { Exit::Failed } else { Exit::Success };
            finish(RunEnd::Waiting { what }, exit)?;
            let mut stopped = format!("stopped {place}");
            if !released.steps.is_empty() {
                let steps = released.steps.join(", ");
                stopped.push_str(&format!("; released, and to be done again on resume with all after it: {steps}"));
            }
            let go_on = format!("decamp resume {}{}", run.id().as_str(), machine.ctx.call.state_flag);
            stopped.push_str(&format!("; go on with: {go_on}"));
            Ok(Outcome { exit, stopped: Some(stopped), ..machine.outcome(script, "waiting", since) })
        }
        Err(Ending::Failed(mut error)) => {
            if let Some(full) = run.paused() {
                return Err(full.into());
            }
            // Wrong use is what is found before the first effect; after it the run has failed.
            let begun = machine.ctx.state().acted;
            if begun && error.exit_code() == Exit::Usage {
                error = error.exit(Exit::Failed);
            } else if !begun && error.kind == Kind::NotFound && error.exit.is_none() {
                error = error.exit(Exit::Usage);
            }
            let exit = error.exit_code();
            if exit == Exit::Journal {
                // Nothing more can be written down, so nothing more is done.
                return Err(error);
            }
            if matches!(exit, Exit::Approval | Exit::InDoubt) {
                finish(RunEnd::Waiting { what: json!({ "message": error.message, "hints": error.hints }) }, exit)?;
                return Err(error);
            }
            let error = error.hints(release::all(machine).failed);
            let end = match error.kind {
                Kind::Cancelled => RunEnd::Cancelled { reason: error.causes().join(": ") },
                _ => RunEnd::Failed { error: value::describe(&api::error::payload(&error).into()) },
            };
            finish(end, exit)?;
            let over = matches!(exit, Exit::Usage | Exit::Held);
            Err(if over { error } else { error.hint(format!("decamp resume {}", run.id().as_str())) })
        }
        Err(Ending::PlanEnds(_) | Ending::ReplayEnds) => Err(Error::new(Kind::Internal, "the run ended like a plan")),
    }
}

/// `decamp run --plan`.
pub(super) fn plan(script: &Script, params: &Value, call: &Call) -> Result<Outcome, Error> {
    let library = load(script, &Origin::Files)?;
    check::refuse(&library)?;
    names::check(&library, call)?;
    foresee(call, &library, params)?;
    let Some(kept) = &call.kept else { return planned(script, params, call, library, Recorded::default()) };
    plan_file::usable(kept, script, &library, call)?;
    replan(script, params, call, kept)
}

/// Makes a kept plan again, and compares.
fn replan(script: &Script, params: &Value, call: &Call, kept: &KeptPlan) -> Result<Outcome, Error> {
    let outcome = planned(script, params, call, load(script, &Origin::Files)?, Recorded::default())?;
    plan_file::unchanged(kept, &keep(script, params, &outcome)?, call)?;
    Ok(outcome)
}

/// The plan `outcome` as it is kept.
pub(super) fn keep(script: &Script, params: &Value, outcome: &Outcome) -> Result<KeptPlan, Error> {
    Ok(KeptPlan::of(script, &load(script, &Origin::Files)?, params, outcome))
}

/// Records that this run does the kept plan, unless another one has.
fn claim_plan(machine: &Machine) -> Result<(), Error> {
    let (Some(run), Some(kept)) = (&machine.ctx.run, &machine.ctx.call.kept) else { return Ok(()) };
    run.claim_plan(kept.id())?.map_or(Ok(()), |other| Err(plan_file::applied(other.as_str())))
}

/// `decamp resume --plan`.
pub(super) fn plan_resume(id: &str, call: &Call) -> Result<Outcome, Error> {
    let (id, detail, recorded) = detail(id, call)?;
    let call = &as_begun(&id, call)?;
    let script = found_again(&detail)?;
    let library = load(&script, &Origin::Files)?;
    names::check(&library, call)?;
    refuse_edited(&recorded, &library)?;
    let mut params = detail.summary.params.clone();
    amend(&mut params, &super::params::amended(&super::params::of(&engine::bare(), &library)?, &call.amend)?)?;
    foresee(call, &library, &params)?;
    planned(&script, &params, call, library, super::undo::recorded(&detail))
}

fn planned(
    script: &Script,
    params: &Value,
    call: &Call,
    library: Library,
    recorded: Recorded,
) -> Result<Outcome, Error> {
    let since = Instant::now();
    let machine = Machine::new(Ctx::new(call.clone(), None, Profile::Plan, recorded), library);
    let stops = match machine.call(params) {
        Ok(_) => None,
        Err(Ending::PlanEnds(why)) => Some(why),
        Err(Ending::Reached(place)) => {
            Some(if machine.ctx.state().short { place } else { format!("{place}, as asked") })
        }
        Err(Ending::Failed(error)) => return Err(error),
        Err(Ending::ReplayEnds) => return Err(Error::new(Kind::Internal, "the plan ended like a replay")),
    };
    Ok(Outcome { plan_stops: stops, ..machine.outcome(&script.name, "planned", since) })
}

/// Everything the journal holds of the run `id`.
pub(super) fn detail(id: &str, call: &Call) -> Result<(RunId, RunDetail, Vec<Source>), Error> {
    let missing = || {
        Error::new(Kind::NotFound, format!("no run `{id}`: there is no journal in `{}`", call.state.display()))
            .exit(Exit::Usage)
    };
    let reader: Reader = Journal::read(&call.state)?.ok_or_else(missing)?;
    let id = reader.resolve(id)?;
    let (mut detail, sources) = (reader.run(&id)?, reader.sources(&id)?);
    amend_from(&reader, &mut detail)?;
    Ok((id, detail, sources))
}

fn load(script: &Script, origin: &Origin<'_>) -> Result<Library, Error> {
    let bare = engine::bare();
    let library = Library::load(&bare, script, origin)?;
    super::params::of(&bare, &library)?;
    Ok(library)
}

/// The script of a run as it is now: the file, or the shipped one.
fn found_again(detail: &RunDetail) -> Result<Script, Error> {
    let summary = &detail.summary;
    super::session::refuse_resume(summary)?;
    let named = summary.script_path.as_deref().unwrap_or(&summary.script);
    super::find(named).map_err(|error| {
        error.hint(format!("run {} was started from it; `decamp undo {}` works without", summary.id, summary.id))
    })
}

/// Refuses a script that was edited since and has errors. One that is as it was has passed already, or was begun by an
/// earlier decamp: a rule that is younger than the run must not keep it from its end.
fn refuse_edited(was: &[Source], library: &Library) -> Result<(), Error> {
    if was == library.sources() { Ok(()) } else { check::refuse(library) }
}

/// Goes on with another text only if somebody says so.
fn accept_changes(was: &[Source], now: &[Source], call: &Call) -> Result<(), Error> {
    let mut shown = String::new();
    let names: std::collections::BTreeSet<&str> = was.iter().chain(now).map(|source| source.module.as_str()).collect();
    for name in names {
        let text = |sources: &[Source]| {
            sources.iter().find(|source| source.module == name).map(|source| source.text.clone()).unwrap_or_default()
        };
        let (old, new) = (text(was), text(now));
        if old != new {
            let diff = similar::TextDiff::from_lines(&old, &new);
            shown.push_str(
                &diff.unified_diff().header(&format!("{name} (recorded)"), &format!("{name} (now)")).to_string(),
            );
        }
    }
    if shown.is_empty() {
        return Ok(());
    }
    (call.say)(Say::Line("the script was edited since the run last ran:"));
    shown.lines().for_each(|line| (call.say)(Say::Line(line)));
    let question = super::outcome::Question {
        name: "script-change".into(),
        summary: "go on with the edited script? Steps that are done keep their results".into(),
        details: Vec::new(),
        dangerous: false,
    };
    let asked = || call.ask.as_ref().and_then(|ask| ask.ask(&question, &|| false));
    if call.yes || call.accept_script_change || asked() == Some(true) {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, "the script was edited since the run last ran")
        .hint("look at the difference above; to go on with the edited script: decamp resume RUN --yes")
        .exit(Exit::Usage))
}

/// Runs an example of the documentation in the Test profile, with `tmp` as its directory.
#[cfg(test)]
pub(super) fn example(code: &str, tmp: &std::path::Path) -> Result<(), Error> {
    let call = Call::quiet(tmp.join("state"));
    let ctx = Arc::new(Ctx::new(call, None, Profile::Test, Recorded::default()));
    let engine = engine::build(&ctx);
    let mut scope = Scope::new();
    scope.push("tmp", api::paths::text(tmp));
    let ast = engine.compile_with_scope(&scope, code).map_err(|error| diagnose::syntax("example", code, &error))?;
    engine.run_ast_with_scope(&mut scope, &ast).map_err(|error| match error.unwrap_inner() {
        EvalAltResult::ErrorRuntime(thrown, _) => api::error::from_payload(thrown),
        other => Error::new(Kind::Invalid, other.to_string()),
    })
}
