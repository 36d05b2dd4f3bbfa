//! Whose a tree is: leases in the journal, and the mark of the run in the destination itself.

use std::collections::btree_map::Entry;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::ctx::Ctx;
use super::error::Fail;
use super::far::Place;
use super::paths::text;
use super::root::{self, is_far, is_missing};
use crate::copy::claim::{self, Claim, Marker};
use crate::copy::far::Look;
use crate::copy::{self, Work, identity::RootId};
use crate::error::{Error, Exit, Kind};
use crate::host::ssh::SILENT;
use crate::host::tree::{self, Ours, Root};
use crate::journal::{LeaseMode, Run, RunId, Target, TargetKind};
use crate::progress::{Checkpoint, Forgetful, Record};
use crate::units::path_bytes;

/// Takes the leases of both roots in the journal; a destination that does not exist yet is known by its place.
pub(super) fn lease(ctx: &Ctx, source: &Place, dest: &Place) -> Result<(), Fail> {
    leases(ctx, &[(source, LeaseMode::Shared), (dest, LeaseMode::Exclusive)])
}

/// Takes the lease of a directory that is about to be made.
pub(super) fn lease_root(ctx: &Ctx, dest: &Place) -> Result<(), Fail> {
    leases(ctx, &[(dest, LeaseMode::Exclusive)])
}

