//! Opening `journal.db`: where it may be, whether it is whole, and the connection as section 3.5 of the rules wants it.
//!
//! Everything that can be refused is found before a byte is written: the file system by `statfs`, damage and foreign
//! formats over a read-only connection. One process at a time opens (an flock on `open.lock`), so that two of them
//! cannot create or migrate side by side.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use rustix::fs::FlockOperation;

use super::error::Error;
use super::hash::Secret;
use super::migrate::{self, Formats};
use super::model::RunId;
use super::store::{events, images};
use super::{backup, ballast, crash};

/// Name of the database in the state directory.
pub(super) const FILE: &str = "journal.db";

/// The `application_id` of a journal, "decp".
pub(super) const APPLICATION: i64 = 1_684_366_704;

/// The first SQLite without the WAL-reset bug.
const SQLITE: i32 = 3_051_003;

/// A run must not begin with less space than this.
pub(super) const SPACE: u64 = 64 << 20;

/// While a read-only connection may be the first of this process on the file, no other may be opened for writing:
/// SQLite shares its view of the shared memory file, read-only or not, between the connections of a process.
static FIRST: RwLock<()> = RwLock::new(());

/// A journal that was opened for writing.
pub(super) struct Opened {
    /// The state directory, absolute.
    pub(super) dir: PathBuf,
    pub(super) sql: Connection,
    pub(super) secret: Secret,
    /// Says that the journal is open, as long as this lives.
    pub(super) in_use: File,
}

/// Opens the journal in `dir` for writing; makes the directory and the file if need be.
///
/// `files` is what the event files of the runs tell, read before.
pub(super) fn write(dir: &Path, formats: &Formats<'_>, files: &BTreeMap<RunId, i64>) -> Result<Opened, Error> {
    if rusqlite::version_number() < SQLITE {
        return Err(Error::Sqlite { found: rusqlite::version() });
    }
    local(dir)?;
    let dir = make_dirs(dir)?;
    space(&dir)?;
    let _alone = FIRST.write().unwrap_or_else(PoisonError::into_inner);
    let _turn = turn(&dir)?;
    let path = dir.join(FILE);
    let found = if is_new(&path)? { 0 } else { look(&path, |sql| check(sql, &path, formats))? };
    if found == 0 {
        nothing_lost(&path, files)?;
    }
    crash::point("open: before the file");
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| Error::io("create", &path, source))?;
    sync_dir(&dir)?;
    let fail = |source| Error::sql("be opened", &path, source);
    let mut sql =
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(fail)?;
    settings(&sql, &path)?;
    // Again, for a file whose creation was cut short and had to be recovered first; and the indexes too, because a step
    // that is not found by its key would be done again.
    check(&sql, &path, formats)?;
    whole(&sql, &path)?;
    migrate::bring_up(&mut sql, &dir, &path, formats)?;
    let secret = secret(&mut sql, &path).map_err(|error| error.at("be given its key", &path))?;
    images::watch(&sql).map_err(fail)?;
    ballast::keep(&dir)?;
    let in_use = in_use(&dir)?;
    Ok(Opened { dir, sql, secret, in_use })
}

/// Refuses a journal that knows less than the event files tell: a file that was lost, replaced by an older one, or
/// whose write-ahead log was cut. `files` was read before the journal, because a line follows its commit.
pub(super) fn not_behind(sql: &Connection, path: &Path, files: &BTreeMap<RunId, i64>) -> Result<(), Error> {
    let mut table: BTreeMap<RunId, i64> =
        events::last_of_runs(sql)?.into_iter().map(|(run, _, last)| (run, last)).collect();
    table.extend(events::pruned(sql)?.into_iter().map(|run| (run, i64::MAX)));
    match files.iter().find(|(run, file)| **file > table.get(run).copied().unwrap_or_default()) {
        Some((run, &file)) => Err(lost(path, run, file, table.get(run).copied().unwrap_or_default())),
        None => Ok(()),
    }
}

