//! What stands behind `k8s::`: options, the call of the engine, what is recorded of a cluster.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use rhai::{Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::k8s::Cluster;
use super::options::Options;
use super::paths::path;
use crate::error::{Error, Kind};
use crate::journal::Level;
use crate::k8s::{self, At, LogOptions, Select};
use crate::redact;
use crate::script::near;
use crate::script::value;

type Answer = Result<Value, Fail>;

/// More of a log is not given.
const MOST: usize = 1 << 20;

/// A cluster as a script has it.
#[derive(Debug)]
pub(crate) struct Joined {
    engine: k8s::Cluster,
    /// The UID it was recorded with; not set before.
    uid: OnceLock<Option<String>>,
}

impl Joined {
    /// Its name in messages and records.
    pub(super) fn name(&self) -> &str {
        self.engine.options().context.as_deref().unwrap_or("current context")
    }
}

/// `k8s::connect(opts)`.
pub(super) fn connect(context: &NativeCallContext<'_>, opts: Map) -> Result<Cluster, Fail> {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("k8s::connect", opts);
    let mut wanted = k8s::Options {
        kubeconfig: given(options.text("kubeconfig")?).map(|text| path(&text)).transpose()?,
        context: given(options.text("context")?),
        namespace: given(options.text("namespace")?),
        ..k8s::Options::default()
    };
    if let Some(limit) = options.duration("timeout")? {
        wanted.timeout = limit;
    }
    options.done()?;
    Ok(joined(&ctx, wanted))
}

/// The cluster that these options lead to: the same one for everybody who asks for the same.
pub(super) fn joined(ctx: &Ctx, wanted: k8s::Options) -> Cluster {
    let same = format!("{wanted:?}");
    let made = || Arc::new(Joined { engine: k8s::Cluster::new(wanted), uid: OnceLock::new() });
    Cluster(Arc::clone(ctx.state().clusters.entry(same).or_insert_with(made)))
}

/// A parameter of a script that was not given is empty.
pub(super) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl Cluster {
    /// Asks the cluster something. The first time that is recorded.
    pub(super) fn ask<T>(
        &self,
        ctx: &Ctx,
        work: impl AsyncFnOnce(&k8s::Cluster) -> Result<T, k8s::Error>,
    ) -> Result<T, Fail> {
        if let Some(run) = ctx.run.as_ref().filter(|_| self.0.uid.get().is_none()) {
            let found = waited(ctx, self.0.engine.version())?;
            self.0.uid.get_or_init(|| found.uid.clone());
            let step = Ctx::frame().and_then(|frame| frame.step);
            let mut data = shown(&found);
            data["context"] = self.0.engine.options().context.clone().into();
            run.event(Level::Info, "cluster.connected", step, data)?;
        }
        waited(ctx, work(&self.0.engine))
    }

    /// How it is reached.
    pub(super) fn options(&self) -> &k8s::Options {
        self.0.engine.options()
    }

    /// By what it is known, once it was reached in a run.
    pub(super) fn uid(&self) -> Option<&str> {
        self.0.uid.get()?.as_deref()
    }

    /// What a message adds to the name of an object, where a script names its cluster.
    pub(super) fn behind(&self) -> String {
        self.options().context.as_ref().map(|context| format!(" in {context}")).unwrap_or_default()
    }

    /// The object that `name` means.
    pub(super) fn at(&self, ctx: &Ctx, name: &str, namespace: Option<&str>) -> Result<At, Fail> {
        self.ask(ctx, async |engine| engine.at(name, namespace).await)
    }
}

fn waited<T>(ctx: &Ctx, work: impl Future<Output = Result<T, k8s::Error>>) -> Result<T, Fail> {
    ctx.wait_for(work)?.map_err(|error| worded(error).into())
}

/// An error of the engine, with the name that may have been meant.
fn worded(error: k8s::Error) -> Error {
    let meant = match &error {
        k8s::Error::NoKind { name, known, .. } => near::hint(name, known.iter().map(String::as_str)),
        _ => None,
    };
    let error = Error::from(error);
    match meant {
        Some(meant) => error.hint(meant),
        None => error,
    }
}

fn shown(version: &k8s::Version) -> Value {
    json!({ "server": version.server, "platform": version.platform, "url": version.url, "uid": version.uid })
}

/// That there is no such object.
pub(super) fn missing(at: &At) -> Error {
    Error::new(Kind::NotFound, format!("there is no {at}"))
}

/// `cluster.version()`.
pub(super) fn version(context: &NativeCallContext<'_>, cluster: &Cluster) -> Answer {
    let ctx = Ctx::of(context)?;
    Ok(shown(&cluster.ask(&ctx, k8s::Cluster::version)?))
}

