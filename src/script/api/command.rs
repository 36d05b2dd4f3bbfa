//! What stands behind `host.exec`: options, the effect around the command, its end as data.

use std::sync::Arc;

use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::effect::{Effect, Planned, Probed, Unfinished};
use super::error::Fail;
use super::host::Host;
use super::options::Options;
use super::secret;
use super::ssh::Remote;
use crate::error::{Error, Kind};
use crate::host::local::{self, Ended, Invocation};
use crate::host::process::Process;
use crate::host::ssh::{Call, Job};
use crate::journal::{Class, Level};
use crate::redact;
use crate::script::alive::STARTED;
use crate::script::profile::Profile;

/// `host.exec(argv, opts)`.
pub(super) fn run(context: &NativeCallContext<'_>, host: &Host, argv: Array, opts: Map) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let argv = secret::words(argv)?;
    let mut options = Options::new("host.exec", opts);
    let ok_codes = ok_codes(&mut options)?;
    let read_only = options.flag("read_only")?;
    let (env, stdin) = (options.any("env"), options.any("stdin"));
    let mut unless = options.closure("unless")?;
    unless.as_mut().map(super::step::freeze);
    let mut invocation =
        Invocation { argv, cwd: options.text("cwd")?, timeout: options.duration("timeout")?, ..Invocation::default() };
    let sudo = options.any("sudo").map(|sudo| sudo.as_bool()).transpose();
    let sudo = sudo.map_err(|_| Error::new(Kind::Invalid, "option `sudo` of host.exec must be true or false"))?;
    let key = options.text("key")?;
    options.done()?;
    let mut request = json!({ "argv": invocation.argv, "cwd": invocation.cwd });
    match host {
        Host::Local if sudo.is_some() || key.is_some() => {
            return Err(Error::new(Kind::Unsupported, "`sudo` and `key` are options of commands over SSH").into());
        }
        Host::Local => {}
        Host::Ssh(remote) => {
            request["host"] = remote.name().into();
            request["sudo"] = sudo.into();
            request["key"] = key.clone().into();
        }
    }
    if read_only && key.is_some() {
        return Err(Error::new(Kind::Invalid, "a command with a `key` is no read: it goes on by itself").into());
    }
    // A plan reads no secret for a command that it does not run.
    let reading = read_only || ctx.profile() != Profile::Plan;
    if let Some(stdin) = stdin {
        let given = secret::stdin(&ctx, &stdin, reading)?;
        request["stdin"] = given.template;
        invocation.stdin = given.value;
    }
    if let Some(env) = env {
        let given = secret::env(&ctx, &env, reading)?;
        request["env"] = given.iter().map(|(name, given)| (name.clone(), given.template.clone())).collect();
        invocation.env = given.into_iter().map(|(name, given)| (name, given.value)).collect();
    }
    invocation.without = ctx.secrets.variables();
    let line = shlex::try_join(invocation.argv.iter().map(String::as_str))
        .map_err(|_| Error::new(Kind::Invalid, "a word of a command holds a zero byte"))?;
    let (line, far) = match host {
        Host::Local => (line, None),
        Host::Ssh(remote) => {
            let far = Far { ctx: &ctx, remote, sudo, key: key.map(|key| job_key(&ctx, &key)).transpose()? };
            (format!("{}: {line}", remote.name()), Some(far))
        }
    };
    let cancel = ctx.cancel();
    let act = || -> Result<(Value, bool), Unfinished> {
        let mark = Ctx::with_frame(|frame| frame.effect.clone()).flatten();
        let mark = mark.as_ref().map(|(_, key)| key.as_str());
        let mut ended = match &far {
            None => local::run_marked(&invocation, mark, &cancel, &|pid| started(&ctx, pid)).map_err(|error| {
                // A command that was ended half way may have done half of its work; one that never started has not.
                let settled = matches!(error, crate::host::Error::Start { .. } | crate::host::Error::Empty);
                Unfinished { error: error.into(), settled }
            })?,
            Some(far) => far.run(&invocation, mark)?,
        };
        ended.stdout = redact::tail(ended.stdout, local::KEPT_BYTES);
        ended.stderr = redact::tail(ended.stderr, local::KEPT_BYTES);
        judge(&line, &ended, &ok_codes).map_err(|error| Unfinished { error, settled: true })?;
        Ok((result(&ended), true))
    };
    if read_only {
        return act().map(|(result, _)| result).map_err(|unfinished| unfinished.error.into());
    }
    let effect = Effect {
        function: "host.exec",
        target: line.clone(),
        class: if unless.is_some() { Class::Converge } else { Class::Once },
        request,
        undo: None,
        happened: json!({ "code": ok_codes.first().copied().unwrap_or(0), "stdout": "", "stderr": "", "elapsed_ms": 0 }),
        before: None,
    };
    let plan = || {
        let unknown = |part: &str| json!({ "$unknown": format!("the {part} of `{line}`") });
        let result = json!({ "code": unknown("exit code"), "stdout": unknown("output"), "stderr": unknown("output"), "elapsed_ms": 0 });
        Ok(Planned { result, certainty: "unknown", changes: None, summary: "will run".into() })
    };
    let result = match (&unless, &far) {
        (Some(unless), _) => ctx.effect_unless(effect, &|| there(context, unless), plan, act)?,
        (None, Some(far)) if far.key.is_some() => ctx.effect_probed(effect, || far.probe(&invocation), plan, act)?,
        _ => ctx.effect(effect, plan, act)?,
    };
    far.iter().for_each(|far| far.forget(&invocation));
    Ok(result)
}

