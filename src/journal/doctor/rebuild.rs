//! Making a journal anew: the newest good copy, or an empty one, and over it what the event files of the runs tell.
//!
//! The new journal is complete, checked and synced before anything of the old one is touched; the old one is put
//! aside under a dated name, its log first, so that no log can ever be read into a journal it does not belong to.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::Migrations;
use serde_json::{Value, json};

use crate::journal::error::Error;
use crate::journal::events::{FILE, Story, last_of_files};
use crate::journal::migrate::{self, KNOWN};
use crate::journal::model::{Level, RunId};
use crate::journal::store::{events, images};
use crate::journal::{agree, backup, crash, now_ms, open};

/// What the name of a journal that was put aside begins with.
pub(super) const ASIDE: &str = "journal-damaged-";

/// The event that tells of it; `incomplete` says what of the run could not be restored.
pub(in crate::journal) const EVENT: &str = "run.rebuilt";

/// What came of it.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// The copy it was begun from; none if it was made from the event files alone.
    pub base: Option<PathBuf>,
    /// Where the old journal is; none if there was none.
    pub aside: Option<PathBuf>,
    /// How many runs the journal has.
    pub runs: usize,
    /// How many events were added to those of the copy.
    pub events: usize,
    /// What could not be restored, one line each.
    pub lost: Vec<String>,
}

/// Makes the journal in `dir` anew.
///
/// # Errors
/// [`Error::Busy`] while another process has it open, [`Error::Live`] while one works on a run; [`Error::NotLocal`],
/// [`Error::Full`], [`Error::Io`], [`Error::Sql`]. What was there is then as it was.
pub fn rebuild(dir: &Path) -> Result<Rebuilt, Error> {
    open::local(dir)?;
    let dir = dir.canonicalize().map_err(|source| Error::io("resolve", dir, source))?;
    let runs_dir = dir.join("runs");
    let _turn = open::turn(&dir)?;
    let _alone = open::alone(&dir)?;
    migrate::nobody_works(&runs_dir)?;

    let fresh = dir.join(".journal-rebuilt.db");
    remove(&fresh)?;
    let base = base(&dir, &fresh)?;
    let fail = |source| Error::sql("be made anew", &fresh, source);
    let mut sql = Connection::open_with_flags(&fresh, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
    sql.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;")
        .map_err(fail)?;
    Migrations::from_slice(KNOWN.0).to_latest(&mut sql).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => fail(err),
        other => Error::Corrupt { path: fresh.clone(), detail: other.to_string() },
    })?;
    let mut done = Rebuilt { base, aside: None, runs: 0, events: 0, lost: Vec::new() };
    let tx = sql.transaction().map_err(fail)?;
    fill(&tx, &runs_dir, &mut done).map_err(|error| error.at("be made anew", &fresh))?;
    tx.commit().map_err(fail)?;
    open::check(&sql, &fresh, &KNOWN)?;
    // What the next opening would refuse is found before anything is put aside.
    open::not_behind(&sql, &fresh, &last_of_files(&runs_dir)?).map_err(|error| error.at("be made anew", &fresh))?;
    drop(sql);
    sync(&fresh)?;
    crash::point("rebuild: before the old journal is put aside");
    done.aside = put_aside(&dir)?;
    crash::point("rebuild: before the new journal is put in place");
    let path = dir.join(open::FILE);
    fs::rename(&fresh, &path).map_err(|source| Error::io("rename", &fresh, source))?;
    open::sync_dir(&dir)?;
    crash::point("rebuild: after the new journal is put in place");
    Ok(done)
}

/// Copies the newest good copy to `fresh`, or makes an empty file there.
fn base(dir: &Path, fresh: &Path) -> Result<Option<PathBuf>, Error> {
    let good = backup::all(dir)?.into_iter().rev().map(|(_, copy)| copy).find(|copy| backup::sound(copy).is_ok());
    let fail = |source| Error::io("write", fresh, source);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh).map_err(fail)?;
    if let Some(copy) = &good {
        let mut from = File::open(copy).map_err(|source| Error::io("open", copy, source))?;
        std::io::copy(&mut from, &mut file).map_err(fail)?;
    }
    file.sync_all().map_err(fail)?;
    Ok(good)
}

