//! Places of a script that may be on another machine: how one is written, and how an engine gets to it.
//!
//! A place is a path here, `ssh://[user@]host[:port]/path`, or a path on a host handle (`host.at`). The first use on another
//! machine sends the agent there, once for a host and a run; it goes with the run.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::host::Host;
use super::options::Options;
use super::paths;
use super::ssh::{self, Remote};
use crate::block::Endpoint;
use crate::error::{Error, Kind};
use crate::host;
use crate::host::ssh::{Far, Plain};
use crate::progress::Event;
use crate::redact;
use crate::script::profile::Profile;
use crate::units::path_text;

/// Where something is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On the machine decamp runs on.
    Here(PathBuf),
    /// On a host over SSH.
    There {
        /// The host.
        remote: Arc<Remote>,
        /// The path on it.
        path: PathBuf,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(path) => f.write_str(&paths::text(path)),
            Self::There { remote, path } => {
                let (dest, path) = (remote.dest().clone(), path.as_os_str().as_bytes().to_vec());
                host::Endpoint::Ssh { dest, path }.fmt(f)
            }
        }
    }
}

impl Place {
    /// Reads what a script gives for a place: a text, or what `host.at` and `host::endpoint` made.
    ///
    /// # Errors
    /// `invalid` for a text that names no place, `unsupported` for one in a pod.
    pub(crate) fn of(ctx: &Ctx, given: &Dynamic) -> Result<Self, Error> {
        if let Some(place) = given.read_lock::<Self>() {
            return Ok(place.clone());
        }
        let Some(text) = given.read_lock::<ImmutableString>() else {
            let found = given.type_name().rsplit("::").next().unwrap_or_default().to_lowercase();
            return Err(Error::new(Kind::Invalid, format!("a place must be a text or an endpoint, not a {found}"))
                .hint("write \"/path\", \"ssh://user@host/path\" or host.at(\"/path\")"));
        };
        Self::parse(ctx, &text, "host::ssh", Map::new())
    }

    pub(super) fn parse(ctx: &Ctx, text: &str, function: &'static str, opts: Map) -> Result<Self, Error> {
        let options = ssh::Wanted::read(ctx, function, opts)?;
        if !text.contains("://") {
            return Ok(Self::Here(paths::path(text)?));
        }
        if let Some(label) = redact::held(text) {
            return Err(Error::new(Kind::Invalid, format!("a place holds the value of {label}"))
                .hint("places are kept in the journal and shown"));
        }
        match host::Endpoint::parse(text)? {
            host::Endpoint::Ssh { dest, path } => {
                Ok(Self::There { remote: options.remote(ctx, dest)?, path: OsString::from_vec(path).into() })
            }
            _ => Err(Error::new(Kind::Unsupported, format!("`{text}` is in a pod, where this cannot be done yet"))),
        }
    }

    /// The path on its own machine.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Here(path) | Self::There { path, .. } => path,
        }
    }

    /// By what it is told from any other: the path here, or the whole text.
    pub(crate) fn key(&self) -> PathBuf {
        match self {
            Self::Here(path) => path.clone(),
            Self::There { .. } => self.to_string().into(),
        }
    }

    /// The host it is on, if it is another machine.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        match self {
            Self::Here(_) => None,
            Self::There { remote, .. } => Some(remote),
        }
    }

    /// The block engine's end that is there, behind `room` of its agent.
    ///
    /// # Errors
    /// What reaching the host or its agent fails with.
    pub(crate) fn block(&self, ctx: &Ctx, room: &str, width: Width) -> Result<BlockEnd, Fail> {
        let Self::There { remote, path } = self else {
            return Ok(BlockEnd { endpoint: Endpoint::local(self.path()), far: None, degraded: None });
        };
        let far = match remote.agent(ctx)? {
            Ok(far) => far,
            Err(why) => return self.plain(ctx, remote, room, width, &why),
        };
        let lines = far.lines(room, width.channels, width.streams, &ctx.cancel()).map_err(Error::from)?;
        Ok(BlockEnd {
            endpoint: Endpoint::remote(path, lines).called(self.to_string()),
            far: Some(far),
            degraded: None,
        })
    }

    /// The same end without an agent, by the machine's own programs; said aloud.
    fn plain(&self, ctx: &Ctx, remote: &Remote, room: &str, width: Width, why: &Error) -> Result<BlockEnd, Fail> {
        let name = self.to_string();
        let text = format!(
            "{}; its own dd reads and writes there, degraded: all of it crosses the line as it is, and nobody else is kept out",
            why.message
        );
        ctx.progress().event(Event::Notice { path: name.as_bytes(), text: &text });
        let (host, sudo) = (remote.host(ctx)?, remote.sudo(ctx, None)?);
        let path = self.path().as_os_str().as_bytes();
        let storage = Plain::new(host, sudo, path, name.clone(), ctx.cancel()).map_err(Error::from)?;
        let endpoint = Endpoint::ranged(&name, Arc::new(storage), room == TARGET, width.channels);
        Ok(BlockEnd { endpoint, far: None, degraded: Some(name) })
    }
}

