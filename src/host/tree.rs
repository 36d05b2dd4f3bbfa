//! Roots of trees, here or on a host over SSH, and the engine between any two of them.
//!
//! The engine works next to the destination, wherever that is; between two hosts all goes through this machine.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ssh::{Far, NoAgent};
use crate::agent::compress;
use crate::copy::claim::{self, Claim, Marker};
use crate::copy::error::Apart;
use crate::copy::far::{self, Ground, Held, Look, Near, Source};
use crate::copy::identity::RootId;
use crate::copy::options::{CompareOptions, Options, ScanOptions};
use crate::copy::report::{Comparison, Report, Scan, Undone};
use crate::copy::{self, Work};
use crate::units::path_text;
use crate::wire::{Broken, Line};

/// Conversations side by side between the two ends of a tree.
const LINES: usize = 2;

/// What to do about a machine on which no agent can run.
pub const BY_HAND: &str =
    "trees need the agent at both ends; without it nothing is proved: rsync -aHAXS --numeric-ids FROM/ TO/ by hand";

/// What fails between the ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no agent any more.
    #[error(transparent)]
    Agent(#[from] NoAgent),
    /// The engine's own.
    #[error(transparent)]
    Tree(#[from] copy::Error),
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::Tree(Apart::from(broken).into())
    }
}

/// A root.
#[derive(Debug, Clone)]
pub enum Root {
    /// On this machine.
    Here(PathBuf),
    /// On another one.
    There {
        /// The agent there.
        far: Arc<Far>,
        /// `ssh://host`, in front of its paths.
        host: String,
        /// The path there.
        path: PathBuf,
    },
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = path_text(self.path().as_os_str().as_bytes());
        match self {
            Self::Here(_) => f.write_str(&path),
            Self::There { host, .. } => write!(f, "{host}{path}"),
        }
    }
}