/// Writes what the event files tell over what the copy held.
fn fill(sql: &Connection, runs_dir: &Path, done: &mut Rebuilt) -> Result<(), Error> {
    let mut incomplete: Vec<(RunId, Vec<String>)> = Vec::new();
    let pruned = events::pruned(sql)?;
    let files: Vec<RunId> = last_of_files(runs_dir)?.into_keys().filter(|run| !pruned.contains(run)).collect();
    for run in &files {
        let story = Story::read(&runs_dir.join(run.as_str()))?;
        if let Some(other) = story.run().filter(|other| *other != run.as_str()) {
            let path = runs_dir.join(run.as_str()).join(FILE);
            let detail = format!("it tells of run {other}: move this directory out of {}", shown(runs_dir));
            return Err(Error::Corrupt { path, detail });
        }
        let missing = tell(sql, run, &story, done)?;
        if !missing.is_empty() {
            incomplete.push((run.clone(), missing));
        }
    }
    for (run, status, _) in events::last_of_runs(sql)? {
        if !files.contains(&run) && !status.finished() {
            incomplete.push((run, vec!["its event file is gone: it is as it was when the copy was made".to_owned()]));
        }
    }
    let all = events::last_of_runs(sql)?;
    done.runs = all.len();
    for (run, missing) in &incomplete {
        done.lost.extend(missing.iter().map(|line| format!("run {run}: {line}")));
    }
    for (table, parent) in broken(sql)? {
        done.lost.push(format!("rows of `{parent}` that rows of `{table}` need"));
    }
    if images::meta(sql)?.is_empty() && !all.is_empty() {
        done.lost.push("the journal's own key: keys of effects that were sent elsewhere before do not fit".to_owned());
    }
    for (run, ..) in all {
        let missing = incomplete.iter().find(|(other, _)| *other == run).map(|(_, missing)| missing.clone());
        let data = json!({ "base": done.base.as_deref().map(shown), "incomplete": missing.unwrap_or_default() });
        events::insert(sql, &run, now_ms(), Level::Warn, EVENT, None, data)?;
    }
    Ok(())
}

/// Writes one run; what of it could not be restored.
fn tell(sql: &Connection, run: &RunId, story: &Story, done: &mut Rebuilt) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    if story.lines.is_empty() && story.damage.is_empty() {
        // A process died before the run began.
        return Ok(missing);
    }
    let before = events::last(sql, run)?;
    if story.old {
        if story.last() > before {
            missing.push("its event file is of the first format, from which the newest part cannot be made".to_owned());
        }
        return Ok(missing);
    }
    missing.extend(story.damage.iter().cloned());
    for (table, image) in story.lines.iter().flat_map(|line| &line.rows) {
        // The newest meta is that of the copy, and all files have the same one.
        images::put(sql, table, image)?;
    }
    for line in &story.lines {
        if line.event.seq > before {
            done.events += 1;
        }
        let event = &line.event;
        sql.prepare_cached(
            "INSERT OR REPLACE INTO event (seq, run_id, at, level, kind, step_id, data)
             VALUES (?1, ?2, ?3, ?4, ?5, (SELECT id FROM step WHERE run_id = ?2 AND key = ?6), ?7)",
        )?
        .execute((
            event.seq,
            run.as_str(),
            event.at,
            event.level,
            &event.kind,
            &event.step,
            event.data.to_string(),
        ))?;
    }
    if story.damage.is_empty() {
        // The proof that nothing was forgotten.
        missing.extend(agree::differences(sql, run, story)?);
    }
    Ok(missing)
}

/// Tables whose rows need rows that are not there.
fn broken(sql: &Connection) -> Result<Vec<(String, String)>, Error> {
    let mut statement = sql.prepare("SELECT DISTINCT \"table\", parent FROM pragma_foreign_key_check")?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
}

/// What of a run could not be restored when the journal was made anew.
pub(in crate::journal) fn incomplete(sql: &Connection, run: &RunId) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for event in events::after(sql, run, 0)?.iter().filter(|event| event.kind == EVENT) {
        let lines = event.data["incomplete"].as_array().map(Vec::as_slice).unwrap_or_default();
        found.extend(lines.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(found)
}

/// Gives the old journal a dated name; its new path.
fn put_aside(dir: &Path) -> Result<Option<PathBuf>, Error> {
    let stamp = now_ms();
    let mut main = None;
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let from = dir.join(format!("{}{suffix}", open::FILE));
        let to = dir.join(format!("{ASIDE}{stamp}.db{suffix}"));
        match fs::rename(&from, &to) {
            Ok(()) => {
                open::sync_dir(dir)?;
                crash::point("rebuild: after a file was put aside");
                main = suffix.is_empty().then_some(to);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("put aside", &from, source)),
        }
    }
    Ok(main)
}

fn remove(path: &Path) -> Result<(), Error> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", Path::new(&name), error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| Error::io("sync", path, source))
}

fn shown(path: &Path) -> String {
    crate::units::path_text(path.as_os_str().as_encoded_bytes())
}
