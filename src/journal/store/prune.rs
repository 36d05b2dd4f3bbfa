//! Removing runs: the only place where rows are deleted.

use super::{leases, runs};
use crate::journal::error::Error;
use crate::journal::model::RunId;
use crate::journal::writer::Tx;

/// Rows of a run, those that others need last.
const ROWS: &[&str] = &[
    "UPDATE run SET pivot_step = NULL WHERE id = ?1",
    "DELETE FROM event WHERE run_id = ?1",
    "DELETE FROM lease WHERE run_id = ?1",
    "DELETE FROM signal WHERE run_id = ?1",
    "DELETE FROM effect WHERE step_id IN (SELECT id FROM step WHERE run_id = ?1)",
    "DELETE FROM step WHERE run_id = ?1",
    "DELETE FROM run_source WHERE run_id = ?1",
    "DELETE FROM incarnation WHERE run_id = ?1",
    "DELETE FROM run WHERE id = ?1",
];

/// Removes runs that are over and hold nothing, or none of them. The caller holds their locks.
pub(crate) fn remove(tx: &mut Tx<'_>, all: &[RunId]) -> Result<(), Error> {
    for run in all {
        let status = runs::head(&tx.sql, run)?.status;
        let held = leases::of(&tx.sql, run)?.iter().any(|lease| lease.released_ms.is_none());
        if !status.finished() || held {
            return Err(Error::Kept { run: run.clone(), status });
        }
        tx.sql.execute(
            "INSERT INTO pruned (run_id, script, status, created_at, pruned_at)
             SELECT id, script, status, created_at, ?2 FROM run WHERE id = ?1",
            (run.as_str(), tx.now),
        )?;
        for text in ROWS {
            tx.sql.prepare_cached(text)?.execute([run.as_str()])?;
        }
    }
    tx.sql.execute(
        "DELETE FROM blob WHERE hash NOT IN (
             SELECT blob_hash FROM run_source
             UNION SELECT result_blob FROM step WHERE result_blob IS NOT NULL
             UNION SELECT result_blob FROM effect WHERE result_blob IS NOT NULL
             UNION SELECT before_blob FROM effect WHERE before_blob IS NOT NULL)",
        [],
    )?;
    Ok(())
}