fn leases(ctx: &Ctx, targets: &[(&Place, LeaseMode)]) -> Result<(), Fail> {
    let Some(run) = &ctx.run else { return Ok(()) };
    for (place, mode) in targets.iter().copied() {
        let Some(path) = place.here() else {
            run.lease(far_target(ctx, place, mode)?)?;
            continue;
        };
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

/// What is leased of a tree on another machine, which is known by its key.
fn far_target(ctx: &Ctx, place: &Place, mode: LeaseMode) -> Result<Target, Fail> {
    let machine = place.remote().map(|remote| remote.machine(ctx)).transpose()?.unwrap_or_default();
    let root = place.root(ctx)?;
    let looked = with_work(ctx, |work| root.look(Look::Id, work));
    let (key, full) = if is_missing(&looked) {
        (text(place.path()), root)
    } else {
        let looked = looked.map_err(Error::from)?;
        (format!("{:x}:{:x}", looked.id.dev, looked.id.ino), root.beside(looked.full))
    };
    // As it is shown: the text form of its bytes.
    let path = path_bytes(&full.to_string()).map_err(Error::from)?;
    Ok(Target { kind: TargetKind::Tree, key: format!("tree:{machine}:{key}"), path, mode })
}

/// Asks something that keeps nothing.
fn with_work<T>(ctx: &Ctx, ask: impl FnOnce(&Work<'_>) -> T) -> T {
    let (cancel, progress) = (ctx.cancel(), ctx.progress());
    ask(&Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel })
}

fn marker_of(run: &Run) -> Marker {
    Marker {
        run: run.id().as_str().to_owned(),
        host: super::super::host_name(),
        at: jiff::Timestamp::now().to_string(),
    }
}

/// Claims a destination on another machine; again where the connection of the claim before was lost.
fn claim_far(ctx: &Ctx, run: &Run, dest: &Place, expected: Option<&RootId>) -> Result<(), Fail> {
    let root = dest.root(ctx)?;
    let mut state = ctx.state();
    if state.claims.get(&dest.key()).is_some_and(Ours::is_held) {
        drop(state);
        let found = with_work(ctx, |work| root::id(&root, work)).map_err(Error::from)?;
        return match expected.filter(|expected| **expected != found) {
            None => Ok(()),
            Some(expected) => {
                let changed = copy::Error::RootChanged { path: dest.to_string(), expected: expected.clone(), found };
                Err(Error::from(changed).into())
            }
        };
    }
    state.claims.remove(&dest.key());
    drop(state);
    let claim = claim_again(ctx, &root, &marker_of(run), expected)?;
    ctx.state().claims.insert(dest.key(), claim);
    Ok(())
}

/// Claims a root on another machine for a run that may have it already.
fn claim_again(ctx: &Ctx, root: &Root, marker: &Marker, expected: Option<&RootId>) -> Result<Ours, Error> {
    let end = std::time::Instant::now() + SILENT + std::time::Duration::from_secs(5);
    loop {
        match with_work(ctx, |work| root.claim(marker, expected, work)) {
            // An attempt before, whose connection was lost: its agent gives up when it has heard nothing for a while.
            Err(tree::Error::Tree(copy::Error::Held { by: Some(by) }))
                if by.run == marker.run && std::time::Instant::now() < end =>
            {
                ctx.cancel().sleep(std::time::Duration::from_millis(200))?;
            }
            claimed => return Ok(claimed?),
        }
    }
}

/// Claims the destination for the run, on the destination itself, once per process; nothing is written to a directory
/// that is not the `expected` one.
pub(super) fn claim_root(ctx: &Ctx, dest: &Place, expected: Option<&RootId>) -> Result<(), Error> {
    let Some(run) = &ctx.run else { return Ok(()) };
    match dest.here() {
        Some(path) => claim_here(ctx, run, path, expected),
        None => claim_far(ctx, run, dest, expected).map_err(Fail::into_error),
    }
}

fn claim_here(ctx: &Ctx, run: &Run, dest: &Path, expected: Option<&RootId>) -> Result<(), Error> {
    let found = copy::root_id(dest)?;
    if let Some(expected) = expected.filter(|expected| **expected != found) {
        return Err(copy::Error::RootChanged { path: text(dest), expected: expected.clone(), found }.into());
    }
    let full = dest
        .canonicalize()
        .map_err(|error| Error::new(Kind::Io, format!("cannot resolve `{}`", text(dest))).because(error))?;
    let mut state = ctx.state();
    if let Entry::Vacant(free) = state.claims.entry(full) {
        let claim = claim::take(free.key(), &marker_of(run))?;
        free.insert(Ours::Here(claim));
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
        match claim {
            Ours::Here(claim) => release(run, &root, claim)?,
            far => match far.release() {
                // Whether the marker is still there is looked at below.
                Ok(()) | Err(copy::Error::Apart(_)) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    // A process that only found everything done has claimed nothing, and the marker of the one before is still there,
    // or has just gone.
    for lease in run.leases()? {
        let root = PathBuf::from(std::ffi::OsString::from_vec(lease.target.path.clone()));
        if is_far(&root) {
            if lease.target.mode == LeaseMode::Exclusive && lease.target.kind == TargetKind::Tree {
                release_far(ctx, run.id(), &root)?;
            }
            continue;
        }
        if let Some(claim) = marked(run.id(), &lease.target, &root)? {
            release(run, &root, claim)?;
        } else if lease.target.mode == LeaseMode::Exclusive && root.is_dir() {
            mend_times(run, &root)?;
        }
    }
    Ok(())
}

/// Removes the run's marker from a root on another machine, if it is there.
fn release_far(ctx: &Ctx, run: &RunId, path: &Path) -> Result<(), Error> {
    let released = || -> Result<(), Fail> {
        let root: Root = Place::kept(ctx, &text(path))?.root(ctx)?;
        let marker = with_work(ctx, |work| root.marker(work));
        if is_missing(&marker) {
            return Ok(());
        }
        if let Some(marker) = marker.map_err(Error::from)?.filter(|marker| marker.run == run.as_str()) {
            claim_again(ctx, &root, &marker, None)?.release().map_err(Error::from)?;
        }
        Ok(())
    };
    released().map_err(Fail::into_error)
}

/// Whether what marks a target of a run is on another machine.
pub(crate) fn marked_far(target: &Target) -> bool {
    let root = PathBuf::from(std::ffi::OsString::from_vec(target.path.clone()));
    is_far(&root) && target.mode == LeaseMode::Exclusive && target.kind == TargetKind::Tree
}

/// Removes the marker of a run that is given up from a target on this machine, if it is there.
pub(crate) fn forget(run: &RunId, target: &Target) -> Result<(), Error> {
    let root = PathBuf::from(std::ffi::OsString::from_vec(target.path.clone()));
    marked(run, target, &root)?.map_or(Ok(()), |claim| Ok(claim.release()?))
}

/// The same from one on another machine; `ctx` knows how the script of the run reaches it.
pub(crate) fn forget_far(ctx: &Ctx, run: &RunId, target: &Target) -> Result<(), Error> {
    let root = PathBuf::from(std::ffi::OsString::from_vec(target.path.clone()));
    release_far(ctx, run, &root).map_err(|error| {
        let mark = format!("{}/{}", text(&root), claim::NAME);
        let message = format!("run {run} is abandoned, but its mark `{mark}` was not removed: {}", error.message);
        let failed = Error::new(error.kind, message).exit(error.exit_code());
        failed.hints(error.hints).hint("if it is there, remove it by hand")
    })
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