impl Root {
    /// Its path, on its own machine.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Here(path) | Self::There { path, .. } => path,
        }
    }

    /// Another path on the same machine.
    #[must_use]
    pub fn beside(&self, path: PathBuf) -> Self {
        match self {
            Self::Here(_) => Self::Here(path),
            Self::There { far, host, .. } => Self::There { far: Arc::clone(far), host: host.clone(), path },
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// What is there.
    ///
    /// # Errors
    /// As [`Ground::look`]; [`Error::Agent`].
    pub fn look(&self, how: Look, work: &Work<'_>) -> Result<Ground, Error> {
        match self {
            Self::Here(path) => Ok(Ground::look(path, how)?),
            Self::There { far, path, .. } => self.told(near(far, work)?.look(path, how, work)),
        }
    }

    /// Counts the tree.
    ///
    /// # Errors
    /// As [`copy::scan()`]; [`Error::Agent`].
    pub fn scan(&self, options: &ScanOptions, work: &Work<'_>) -> Result<Scan, Error> {
        match self {
            Self::Here(path) => Ok(copy::scan(path, options, work)?),
            Self::There { far, path, .. } => self.told(near(far, work)?.scan(path, options, work)),
        }
    }

    /// Makes it for `run`, unless it is there: `false`.
    ///
    /// # Errors
    /// As [`far::make_root`]; [`Error::Agent`].
    pub fn make(&self, run: &str, work: &Work<'_>) -> Result<bool, Error> {
        match self {
            Self::Here(path) => Ok(far::make_root(path, run)?),
            Self::There { far, path, .. } => self.told(near(far, work)?.make_root(path, run, work)),
        }
    }

    /// Removes it if it is empty; `false`: there is none.
    ///
    /// # Errors
    /// As [`far::remove_root`]; [`Error::Agent`].
    pub fn remove(&self, work: &Work<'_>) -> Result<bool, Error> {
        match self {
            Self::Here(path) => Ok(far::remove_root(path)?),
            Self::There { far, path, .. } => self.told(near(far, work)?.remove_root(path, work)),
        }
    }

    /// Claims it for a run; nothing is written to a directory that is not the `expected` one.
    ///
    /// # Errors
    /// As [`claim::take`]; [`copy::Error::RootChanged`]; [`Error::Agent`].
    pub fn claim(&self, marker: &Marker, expected: Option<&RootId>, work: &Work<'_>) -> Result<Ours, Error> {
        match self {
            Self::Here(path) => {
                let found = copy::root_id(path)?;
                if let Some(expected) = expected.filter(|expected| **expected != found) {
                    let path = path_text(path.as_os_str().as_bytes());
                    return Err(copy::Error::RootChanged { path, expected: expected.clone(), found }.into());
                }
                Ok(Ours::Here(claim::take(path, marker)?))
            }
            Self::There { far, path, .. } => {
                let held = Held::take(control(far, work)?, path, marker, expected);
                self.told(held).map(|held| Ours::There { held, far: Arc::clone(far) })
            }
        }
    }

    /// The marker in it, if there is one.
    ///
    /// # Errors
    /// As [`claim::read`]; [`Error::Agent`].
    pub fn marker(&self, work: &Work<'_>) -> Result<Option<Marker>, Error> {
        match self {
            Self::Here(path) => Ok(claim::read(path)?),
            Self::There { far, path, .. } => self.told(Held::read(control(far, work)?, path)),
        }
    }

    /// The same with errors that say on which machine.
    fn told<T>(&self, done: Result<T, copy::Error>) -> Result<T, Error> {
        done.map_err(|error| self.place(error).into())
    }

    /// Says on which machine what an error names is, if it is of this root.
    fn place(&self, mut error: copy::Error) -> copy::Error {
        let Self::There { host, path: root, .. } = self else { return error };
        let root = path_text(root.as_os_str().as_bytes());
        if let copy::Error::Io { path, .. }
        | copy::Error::NotFound { path }
        | copy::Error::NotDirectory { path }
        | copy::Error::RootChanged { path, .. }
        | copy::Error::BadMarker { path }
        | copy::Error::ReadOnly { path, .. }
        | copy::Error::NoSpace { path } = &mut error
            && path.starts_with(&root)
        {
            path.insert_str(0, host);
        }
        error
    }

    /// Lines to the end that reads here.
    fn source(&self, work: &Work<'_>) -> Result<Option<Vec<Line>>, Error> {
        match self {
            Self::Here(_) => Ok(None),
            Self::There { far, .. } => Ok(Some(far.lines("tree-source", LINES, 1, work.cancel)?)),
        }
    }
}

/// A claim on a root. Dropping it leaves the marker, as a crash would.
pub enum Ours {
    /// On this machine.
    Here(Claim),
    /// On another one.
    There {
        /// The claim.
        held: Held,
        /// The agent that holds it.
        far: Arc<Far>,
    },
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(claim) => claim.fmt(f),
            Self::There { far, .. } => f.debug_struct("There").field("far", far).finish_non_exhaustive(),
        }
    }
}

impl Ours {
    /// Whether nobody else can have it: a connection that was lost takes the lock along, and leaves the marker.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::There { far, .. } => far.check().is_ok(),
        }
    }

    /// Gives the root back.
    ///
    /// # Errors
    /// As [`Claim::release`], [`Held::release`].
    pub fn release(self) -> Result<(), copy::Error> {
        match self {
            Self::Here(claim) => claim.release(),
            Self::There { held, .. } => held.release(),
        }
    }
}

/// The line to a far side for one task there.
fn control(far: &Far, work: &Work<'_>) -> Result<Line, Error> {
    let lines = far.lines("tree-dest", 1, 1, work.cancel)?;
    Ok(compress::all(lines)?.pop().ok_or(Broken::Cut)?)
}

fn near(far: &Far, work: &Work<'_>) -> Result<Near, Error> {
    Ok(Near::new(control(far, work)?))
}

