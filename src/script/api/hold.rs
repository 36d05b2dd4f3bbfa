//! Whose a tree is: leases in the journal, and the mark of the run in the destination itself.

use std::collections::btree_map::Entry;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::ctx::Ctx;
use super::error::Fail;
use super::paths::text;
use crate::copy::claim::{self, Claim, Marker};
use crate::copy::{self, identity::RootId};
use crate::error::{Error, Exit, Kind};
use crate::journal::{LeaseMode, Run, RunId, Target, TargetKind};
use crate::progress::{Checkpoint, Record};

/// Takes the leases of both roots in the journal; a destination that does not exist yet is known by its place.
pub(super) fn lease(ctx: &Ctx, source: &Path, dest: &Path) -> Result<(), Fail> {
    leases(ctx, &[(source, LeaseMode::Shared), (dest, LeaseMode::Exclusive)])
}

/// Takes the lease of a directory that is about to be made.
pub(super) fn lease_root(ctx: &Ctx, dest: &Path) -> Result<(), Fail> {
    leases(ctx, &[(dest, LeaseMode::Exclusive)])
}

fn leases(ctx: &Ctx, targets: &[(&Path, LeaseMode)]) -> Result<(), Fail> {
    let Some(run) = &ctx.run else { return Ok(()) };
    for (path, mode) in targets.iter().copied() {
        let failed = |error| Error::new(Kind::Io, format!("cannot resolve `{}`", text(path))).because(error);
        let (full, key) = match (copy::root_id(path), path.parent(), path.file_name()) {
            (Err(copy::Error::NotFound { .. }), Some(parent), Some(name)) => {
                // A name alone stands in the working directory.
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let full = parent.canonicalize().map_err(failed)?.join(name);
                let key = format!("tree:{}", text(&full));
                (full, key)
            }
            (id, ..) => {
                let id = id.map_err(Error::from)?;
                (path.canonicalize().map_err(failed)?, format!("tree:{:x}:{:x}", id.dev, id.ino))
            }
        };
        run.lease(Target { kind: TargetKind::Tree, key, path: full.into_os_string().into_vec(), mode })?;
    }
    Ok(())
}

/// Claims the destination for the run, on the destination itself, once per process; nothing is written to a directory
/// that is not the `expected` one.
pub(super) fn claim_root(ctx: &Ctx, dest: &Path, expected: Option<&RootId>) -> Result<(), Error> {
    let Some(run) = &ctx.run else { return Ok(()) };
    let found = copy::root_id(dest)?;
    if let Some(expected) = expected.filter(|expected| **expected != found) {
        return Err(copy::Error::RootChanged { path: text(dest), expected: expected.clone(), found }.into());
    }
    let full = dest
        .canonicalize()
        .map_err(|error| Error::new(Kind::Io, format!("cannot resolve `{}`", text(dest))).because(error))?;
    let mut state = ctx.state();
    if let Entry::Vacant(free) = state.claims.entry(full) {
        let marker = Marker {
            run: run.id().as_str().to_owned(),
            host: super::super::host_name(),
            at: jiff::Timestamp::now().to_string(),
        };
        let claim = claim::take(free.key(), &marker)?;
        free.insert(claim);
    }
    Ok(())
}

/// Directories that one copy writes to at this moment.
pub(super) struct Writing<'c> {
    ctx: &'c Ctx,
    places: Vec<PathBuf>,
}

impl<'c> Writing<'c> {
    /// Keeps other branches out of the places, and of what is above and below them.
    pub(super) fn begin<'p>(ctx: &'c Ctx, places: impl IntoIterator<Item = &'p Path>) -> Result<Self, Error> {
        let places: Vec<PathBuf> = places.into_iter().map(whole).collect();
        let mut state = ctx.state();
        for own in &places {
            let taken = state.writing.iter().find(|other| other.starts_with(own) || own.starts_with(other));
            if let Some(taken) = taken {
                let message = format!("another branch writes to `{}`, so `{}` is not free", text(taken), text(own));
                return Err(Error::new(Kind::Invalid, message)
                    .hint("branches of a parallel need destinations and backup directories of their own")
                    .exit(Exit::Failed));
            }
        }
        state.writing.extend(places.iter().cloned());
        drop(state);
        Ok(Self { ctx, places })
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut state = self.ctx.state();
        for place in &self.places {
            state.writing.remove(place);
        }
    }
}

