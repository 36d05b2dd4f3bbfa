//! What stands behind `host.exec`: options, the effect around the command, its end as data.

use rhai::{Array, Dynamic, Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::options::Options;
use super::secret;
use crate::error::{Error, Kind};
use crate::host::local::{self, Ended, Invocation};
use crate::host::process::Process;
use crate::journal::{Class, Level};
use crate::redact;
use crate::script::alive::STARTED;
use crate::script::profile::Profile;

/// `host.exec(argv, opts)`.
pub(super) fn run(context: &NativeCallContext<'_>, argv: Array, opts: Map) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let argv = secret::words(argv)?;
    let mut options = Options::new("host.exec", opts);
    let ok_codes = ok_codes(&mut options)?;
    let read_only = options.flag("read_only")?;
    let (env, stdin) = (options.any("env"), options.any("stdin"));
    let mut invocation =
        Invocation { argv, cwd: options.text("cwd")?, timeout: options.duration("timeout")?, ..Invocation::default() };
    options.done()?;
    let mut request = json!({ "argv": invocation.argv, "cwd": invocation.cwd });
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
    let cancel = ctx.cancel();
    let act = || -> Result<(Value, bool), Unfinished> {
        let mark = Ctx::with_frame(|frame| frame.effect.clone()).flatten();
        let key = mark.as_ref().map(|(_, key)| key.as_str());
        let mut ended = local::run_marked(&invocation, key, &cancel, &|pid| started(&ctx, pid)).map_err(|error| {
            // A command that was ended half way may have done half of its work; one that never started has not.
            let settled = matches!(error, crate::host::Error::Start { .. } | crate::host::Error::Empty);
            Unfinished { error: error.into(), settled }
        })?;
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
        class: Class::Once,
        request,
        undo: None,
        happened: json!({ "code": ok_codes.first().copied().unwrap_or(0), "stdout": "", "stderr": "", "elapsed_ms": 0 }),
    };
    let plan = || {
        let unknown = |part: &str| json!({ "$unknown": format!("the {part} of `{line}`") });
        let result = json!({ "code": unknown("exit code"), "stdout": unknown("output"), "stderr": unknown("output"), "elapsed_ms": 0 });
        Ok(Planned { result, certainty: "unknown", changes: None, summary: "will run".into() })
    };
    ctx.effect(effect, plan, act)
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
