//! Opens the next files of a directory before their turn and asks for their content, while files come from a disk and
//! not from memory: the disk then has several requests at once from one worker.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::Advice;

use super::end::{End, EndFile};
use super::file::Opened;
use super::hand::Hand;
use super::trouble::Trouble;

/// So many files are held open ahead.
const FILES: usize = 8;
/// Of a longer file the kernel's own readahead sees to the rest.
const BYTES: u64 = 1 << 20;

/// Files that were opened ahead, in the order of work.
#[derive(Default)]
pub(super) struct Ahead(VecDeque<(u32, Result<Opened, Trouble>)>);

impl Ahead {
    /// Opens what comes next: `coming` are the items of the files whose turn it will be, the nearest first.
    pub(super) fn fill<'n>(&mut self, left: End<'_>, coming: impl Iterator<Item = (u32, &'n CStr)>) {
        if let End::Far(folder) = left {
            folder.want(coming.map(|(_, name)| name));
            return;
        }
        let last = self.0.back().map(|(item, _)| *item);
        let mut fresh = last.is_none();
        for (item, name) in coming.take(FILES) {
            if fresh {
                let opened = Hand::open_file(left, name);
                if let Ok((EndFile::Here(file), meta)) = &opened {
                    // Only advice: without it the file is read when it is its turn.
                    rustix::fs::fadvise(
                        file.as_fd(),
                        0,
                        std::num::NonZero::new(meta.size.min(BYTES)),
                        Advice::WillNeed,
                    )
                    .ok();
                }
                self.0.push_back((item, opened));
            }
            fresh |= Some(item) == last;
        }
    }

    /// The file that was opened for an item, if there is one.
    pub(super) fn take(&mut self, item: u32) -> Option<Result<Opened, Trouble>> {
        self.0.pop_front_if(|(first, _)| *first == item).map(|(_, opened)| opened)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::ffi::CString;

    #[test]
    fn files_are_opened_once_in_order_and_not_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<CString> = (0..20).map(|at| CString::new(format!("f{at:02}")).unwrap()).collect();
        for (at, name) in names.iter().enumerate().filter(|(at, _)| *at != 3) {
            std::fs::write(dir.path().join(name.to_str().unwrap()), vec![0; at]).unwrap();
        }
        let fd = rustix::fs::open(dir.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        let coming = |from: usize| (from..20).map(|at| (at as u32, names[at].as_c_str()));
        let mut ahead = Ahead::default();
        for at in 0..20 {
            ahead.fill(End::Here(fd.as_fd()), coming(at));
            assert_eq!(ahead.0.len(), FILES.min(20 - at));
            assert!(ahead.take(99).is_none(), "what was not opened");
            let opened = ahead.take(at as u32).unwrap();
            // One that is missing is told when it is its turn, and the others are there all the same.
            assert_eq!(opened.ok().map(|(_, meta)| meta.size), (at != 3).then_some(at as u64));
        }
        assert!(ahead.take(19).is_none());
    }
}