/// The path without links, also where its last part does not exist yet.
pub(super) fn whole(path: &Path) -> PathBuf {
    // A name alone stands in the working directory.
    let above = || path.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let parent = || Some(above()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(parent).unwrap_or_else(|| path.to_owned())
}

/// Kind of the records that keep a root's times while its marker is removed; the tree engine's own are small numbers.
const ROOT_TIMES: u8 = 250;

/// Removes the run's marker from a root. Removing a name changes the root's times, which are the source's by now: they
/// are kept first, so that a process that comes after a kill in between can set them again.
fn release(run: &Run, root: &Path, claim: Claim) -> Result<(), Error> {
    let failed = |op: &'static str| move |errno| Error::from(copy::Error::Io { op, path: text(root), source: errno });
    let key = root.as_os_str().as_bytes();
    let meta = rustix::fs::stat(root).map_err(failed("stat"))?;
    let times = [meta.st_atime, meta.st_atime_nsec as i64, meta.st_mtime, meta.st_mtime_nsec as i64];
    let value: Vec<u8> = times.iter().flat_map(|part| part.to_le_bytes()).collect();
    let store = run.progress()?;
    store.put(&[Record { kind: ROOT_TIMES, key, value: Some(&value) }])?;
    claim.release()?;
    store.put(&[Record { kind: ROOT_TIMES, key, value: None }])?;
    Ok(())
}

/// Sets the times of a root whose marker was removed by a process that died right after.
fn mend_times(run: &Run, root: &Path) -> Result<(), Error> {
    let key = root.as_os_str().as_bytes();
    let store = run.progress()?;
    let Some(value) = store.get(ROOT_TIMES, key)? else { return Ok(()) };
    let parts: Vec<i64> =
        value.chunks_exact(8).filter_map(|part| Some(i64::from_le_bytes(part.try_into().ok()?))).collect();
    if let [atime, atime_nsec, mtime, mtime_nsec] = parts[..] {
        let spec = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
        let times =
            rustix::fs::Timestamps { last_access: spec(atime, atime_nsec), last_modification: spec(mtime, mtime_nsec) };
        rustix::fs::utimensat(rustix::fs::CWD, root, &times, rustix::fs::AtFlags::empty()).map_err(|errno| {
            Error::from(copy::Error::Io { op: "set the times of", path: text(root), source: errno })
        })?;
    }
    store.put(&[Record { kind: ROOT_TIMES, key, value: None }])?;
    Ok(())
}

/// Removes the marks of the run from its targets: the last thing before a run that is over is recorded as such.
pub(crate) fn give_back(ctx: &Ctx) -> Result<(), Error> {
    let Some(run) = &ctx.run else { return Ok(()) };
    let claims = std::mem::take(&mut ctx.state().claims);
    for (root, claim) in claims {
        release(run, &root, claim)?;
    }
    // A process that only found everything done has claimed nothing, and the marker of the one before is still there,
    // or has just gone.
    for lease in run.leases()? {
        let root = PathBuf::from(std::ffi::OsString::from_vec(lease.target.path.clone()));
        if let Some(claim) = marked(run.id(), &lease.target, &root)? {
            release(run, &root, claim)?;
        } else if lease.target.mode == LeaseMode::Exclusive && root.is_dir() {
            mend_times(run, &root)?;
        }
    }
    Ok(())
}

/// Removes the marker of a run that is given up from a target, if it is there.
pub(crate) fn forget(run: &RunId, target: &Target) -> Result<(), Error> {
    let root = PathBuf::from(std::ffi::OsString::from_vec(target.path.clone()));
    marked(run, target, &root)?.map_or(Ok(()), |claim| Ok(claim.release()?))
}

/// The claim on a target that bears the run's marker.
fn marked(run: &RunId, target: &Target, root: &Path) -> Result<Option<Claim>, Error> {
    // A device is marked by being held open; there is no place on it for a name.
    if target.mode != LeaseMode::Exclusive || target.kind != TargetKind::Tree {
        return Ok(None);
    }
    match claim::read(root) {
        Ok(Some(marker)) if marker.run == run.as_str() => Ok(Some(claim::take(root, &marker)?)),
        // Somebody else's marker is not ours to remove, and a root that is gone has none.
        Ok(_) | Err(copy::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
