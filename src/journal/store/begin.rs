//! Beginning an effect: the intent before the act, or what an earlier attempt left at its place.

use serde_json::json;

use super::effects::{by_seq, change, restart};
use super::{blobs, runs, steps, text};
use crate::journal::error::{Error, RequestChanged};
use crate::journal::model::{Begun, Class, EffectId, Level, NewEffect, RunId};
use crate::journal::step::{EffectEvent, EffectStatus, Illegal, StepStatus, next_effect};
use crate::journal::view::EffectRow;
use crate::journal::writer::Tx;

/// Begins an effect: records the intent, or says what an earlier attempt left. With `forget`, what is in doubt is
/// begun again as if it had never been (crash tests only).
pub(crate) fn begin(tx: &mut Tx<'_>, run: &RunId, epoch: i64, new: &NewEffect, forget: bool) -> Result<Begun, Error> {
    runs::fence(&tx.sql, run, epoch)?;
    let step = steps::head(&tx.sql, run, new.step)?;
    if step.status != StepStatus::Running {
        return Err(Illegal { thing: "step", status: step.status.name(), event: "begin an effect" }.into());
    }
    let idem_key = tx.secret.idem_key(run, &step.key, new.seq);
    let Some(mut old) = by_seq(&tx.sql, new.step, new.seq)? else {
        let effect = insert(tx, epoch, new, step.attempt, &idem_key)?;
        intent(tx, run, effect, new, step.attempt, &idem_key)?;
        return Ok(Begun::Act { effect, idem_key });
    };
    if old.status == EffectStatus::Intent {
        // Begun in this incarnation and never settled: its native did not learn the outcome.
        old.status = change(tx, old.id, old.status, EffectEvent::Lose)?;
        let data = json!({ "effect": old.id, "seq": old.seq, "function": old.function, "target": old.target });
        tx.event(run, Level::Warn, "effect.in_doubt", Some(new.step), data)?;
    }
    let place = old.function == new.function && old.target == new.target;
    let same = place && tx.secret.of(&old.request) == tx.secret.of(&new.request);
    // Harmless to repeat only if it was then and is now.
    let converge = old.class == Class::Converge && new.class == Class::Converge;
    let changed = || Error::RequestChanged(Box::new(difference(&step.key, &old, new)));
    match old.status {
        EffectStatus::Done if !converge => {
            if !same {
                return Err(changed());
            }
            return Ok(Begun::Done { effect: old.id, result: old.result.clone().unwrap_or_default() });
        }
        // A half-made change elsewhere would be left behind; the same place converges whatever was asked of it.
        EffectStatus::InDoubt if converge && !place && old.decision.is_none() => return Err(changed()),
        EffectStatus::InDoubt if !converge && !forget => {
            if !same {
                if old.decision.is_none() {
                    return Err(changed());
                }
                replace(tx, new, &old, None)?;
            }
            return Ok(Begun::InDoubt {
                effect: old.id,
                idem_key,
                class: if new.class == Class::Converge { old.class } else { new.class },
                decision: old.decision,
                since_ms: old.started_ms,
            });
        }
        _ => {}
    }
    let event = if old.status == EffectStatus::InDoubt && !converge {
        EffectEvent::ActAgain
    } else {
        EffectEvent::Begin(if converge { Class::Converge } else { new.class })
    };
    let status = next_effect(Some(old.status), event)?;
    replace(tx, new, &old, Some((status, step.attempt, epoch)))?;
    intent(tx, run, old.id, new, step.attempt, &idem_key)?;
    Ok(Begun::Act { effect: old.id, idem_key })
}

fn difference(key: &str, old: &EffectRow, new: &NewEffect) -> RequestChanged {
    RequestChanged {
        key: key.to_owned(),
        seq: old.seq,
        function: old.function.clone(),
        target: old.target.clone(),
        status: old.status,
        was: old.request.clone(),
        now: (new.function.clone(), new.target.clone(), new.request.clone()),
    }
}

fn insert(tx: &Tx<'_>, epoch: i64, new: &NewEffect, attempt: u32, idem_key: &str) -> Result<EffectId, Error> {
    let status = next_effect(None, EffectEvent::Begin(new.class))?;
    let before = new.before.as_deref().map(|bytes| blobs::keep(&tx.sql, "before", bytes)).transpose()?;
    tx.sql
        .prepare_cached(
            "INSERT INTO effect (step_id, seq, attempt, epoch, function, target, class, idem_key, request,
                                 request_hash, status, before_blob, undo, started_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(rusqlite::params![
            new.step.0,
            new.seq,
            attempt,
            epoch,
            new.function,
            new.target,
            new.class,
            idem_key,
            new.request.to_string(),
            request_hash(tx, new),
            status,
            before,
            text(new.undo.as_ref()),
            tx.now,
        ])?;
    Ok(EffectId(tx.sql.last_insert_rowid()))
}

/// Writes what is asked for now over a recorded effect, and with `start` begins it.
///
/// At the same place the first before-image and undo stay: by now the world may already be as the effect leaves it.
fn replace(
    tx: &Tx<'_>,
    new: &NewEffect,
    old: &EffectRow,
    start: Option<(EffectStatus, u32, i64)>,
) -> Result<(), Error> {
    let place = old.function == new.function && old.target == new.target;
    let before = new.before.as_deref().map(|bytes| blobs::keep(&tx.sql, "before", bytes)).transpose()?;
    let (before, undo) = match place {
        true => (old.before.clone().or(before), old.undo.clone().or(new.undo.clone())),
        false => (before, new.undo.clone()),
    };
    tx.sql
        .prepare_cached(
            "UPDATE effect SET function = ?2, target = ?3, class = ?4, request = ?5, request_hash = ?6,
                    before_blob = ?7, undo = ?8 WHERE id = ?1",
        )?
        .execute(rusqlite::params![
            old.id.0,
            new.function,
            new.target,
            new.class,
            new.request.to_string(),
            request_hash(tx, new),
            before,
            text(undo.as_ref()),
        ])?;
    if let Some((status, attempt, epoch)) = start {
        restart(tx, old.id, status, attempt, epoch)?;
    }
    Ok(())
}

fn request_hash(tx: &Tx<'_>, new: &NewEffect) -> String {
    tx.secret.of(&json!([new.function, new.target, new.request]))
}

fn intent(
    tx: &mut Tx<'_>,
    run: &RunId,
    effect: EffectId,
    new: &NewEffect,
    attempt: u32,
    idem_key: &str,
) -> Result<(), Error> {
    let data = json!({
        "effect": effect, "seq": new.seq, "function": new.function, "target": new.target, "class": new.class,
        "idem_key": idem_key, "attempt": attempt, "request": new.request, "undo": new.undo,
    });
    tx.event(run, Level::Info, "effect.intent", Some(new.step), data)
}
