//! ext4 on an image of its own, which goes past the page cache of the file system it is on: unmounted, nothing of it is
//! in memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Room, Side, run, unmount_quietly};
use crate::bench::{About, Outcome};

pub(super) struct Ext4 {
    mount: PathBuf,
    image: PathBuf,
    /// The loop device.
    device: String,
}

impl Ext4 {
    pub(super) fn new(dir: PathBuf, (entries, bytes): Room) -> Outcome<Self> {
        let mut side = Self { mount: dir.join("mount"), image: dir.join("image"), device: String::new() };
        fs::create_dir(&side.mount).at(&side.mount)?;
        // Inodes come one to 8 KiB, and take 256 bytes each.
        let bytes = (bytes + entries * 512).max(entries * 8192);
        written(&side.image, bytes)?;
        let image = side.image.display().to_string();
        side.device = run("losetup", &["--direct-io=on", "--find", "--show", &image])?;
        side.format()?;
        side.mount()?;
        Ok(side)
    }

    /// Everything is written at once: what the kernel would put off falls into somebody's run.
    fn format(&self) -> Outcome<()> {
        let later = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-I", "256", "-i", "8192", "-E", later, &self.device]).map(drop)
    }

    fn mount(&self) -> Outcome<()> {
        run("mount", &["-t", "ext4", &self.device, &self.mount.display().to_string()]).map(drop)
    }
}

impl Side for Ext4 {
    fn path(&self) -> &Path {
        &self.mount
    }

    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn renew(&mut self) -> Outcome<()> {
        unmount_quietly(&self.mount)?;
        self.format()?;
        self.mount()
    }

    fn forget(&mut self) -> Outcome<()> {
        unmount_quietly(&self.mount)?;
        run("blockdev", &["--flushbufs", &self.device])?;
        self.mount()
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        unmount_quietly(&self.mount).ok();
        if !self.device.is_empty() {
            run("losetup", &["--detach", &self.device]).ok();
        }
    }
}

/// Gives back the loop devices of an image a killed command left.
pub(super) fn detach(image: &Path) {
    let image = image.display().to_string();
    let devices = run("losetup", &["--noheadings", "--output", "NAME", "--associated", &image]).unwrap_or_default();
    for device in devices.lines() {
        run("losetup", &["--detach", device.trim()]).ok();
    }
}

/// A file of zeros that has all its blocks: the first run must not pay for them.
fn written(path: &Path, bytes: u64) -> Outcome<()> {
    let mut file = File::create_new(path).at(path)?;
    let zeros = vec![0; 4 << 20];
    let mut left = bytes.next_multiple_of(zeros.len() as u64);
    while left > 0 {
        file.write_all(&zeros).at(path)?;
        left -= zeros.len() as u64;
    }
    file.sync_all().at(path)
}
