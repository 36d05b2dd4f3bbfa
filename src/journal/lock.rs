//! One process a run: an flock on `runs/<id>.lock`, freed by the kernel however the process ends.
//!
//! The file also says who holds it, for messages only; nothing is ever decided by its content. It is never removed,
//! because a lock on a removed name excludes nobody.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::model::RunId;
use super::now_ms;

/// Which process, beyond doubt: numbers of processes are used again, also after a restart of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) pid: i64,
    pub(super) pid_start: i64,
    pub(super) boot_id: String,
    pub(super) host: String,
    pub(super) since_ms: i64,
}

impl Owner {
    /// This process.
    pub(super) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        // The second field is the command in parentheses and may hold spaces: count from behind it.
        let stat = read("/proc/self/stat");
        let start = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or_default();
        Self {
            pid: i64::from(std::process::id()),
            pid_start: start.parse().unwrap_or_default(),
            boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            since_ms: now_ms(),
        }
    }
}

/// Where the lock file of a run is.
pub(super) fn path(runs: &Path, id: &RunId) -> PathBuf {
    runs.join(format!("{id}.lock"))
}

/// The lock of a run, held as long as this lives.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

/// How often, and how far apart, a taken lock is tried again: readers hold it for an instant to see whether it is free.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(10);

/// How often, and how far apart, a lock is looked at before it counts as held by a living process.
const LOOKS: u32 = 4;
const BLINK: Duration = Duration::from_millis(3);

impl RunLock {
    /// Takes the lock of a run and writes down who has it.
    ///
    /// # Errors
    /// [`Error::Live`] if another process has it; [`Error::Io`] and [`Error::Full`].
    pub(super) fn take(runs: &Path, id: &RunId, owner: &Owner) -> Result<Self, Error> {
        let path = path(runs, id);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::io("open the lock", &path, source))?;
        let mut tries = 0;
        while let Err(errno) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            match errno {
                Errno::INTR => {}
                Errno::WOULDBLOCK if tries < TRIES => {
                    tries += 1;
                    thread::sleep(PAUSE);
                }
                Errno::WOULDBLOCK => return Err(held(&mut file, id)),
                _ => return Err(Error::io("lock", &path, errno)),
            }
        }
        let text = serde_json::to_vec(owner).unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.write_all(&text))
            .map_err(|source| Error::io("write the lock", &path, source))?;
        Ok(Self { _file: file })
    }

    /// Takes the lock only if nobody has it at this instant.
    ///
    /// # Errors
    /// As [`RunLock::take`], but a taken lock is `None`.
    pub(super) fn try_take(runs: &Path, id: &RunId) -> Result<Option<Self>, Error> {
        let path = path(runs, id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("open the lock", &path, source)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(Error::io("lock", &path, errno)),
        }
    }
}

/// The error for a lock somebody has.
fn held(file: &mut File, id: &RunId) -> Error {
    let mut text = String::new();
    let owner: Option<Owner> = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
    Error::Live {
        run: id.clone(),
        pid: owner.as_ref().map_or(0, |owner| owner.pid),
        since_ms: owner.as_ref().map(|owner| owner.since_ms),
        host: owner.map(|owner| owner.host),
    }
}

/// Whether a living process has the run.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn is_live(runs: &Path, id: &RunId) -> Result<bool, Error> {
    let path = path(runs, id);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::io("open the lock", &path, source)),
    };
    let mut tries = 0;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(false),
            Err(Errno::INTR) => {}
            // A child that was forked while the owner held the lock has it too until it executes its program.
            Err(Errno::WOULDBLOCK) if tries < LOOKS => {
                tries += 1;
                thread::sleep(BLINK);
            }
            Err(Errno::WOULDBLOCK) => return Ok(true),
            Err(errno) => return Err(Error::io("lock", &path, errno)),
        }
    }
}
