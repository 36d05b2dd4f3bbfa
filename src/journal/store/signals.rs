//! Questions to people and their answers.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Value, json};

use super::{json as json_column, runs, steps};
use crate::journal::error::Error;
use crate::journal::model::{Answer, Level, Mode, RunId, Signal, SignalState, StepId};
use crate::journal::step::{Illegal, StepEvent, StepStatus};
use crate::journal::writer::Tx;

/// Asks; the step waits. What was granted before stays granted and makes nobody wait.
pub(crate) fn ask(
    tx: &mut Tx<'_>,
    id: &RunId,
    epoch: i64,
    name: &str,
    step: StepId,
    question: &Value,
) -> Result<(), Error> {
    runs::fence(&tx.sql, id, epoch)?;
    let granted = get(&tx.sql, id, name)?.is_some_and(|signal| signal.state == SignalState::Granted);
    tx.sql.execute(
        "INSERT INTO signal (run_id, name, step_id, question, state, asked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (run_id, name) DO UPDATE
         SET step_id = excluded.step_id, question = excluded.question, asked_at = coalesce(asked_at, excluded.asked_at)",
        (id.as_str(), name, step.0, question.to_string(), SignalState::Asked, tx.now),
    )?;
    if granted {
        return Ok(());
    }
    steps::change(tx, id, step, StepEvent::Ask)?;
    tx.event(id, Level::Warn, "signal.asked", Some(step), json!({ "name": name, "question": question }))
}

/// Grants, asked for or not; the step that waits for it goes on.
pub(crate) fn grant(tx: &mut Tx<'_>, id: &RunId, epoch: i64, name: &str, via: &str, by: &str) -> Result<(), Error> {
    runs::fence(&tx.sql, id, epoch)?;
    let before = get(&tx.sql, id, name)?;
    if before.as_ref().is_some_and(|signal| signal.state == SignalState::Granted) {
        return Ok(());
    }
    tx.sql.execute(
        "INSERT INTO signal (run_id, name, state, via, by, decided_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (run_id, name) DO UPDATE
         SET state = excluded.state, via = excluded.via, by = excluded.by, decided_at = excluded.decided_at",
        (id.as_str(), name, SignalState::Granted, via, by, tx.now),
    )?;
    let step = before.and_then(|signal| signal.step);
    if let Some(step) = step
        && steps::head(&tx.sql, id, step)?.status == StepStatus::Waiting
    {
        steps::change(tx, id, step, StepEvent::Answer)?;
    }
    tx.event(id, Level::Info, "signal.granted", step, json!({ "name": name, "via": via, "by": by }))
}

/// Records the answer of a person who is at another process, which does not have the run. The step that waits goes on by
/// itself when its process sees the answer.
pub(crate) fn answer(tx: &mut Tx<'_>, id: &RunId, name: &str, answer: &Answer) -> Result<(), Error> {
    let head = runs::head(&tx.sql, id)?;
    if head.status.finished() || head.mode == Mode::Undo {
        return Err(Illegal { thing: "run", status: head.status.name(), event: "be answered" }.into());
    }
    let before = get(&tx.sql, id, name)?;
    let mut question = before.as_ref().and_then(|signal| signal.question.clone()).unwrap_or_else(|| json!({}));
    match (&answer.note, question.as_object_mut()) {
        (Some(note), _) => question["note"] = note.as_str().into(),
        (None, Some(known)) => drop(known.remove("note")),
        (None, None) => {}
    }
    let (state, via, kind) = match answer.granted {
        true => (SignalState::Granted, "command", "signal.granted"),
        false => (SignalState::Asked, "denied", "signal.denied"),
    };
    tx.sql.execute(
        "INSERT INTO signal (run_id, name, question, state, via, by, decided_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (run_id, name) DO UPDATE
         SET question = excluded.question, state = excluded.state, via = excluded.via, by = excluded.by,
             decided_at = excluded.decided_at",
        (id.as_str(), name, question.to_string(), state, via, &answer.by, tx.now),
    )?;
    let step = before.and_then(|signal| signal.step);
    let data = json!({ "name": name, "via": "command", "by": answer.by, "note": answer.note });
    tx.event(id, Level::Info, kind, step, data)
}

/// The signal of that name.
pub(crate) fn get(sql: &Connection, id: &RunId, name: &str) -> Result<Option<Signal>, Error> {
    Ok(sql
        .prepare_cached("SELECT * FROM signal WHERE run_id = ?1 AND name = ?2")?
        .query_row((id.as_str(), name), read)
        .optional()?)
}

/// Every signal of a run.
pub(crate) fn of(sql: &Connection, id: &RunId) -> Result<Vec<Signal>, Error> {
    let mut statement = sql.prepare_cached("SELECT * FROM signal WHERE run_id = ?1 ORDER BY asked_at, name")?;
    Ok(statement.query_map([id.as_str()], read)?.collect::<rusqlite::Result<_>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Signal> {
    Ok(Signal {
        name: row.get("name")?,
        state: row.get("state")?,
        step: row.get::<_, Option<i64>>("step_id")?.map(StepId),
        question: json_column(row, "question")?,
        via: row.get("via")?,
        by: row.get("by")?,
        asked_ms: row.get("asked_at")?,
        decided_ms: row.get("decided_at")?,
    })
}
