//! What the kernel tells of block devices in files: what a device is part of, what it stands on, who uses it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, major, makedev, minor};

use crate::units::path_text;

/// The directory of a device, by its number.
pub(super) fn directory(dev: u64) -> Option<PathBuf> {
    fs::canonicalize(format!("/sys/dev/block/{}:{}", major(dev), minor(dev))).ok()
}

/// The trimmed text of one file; `None` if it is not there or empty.
pub(super) fn text(directory: &Path, name: &str) -> Option<String> {
    let text = path_text(fs::read(directory.join(name)).ok()?.trim_ascii());
    (!text.is_empty()).then_some(text)
}

/// A number in one file.
pub(super) fn number(directory: &Path, name: &str) -> Option<u64> {
    text(directory, name)?.parse().ok()
}

/// Names in a directory, in order.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|item| item.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The number of the device whose directory it is.
pub(super) fn number_of(directory: &Path) -> Option<u64> {
    let text = text(directory, "dev")?;
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// The partitions of a disk: their directories.
pub(super) fn partitions(disk: &Path) -> Vec<PathBuf> {
    names(disk).into_iter().map(|name| disk.join(name)).filter(|path| path.join("partition").exists()).collect()
}

/// The disk a partition is part of.
pub(super) fn whole(directory: &Path) -> Option<PathBuf> {
    directory.join("partition").exists().then(|| directory.parent().map(Path::to_owned)).flatten()
}

/// A mount, as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    dev: u64,
    /// What was mounted: `/dev/sda1`; for btrfs the device number says nothing.
    source: Vec<u8>,
    /// Where.
    pub(super) place: Vec<u8>,
    /// Nothing is written to it through this file system.
    pub(super) read_only: bool,
}

/// Every mount in every mount namespace that can be looked into.
pub(super) fn mounts() -> Vec<Mount> {
    let mut seen = BTreeSet::new();
    let mut mounts = Vec::new();
    let mut look = |process: &Path| {
        let space = fs::read_link(process.join("ns/mnt")).unwrap_or_default();
        if seen.insert(space) {
            let table = fs::read(process.join("mountinfo")).unwrap_or_default();
            mounts.extend(table.split(|byte| *byte == b'\n').filter_map(mount));
        }
    };
    // Our own first: its places are the ones the operator knows.
    look(Path::new("/proc/self"));
    for name in names(Path::new("/proc")) {
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            look(&Path::new("/proc").join(name));
        }
    }
    mounts
}

/// One line of mountinfo (proc(5)).
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let number = str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = number.split_once(':')?;
    let place = unescape(words.nth(1)?);
    let mut words = words.skip_while(|word| *word != b"-").skip(2);
    let source = unescape(words.next()?);
    let read_only = words.next()?.split(|byte| *byte == b',').any(|option| option == b"ro");
    Some(Mount { dev: makedev(major.parse().ok()?, minor.parse().ok()?), source, place, read_only })
}

/// `\040` and the like.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|code| str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        (rest, _) = match code {
            Some(byte) => (&tail[3..], out.push(byte)),
            None => (tail, out.push(first)),
        };
    }
    out
}

impl Mount {
    /// Whether it is of this device.
    pub(super) fn is_of(&self, dev: u64) -> bool {
        self.dev == dev || (self.source.starts_with(b"/dev/") && device_number(&self.source) == Some(dev))
    }
}

fn device_number(path: &[u8]) -> Option<u64> {
    let stat = rustix::fs::stat(Path::new(&OsString::from_vec(path.to_vec()))).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice).then_some(stat.st_rdev)
}

/// What is used as swap: device number, or number of the file system and inode of a file.
pub(super) fn swaps() -> Vec<(Option<u64>, (u64, u64))> {
    let table = fs::read("/proc/swaps").unwrap_or_default();
    let paths = table.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let word = line.split(|byte| byte.is_ascii_whitespace()).next().filter(|word| !word.is_empty())?;
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(word))))
    });
    let stats = paths.filter_map(|path| rustix::fs::stat(&path).ok());
    stats
        .map(|stat| {
            let device = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
            (device.then_some(stat.st_rdev), (stat.st_dev, stat.st_ino))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let line = br"36 35 8:3 / /mnt/a\040b rw,noatime shared:1 master:2 - ext4 /dev/sda3 ro,errors=continue";
        let found = mount(line).unwrap_or_else(|| panic!("a mount"));
        assert_eq!(
            (found.dev, &found.place[..], &found.source[..]),
            (makedev(8, 3), &b"/mnt/a b"[..], &b"/dev/sda3"[..])
        );
        assert!(found.read_only && found.is_of(makedev(8, 3)) && !found.is_of(makedev(8, 4)));
        assert_eq!(mount(b"36 35"), None);
        assert_eq!(unescape(br"a\134b\x"), br"a\b\x");
    }

    #[test]
    fn the_root_is_mounted_somewhere() {
        assert!(mounts().iter().any(|mount| mount.place == b"/"));
    }
}
