//! The journal: what a run remembers, so that any later process can go on with it.
//!
//! One `journal.db` (SQLite, WAL, `synchronous=FULL`) in a state directory holds runs, steps, effects, leases and
//! events; `runs/<id>/` beside it holds a run's event file and the relaxed store of its copy progress, and
//! `runs/<id>.lock` says by an flock whether a process lives. The one rule above all others: no effect starts unless
//! its intent is durable. So everything is written by one thread in immediate transactions, answered after COMMIT, and
//! a journal that failed once stays failed (see `writer`). What may follow what is said by pure functions in [`step`].
//!
//! | file | noun |
//! |---|---|
//! | `model/` `view` `words` | what goes in · what is shown · closed lists of words |
//! | [`step`] | the state machines |
//! | `open` `migrate` `backup` | where a journal may be, whether it is whole, its formats and copies |
//! | `writer` `store/` | the thread that writes · the SQL, one file a noun |
//! | `run` `reader` | a run this process works on · looking without touching |
//! | `events` `progress` | `events.ndjson` · `progress.db` |
//! | `lock` [`crash`] | one process a run · points where tests kill it |

mod backup;
pub mod crash;
mod error;
mod events;
mod hash;
mod key;
mod lock;
mod migrate;
mod model;
mod open;
mod progress;
mod reader;
mod run;
pub mod step;
mod store;
mod view;
mod words;
mod writer;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use error::{Error, RequestChanged};
pub use model::*;
pub use progress::ProgressStore;
pub use reader::Reader;
pub use run::Run;
pub use step::{EffectEvent, EffectStatus, Illegal, RunEvent, RunStatus, StepEvent, StepStatus};
pub use view::*;

use events::Log;
use lock::{Owner, RunLock};
use store::{effects, leases, runs};
use writer::{SharedLog, Writer};

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// The journal of one state directory, open for writing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    writer: Writer,
}

impl Shared {
    fn runs_dir(&self) -> PathBuf {
        self.dir.join("runs")
    }

    fn run_dir(&self, id: &RunId) -> PathBuf {
        self.runs_dir().join(id.as_str())
    }

    /// Copies the journal; where a young copy is `enough`, only if there is none.
    fn back_up(&self, enough: bool) -> Result<(), Error> {
        let dir = self.dir.clone();
        self.writer.read(move |sql| backup::routine(sql, &dir, &dir.join(open::FILE), enough))
    }
}