/// A command on another machine.
struct Far<'c> {
    ctx: &'c Ctx,
    remote: &'c Arc<Remote>,
    sudo: Option<bool>,
    /// Under which it goes on by itself.
    key: Option<String>,
}

impl Far<'_> {
    fn call(&self, invocation: &Invocation, mark: Option<&str>) -> Result<Call, Error> {
        let Invocation { argv, cwd, env, without: _, stdin, timeout } = invocation.clone();
        let sudo = self.remote.sudo(self.ctx, self.sudo)?;
        Ok(Call { argv, cwd, env, stdin, timeout, sudo, mark: mark.map(str::to_owned) })
    }

    fn run(&self, invocation: &Invocation, mark: Option<&str>) -> Result<Ended, Unfinished> {
        // Nothing has begun there before it is connected to.
        let unbegun = |error: Error| Unfinished { settled: true, error };
        let host = self.remote.host(self.ctx).map_err(|fail| unbegun(fail.into_error()))?;
        let call = self.call(invocation, mark).map_err(unbegun)?;
        let cancel = self.ctx.cancel();
        let ended = match &self.key {
            Some(key) => host.exec_job(key, &call, &cancel),
            None => host.exec(&call, &cancel),
        };
        ended.map_err(|error| Unfinished { settled: error.settled(), error: error.into() })
    }

    /// What became of an attempt of an earlier process.
    fn probe(&self, invocation: &Invocation) -> Result<Probed, Fail> {
        let Some(key) = &self.key else { return Ok(Probed::Unknown) };
        let host = self.remote.host(self.ctx)?;
        let call = self.call(invocation, None)?;
        let job = host.probe_job(key, &call, &self.ctx.cancel()).map_err(Error::from)?;
        // Whether it runs, has ended or was never started: to ask for it again gives its end, or starts it.
        Ok(if job == Job::Lost { Probed::Unknown } else { Probed::Again })
    }

    /// Its end is recorded: what is kept of it there is of no use any more. What cannot be removed goes by itself later.
    fn forget(&self, invocation: &Invocation) {
        let Some(key) = &self.key else { return };
        if self.ctx.profile() == Profile::Live
            && let (Ok(host), Ok(call)) = (self.remote.host(self.ctx), self.call(invocation, None))
        {
            host.forget_job(key, &call, &self.ctx.cancel()).ok();
        }
    }
}

