//! Whether two roots overlap, whatever leads to them: links, `..`, bind mounts.
//!
//! Two looks, because each sees what the other cannot. Going up through `..` and comparing inodes sees every nesting
//! within what is mounted. The mount table, which says what directory of which file system is mounted where, sees a
//! bind mount of a directory that lies inside the other root.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::error::Error;
use super::identity::open_root;
use crate::units::path_text;

/// Refuses a source and a destination of which one is, or lies inside, the other. A destination that does not exist
/// yet is judged by the directory that would hold it.
///
/// # Errors
/// [`Error::SameDirectory`], [`Error::DestInsideSource`], [`Error::SourceInsideDest`], [`Error::NotFound`],
/// [`Error::NotDirectory`], [`Error::Io`].
pub fn check_pair(src: &Path, dst: &Path) -> Result<(), Error> {
    let from = open_root(src)?;
    let (to, exists) = match open_root(dst) {
        Ok(fd) => (fd, true),
        Err(Error::NotFound { .. }) => (open_root(parent_of(dst))?, false),
        Err(other) => return Err(other),
    };
    let (src_text, dst_text) = (path_text(src.as_os_str().as_bytes()), path_text(dst.as_os_str().as_bytes()));
    let failed = |at: &Path| Error::io("look around", at.as_os_str().as_bytes());
    let (src_place, dst_place) = (place(&from).map_err(failed(src))?, place(&to).map_err(failed(dst))?);
    let same = id(&from).map_err(failed(src))? == id(&to).map_err(failed(dst))?;
    if same && exists {
        return Err(Error::SameDirectory { src: src_text, dst: dst_text });
    }
    if same || is_above(&from, &to).map_err(failed(dst))? || holds(&src_place, &dst_place) {
        return Err(Error::DestInsideSource { src: src_text, dst: dst_text });
    }
    if exists && (is_above(&to, &from).map_err(failed(src))? || holds(&dst_place, &src_place)) {
        return Err(Error::SourceInsideDest { src: src_text, dst: dst_text });
    }
    Ok(())
}

/// The directory that holds, or would hold, `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

fn id(fd: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether `upper` is met on the way from `lower` to the root of the file hierarchy.
fn is_above(upper: &OwnedFd, lower: &OwnedFd) -> Result<bool, Errno> {
    let wanted = id(upper)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(lower, "..", flags, Mode::empty())?;
    let mut last = id(lower)?;
    loop {
        let here = id(&at)?;
        if here == wanted {
            return Ok(true);
        }
        if here == last {
            return Ok(false);
        }
        last = here;
        at = rustix::fs::openat(&at, "..", flags, Mode::empty())?;
    }
}

/// Where a directory lies within its own file system.
struct Place {
    device: Vec<u8>,
    path: PathBuf,
}

/// `None` where the mount table does not tell.
fn place(fd: &OwnedFd) -> Result<Option<Place>, Errno> {
    let mount = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
    let (Ok(path), Ok(table)) = (std::fs::read_link(link), std::fs::read("/proc/self/mountinfo")) else {
        return Ok(None);
    };
    Ok(table.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.split(|&b| b == b' ');
        let number = str::from_utf8(fields.next()?).ok()?.parse::<u64>().ok()?;
        (number == mount).then_some(())?;
        let device = fields.nth(1)?.to_vec();
        let root = unescape(fields.next()?);
        let point = unescape(fields.next()?);
        let below = path.strip_prefix(bytes_path(&point)).ok()?;
        Some(Place { device, path: bytes_path(&root).join(below) })
    }))
}

fn holds(upper: &Option<Place>, lower: &Option<Place>) -> bool {
    match (upper, lower) {
        (Some(upper), Some(lower)) => upper.device == lower.device && lower.path.starts_with(&upper.path),
        _ => false,
    }
}

fn bytes_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// The mount table writes space, tab, newline and backslash as three octal digits.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn nesting_is_seen_through_links_and_dots() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, inner) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("a/x/y"));
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir(&b).unwrap();
        std::os::unix::fs::symlink(&a, dir.path().join("l")).unwrap();
        let link = dir.path().join("l");
        check_pair(&a, &b).unwrap();
        check_pair(&a, &b.join("new")).unwrap();
        assert!(matches!(check_pair(&a, &link), Err(Error::SameDirectory { .. })));
        assert!(matches!(check_pair(&a, &b.join("../a")), Err(Error::SameDirectory { .. })));
        assert!(matches!(check_pair(&a, &inner), Err(Error::DestInsideSource { .. })));
        assert!(matches!(check_pair(&a, &link.join("new")), Err(Error::DestInsideSource { .. })));
        assert!(matches!(check_pair(&inner, &link), Err(Error::SourceInsideDest { .. })));
        assert!(matches!(check_pair(&a, &dir.path().join("no/where")), Err(Error::NotFound { .. })));
    }

    #[test]
    fn octal_escapes_of_the_mount_table_are_read() {
        assert_eq!(unescape(b"/a\\040b\\134c\\"), b"/a b\\c\\");
    }
}
