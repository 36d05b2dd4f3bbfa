//! Reading the journal: a connection of its own for each question, and never a changed byte.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::Error;
use super::events::last_of_files;
use super::migrate::KNOWN;
use super::model::{RunId, Source};
use super::open;
use super::store::{blobs, effects, events, incarnations, leases, runs, signals, steps};
use super::view::{EventRow, RunDetail, RunSummary};

/// Reads a journal without changing a byte of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// A reader of the journal in `dir`; `None` if there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(open::FILE);
        let files = last_of_files(&dir.join("runs"))?;
        if open::is_new(&path)? {
            open::nothing_lost(&path, &files)?;
            return Ok(None);
        }
        open::local(dir)?;
        let dir = dir.canonicalize().map_err(|source| Error::io("resolve", dir, source))?;
        let path = dir.join(open::FILE);
        let look = |sql: &Connection| {
            let found = open::check(sql, &path, &KNOWN)?;
            if found == KNOWN.newest() {
                open::not_behind(sql, &path, &files)?;
            }
            Ok(found)
        };
        match open::read(&path, look).map_err(|error| error.at("be read", &path))? {
            0 => open::nothing_lost(&path, &files).map(|()| None),
            found if found < KNOWN.newest() => Err(Error::Older { path, found, known: KNOWN.newest() }),
            _ => Ok(Some(Self { dir })),
        }
    }

    fn ask<T>(&self, work: impl Fn(&Connection, &Path) -> Result<T, Error>) -> Result<T, Error> {
        let path = self.dir.join(open::FILE);
        let runs_dir = self.dir.join("runs");
        // One transaction, so that what is read together fits together.
        open::read(&path, |sql| {
            let tx = sql.unchecked_transaction()?;
            work(&tx, &runs_dir)
        })
        .map_err(|error| error.at("be read", &path))
    }

    /// Every run, newest first.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`], [`Error::Sql`]; so do all readings.
    pub fn runs(&self) -> Result<Vec<RunSummary>, Error> {
        self.ask(|sql, dir| runs::summaries(sql, dir, None))
    }

    /// Runs that a `resume`, `undo` or `abandon` could go on with, newest first; living ones are among them.
    ///
    /// # Errors
    /// See [`Reader::runs`].
    pub fn unfinished(&self) -> Result<Vec<RunSummary>, Error> {
        Ok(self.runs()?.into_iter().filter(|run| !run.status.finished()).collect())
    }

    /// One run with all that belongs to it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; see [`Reader::runs`].
    pub fn run(&self, id: &RunId) -> Result<RunDetail, Error> {
        self.ask(|sql, dir| {
            runs::head(sql, id)?;
            let Some(summary) = runs::summaries(sql, dir, Some(id))?.pop() else {
                return Err(Error::NotFound { what: format!("run {id}") });
            };
            Ok(RunDetail {
                summary,
                steps: steps::of(sql, id)?,
                effects: effects::of(sql, id)?.into_iter().map(|(row, _)| row).collect(),
                leases: leases::of(sql, id)?,
                signals: signals::of(sql, id)?,
                incarnations: incarnations::of(sql, id)?,
                sources: incarnations::source_rows(sql, id)?,
            })
        })
    }

    /// Events of a run, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; see [`Reader::runs`].
    pub fn events(&self, id: &RunId) -> Result<Vec<EventRow>, Error> {
        self.events_after(id, 0)
    }

    /// Events of a run with a number above `seq`, oldest first: to follow a living run.
    ///
    /// # Errors
    /// [`Error::NotFound`]; see [`Reader::runs`].
    pub fn events_after(&self, id: &RunId, seq: i64) -> Result<Vec<EventRow>, Error> {
        self.ask(|sql, _| {
            runs::head(sql, id)?;
            events::after(sql, id, seq)
        })
    }

    /// The run that did the kept plan of that name.
    ///
    /// # Errors
    /// See [`Reader::runs`].
    pub fn run_of_plan(&self, plan: &str) -> Result<Option<RunId>, Error> {
        self.ask(|sql, _| events::run_of_plan(sql, plan))
    }

    /// The one run whose name is, begins or ends with `text`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ambiguous`] with the runs that fit; see [`Reader::runs`].
    pub fn resolve(&self, text: &str) -> Result<RunId, Error> {
        let all: Vec<RunId> = self.runs()?.into_iter().map(|run| run.id).collect();
        if let Some(exact) = all.iter().find(|id| id.as_str() == text) {
            return Ok(exact.clone());
        }
        let fits = |id: &RunId| !text.is_empty() && (id.as_str().starts_with(text) || id.as_str().ends_with(text));
        let mut candidates: Vec<RunId> = all.into_iter().filter(fits).collect();
        match candidates.pop() {
            None => Err(Error::NotFound { what: format!("run `{text}`") }),
            Some(only) if candidates.is_empty() => Ok(only),
            Some(last) => {
                candidates.push(last);
                Err(Error::Ambiguous { what: text.to_owned(), candidates })
            }
        }
    }

    /// The script modules the latest incarnation of a run saw: what `undo` replays and `resume` compares with.
    ///
    /// # Errors
    /// [`Error::NotFound`]; see [`Reader::runs`].
    pub fn sources(&self, id: &RunId) -> Result<Vec<Source>, Error> {
        self.ask(|sql, _| {
            let epoch = runs::head(sql, id)?.epoch;
            incarnations::sources(sql, id, epoch)
        })
    }

    /// Content by its name, such as the `before` of an effect.
    ///
    /// # Errors
    /// See [`Reader::runs`].
    pub fn blob(&self, hash: &str) -> Result<Option<Vec<u8>>, Error> {
        self.ask(|sql, _| blobs::load(sql, hash))
    }

    /// The directory of a run: `events.ndjson` and `progress.db` are there.
    #[must_use]
    pub fn run_dir(&self, id: &RunId) -> PathBuf {
        self.dir.join("runs").join(id.as_str())
    }
}