/// As [`not_behind`], where there is no journal, or nothing in it.
pub(super) fn nothing_lost(path: &Path, files: &BTreeMap<RunId, i64>) -> Result<(), Error> {
    if let Some((run, &file)) = files.iter().find(|(_, file)| **file > 0) {
        return Err(lost(path, run, file, 0));
    }
    let Some(dir) = path.parent() else { return Ok(()) };
    for (_, copy) in backup::all(dir)?.into_iter().rev() {
        // One that cannot be read proves nothing; `doctor` tells about it.
        let runs = look(&copy, |sql| Ok(sql.query_row("SELECT count(*) FROM run", [], |row| row.get(0))?));
        if let Ok(runs @ 1..) = runs {
            return Err(Error::Gone { path: path.to_path_buf(), copy, runs });
        }
    }
    Ok(())
}

fn lost(path: &Path, run: &RunId, file: i64, table: i64) -> Error {
    Error::Lost { path: path.to_path_buf(), run: run.clone(), file, table }
}

/// Reads the journal at `path` so that nothing on disk changes.
pub(super) fn read<T>(path: &Path, work: impl Fn(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    let _shared = FIRST.read().unwrap_or_else(PoisonError::into_inner);
    look(path, work)
}

/// As [`read`], under a lock the caller holds.
///
/// Without a write-ahead log nobody writes, and the file alone is read, without locks or shared memory: if a writer
/// came meanwhile, whatever was read is thrown away and read again.
fn look<T>(path: &Path, work: impl Fn(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        let before = trace(path);
        let result = read_only(path).and_then(|sql| work(&sql));
        match &result {
            Err(error) if begun.elapsed() < PATIENCE && passing(error) => std::thread::sleep(PAUSE),
            // With a log, SQLite's own locks keep the view consistent.
            _ if before.log || before == trace(path) => return result,
            _ => {}
        }
    }
}

/// For how long, and how far apart, reading is tried again while a writer comes or goes. A time and no count, because
/// SQLite itself may take ten seconds for one try.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// What a reader meets when a writer has just made, not yet filled or just removed the log and its shared memory.
fn passing(error: &Error) -> bool {
    let Error::Sql { source, .. } = error else { return false };
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::FileLockingProtocolFailed)
    )
}

/// What tells whether a writer came: a log, or another size or time of change.
#[derive(PartialEq)]
struct Trace {
    log: bool,
    size: u64,
    changed: Option<std::time::SystemTime>,
}

fn trace(path: &Path) -> Trace {
    let meta = path.metadata().ok();
    Trace {
        log: has_log(path),
        size: meta.as_ref().map_or(0, std::fs::Metadata::len),
        changed: meta.and_then(|meta| meta.modified().ok()),
    }
}

/// Whether there is a write-ahead log that may hold anything: one with a header SQLite knows, and more than that.
///
/// A process that is killed after it has made the log and before its first commit leaves a header alone. Everything
/// committed is then in the database; and SQLite, which cannot rebuild the shared memory over a read-only connection,
/// compares the header with one it has never read, and tries again for ever.
fn has_log(path: &Path) -> bool {
    let mut start = [0; LOG_HEADER + 1];
    let read =
        File::open(path.with_extension("db-wal")).and_then(|mut log| std::io::Read::read_exact(&mut log, &mut start));
    let word = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    // The lowest bit of the first word is the byte order of the checksums; the third is the size of a page.
    let known = || word(0) & !1 == LOG_MAGIC && word(8).is_power_of_two() && (512..=65536).contains(&word(8));
    match read {
        Ok(()) => known(),
        // What is there and cannot be read is SQLite's to name.
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound),
    }
}

/// The bytes before the first frame of a write-ahead log, and how they begin (see SQLite's "WAL-mode File Format").
const LOG_HEADER: usize = 32;
const LOG_MAGIC: u32 = 0x377F_0682;

/// A connection that changes nothing.
fn read_only(path: &Path) -> Result<Connection, Error> {
    let fail = |source| Error::sql("be opened", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let how = match (has_log(path), path.with_extension("db-shm").exists()) {
        (false, _) => "immutable=1",
        (true, true) => "readonly_shm=1",
        // A log without shared memory was put there by hand, and SQLite has to make one to read it.
        (true, false) => "mode=ro",
    };
    let sql = Connection::open_with_flags(uri(path, how), flags).map_err(fail)?;
    sql.busy_timeout(Duration::from_secs(5)).map_err(fail)?;
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
    sql.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")
        .map_err(fail)?;
    Ok(sql)
}

/// The path as a URI SQLite understands.
fn uri(path: &Path, parameter: &str) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push('?');
    uri.push_str(parameter);
    uri
}

