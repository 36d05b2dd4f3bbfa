//! Runs: created, taken over, ended, given up.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Value, json};

use super::{incarnations, json as json_column, json_always, leases, text};
use crate::journal::doctor;
use crate::journal::error::Error;
use crate::journal::lock::{self, Owner};
use crate::journal::model::{Level, Mode, NewRun, RunEnd, RunId, Source};
use crate::journal::step::{
    EffectEvent, EffectStatus, RunEvent, RunStatus, StepEvent, StepStatus, next_effect, next_run, next_step,
};
use crate::journal::view::RunSummary;
use crate::journal::writer::Tx;

/// What decides about a run.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: RunStatus,
    pub(crate) mode: Mode,
    pub(crate) epoch: i64,
}

/// The run of that name.
pub(crate) fn head(sql: &Connection, id: &RunId) -> Result<Head, Error> {
    sql.prepare_cached("SELECT status, mode, epoch FROM run WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok(Head { status: row.get(0)?, mode: row.get(1)?, epoch: row.get(2)? }))
        .optional()?
        .ok_or_else(|| Error::NotFound { what: format!("run {id}") })
}

/// Refuses to go on with a run that another process has taken over.
pub(crate) fn fence(sql: &Connection, id: &RunId, epoch: i64) -> Result<Head, Error> {
    let head = head(sql, id)?;
    if head.epoch != epoch {
        return Err(Error::Superseded { run: id.clone(), epoch: head.epoch });
    }
    Ok(head)
}

/// Creates a run with its first incarnation.
pub(crate) fn create(tx: &mut Tx<'_>, id: &RunId, new: &NewRun, owner: &Owner) -> Result<(), Error> {
    // A run is created going forward; `next_run` says how it may leave that status.
    let status = RunStatus::Running;
    tx.sql.execute(
        "INSERT INTO run (id, script, script_path, params, params_hash, argv, mode, status, epoch, operator,
                          tool_version, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10, ?11)",
        rusqlite::params![
            id.as_str(),
            new.script,
            new.script_path,
            new.params.to_string(),
            tx.secret.of(&new.params),
            Value::from(new.argv.clone()).to_string(),
            new.mode,
            status,
            new.operator,
            new.tool_version,
            tx.now,
        ],
    )?;
    incarnations::attach(tx, id, 1, new.mode, owner, &new.tool_version, &new.sources)?;
    // What is relative is meant from here, also by the process that goes on.
    let cwd = std::env::current_dir().ok().map(|dir| crate::units::path_text(dir.as_os_str().as_encoded_bytes()));
    let data = json!({
        "cwd": cwd, "script": new.script, "script_path": new.script_path, "params": new.params, "argv": new.argv,
        "operator": new.operator, "tool_version": new.tool_version, "host": owner.host, "pid": owner.pid,
    });
    tx.event(id, Level::Info, "run.created", None, data)
}

/// Makes this process the next incarnation: what the one before left open is lost or in doubt.
pub(crate) fn take_over(
    tx: &mut Tx<'_>,
    id: &RunId,
    mode: Mode,
    sources: &[Source],
    owner: &Owner,
    runs_dir: &Path,
) -> Result<i64, Error> {
    let head = head(&tx.sql, id)?;
    let event = match mode {
        Mode::Run => RunEvent::Resume,
        Mode::Undo => RunEvent::Undo,
    };
    let status = next_run(head.status, event)?;
    let missing = doctor::incomplete(&tx.sql, id)?;
    if !missing.is_empty() {
        return Err(Error::Incomplete { run: id.clone(), missing });
    }
    let epoch = head.epoch + 1;
    let lost = lose(tx, id)?;
    tx.sql.execute(
        "UPDATE incarnation SET ended_at = ?2, end_reason = 'lost' WHERE run_id = ?1 AND ended_at IS NULL",
        (id.as_str(), tx.now),
    )?;
    tx.sql.execute(
        "UPDATE run SET status = ?2, mode = ?3, epoch = ?4, finished_at = NULL, exit_code = NULL, outcome = NULL
         WHERE id = ?1",
        (id.as_str(), status, mode, epoch),
    )?;
    incarnations::attach(tx, id, epoch, mode, owner, env!("CARGO_PKG_VERSION"), sources)?;
    leases::retake(tx, id, epoch, runs_dir)?;
    let kind = match mode {
        Mode::Run => "run.resumed",
        Mode::Undo => "run.undoing",
    };
    let data = json!({
        "was": head.status, "epoch": epoch, "host": owner.host, "pid": owner.pid,
        "lost_steps": lost.steps, "in_doubt": lost.effects,
    });
    tx.event(id, Level::Info, kind, None, data)?;
    Ok(epoch)
}

