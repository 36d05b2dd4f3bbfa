//! What belongs to a run alone: its id, and a directory for its files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use rhai::NativeCallContext;

use super::ctx::Ctx;
use super::error::Fail;
use super::paths::text;
use crate::error::{Error, Kind};
use crate::script::profile::Profile;

/// `run_id()`.
pub(super) fn id(context: &NativeCallContext<'_>) -> Result<String, Fail> {
    let ctx = Ctx::of(context)?;
    Ok(ctx.run.as_ref().map_or_else(|| "PLAN".to_owned(), |run| run.id().to_string()))
}

/// `run_dir()`.
pub(super) fn dir(context: &NativeCallContext<'_>) -> Result<String, Fail> {
    let ctx = Ctx::of(context)?;
    let id = id(context)?;
    let path = ctx.call.state.join("runs").join(id).join("own");
    if ctx.run.is_some() && ctx.profile() == Profile::Live {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
        made.map_err(|error| {
            Error::new(Kind::Io, format!("cannot make the directory `{}`", text(&path))).because(error)
        })?;
    }
    Ok(text(&path))
}
