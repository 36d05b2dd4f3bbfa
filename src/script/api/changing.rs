//! What stands behind the functions of `k8s::` that change objects.

use rhai::{Map, NativeCallContext};
use serde_json::{Value, json};

use super::cluster::{given, missing};
use super::ctx::Ctx;
use super::effect::{Effect, Planned, Probed, Unfinished};
use super::error::{Fail, Stop};
use super::k8s::Cluster;
use super::options::Options;
use super::unmade::Place;
use crate::error::{Error, Kind};
use crate::journal::Class;
use crate::k8s::{At, Deleted, Difference, MADE_BY, Mode, Owned, differences, text};
use crate::redact;
use crate::script::profile::Profile;
use crate::script::value;

type Answer = Result<Value, Fail>;

/// The effect of `function` on an object.
fn effect(function: &'static str, cluster: &Cluster, at: &At, class: Class, request: Value) -> Effect {
    let place = Place::of(cluster, at).record();
    let request = json!({ "place": place, "request": request });
    let target = format!("{at}{}", cluster.behind());
    Effect { function, target, class, request, undo: None, before: None, happened: Value::Null }
}

/// A map of a script as the server takes it.
fn data(map: Map, what: &str) -> Result<Value, Fail> {
    let encoded = value::encode(&map.into(), what).map_err(|not| Error::new(Kind::Invalid, not.to_string()))?;
    value::outward(encoded).map_err(|odd| match odd {
        value::Odd::Unknown(what) => {
            Stop::PlanEnds(format!("it depends on {what}, which is known only after the run")).into()
        }
        value::Odd::Form(form) => {
            Error::new(Kind::Invalid, format!("`{what}` holds {form}, which no object can have")).into()
        }
    })
}

/// What is kept of an object or a change: nothing of a Secret.
fn kept(at: &At, data: &Value) -> bool {
    at.kind.full() != "secrets" && redact::held(&data.to_string()).is_none()
}

/// What a script is given of an object, which the journal keeps: of a Secret not what is in it.
fn given_back(at: &At, mut object: Value) -> Value {
    if at.kind.full() == "secrets"
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("data");
    }
    value::foreign(object)
}

fn unknown(at: &At, why: &str) -> Planned {
    let result = json!({ "$unknown": format!("{at} afterwards") });
    Planned { result, certainty: "unknown", changes: None, summary: why.to_owned() }
}

/// The plan of a change that was tried: what it would change.
fn planned(at: &At, now: Option<&Value>, tried: Value) -> Planned {
    let made = now.map(|now| differences(now, &tried));
    let summary = match &made {
        None => "will be made".to_owned(),
        Some(made) if made.is_empty() => "is so already".to_owned(),
        Some(made) if at.kind.full() == "secrets" => {
            format!("will change {}", made.iter().map(Difference::place).collect::<Vec<_>>().join(", "))
        }
        Some(made) => {
            let each =
                made.iter().map(|one| format!("{} from {} to {}", one.place(), shown(&one.from), shown(&one.to)));
            format!("will change {}", each.collect::<Vec<_>>().join(", "))
        }
    };
    let changes = Some(made.is_none_or(|made| !made.is_empty()));
    Planned { result: given_back(at, tried), certainty: "exact", changes, summary }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "nothing".to_owned() } else { value.to_string() }
}

/// A change that was refused has not happened; one without an answer may have.
fn failed(fail: Fail) -> Unfinished {
    let error = fail.into_error();
    let open = matches!(error.kind, Kind::Cancelled | Kind::Timeout | Kind::Unreachable | Kind::RemoteFailed);
    Unfinished { settled: !open, error }
}

/// `cluster.create(object, opts)`.
pub(super) fn create(context: &NativeCallContext<'_>, cluster: &Cluster, object: Map, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.create", opts);
    let namespace = given(options.text("namespace")?);
    options.done()?;
    ctx.may_change("cluster.create")?;
    let object = data(object, "object")?;
    let at = cluster.ask(&ctx, async |engine| engine.place_of(&object, namespace.as_deref()).await)?;
    let undo = kept(&at, &object).then(|| json!({ "place": Place::of(cluster, &at).record(), "made": true }));
    let request = if kept(&at, &object) { object.clone() } else { json!("not kept") };
    let effect = Effect { undo, ..effect("cluster.create", cluster, &at, Class::Converge, request) };
    let make = |mode: Mode, mark: Option<&str>| {
        let mut object = object.clone();
        let annotations = &object["metadata"]["annotations"];
        // What is no map is refused by the server, in its own words.
        if let Some(mark) = mark.filter(|_| annotations.is_null() || annotations.is_object()) {
            object["metadata"]["annotations"][MADE_BY] = mark.into();
        }
        cluster.ask(&ctx, async |engine| engine.create(&at, &object, mode).await)
    };
    let plan = || match make(Mode::Trial, None) {
        Ok(tried) => Ok(planned(&at, None, tried)),
        Err(fail) => match fail.into_error() {
            // Its namespace may be made before.
            error if error.kind == Kind::NotFound => Ok(unknown(&at, "will be made")),
            error => Err(error),
        },
    };
    let act = || {
        let mark = Ctx::frame().and_then(|frame| frame.effect).map(|(_, key)| key);
        let made = match make(Mode::Really, mark.as_deref()) {
            Ok(made) => made,
            Err(fail) => match fail.into_error() {
                // Made by an attempt that did not hear of it?
                error if error.kind == Kind::Exists => {
                    let found = cluster.ask(&ctx, async |engine| engine.get(&at).await).map_err(failed)?;
                    let ours = |found: &Value| {
                        mark.is_some() && found["metadata"]["annotations"][MADE_BY].as_str() == mark.as_deref()
                    };
                    found.filter(ours).ok_or(error)?
                }
                error => return Err(failed(error.into())),
            },
        };
        Ok((given_back(&at, made), true))
    };
    ctx.effect(effect, plan, act)
}

