//! Effects: intent before, outcome after, and what an earlier process left unknown.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use super::{json as json_column, json_always, keep_result, load_result, runs, steps};
use crate::journal::error::Error;
use crate::journal::model::{Class, Decision, EffectId, EffectOutcome, Level, OldEffect, RunId, StepId};
use crate::journal::step::{EffectEvent, EffectStatus, next_effect};
use crate::journal::view::EffectRow;
use crate::journal::writer::Tx;

/// Makes an effect an intent again: what was known of its outcome does not hold any more.
pub(super) fn restart(
    tx: &Tx<'_>,
    effect: EffectId,
    status: EffectStatus,
    attempt: u32,
    epoch: i64,
) -> Result<(), Error> {
    tx.sql
        .prepare_cached(
            "UPDATE effect SET status = ?2, attempt = ?3, epoch = ?4, started_at = ?5, finished_at = NULL,
                    decision = NULL, reconciled = 0, result = NULL, result_blob = NULL, error = NULL WHERE id = ?1",
        )?
        .execute((effect.0, status, attempt, epoch, tx.now))?;
    Ok(())
}

pub(super) fn change(
    tx: &Tx<'_>,
    effect: EffectId,
    status: EffectStatus,
    event: EffectEvent,
) -> Result<EffectStatus, Error> {
    let next = next_effect(Some(status), event)?;
    tx.sql.prepare_cached("UPDATE effect SET status = ?2 WHERE id = ?1")?.execute((effect.0, next))?;
    Ok(next)
}

/// Records the outcome of an effect.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    run: &RunId,
    epoch: i64,
    effect: EffectId,
    outcome: &EffectOutcome,
) -> Result<(), Error> {
    runs::fence(&tx.sql, run, epoch)?;
    let old = by_id(&tx.sql, run, effect)?;
    let base = json!({ "effect": effect, "seq": old.seq, "function": old.function, "target": old.target });
    let (event, level, kind) = match outcome {
        EffectOutcome::Done { .. } => (EffectEvent::Finish, Level::Info, "effect.done"),
        EffectOutcome::Failed { .. } => (EffectEvent::Fail, Level::Error, "effect.failed"),
        EffectOutcome::Abandoned => (EffectEvent::Abandon, Level::Warn, "effect.abandoned"),
    };
    change(tx, effect, old.status, event)?;
    let mut data = base;
    let (mut inline, mut blob, mut told, mut failure) = (None, None, false, None);
    match outcome {
        EffectOutcome::Done { result, reconciled } => {
            (inline, blob) = keep_result(&tx.sql, result)?;
            told = *reconciled;
            data["reconciled"] = told.into();
            match &blob {
                Some(hash) => data["result_blob"] = hash.as_str().into(),
                None => data["result"] = result.clone(),
            }
        }
        EffectOutcome::Failed { error } => {
            failure = Some(error.to_string());
            data["error"] = error.clone();
        }
        EffectOutcome::Abandoned => {}
    }
    tx.sql
        .prepare_cached(
            "UPDATE effect SET result = ?2, result_blob = ?3, reconciled = ?4, error = ?5, finished_at = ?6
             WHERE id = ?1",
        )?
        .execute((effect.0, inline, blob, told, failure, tx.now))?;
    tx.event(run, level, kind, Some(old.step), data)
}

