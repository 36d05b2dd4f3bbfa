//! Names with a meaning of their own: the run's marker, `lost+found`, and the engine's temporary names; and paths of names.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::claim;
use super::end::End;
use super::sys::{self, Kind, Meta};

const TEMP: &[u8] = b".decamp-tmp-";
/// The magic number of ext2, ext3 and ext4.
const EXT: u64 = 0xEF53;

/// The temporary name for a new version of `name`: always the same, so that what a crash left is found again. `salt`
/// gives another one where the source itself has an entry of the name.
pub(super) fn temp_for(name: &[u8], salt: u8) -> CString {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name);
    if salt > 0 {
        hasher.update(&[0, salt]);
    }
    let hex = hasher.finalize().to_hex();
    let mut out = TEMP.to_vec();
    out.extend_from_slice(&hex.as_bytes()[..16]);
    // Letters and digits only.
    CString::new(out).unwrap_or_default()
}

/// Whether a name has the exact shape of a temporary name.
pub(super) fn is_temp(name: &[u8]) -> bool {
    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    name.strip_prefix(TEMP).is_some_and(|rest| rest.len() == 16 && rest.iter().all(hex))
}

/// Whether an entry belongs to the tool or to the file system and not to the data. `dirs` is the directory, held
/// open, with its metadata, on each side where it exists.
pub(super) fn is_special(name: &CStr, kind: Kind, is_root: bool, dirs: &[(End<'_>, Option<&Meta>)]) -> bool {
    match name.to_bytes() {
        bytes if bytes == claim::NAME.as_bytes() => is_root,
        b"lost+found" if kind == Kind::Dir => {
            dirs.iter().any(|(dir, meta)| meta.is_some_and(|meta| dir.is_fs_root(meta)))
        }
        _ => false,
    }
}

/// Whether a directory is the root of a file system, and not just of a mount of a part of it where that can be told.
pub(super) fn is_fs_root(fd: BorrowedFd<'_>, meta: &Meta) -> bool {
    match rustix::fs::fstatfs(fd) {
        Ok(volume) if volume.f_type as u64 == EXT => meta.ino == 2,
        _ => meta.mount_root,
    }
}

/// Opens the directory of that path below `root`; `None` if there is none.
pub(super) fn walk(root: &OwnedFd, path: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    let mut at = sys::open_dir(root, c".")?;
    for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        let name = CString::new(part).map_err(|_| Errno::INVAL)?;
        at = match sys::open_dir(&at, &name) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
    }
    Ok(Some(at))
}

/// Directory and name of a path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// The path of a name in a directory.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_recognised_exactly() {
        let temp = temp_for(b"some file", 0);
        assert_eq!(temp, temp_for(b"some file", 0));
        assert_ne!(temp, temp_for(b"some file", 1));
        assert!(is_temp(temp.to_bytes()));
        for other in [".decamp-tmp-", ".decamp-tmp-0123456789abcde", ".decamp-tmp-0123456789abcdeX", "a"] {
            assert!(!is_temp(other.as_bytes()), "{other}");
        }
    }
}
