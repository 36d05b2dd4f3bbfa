//! What stands behind `cluster.wait`.

use std::time::{Duration, Instant};

use rhai::{Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::{Value, json};

use super::cluster::given;
use super::ctx::Ctx;
use super::error::Fail;
use super::k8s::Cluster;
use super::options::Options;
use super::step;
use crate::error::{Error, Kind};
use crate::k8s::{At, State, Until, text};
use crate::script::outcome::Say;
use crate::script::profile::Profile;
use crate::script::value;
use crate::units::show_duration;

/// So many events are told with a wait that came to nothing.
const EVENTS: usize = 5;

/// How often a long wait is told of.
const TELL: Duration = Duration::from_secs(30);

/// What a script waits for.
enum Wanted {
    Word(Until),
    Closure(FnPtr),
}

impl Wanted {
    fn read(given: Dynamic) -> Result<Self, Error> {
        if let Some(mut closure) = given.clone().try_cast::<FnPtr>() {
            step::freeze(&mut closure);
            return Ok(Self::Closure(closure));
        }
        let word = given.into_string().unwrap_or_default();
        Until::parse(&word).map(Self::Word).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("cluster.wait cannot wait for `{word}`"))
                .hint("known: exists, gone, ready, condition=NAME, condition=NAME=VALUE, or a closure: |object| …")
        })
    }

    fn words(&self) -> String {
        match self {
            Self::Word(until) => until.words(),
            Self::Closure(_) => "as it was to be".to_owned(),
        }
    }

    fn state(&self, context: &NativeCallContext<'_>, object: Option<&Value>, uid: Option<&str>) -> Result<State, Fail> {
        let closure = match self {
            Self::Word(until) => return Ok(until.of(object, uid)),
            Self::Closure(closure) => closure,
        };
        let Some(object) = object else { return Ok(State::Waiting("there is none".to_owned())) };
        let seen = closure.call_within_context::<Dynamic>(context, (value::decode(&value::foreign(object.clone())),));
        let seen = seen.map_err(Fail::Rhai)?;
        let come = !seen.is_unit() && seen.as_bool() != Ok(false);
        Ok(if come { State::Come } else { State::Waiting("the closure says that it has not come".to_owned()) })
    }
}

/// `cluster.wait(name, until, opts)`.
pub(super) fn wait(
    context: &NativeCallContext<'_>,
    cluster: &Cluster,
    name: &str,
    until: Dynamic,
    opts: Map,
) -> Result<Value, Fail> {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("cluster.wait", opts);
    let (namespace, mut uid) = (given(options.text("namespace")?), options.text("uid")?);
    let timeout = options.duration("timeout")?;
    let every = options.duration("every")?.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(10));
    options.done()?;
    let timeout = timeout.ok_or_else(|| {
        Error::new(Kind::Invalid, "cluster.wait needs the option `timeout`")
            .hint("every wait has an end: #{ timeout: \"10m\" }")
    })?;
    let wanted = Wanted::read(until)?;
    let at = cluster.at(&ctx, name, namespace.as_deref())?;
    let end = Instant::now() + timeout;
    let mut told = Instant::now() + TELL;
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let looked = cluster.ask(&ctx, async |engine| Ok(engine.look(&at, left).await));
        let state = match looked? {
            Ok(object) => {
                if matches!(wanted, Wanted::Word(Until::Gone)) && uid.is_none() {
                    uid = object.as_ref().map(|object| text(&object["metadata"]["uid"]).to_owned());
                }
                match wanted.state(context, object.as_ref(), uid.as_deref())? {
                    // Another one of its name is not what was waited for.
                    State::Come if matches!(wanted, Wanted::Word(Until::Gone)) => return Ok(Value::Null),
                    State::Come => return Ok(object.map_or(Value::Null, value::foreign)),
                    state => state,
                }
            }
            Err(error) if error.is_passing() => State::Waiting(error.to_string()),
            Err(error) => return Err(Error::from(error).into()),
        };
        let why = match state {
            _ if ctx.profile() == Profile::Plan => {
                return Ok(json!({ "$unknown": format!("{at} once it is {}", wanted.words()) }));
            }
            State::Never(why) => {
                let text = format!("{at} will never be {}: {why}", wanted.words());
                return Err(with_events(&ctx, cluster, &at, Error::new(Kind::RemoteFailed, text)).into());
            }
            State::Waiting(why) => why,
            State::Come => String::new(),
        };
        let now = Instant::now();
        if now >= end {
            let text = format!("{at} was not {} within {}: {why}", wanted.words(), show_duration(timeout));
            return Err(with_events(&ctx, cluster, &at, Error::new(Kind::Timeout, text)).into());
        }
        if now >= told {
            told = now + TELL;
            let line =
                format!("waiting for {at} to be {}, at most {} more: {why}", wanted.words(), show_duration(end - now));
            ctx.say(Say::Line(&line));
        }
        ctx.pause(every.min(end - now))?;
    }
}

/// An error, with what happened to the object last.
fn with_events(ctx: &Ctx, cluster: &Cluster, at: &At, error: Error) -> Error {
    // That they cannot be read is no reason to hide the failure itself.
    let found = cluster.ask(ctx, async |engine| engine.events(at, None).await).unwrap_or_default();
    let lines = found.iter().rev().take(EVENTS).rev().map(|event| {
        let of = |key: &str| text(&event[key]);
        format!(
            "event: {} {}: {} ({}, {} times)",
            of("type"),
            of("reason"),
            of("message"),
            of("last_at"),
            event["count"]
        )
    });
    error.hints(lines)
}
