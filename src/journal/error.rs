//! Everything that can go wrong in the journal, with what a message for people needs.
//!
//! The errors can be cloned, because a journal that could not commit once is fail-stop and answers every later write
//! with the same error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use serde_json::Value;

use super::model::RunId;
use super::step::{EffectStatus, Illegal, RunStatus};
use crate::units::path_text;

/// A failure of the journal.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No space, or too little to begin with.
    #[error("no space left for the journal in {}", show(path))]
    Full {
        /// The state directory, or the file that could not grow.
        path: PathBuf,
        /// Free and needed bytes, where space was measured before the start.
        space: Option<(u64, u64)>,
    },
    /// The file is damaged, or is no journal of decamp. It was left as it is.
    #[error("the journal {} is damaged: {detail}", show(path))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The journal knows less than the event file of a run: it lost what had been committed.
    #[error(
        "the journal {} has lost what was committed to it: run {} is at event {table} there, and at {file} in its events.ndjson",
        show(path), run.short()
    )]
    Lost {
        /// The journal.
        path: PathBuf,
        /// The run.
        run: RunId,
        /// Its last event in the file.
        file: i64,
        /// Its last event in the journal, 0 if it is not there at all.
        table: i64,
    },
    /// There is no journal, and a copy of it knows runs.
    #[error("the journal {} is gone, and its copy {} knows {runs} runs", show(path), show(copy))]
    Gone {
        /// The journal.
        path: PathBuf,
        /// The copy.
        copy: PathBuf,
        /// How many runs it knows.
        runs: i64,
    },
    /// A run cannot be removed: it is not over, or it holds a target.
    #[error("run {} ({status}) is not over or still holds a target, and was not removed", run.short())]
    Kept {
        /// The run.
        run: RunId,
        /// Its status.
        status: RunStatus,
    },
    /// The journal was made anew, and what happened in this run could not all be restored.
    #[error("what run {} did is not all known any more: {}", run.short(), missing.join("; "))]
    Incomplete {
        /// The run.
        run: RunId,
        /// What is missing.
        missing: Vec<String>,
    },
    /// The state directory is on a file system that several machines can write to, or that decamp cannot trust.
    #[error("the state directory {} is on {fs}, and a journal must be on a local file system", show(path))]
    NotLocal {
        /// The state directory.
        path: PathBuf,
        /// Name of the file system.
        fs: &'static str,
    },
    /// The journal was written by a newer decamp.
    #[error("the journal {} has format {found}, this decamp knows formats up to {known}", show(path))]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this program knows.
        known: i64,
    },
    /// The journal was written by an older decamp, and reading must not change it.
    #[error(
        "the journal {} has format {found} of an older decamp; the next run or resume brings it to {known}",
        show(path)
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format this program writes.
        known: i64,
    },
    /// SQLite is a version with a bug that can corrupt a journal.
    #[error("SQLite {found} is linked; at least 3.51.3 is needed")]
    Sqlite {
        /// Its version.
        found: &'static str,
    },
    /// Another unfinished run holds the target or something above or below it.
    #[error("{} is held by run {} of {script} ({state})", path_text(path), run.short())]
    Held {
        /// What that run holds.
        path: Vec<u8>,
        /// The run.
        run: RunId,
        /// Its script.
        script: String,
        /// Its status.
        status: RunStatus,
        /// Its status for people: `interrupted` where no process lives.
        state: &'static str,
    },
    /// A living process has the run.
    #[error("run {} is being worked on by process {pid}{}", run.short(), host.as_deref().map(|host| format!(" on {host}")).unwrap_or_default())]
    Live {
        /// The run.
        run: RunId,
        /// The process, 0 if it did not say.
        pid: i64,
        /// Its machine.
        host: Option<String>,
        /// Since when, in milliseconds since 1970.
        since_ms: Option<i64>,
    },
    /// Another process took the run over: this one must stop.
    #[error("run {} was taken over by another process (incarnation {epoch})", run.short())]
    Superseded {
        /// The run.
        run: RunId,
        /// The incarnation that has it now.
        epoch: i64,
    },
    /// There is no such run or step.
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// Several runs fit.
    #[error("`{what}` fits several runs")]
    Ambiguous {
        /// What was given.
        what: String,
        /// The runs it fits.
        candidates: Vec<RunId>,
    },
    /// The step has no effect in doubt.
    #[error("step `{key}` of run {} is not in doubt", run.short())]
    NotInDoubt {
        /// The run.
        run: RunId,
        /// What was given.
        key: String,
        /// Keys of the steps that are.
        in_doubt: Vec<String>,
    },
    /// A step that has its outcome was entered with other declared inputs.
    #[error("the inputs of step `{key}` are not what they were when it ran")]
    InputsChanged {
        /// The step.
        key: String,
        /// The stored inputs.
        was: Box<Value>,
        /// The inputs now.
        now: Box<Value>,
    },
    /// An effect that is in doubt or done is asked for with another request.
    #[error("effect {} ({}) of step `{}` is {} with another request", .0.seq, .0.function, .0.key, .0.status)]
    RequestChanged(Box<RequestChanged>),
    /// Two steps of one incarnation have the same key.
    #[error("there are two steps `{key}`")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A new step would run before a point of no return that has been passed.
    #[error("step `{key}` is new and stands before `{pivot}`, the point of no return this run has passed")]
    AfterPivot {
        /// The new step.
        key: String,
        /// The pivot.
        pivot: String,
    },
    /// A change of status that must not be: a mistake of the caller.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The script came to its end while something of the run is unsettled.
    #[error("run {} cannot succeed while {} unsettled", run.short(), keys.join(", "))]
    Unsettled {
        /// The run.
        run: RunId,
        /// Steps that were not left, or have an effect in doubt.
        keys: Vec<String>,
    },
    /// Another process holds the database and does not give it back.
    #[error("the journal {} is locked by another process", show(path))]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {op} {}", show(path))]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// SQLite failed in a way that has no variant of its own.
    #[error("the journal could not {doing}")]
    Sql {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: Arc<rusqlite::Error>,
    },
    /// The thread that writes has ended: a mistake of this program.
    #[error("the journal's writer has stopped")]
    Stopped,
}

