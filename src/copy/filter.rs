//! Which names of one directory take part: not the tool's, not the file system's, not what the user leaves out.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use super::dir::Dir;
use super::end::End;
use super::exclude::Exclude;
use super::names;
use super::sys::{Kind, Meta};

/// The filter of one directory.
pub(super) struct Filter<'f> {
    exclude: &'f Exclude,
    is_root: bool,
    /// The directory's path, and behind it the name last asked for.
    path: Vec<u8>,
    base: usize,
    dirs: [Option<(End<'f>, Option<&'f Meta>)>; 2],
}

impl<'f> Filter<'f> {
    pub(super) fn new(
        exclude: &'f Exclude,
        dir: &'f Dir,
        left: Option<End<'f>>,
        right: Option<BorrowedFd<'f>>,
    ) -> Self {
        let mut path = if exclude.is_empty() { Vec::new() } else { dir.path() };
        if !path.is_empty() {
            path.push(b'/');
        }
        let right = right.map(|fd| (End::Here(fd), dir.right.as_ref()));
        let dirs = [left.map(|left| (left, dir.left.as_ref())), right];
        Self { exclude, is_root: dir.parent.is_none(), base: path.len(), path, dirs }
    }

    /// Whether the name belongs to the tool or to a file system.
    pub(super) fn special(&self, name: &CStr, kind: Kind) -> bool {
        self.dirs.iter().flatten().any(|side| names::is_special(name, kind, self.is_root, &[*side]))
    }

    /// Whether the user wants the name left out.
    pub(super) fn excluded(&mut self, name: &CStr, kind: Kind) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        self.path.truncate(self.base);
        self.path.extend_from_slice(name.to_bytes());
        self.exclude.matches(&self.path, kind == Kind::Dir)
    }

    /// Whether the name takes part.
    pub(super) fn keeps(&mut self, name: &CStr, kind: Kind) -> bool {
        !self.special(name, kind) && !self.excluded(name, kind)
    }
}
