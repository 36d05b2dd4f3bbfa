//! Bringing an older journal to the newest format: numbered SQL files that are never edited, after a backup.

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::error::Error;
use super::{backup, crash, lock, now_ms, open};

/// The formats of a journal, oldest first: number `n` is what the first `n` migrations make.
#[derive(Debug)]
pub(super) struct Formats<'m>(pub(super) &'m [M<'m>]);

/// The formats this program knows.
pub(super) const KNOWN: Formats<'static> =
    Formats(&[M::up(include_str!("migrations/0001_init.sql")), M::up(include_str!("migrations/0002_prune.sql"))]);

impl Formats<'_> {
    /// The number of the newest.
    pub(super) fn newest(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }
}

impl Formats<'_> {
    /// The tables and indexes of the newest, as a fresh journal has them.
    pub(super) fn schema(&self) -> rusqlite::Result<Vec<(String, Option<String>)>> {
        let mut sql = Connection::open_in_memory()?;
        Migrations::from_slice(self.0).to_latest(&mut sql).map_err(|error| match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => err,
            other => rusqlite::Error::ToSqlConversionFailure(other.into()),
        })?;
        open::schema(&sql)
    }
}

/// Runs the migrations a journal still needs; an older journal is copied to `backup/` first.
pub(super) fn bring_up(sql: &mut Connection, dir: &Path, path: &Path, formats: &Formats<'_>) -> Result<(), Error> {
    let fail = |source| Error::sql("be migrated", path, source);
    let found: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
    if found >= formats.newest() {
        return Ok(());
    }
    if found > 0 {
        nobody_works(&dir.join("runs"))?;
        backup::make(sql, dir, path, &format!("journal-v{found}-{}.db", now_ms()))?;
    }
    crash::point("open: before a migration");
    Migrations::from_slice(formats.0).to_latest(sql).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => fail(err),
        other => Error::Corrupt { path: path.to_path_buf(), detail: other.to_string() },
    })?;
    crash::point("open: after a migration");
    Ok(())
}

/// Refuses to change the journal under a living decamp.
pub(super) fn nobody_works(runs: &Path) -> Result<(), Error> {
    let entries = match std::fs::read_dir(runs) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        list => list.map_err(|source| Error::io("list", runs, source))?,
    };
    for entry in entries {
        let name = entry.map_err(|source| Error::io("list", runs, source))?.file_name();
        let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else { continue };
        let run = super::RunId(run.to_owned());
        if lock::is_live(runs, &run)? {
            return Err(Error::Live { run, pid: 0, host: None, since_ms: None });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::journal::Reader;

    const NEXT: &str = "ALTER TABLE run ADD COLUMN weight INTEGER NOT NULL DEFAULT 7";

    fn next() -> Vec<M<'static>> {
        [KNOWN.0, &[M::up(NEXT)]].concat()
    }

    fn create_run(dir: &Path) -> crate::journal::Run {
        let new = crate::journal::NewRun {
            script: "s".into(),
            script_path: None,
            params: serde_json::json!({}),
            mode: crate::journal::Mode::Run,
            sources: Vec::new(),
            operator: "o".into(),
            tool_version: "v".into(),
            argv: Vec::new(),
        };
        crate::journal::Journal::open(dir).unwrap().create(new).unwrap()
    }

    fn version(path: &Path) -> i64 {
        Connection::open(path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    /// The copies made for migrations, apart from the routine ones.
    fn before_migrations(dir: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir.join("backup")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("journal-v")).collect()
    }

    #[test]
    fn an_older_journal_is_backed_up_and_then_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let id = create_run(dir.path()).id().clone();
        let open::Opened { dir: home, sql, in_use, .. } =
            open::write(dir.path(), &Formats(&next()), &Default::default()).unwrap();
        let weight: i64 = sql.query_row("SELECT weight FROM run", [], |row| row.get(0)).unwrap();
        assert_eq!(weight, 7);
        drop((sql, in_use));
        assert_eq!(version(&home.join(open::FILE)), KNOWN.newest() + 1);
        let backups = before_migrations(&home);
        assert_eq!(backups.len(), 1);
        assert_eq!(version(&backups[0]), KNOWN.newest());
        let kept: String =
            Connection::open(&backups[0]).unwrap().query_row("SELECT id FROM run", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, id.as_str());
        // The newer format is then refused by the older program, whichever way it comes.
        assert!(matches!(Reader::open(&home), Err(Error::Newer { found, known, .. }) if found == known + 1));
        // A second opening migrates and backs up nothing.
        open::write(dir.path(), &Formats(&next()), &Default::default()).unwrap();
        assert_eq!(before_migrations(&home).len(), 1);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_format_and_its_backup() {
        let dir = tempfile::tempdir().unwrap();
        drop(create_run(dir.path()));
        let broken = [KNOWN.0, &[M::up("ALTER TABLE run ADD COLUMN a; CREATE TABLE run (x)")]].concat();
        assert!(open::write(dir.path(), &Formats(&broken), &Default::default()).is_err());
        assert_eq!(version(&dir.path().join(open::FILE)), KNOWN.newest());
        assert!(crate::journal::Journal::open(dir.path()).is_ok());
        assert_eq!(before_migrations(dir.path()).len(), 1);
    }

    #[test]
    fn a_living_run_of_an_older_decamp_is_not_pulled_away_under() {
        let dir = tempfile::tempdir().unwrap();
        let run = create_run(dir.path());
        match open::write(dir.path(), &Formats(&next()), &Default::default()) {
            Err(Error::Live { run: live, .. }) => assert_eq!(&live, run.id()),
            other => panic!("{:?}", other.map(|opened| opened.dir)),
        }
        drop(run);
        open::write(dir.path(), &Formats(&next()), &Default::default()).unwrap();
    }

    #[test]
    fn a_reader_does_not_migrate() {
        let dir = tempfile::tempdir().unwrap();
        drop(create_run(dir.path()));
        let path = dir.path().join(open::FILE);
        let found = open::read(&path, |sql| open::check(sql, &path, &Formats(&next()))).unwrap();
        assert_eq!((found, version(&path)), (KNOWN.newest(), KNOWN.newest()));
    }
}
