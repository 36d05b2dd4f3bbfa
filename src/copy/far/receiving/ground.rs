//! What is at a root, before anything is done there; and roots that are made and removed. All of it is the same here and
//! at another place.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::forms;
use crate::copy::far::errors::text;
use crate::copy::far::machine;
use crate::copy::identity::{self, RootId, open_root};
use crate::copy::report::Probe;
use crate::copy::usage::Usage;
use crate::copy::{Error, claim, probe, usage};
use crate::wire::{Broken, Put, Take};

/// How a root is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Which one it is.
    Id,
    /// Also what it can hold, as far as that can be told without a named file.
    Unnamed,
    /// Also what it can hold.
    Named,
}

/// What is at a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// Which directory it is.
    pub id: RootId,
    /// Its path there, without links.
    pub full: PathBuf,
    /// The machine it is on, as long as that runs.
    pub machine: Vec<u8>,
    /// It holds nothing but what every root may hold.
    pub empty: bool,
    /// What its file system takes, if that says something.
    pub usage: Option<Usage>,
    /// What it can hold, if that was asked for.
    pub probe: Option<Probe>,
}

impl Ground {
    /// Looks at the directory at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::Io`].
    pub fn look(path: &Path, how: Look) -> Result<Self, Error> {
        let bytes = path.as_os_str().as_bytes();
        let dir = open_root(path)?;
        let full = path.canonicalize().map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
            Error::io("resolve", bytes)(errno)
        })?;
        let probe = match how {
            Look::Id => None,
            Look::Unnamed | Look::Named => Some(probe(path, how == Look::Named)?),
        };
        Ok(Self {
            id: identity::of_fd(&dir).map_err(Error::io("stat", bytes))?,
            full,
            machine: machine(),
            empty: is_empty(path),
            usage: usage(path)?,
            probe,
        })
    }

    pub(super) fn put(&self, put: &mut Put) {
        forms::put_root(put, &self.id);
        put.bytes(self.full.as_os_str().as_bytes()).bytes(&self.machine).flag(self.empty);
        forms::put_optional(put, self.usage, |put, usage| {
            put.number(usage.bytes).number(usage.inodes).flag(usage.whole);
        });
        forms::put_optional(put, self.probe.as_ref(), put_probe);
    }

    pub(super) fn read(take: &mut Take<'_>) -> Result<Self, Broken> {
        let id = forms::root(take)?;
        let full = PathBuf::from(OsString::from_vec(take.bytes()?.to_vec()));
        let (machine, empty) = (take.bytes()?.to_vec(), take.flag()?);
        let usage = forms::optional(take, |take| {
            Ok(Usage { bytes: take.number()?, inodes: take.number()?, whole: take.flag()? })
        })?;
        Ok(Self { id, full, machine, empty, usage, probe: forms::optional(take, read_probe)? })
    }
}

/// Whether a directory holds nothing but what every root may hold; one that cannot be listed is not called empty. Its
/// time of access stays where that is permitted: a dry run asks, too.
fn is_empty(dir: &Path) -> bool {
    let own = |name: &[u8]| [claim::NAME.as_bytes(), b"lost+found", b".", b".."].contains(&name);
    let open = |more| rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty());
    let all = open(OFlags::NOATIME).or_else(|_| open(OFlags::empty())).and_then(rustix::fs::Dir::new);
    all.is_ok_and(|mut all| all.all(|entry| entry.is_ok_and(|entry| own(entry.file_name().to_bytes()))))
}

/// Makes a root for `run`, unless it is there: `false`.
///
/// # Errors
/// [`Error::Io`], [`Error::NotDirectory`]; as [`claim::check_above`].
pub fn make_root(path: &Path, run: &str) -> Result<bool, Error> {
    let bytes = path.as_os_str().as_bytes();
    claim::check_above(path, run)?;
    match rustix::fs::mkdir(path, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
        Ok(()) => Ok(true),
        // A read-only file system says so even where the directory exists.
        Err(Errno::EXIST | Errno::ROFS) if path.symlink_metadata().is_ok() => open_root(path).map(|_| false),
        Err(Errno::NOENT) => Err(Error::NotFound { path: crate::units::path_text(bytes) }),
        Err(errno) => Err(Error::io("make", bytes)(errno)),
    }
}

