//! The receiving end's view of a source that is somewhere else.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;

use super::roads::Roads;
use super::words::{self, VERSION, ask, corrupt, tell};
use crate::cancel::Cancel;
use crate::copy::claim;
use crate::copy::end::EndDir;
use crate::copy::exclude::Exclude;
use crate::copy::identity::RootId;
use crate::copy::sys::Meta;
use crate::copy::{Error, error::Apart};
use crate::units::path_text;
use crate::wire::{Broken, Line, Put, Take};

/// A tree at another place, that [`super::serve`] reads.
pub struct Source {
    path: PathBuf,
    id: RootId,
    meta: Meta,
    roads: Arc<Roads>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens the tree at `path` at the other end of `lines`: several of them carry more than one can. `exclude`: what
    /// the pass will leave out.
    ///
    /// # Errors
    /// What the other end says of the root: [`Error::NotFound`], [`Error::NotDirectory`], [`Error::BadMarker`],
    /// [`Error::Io`]. [`Error::Apart`] if it cannot be spoken with.
    pub fn open(path: &Path, lines: Vec<Line>, exclude: &Exclude, cancel: &Cancel) -> Result<Self, Error> {
        let mut lines = lines;
        let apart = |broken: Broken| Error::from(Apart::from(broken));
        let Some(first) = lines.first_mut() else { return Err(Apart::from(Broken::Cut).into()) };
        let mut put = Put::of(ask::HELLO);
        put.number(VERSION).bytes(path.as_os_str().as_bytes()).flag(exclude.matches(claim::NAME.as_bytes(), false));
        first.outbox.send(&[&put.0]).map_err(apart)?;
        first.outbox.flush().map_err(apart)?;
        let mut message = Vec::new();
        if !first.inbox.receive(&mut message).map_err(apart)? {
            return Err(apart(Broken::Cut));
        }
        let Root { id, same_machine, most_open, mut meta } = Root::read(&message).map_err(apart)??;
        let roads = Roads::new(!same_machine, most_open, cancel.clone());
        roads.place(&mut meta);
        let mut source = Self { path: path.to_owned(), id, meta, roads, threads: Vec::new() };
        for line in lines {
            let inbox = source.roads.add(line.outbox, line.inbox);
            let roads = source.roads.clone();
            let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(move || roads.take_in(inbox));
            let thread = thread.map_err(|error| apart(Broken::Io(error)))?;
            source.threads.push(thread);
        }
        Ok(source)
    }

    /// Where the tree is, at its place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its root was when it was opened.
    #[must_use]
    pub fn root_id(&self) -> &RootId {
        &self.id
    }

    pub(in crate::copy) fn meta(&self) -> Meta {
        self.meta
    }

    /// Whether both ends are on one machine.
    pub(in crate::copy) fn is_here(&self) -> bool {
        self.roads.is_here()
    }

    /// An error of reading is the connection's, if that is lost.
    pub(in crate::copy) fn or_lost(&self, error: Error) -> Error {
        match error {
            Error::Io { .. } => self.lost().unwrap_or(error),
            other => other,
        }
    }

    /// The root, opened anew; `flags` as for any directory.
    pub(in crate::copy) fn root(&self, flags: u8) -> Result<EndDir, Error> {
        let opened = self.roads.open(None, c"", flags);
        opened.map(EndDir::Far).map_err(|errno| self.lost().unwrap_or_else(|| self.failed("open", errno)))
    }

    /// How many directories may be open there at once.
    pub(in crate::copy) fn most_open(&self) -> usize {
        self.roads.most_open
    }

    /// Refuses a root that is not the one expected, held there and by its path.
    pub(in crate::copy) fn check(&self, expected: &RootId) -> Result<(), Error> {
        let answer = self.roads.ask(|put, id| {
            put.0.push(ask::ROOT);
            put.number(id);
        });
        let answer = answer.map_err(|errno| self.lost().unwrap_or_else(|| self.failed("stat", errno)))?;
        let mut take = Take(&answer);
        let read = (|| {
            let errno = words::errno(&mut take)?;
            Ok::<_, Broken>((errno, take.bytes()?, take.bytes()?))
        })();
        let (errno, held, found) = match read {
            Ok(read) => read,
            Err(broken) => return Err(self.roads.broke(broken)),
        };
        if let Some(errno) = errno {
            return Err(self.failed("stat", errno));
        }
        for id in [held, found] {
            let Ok(found) = String::from_utf8_lossy(id).parse::<RootId>() else {
                return Err(Error::NotFound { path: path_text(self.path.as_os_str().as_bytes()) });
            };
            if found != *expected {
                let path = path_text(self.path.as_os_str().as_bytes());
                return Err(Error::RootChanged { path, expected: expected.clone(), found });
            }
        }
        Ok(())
    }

    /// Why nothing more will come, if that is so.
    pub(in crate::copy) fn lost(&self) -> Option<Error> {
        self.roads.lost()
    }

    /// How many messages have come and gone.
    #[must_use]
    pub fn messages(&self) -> (u64, u64) {
        self.roads.messages()
    }

    fn failed(&self, op: &'static str, errno: Errno) -> Error {
        Error::io(op, self.path.as_os_str().as_bytes())(errno)
    }

    /// Says goodbye, and waits until the other end has done the same.
    ///
    /// # Errors
    /// [`Error::Apart`] if the connection broke before that: of what was asked for everything has come, though.
    pub fn close(mut self) -> Result<(), Error> {
        self.roads.finish();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                return Err(Apart::from(Broken::Corrupt("a thread that takes messages has died".into())).into());
            }
        }
        self.lost().map_or(Ok(()), Err)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Without waiting: the threads end with their lines.
        self.roads.finish();
    }
}

/// What the other end says of the root.
struct Root {
    id: RootId,
    same_machine: bool,
    most_open: usize,
    meta: Meta,
}

impl Root {
    fn read(message: &[u8]) -> Result<Result<Self, Error>, Broken> {
        let mut take = Take(message);
        if take.byte()? != tell::ROOT {
            return Err(corrupt("an answer before the greeting"));
        }
        if !take.flag()? {
            return Ok(Err(super::errors::read(&mut take)?));
        }
        let id = String::from_utf8_lossy(take.bytes()?).parse().map_err(|_| corrupt("a root without identity"))?;
        let machine = take.bytes()?;
        let same_machine = !machine.is_empty() && machine == super::machine();
        let most_open = take.small::<u32>()? as usize;
        let meta = words::meta(&mut take, None)?;
        take.end()?;
        Ok(Ok(Self { id, same_machine, most_open, meta }))
    }
}

/// So often who waits for the other end looks whether it should stop.
pub(super) const LOOK: Duration = Duration::from_millis(50);
