//! Events: appended, never changed.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::json_always;
use crate::journal::error::Error;
use crate::journal::model::{Level, RunId, StepId};
use crate::journal::step::RunStatus;
use crate::journal::view::EventRow;

const SELECT: &str = "SELECT e.seq, e.at, e.level, e.kind, s.key AS step, e.data
                      FROM event e LEFT JOIN step s ON s.id = e.step_id";

/// Appends an event and returns it as it is stored.
pub(crate) fn insert(
    sql: &Connection,
    run: &RunId,
    at: i64,
    level: Level,
    kind: &str,
    step: Option<StepId>,
    data: Value,
) -> Result<EventRow, Error> {
    let key: Option<String> = match step {
        Some(step) => sql
            .prepare_cached("SELECT key FROM step WHERE id = ?1")?
            .query_row([step.0], |row| row.get(0))
            .optional()?,
        None => None,
    };
    sql.prepare_cached("INSERT INTO event (run_id, at, level, kind, step_id, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute((run.as_str(), at, level, kind, step.map(|step| step.0), data.to_string()))?;
    Ok(EventRow { seq: sql.last_insert_rowid(), at, level, kind: kind.to_owned(), step: key, data })
}

/// Events of a run with a number above `seq`, oldest first.
pub(crate) fn after(sql: &Connection, run: &RunId, seq: i64) -> Result<Vec<EventRow>, Error> {
    let mut statement = sql.prepare_cached(&format!("{SELECT} WHERE e.run_id = ?1 AND e.seq > ?2 ORDER BY e.seq"))?;
    let rows = statement.query_map((run.as_str(), seq), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Every run with its status and the number of its last event.
pub(crate) fn last_of_runs(sql: &Connection) -> Result<Vec<(RunId, RunStatus, i64)>, Error> {
    let mut statement = sql.prepare_cached(
        "SELECT run.id, run.status, (SELECT coalesce(max(seq), 0) FROM event WHERE run_id = run.id) FROM run",
    )?;
    let rows = statement.query_map([], |row| Ok((RunId(row.get(0)?), row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The number of a run's last event, 0 if there is none.
pub(crate) fn last(sql: &Connection, run: &RunId) -> Result<i64, Error> {
    let mut statement = sql.prepare_cached("SELECT coalesce(max(seq), 0) FROM event WHERE run_id = ?1")?;
    Ok(statement.query_row([run.as_str()], |row| row.get(0))?)
}

/// Whether the run has an event of that kind.
pub(crate) fn any(sql: &Connection, run: &RunId, kind: &str) -> Result<bool, Error> {
    Ok(sql.prepare_cached("SELECT 1 FROM event WHERE run_id = ?1 AND kind = ?2")?.exists((run.as_str(), kind))?)
}

/// The runs that were removed.
pub(crate) fn pruned(sql: &Connection) -> Result<Vec<RunId>, Error> {
    let mut statement = sql.prepare_cached("SELECT run_id FROM pruned")?;
    let rows = statement.query_map([], |row| Ok(RunId(row.get(0)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The event by which a run says that it does a kept plan.
pub(crate) const PLAN: &str = "run.plan";

/// The run that did the kept plan of that name.
pub(crate) fn run_of_plan(sql: &Connection, plan: &str) -> Result<Option<RunId>, Error> {
    Ok(sql
        .prepare_cached("SELECT run_id FROM event WHERE kind = ?1 AND data ->> '$.id' = ?2 ORDER BY seq LIMIT 1")?
        .query_row((PLAN, plan), |row| row.get(0).map(RunId))
        .optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        seq: row.get("seq")?,
        at: row.get("at")?,
        level: row.get("level")?,
        kind: row.get("kind")?,
        step: row.get("step")?,
        data: json_always(row, "data")?,
    })
}