/// What differs between a recorded effect and the one asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestChanged {
    /// Key of the step.
    pub key: String,
    /// Place of the effect in the step.
    pub seq: u32,
    /// The recorded native.
    pub function: String,
    /// The recorded target.
    pub target: String,
    /// `in_doubt` or `done`.
    pub status: EffectStatus,
    /// The recorded request.
    pub was: Value,
    /// Native, target and request now.
    pub now: (String, String, Value),
}

fn show(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    path_text(path.as_os_str().as_bytes())
}

impl Error {
    /// A failed system call; a full disk becomes [`Error::Full`].
    pub(super) fn io(op: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.to_path_buf(), space: None }
            }
            _ => Self::Io { op, path: path.to_path_buf(), source: Arc::new(source) },
        }
    }

    /// A failure of SQLite while doing something with the file at `path`.
    pub(super) fn sql(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, space: None },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, detail: source.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            // A stored word or JSON text that cannot be read back, or a column of another type than every table declares,
            // is damage, whatever SQLite thinks of the page.
            None if matches!(
                source,
                rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
            ) =>
            {
                Self::Corrupt { path, detail: source.to_string() }
            }
            _ => Self::Sql { doing, source: Arc::new(source) },
        }
    }

    /// Says what was tried, and with which file, where the place of failure did not know.
    pub(super) fn at(self, doing: &'static str, path: &Path) -> Self {
        match self {
            Self::Sql { doing: "", source } => match Arc::try_unwrap(source) {
                Ok(source) => Self::sql(doing, path, source),
                Err(source) => Self::Sql { doing, source },
            },
            other => other,
        }
    }

    /// Whether the caller was refused and the journal is as good as before.
    pub(super) fn refusal(&self) -> bool {
        !matches!(
            self,
            Self::Full { .. }
                | Self::Corrupt { .. }
                | Self::Lost { .. }
                | Self::Gone { .. }
                | Self::Io { .. }
                | Self::Sql { .. }
                | Self::Stopped
        )
    }
}

impl From<rusqlite::Error> for Error {
    /// What was tried is added where the statement's place is known, see [`Error::at`].
    fn from(source: rusqlite::Error) -> Self {
        Self::Sql { doing: "", source: Arc::new(source) }
    }
}
