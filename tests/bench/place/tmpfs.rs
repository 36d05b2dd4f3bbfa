//! A file system in memory.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Room, Side, run, unmount_quietly};
use crate::bench::{About, Outcome};

pub(super) struct Tmpfs {
    mount: PathBuf,
    options: String,
}

impl Tmpfs {
    pub(super) fn new(dir: PathBuf, room: Room) -> Outcome<Self> {
        Self::at(dir.join("mount"), room)
    }

    pub(super) fn at(mount: PathBuf, (entries, bytes): Room) -> Outcome<Self> {
        fs::create_dir(&mount).at(&mount)?;
        let side = Self { options: format!("size={bytes},nr_inodes={entries},mode=755"), mount };
        side.mount()?;
        Ok(side)
    }

    fn mount(&self) -> Outcome<()> {
        let at = self.mount.display().to_string();
        run("mount", &["-t", "tmpfs", "-o", &self.options, "decamp-bench", &at]).map(drop)
    }
}

impl Side for Tmpfs {
    fn path(&self) -> &Path {
        &self.mount
    }

    fn renew(&mut self) -> Outcome<()> {
        unmount_quietly(&self.mount)?;
        self.mount()
    }

    fn forget(&mut self) -> Outcome<()> {
        Ok(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount_quietly(&self.mount).ok();
    }
}