/// Removes a root that is empty. `Ok(false)`: there is none.
///
/// # Errors
/// [`Error::Io`] if it is not empty, among others.
pub fn remove_root(path: &Path) -> Result<bool, Error> {
    match rustix::fs::rmdir(path) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io("remove", path.as_os_str().as_bytes())(errno)),
    }
}

fn put_probe(put: &mut Put, probe: &Probe) {
    put.bytes(probe.fs_type.as_bytes()).flag(probe.writable);
    for text in [probe.read_only_reason.as_deref(), probe.squash] {
        forms::put_optional(put, text, |put, text| {
            put.bytes(text.as_bytes());
        });
    }
    put.number(probe.free_bytes).number(probe.name_max);
    for number in [probe.free_inodes, probe.time_ns] {
        forms::put_optional(put, number, |put, number| {
            put.number(number);
        });
    }
    for able in [probe.chown, probe.xattr, probe.acl, probe.capability, probe.hardlink, probe.holes, probe.device] {
        forms::put_optional(put, able, |put, able| {
            put.flag(able);
        });
    }
}

fn read_probe(take: &mut Take<'_>) -> Result<Probe, Broken> {
    let (fs_type, writable) = (text(take)?, take.flag()?);
    let read_only_reason = forms::optional(take, text)?;
    // Whatever it is called there, it is no less than that of every owner.
    let squash = forms::optional(take, |take| Ok(if text(take)? == "root" { "root" } else { "all" }))?;
    let (free_bytes, name_max) = (take.number()?, take.number()?);
    let mut number = || forms::optional(take, |take| Ok(take.number()?));
    let (free_inodes, time_ns) = (number()?, number()?);
    let mut able = || forms::optional(take, |take| Ok(take.flag()?));
    Ok(Probe {
        fs_type,
        writable,
        read_only_reason,
        free_bytes,
        free_inodes,
        squash,
        chown: able()?,
        xattr: able()?,
        acl: able()?,
        capability: able()?,
        hardlink: able()?,
        holes: able()?,
        device: able()?,
        time_ns,
        name_max,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_at_a_root_survives_its_encoding() {
        let dir = tempfile::tempdir().unwrap();
        for how in [Look::Id, Look::Unnamed, Look::Named] {
            let mut ground = Ground::look(dir.path(), how).unwrap();
            assert!(ground.empty && ground.probe.is_some() == (how != Look::Id));
            if let Some(probe) = &mut ground.probe {
                (probe.squash, probe.read_only_reason) = (Some("root"), Some("because".into()));
            }
            let mut put = Put::default();
            ground.put(&mut put);
            let mut take = Take(&put.0);
            assert_eq!(Ground::read(&mut take).unwrap(), ground);
            take.end().unwrap();
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!Ground::look(dir.path(), Look::Id).unwrap().empty);
    }

    #[test]
    fn a_root_is_made_once_and_removed_when_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        assert!(make_root(&path, claim::BY_HAND).unwrap() && !make_root(&path, claim::BY_HAND).unwrap());
        std::fs::write(path.join("file"), "").unwrap();
        assert!(remove_root(&path).is_err());
        assert!(matches!(make_root(&path.join("file"), claim::BY_HAND), Err(Error::NotDirectory { .. })));
        assert!(matches!(make_root(&path.join("no/where"), claim::BY_HAND), Err(Error::NotFound { .. })));
        std::fs::remove_file(path.join("file")).unwrap();
        assert!(remove_root(&path).unwrap() && !remove_root(&path).unwrap());
    }

    #[test]
    fn no_root_is_made_in_what_another_run_has() {
        let dir = tempfile::tempdir().unwrap();
        let marker = |run: &str| claim::Marker { run: run.into(), host: "here".into(), at: "now".into() };
        let path = dir.path().join("root");
        for held in [claim::BY_HAND, "one"] {
            let claim = claim::take(dir.path(), &marker(held)).unwrap();
            let before = dir.path().metadata().unwrap();
            for run in [claim::BY_HAND, "two"] {
                let found = make_root(&path, run);
                assert!(
                    matches!(&found, Err(Error::Held { by: Some(by) }) if by.run == held),
                    "{held}, {run}: {found:?}"
                );
            }
            let after = dir.path().metadata().unwrap();
            assert_eq!((after.ctime(), after.ctime_nsec()), (before.ctime(), before.ctime_nsec()));
            claim.release().unwrap();
        }
        let claim = claim::take(dir.path(), &marker("one")).unwrap();
        assert!(make_root(&path, "one").unwrap(), "the same run");
        drop(claim);
    }
}
