//! Whole copies of the journal in `backup/`: before a migration, before a run begins (at most one in ten minutes),
//! before each point of no return and every ten minutes while one works. `doctor --rebuild` begins from the newest of them.
//!
//! A copy gets its name only when it is complete and synced, so that whatever has a name can be used.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::error::Error;
use super::migrate::KNOWN;
use super::{crash, now_ms, open};

/// Directory of the copies, in the state directory.
pub(super) const DIR: &str = "backup";

/// What the name of a copy that is not complete begins with; the process that makes it follows.
const UNFINISHED: &str = ".unfinished-";

/// How many routine copies are kept; those of a migration stay until somebody removes them.
const KEEP: usize = 3;

/// A copy younger than this is young enough.
const YOUNG: Duration = Duration::from_secs(10 * 60);

/// Copies the journal as routine, unless the last routine copy is young and that is `enough`.
pub(super) fn routine(sql: &Connection, dir: &Path, path: &Path, enough: bool) -> Result<(), Error> {
    let now = now_ms();
    let youth = i64::try_from(crash::interval(YOUNG).as_millis()).unwrap_or(i64::MAX);
    let young = |at: i64| (0..youth).contains(&(now - at));
    if enough && routines(dir)?.last().is_some_and(|(at, _)| young(*at)) {
        return Ok(());
    }
    remove_unfinished(dir)?;
    make(sql, dir, path, &format!("journal-{now}.db"))?;
    let copies = routines(dir)?;
    // The older ones go only when the new one can be used.
    let made = dir.join(DIR).join(format!("journal-{now}.db"));
    sound(&made)?;
    let old = copies.iter().map(|(_, copy)| copy).filter(|copy| **copy != made);
    old.take(copies.len().saturating_sub(KEEP)).try_for_each(|copy| remove(copy))
}

/// Copies the journal to `backup/<name>`.
pub(super) fn make(sql: &Connection, dir: &Path, path: &Path, name: &str) -> Result<(), Error> {
    let backups = dir.join(DIR);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&backups)
        .map_err(|source| Error::io("create", &backups, source))?;
    // By process, because two runs may begin at once.
    let unfinished = backups.join(format!("{UNFINISHED}{}", std::process::id()));
    let Some(text) = unfinished.to_str() else {
        return Err(Error::io("name", &unfinished, io::Error::from(io::ErrorKind::InvalidFilename)));
    };
    // SQLite accepts an empty file as the target and would make one with wider rights itself.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(|source| Error::io("create", &unfinished, source))?;
    crash::point("backup: before the copy");
    let copied = sql
        .execute("VACUUM INTO ?1", [text])
        .map_err(|source| Error::sql("be backed up", path, source))
        .and_then(|_| file.sync_all().map_err(|source| Error::io("sync", &unfinished, source)));
    if let Err(error) = copied {
        // Its space may be what is missing; the error that counts is the one above.
        fs::remove_file(&unfinished).ok();
        return Err(error);
    }
    let copy = backups.join(name);
    fs::rename(&unfinished, &copy).map_err(|source| Error::io("rename", &unfinished, source))?;
    open::sync_dir(&backups)?;
    crash::point("backup: after the copy");
    open::sync_dir(dir)
}

/// Removes what processes left that died while they made a copy.
fn remove_unfinished(dir: &Path) -> Result<(), Error> {
    for (name, path) in entries(dir)? {
        // SQLite's own journal of the copy has more behind the number.
        let Some(process) = name.strip_prefix(UNFINISHED).and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(process).exists() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a copy; another process may have been faster.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Refuses a copy that could not be put back.
pub(super) fn sound(copy: &Path) -> Result<(), Error> {
    open::read(copy, |sql| {
        open::check(sql, copy, &KNOWN)?;
        open::whole(sql, copy)
    })
    .map_err(|error| error.at("be read", copy))
}

/// Every copy with its time, oldest first: routine ones and those made before a migration.
pub(super) fn all(dir: &Path) -> Result<Vec<(i64, PathBuf)>, Error> {
    let mut copies: Vec<(i64, PathBuf)> = entries(dir)?
        .into_iter()
        .filter_map(|(name, path)| {
            let time = name.strip_prefix("journal-")?.strip_suffix(".db")?;
            Some((time.rsplit('-').next()?.parse().ok()?, path))
        })
        .collect();
    sort(&mut copies);
    Ok(copies)
}

/// The routine copies with their time, oldest first.
fn routines(dir: &Path) -> Result<Vec<(i64, PathBuf)>, Error> {
    let mut copies: Vec<(i64, PathBuf)> = entries(dir)?
        .into_iter()
        .filter_map(|(name, path)| {
            let time = name.strip_prefix("journal-")?.strip_suffix(".db")?;
            Some((time.parse().ok()?, path))
        })
        .collect();
    sort(&mut copies);
    Ok(copies)
}

/// Oldest first. A copy from the future was made while the clock was ahead: nobody knows when, so it counts as the oldest,
/// and goes first.
fn sort(copies: &mut [(i64, PathBuf)]) {
    let now = now_ms();
    copies.sort_by_cached_key(|(at, path)| (*at <= now, *at, path.clone()));
}

/// What is in the directory of the copies.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let backups = dir.join(DIR);
    let fail = |source| Error::io("list", &backups, source);
    let list = match fs::read_dir(&backups) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut entries = Vec::new();
    for entry in list {
        let entry = entry.map_err(fail)?;
        // A name that is not UTF-8 is nobody's copy.
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path()));
        }
    }
    Ok(entries)
}
