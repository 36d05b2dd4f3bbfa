//! The progress store of one run, `runs/<id>/progress.db`: what engines need to resume and to undo.
//!
//! Relaxed where the journal is strict, because it takes thousands of records a second and the data it speaks of is
//! synced before it: a record survives the death of the process at once and a power cut after [`Checkpoint::sync`].
//! `synchronous=NORMAL` and not OFF: it costs two syncs in a few thousand pages, and a power cut cannot damage the
//! file. `locking_mode=EXCLUSIVE`, because only the process that has the run opens it: without locks and shared memory
//! a put is three to four times as fast.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::error::Error;
use super::model::RunId;
use super::{crash, open};
use crate::progress::{Checkpoint, CheckpointError, Record, Visit};

/// Name of the file in the directory of a run.
pub(super) const FILE: &str = "progress.db";

/// Its `application_id`, "decq".
const APPLICATION: i64 = 1_684_366_705;

/// Its format: 1 has a sum behind each value, 2 says whose it is and how often it was synced.
const FORMAT: i64 = 2;

/// Name of the file beside it that says how often it was synced: a store that knows of fewer is an older one, or its log
/// was cut.
pub(super) const ANCHOR: &str = "progress.anchor";

/// How many records a visit reads at a time.
const PAGE: usize = 512;

/// Keeps the records of engines beside the journal. Cheap to clone; used from many threads.
#[derive(Debug, Clone)]
pub struct ProgressStore(Arc<Store>);

#[derive(Debug)]
struct Store {
    path: PathBuf,
    sql: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sql: Connection,
    anchor: File,
    /// How often the store was synced.
    synced: i64,
}

impl ProgressStore {
    /// Opens the store in the directory of a run, and makes it if it was never `made`.
    pub(super) fn open(run_dir: &Path, run: &RunId, made: bool) -> Result<Self, Error> {
        let path = run_dir.join(FILE);
        if made {
            there(&path)?;
        }
        crash::point("progress: before the file");
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::io("create", &path, source))?;
        let sql = connect(&path, run, made).map_err(|source| Error::sql("open the progress store", &path, source))?;
        let synced = whole(&sql, &path, run)?;
        let place = run_dir.join(ANCHOR);
        let anchor = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&place)
            .map_err(|source| Error::io("create", &place, source))?;
        open::sync_dir(run_dir)?;
        crash::point("progress: after the file");
        Ok(Self(Arc::new(Store { path, sql: Mutex::new(Inner { sql, anchor, synced }) })))
    }

    fn sql(&self) -> MutexGuard<'_, Inner> {
        self.0.sql.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> CheckpointError {
        move |source| CheckpointError(Box::new(Error::sql(doing, &self.0.path, source)))
    }
}

/// Refuses a store that was made once and is not there: what the run made could not be told from what was there before.
fn there(path: &Path) -> Result<(), Error> {
    match path.metadata().map_or(0, |meta| meta.len()) {
        0 => {
            let detail = "what the run did to its targets was in it, and is gone".to_owned();
            Err(Error::Corrupt { path: path.to_path_buf(), detail })
        }
        _ => Ok(()),
    }
}

/// Refuses the store of a run if it cannot be read; changes nothing. The run has no living process.
pub(super) fn look(run_dir: &Path, run: &RunId) -> Result<(), Error> {
    let path = run_dir.join(FILE);
    there(&path)?;
    let fail = |source| Error::sql("read the progress store", &path, source);
    // Writable, because without shared memory SQLite reads a log only where it could write; but nothing is written.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(&path, flags).map_err(fail)?;
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
    sql.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;",
    )
    .map_err(fail)?;
    whole(&sql, &path, run).map(drop)
}

/// Refuses a store of somebody else, a damaged one, and one that is behind its anchor; how often it was synced.
fn whole(sql: &Connection, path: &Path, run: &RunId) -> Result<i64, Error> {
    let fail = |source| Error::sql("read the progress store", path, source);
    let corrupt = |detail: String| Error::Corrupt { path: path.to_path_buf(), detail };
    let application: i64 = sql.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(fail)?;
    if application != APPLICATION {
        return Err(corrupt("it is no progress store of decamp".to_owned()));
    }
    let format: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
    if format != FORMAT {
        return Err(corrupt(format!(
            "it has format {format}, and this decamp reads {FORMAT}: finish the run with the decamp it was started with"
        )));
    }
    let verdict: String = sql.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
    if verdict != "ok" {
        return Err(corrupt(verdict));
    }
    let (owner, synced): (String, i64) =
        sql.query_row("SELECT run, synced FROM owner", [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(fail)?;
    if owner != run.as_str() {
        return Err(corrupt(format!("it is that of run {owner}")));
    }
    let said = anchored(&path.with_file_name(ANCHOR))?;
    if said > synced {
        let detail = format!("it was synced {said} times and knows of {synced}: its newest part is missing");
        return Err(corrupt(detail));
    }
    Ok(synced)
}

/// What the anchor says; 0 where nothing was synced yet.
fn anchored(path: &Path) -> Result<i64, Error> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(Error::io("read", path, source)),
    };
    if text.is_empty() {
        return Ok(0);
    }
    let said = text.split_first_chunk::<8>().filter(|(said, seal)| *seal == sum(0, b"anchor", *said));
    said.map(|(said, _)| i64::from_le_bytes(*said)).ok_or_else(|| Error::Corrupt {
        path: path.with_file_name(FILE),
        detail: format!("what {ANCHOR} beside it says cannot be read"),
    })
}

