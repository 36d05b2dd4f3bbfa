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
//! | `watch` `ballast` | looking after it while a run works · space that is held back |
//! | `run` `reader` `prune` | a run this process works on · looking without touching · removing runs |
//! | `events` `line` `agree` | `events.ndjson`, and whether the tables say the same |
//! | `progress` [`doctor`] | `progress.db` · whether all this can be trusted, and making it anew |
//! | `clean` | what goes in without the values of secrets |
//! | `scrub` | rows that must be gone from another file, too |
//! | `lock` [`crash`] | one process a run · points where tests kill it |

mod agree;
mod backup;
mod ballast;
mod clean;
pub mod crash;
pub mod doctor;
mod error;
mod events;
mod hash;
pub(crate) mod key;
mod line;
mod lock;
mod migrate;
mod model;
mod open;
mod progress;
mod prune;
mod reader;
mod run;
pub(crate) mod scrub;
pub mod step;
mod store;
mod view;
mod watch;
mod words;
mod writer;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

pub use error::{Error, RequestChanged};
pub use hash::Fingerprint;
pub use model::*;
pub use progress::ProgressStore;
pub use reader::Reader;
pub use run::Run;
pub use step::{EffectEvent, EffectStatus, Illegal, RunEvent, RunStatus, StepEvent, StepStatus};
pub use view::*;

use events::Log;
use lock::{Owner, RunLock};
use store::{effects, leases, runs, signals};
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
    // Closed before the lock that says it is open.
    writer: Writer,
    secret: hash::Secret,
    _in_use: File,
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
        // Read before the journal, because a line follows its commit.
        let files = events::last_of_files(&dir.join("runs"))?;
        let open::Opened { dir, sql, secret, in_use } = open::write(dir, &migrate::KNOWN, &files)?;
        let path = dir.join(open::FILE);
        open::not_behind(&sql, &path, &files).map_err(|error| error.at("be opened", &path))?;
        let writer = Writer::start(sql, &path, secret.clone())?;
        let journal = Self(Arc::new(Shared { dir, writer, secret, _in_use: in_use }));
        journal.remove_pruned()?;
        journal.complete_logs(&files)?;
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
        let (id, new) = (RunId::fresh(), clean::run(new));
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

    /// Records a person's answer to an approval, asked for or not, beside the process that has the run, if one lives: it
    /// finds the answer by itself, and so does the next one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Illegal`] if the run has come to its end or is going back; what any write can fail
    /// with.
    pub fn answer(&self, id: &RunId, name: &str, answer: &Answer) -> Result<(), Error> {
        self.exists(id)?;
        let (run, name, answer) = (id.clone(), name.to_owned(), answer.clone());
        self.0.writer.write("record the answer", None, move |tx| signals::answer(tx, &run, &name, &answer))?;
        // The process that has the run adds the event to its file; where there is none, it is done here.
        if let Some(_lock) = RunLock::try_take(&self.0.runs_dir(), id)? {
            self.bring_up(id)?;
        }
        Ok(())
    }

    /// Records an event of a run from beside it: its lock is not needed, and a process that works on it and follows its
    /// events hears it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what any write can fail with.
    pub fn tell(&self, id: &RunId, level: Level, kind: &str, data: serde_json::Value) -> Result<(), Error> {
        let (name, kind) = (id.clone(), kind.to_owned());
        self.0.writer.write("record the event", None, move |tx| {
            runs::head(&tx.sql, &name)?;
            tx.event(&name, level, &kind, None, data)
        })
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
        let log = self.bring_up(id)?;
        open::sync_dir(&run_dir)?;
        open::sync_dir(&runs_dir)?;
        Ok((lock, log))
    }

    /// Opens the event file of a run, makes it say what the tables say, and refuses tables that say something else. The
    /// caller holds the lock of the run.
    fn bring_up(&self, id: &RunId) -> Result<SharedLog, Error> {
        let (mut log, story) = Log::open(&self.0.run_dir(id), id)?;
        let path = self.0.dir.join(open::FILE);
        let (log, damage) = self.0.writer.read(move |sql| {
            let (file, table) = (story.last(), store::events::last(sql, log.run())?);
            if file > table {
                return Err(Error::Lost { path, run: log.run().clone(), file, table });
            }
            if story.old || !story.damage.is_empty() {
                log.rewrite(sql, !story.old)?;
            } else if file > 0 {
                let differ = agree::differences(sql, log.run(), &story)?;
                if !differ.is_empty() {
                    let detail =
                        format!("what it says of run {} is not what happened: {}", log.run(), differ.join("; "));
                    return Err(Error::Corrupt { path, detail });
                }
            }
            log.catch_up(sql)?;
            Ok((log, story.damage))
        })?;
        let log = Arc::new(Mutex::new(log));
        if !damage.is_empty() {
            let run = id.clone();
            self.0.writer.write("record that the events were rewritten", Some(&log), move |tx| {
                tx.event(&run, Level::Warn, "events.rewritten", None, serde_json::json!({ "damage": damage }))
            })?;
        }
        Ok(log)
    }

    /// Adds to the event files what a crash between a commit and its lines left out, and compares what unfinished runs
    /// hold: other runs are refused by it.
    fn complete_logs(&self, files: &BTreeMap<RunId, i64>) -> Result<(), Error> {
        let runs_dir = self.0.runs_dir();
        for (id, status, last) in self.0.writer.read(store::events::last_of_runs)? {
            let behind = files.get(&id).copied().unwrap_or_default() != last;
            // A run whose directory was removed by hand is not brought back; one that lives writes by itself.
            let settled = status.finished() && !behind;
            if settled || !self.0.run_dir(&id).exists() {
                continue;
            }
            let Some(_lock) = RunLock::try_take(&runs_dir, &id)? else { continue };
            self.bring_up(&id)?;
        }
        Ok(())
    }
}
