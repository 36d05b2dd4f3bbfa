//! What is looked at in the database: its pages, its rows, and whether they say what the event files say.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::{Checkup, REBUILD, open};
use crate::journal::error::Error;
use crate::journal::events::{FILE, Story, last_of_files};
use crate::journal::migrate::KNOWN;
use crate::journal::model::RunId;
use crate::journal::run::PROGRESS;
use crate::journal::step::RunStatus;
use crate::journal::store::{blobs, events, leases};
use crate::journal::{agree, lock, now_ms, progress};

/// Looks at the database; the runs it knows, if it can be read.
pub(super) fn look(dir: &Path, checkup: &mut Checkup) -> Result<Option<Vec<RunId>>, Error> {
    let path = dir.join(open::FILE);
    // Read before the tables, because a line follows its commit.
    let files = last_of_files(&dir.join("runs"))?;
    if open::is_new(&path)? {
        return Ok(match open::nothing_lost(&path, &files) {
            Ok(()) => Some(Vec::new()),
            Err(error) => {
                checkup.error(&path, error.to_string());
                None
            }
        });
    }
    let looked = open::read(&path, |sql| {
        let mut found = Checkup::default();
        let mut runs = inside(sql, dir, &path, &files, &mut found)?;
        found.runs = runs.len();
        if runs.is_empty() && files.values().all(|file| *file == 0) {
            return Ok((runs, found));
        }
        if let Err(error) = open::not_behind(sql, &path, &files) {
            found.error(&path, error.to_string());
        }
        // What is left of removed runs is removed by the next writer.
        runs.extend(events::pruned(sql)?);
        Ok((runs, found))
    });
    match looked {
        Ok((runs, found)) => {
            checkup.runs = found.runs;
            checkup.findings.extend(found.findings);
            Ok(Some(runs))
        }
        Err(error @ (Error::Newer { .. } | Error::Older { .. })) => {
            let advice = match error {
                Error::Newer { .. } => "use that newer decamp",
                _ => "the next `decamp run` or `decamp resume` brings it up to date; look again then",
            };
            checkup.warn(&path, error.to_string(), advice);
            Ok(None)
        }
        Err(error) => {
            checkup.error(&path, error.at("be read", &path).to_string());
            Ok(None)
        }
    }
}

fn inside(
    sql: &Connection,
    dir: &Path,
    path: &Path,
    files: &BTreeMap<RunId, i64>,
    checkup: &mut Checkup,
) -> Result<Vec<RunId>, Error> {
    let found = open::check(sql, path, &KNOWN)?;
    if found == 0 {
        open::nothing_lost(path, files)?;
        return Ok(Vec::new());
    }
    if found < KNOWN.newest() {
        return Err(Error::Older { path: path.to_path_buf(), found, known: KNOWN.newest() });
    }
    for line in lines(sql, "PRAGMA integrity_check(20)")?.iter().filter(|line| *line != "ok") {
        checkup.error(path, format!("integrity: {line}"));
    }
    let broken = lines(sql, "SELECT DISTINCT \"table\" || ' to ' || parent FROM pragma_foreign_key_check")?;
    for link in broken {
        checkup.error(path, format!("rows are missing: from {link}"));
    }
    for hash in lines(sql, "SELECT hash FROM blob ORDER BY hash")? {
        if let Err(error) = blobs::need(sql, &hash) {
            checkup.error(path, format!("content {hash}: {}", error.at("be read", path)));
        }
    }
    let all = events::last_of_runs(sql)?;
    for (run, status, _) in &all {
        of_run(sql, dir, path, run, *status, checkup)?;
    }
    Ok(all.into_iter().map(|(run, ..)| run).collect())
}

fn of_run(
    sql: &Connection,
    dir: &Path,
    path: &Path,
    run: &RunId,
    status: RunStatus,
    checkup: &mut Checkup,
) -> Result<(), Error> {
    let runs_dir = dir.join("runs");
    let (run_dir, file) = (runs_dir.join(run.as_str()), runs_dir.join(run.as_str()).join(FILE));
    let held = leases::of(sql, run)?.into_iter().filter(|lease| lease.released_ms.is_none()).count();
    if status.finished() && held > 0 {
        let what = format!("run {run} is over ({status}) and still holds {held} targets");
        checkup.error(path, what);
    }
    clock(sql, run, path, checkup)?;
    if lock::is_live(&runs_dir, run)? {
        checkup.note(
            &file,
            format!("run {run} is at work: its files were not looked at"),
            "look again when it is over",
        );
        return Ok(());
    }
    if !matches!(status, RunStatus::Undone | RunStatus::Abandoned)
        && events::any(sql, run, PROGRESS)?
        && let Err(error) = progress::look(&run_dir, run)
    {
        let what = format!("run {run} can be neither resumed nor undone: {error}");
        let advice = match status {
            RunStatus::Succeeded => {
                "put the files of its directory back from a backup, if it is to be undone".to_owned()
            }
            _ => format!("put the files of its directory back from a backup, or: decamp abandon {run}"),
        };
        checkup.warn(&run_dir.join(progress::FILE), what, advice);
    }
    if !file.exists() {
        let what = format!("run {run} has no event file: it could not be made anew from it");
        let advice =
            if run_dir.exists() { "the next writer makes it from the journal" } else { "none if that is meant" };
        checkup.warn(&file, what, advice);
        return Ok(());
    }
    let story = Story::read(&run_dir)?;
    if let Some(other) = story.run().filter(|other| *other != run.as_str()) {
        let what = format!("it is that of run {other}, in the directory of run {run}");
        checkup.add(super::Severity::Error, &file, what, "move the directory out of here, and put the right one back");
        return Ok(());
    }
    let mend = "the next writer writes it anew from the journal and keeps a copy";
    for damage in &story.damage {
        checkup.warn(&file, damage.clone(), mend);
    }
    if story.torn > 0 {
        checkup.note(&file, "its last line is torn: a process died while it wrote", "the next writer completes it");
    }
    if story.old {
        checkup.note(
            &file,
            "it is of the first format, and no run can be made from it",
            "resuming the run writes it anew",
        );
    }
    if story.damage.is_empty() && story.last() < events::last(sql, run)? {
        let what = "events are missing at its end: a process died between a commit and its lines";
        checkup.note(&file, what, "the next writer completes it");
    }
    if story.damage.is_empty() {
        for line in agree::differences(sql, run, &story)? {
            checkup.add(super::Severity::Error, &file, format!("journal and events differ: {line}"), REBUILD);
        }
    }
    Ok(())
}

/// A clock that went backwards, or events of the future.
fn clock(sql: &Connection, run: &RunId, path: &Path, checkup: &mut Checkup) -> Result<(), Error> {
    const SLACK_MS: i64 = 2_000;
    let advice = "set the clock of this machine right; ages and deadlines follow it";
    let rows = events::after(sql, run, 0)?;
    let back = rows.windows(2).filter(|pair| pair[1].at + SLACK_MS < pair[0].at).count();
    if back > 0 {
        checkup.warn(path, format!("the clock went backwards {back} times during run {run}"), advice);
    }
    if rows.last().is_some_and(|row| row.at > now_ms() + SLACK_MS) {
        checkup.warn(path, format!("run {run} ends in the future"), advice);
    }
    Ok(())
}

fn lines(sql: &Connection, text: &str) -> Result<Vec<String>, Error> {
    let mut statement = sql.prepare(text)?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}
