//! Extended attributes of any sort of entry, ACLs and capabilities among them, as raw bytes.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::{Target, proc_path};
use crate::copy::options::Loss;

/// The largest list and the largest value Linux hands out.
const LARGEST: usize = 64 << 10;
/// What is asked for first. The kernel makes a buffer of its own of the size that is asked for, each time: one of 64 KiB
/// takes three times as long as a small one.
const USUAL: usize = 1 << 10;

pub(in crate::copy) const CAPABILITY: &CStr = c"security.capability";
pub(in crate::copy) const ACL_DEFAULT: &CStr = c"system.posix_acl_default";
pub(in crate::copy) const ACL_ACCESS: &CStr = c"system.posix_acl_access";

/// Attributes with their values, sorted by name.
pub(in crate::copy) type Xattrs = Vec<(CString, Vec<u8>)>;

/// Which property an attribute belongs to; `None`: not one that is copied.
///
/// XFS shows root its ACLs a second time, in its own form (`trusted.SGI_ACL_…`); they go with the ACLs. SELinux labels belong to the machine's policy, and `system.` attributes other than ACLs to the file system.
pub(in crate::copy) fn property(name: &CStr) -> Option<Loss> {
    let bytes = name.to_bytes();
    if name == ACL_ACCESS || name == ACL_DEFAULT {
        Some(Loss::Acl)
    } else if name == CAPABILITY {
        Some(Loss::Capability)
    } else if bytes == b"security.selinux" || bytes.starts_with(b"trusted.SGI_ACL_") {
        None
    } else {
        [&b"user."[..], b"trusted.", b"security."].iter().any(|p| bytes.starts_with(p)).then_some(Loss::Xattr)
    }
}

/// Reads all attributes that are copied. A file system that knows none has none.
///
/// `scratch` is lent so that the usual case, no attributes, allocates nothing.
pub(in crate::copy) fn read(target: Target<'_>, scratch: &mut Vec<u8>) -> Result<Xattrs, Errno> {
    let length = match ample(scratch, |out| list(target, out)) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    if length == 0 {
        return Ok(Xattrs::new());
    }
    let names: Vec<CString> = scratch[..length]
        .split_inclusive(|&byte| byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .filter(|name| property(name).is_some())
        .map(CStr::to_owned)
        .collect();
    let mut found = Xattrs::with_capacity(names.len());
    for name in names {
        match ample(scratch, |out| get(target, &name, out)) {
            Ok(length) => found.push((name, scratch[..length].to_vec())),
            // Removed since it was listed, or an ACL that says no more than the mode.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the attribute is there.
pub(in crate::copy) fn has(target: Target<'_>, name: &CStr) -> Result<bool, Errno> {
    match get(target, name, &mut [0; USUAL]) {
        Ok(_) | Err(Errno::RANGE) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Why the mount has no attribute of that sort; `None` if it could have one.
pub(in crate::copy) fn refusal(target: Target<'_>, name: &CStr) -> Option<Errno> {
    match get(target, name, &mut [0; 256]) {
        Ok(_) | Err(Errno::NODATA | Errno::RANGE) => None,
        Err(errno) => Some(errno),
    }
}

/// Asks with a small buffer first, and with the largest if that is too small.
fn ample(buffer: &mut Vec<u8>, ask: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
    if buffer.len() < USUAL {
        buffer.resize(USUAL, 0);
    }
    match ask(&mut buffer[..USUAL]) {
        Err(Errno::RANGE) => {
            buffer.resize(LARGEST, 0);
            ask(buffer)
        }
        other => other,
    }
}

fn name_path(dir: impl AsRawFd, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

fn list(target: Target<'_>, out: &mut [u8]) -> Result<usize, Errno> {
    match target {
        Target::Fd(fd) => rustix::fs::flistxattr(fd, out),
        Target::Held(fd) => rustix::fs::listxattr(proc_path(fd), out),
        Target::Name(dir, name) => rustix::fs::llistxattr(name_path(dir, name), out),
    }
}

fn get(target: Target<'_>, attribute: &CStr, out: &mut [u8]) -> Result<usize, Errno> {
    match target {
        Target::Fd(fd) => rustix::fs::fgetxattr(fd, attribute, out),
        Target::Held(fd) => rustix::fs::getxattr(proc_path(fd), attribute, out),
        Target::Name(dir, name) => rustix::fs::lgetxattr(name_path(dir, name), attribute, out),
    }
}

/// Sets one attribute.
pub(in crate::copy) fn set(target: Target<'_>, attribute: &CStr, value: &[u8]) -> Result<(), Errno> {
    let flags = XattrFlags::empty();
    match target {
        Target::Fd(fd) => rustix::fs::fsetxattr(fd, attribute, value, flags),
        Target::Held(fd) => rustix::fs::setxattr(proc_path(fd), attribute, value, flags),
        Target::Name(dir, name) => rustix::fs::lsetxattr(name_path(dir, name), attribute, value, flags),
    }
}

/// Removes one attribute; one that is not there is removed already.
pub(in crate::copy) fn remove(target: Target<'_>, attribute: &CStr) -> Result<(), Errno> {
    let result = match target {
        Target::Fd(fd) => rustix::fs::fremovexattr(fd, attribute),
        Target::Held(fd) => rustix::fs::removexattr(proc_path(fd), attribute),
        Target::Name(dir, name) => rustix::fs::lremovexattr(name_path(dir, name), attribute),
    };
    match result {
        Err(Errno::NODATA) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn more_and_longer_attributes_than_usual_are_read_whole() {
        let file = tempfile::tempfile().unwrap();
        let target = Target::Fd(file.as_fd());
        let mut scratch = Vec::new();
        assert!(read(target, &mut scratch).unwrap().is_empty());
        let name = |at| CString::new(format!("user.{at:02}-{}", "n".repeat(100))).unwrap();
        let wanted: Xattrs = (0..20u8).map(|at| (name(at), vec![at; 10])).collect();
        for (name, value) in &wanted {
            match set(target, name, value) {
                // Not every file system has attributes, or room for so many.
                Err(Errno::OPNOTSUPP | Errno::NOSPC) => return,
                other => other.unwrap(),
            }
        }
        assert!(wanted.iter().map(|(name, _)| name.as_bytes_with_nul().len()).sum::<usize>() > USUAL);
        assert_eq!(read(target, &mut scratch).unwrap(), wanted);
        for (name, _) in &wanted {
            remove(target, name).unwrap();
        }
        set(target, c"user.long", &[7; 2 * USUAL]).unwrap();
        assert_eq!(read(target, &mut scratch).unwrap(), [(c"user.long".to_owned(), vec![7; 2 * USUAL])]);
        assert_eq!(has(target, c"user.long"), Ok(true));
        assert_eq!(has(target, c"user.short"), Ok(false));
    }
}
