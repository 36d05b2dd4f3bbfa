//! Steps: entered by key, replayed when they have an outcome.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Value, json};

use super::{effects, json as json_column, keep_result, load_result, runs};
use crate::journal::error::Error;
use crate::journal::key;
use crate::journal::model::{Level, RunId, StepId, StepKind, StepOutcome};
use crate::journal::step::{StepEvent, StepStatus, next_step};
use crate::journal::view::StepRow;
use crate::journal::writer::Tx;

/// What decides about a step.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) key: String,
    pub(crate) status: StepStatus,
    pub(crate) attempt: u32,
}

/// The step, if it belongs to that run.
pub(crate) fn head(sql: &Connection, run: &RunId, step: StepId) -> Result<Head, Error> {
    sql.prepare_cached("SELECT key, status, attempt FROM step WHERE id = ?1 AND run_id = ?2")?
        .query_row((step.0, run.as_str()), |row| {
            Ok(Head { key: row.get(0)?, status: row.get(1)?, attempt: row.get(2)? })
        })
        .optional()?
        .ok_or_else(|| Error::NotFound { what: format!("step {} in run {run}", step.0) })
}

/// Changes the status of a step as the state machine says.
pub(crate) fn change(tx: &Tx<'_>, run: &RunId, step: StepId, event: StepEvent) -> Result<StepStatus, Error> {
    let status = next_step(Some(head(&tx.sql, run, step)?.status), event)?;
    tx.sql.prepare_cached("UPDATE step SET status = ?2 WHERE id = ?1")?.execute((step.0, status))?;
    Ok(status)
}

/// Ends the body of a step.
pub(crate) fn leave(
    tx: &mut Tx<'_>,
    run: &RunId,
    epoch: i64,
    step: StepId,
    outcome: &StepOutcome,
) -> Result<(), Error> {
    runs::fence(&tx.sql, run, epoch)?;
    match outcome {
        StepOutcome::Done { result, changed } => {
            change(tx, run, step, StepEvent::Finish)?;
            let (inline, blob) = keep_result(&tx.sql, result)?;
            tx.sql
                .prepare_cached(
                    "UPDATE step SET result = ?2, result_blob = ?3, changed = ?4, error = NULL, retry_at = NULL,
                            finished_at = ?5 WHERE id = ?1",
                )?
                .execute((step.0, &inline, &blob, changed, tx.now))?;
            let mut data = json!({ "changed": changed });
            match blob {
                Some(hash) => data["result_blob"] = hash.into(),
                None => data["result"] = result.clone(),
            }
            tx.event(run, Level::Info, "step.done", Some(step), data)
        }
        StepOutcome::Failed { error } => {
            change(tx, run, step, StepEvent::Fail)?;
            tx.sql
                .prepare_cached("UPDATE step SET error = ?2, retry_at = NULL, finished_at = ?3 WHERE id = ?1")?
                .execute((step.0, error.to_string(), tx.now))?;
            tx.event(run, Level::Error, "step.failed", Some(step), json!({ "error": error }))
        }
        StepOutcome::Interrupted => {
            let status = head(&tx.sql, run, step)?.status;
            tx.event(run, Level::Warn, "step.interrupted", Some(step), json!({ "status": status }))
        }
    }
}

/// Remembers that the body is tried again, when, and as which attempt.
pub(crate) fn retry_at(
    tx: &mut Tx<'_>,
    run: &RunId,
    epoch: i64,
    step: StepId,
    at_ms: i64,
    attempt: u32,
    error: &Value,
) -> Result<(), Error> {
    runs::fence(&tx.sql, run, epoch)?;
    change(tx, run, step, StepEvent::Retry)?;
    tx.sql.prepare_cached("UPDATE step SET retry_at = ?2, attempt = ?3, error = ?4 WHERE id = ?1")?.execute((
        step.0,
        at_ms,
        attempt,
        error.to_string(),
    ))?;
    let data = json!({ "at_ms": at_ms, "attempt": attempt, "error": error });
    tx.event(run, Level::Warn, "step.retry", Some(step), data)
}