/// A change of an object that is tried first, which says what it would change.
struct Tried<'t> {
    ctx: &'t Ctx,
    cluster: &'t Cluster,
    at: &'t At,
    function: &'static str,
    request: Value,
    send: &'t dyn Fn(Option<&Value>, Mode) -> Answer,
}

impl Tried<'_> {
    fn now(&self) -> Result<Option<Value>, Fail> {
        self.cluster.ask(self.ctx, async |engine| engine.get(self.at).await)
    }

    fn make(self) -> Answer {
        let keeps = kept(self.at, &self.request);
        let request = if keeps { self.request.clone() } else { json!("not kept") };
        let mut effect = effect(self.function, self.cluster, self.at, Class::Converge, request);
        if self.ctx.profile() == Profile::Live && keeps {
            // What is refused is refused before it begins.
            let now = self.now()?;
            let tried = (self.send)(now.as_ref(), Mode::Trial)?;
            let place = Place::of(self.cluster, self.at).record();
            effect.undo = Some(match &now {
                None => json!({ "place": place, "made": true }),
                Some(now) => {
                    let changes: Vec<_> = differences(now, &tried).iter().map(Difference::record).collect();
                    json!({ "place": place, "uid": now["metadata"]["uid"], "changes": changes })
                }
            });
            if redact::held(&effect.undo.as_ref().map(Value::to_string).unwrap_or_default()).is_some() {
                effect.undo = None;
            }
        }
        let plan = || {
            let now = self.now().map_err(Fail::into_error)?;
            match (self.send)(now.as_ref(), Mode::Trial) {
                Ok(tried) => Ok(planned(self.at, now.as_ref(), tried)),
                Err(fail) => match fail.into_error() {
                    error if error.kind == Kind::NotFound => Ok(unknown(self.at, "will be changed, once it is there")),
                    error => Err(error),
                },
            }
        };
        let act = || {
            let now = self.now().map_err(failed)?;
            let after = (self.send)(now.as_ref(), Mode::Really).map_err(failed)?;
            let changed = now.as_ref().is_none_or(|now| !differences(now, &after).is_empty());
            Ok((given_back(self.at, after), changed))
        };
        self.ctx.effect(effect, plan, act)
    }
}

/// `cluster.apply(object, opts)`.
pub(super) fn apply(context: &NativeCallContext<'_>, cluster: &Cluster, object: Map, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.apply", opts);
    let (namespace, force) = (given(options.text("namespace")?), options.flag("force")?);
    options.done()?;
    ctx.may_change("cluster.apply")?;
    let object = data(object, "object")?;
    let at = cluster.ask(&ctx, async |engine| engine.place_of(&object, namespace.as_deref()).await)?;
    let send =
        |_: Option<&Value>, mode: Mode| cluster.ask(&ctx, async |engine| engine.apply(&at, &object, force, mode).await);
    let (function, request) = ("cluster.apply", json!({ "object": object, "force": force }));
    Tried { ctx: &ctx, cluster, at: &at, function, request, send: &send }.make()
}

/// `cluster.patch(name, changes, opts)`.
pub(super) fn patch(context: &NativeCallContext<'_>, cluster: &Cluster, name: &str, changes: Map, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.patch", opts);
    let (namespace, uid, version) =
        (given(options.text("namespace")?), options.text("uid")?, options.text("resource_version")?);
    options.done()?;
    ctx.may_change("cluster.patch")?;
    let changes = data(changes, "changes")?;
    if changes.get("metadata").is_some_and(|meta| !meta.is_object()) {
        return Err(Error::new(Kind::Invalid, "`changes.metadata` must be a map").into());
    }
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    let send = |now: Option<&Value>, mode: Mode| {
        let now = now.ok_or_else(|| missing(&at))?;
        let mut body = changes.clone();
        // It is for the object that was seen, and for no other that has come under its name.
        body["metadata"]["uid"] = uid.as_deref().map_or_else(|| now["metadata"]["uid"].clone(), Value::from);
        if let Some(version) = &version {
            body["metadata"]["resourceVersion"] = version.as_str().into();
        }
        cluster.ask(&ctx, async |engine| engine.patch(&at, &body, mode).await)
    };
    let request = json!({ "changes": changes, "uid": uid, "resource_version": version });
    Tried { ctx: &ctx, cluster, at: &at, function: "cluster.patch", request, send: &send }.make()
}