/// What a process left open when it died.
pub(crate) struct Lost {
    pub(crate) steps: Vec<String>,
    pub(crate) effects: Vec<String>,
}

impl Lost {
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.effects.is_empty()
    }
}

/// Marks what no living process works on any more. The caller holds the run's lock.
pub(crate) fn lose(tx: &Tx<'_>, id: &RunId) -> Result<Lost, Error> {
    let mut lost = Lost { steps: Vec::new(), effects: Vec::new() };
    let effects: Vec<(i64, String, i64, EffectStatus)> = tx
        .sql
        .prepare_cached(
            "SELECT e.id, s.key, e.seq, e.status FROM effect e JOIN step s ON s.id = e.step_id
             WHERE s.run_id = ?1 AND e.status = ?2 ORDER BY e.id",
        )?
        .query_map((id.as_str(), EffectStatus::Intent), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (effect, key, seq, status) in effects {
        let next = next_effect(Some(status), EffectEvent::Lose)?;
        tx.sql.execute("UPDATE effect SET status = ?2 WHERE id = ?1", (effect, next))?;
        lost.effects.push(format!("{key}#{seq}"));
    }
    let steps: Vec<(i64, String, StepStatus)> = tx
        .sql
        .prepare_cached("SELECT id, key, status FROM step WHERE run_id = ?1 AND status = ?2 ORDER BY ord")?
        .query_map((id.as_str(), StepStatus::Running), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (step, key, status) in steps {
        let next = next_step(Some(status), StepEvent::Lose)?;
        tx.sql.execute("UPDATE step SET status = ?2 WHERE id = ?1", (step, next))?;
        lost.steps.push(key);
    }
    Ok(lost)
}

/// Ends this incarnation, and the run if it has come to its end.
pub(crate) fn finish(
    tx: &mut Tx<'_>,
    id: &RunId,
    epoch: i64,
    end: &RunEnd,
    exit_code: Option<u8>,
) -> Result<(), Error> {
    let head = fence(&tx.sql, id, epoch)?;
    let (event, outcome, level) = match end {
        RunEnd::Succeeded => (RunEvent::Succeed, None, Level::Info),
        RunEnd::Failed { error } => (RunEvent::Fail, Some(error.clone()), Level::Error),
        RunEnd::Cancelled { reason } => (RunEvent::Cancel, Some(json!({ "reason": reason })), Level::Warn),
        RunEnd::Waiting { what } => (RunEvent::Wait, Some(what.clone()), Level::Warn),
        RunEnd::Undone => (RunEvent::Undone, None, Level::Info),
        RunEnd::UndoFailed { error } => (RunEvent::UndoFail, Some(error.clone()), Level::Error),
    };
    let status = next_run(head.status, event)?;
    if status == RunStatus::Succeeded {
        settled(&tx.sql, id, epoch)?;
    }
    tx.sql.execute(
        "UPDATE run SET status = ?2, finished_at = ?3, exit_code = ?4, outcome = ?5 WHERE id = ?1",
        (id.as_str(), status, tx.now, exit_code, text(outcome.as_ref())),
    )?;
    tx.sql.execute(
        "UPDATE incarnation SET ended_at = ?3, end_reason = ?4 WHERE run_id = ?1 AND epoch = ?2",
        (id.as_str(), epoch, tx.now, status),
    )?;
    if status.finished() {
        leases::release_all(tx, id)?;
    }
    let data = json!({ "exit_code": exit_code, "outcome": outcome });
    tx.event(id, level, &format!("run.{status}"), None, data)
}

/// Records that a run stops because the journal has no space left; it waits for space.
pub(crate) fn pause(tx: &mut Tx<'_>, id: &RunId) -> Result<(), Error> {
    let status = match next_run(head(&tx.sql, id)?.status, RunEvent::Wait) {
        Ok(status) => status,
        // It has ended or waits already: there is nothing to stop.
        Err(_) => return Ok(()),
    };
    let outcome = json!({ "kind": "no_space", "message": "paused: journal disk full" });
    tx.sql.execute(
        "UPDATE run SET status = ?2, finished_at = ?3, exit_code = 8, outcome = ?4 WHERE id = ?1",
        (id.as_str(), status, tx.now, outcome.to_string()),
    )?;
    tx.sql.execute(
        "UPDATE incarnation SET ended_at = ?2, end_reason = 'paused' WHERE run_id = ?1 AND ended_at IS NULL",
        (id.as_str(), tx.now),
    )?;
    tx.event(id, Level::Error, "run.paused", None, outcome)
}

/// Refuses success while a step of this incarnation was never left, or an effect that must not be repeated is in doubt.
fn settled(sql: &Connection, id: &RunId, epoch: i64) -> Result<(), Error> {
    let keys: Vec<String> = sql
        .prepare_cached(
            "SELECT key FROM step WHERE run_id = ?1 AND epoch = ?2 AND status IN ('running', 'waiting')
             UNION
             SELECT s.key FROM effect e JOIN step s ON s.id = e.step_id
             WHERE s.run_id = ?1 AND e.status IN ('intent', 'in_doubt') AND e.class <> 'converge'
               AND e.decision IS NULL",
        )?
        .query_map((id.as_str(), epoch), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if keys.is_empty() { Ok(()) } else { Err(Error::Unsettled { run: id.clone(), keys }) }
}

/// Gives a run up. The caller holds its lock.
pub(crate) fn abandon(tx: &mut Tx<'_>, id: &RunId) -> Result<(), Error> {
    let head = head(&tx.sql, id)?;
    let status = next_run(head.status, RunEvent::Abandon)?;
    let lost = lose(tx, id)?;
    tx.sql.execute(
        "UPDATE run SET status = ?2, finished_at = coalesce(finished_at, ?3) WHERE id = ?1",
        (id.as_str(), status, tx.now),
    )?;
    tx.sql.execute(
        "UPDATE incarnation SET ended_at = ?2, end_reason = 'lost' WHERE run_id = ?1 AND ended_at IS NULL",
        (id.as_str(), tx.now),
    )?;
    leases::release_all(tx, id)?;
    let data = json!({ "was": head.status, "lost_steps": lost.steps, "in_doubt": lost.effects });
    tx.event(id, Level::Warn, "run.abandoned", None, data)
}

/// Remembers the point of no return.
pub(crate) fn pivot(tx: &mut Tx<'_>, id: &RunId, epoch: i64, step: crate::journal::model::StepId) -> Result<(), Error> {
    fence(&tx.sql, id, epoch)?;
    super::steps::head(&tx.sql, id, step)?;
    tx.sql.execute("UPDATE run SET pivot_step = ?2 WHERE id = ?1", (id.as_str(), step.0))?;
    tx.event(id, Level::Warn, "run.pivot", Some(step), json!({}))
}

/// Summaries of all runs, newest first, or of the one run; whether a process lives is looked up in `runs_dir`.
pub(crate) fn summaries(sql: &Connection, runs_dir: &Path, only: Option<&RunId>) -> Result<Vec<RunSummary>, Error> {
    let mut statement = sql.prepare_cached(
        "SELECT run.*, pivot.key AS pivot,
                (SELECT count(*) FROM step WHERE run_id = run.id) AS steps,
                (SELECT count(*) FROM step WHERE run_id = run.id AND status = 'done') AS steps_done
         FROM run LEFT JOIN step pivot ON pivot.id = run.pivot_step
         WHERE ?1 IS NULL OR run.id = ?1
         ORDER BY run.created_at DESC, run.id DESC",
    )?;
    let rows: Vec<RunSummary> =
        statement.query_map([only.map(RunId::as_str)], summary)?.collect::<rusqlite::Result<_>>()?;
    rows.into_iter()
        .map(|mut row| {
            row.live = !row.status.finished() && lock::is_live(runs_dir, &row.id)?;
            Ok(row)
        })
        .collect()
}

fn summary(row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    let argv = json_always(row, "argv")?;
    let argv = argv.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(RunSummary {
        id: RunId(row.get("id")?),
        script: row.get("script")?,
        script_path: row.get("script_path")?,
        params: json_always(row, "params")?,
        argv: argv.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        mode: row.get("mode")?,
        status: row.get("status")?,
        live: false,
        epoch: row.get("epoch")?,
        operator: row.get("operator")?,
        tool_version: row.get("tool_version")?,
        created_ms: row.get("created_at")?,
        finished_ms: row.get("finished_at")?,
        exit_code: row.get("exit_code")?,
        outcome: json_column(row, "outcome")?,
        pivot: row.get("pivot")?,
        steps: row.get::<_, i64>("steps")?.unsigned_abs(),
        steps_done: row.get::<_, i64>("steps_done")?.unsigned_abs(),
    })
}