/// Makes a step, and everything that began after it, run again on resume: what it held was given back. What its effects
/// did is no longer so, and is not remembered against doing it again; how to undo it is.
pub(crate) fn reopen(tx: &mut Tx<'_>, run: &RunId, epoch: i64, step: StepId) -> Result<(), Error> {
    runs::fence(&tx.sql, run, epoch)?;
    let first = head(&tx.sql, run, step)?;
    let open: Vec<(i64, String, StepKind)> = tx
        .sql
        .prepare_cached(
            "SELECT id, key, kind FROM step
             WHERE run_id = ?1 AND ord >= (SELECT ord FROM step WHERE id = ?2) ORDER BY ord",
        )?
        .query_map((run.as_str(), step.0), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, key, kind) in open {
        // What another branch did has nothing to do with what this one held.
        if !key::is_hook(&key) && !key::side_by_side(&first.key, &key::place(&key, kind)) {
            change(tx, run, StepId(id), StepEvent::Release)?;
            effects::release(tx, StepId(id))?;
            tx.event(run, Level::Warn, "step.released", Some(StepId(id)), json!({ "with": first.key }))?;
        }
    }
    Ok(())
}

/// Makes a done step, and what is inside it, run again. What its effects did is not remembered against doing it again.
pub(crate) fn redo(tx: &mut Tx<'_>, run: &RunId, epoch: i64, key: &str) -> Result<(), Error> {
    runs::fence(&tx.sql, run, epoch)?;
    let pivot: Option<String> = tx
        .sql
        .prepare_cached(
            "SELECT pivot.key FROM run JOIN step pivot ON pivot.id = run.pivot_step JOIN step own ON own.run_id = run.id
             WHERE run.id = ?1 AND own.key = ?2 AND own.ord < pivot.ord",
        )?
        .query_row((run.as_str(), key), |row| row.get(0))
        .optional()?;
    if let Some(pivot) = pivot {
        return Err(Error::AfterPivot { key: key.to_owned(), pivot });
    }
    let all: Vec<i64> = tx
        .sql
        .prepare_cached("SELECT id FROM step WHERE run_id = ?1 AND (key = ?2 OR (key > ?3 AND key < ?4)) ORDER BY ord")?
        .query_map((run.as_str(), key, format!("{key}/"), format!("{key}0")), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for step in all.into_iter().map(StepId) {
        change(tx, run, step, StepEvent::Release)?;
        effects::release(tx, step)?;
        tx.event(run, Level::Warn, "step.released", Some(step), json!({ "with": key, "why": "its inputs changed" }))?;
    }
    Ok(())
}

/// The step of that key.
pub(crate) fn by_key(sql: &Connection, run: &RunId, key: &str) -> Result<Option<StepRow>, Error> {
    let row = sql
        .prepare_cached("SELECT * FROM step WHERE run_id = ?1 AND key = ?2")?
        .query_row((run.as_str(), key), read)
        .optional()?;
    row.map(|row| finish_row(sql, row)).transpose()
}

/// Whether the step of that key, or one inside it, was ever entered.
pub(crate) fn began(sql: &Connection, run: &RunId, key: &str) -> Result<bool, Error> {
    // `0` is the character behind `/`.
    let mut statement =
        sql.prepare_cached("SELECT 1 FROM step WHERE run_id = ?1 AND (key = ?2 OR (key > ?3 AND key < ?4)) LIMIT 1")?;
    Ok(statement.exists((run.as_str(), key, format!("{key}/"), format!("{key}0")))?)
}

/// Every step of a run, in the order of first entry.
pub(crate) fn of(sql: &Connection, run: &RunId) -> Result<Vec<StepRow>, Error> {
    let mut statement = sql.prepare_cached("SELECT * FROM step WHERE run_id = ?1 ORDER BY ord")?;
    let rows: Vec<_> = statement.query_map([run.as_str()], read)?.collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(|row| finish_row(sql, row)).collect()
}

fn finish_row(sql: &Connection, (mut row, blob): (StepRow, Option<String>)) -> Result<StepRow, Error> {
    row.result = load_result(sql, row.result, blob)?;
    Ok(row)
}

fn read(row: &Row<'_>) -> rusqlite::Result<(StepRow, Option<String>)> {
    let step = StepRow {
        id: StepId(row.get("id")?),
        key: row.get("key")?,
        parent: row.get::<_, Option<i64>>("parent_id")?.map(StepId),
        ord: row.get("ord")?,
        name: row.get("name")?,
        kind: row.get("kind")?,
        status: row.get("status")?,
        attempt: row.get("attempt")?,
        epoch: row.get("epoch")?,
        inputs: json_column(row, "inputs")?,
        captured: json_column(row, "captured")?,
        body_hash: row.get("body_hash")?,
        source: row.get("source")?,
        line: row.get("line")?,
        changed: row.get("changed")?,
        result: json_column(row, "result")?,
        error: json_column(row, "error")?,
        retry_at_ms: row.get("retry_at")?,
        deadline_ms: row.get("deadline")?,
        started_ms: row.get("started_at")?,
        finished_ms: row.get("finished_at")?,
    };
    Ok((step, row.get("result_blob")?))
}
