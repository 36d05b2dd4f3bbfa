//! Removing runs that are over and cannot be undone any more.
//!
//! The rows go in one transaction, after a copy of the journal was made; the files follow. A kill in between leaves
//! files of runs that are known to be gone, and the next writer removes them.

use std::fs;
use std::path::Path;

use super::error::Error;
use super::lock::{self, Owner, RunLock};
use super::model::RunId;
use super::store::{self, prune};
use super::{Journal, crash, open};

impl Journal {
    /// Removes runs with all that belongs to them; returns how many bytes the journal is smaller.
    ///
    /// # Errors
    /// [`Error::Live`] if a process has one of them; [`Error::Kept`] for one that is not over or still holds something:
    /// nothing was removed then. [`Error::NotFound`]; what any write can fail with.
    pub fn prune(&self, runs: &[RunId]) -> Result<u64, Error> {
        if runs.is_empty() {
            return Ok(0);
        }
        self.0.back_up(false)?;
        let owner = Owner::this();
        let _locks = runs
            .iter()
            .map(|run| {
                self.exists(run)?;
                RunLock::take(&self.0.runs_dir(), run, &owner)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let all = runs.to_vec();
        let before = self.size()?;
        self.0.writer.write("remove the runs", None, move |tx| prune::remove(tx, &all))?;
        self.remove_pruned()?;
        self.0.writer.read(|sql| Ok(sql.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?))?;
        // Without them: a journal made anew from a copy would bring them back.
        self.0.back_up(false)?;
        Ok(before.saturating_sub(self.size()?))
    }

    /// Removes the files of runs that are gone.
    pub(super) fn remove_pruned(&self) -> Result<(), Error> {
        let runs_dir = self.0.runs_dir();
        let mut removed = false;
        for run in self.0.writer.read(store::events::pruned)? {
            let (dir, lock) = (self.0.run_dir(&run), lock::path(&runs_dir, &run));
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(|source| Error::io("remove", &dir, source))?;
                crash::point("prune: after a directory");
                removed = true;
            }
            match fs::remove_file(&lock) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("remove", &lock, source)),
            }
        }
        if removed { open::sync_dir(&runs_dir) } else { Ok(()) }
    }

    /// Bytes of the database and its log.
    fn size(&self) -> Result<u64, Error> {
        let path = self.0.dir.join(open::FILE);
        let size = |path: &Path| match path.metadata() {
            Ok(meta) => Ok(meta.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::io("look at", path, source)),
        };
        Ok(size(&path)? + size(&path.with_extension("db-wal"))?)
    }
}
