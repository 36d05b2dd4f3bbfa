//! What is looked at beside the database: the files of runs, copies, locks, rights, and space.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{Checkup, Severity, open};
use crate::journal::error::Error;
use crate::journal::events::Story;
use crate::journal::model::RunId;
use crate::journal::{backup, ballast, lock, now_ms};
use crate::units::{Bytes, path_text, show_duration};

/// Looks at the files; `known` are the runs of the journal, if it could be read.
pub(super) fn look(dir: &Path, known: Option<&[RunId]>, checkup: &mut Checkup) -> Result<(), Error> {
    rights(dir, 0, checkup)?;
    let runs_dir = dir.join("runs");
    for (name, path) in entries(&runs_dir)? {
        let (run, is_lock) = match name.strip_suffix(".lock") {
            Some(run) => (RunId::named(run), true),
            None => (RunId::named(&name), false),
        };
        let Some(run) = run else {
            let what = "it has no name of a run, and is not looked at";
            checkup.warn(&path, what, "move it out of the state directory");
            continue;
        };
        let live = lock::is_live(&runs_dir, &run)?;
        if known.is_some_and(|known| !known.contains(&run)) && !live {
            if !is_lock && lost(&run, &path, checkup)? {
                continue;
            }
            let what = if is_lock { "a lock of no run" } else { "a directory of no run" };
            checkup.note(&path, format!("{what}: a process died before the run began"), "it can be removed");
        }
    }
    space(dir, known, checkup)?;
    backups(dir, known, checkup)
}

/// Tells of a directory that is no leftover: events are in it, so there was a run, and the journal has lost it, or it
/// is that of another run. Whether it is so.
fn lost(run: &RunId, path: &Path, checkup: &mut Checkup) -> Result<bool, Error> {
    let story = Story::read(path)?;
    if let Some(other) = story.run().filter(|other| *other != run.as_str()) {
        let what = format!("it holds a copy of the files of run {other}, and the journal knows no run {run}");
        checkup.add(Severity::Error, path, what, "move it out of the state directory");
        return Ok(true);
    }
    // Lines that cannot be read are lines, too.
    if story.lines.is_empty() && story.damage.is_empty() {
        return Ok(false);
    }
    checkup.error(path, format!("it is that of run {run}, which happened, and which the journal has lost: keep it"));
    Ok(true)
}

fn space(dir: &Path, known: Option<&[RunId]>, checkup: &mut Checkup) -> Result<(), Error> {
    let free = open::free(dir)?;
    if free < open::SPACE {
        let what = format!("{} are free here, and a run needs {} to begin", Bytes(free), Bytes(open::SPACE));
        checkup.warn(dir, what, "make space there, or choose another place with --state-dir");
    }
    if known.is_some_and(|known| !known.is_empty()) && !ballast::whole(dir) {
        let what = "the reserve for a full disk is missing";
        checkup.warn(&dir.join(ballast::FILE), what, "the next writer with enough space makes it");
    }
    Ok(())
}

fn backups(dir: &Path, known: Option<&[RunId]>, checkup: &mut Checkup) -> Result<(), Error> {
    let copies = backup::all(dir)?;
    let place = dir.join(backup::DIR);
    if copies.is_empty() && known.is_none_or(|known| !known.is_empty()) {
        checkup.warn(&place, "there is no copy of the journal", "the next run makes one");
    }
    let now = now_ms();
    for (at, copy) in &copies {
        if *at > now {
            let what = "a copy from the future: the clock was ahead when it was made, or is behind now";
            checkup.warn(copy, what, "set the clock of this machine right; later copies take its place");
        }
        if let Err(error) = backup::sound(copy) {
            checkup.warn(copy, format!("a copy that cannot be used: {error}"), "remove it");
        }
    }
    if let Some((at, newest)) = copies.last() {
        let age = Duration::from_millis(u64::try_from(now - at).unwrap_or_default());
        let what = format!("{} copies; the newest is {} old", copies.len(), show_duration(age));
        checkup.note(newest, what, "none");
    }
    for (name, path) in entries(dir)? {
        if name.starts_with(super::rebuild::ASIDE) && name.ends_with(".db") {
            checkup.note(&path, "a journal that was put aside", "remove it when nobody needs to look at it any more");
        }
    }
    Ok(())
}

/// What others may read or write, or somebody else owns.
fn rights(path: &Path, depth: u32, checkup: &mut Checkup) -> Result<(), Error> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        // Gone since the directory was listed: a living run comes and goes.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::io("look at", path, source)),
    };
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own {
        let what = format!("it belongs to user {}", meta.uid());
        checkup.warn(path, what, format!("run decamp as that user, or: chown {own} {}", shown(path)));
    } else if meta.mode() & 0o077 != 0 && !meta.is_symlink() {
        let wanted = if meta.is_dir() { "700" } else { "600" };
        let what = format!("others can get at it (mode {:o})", meta.mode() & 0o7777);
        checkup.warn(path, what, format!("chmod {wanted} {}", shown(path)));
    }
    // The state directory, `runs` and `backup`, and what is in a run's directory.
    if meta.is_dir() && depth < 3 {
        for (_, entry) in entries(path)? {
            rights(&entry, depth + 1, checkup)?;
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path_text(path.as_os_str().as_encoded_bytes())
}

/// Names and paths in a directory, in order; none if it is not there.
fn entries(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>, Error> {
    let fail = |source| Error::io("list", dir, source);
    let list = match fs::read_dir(dir) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut all = Vec::new();
    for entry in list {
        let entry = entry.map_err(fail)?;
        all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    all.sort();
    Ok(all)
}
