//! What was at a place before `host.write` wrote there: kept in the journal, and put back by undo.

use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::far::Place;
use super::fs::{Answering, is_missing};
use super::host::Host;
use super::secret::Given;
use crate::agent::machine::Stat;
use crate::agent::{Error as AgentError, Files, WriteOptions};
use crate::error::{Error, Kind};
use crate::host::ssh;
use crate::journal::{EffectRow, Journal, Reader};
use crate::redact;

/// What its effects are called.
pub(super) const NATIVE: &str = "host.write";

/// More of a file is not kept.
const MOST: u64 = 1 << 20;

/// What undo needs; nothing of it if nothing can be put back.
#[derive(Default)]
pub(super) struct Before {
    /// The content that was there, if there was a file.
    pub(super) image: Option<Vec<u8>>,
    /// What there was, and what is to be there.
    pub(super) undo: Option<Value>,
}

impl Before {
    /// Looks at what `content` is about to replace. Secrets are not kept, neither in what is there nor of what comes.
    pub(super) fn look(files: Files<'_>, path: &[u8], place: &Place, content: &Given) -> Result<Self, Error> {
        if content.is_secret() {
            return Ok(Self::default());
        }
        let undo = |was| Some(json!({ "place": place.to_string(), "wrote": content.template, "was": was }));
        let Some((stat, held)) = found(files, path)? else { return Ok(Self { image: None, undo: undo(Value::Null) }) };
        match held {
            Some(held) if redact::held(&String::from_utf8_lossy(&held)).is_none() => {
                let was = json!({ "mode": stat.mode, "uid": stat.uid, "gid": stat.gid });
                Ok(Self { image: Some(held), undo: undo(was) })
            }
            _ => Ok(Self::default()),
        }
    }
}

/// What is at a path, with the content if that is a regular file and not too large.
type Found = (Stat, Option<Vec<u8>>);

fn found(files: Files<'_>, path: &[u8]) -> Result<Option<Found>, AgentError> {
    let stat = match files.lstat(path) {
        Err(error) if is_missing(&error) => return Ok(None),
        stat => stat?,
    };
    if stat.letter != b'f' || stat.size > MOST {
        return Ok(Some((stat, None)));
    }
    let mut held = Vec::new();
    files.read(path, 0, Some(MOST + 1), &mut held)?;
    Ok(Some((stat, Some(held).filter(|held| held.len() as u64 <= MOST))))
}

/// What there was, by the record of an effect: nothing, or a file with its content, mode and owner.
type Was = Option<(Vec<u8>, u32, (u32, u32))>;

fn was(journal: &Reader, effect: &EffectRow) -> Result<Was, Error> {
    let recorded = effect.undo.as_ref().map_or(&Value::Null, |undo| &undo["was"]);
    let number = |key: &str| recorded[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let (Some(mode), Some(uid), Some(gid)) = (number("mode"), number("uid"), number("gid")) else { return Ok(None) };
    let image = effect.before.as_deref().map(|name| journal.blob(name)).transpose()?.flatten();
    Ok(Some((image.ok_or_else(|| lost("content"))?, mode, (uid, gid))))
}

fn lost(what: &str) -> Error {
    Error::new(Kind::Internal, format!("the journal has no {what} of a file that was written"))
}

fn is_as(now: Option<&Found>, was: &Was) -> bool {
    match (now, was) {
        (None, None) => true,
        (Some((stat, Some(held))), Some((image, mode, owner))) => {
            held == image && stat.mode == *mode && (stat.uid, stat.gid) == *owner
        }
        _ => false,
    }
}

/// Puts back what was there, if what is there now is what the run wrote.
pub(super) fn undo(ctx: &Ctx, effect: &EffectRow) -> Result<Vec<String>, Fail> {
    let run = ctx.run.as_ref().ok_or_else(|| lost("run"))?;
    let recorded = effect.undo.as_ref().ok_or_else(|| lost("record"))?;
    let place = Place::kept(ctx, recorded["place"].as_str().unwrap_or_default())?;
    let path = place.path().as_os_str().as_bytes();
    let host = place.remote().map_or(Host::Local, |remote| Host::Ssh(remote.clone()));
    let answering = Answering::of(ctx, &host)?;
    let files = answering.files()?;
    let now = found(files, path).map_err(Error::from)?;
    let journal = Journal::read(&ctx.call.state).map_err(Error::from)?.ok_or_else(|| lost("rows"))?;
    // An undo before this one may have come further back already.
    let detail = journal.run(run.id()).map_err(Error::from)?;
    let same = |other: &&EffectRow| other.function == NATIVE && other.target == effect.target && other.id <= effect.id;
    for other in detail.effects.iter().filter(same).filter(|other| other.undo.is_some()) {
        if is_as(now.as_ref(), &was(&journal, other)?) {
            return Ok(Vec::new());
        }
    }
    let text = now.and_then(|(_, held)| String::from_utf8(held?).ok());
    let print = text.map(|text| run.fingerprint().of(&text));
    if print.is_none() || print.as_deref() != recorded["wrote"].as_str() {
        return Ok(vec![format!("{place}: left: it is not what the run wrote")]);
    }
    let Some((image, mode, owner)) = was(&journal, effect)? else { return remove(ctx, &place).map(|()| Vec::new()) };
    let options = WriteOptions { mode: Some(mode), owner: Some(owner), new: false };
    files.write(path, &mut &*image, &options).map_err(Error::from)?;
    Ok(Vec::new())
}

/// Removes a file; one that is gone already is as good.
fn remove(ctx: &Ctx, place: &Place) -> Result<(), Fail> {
    let failed = |why: String| Error::new(Kind::Io, format!("cannot remove `{place}`: {why}"));
    let Place::There { remote, path } = place else {
        return match std::fs::remove_file(place.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error.to_string()).into()),
            _ => Ok(()),
        };
    };
    // The agent removes only what it made itself, and that one is gone.
    let path = path.to_str().ok_or_else(|| failed("its path is no text".to_owned()))?;
    let argv = ["rm", "-f", "--", path].map(str::to_owned).to_vec();
    let call = ssh::Call { argv, sudo: remote.sudo(ctx, None)?, ..ssh::Call::default() };
    let ended = remote.host(ctx)?.exec(&call, &ctx.cancel()).map_err(Error::from)?;
    match ended.code {
        Some(0) => Ok(()),
        _ => Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned()).into()),
    }
}
