//! One run per destination: a lock on the root's descriptor against live rivals, and a marker file in the root that
//! outlives a crash and tells who was at work.
//!
//! Making and removing the marker changes the root's times; they are put back, because the root's times are copied
//! and compared like any other directory's.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::Error;
use super::exclude::Exclude;
use super::identity::open_root;
use super::sys::{self, Kind};
use crate::units::path_text;

/// The name of the marker, at the destination's root only.
pub const NAME: &str = ".decamp-run";

const MARKER: &CStr = c".decamp-run";

const HEADER: &str = "decamp run 1";

/// Who works on a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Identifier of the run.
    pub run: String,
    /// The machine it runs on.
    pub host: String,
    /// When it began, as text.
    pub at: String,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} on {} since {}", self.run, self.host, self.at)
    }
}

impl Marker {
    fn encode(&self) -> Vec<u8> {
        let line = |text: &str| text.replace(['\n', '\r'], " ");
        format!("{HEADER}\nrun {}\nhost {}\nat {}\n", line(&self.run), line(&self.host), line(&self.at)).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = str::from_utf8(bytes).ok()?.lines();
        (lines.next()? == HEADER).then_some(())?;
        let mut field = |name| Some(lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
        Some(Self { run: field("run")?, host: field("host")?, at: field("at")? })
    }
}

/// The run a copy by hand names in its marker.
pub const BY_HAND: &str = "copy-by-hand";

/// A destination that is ours. Dropping it frees the lock and leaves the marker, as a crash would.
#[derive(Debug)]
pub struct Claim {
    root: OwnedFd,
    path: Vec<u8>,
}

/// Takes the destination `root` for the run of `marker`. A marker of the same run, left by a crash, is fine.
///
/// # Errors
/// [`Error::Held`] if another process holds the lock or the marker is of another run, [`Error::BadMarker`] if it
/// cannot be understood, [`Error::NotFound`], [`Error::NotDirectory`], [`Error::ReadOnly`], [`Error::NoSpace`],
/// [`Error::Io`].
pub fn take(root: &Path, marker: &Marker) -> Result<Claim, Error> {
    let path = root.as_os_str().as_bytes().to_vec();
    let fd = open_root(root)?;
    match lock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // Some network file systems have no flock; the marker alone then keeps others out.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK | Errno::BADF) => {}
        Err(Errno::WOULDBLOCK) => return Err(Error::Held { by: read_at(&fd, &path).unwrap_or_default() }),
        Err(source) => return Err(Error::io("flock", &path)(source)),
    }
    check_above(root, &marker.run)?;
    // The marker appears complete or not at all: written under a name of this process, then linked into place.
    if let Some(found) = read_at(&fd, &path)? {
        if found.run == marker.run {
            return Ok(Claim { root: fd, path });
        }
        return Err(Error::Held { by: Some(found) });
    }
    let made = keeping_times(&fd, || write_marker(&fd, marker));
    match made {
        Ok(()) => Ok(Claim { root: fd, path }),
        Err(Errno::EXIST) => Err(Error::Held { by: read_at(&fd, &path)? }),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(Error::NoSpace { path: path_text(&path) }),
        Err(errno @ (Errno::ROFS | Errno::ACCESS | Errno::PERM)) => {
            Err(Error::ReadOnly { path: path_text(&path), reason: errno.to_string() })
        }
        Err(source) => Err(Error::io("write the marker of the run in", &path)(source)),
    }
}

/// Locks, with some patience: a lock that was just given up looks held for an instant while another thread of its
/// process starts a program, which has our descriptors until it is loaded.
fn lock(fd: &OwnedFd, operation: FlockOperation) -> Result<(), Errno> {
    for _ in 0..25 {
        match rustix::fs::flock(fd, operation) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    Err(Errno::WOULDBLOCK)
}

/// Refuses a destination inside one that another run has: what that run deletes or moves would be ours. `root` need not
/// exist yet: it is not to be made there either. Who works on it is `run` ([`BY_HAND`] is never the same one).
///
/// # Errors
/// [`Error::Held`], naming the other run; [`Error::Io`].
pub fn check_above(root: &Path, run: &str) -> Result<(), Error> {
    let full = match root.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A name alone stands in the working directory.
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            parent.canonicalize().map(|parent| parent.join(NAME))
        }
        other => other,
    };
    let full = match full {
        Ok(full) => full,
        // Nothing can be made there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let source = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
            return Err(Error::Io { op: "resolve", path: path_text(root.as_os_str().as_bytes()), source });
        }
    };
    for parent in full.ancestors().skip(1) {
        // A directory above that may not be opened or holds something else of that name is no destination of ours to judge.
        let Ok(fd) = open_root(parent) else { continue };
        let Ok(Some(found)) = read_at(&fd, parent.as_os_str().as_bytes()) else { continue };
        if found.run == run && run != BY_HAND {
            continue;
        }
        // The marker of a copy by hand says something only as long as that copy holds the lock.
        if found.run != BY_HAND || lock(&fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
            return Err(Error::Held { by: Some(found) });
        }
    }
    Ok(())
}