/// Whether there is no journal yet: no file, an empty one, or one whose creation was cut short before the first commit.
pub(super) fn is_new(path: &Path) -> Result<bool, Error> {
    match path.metadata() {
        Ok(meta) => Ok(meta.len() == 0 || path.with_extension("db-journal").exists()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Error::io("look at", path, source)),
    }
}

/// Refuses a file that is no journal, one that is damaged, and one of a newer decamp; returns its format.
pub(super) fn check(sql: &Connection, path: &Path, formats: &Formats<'_>) -> Result<i64, Error> {
    let corrupt = |detail: String| Error::Corrupt { path: path.to_path_buf(), detail };
    let fail = |source: rusqlite::Error| match source.sqlite_error_code() {
        // Every database can be asked these questions: if this one cannot, its head is damaged.
        Some(ErrorCode::Unknown) => corrupt(source.to_string()),
        _ => Error::sql("be checked", path, source),
    };
    let number = |pragma: &str| sql.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let found = number("user_version").map_err(fail)?;
    let application = number("application_id").map_err(fail)?;
    let tables: i64 = sql.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    if application != APPLICATION && (application, found, tables) != (0, 0, 0) {
        return Err(corrupt("it is a SQLite database, but no journal of decamp".to_owned()));
    }
    if found > formats.newest() {
        return Err(Error::Newer { path: path.to_path_buf(), found, known: formats.newest() });
    }
    let verdict: String = sql.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
    if verdict != "ok" {
        return Err(corrupt(verdict));
    }
    // A byte that changed in the text of a table makes it another table, and is no damage to SQLite.
    if found == formats.newest() && schema(sql).map_err(fail)? != formats.schema().map_err(fail)? {
        return Err(corrupt("its tables are not those of a journal".to_owned()));
    }
    Ok(found)
}

/// Every table and index, what it is of which table, with its text. A copy of the journal is made by all of it.
pub(super) fn schema(sql: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    // Quoted, because what a changed byte has made of it may be no text.
    let what = "SELECT quote(name) || quote(type) || quote(tbl_name), sql FROM sqlite_schema ORDER BY name";
    let mut statement = sql.prepare(what)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Refuses a file whose tables and indexes do not fit.
pub(super) fn whole(sql: &Connection, path: &Path) -> Result<(), Error> {
    let verdict: String = sql
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|source| Error::sql("be checked", path, source))?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Corrupt { path: path.to_path_buf(), detail: verdict }) }
}

/// The pragmas of a writing connection.
fn settings(sql: &Connection, path: &Path) -> Result<(), Error> {
    let fail = |source| Error::sql("be opened", path, source);
    // Another run's commit may have to wait for the disk, behind all that its copy has written.
    sql.busy_timeout(Duration::from_secs(60)).map_err(fail)?;
    sql.set_prepared_statement_cache_capacity(64);
    // Asked for by name: a file system without shared memory answers with another mode instead of an error.
    let mode: String = sql.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(fail)?;
    if mode != "wal" {
        return Err(Error::io(
            "keep a write-ahead log for",
            path,
            std::io::Error::from(std::io::ErrorKind::Unsupported),
        ));
    }
    sql.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 1000;",
    )
    .map_err(fail)
}

/// What makes this journal's hashes its own; made once.
fn secret(sql: &mut Connection, path: &Path) -> Result<Secret, Error> {
    let tx = sql.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let stored: Option<(String, [u8; 32])> = tx
        .query_row(
            "SELECT (SELECT CAST(value AS TEXT) FROM meta WHERE key = 'journal_id'), value
             FROM meta WHERE key = 'hash_key'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    if let Some((journal_id, key)) = stored {
        return Ok(Secret { journal_id, key });
    }
    // Both are written at once: if only one is there, a byte of the other's name has changed.
    if tx.query_row("SELECT EXISTS (SELECT 1 FROM meta)", [], |row| row.get(0))? {
        return Err(Error::Corrupt { path: path.to_path_buf(), detail: "its own key is not there".to_owned() });
    }
    let random = Path::new("/dev/urandom");
    let mut key = [0; 32];
    File::open(random)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut key))
        .map_err(|source| Error::io("read", random, source))?;
    let journal_id = uuid::Uuid::now_v7().to_string();
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ('journal_id', CAST(?1 AS BLOB)), ('hash_key', ?2)",
        rusqlite::params![journal_id, key],
    )?;
    crash::point("open: before the key is committed");
    tx.commit()?;
    crash::point("open: after the key is committed");
    Ok(Secret { journal_id, key })
}

