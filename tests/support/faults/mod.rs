//! A file system that misbehaves on demand: a FUSE pass-through over a directory, with faults that can be changed while
//! it is mounted.
//!
//! Nothing is cached by the kernel (no attributes, no names, no pages), so every call of the program under test arrives
//! here and meets the fault. Without a fault it is faithful: the checker finds no difference between a tree and the
//! same tree seen through it.

mod acts;
mod nodes;
mod pass;
mod selftest;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use rustix::io::Errno;

use super::skip::{is_root, skipped};
use super::volume::Volume;
use acts::Pass;

/// A call that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Lookup,
    Getattr,
    Setattr,
    Readlink,
    /// Every call that makes a new inode: files, directories, links, nodes.
    Create,
    Link,
    Remove,
    Rename,
    Open,
    Read,
    Write,
    Sync,
    Opendir,
    Readdir,
    GetXattr,
    SetXattr,
}

/// One call that fails.
#[derive(Debug, Clone)]
pub(crate) struct Fail {
    op: Op,
    name: Option<Vec<u8>>,
    at: u64,
    errno: Errno,
    times: u32,
    every: u32,
    met: u32,
}

impl Fail {
    /// `op` fails for every entry, always.
    pub(crate) fn new(op: Op, errno: Errno) -> Self {
        Self { op, name: None, at: 0, errno, times: u32::MAX, every: 1, met: 0 }
    }

    /// Only for entries of this name.
    #[must_use]
    pub(crate) fn on(mut self, name: impl AsRef<[u8]>) -> Self {
        self.name = Some(name.as_ref().to_vec());
        self
    }

    /// Reads and writes work up to this byte.
    #[must_use]
    pub(crate) fn after(mut self, at: u64) -> Self {
        self.at = at;
        self
    }

    /// Only one call in so many.
    #[must_use]
    pub(crate) fn every(mut self, calls: u32) -> Self {
        self.every = calls;
        self
    }

    /// Only so many times, then never again.
    #[must_use]
    pub(crate) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

/// Everything that is wrong with the file system at the moment. By default nothing is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Calls that fail.
    pub(crate) fails: Vec<Fail>,
    /// Bytes that may still be written; then there is no space left.
    pub(crate) room: Option<u64>,
    /// Every call takes so much longer.
    pub(crate) delay: Duration,
    /// A read returns at most so many bytes.
    pub(crate) short_read: Option<usize>,
    /// A write takes at most so many bytes.
    pub(crate) short_write: Option<usize>,
    /// No extended attributes, no ACLs.
    pub(crate) no_xattrs: bool,
    /// Owners cannot be changed.
    pub(crate) no_owners: bool,
    /// New entries belong to this user and group, whoever made them (`all_squash` of NFS).
    pub(crate) squash: Option<u32>,
    /// No second name for a file.
    pub(crate) no_hard_links: bool,
    /// Times are kept in steps of so many nanoseconds.
    pub(crate) time_step: Option<u64>,
}

/// State shared by the mount and the test.
#[derive(Debug, Default)]
struct Shared {
    faults: Faults,
    hits: u64,
}

impl Shared {
    fn hit<T>(&mut self, errno: Errno) -> Result<T, Errno> {
        self.hits += 1;
        Err(errno)
    }

    /// How many of `len` bytes from `at` on a call on `name` may handle.
    fn allow(&mut self, op: Op, name: &[u8], at: u64, len: usize) -> Result<usize, Errno> {
        let end = at + len as u64;
        let meets = |fail: &&mut Fail| {
            let named = fail.name.as_ref().is_none_or(|wanted| wanted == name);
            fail.op == op && fail.times > 0 && named && (fail.at == 0 || fail.at < end)
        };
        if let Some(fail) = self.faults.fails.iter_mut().find(meets) {
            if at < fail.at {
                return Ok(usize::try_from(fail.at - at).unwrap());
            }
            fail.met += 1;
            if fail.met.is_multiple_of(fail.every) {
                fail.times -= 1;
                let errno = fail.errno;
                return self.hit(errno);
            }
        }
        match op {
            Op::Read => Ok(self.cut(len, self.faults.short_read)),
            Op::Write => {
                let len = self.cut(len, self.faults.short_write);
                let Some(room) = &mut self.faults.room else { return Ok(len) };
                let fits = len.min(usize::try_from(*room).unwrap_or(len));
                *room -= fits as u64;
                if fits == 0 && len > 0 { self.hit(Errno::NOSPC) } else { Ok(fits) }
            }
            _ => Ok(len),
        }
    }

    fn cut(&mut self, len: usize, most: Option<usize>) -> usize {
        let short = most.map_or(len, |most| len.min(most));
        self.hits += u64::from(short < len);
        short
    }
}

/// A mounted file system with faults; unmounted when dropped.
pub(crate) struct Faulty {
    // Dropped first: unmounts and waits for the calls under way.
    session: Option<BackgroundSession>,
    mount: Volume,
    shared: Arc<Mutex<Shared>>,
}

impl Faulty {
    /// Mounts a pass-through over `backing`, which must not have other file systems mounted in it. `None`, and *skipped*
    /// said, where that is not possible.
    pub(crate) fn over(backing: &Path) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            skipped("no FUSE on this machine");
            return None;
        }
        let mount = Volume::home();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("decamp-faults".into()), MountOption::DefaultPermissions, MountOption::NoAtime];
        if is_root() {
            config.mount_options.extend([MountOption::Dev, MountOption::Suid]);
            config.acl = SessionACL::All;
        }
        config.n_threads = Some(8);
        match fuser::spawn_mount(Pass::over(backing, shared.clone()), mount.path(), &config) {
            Ok(session) => Some(Self { session: Some(session), mount, shared }),
            Err(error) => {
                skipped(&format!("no FUSE mount: {error}"));
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.mount.path()
    }

    /// Changes what is wrong, from the next call on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Adds one failing call.
    pub(crate) fn fail(&self, fail: Fail) {
        self.set(|faults| faults.fails.push(fail));
    }

    /// Nothing is wrong any more.
    pub(crate) fn clear(&self) {
        self.set(|faults| *faults = Faults::default());
    }

    /// How often a fault was met since the mount: a test of a fault that was never met shows nothing.
    pub(crate) fn hits(&self) -> u64 {
        self.lock().hits
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.clear();
        if let Some(session) = self.session.take() {
            session.umount_and_join().ok();
        }
    }
}

fn bytes(name: &OsStr) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(name)
}
