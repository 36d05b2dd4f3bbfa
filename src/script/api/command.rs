//! What stands behind `host.exec`: options, the effect around the command, its end as data.

use rhai::{Array, Dynamic, Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::options::Options;
use crate::error::{Error, Kind};
use crate::host::local::{self, Ended, Invocation};
use crate::journal::Class;

/// `host.exec(argv, opts)`.
pub(super) fn run(context: &NativeCallContext<'_>, argv: Array, opts: Map) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let words: Result<Vec<String>, _> = argv.into_iter().map(Dynamic::into_string).collect();
    let argv =
        words.map_err(|found| Error::new(Kind::Invalid, format!("a command is a list of texts, not of {found}")))?;
    let mut options = Options::new("host.exec", opts);
    let ok_codes = ok_codes(&mut options)?;
    let read_only = options.flag("read_only")?;
    let invocation = Invocation {
        argv,
        cwd: options.text("cwd")?,
        env: options.text_map("env")?,
        stdin: options.text("stdin")?.unwrap_or_default().into_bytes(),
        timeout: options.duration("timeout")?,
    };
    options.done()?;
    let line = shlex::try_join(invocation.argv.iter().map(String::as_str))
        .map_err(|_| Error::new(Kind::Invalid, "a word of a command holds a zero byte"))?;
    let cancel = ctx.cancel();
    let act = || -> Result<(Value, bool), Unfinished> {
        let ended = local::run(&invocation, &cancel).map_err(|error| {
            // A command that was ended half way may have done half of its work; one that never started has not.
            let settled = matches!(error, crate::host::Error::Start { .. } | crate::host::Error::Empty);
            Unfinished { error: error.into(), settled }
        })?;
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
        request: json!({ "argv": invocation.argv, "cwd": invocation.cwd }),
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