impl Journal {
    /// Opens the journal in `dir`; makes the directory and the journal if need be.
    ///
    /// # Errors
    /// [`Error::NotLocal`] on a network file system, [`Error::Full`] below 64 MiB of free space, [`Error::Corrupt`] for
    /// a damaged or foreign file, [`Error::Newer`] for one of a newer decamp: each before a byte is written.
    /// [`Error::Live`] if a process of an older decamp still works; [`Error::Io`], [`Error::Sql`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let (dir, sql, secret) = open::write(dir, &migrate::KNOWN)?;
        let writer = Writer::start(sql, &dir.join(open::FILE), secret)?;
        let journal = Self(Arc::new(Shared { dir, writer }));
        journal.complete_logs()?;
        Ok(journal)
    }

    /// A reader of the journal in `dir`; `None` if there is none. Never creates or changes a byte.
    ///
    /// # Errors
    /// As [`Journal::open`], and [`Error::Older`] for a journal the next writer will migrate.
    pub fn read(dir: &Path) -> Result<Option<Reader>, Error> {
        Reader::open(dir)
    }

    /// Creates a run; this process has it from then on. Without a young copy of the journal one is made first.
    ///
    /// # Errors
    /// What any write can fail with: [`Error::Full`], [`Error::Busy`], [`Error::Io`], [`Error::Sql`].
    pub fn create(&self, new: NewRun) -> Result<Run, Error> {
        self.0.back_up(true)?;
        let id = RunId::fresh();
        let owner = Owner::this();
        crash::point("create: before the lock");
        let (lock, log) = self.hold(&id, &owner)?;
        crash::point("create: after the lock");
        let name = id.clone();
        self.0.writer.write("create the run", Some(&log), move |tx| runs::create(tx, &name, &new, &owner))?;
        Ok(Run::new(self.0.clone(), id, 1, lock, log))
    }

    /// Goes on with a run whose process is gone: what it left open is lost or in doubt, its leases are taken again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Live`] if its process lives; [`Error::Illegal`] if it cannot go on that way;
    /// [`Error::Held`] if another run has taken a target of it since; what any write can fail with.
    pub fn take_over(&self, id: &RunId, mode: Mode, sources: &[Source]) -> Result<Run, Error> {
        self.exists(id)?;
        let owner = Owner::this();
        let (lock, log) = self.hold(id, &owner)?;
        crash::point("take over: after the lock");
        let (name, sources, dir) = (id.clone(), sources.to_vec(), self.0.runs_dir());
        let epoch = self.0.writer.write("take the run over", Some(&log), move |tx| {
            runs::take_over(tx, &name, mode, &sources, &owner, &dir)
        })?;
        Ok(Run::new(self.0.clone(), id.clone(), epoch, lock, log))
    }

    /// Gives a run up and its leases back; returns those it held, for their markers on the targets.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Live`]; [`Error::Illegal`] if it has come to its end; what any write can fail with.
    pub fn abandon(&self, id: &RunId) -> Result<Vec<Lease>, Error> {
        self.exists(id)?;
        let (_lock, log) = self.hold(id, &Owner::this())?;
        let name = id.clone();
        self.0.writer.write("abandon the run", Some(&log), move |tx| {
            let held = leases::of(&tx.sql, &name)?.into_iter().filter(|lease| lease.released_ms.is_none()).collect();
            runs::abandon(tx, &name)?;
            Ok(held)
        })
    }

    /// Records a person's answer about what is in doubt in a step: `Happened` or `Retry`.
    ///
    /// It is for the effects that must not be repeated blindly; only where there is none is it for the others.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Live`]; [`Error::NotInDoubt`] with the steps that are; what any write can fail with.
    pub fn decide(&self, id: &RunId, step_key: &str, d: Decision) -> Result<(), Error> {
        self.exists(id)?;
        let (_lock, log) = self.hold(id, &Owner::this())?;
        let (name, key) = (id.clone(), step_key.to_owned());
        self.0.writer.write("record the decision", Some(&log), move |tx| effects::decide(tx, &name, &key, d))
    }

    /// A reader of this journal.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Sql`], [`Error::Corrupt`].
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::open(&self.0.dir)?.ok_or_else(|| Error::NotFound { what: "journal".to_owned() })
    }

    fn exists(&self, id: &RunId) -> Result<(), Error> {
        let id = id.clone();
        self.0.writer.read(move |sql| runs::head(sql, &id).map(drop))
    }

    /// Takes the lock of a run and brings its event file up to date.
    fn hold(&self, id: &RunId, owner: &Owner) -> Result<(RunLock, SharedLog), Error> {
        let (runs_dir, run_dir) = (self.0.runs_dir(), self.0.run_dir(id));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run_dir)
            .map_err(|source| Error::io("create", &run_dir, source))?;
        let lock = RunLock::take(&runs_dir, id, owner)?;
        let log = Arc::new(Mutex::new(Log::open(&run_dir)?));
        open::sync_dir(&run_dir)?;
        open::sync_dir(&runs_dir)?;
        let (late, name) = (log.clone(), id.clone());
        self.0.writer.read(move |sql| late.lock().unwrap_or_else(PoisonError::into_inner).catch_up(sql, &name))?;
        Ok((lock, log))
    }

    /// Adds to the event files what a crash between a commit and its lines left out.
    fn complete_logs(&self) -> Result<(), Error> {
        let runs_dir = self.0.runs_dir();
        let all = self.0.writer.read(store::events::last_of_runs)?;
        for (id, last) in all {
            let run_dir = self.0.run_dir(&id);
            // A run whose directory was removed by hand is not brought back; one that lives writes by itself.
            if !run_dir.exists() || events::last_seq(&run_dir)? == last {
                continue;
            }
            let Some(_lock) = RunLock::try_take(&runs_dir, &id)? else { continue };
            self.0.writer.read(move |sql| Log::open(&run_dir)?.catch_up(sql, &id))?;
        }
        Ok(())
    }
}
