//! Leases: which run may touch what. Rows of finished runs stay as a record.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use super::runs;
use crate::journal::error::Error;
use crate::journal::lock;
use crate::journal::model::{Lease, LeaseMode, Level, RunId, Target};
use crate::journal::step::RunStatus;
use crate::journal::view::state;
use crate::journal::writer::Tx;
use crate::units::path_text;

/// Takes a lease for a run; a shared one becomes exclusive where that is asked for, never the reverse.
pub(crate) fn take(tx: &mut Tx<'_>, id: &RunId, epoch: i64, target: &Target, runs_dir: &Path) -> Result<(), Error> {
    runs::fence(&tx.sql, id, epoch)?;
    let held: Option<LeaseMode> = tx
        .sql
        .prepare_cached(
            "SELECT mode FROM lease WHERE run_id = ?1 AND target = ?2 AND path = ?3 AND released_at IS NULL",
        )?
        .query_row((id.as_str(), &target.key, &target.path), |row| row.get(0))
        .optional()?;
    if held.is_some_and(|held| held == target.mode || held == LeaseMode::Exclusive) {
        return Ok(());
    }
    free(&tx.sql, id, target, runs_dir)?;
    tx.sql.execute(
        "INSERT INTO lease (run_id, target, kind, path, mode, epoch, acquired_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (run_id, target, path) DO UPDATE
         SET mode = excluded.mode, epoch = excluded.epoch, acquired_at = excluded.acquired_at, released_at = NULL",
        (id.as_str(), &target.key, target.kind, &target.path, target.mode, epoch, tx.now),
    )?;
    let data = json!({ "target": target.key, "path": path_text(&target.path), "mode": target.mode });
    tx.event(id, Level::Info, "lease.taken", None, data)
}

/// Takes the leases of a run for its next incarnation, also those an ended run had given back.
pub(crate) fn retake(tx: &mut Tx<'_>, id: &RunId, epoch: i64, runs_dir: &Path) -> Result<(), Error> {
    for lease in of(&tx.sql, id)? {
        free(&tx.sql, id, &lease.target, runs_dir)?;
    }
    tx.sql.execute(
        "UPDATE lease SET epoch = ?2, acquired_at = iif(released_at IS NULL, acquired_at, ?3), released_at = NULL
         WHERE run_id = ?1",
        (id.as_str(), epoch, tx.now),
    )?;
    Ok(())
}

/// Gives back what a run holds.
pub(crate) fn release_all(tx: &mut Tx<'_>, id: &RunId) -> Result<(), Error> {
    let held: Vec<Lease> = of(&tx.sql, id)?.into_iter().filter(|lease| lease.released_ms.is_none()).collect();
    tx.sql.execute(
        "UPDATE lease SET released_at = ?2 WHERE run_id = ?1 AND released_at IS NULL",
        (id.as_str(), tx.now),
    )?;
    for lease in held {
        let data = json!({ "target": lease.target.key, "path": path_text(&lease.target.path) });
        tx.event(id, Level::Info, "lease.released", None, data)?;
    }
    Ok(())
}

/// Every lease a run has or had, oldest first.
pub(crate) fn of(sql: &Connection, id: &RunId) -> Result<Vec<Lease>, Error> {
    let mut statement =
        sql.prepare_cached("SELECT * FROM lease WHERE run_id = ?1 ORDER BY acquired_at, target, path")?;
    Ok(statement.query_map([id.as_str()], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Refuses a target that another unfinished run holds, or one above or below it.
fn free(sql: &Connection, id: &RunId, target: &Target, runs_dir: &Path) -> Result<(), Error> {
    let mut statement = sql.prepare_cached(
        "SELECT lease.*, run.script, run.status FROM lease JOIN run ON run.id = lease.run_id
         WHERE lease.released_at IS NULL AND lease.run_id <> ?1 ORDER BY lease.acquired_at",
    )?;
    let others: Vec<(Lease, String, RunStatus)> = statement
        .query_map([id.as_str()], |row| Ok((read(row)?, row.get("script")?, row.get("status")?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (lease, script, status) in others {
        if !status.finished() && overlap(&lease.target, target) {
            let live = lock::is_live(runs_dir, &lease.run)?;
            return Err(Error::Held {
                path: lease.target.path,
                run: lease.run,
                script,
                status,
                state: state(status, live),
            });
        }
    }
    Ok(())
}

/// Whether two leases exclude each other: one thing or one above the other, and not both only read.
fn overlap(one: &Target, other: &Target) -> bool {
    let shared = one.mode == LeaseMode::Shared && other.mode == LeaseMode::Shared;
    let same = one.key == other.key || holds(&one.path, &other.path) || holds(&other.path, &one.path);
    one.kind == other.kind && same && !shared
}

/// Whether `inner` is `outer` or below it, by whole components.
fn holds(outer: &[u8], inner: &[u8]) -> bool {
    let outer = outer.strip_suffix(b"/").unwrap_or(outer);
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        run: RunId(row.get("run_id")?),
        target: Target {
            kind: row.get("kind")?,
            key: row.get("target")?,
            path: row.get("path")?,
            mode: row.get("mode")?,
        },
        acquired_ms: row.get("acquired_at")?,
        released_ms: row.get("released_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::model::TargetKind;

    fn target(key: &str, path: &str, mode: LeaseMode) -> Target {
        Target { kind: TargetKind::Tree, key: key.to_owned(), path: path.as_bytes().to_vec(), mode }
    }

    #[test]
    fn overlap_goes_by_identity_and_by_whole_components() {
        use LeaseMode::{Exclusive, Shared};
        let table = [
            ("a", "/export", "b", "/export", true),
            ("a", "/export", "b", "/export/hub1", true),
            ("a", "/export/hub1", "b", "/export", true),
            ("a", "/", "b", "/export", true),
            ("a", "/export", "b", "/exports", false),
            ("a", "/export/a", "b", "/export/b", false),
            ("a", "/mnt/bind", "a", "/export", true),
            ("a", "/export/", "b", "/export", true),
        ];
        for (key, path, other_key, other_path, clash) in table {
            for (one, other) in [(Exclusive, Exclusive), (Shared, Exclusive), (Exclusive, Shared)] {
                let (one, other) = (target(key, path, one), target(other_key, other_path, other));
                assert_eq!(overlap(&one, &other), clash, "{one:?} {other:?}");
            }
            assert!(!overlap(&target(key, path, Shared), &target(other_key, other_path, Shared)));
        }
    }
}