/// An end of the block engine, and the agent that must live as long as it is used.
pub(crate) struct BlockEnd {
    pub(crate) endpoint: Endpoint,
    pub(crate) far: Option<Arc<Far>>,
    /// Its name, if it is reached without one.
    pub(crate) degraded: Option<String>,
}

/// Conversations of an agent that the block engine holds; see [`crate::agent::serve`].
pub(super) const SOURCE: &str = "block-source";
pub(super) const TARGET: &str = "block-target";

/// `host.at(path)`.
pub(super) fn at(host: &Host, text: &str) -> Result<Place, Fail> {
    let path = paths::path(text)?;
    match host {
        Host::Local => Ok(Place::Here(path)),
        Host::Ssh(remote) => {
            absolute(&path)?;
            Ok(Place::There { remote: Arc::clone(remote), path })
        }
    }
}

/// Refuses a path that means something else in another directory: on another machine nobody says in which.
pub(super) fn absolute(path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    let text = path_text(path.as_os_str().as_bytes());
    Err(Error::new(Kind::Invalid, format!("`{text}` is relative; a path on another machine begins with /")))
}

/// `host::endpoint(text, opts)`.
pub(super) fn endpoint(context: &NativeCallContext<'_>, text: &str, opts: Map) -> Result<Place, Fail> {
    Ok(Place::parse(&*Ctx::of(context)?, text, "host::endpoint", opts)?)
}

/// `host::of(endpoint)`.
pub(super) fn host_of(context: &NativeCallContext<'_>, given: &Dynamic) -> Result<Host, Fail> {
    let place = Place::of(&*Ctx::of(context)?, given)?;
    Ok(place.remote().map_or(Host::Local, |remote| Host::Ssh(Arc::clone(remote))))
}

/// `host::path_of(endpoint)`.
pub(super) fn path_of(context: &NativeCallContext<'_>, given: &Dynamic) -> Result<String, Fail> {
    Ok(paths::text(Place::of(&*Ctx::of(context)?, given)?.path()))
}

/// Of a read that a plan cannot do, because nothing may be written where it would have to: not known, in place of an error.
pub(super) fn unless_planned(ctx: &Ctx, what: &str, done: Result<Value, Fail>) -> Result<Value, Fail> {
    match done {
        Err(Fail::Error(error)) if ctx.profile() == Profile::Plan && error.kind == Kind::Unsupported => {
            Ok(json!({ "$unknown": format!("{what}: {}", error.message) }))
        }
        done => done,
    }
}

/// How many ways lead to an end on another machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Width {
    /// Conversations side by side. Of each at most one extent is on its way to be written, so that no more is sent again
    /// after a cut; the product of all and an extent is what a line of high latency can hold.
    channels: usize,
    /// Sessions over which they go.
    streams: usize,
}

impl Width {
    /// For questions.
    pub(super) const ONE: Self = Self { channels: 1, streams: 1 };

    /// What the options ask for.
    pub(super) fn of(options: &mut Options<'_>) -> Result<Self, Error> {
        let mut number = |key: &'static str, usual: u64| {
            let given = usize::try_from(options.count(key)?.unwrap_or(usual)).ok().filter(|n| (1..=16).contains(n));
            given.ok_or_else(|| Error::new(Kind::Invalid, format!("`{key}` is a number from 1 to 16")))
        };
        let (channels, streams) = (number("channels", 4)?, number("streams", 1)?);
        Ok(Self { channels: channels.max(streams), streams })
    }
}
