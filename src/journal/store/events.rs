//! Events: appended, never changed.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::json_always;
use crate::journal::error::Error;
use crate::journal::model::{Level, RunId, StepId};
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

/// Every run with the number of its last event.
pub(crate) fn last_of_runs(sql: &Connection) -> Result<Vec<(RunId, i64)>, Error> {
    let mut statement =
        sql.prepare_cached("SELECT run.id, (SELECT coalesce(max(seq), 0) FROM event WHERE run_id = run.id) FROM run")?;
    let rows = statement.query_map([], |row| Ok((RunId(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
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