/// The marker in `root`, if there is one.
///
/// # Errors
/// As [`take`], apart from [`Error::Held`].
pub fn read(root: &Path) -> Result<Option<Marker>, Error> {
    let fd = open_root(root)?;
    read_at(&fd, root.as_os_str().as_bytes())
}

/// Makes sure that what has the marker's name in a root is a marker, as it will be left out; the user may have left
/// it out by name.
pub(super) fn check(root: &OwnedFd, path: &[u8], exclude: &Exclude) -> Result<(), Error> {
    match read_at(root, path) {
        Err(Error::BadMarker { .. }) if exclude.matches(NAME.as_bytes(), is_dir(root)) => Ok(()),
        other => other.map(|_| ()),
    }
}

fn is_dir(root: &OwnedFd) -> bool {
    sys::find_at(root, MARKER).is_ok_and(|found| found.is_some_and(|meta| meta.kind == Kind::Dir))
}

impl Claim {
    /// Gives the destination back: the marker goes, durably.
    ///
    /// # Errors
    /// [`Error::Io`] if the marker cannot be removed; it is then still there.
    pub fn release(self) -> Result<(), Error> {
        keeping_times(&self.root, || match rustix::fs::unlinkat(&self.root, NAME, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        })
        .and_then(|()| rustix::fs::fsync(&self.root))
        .map_err(Error::io("remove the marker of the run from", &self.path))
    }
}

fn read_at(root: &OwnedFd, path: &[u8]) -> Result<Option<Marker>, Error> {
    let bad = || Error::BadMarker { path: format!("{}/{NAME}", path_text(path)) };
    match sys::find_at(root, MARKER).map_err(Error::io("read the marker of the run in", path))? {
        None => return Ok(None),
        Some(meta) if meta.kind != Kind::File => return Err(bad()),
        Some(_) => {}
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(root, NAME, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(source) => return Err(Error::io("read the marker of the run in", path)(source)),
    };
    // A marker is short; what is longer is none.
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(&fd, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(source) => return Err(Error::io("read the marker of the run in", path)(source)),
        }
    }
    Marker::decode(&buffer[..filled]).map(Some).ok_or_else(bad)
}

fn write_marker(root: &OwnedFd, marker: &Marker) -> Result<(), Errno> {
    // Of the shape of the engine's temporary names: one left by a crash is removed by the next pass.
    let temp = format!(".decamp-tmp-{:016x}", rustix::process::getpid().as_raw_nonzero());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Nobody else can use this name: it carries our process id, so what is there is left from a crash.
    rustix::fs::unlinkat(root, &temp, AtFlags::empty()).ok();
    let fd = rustix::fs::openat(root, &temp, flags, Mode::from_raw_mode(0o644))?;
    let result = write_all(&fd, &marker.encode()).and_then(|()| rustix::fs::fsync(&fd)).and_then(|()| {
        match rustix::fs::linkat(root, &temp, root, NAME, AtFlags::empty()) {
            // No hard links here: an exclusive rename, and where that is missing too, there is no rival-proof way.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                rustix::fs::renameat_with(root, &temp, root, NAME, rustix::fs::RenameFlags::NOREPLACE)
            }
            other => other,
        }
    });
    match rustix::fs::unlinkat(root, &temp, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return result.and(Err(errno)),
    }
    result?;
    rustix::fs::fsync(root)
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Runs `change`, which touches entries of `dir`, and puts the directory's times back.
pub(super) fn keeping_times<T>(dir: impl AsFd, change: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let before = rustix::fs::fstat(&dir)?;
    let result = change()?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: before.st_atime, tv_nsec: before.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ },
    };
    match rustix::fs::futimens(&dir, &times) {
        // Who may write in a directory need not own it; its times are then not ours to keep.
        Ok(()) | Err(Errno::PERM | Errno::ACCESS) => Ok(result),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn marker(run: &str) -> Marker {
        Marker { run: run.into(), host: "here".into(), at: "2026-01-01T00:00:00Z".into() }
    }

    #[test]
    fn a_second_claim_is_refused_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let claim = take(dir.path(), &marker("one")).unwrap();
        assert!(matches!(take(dir.path(), &marker("two")), Err(Error::Held { by: Some(m) }) if m.run == "one"));
        assert!(matches!(take(dir.path(), &marker("one")), Err(Error::Held { .. })));
        drop(claim);
        assert!(matches!(take(dir.path(), &marker("two")), Err(Error::Held { by: Some(m) }) if m.run == "one"));
        take(dir.path(), &marker("one")).unwrap().release().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        take(dir.path(), &marker("two")).unwrap();
    }

    #[test]
    fn the_times_of_the_root_stay() {
        let dir = tempfile::tempdir().unwrap();
        let before = fs::metadata(dir.path()).unwrap().modified().unwrap();
        let claim = take(dir.path(), &marker("one")).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().modified().unwrap(), before);
        claim.release().unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_strange_marker_is_not_overlooked() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "somebody else's").unwrap();
        assert!(matches!(take(dir.path(), &marker("one")), Err(Error::BadMarker { .. })));
    }
}
