//! Recognises what a process that died has left under a name that it was about to make, and which was free then: an
//! entry that holds nothing but the beginning of what the source has under the same name, or any in a directory of the
//! run's own in which nobody but us may make one (the source may have changed meanwhile).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::data::Mover;
use super::end::End;
use super::sys::{self, Kind, Meta};

/// Whether nobody but `us` may make an entry in a directory. Where an ACL gives somebody the right, the group's bits say
/// so.
pub(super) fn is_ours_alone(dir: &Meta, us: u32) -> bool {
    dir.uid == us && dir.mode & 0o022 == 0
}

/// Whether `name` in `to` is an unfinished copy of `name` in `from`: a file that is a prefix of the source's, holes
/// included, an equal link, an equal special file, or a directory.
pub(super) fn is_remnant(mover: &mut Mover, from: End<'_>, to: BorrowedFd<'_>, name: &CStr, right: &Meta) -> bool {
    prefix(mover, from, to, name, right).unwrap_or(false)
}

fn prefix(mover: &mut Mover, from: End<'_>, to: BorrowedFd<'_>, name: &CStr, right: &Meta) -> Result<bool, Errno> {
    let left = from.stat(name)?;
    if left.kind != right.kind {
        return Ok(false);
    }
    match left.kind {
        Kind::Dir => Ok(true),
        Kind::Link => Ok(from.read_link(name)? == sys::read_link(to, name)?),
        Kind::File => {
            if right.size > left.size {
                return Ok(false);
            }
            let (left, right_fd) = (from.file(name)?, sys::open_read(to, name)?);
            let same = left.same(mover, right_fd.as_fd(), (0, right.size), &mut |_, _| Ok(()));
            Ok(same.unwrap_or(false))
        }
        _ => Ok(left.rdev == right.rdev),
    }
}
