//! A file system in memory behind a latency: every request waits, as on a network mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tmpfs::Tmpfs;
use super::{Room, Side, run, unmount_quietly};
use crate::bench::{About, Outcome};
use crate::support::latency::Latency;

pub(super) struct Latent {
    delay: Duration,
    backing: Tmpfs,
    /// Where it is seen: always the same path, as a mount of a server is, though each [`Latency`] has one of its own.
    mount: PathBuf,
    session: Option<Latency>,
}

impl Latent {
    pub(super) fn new(dir: PathBuf, room: Room, delay: Duration) -> Outcome<Self> {
        let backing = Tmpfs::at(dir.join("backing"), room)?;
        let mount = dir.join("mount");
        fs::create_dir(&mount).at(&mount)?;
        Ok(Self { delay, backing, mount, session: None })
    }

    fn unmount(&mut self) -> Outcome<()> {
        if self.session.is_some() {
            unmount_quietly(&self.mount)?;
            self.session = None;
        }
        Ok(())
    }
}

impl Side for Latent {
    fn path(&self) -> &Path {
        &self.mount
    }

    fn renew(&mut self) -> Outcome<()> {
        self.unmount()?;
        self.backing.renew()
    }

    fn forget(&mut self) -> Outcome<()> {
        self.unmount()?;
        let session = Latency::mount(self.backing.path(), self.delay).at(self.backing.path())?;
        run("mount", &["--bind", &session.path().display().to_string(), &self.mount.display().to_string()])?;
        self.session = Some(session);
        Ok(())
    }

    fn behind(&self) -> &Path {
        self.backing.path()
    }
}

impl Drop for Latent {
    fn drop(&mut self) {
        self.unmount().ok();
    }
}