fn connect(path: &Path, run: &RunId, made: bool) -> rusqlite::Result<Connection> {
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
    if !made && (pages == 0 || tables == 0) {
        sql.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             PRAGMA application_id = {APPLICATION};
             PRAGMA user_version = {FORMAT};
             CREATE TABLE IF NOT EXISTS record (
                 kind  INTEGER NOT NULL,
                 key   BLOB NOT NULL,
                 value BLOB NOT NULL,
                 PRIMARY KEY (kind, key)
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS owner (run TEXT NOT NULL, synced INTEGER NOT NULL) STRICT;
             INSERT INTO owner (run, synced) SELECT '{run}', 0 WHERE NOT EXISTS (SELECT 1 FROM owner);
             COMMIT;"
        ))?;
    }
    Ok(sql)
}

impl Checkpoint for ProgressStore {
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError> {
        let mut sql = self.sql();
        crash::point("progress: before put");
        put(&mut sql.sql, records).map_err(self.fail("keep progress"))?;
        crash::point("progress: after put");
        Ok(())
    }

    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        let inner = self.sql();
        let mut statement = inner
            .sql
            .prepare_cached("SELECT value FROM record WHERE kind = ?1 AND key = ?2")
            .map_err(self.fail("read progress"))?;
        let value = statement.query_row(params![kind, key], |row| row.get(0)).optional();
        let value: Option<Vec<u8>> = value.map_err(self.fail("read progress"))?;
        value.map(|value| unsealed(kind, key, value)).transpose().map_err(self.fail("read progress"))
    }

    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            // A page at a time, so that the visitor may write, and another thread too.
            let page =
                page(&self.sql().sql, kind, prefix, last.as_deref(), reverse).map_err(self.fail("read progress"))?;
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
        let mut inner = self.sql();
        crash::point("progress: before sync");
        let next = inner.synced + 1;
        inner.sql.execute("UPDATE owner SET synced = ?1", [next]).map_err(self.fail("keep progress"))?;
        // Every committed record is in the log or, behind a checkpoint that syncs by itself, in the file.
        let log = self.0.path.with_extension("db-wal");
        let synced = File::open(&log).and_then(|file| file.sync_data());
        match synced {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(|source| CheckpointError(Box::new(Error::io("sync", &log, source))))?,
        }
        // Behind the records: an anchor is never ahead of a store that nobody cut.
        let said = next.to_le_bytes();
        let text = [said, sum(0, b"anchor", &said)].concat();
        let place = self.0.path.with_file_name(ANCHOR);
        inner
            .anchor
            .write_all_at(&text, 0)
            .and_then(|()| inner.anchor.sync_data())
            .map_err(|source| CheckpointError(Box::new(Error::io("sync", &place, source))))?;
        inner.synced = next;
        crash::point("progress: after sync");
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
            .execute(params![record.kind, record.key, sealed(record.kind, record.key, value)]),
        None => sql
            .prepare_cached("DELETE FROM record WHERE kind = ?1 AND key = ?2")?
            .execute(params![record.kind, record.key]),
    }?;
    Ok(())
}

/// How many bytes of a sum follow each value: a byte that changed inside a record is no damage to SQLite.
const SUM: usize = 8;

fn sum(kind: u8, key: &[u8], value: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    let mut sum = [0; SUM];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

/// A value with its sum, as it is stored.
fn sealed(kind: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    [value, &sum(kind, key, value)].concat()
}

/// The value of what was stored.
fn unsealed(kind: u8, key: &[u8], mut stored: Vec<u8>) -> rusqlite::Result<Vec<u8>> {
    let at = stored.len().checked_sub(SUM);
    if at.is_none_or(|at| stored[at..] != sum(kind, key, &stored[..at])) {
        let cause = "the sum of a record does not fit its content".into();
        return Err(rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, cause));
    }
    stored.truncate(stored.len() - SUM);
    Ok(stored)
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
    let read = |row: &rusqlite::Row<'_>| {
        let key: Vec<u8> = row.get(0)?;
        let value = unsealed(kind, &key, row.get(1)?)?;
        Ok((key, value))
    };
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
