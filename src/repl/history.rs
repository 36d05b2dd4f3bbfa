//! What was typed: a file of its own beside the journal, for its owner's eyes only, without the values of secrets.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reedline::{History, HistoryItem, HistoryItemId, HistorySessionId, Result, SearchQuery, SqliteBackedHistory};

use crate::journal::scrub;
use crate::redact;
use crate::report::output::tell;

/// The file below the state directory.
const FILE: &str = "history.db";

/// The history, for the editor that fills it and the session that takes out of it what must not stay.
#[derive(Clone)]
pub(super) struct Kept(Arc<Mutex<Inner>>);

struct Inner {
    lines: SqliteBackedHistory,
    /// None if it lasts as long as the session.
    file: Option<PathBuf>,
    /// Lines of this session: a value may become known to be secret after it was typed.
    typed: Vec<(HistoryItemId, String)>,
    /// It was said that a line is not kept.
    said: bool,
}

/// Whether a line holds the value of a secret that was read.
fn secret(line: &str) -> bool {
    redact::spoken(line).is_some() || redact::held(line).is_some() || redact::text(line) != line
}

impl Kept {
    /// The history below `state`; one that lasts as long as the session where no file can be used, and says so.
    pub(super) fn open(state: &Path) -> Option<Self> {
        let (lines, file) = match on_disk(state) {
            Ok((lines, file)) => (lines, Some(file)),
            Err(why) => {
                tell(&format!("what is typed is not kept: {why}"));
                (SqliteBackedHistory::in_memory().ok()?, None)
            }
        };
        Some(Self(Arc::new(Mutex::new(Inner { lines, file, typed: Vec::new(), said: false }))))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the lines of this session that hold the value of a secret that is known by now.
    pub(super) fn forget_secrets(&self) {
        let mut inner = self.inner();
        let (found, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inner.typed).into_iter().partition(|(_, line)| secret(line));
        inner.typed = kept;
        if found.is_empty() {
            return;
        }
        let ids: Vec<i64> = found.iter().map(|(id, _)| id.0).collect();
        let failed = match &inner.file {
            Some(file) => scrub::rows(file, "history", &ids).err().map(|error| format!("{}: {error}", file.display())),
            None => found.iter().find_map(|(id, _)| inner.lines.delete(*id).err()).map(|error| error.to_string()),
        };
        match failed {
            Some(why) => tell(&format!("a line that holds the value of a secret stays in the history: {why}")),
            None => inner.say(),
        }
    }
}

impl Inner {
    fn say(&mut self) {
        if !std::mem::replace(&mut self.said, true) {
            tell("lines that hold the value of a secret are not kept in the history");
        }
    }
}

impl History for Kept {
    fn save(&mut self, item: HistoryItem) -> Result<HistoryItem> {
        let mut inner = self.inner();
        let line = item.command_line.clone();
        if secret(&line) {
            inner.say();
            return Ok(item);
        }
        let item = inner.lines.save(item)?;
        inner.typed.extend(item.id.map(|id| (id, line)));
        Ok(item)
    }

    fn load(&self, id: HistoryItemId) -> Result<HistoryItem> {
        self.inner().lines.load(id)
    }

    fn count(&self, query: SearchQuery) -> Result<i64> {
        self.inner().lines.count(query)
    }

    fn search(&self, query: SearchQuery) -> Result<Vec<HistoryItem>> {
        self.inner().lines.search(query)
    }

    fn update(&mut self, id: HistoryItemId, updater: &dyn Fn(HistoryItem) -> HistoryItem) -> Result<()> {
        self.inner().lines.update(id, updater)
    }

    fn clear(&mut self) -> Result<()> {
        self.inner().lines.clear()
    }

    fn delete(&mut self, id: HistoryItemId) -> Result<()> {
        self.inner().lines.delete(id)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.inner().lines.sync()
    }

    fn session(&self) -> Option<HistorySessionId> {
        self.inner().lines.session()
    }
}

fn on_disk(state: &Path) -> std::result::Result<(SqliteBackedHistory, PathBuf), String> {
    let path = state.join(FILE);
    let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
    if !state.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(failed)?;
    }
    // Made before SQLite opens it, so that nobody else can read it for a moment; its side files get the same rights.
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    drop(file);
    let history = SqliteBackedHistory::with_file(path.clone(), None, None);
    history.map(|history| (history, path.clone())).map_err(|error| format!("`{}`: {error}", path.display()))
}
