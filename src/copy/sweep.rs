//! Removes the temporary files that a run has left, when it is undone.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::listing::Listing;
use super::names::{self, join};
use super::sys::{self, Kind};
use super::undo::Undoing;

impl Undoing<'_> {
    /// Removes temporary files. One that the source has under the same name is no temporary file.
    pub(super) fn sweep(&mut self, dir: &[u8]) {
        let Some(source) = &self.source else { return };
        let Some(fd) = self.at.as_ref().and_then(|(_, fd)| fd.as_ref()) else { return };
        let mut temps: Vec<CString> = Vec::new();
        let mut listing = Listing::default();
        let mut keep = |name: &CStr, kind| {
            if kind != Kind::Dir && names::is_temp(name.to_bytes()) {
                temps.push(name.to_owned());
            }
            false
        };
        let listed = listing.read(fd.as_fd(), &mut self.buffer, &mut keep);
        let from = source.lend().walk(dir).ok().flatten();
        let mut failed = listed.err().map(|errno| (dir.to_vec(), "list", errno));
        for name in temps {
            let known = from.as_ref().is_some_and(|from| !matches!(from.lend().find(&name), Ok(None)));
            if known {
                continue;
            }
            match sys::unlink(fd, &name) {
                Ok(()) => self.report.removed += 1,
                Err(Errno::NOENT) => {}
                Err(errno) => failed = Some((join(dir, name.to_bytes()), "remove", errno)),
            }
        }
        if let Some((path, op, errno)) = failed {
            self.fail(path, op, errno);
        }
    }
}
