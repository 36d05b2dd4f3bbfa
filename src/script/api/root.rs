//! Roots of trees that a script names, here or on another machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhai::Map;
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::far::Place;
use crate::copy::far::Look;
use crate::copy::identity::RootId;
use crate::copy::{self, Work};
use crate::error::{Error, Kind};
use crate::host;
use crate::host::tree::{self, Root};
use crate::script::profile::Profile;

/// In front of the places of other machines, where paths are kept.
const FAR: &str = "ssh://";

impl Place {
    /// The root that is there.
    ///
    /// # Errors
    /// What reaching the host or its agent fails with.
    pub(super) fn root(&self, ctx: &Ctx) -> Result<Root, Fail> {
        Ok(match self {
            Self::Here(path) => Root::Here(path.clone()),
            Self::There { remote, path } => {
                let host = host::Endpoint::Ssh { dest: remote.dest().clone(), path: Vec::new() }.to_string();
                let far = remote.far(ctx).map_err(|fail| match fail {
                    Fail::Error(error) if error.kind == Kind::Unsupported => error.hint(tree::BY_HAND).into(),
                    fail => fail,
                })?;
                Root::There { far, host, path: path.clone() }
            }
        })
    }

    /// Another path on the same machine.
    pub(super) fn beside(&self, path: &Path) -> Self {
        match self {
            Self::Here(_) => Self::Here(path.to_owned()),
            Self::There { remote, .. } => Self::There { remote: Arc::clone(remote), path: path.to_owned() },
        }
    }

    /// The path, if it is on this machine.
    pub(super) fn here(&self) -> Option<&Path> {
        match self {
            Self::Here(path) => Some(path),
            Self::There { .. } => None,
        }
    }

    /// A place that was kept: another machine is reached as the script reaches it, if it does.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub(super) fn kept(ctx: &Ctx, text: &str) -> Result<Self, Error> {
        if !text.starts_with(FAR) {
            return Ok(Self::Here(super::paths::kept_path(text)?));
        }
        if let host::Endpoint::Ssh { dest, path } = host::Endpoint::parse(text)? {
            let known = ctx.state().hosts.values().find(|remote| *remote.dest() == dest).map(Arc::clone);
            if let Some(remote) = known {
                let path = <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path);
                return Ok(Self::There { remote, path: path.into() });
            }
        }
        Self::parse(ctx, text, "host::ssh", Map::new())
    }
}

/// Whether a kept path is on another machine.
pub(super) fn is_far(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(FAR.as_bytes())
}

/// The roots of places; within: why a plan cannot ask one of them, because nothing may be put there.
///
/// # Errors
/// As [`Place::root`].
pub(super) fn roots<const N: usize>(ctx: &Ctx, places: [&Place; N]) -> Result<Result<[Root; N], String>, Fail> {
    let mut roots = Vec::with_capacity(N);
    for place in places {
        match place.root(ctx) {
            Err(Fail::Error(error)) if ctx.profile() == Profile::Plan && error.kind == Kind::Unsupported => {
                return Ok(Err(error.message));
            }
            root => roots.push(root?),
        }
    }
    Ok(Ok(roots.try_into().map_err(|_| Error::new(Kind::Internal, "a root was lost"))?))
}

/// What a plan has in place of an answer.
pub(super) fn unknown(what: &str, why: &str) -> Value {
    json!({ "$unknown": format!("{what}: {why}") })
}

/// Which directory a root is.
///
/// # Errors
/// As [`copy::root_id`]; [`tree::Error::Agent`].
pub(super) fn id(root: &Root, work: &Work<'_>) -> Result<RootId, tree::Error> {
    match root {
        Root::Here(path) => Ok(copy::root_id(path)?),
        Root::There { .. } => Ok(root.look(Look::Id, work)?.id),
    }
}

/// Whether it failed because there is no such directory.
pub(super) fn is_missing<T>(done: &Result<T, tree::Error>) -> bool {
    matches!(done, Err(tree::Error::Tree(copy::Error::NotFound { .. })))
}

/// By what a root of a plan is known, however it is written.
pub(super) fn planned(place: &Place) -> PathBuf {
    match place {
        Place::Here(path) => super::hold::whole(&std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        Place::There { .. } => place.key(),
    }
}
