//! The progress store of one run, `runs/<id>/progress.db`: what engines need to resume and to undo.
//!
//! Relaxed where the journal is strict, because it takes thousands of records a second and the data it speaks of is
//! synced before it: a record survives the death of the process at once and a power cut after [`Checkpoint::sync`].
//! `synchronous=NORMAL` and not OFF: it costs two syncs in a few thousand pages, and a power cut cannot damage the
//! file. `locking_mode=EXCLUSIVE`, because only the process that has the run opens it: without locks and shared memory
//! a put is three to four times as fast.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::error::Error;
use super::{crash, open};
use crate::progress::{Checkpoint, CheckpointError, Record, Visit};

/// Name of the file in the directory of a run.
const FILE: &str = "progress.db";

/// Its `application_id`, "decq".
const APPLICATION: i64 = 1_684_366_705;

/// How many records a visit reads at a time.
const PAGE: usize = 512;

/// Keeps the records of engines beside the journal. Cheap to clone; used from many threads.
#[derive(Debug, Clone)]
pub struct ProgressStore(Arc<Store>);

#[derive(Debug)]
struct Store {
    path: PathBuf,
    sql: Mutex<Connection>,
}

impl ProgressStore {
    /// Opens the store in the directory of a run, and makes it if need be.
    pub(super) fn open(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join(FILE);
        crash::point("progress: before the file");
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::io("create", &path, source))?;
        let sql = connect(&path).map_err(|source| Error::sql("open the progress store", &path, source))?;
        let application: i64 = sql
            .query_row("PRAGMA application_id", [], |row| row.get(0))
            .map_err(|source| Error::sql("open the progress store", &path, source))?;
        if application != APPLICATION {
            return Err(Error::Corrupt { path, detail: "it is no progress store of decamp".to_owned() });
        }
        open::sync_dir(run_dir)?;
        crash::point("progress: after the file");
        Ok(Self(Arc::new(Store { path, sql: Mutex::new(sql) })))
    }

    fn sql(&self) -> MutexGuard<'_, Connection> {
        self.0.sql.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> CheckpointError {
        move |source| CheckpointError(Box::new(Error::sql(doing, &self.0.path, source)))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(path, flags)?;
    sql.busy_timeout(Duration::from_secs(5))?;
    sql.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 4000;",
    )?;
    let pages: i64 = sql.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let tables: i64 = sql.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if pages == 0 || tables == 0 {
        sql.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             PRAGMA application_id = {APPLICATION};
             CREATE TABLE IF NOT EXISTS record (
                 kind  INTEGER NOT NULL,
                 key   BLOB NOT NULL,
                 value BLOB NOT NULL,
                 PRIMARY KEY (kind, key)
             ) STRICT, WITHOUT ROWID;
             COMMIT;"
        ))?;
    }
    Ok(sql)
}

impl Checkpoint for ProgressStore {
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError> {
        let mut sql = self.sql();
        crash::point("progress: before put");
        put(&mut sql, records).map_err(self.fail("keep progress"))?;
        crash::point("progress: after put");
        Ok(())
    }

    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        let sql = self.sql();
        let mut statement = sql
            .prepare_cached("SELECT value FROM record WHERE kind = ?1 AND key = ?2")
            .map_err(self.fail("read progress"))?;
        statement.query_row(params![kind, key], |row| row.get(0)).optional().map_err(self.fail("read progress"))
    }

    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            // A page at a time, so that the visitor may write, and another thread too.
            let page = page(&self.sql(), kind, prefix, last.as_deref(), reverse).map_err(self.fail("read progress"))?;
            let full = page.len() == PAGE;
            for (key, value) in &page {
                if !visit(key, value) {
                    return Ok(());
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) if full => last = Some(key),
                _ => return Ok(()),
            }
        }
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        let sql = self.sql();
        crash::point("progress: before sync");
        // Every committed record is in the log or, behind a checkpoint that syncs by itself, in the file.
        let log = self.0.path.with_extension("db-wal");
        let synced = File::open(&log).and_then(|file| file.sync_data());
        match synced {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(|source| CheckpointError(Box::new(Error::io("sync", &log, source))))?,
        }
        crash::point("progress: after sync");
        drop(sql);
        Ok(())
    }
}

fn put(sql: &mut Connection, records: &[Record<'_>]) -> rusqlite::Result<()> {
    if let [one] = records {
        // A single statement is its own transaction.
        return put_one(sql, one);
    }
    let tx = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for record in records {
        put_one(&tx, record)?;
    }
    tx.commit()
}

fn put_one(sql: &Connection, record: &Record<'_>) -> rusqlite::Result<()> {
    match record.value {
        Some(value) => sql
            .prepare_cached(
                "INSERT INTO record (kind, key, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![record.kind, record.key, value]),
        None => sql
            .prepare_cached("DELETE FROM record WHERE kind = ?1 AND key = ?2")?
            .execute(params![record.kind, record.key]),
    }?;
    Ok(())
}

type Pair = (Vec<u8>, Vec<u8>);

fn page(sql: &Connection, kind: u8, prefix: &[u8], last: Option<&[u8]>, reverse: bool) -> rusqlite::Result<Vec<Pair>> {
    let end = after_prefix(prefix);
    let text = match (reverse, last.is_some(), end.is_some()) {
        (false, false, true) => "key >= ?2 AND key < ?3 ORDER BY key",
        (false, false, false) => "key >= ?2 ORDER BY key",
        (false, true, true) => "key > ?2 AND key < ?3 ORDER BY key",
        (false, true, false) => "key > ?2 ORDER BY key",
        (true, false, true) => "key >= ?2 AND key < ?3 ORDER BY key DESC",
        (true, false, false) => "key >= ?2 ORDER BY key DESC",
        (true, true, _) => "key >= ?2 AND key < ?3 ORDER BY key DESC",
    };
    let mut statement =
        sql.prepare_cached(&format!("SELECT key, value FROM record WHERE kind = ?1 AND {text} LIMIT {PAGE}"))?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (low, high) = match (reverse, last) {
        (true, Some(last)) => (prefix, Some(last.to_vec())),
        (false, Some(last)) => (last, end),
        (_, None) => (prefix, end),
    };
    match high {
        Some(high) => statement.query_map(params![kind, low, high], read)?.collect(),
        None => statement.query_map(params![kind, low], read)?.collect(),
    }
}

/// The first key behind every key with this prefix; `None` if nothing is behind them.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}