/// The name of a command on the far side: other runs have keys of the same words.
fn job_key(ctx: &Ctx, key: &str) -> Result<String, Error> {
    if key.is_empty() {
        return Err(Error::new(Kind::Invalid, "the `key` of a command is empty"));
    }
    let run = ctx.run.as_ref().map_or("", |run| run.id().as_str());
    Ok(blake3::hash(format!("{run}\0{key}").as_bytes()).to_hex().as_str()[..32].to_owned())
}

/// `host.which(program)` on another machine.
pub(super) fn which(context: &NativeCallContext<'_>, remote: &Remote, program: &str) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let argv = ["sh", "-c", "command -v \"$1\"", "which", program].map(str::to_owned).to_vec();
    let call = Call { argv, ..Call::default() };
    let ended = remote.host(&ctx)?.exec(&call, &ctx.cancel()).map_err(Error::from)?;
    let found = String::from_utf8_lossy(&ended.stdout).trim_end_matches('\n').to_owned();
    Ok(if ended.code == Some(0) && found.starts_with('/') { found.into() } else { Value::Null })
}

/// What the option `unless` finds.
fn there(context: &NativeCallContext<'_>, unless: &FnPtr) -> Result<bool, Fail> {
    let found = unless.call_within_context::<Dynamic>(context, ()).map_err(Fail::Rhai)?;
    found.as_bool().map_err(|kind| {
        Error::new(Kind::Invalid, format!("option `unless` of host.exec must give true or false, not a {kind}")).into()
    })
}

/// Records which process the command of the effect in hand is: it may outlive this one.
fn started(ctx: &Ctx, pid: u32) {
    let frame = Ctx::with_frame(|frame| (frame.step, frame.effect.clone()));
    if let (Some(run), Some((step, Some((effect, _)))), Some(process)) = (&ctx.run, frame, Process::of(pid)) {
        let told = run.event(Level::Info, STARTED, step, json!({ "effect": effect, "process": process }));
        // A journal that failed refuses the outcome of the effect as well, and that is what stops the run.
        told.ok();
    }
}

fn ok_codes(options: &mut Options<'_>) -> Result<Vec<i64>, Error> {
    let Some(codes) = options.any("ok_codes") else { return Ok(vec![0]) };
    let codes =
        codes.read_lock::<Array>().map(|codes| codes.iter().map(Dynamic::as_int).collect::<Result<Vec<_>, _>>());
    match codes {
        Some(Ok(codes)) if !codes.is_empty() => Ok(codes),
        _ => {
            Err(Error::new(Kind::Invalid, "option `ok_codes` of host.exec must be a list of exit codes such as [0, 1]"))
        }
    }
}

fn result(ended: &Ended) -> Value {
    json!({
        "code": ended.code,
        "stdout": String::from_utf8_lossy(&ended.stdout),
        "stderr": String::from_utf8_lossy(&ended.stderr),
        "elapsed_ms": u64::try_from(ended.elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}

fn judge(line: &str, ended: &Ended, ok_codes: &[i64]) -> Result<(), Error> {
    let how = match (ended.code, ended.signal) {
        (Some(code), _) if ok_codes.contains(&i64::from(code)) => return Ok(()),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended without an exit code".to_owned(),
    };
    let said = String::from_utf8_lossy(&ended.stderr);
    let said: Vec<&str> = said.trim().lines().rev().take(5).collect();
    let error = Error::new(Kind::RemoteFailed, format!("`{line}` {how}"));
    if said.is_empty() {
        return Err(error);
    }
    let said: Vec<&str> = said.into_iter().rev().collect();
    Err(error.hint(format!("it said: {}", said.join(" | "))))
}
