//! Entering a step by its key: the outcome it has, or the start of its body.

use std::collections::HashSet;

use rusqlite::Connection;
use serde_json::json;

use super::steps::{by_key, change};
use super::{effects, runs, text};
use crate::journal::error::Error;
use crate::journal::key;
use crate::journal::model::{Entered, Level, Mode, NewStep, RunId, StepId, StepKind};
use crate::journal::step::{StepEvent, StepStatus, next_step};
use crate::journal::view::StepRow;
use crate::journal::writer::Tx;

/// Enters a step: replays its outcome, or starts its body. `seen` are the keys entered in this incarnation.
pub(crate) fn enter(
    tx: &mut Tx<'_>,
    run: &RunId,
    epoch: i64,
    seen: &HashSet<String>,
    new: &NewStep,
) -> Result<Entered, Error> {
    let mode = runs::fence(&tx.sql, run, epoch)?.mode;
    let inputs_hash = new.inputs.as_ref().map(|inputs| tx.secret.of(inputs));
    let old = by_key(&tx.sql, run, &new.key)?;
    let Some(old) = old else {
        if mode == Mode::Run {
            not_before_pivot(&tx.sql, run, seen, &new.key)?;
        }
        return start_new(tx, run, epoch, new, inputs_hash.as_deref());
    };
    match old.status {
        StepStatus::Done | StepStatus::Handled => {
            same_inputs(tx, &old, new)?;
            let step = old.id;
            Ok(if old.status == StepStatus::Done {
                let body_changed = old.body_hash != new.body_hash;
                Entered::Replay { step, result: old.result.unwrap_or_default(), body_changed }
            } else {
                Entered::Rethrow { step, error: old.error.unwrap_or_default() }
            })
        }
        StepStatus::Running => Err(Error::DuplicateKey { key: new.key.clone() }),
        StepStatus::Waiting | StepStatus::Failed | StepStatus::Lost | StepStatus::Released => {
            start_again(tx, run, epoch, new, &old, inputs_hash.as_deref())
        }
    }
}

