//! The processes that worked on a run, and the sources each of them saw.

use rusqlite::Connection;

use super::blobs;
use crate::journal::error::Error;
use crate::journal::lock::Owner;
use crate::journal::model::{Mode, RunId, Source};
use crate::journal::view::{IncarnationRow, SourceRow};
use crate::journal::writer::Tx;

/// Adds an incarnation and the sources it sees.
pub(crate) fn attach(
    tx: &Tx<'_>,
    id: &RunId,
    epoch: i64,
    mode: Mode,
    owner: &Owner,
    version: &str,
    sources: &[Source],
) -> Result<(), Error> {
    tx.sql.execute(
        "INSERT INTO incarnation (run_id, epoch, mode, host, boot_id, pid, pid_start, tool_version, started_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        (id.as_str(), epoch, mode, &owner.host, &owner.boot_id, owner.pid, owner.pid_start, version, tx.now),
    )?;
    for (ord, source) in (0_i64..).zip(sources) {
        let hash = blobs::keep(&tx.sql, "source", source.text.as_bytes())?;
        tx.sql.execute(
            "INSERT INTO run_source (run_id, epoch, module, ord, blob_hash) VALUES (?1, ?2, ?3, ?4, ?5)",
            (id.as_str(), epoch, &source.module, ord, hash),
        )?;
    }
    Ok(())
}

/// The sources an incarnation saw, in the order they were given.
pub(crate) fn sources(sql: &Connection, id: &RunId, epoch: i64) -> Result<Vec<Source>, Error> {
    let mut statement =
        sql.prepare_cached("SELECT module, blob_hash FROM run_source WHERE run_id = ?1 AND epoch = ?2 ORDER BY ord")?;
    let rows: Vec<(String, String)> = statement
        .query_map((id.as_str(), epoch), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter()
        .map(|(module, hash)| {
            let bytes = blobs::need(sql, &hash)?;
            Ok(Source { module, text: String::from_utf8_lossy(&bytes).into_owned() })
        })
        .collect()
}

/// Which modules every incarnation saw.
pub(crate) fn source_rows(sql: &Connection, id: &RunId) -> Result<Vec<SourceRow>, Error> {
    let mut statement =
        sql.prepare_cached("SELECT epoch, module, blob_hash FROM run_source WHERE run_id = ?1 ORDER BY epoch, ord")?;
    let rows = statement
        .query_map([id.as_str()], |row| Ok(SourceRow { epoch: row.get(0)?, module: row.get(1)?, hash: row.get(2)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The processes that worked on a run.
pub(crate) fn of(sql: &Connection, id: &RunId) -> Result<Vec<IncarnationRow>, Error> {
    let mut statement = sql.prepare_cached("SELECT * FROM incarnation WHERE run_id = ?1 ORDER BY epoch")?;
    let rows = statement.query_map([id.as_str()], |row| {
        Ok(IncarnationRow {
            epoch: row.get("epoch")?,
            mode: row.get("mode")?,
            host: row.get("host")?,
            boot_id: row.get("boot_id")?,
            pid: row.get("pid")?,
            pid_start: row.get("pid_start")?,
            tool_version: row.get("tool_version")?,
            started_ms: row.get("started_at")?,
            ended_ms: row.get("ended_at")?,
            end_reason: row.get("end_reason")?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