/// Lets the done effects of a released step act again. What is in doubt stays in doubt: a release does not tell whether
/// it happened.
pub(crate) fn release(tx: &Tx<'_>, step: StepId) -> Result<(), Error> {
    let done: Vec<(i64, EffectStatus)> = tx
        .sql
        .prepare_cached("SELECT id, status FROM effect WHERE step_id = ?1 AND status = ?2")?
        .query_map((step.0, EffectStatus::Done), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    done.into_iter().try_for_each(|(id, status)| change(tx, EffectId(id), status, EffectEvent::Release).map(drop))
}

/// Turns an effect in doubt into an intent: a probe or a person said that it did not happen.
pub(crate) fn act_again(tx: &mut Tx<'_>, run: &RunId, epoch: i64, effect: EffectId) -> Result<(), Error> {
    runs::fence(&tx.sql, run, epoch)?;
    let old = by_id(&tx.sql, run, effect)?;
    let attempt = steps::head(&tx.sql, run, old.step)?.attempt;
    let status = next_effect(Some(old.status), EffectEvent::ActAgain)?;
    restart(tx, effect, status, attempt, epoch)?;
    let data = json!({ "effect": effect, "seq": old.seq, "decision": old.decision, "attempt": attempt });
    tx.event(run, Level::Warn, "effect.again", Some(old.step), data)
}

/// Records a person's answer about what is in doubt in a step. The caller holds the run's lock.
///
/// The answer is for the effects that must not be repeated blindly; only where there is none is it for the others.
pub(crate) fn decide(tx: &mut Tx<'_>, run: &RunId, key: &str, decision: Decision) -> Result<(), Error> {
    runs::head(&tx.sql, run)?;
    let lost = runs::lose(tx, run)?;
    if !lost.is_empty() {
        tx.event(run, Level::Warn, "run.lost", None, json!({ "lost_steps": lost.steps, "in_doubt": lost.effects }))?;
    }
    let doubtful: Vec<(EffectRow, String)> =
        of(&tx.sql, run)?.into_iter().filter(|(row, _)| row.status == EffectStatus::InDoubt).collect();
    let mut here: Vec<&EffectRow> = doubtful.iter().filter(|(_, at)| at == key).map(|(row, _)| row).collect();
    if here.is_empty() {
        let mut in_doubt: Vec<String> = doubtful.into_iter().map(|(_, key)| key).collect();
        in_doubt.dedup();
        return Err(Error::NotInDoubt { run: run.clone(), key: key.to_owned(), in_doubt });
    }
    if here.iter().any(|row| row.class != Class::Converge) {
        here.retain(|row| row.class != Class::Converge);
    }
    for row in here {
        change(tx, row.id, row.status, EffectEvent::Decide(decision))?;
        tx.sql.execute("UPDATE effect SET decision = ?2 WHERE id = ?1", (row.id.0, decision))?;
        let data = json!({ "effect": row.id, "seq": row.seq, "function": row.function, "target": row.target,
                           "decision": decision });
        tx.event(run, Level::Warn, "effect.decided", Some(row.step), data)?;
    }
    Ok(())
}

/// Effects of a step that are done or in doubt, by sequence number.
pub(crate) fn earlier(sql: &Connection, step: StepId) -> Result<Vec<OldEffect>, Error> {
    let mut statement = sql.prepare_cached("SELECT * FROM effect WHERE step_id = ?1 ORDER BY seq")?;
    let rows: Vec<_> = statement.query_map([step.0], read)?.collect::<rusqlite::Result<_>>()?;
    let mut effects = Vec::new();
    for row in rows {
        let row = finish_row(sql, row)?;
        let in_doubt = matches!(row.status, EffectStatus::InDoubt | EffectStatus::Intent);
        if in_doubt || row.status == EffectStatus::Done {
            effects.push(OldEffect {
                effect: row.id,
                seq: row.seq,
                function: row.function,
                target: row.target,
                class: row.class,
                in_doubt,
                result: row.result,
            });
        }
    }
    Ok(effects)
}

pub(super) fn by_seq(sql: &Connection, step: StepId, seq: u32) -> Result<Option<EffectRow>, Error> {
    let row = sql
        .prepare_cached("SELECT * FROM effect WHERE step_id = ?1 AND seq = ?2")?
        .query_row((step.0, seq), read)
        .optional()?;
    row.map(|row| finish_row(sql, row)).transpose()
}

fn by_id(sql: &Connection, run: &RunId, effect: EffectId) -> Result<EffectRow, Error> {
    let row = sql
        .prepare_cached("SELECT e.* FROM effect e JOIN step s ON s.id = e.step_id WHERE e.id = ?1 AND s.run_id = ?2")?
        .query_row((effect.0, run.as_str()), read)
        .optional()?
        .ok_or_else(|| Error::NotFound { what: format!("effect {} in run {run}", effect.0) })?;
    finish_row(sql, row)
}

/// Every effect of a run with the key of its step, in the order of the steps.
pub(crate) fn of(sql: &Connection, run: &RunId) -> Result<Vec<(EffectRow, String)>, Error> {
    let mut statement = sql.prepare_cached(
        "SELECT e.*, s.key AS step_key FROM effect e JOIN step s ON s.id = e.step_id
         WHERE s.run_id = ?1 ORDER BY s.ord, e.seq",
    )?;
    let rows: Vec<_> = statement
        .query_map([run.as_str()], |row| Ok((read(row)?, row.get::<_, String>("step_key")?)))?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(|(row, key)| Ok((finish_row(sql, row)?, key))).collect()
}

fn finish_row(sql: &Connection, (mut row, blob): (EffectRow, Option<String>)) -> Result<EffectRow, Error> {
    row.result = load_result(sql, row.result, blob)?;
    Ok(row)
}

fn read(row: &Row<'_>) -> rusqlite::Result<(EffectRow, Option<String>)> {
    let effect = EffectRow {
        id: EffectId(row.get("id")?),
        step: StepId(row.get("step_id")?),
        seq: row.get("seq")?,
        attempt: row.get("attempt")?,
        epoch: row.get("epoch")?,
        function: row.get("function")?,
        target: row.get("target")?,
        class: row.get("class")?,
        idem_key: row.get("idem_key")?,
        request: json_always(row, "request")?,
        status: row.get("status")?,
        decision: row.get("decision")?,
        reconciled: row.get("reconciled")?,
        before: row.get("before_blob")?,
        undo: json_column(row, "undo")?,
        result: json_column(row, "result")?,
        error: json_column(row, "error")?,
        started_ms: row.get("started_at")?,
        finished_ms: row.get("finished_at")?,
    };
    Ok((effect, row.get("result_blob")?))
}
