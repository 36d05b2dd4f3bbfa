//! Removing rows of another SQLite file so that their bytes are gone as well: from its pages, and from its log.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

/// Removes the rows with these ids from `table`.
///
/// # Errors
/// As SQLite fails; if another process kept the log from being emptied.
pub(crate) fn rows(file: &Path, table: &str, ids: &[i64]) -> Result<(), String> {
    let failed = |error: rusqlite::Error| error.to_string();
    let mut db = Connection::open(file).map_err(failed)?;
    db.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    db.pragma_update(None, "secure_delete", true).map_err(failed)?;
    let write = db.transaction().map_err(failed)?;
    for id in ids {
        write.execute(&format!("DELETE FROM \"{table}\" WHERE id = ?1"), [id]).map_err(failed)?;
    }
    write.commit().map_err(failed)?;
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(failed)?;
    if busy == 0 { Ok(()) } else { Err("another session reads it; it goes when that one ends".to_owned()) }
}
