//! What stands behind `host::keypair`, `host.authorize_key` and `host.revoke_key`.

use rhai::{Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::host::Host;
use super::options::Options;
use super::paths::{path, text};
use crate::error::{Error, Kind};
use crate::host::ssh::{self, keys};
use crate::journal::Class;

/// The comment of a line that this run lets in.
fn mark(ctx: &Ctx) -> String {
    format!("decamp-{}", ctx.run.as_ref().map_or("no-run", |run| run.id().as_str()))
}

fn planned(result: Value, summary: &str) -> Planned {
    Planned { result, certainty: "maybe", changes: Some(true), summary: summary.to_owned() }
}

/// `host::keypair(path)`.
pub(super) fn keypair(context: &NativeCallContext<'_>, at: &str) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let at = path(at)?;
    let effect = Effect {
        function: "host::keypair",
        target: text(&at),
        class: Class::Converge,
        request: json!({ "path": text(&at) }),
        undo: None,
        happened: json!({ "path": text(&at), "public_key": "" }),
        before: None,
    };
    let plan = || {
        let public = json!({ "$unknown": format!("the key at `{}`", text(&at)) });
        Ok(planned(json!({ "path": text(&at), "public_key": public }), "will be made, unless it is there"))
    };
    let act = || {
        let made = !at.exists();
        let public = keys::keypair(&at, &mark(&ctx)).map_err(|error| Unfinished::from(Error::from(error)))?;
        Ok((json!({ "path": text(&at), "public_key": public }), made))
    };
    ctx.effect(effect, plan, act)
}

/// A call on the host behind a handle; `what` it is, where this machine cannot do it.
fn far<T>(
    ctx: &Ctx,
    host: &Host,
    sudo: Option<bool>,
    call: impl FnOnce(&ssh::Host, Option<&ssh::Sudo>) -> Result<T, ssh::Error>,
) -> Result<T, Unfinished> {
    let Host::Ssh(remote) = host else {
        return Err(Error::new(Kind::Unsupported, "keys are let in on hosts over SSH only").into());
    };
    let host = remote.host(ctx).map_err(|fail| Unfinished { error: fail.into_error(), settled: true })?;
    let sudo = remote.sudo(ctx, sudo)?;
    // Repeating it is harmless, and so is one that ended half way.
    call(&host, sudo.as_ref()).map_err(|error| Unfinished { settled: error.settled(), error: error.into() })
}

/// `host.authorize_key(public, opts)`.
pub(super) fn authorize(context: &NativeCallContext<'_>, host: &Host, public: &str, opts: Map) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("host.authorize_key", opts);
    let restrict = options.text("restrict")?;
    options.done()?;
    let line = || keys::line(public, restrict.as_deref(), &mark(&ctx)).map_err(Error::from);
    let effect = Effect {
        function: "host.authorize_key",
        target: host.to_string(),
        class: Class::Converge,
        request: json!({ "host": host.to_string(), "public_key": public, "restrict": restrict }),
        undo: None,
        happened: json!({ "line": line().unwrap_or_default(), "added": true, "made": false }),
        before: None,
    };
    let plan = || Ok(planned(json!({ "line": line()?, "added": true, "made": false }), "will be let in"));
    let act = || {
        let line = line()?;
        let added = far(&ctx, host, Some(false), |host, sudo| host.authorize(&line, sudo, &ctx.cancel()))?;
        Ok((json!({ "line": line, "added": added.added, "made": added.made }), added.added))
    };
    ctx.effect(effect, plan, act)
}

/// `host.revoke_key(key)`.
pub(super) fn revoke(context: &NativeCallContext<'_>, host: &Host, key: Map) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let line = key.get("line").and_then(|line| line.clone().into_string().ok()).unwrap_or_default();
    let made = key.get("made").and_then(|made| made.as_bool().ok()).unwrap_or(false);
    // A key that was there before is not this run's to take out.
    let ours = key.get("added").is_none_or(|added| added.as_bool().unwrap_or(true));
    let effect = Effect {
        function: "host.revoke_key",
        target: host.to_string(),
        class: Class::Converge,
        request: json!({ "host": host.to_string(), "line": line, "made": made }),
        undo: None,
        happened: json!({ "removed": true, "line": line }),
        before: None,
    };
    let plan = || Ok(planned(json!({ "removed": ours, "line": line }), "will be taken out"));
    let act = || {
        if line.is_empty() {
            return Err(Error::new(Kind::Invalid, "what was given is no result of host.authorize_key").into());
        }
        let removed = ours && far(&ctx, host, Some(false), |host, sudo| host.revoke(&line, made, sudo, &ctx.cancel()))?;
        Ok((json!({ "removed": removed, "line": line }), removed))
    };
    ctx.effect(effect, plan, act)
}
