//! Where the two sides of a copy live. Everything is below one directory, and gone when the [`Place`] is dropped; what a
//! killed command left behind is cleared by the next one.

mod ext4;
mod latency;
mod plain;
mod tmpfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, test_kill_process};

use super::{About, Outcome};

/// What both sides are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Memory: nothing but the copier's own work counts. Always warm.
    Tmpfs,
    /// ext4 on an image each, cold: nothing of either side is in a cache when a run begins.
    Ext4,
    /// Every request to either side takes this many microseconds, as on a network mount; caches are empty.
    Latency(u64),
    /// Directories where they are, caches as they are.
    Plain,
}

/// One side.
trait Side {
    /// The directory to keep things in.
    fn path(&self) -> &Path;
    /// Throws away all that is there.
    fn renew(&mut self) -> Outcome<()>;
    /// Writes back and forgets all that is cached of it, where it is on something slower than memory.
    fn forget(&mut self) -> Outcome<()>;
    /// Where the data can be reached without the latency, for what is not measured.
    fn behind(&self) -> &Path {
        self.path()
    }
    /// The device it is on, where that is its own.
    fn device(&self) -> Option<&str> {
        None
    }
}

/// Both sides.
pub(crate) struct Place {
    home: PathBuf,
    src: Box<dyn Side>,
    dst: Box<dyn Side>,
}

impl Place {
    /// Makes both; the destination must have room for `copies` trees of so many entries and bytes.
    pub(crate) fn new(kind: Kind, dir: &Path, (entries, bytes): (u64, u64), copies: u64) -> Outcome<Self> {
        clear_leftovers(dir);
        let home =
            tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir_in(dir).at(dir)?;
        let home = home.keep();
        // A third more than what is needed, for directories and journals.
        let room = |trees: u64| (entries * trees * 4 / 3 + 2000, bytes * trees * 4 / 3 + (64 << 20));
        match sides(kind, &home, room(1), room(copies)) {
            Ok([src, dst]) => Ok(Self { home, src, dst }),
            Err(reason) => {
                clear(&home);
                Err(reason)
            }
        }
    }

    /// The directory for what belongs to neither side.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The tree to copy.
    pub(crate) fn src(&self) -> PathBuf {
        self.src.path().join("data")
    }

    /// A destination, one of several on the same file system.
    pub(crate) fn dst(&self, name: &str) -> PathBuf {
        self.dst.path().join(name)
    }

    /// [`Self::src`] for who makes or checks it.
    pub(crate) fn src_behind(&self) -> PathBuf {
        self.src.behind().join("data")
    }

    /// [`Self::dst`] for who checks it.
    pub(crate) fn dst_behind(&self, name: &str) -> PathBuf {
        self.dst.behind().join(name)
    }

    /// An empty destination on an empty file system.
    pub(crate) fn new_destination(&mut self, name: &str) -> Outcome<()> {
        self.dst.renew()?;
        self.add_destination(name)
    }

    /// An empty destination beside the others.
    pub(crate) fn add_destination(&self, name: &str) -> Outcome<()> {
        let dir = self.dst_behind(name);
        fs::create_dir(&dir).at(&dir)
    }

    /// The devices of both sides, where they have their own.
    pub(crate) fn devices(&self) -> Vec<String> {
        [&self.src, &self.dst].iter().filter_map(|side| side.device()).map(str::to_owned).collect()
    }

    /// Empties the caches of both sides, where that is what the place is for.
    pub(crate) fn forget(&mut self) -> Outcome<()> {
        self.src.forget()?;
        self.dst.forget()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Sides unmount what they mounted when they go; only then may their directories be removed.
        self.src = Box::new(plain::Plain::nowhere());
        self.dst = Box::new(plain::Plain::nowhere());
        clear(&self.home);
    }
}

type Room = (u64, u64);

fn sides(kind: Kind, home: &Path, src: Room, dst: Room) -> Outcome<[Box<dyn Side>; 2]> {
    let (a, b) = (home.join("src"), home.join("dst"));
    for dir in [&a, &b] {
        fs::create_dir(dir).at(dir)?;
    }
    Ok(match kind {
        Kind::Plain => [Box::new(plain::Plain::new(a)?), Box::new(plain::Plain::new(b)?)],
        Kind::Tmpfs => [Box::new(tmpfs::Tmpfs::new(a, src)?), Box::new(tmpfs::Tmpfs::new(b, dst)?)],
        Kind::Ext4 => [Box::new(ext4::Ext4::new(a, src)?), Box::new(ext4::Ext4::new(b, dst)?)],
        Kind::Latency(micros) => {
            let delay = Duration::from_micros(micros);
            [Box::new(latency::Latent::new(a, src, delay)?), Box::new(latency::Latent::new(b, dst, delay)?)]
        }
    })
}

const PREFIX: &str = "decamp-bench-";

/// Clears places of processes that are no more: killed ones run no destructors.
fn clear_leftovers(dir: &Path) {
    for item in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = item.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if pid.is_some_and(|pid| test_kill_process(pid).is_err()) {
            for side in ["src", "dst"] {
                for layer in ["mount", "backing"] {
                    unmount(item.path().join(side).join(layer), UnmountFlags::DETACH).ok();
                }
                ext4::detach(&item.path().join(side).join("image"));
            }
            clear(&item.path());
        }
    }
}

/// Removes a place on which nothing is mounted any more. Should something be, it is left: removing would empty it.
fn clear(home: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = format!("{}/", home.display());
    if !mounts.lines().filter_map(|line| line.split(' ').nth(1)).any(|at| at.starts_with(&prefix)) {
        fs::remove_dir_all(home).ok();
    }
}

/// Unmounts; a side that is still busy for a moment is waited for.
fn unmount_quietly(mount: &Path) -> Outcome<()> {
    for _ in 0..100 {
        match unmount(mount, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(20)),
            other => return other.at(mount),
        }
    }
    Err(format!("{}: busy for two seconds", mount.display()))
}

/// Runs a program that must succeed; returns what it printed.
fn run(program: &str, args: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(args).output().about(program)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
