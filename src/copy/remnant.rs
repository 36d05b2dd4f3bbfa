//! Recognises what a process that died has left under a name that it was about to make, and which was free then: an
//! entry that holds nothing but the beginning of what the source has under the same name, or any in a directory of the
//! run's own in which nobody but us may make one (the source may have changed meanwhile).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::data::Mover;
use super::end::End;
use super::error::Error;
use super::names::split;
use super::sys::{self, Kind, Meta};
use super::undo::Undoing;

/// Whether nobody but `us` may make an entry in a directory. Where an ACL gives somebody the right, the group's bits say
/// so.
pub(super) fn is_ours_alone(dir: &Meta, us: u32) -> bool {
    dir.uid == us && dir.mode & 0o022 == 0
}

impl Undoing<'_> {
    /// Whether a directory was empty when it came into the hands of the run, and only we may make entries in it.
    pub(super) fn vouches(&self, dir: &[u8]) -> Result<bool, Error> {
        let Some(here) = self.here() else { return Ok(false) };
        let meta = sys::stat_fd(here).map_err(Error::io("stat", dir))?;
        if !is_ours_alone(&meta, rustix::process::geteuid().as_raw()) {
            return Ok(false);
        }
        if dir.is_empty() {
            return self.ledger.began_empty();
        }
        let (parent, name) = split(dir);
        let records = self.ledger.load(parent, |found| found == name)?;
        let made = records.made.get(name).is_some_and(|made| (made.kind, made.ino) == (Kind::Dir, meta.ino));
        Ok(made || records.intents.contains(name))
    }

    /// Whether an entry holds nothing but the beginning of what the source has.
    pub(super) fn is_begun(&mut self, dir: &[u8], name: &CStr, meta: &Meta, path: &[u8]) -> Result<bool, Error> {
        if self.ledger.big(path)?.is_some_and(|big| big.ino == meta.ino) {
            return Ok(true);
        }
        let source = self.source_dir(dir);
        Ok(match (&source, self.at.as_ref().and_then(|(_, fd)| fd.as_ref())) {
            (Some(from), Some(to)) => is_remnant(&mut self.mover, from.lend(), to.as_fd(), name, meta),
            _ => false,
        })
    }
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