/// `cluster.get(name, opts)`.
pub(super) fn get(context: &NativeCallContext<'_>, cluster: &Cluster, name: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.get", opts);
    let (namespace, optional) = (given(options.text("namespace")?), options.flag("optional")?);
    options.done()?;
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    match cluster.ask(&ctx, async |engine| engine.get(&at).await)? {
        Some(object) => Ok(value::foreign(object)),
        None if optional => Ok(Value::Null),
        None => Err(missing(&at).into()),
    }
}

/// `cluster.list(resource, opts)`.
pub(super) fn list(context: &NativeCallContext<'_>, cluster: &Cluster, resource: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.list", opts);
    let select = Select {
        namespace: given(options.text("namespace")?),
        everywhere: options.flag("all")?,
        labels: options.text("labels")?.unwrap_or_default(),
        fields: options.text("fields")?.unwrap_or_default(),
    };
    options.done()?;
    if resource.contains('/') {
        let error = Error::new(Kind::Invalid, format!("`{resource}` is one object, and no type of objects"));
        return Err(error.hint("cluster.get gives one object").into());
    }
    let found = cluster.ask(&ctx, async |engine| engine.list(resource, &select).await)?;
    Ok(found.into_iter().map(value::foreign).collect())
}

/// `cluster.logs(pod, opts)`.
pub(super) fn logs(context: &NativeCallContext<'_>, cluster: &Cluster, pod: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.logs", opts);
    let namespace = given(options.text("namespace")?);
    let wanted = LogOptions {
        container: options.text("container")?,
        previous: options.flag("previous")?,
        tail: options.count("tail")?,
        since_s: options.duration("since")?.map(|span| span.as_secs().max(1)),
    };
    options.done()?;
    let at = cluster.at(&ctx, pod, namespace.as_deref())?;
    only(&at, "Pod", "a pod")?;
    let printed = cluster.ask(&ctx, async |engine| engine.logs(&at, &wanted).await)?;
    // The server cuts anywhere, and what a script has may be kept and shown.
    Ok(String::from_utf8_lossy(&redact::tail(printed, MOST)).into())
}

/// Refuses another kind of object than `kind`.
fn only(at: &At, kind: &str, what: &str) -> Result<(), Error> {
    if at.kind.kind == kind {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, format!("`{}` is not {what}", at.full())))
}

/// `cluster.events(name, opts)`.
pub(super) fn events(context: &NativeCallContext<'_>, cluster: &Cluster, name: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let namespace = space("cluster.events", opts)?;
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    Ok(cluster.ask(&ctx, async |engine| engine.events(&at, None).await)?.into())
}

/// The only option of some.
fn space(function: &'static str, opts: Map) -> Result<Option<String>, Error> {
    let mut options = Options::new(function, opts);
    let namespace = given(options.text("namespace")?);
    options.done()?;
    Ok(namespace)
}

/// `cluster.can_i(verb, resource, opts)`.
pub(super) fn can_i(
    context: &NativeCallContext<'_>,
    cluster: &Cluster,
    verb: &str,
    resource: &str,
    opts: Map,
) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.can_i", opts);
    let (namespace, everywhere) = (given(options.text("namespace")?), options.flag("all")?);
    let sub = options.text("subresource")?.unwrap_or_default();
    options.done()?;
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    let question = k8s::Question { verb, kind, name, sub: &sub, namespace: namespace.as_deref(), everywhere };
    Ok(cluster.ask(&ctx, async |engine| engine.can_i(&question).await)?.into())
}

/// `cluster.holders(claim, opts)`.
pub(super) fn holders(context: &NativeCallContext<'_>, cluster: &Cluster, claim: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let namespace = space("cluster.holders", opts)?;
    let at = cluster.at(&ctx, claim, namespace.as_deref())?;
    only(&at, "PersistentVolumeClaim", "a claim")?;
    let found = cluster.ask(&ctx, async |engine| match engine.get(&at).await? {
        Some(_) => engine.holders(&at.name, at.namespace.as_deref()).await.map(Some),
        None => Ok(None),
    })?;
    Ok(found.ok_or_else(|| missing(&at))?.into())
}

/// `cluster.owner(name, opts)`.
pub(super) fn owner(context: &NativeCallContext<'_>, cluster: &Cluster, name: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let namespace = space("cluster.owner", opts)?;
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    let found = cluster.ask(&ctx, async |engine| match engine.get(&at).await? {
        Some(object) => engine.owner_of(&object).await.map(Some),
        None => Ok(None),
    })?;
    Ok(found.ok_or_else(|| missing(&at))?.unwrap_or_default())
}