/// Waits for the turn to open; the turn ends when the file is dropped.
pub(super) fn turn(dir: &Path) -> Result<File, Error> {
    lock_file(dir, "open.lock", FlockOperation::LockExclusive)
}

/// Says that this process has the journal open, as long as the file lives.
fn in_use(dir: &Path) -> Result<File, Error> {
    lock_file(dir, "use.lock", FlockOperation::LockShared)
}

/// Makes sure that no process has the journal open, and none opens it while the file lives.
pub(super) fn alone(dir: &Path) -> Result<File, Error> {
    let begun = Instant::now();
    loop {
        match lock_file(dir, "use.lock", FlockOperation::NonBlockingLockExclusive) {
            // A program that is just being started has the descriptors of who starts it, on a busy machine for a while.
            Err(Error::Busy { .. }) if begun.elapsed() < STARTING => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// For how long a lock that another program was started with may outlive the file.
const STARTING: Duration = Duration::from_secs(2);

fn lock_file(dir: &Path, name: &str, operation: FlockOperation) -> Result<File, Error> {
    let path = dir.join(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| Error::io("create", &path, source))?;
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy { path: dir.join(FILE) }),
        Err(errno) => Err(Error::io("lock", &path, errno)),
    }
}

/// Makes the state directory and `runs/` in it, for its owner alone; returns its absolute path.
fn make_dirs(dir: &Path) -> Result<PathBuf, Error> {
    let runs = dir.join("runs");
    DirBuilder::new().recursive(true).mode(0o700).create(&runs).map_err(|source| Error::io("create", &runs, source))?;
    let dir = dir.canonicalize().map_err(|source| Error::io("resolve", dir, source))?;
    sync_dir(&dir)?;
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    Ok(dir)
}

/// Makes the names in a directory survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|source| Error::io("sync", dir, source))
}

/// How much a directory's file system has left for this user.
pub(super) fn free(dir: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(dir).map_err(|errno| Error::io("look at the file system of", dir, errno))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses a directory with too little space for the record of a run; the reserve counts as space.
fn space(dir: &Path) -> Result<(), Error> {
    let free = free(dir)?;
    let reserve = if ballast::whole(dir) { ballast::SIZE } else { 0 };
    if free + reserve < SPACE {
        return Err(Error::Full { path: dir.to_path_buf(), space: Some((free, SPACE)) });
    }
    Ok(())
}

/// File systems on which SQLite's locks or shared memory cannot be trusted, by `f_type` (see statfs(2)).
const NOT_LOCAL: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x0BD0_0BD0, "Lustre"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x7375_7245, "Coda"),
    (0x564C, "NCP"),
    (0x786F_4256, "a VirtualBox shared folder"),
    (0xBACB_ACBC, "a VMware shared folder"),
    (0xAAD7_AAEA, "PanFS"),
];

/// Refuses a directory on a file system that is not this machine's own; looks at the nearest one that exists.
pub(super) fn local(dir: &Path) -> Result<(), Error> {
    let absolute = std::path::absolute(dir).map_err(|source| Error::io("resolve", dir, source))?;
    let place = absolute.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statfs(place).map_err(|errno| Error::io("look at the file system of", place, errno))?;
    // The kernel's number has 32 bits; the field's width and sign differ between machines.
    let kind = stat.f_type as u32;
    match NOT_LOCAL.iter().find(|(magic, _)| *magic == kind) {
        Some((_, fs)) => Err(Error::NotLocal { path: dir.to_path_buf(), fs }),
        None => Ok(()),
    }
}
