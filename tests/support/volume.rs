//! Real file systems: ext4, xfs and btrfs on loop devices, and tmpfs. Each is gone when its [`Volume`] is dropped; what a
//! killed test left behind is cleared by the next one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Pid, test_kill_process};

use super::skip::{needs_root, skipped};

/// A file system under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
}

impl FileSystem {
    pub(crate) const ALL: [Self; 4] = [Self::Ext4, Self::Xfs, Self::Btrfs, Self::Tmpfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// The smallest volume `mkfs` makes, in MiB.
    pub(crate) fn least(self) -> u64 {
        match self {
            Self::Ext4 => 8,
            Self::Xfs => 300,
            Self::Btrfs => 128,
            Self::Tmpfs => 1,
        }
    }
}

/// A mounted file system of its own.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Holds the image beside the mount point.
    home: PathBuf,
    mount: PathBuf,
}

impl Volume {
    /// A fresh volume of `mib` MiB (or the least its file system takes). `None`, and *skipped* said, without the right
    /// or the means to make one.
    pub(crate) fn new(kind: FileSystem, mib: u64) -> Option<Self> {
        if !needs_root("mounting a volume") {
            return None;
        }
        clear_leftovers();
        let volume = Self::home();
        let size = mib.max(kind.least());
        let done = match kind {
            FileSystem::Tmpfs => run("mount", &["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"], &volume.mount),
            _ => volume.on_image(kind, size),
        };
        match done {
            Ok(()) => Some(volume),
            Err(reason) => {
                skipped(&format!("no {} volume: {reason}", kind.name()));
                None
            }
        }
    }

    /// A directory to mount something on, removed with the mount on it when the [`Volume`] is dropped.
    pub(crate) fn home() -> Self {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let home = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep();
        let mount = home.join("mount");
        fs::create_dir(&mount).unwrap();
        Self { home, mount }
    }

    fn on_image(&self, kind: FileSystem, mib: u64) -> Result<(), String> {
        let image = self.home.join("image");
        File::create_new(&image).unwrap().set_len(mib << 20).unwrap();
        let options: &[&str] = match kind {
            // Inodes of 256 bytes hold nanoseconds, blocks of 4096 long xattrs; many inodes, for trees of small files.
            FileSystem::Ext4 => &["-q", "-F", "-b", "4096", "-I", "256", "-i", "4096"],
            FileSystem::Xfs => &["-q", "-f"],
            _ => &["-q", "-f", "--mixed"],
        };
        run(&format!("mkfs.{}", kind.name()), options, &image)?;
        let image = image.to_str().unwrap();
        run("mount", &["-t", kind.name(), "-o", "loop", image], &self.mount)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Takes the right to write away from everyone, or gives it back.
    pub(crate) fn read_only(&self, on: bool) {
        let flags = if on { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(&self.mount, flags, "").unwrap();
    }

    /// Unmounts an image and mounts it again: nothing of it is in memory then.
    pub(crate) fn remount(&self, kind: FileSystem) {
        unmount(&self.mount, UnmountFlags::empty()).unwrap();
        let image = self.home.join("image");
        run("mount", &["-t", kind.name(), "-o", "loop", image.to_str().unwrap()], &self.mount).unwrap();
    }

    /// Unmounts it now; the empty directory below stays until the drop.
    pub(crate) fn unmount(&self) {
        unmount(&self.mount, UnmountFlags::DETACH).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        clear(&self.home);
    }
}

const PREFIX: &str = "decamp-test-";

/// Unmounts and removes the three things there are. Never recursively: should the mount still be there, what is in it
/// may belong to someone.
fn clear(home: &Path) {
    release(&home.join("mount"));
    fs::remove_file(home.join("image")).ok();
    fs::remove_dir(home.join("mount")).ok();
    fs::remove_dir(home).ok();
}

/// Unmounts whatever is mounted there, however many layers; a busy one is detached.
fn release(mount: &Path) {
    for _ in 0..50 {
        match unmount(mount, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return,
        }
    }
    unmount(mount, UnmountFlags::DETACH).ok();
}

/// Clears volumes of test processes that are no more: killed ones run no destructors.
fn clear_leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for item in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let name = item.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            let pid = rest.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            if pid.is_some_and(|pid| test_kill_process(pid).is_err()) {
                clear(&item.path());
            }
        }
    });
}

fn run(program: &str, options: &[&str], last: &Path) -> Result<(), String> {
    let output =
        Command::new(program).args(options).arg(last).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[test]
fn volumes_come_and_go() {
    for kind in FileSystem::ALL {
        let Some(volume) = Volume::new(kind, 0) else { return };
        let mount = volume.path().to_owned();
        assert!(mounts().iter().any(|line| line.starts_with(&format!("{} {}", mount.display(), kind.name()))));
        fs::write(mount.join("file"), "x").unwrap();
        volume.read_only(true);
        assert!(fs::write(mount.join("file"), "y").is_err());
        volume.read_only(false);
        fs::write(mount.join("file"), "y").unwrap();
        // Held open: the volume must go all the same.
        let held = File::open(mount.join("file")).unwrap();
        drop(volume);
        assert!(!mounts().iter().any(|line| line.starts_with(&format!("{} ", mount.display()))), "{}", kind.name());
        drop(held);
    }
}

/// Lines of `mount point, type`.
#[cfg(test)]
fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap();
    text.lines()
        .map(|line| {
            let mut words = line.split(' ').skip(1);
            format!("{} {}", words.next().unwrap(), words.next().unwrap())
        })
        .collect()
}