/// `cluster.scale(name, replicas, opts)`.
pub(super) fn scale(
    context: &NativeCallContext<'_>,
    cluster: &Cluster,
    name: &str,
    replicas: i64,
    opts: Map,
) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.scale", opts);
    let namespace = given(options.text("namespace")?);
    options.done()?;
    ctx.may_change("cluster.scale")?;
    let wanted = u64::try_from(replicas)
        .map_err(|_| Error::new(Kind::Invalid, format!("{replicas} cannot be a number of replicas")))?;
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    if !at.kind.scales {
        return Err(Error::new(Kind::Unsupported, format!("{} cannot be scaled", at.kind.full()))
            .hint("cluster.owner gives the controller at the top, and says whether it scales")
            .into());
    }
    let now = || cluster.ask(&ctx, async |engine| engine.replicas(&at).await);
    let mut effect = effect("cluster.scale", cluster, &at, Class::Converge, json!({ "replicas": wanted }));
    if ctx.profile() == Profile::Live {
        let (was, uid) = now()?.ok_or_else(|| missing(&at))?;
        let place = Place::of(cluster, &at).record();
        effect.undo = Some(json!({ "place": place, "uid": uid, "replicas": { "from": was, "to": wanted } }));
    }
    let plan = || {
        let found = now().map_err(Fail::into_error)?;
        let Some((was, _)) = found else { return Ok(unknown(&at, &format!("will have {wanted} replicas"))) };
        let summary =
            if was == wanted { "is so already".to_owned() } else { format!("from {was} to {wanted} replicas") };
        let result = json!({ "replicas": wanted, "was": was });
        Ok(Planned { result, certainty: "exact", changes: Some(was != wanted), summary })
    };
    let act = || {
        let was = cluster.ask(&ctx, async |engine| engine.scale(&at, wanted, Mode::Really).await).map_err(failed)?;
        let was = was.ok_or_else(|| missing(&at))?;
        Ok((json!({ "replicas": wanted, "was": was }), was != wanted))
    };
    ctx.effect(effect, plan, act)
}

/// `cluster.delete(name, opts)`.
pub(super) fn delete(context: &NativeCallContext<'_>, cluster: &Cluster, name: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.delete", opts);
    let (namespace, uid) = (given(options.text("namespace")?), options.text("uid")?);
    let grace = options.duration("grace")?.map(|grace| grace.as_secs());
    let owned = match options.text("owned")?.as_deref() {
        None => None,
        Some("background") => Some(Owned::Background),
        Some("foreground") => Some(Owned::Foreground),
        Some("orphan") => Some(Owned::Orphan),
        Some(other) => {
            let error = Error::new(Kind::Invalid, format!("`owned` cannot be `{other}`"));
            return Err(error.hint("known: background, foreground, orphan").into());
        }
    };
    options.done()?;
    let uid = uid.ok_or_else(|| {
        Error::new(Kind::Invalid, "cluster.delete needs the option `uid`").hint(
            "it says which object is meant, also when another one has its name by then: #{ uid: object.metadata.uid }",
        )
    })?;
    ctx.may_change("cluster.delete")?;
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    let now = || cluster.ask(&ctx, async |engine| engine.get(&at).await);
    let is_it = |object: &Value| text(&object["metadata"]["uid"]) == uid;
    let request = json!({ "uid": uid, "owned": owned.map(|owned| owned.to_string()), "grace_s": grace });
    let mut effect = effect("cluster.delete", cluster, &at, Class::Destroy, request);
    effect.happened = json!({ "deleted": true, "uid": uid });
    if ctx.profile() == Profile::Live
        && let Some(object) = now()?.filter(is_it)
        && kept(&at, &object)
    {
        effect.before = Some(object.to_string().into_bytes());
        // What holds more than its words is not made again by them.
        effect.undo =
            Place::comes_back(&at).then(|| json!({ "place": Place::of(cluster, &at).record(), "deleted": uid }));
    }
    let plan = || {
        let found = now().map_err(Fail::into_error)?;
        let there = found.as_ref().is_some_and(is_it);
        let summary = match found {
            Some(_) if there => "will be deleted",
            Some(_) => "is another one by now, which is left",
            None => "is gone already",
        };
        let result = json!({ "deleted": there, "uid": uid });
        Ok(Planned { result, certainty: "exact", changes: Some(there), summary: summary.to_owned() })
    };
    let act = || {
        let gone = cluster.ask(&ctx, async |engine| engine.delete(&at, &uid, owned, grace).await).map_err(failed)?;
        let begun = gone == Deleted::Begun;
        Ok((json!({ "deleted": begun, "uid": uid }), begun))
    };
    // The very object of this UID can be deleted once only.
    ctx.effect_probed(effect, || Ok(Probed::Again), plan, act)
}