/// Makes the tree at `dst` hold what the one at `src` holds; as [`copy::tree()`].
///
/// # Errors
/// As [`copy::tree()`], [`copy::tree_from()`], [`Near::tree`]; [`Error::Agent`].
pub fn tree(src: &Root, dst: &Root, options: &Options, work: &Work<'_>) -> Result<Report, Error> {
    match (src, dst) {
        (Root::Here(src), Root::Here(dst)) => Ok(copy::tree(src, dst, options, work)?),
        (_, Root::Here(path)) => {
            let lines = compress::all(src.source(work)?.unwrap_or_default())?;
            let done = Source::open(src.path(), lines, &options.exclude, work.cancel).and_then(|source| {
                let report = copy::tree_from(&source, path, options, work)?;
                source.close()?;
                Ok(report)
            });
            src.told(done)
        }
        (_, Root::There { far, path, .. }) => {
            let done = led(src, far, work, |near| near.tree(src.path(), path, options, work))?;
            dst.told(done.map_err(|error| src.place(error)))
        }
    }
}

/// Compares two trees; as [`copy::compare()`].
///
/// # Errors
/// As [`copy::compare()`], [`copy::compare_from()`], [`Near::compare`]; [`Error::Agent`].
pub fn compare(left: &Root, right: &Root, options: &CompareOptions, work: &Work<'_>) -> Result<Comparison, Error> {
    match (left, right) {
        (Root::Here(left), Root::Here(right)) => Ok(copy::compare(left, right, options, work)?),
        (_, Root::Here(path)) => {
            let lines = compress::all(left.source(work)?.unwrap_or_default())?;
            let done = Source::open(left.path(), lines, &options.exclude, work.cancel).and_then(|source| {
                let found = copy::compare_from(&source, path, options, work)?;
                source.close()?;
                Ok(found)
            });
            left.told(done)
        }
        (_, Root::There { far, path, .. }) => {
            let done = led(left, far, work, |near| near.compare(left.path(), path, options, work))?;
            right.told(done.map_err(|error| left.place(error)))
        }
    }
}

/// Takes back what a run did to `dst`; as [`copy::undo()`]. Of a source that cannot be reached (`None`) nothing is
/// recognised.
///
/// # Errors
/// As [`copy::undo()`], [`copy::undo_from()`], [`Near::undo`]; [`Error::Agent`].
pub fn undo(
    dst: &Root,
    src: Option<&Root>,
    backup: Option<&Path>,
    expect: Option<&RootId>,
    work: &Work<'_>,
) -> Result<Undone, Error> {
    match (dst, src) {
        (Root::Here(dst), Some(Root::Here(src))) => Ok(copy::undo(dst, src, backup, expect, work)?),
        (Root::Here(dst), None) => Ok(copy::undo_from(None, dst, backup, expect, work)?),
        (Root::Here(dst), Some(src)) => {
            let lines = compress::all(src.source(work)?.unwrap_or_default())?;
            let source = Source::open(src.path(), lines, &options_of_undo(), work.cancel).ok();
            Ok(copy::undo_from(source.as_ref(), dst, backup, expect, work)?)
        }
        (Root::There { far, path, .. }, Some(src)) => {
            let done = led(src, far, work, |near| near.undo(path, Some(src.path()), backup, expect, work))?;
            dst.told(done)
        }
        (Root::There { far, path, .. }, None) => dst.told(near(far, work)?.undo(path, None, backup, expect, work)),
    }
}

/// Undo looks at all there is.
fn options_of_undo() -> copy::exclude::Exclude {
    copy::exclude::Exclude::default()
}

/// Has a task done at a far side whose source is `src`: read here, or led through here.
fn led<T: Send>(
    src: &Root,
    far: &Far,
    work: &Work<'_>,
    task: impl FnOnce(Near) -> Result<T, copy::Error>,
) -> Result<Result<T, copy::Error>, Error> {
    let mut lines = far.lines("tree-dest", 1 + LINES, 1, work.cancel)?;
    let data = lines.split_off(1);
    let control = compress::all(lines)?.pop().ok_or(Broken::Cut)?;
    let there = src.source(work)?;
    Ok(std::thread::scope(|scope| {
        // What goes wrong with these is told by the end that works: it is the one that misses something.
        match there {
            None => {
                scope.spawn(|| compress::all(data).and_then(far::serve).ok());
            }
            // Nothing is unpacked on the way.
            Some(there) => {
                for (one, two) in there.into_iter().zip(data) {
                    scope.spawn(|| far::relay(one, two).ok());
                }
            }
        }
        task(Near::new(control))
    }))
}
