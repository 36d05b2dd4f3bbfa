//! Recognises what a process that died has left: an entry that holds nothing but the beginning of what the source
//! has under the same name.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::data::Mover;
use super::sys::{self, Kind, Meta};

/// Whether `name` in `to` is an unfinished copy of `name` in `from`: a file that is a prefix of the source's, holes
/// included, an equal link, an equal special file, or a directory.
pub(super) fn is_remnant(
    mover: &mut Mover,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    right: &Meta,
) -> bool {
    prefix(mover, from, to, name, right).unwrap_or(false)
}

fn prefix(
    mover: &mut Mover,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    right: &Meta,
) -> Result<bool, Errno> {
    let left = sys::stat_at(from, name)?;
    if left.kind != right.kind {
        return Ok(false);
    }
    match left.kind {
        Kind::Dir => Ok(true),
        Kind::Link => Ok(sys::read_link(from, name)? == sys::read_link(to, name)?),
        Kind::File => {
            if right.size > left.size {
                return Ok(false);
            }
            let (left, right_fd) = (sys::open_read(from, name)?, sys::open_read(to, name)?);
            let same = mover.same(left.as_fd(), right_fd.as_fd(), (0, right.size), &mut |_, _| Ok(()));
            Ok(same.unwrap_or(false))
        }
        _ => Ok(left.rdev == right.rdev),
    }
}
