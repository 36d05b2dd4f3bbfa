//! A file system that is far away: a FUSE pass-through over a directory that stands in for an NFS mount, where one
//! request is one round trip.
//!
//! Every LOOKUP, GETATTR, SETATTR, READLINK, MKNOD, MKDIR, UNLINK, RMDIR, SYMLINK, LINK, RENAME, OPEN, CREATE, READ,
//! WRITE, FSYNC, LSEEK, FALLOCATE, request for attributes, and every buffer of READDIRPLUS waits a given time and is
//! counted; each waits for itself, as at an ideal server, so only the client's own concurrency counts. OPENDIR, RELEASE,
//! FORGET, STATFS are free (local or asynchronous on NFS), and so is the question for `security.capability` that the
//! kernel itself asks before a write. The kernel believes names and attributes for a while, and READDIRPLUS fills its
//! caches. Writes go through at once: no write-back cache.
//!
//! While it is mounted, the backing directory must be changed through it alone; it must not have other file systems
//! mounted in it. Access is not checked: whoever may enter the mount point has the rights of who mounted it.

mod acts;
mod calls;
mod line;
mod nodes;
mod selftest;
mod tally;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use super::skip::is_root;
use super::volume::Volume;
use acts::Tree;
use calls::Calls;
use line::Line;
use tally::Tally;
pub(crate) use tally::{Counts, Kind};

/// How long NFS believes the attributes of a file that just changed.
const VALID: Duration = Duration::from_secs(3);

/// They read requests and, without a delay, do them as well.
const READERS: usize = 4;

/// A mounted file system; unmounted when dropped.
pub(crate) struct Latency {
    // Dropped first: unmounts and waits for the requests under way.
    session: Option<BackgroundSession>,
    mount: Volume,
    backing: PathBuf,
    delay: Duration,
    valid: Duration,
    tally: Arc<Tally>,
}

impl Latency {
    /// Mounts `backing` at a place of its own; each request takes `delay` and what it does.
    ///
    /// # Errors
    /// Where there is no FUSE, or no right to mount.
    pub(crate) fn mount(backing: &Path, delay: Duration) -> io::Result<Self> {
        Self::mount_valid(backing, delay, VALID)
    }

    /// The same, with names and attributes that stay `valid` for another time than 3 s: counts that must not depend on
    /// the speed of the machine need a longer one.
    ///
    /// # Errors
    /// As [`Latency::mount`].
    pub(crate) fn mount_valid(backing: &Path, delay: Duration, valid: Duration) -> io::Result<Self> {
        let (mount, backing) = (Volume::home(), backing.to_owned());
        let mut far = Self { session: None, mount, backing, delay, valid, tally: Arc::default() };
        far.session = Some(far.start()?);
        Ok(far)
    }

    /// Unmounts and mounts again at the same place: the kernel has nothing of it in its caches, the counts are zero.
    ///
    /// # Errors
    /// If something there is in use, and as [`Latency::mount`].
    pub(crate) fn remount(&mut self) -> io::Result<()> {
        if let Some(session) = self.session.take() {
            session.umount_and_join()?;
        }
        self.reset();
        self.session = Some(self.start()?);
        Ok(())
    }

    fn start(&self) -> io::Result<BackgroundSession> {
        let tree = Tree::over(&self.backing, self.valid)?;
        let calls = Calls::new(tree, self.tally.clone(), Line::new(self.delay)?);
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("decamp-latency".into()), MountOption::NoAtime];
        if is_root() {
            config.mount_options.extend([MountOption::Dev, MountOption::Suid]);
            config.acl = SessionACL::All;
        }
        config.n_threads = Some(READERS);
        fuser::spawn_mount(calls, self.mount.path(), &config)
    }

    pub(crate) fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The requests since the mount or the last reset.
    pub(crate) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// Counts from zero again.
    pub(crate) fn reset(&self) {
        self.tally.reset();
    }
}

impl Drop for Latency {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().ok();
        }
    }
}