fn start_new(
    tx: &mut Tx<'_>,
    run: &RunId,
    epoch: i64,
    new: &NewStep,
    inputs_hash: Option<&str>,
) -> Result<Entered, Error> {
    let status = next_step(None, StepEvent::Start)?;
    handle_failures(tx, run, epoch, new)?;
    tx.sql
        .prepare_cached(
            "INSERT INTO step (run_id, key, parent_id, ord, name, kind, status, attempt, epoch, inputs, inputs_hash,
                               captured, body_hash, source, line, deadline, started_at)
             VALUES (?1, ?2, ?3, (SELECT coalesce(max(ord), 0) + 1 FROM step WHERE run_id = ?1),
                     ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(rusqlite::params![
            run.as_str(),
            new.key,
            new.parent.map(|parent| parent.0),
            new.name,
            new.kind,
            status,
            epoch,
            text(new.inputs.as_ref()),
            inputs_hash,
            new.captured.to_string(),
            new.body_hash,
            new.source,
            new.line,
            new.deadline_ms,
            tx.now,
        ])?;
    let step = StepId(tx.sql.last_insert_rowid());
    started(tx, run, step, new, 1, false)?;
    Ok(Entered::Run {
        step,
        attempt: 1,
        lost: false,
        deadline_ms: new.deadline_ms,
        retry_at_ms: None,
        effects: Vec::new(),
    })
}

fn start_again(
    tx: &mut Tx<'_>,
    run: &RunId,
    epoch: i64,
    new: &NewStep,
    old: &StepRow,
    inputs_hash: Option<&str>,
) -> Result<Entered, Error> {
    let status = next_step(Some(old.status), StepEvent::Start)?;
    handle_failures(tx, run, epoch, new)?;
    // An attempt that was put off has its number already; a wait for a person is no attempt.
    let retry_at_ms = old.retry_at_ms.filter(|&at| at > tx.now);
    let counted = retry_at_ms.is_some() || old.status == StepStatus::Waiting;
    let attempt = if counted { old.attempt } else { old.attempt.saturating_add(1) };
    let deadline_ms = old.deadline_ms.or(new.deadline_ms);
    tx.sql
        .prepare_cached(
            "UPDATE step SET status = ?2, attempt = ?3, epoch = ?4, inputs = ?5, inputs_hash = ?6, captured = ?7,
                    body_hash = ?8, source = ?9, line = ?10, deadline = ?11, retry_at = ?12, started_at = ?13,
                    parent_id = ?14, name = ?15, kind = ?16, finished_at = NULL
             WHERE id = ?1",
        )?
        .execute(rusqlite::params![
            old.id.0,
            status,
            attempt,
            epoch,
            text(new.inputs.as_ref()),
            inputs_hash,
            new.captured.to_string(),
            new.body_hash,
            new.source,
            new.line,
            deadline_ms,
            retry_at_ms,
            tx.now,
            new.parent.map(|parent| parent.0),
            new.name,
            new.kind,
        ])?;
    let lost = old.status == StepStatus::Lost;
    started(tx, run, old.id, new, attempt, lost)?;
    let effects = effects::earlier(&tx.sql, old.id)?;
    Ok(Entered::Run { step: old.id, attempt, lost, deadline_ms, retry_at_ms, effects })
}

fn started(tx: &mut Tx<'_>, run: &RunId, step: StepId, new: &NewStep, attempt: u32, lost: bool) -> Result<(), Error> {
    let data = json!({
        "name": new.name, "kind": new.kind, "attempt": attempt, "lost": lost,
        "source": new.source, "line": new.line,
    });
    tx.event(run, Level::Info, "step.started", Some(step), data)
}

/// What failed in this incarnation and is not beside the step that starts now was caught by the script.
fn handle_failures(tx: &mut Tx<'_>, run: &RunId, epoch: i64, new: &NewStep) -> Result<(), Error> {
    let starting = new.key.as_str();
    if key::is_hook(starting) {
        // Giving back what a run held after a failure is not going on after it.
        return Ok(());
    }
    let failed: Vec<(i64, String, StepKind)> = tx
        .sql
        .prepare_cached(
            "SELECT id, key, kind FROM step WHERE run_id = ?1 AND epoch = ?2 AND status = ?3 AND key <> ?4",
        )?
        .query_map((run.as_str(), epoch, StepStatus::Failed, starting), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, failed_key, kind) in failed {
        if !key::side_by_side(&key::place(&failed_key, kind), &key::place(starting, new.kind)) {
            change(tx, run, StepId(id), StepEvent::Handle)?;
            tx.event(run, Level::Info, "step.handled", Some(StepId(id)), json!({ "by": starting }))?;
        }
    }
    Ok(())
}

/// Refuses other declared inputs than a step had when it got its outcome.
fn same_inputs(tx: &Tx<'_>, old: &StepRow, new: &NewStep) -> Result<(), Error> {
    match (&old.inputs, &new.inputs) {
        (Some(was), Some(now)) if tx.secret.of(was) != tx.secret.of(now) => {
            Err(Error::InputsChanged { key: new.key.clone(), was: Box::new(was.clone()), now: Box::new(now.clone()) })
        }
        _ => Ok(()),
    }
}

/// Refuses a new step while a recorded point of no return has not been reached again: it would run before it.
fn not_before_pivot(sql: &Connection, run: &RunId, seen: &HashSet<String>, key: &str) -> Result<(), Error> {
    let mut statement = sql.prepare_cached(
        "WITH RECURSIVE up (key, parent_id, status, depth) AS (
             SELECT step.key, step.parent_id, step.status, 0 FROM run JOIN step ON step.id = run.pivot_step
             WHERE run.id = ?1
             UNION ALL
             SELECT step.key, step.parent_id, step.status, depth + 1 FROM up JOIN step ON step.id = up.parent_id
         )
         SELECT key, depth > 0 AND status <> 'done' FROM up ORDER BY depth",
    )?;
    let chain: Vec<(String, bool)> =
        statement.query_map([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let Some((pivot, _)) = chain.first() else { return Ok(()) };
    // A done step around the pivot is replayed whole, and the pivot with it; one in another branch is neither before nor
    // behind.
    let reached = chain.iter().any(|(key, open)| !open && seen.contains(key)) || key::side_by_side(pivot, key);
    if reached { Ok(()) } else { Err(Error::AfterPivot { key: key.to_owned(), pivot: pivot.clone() }) }
}
