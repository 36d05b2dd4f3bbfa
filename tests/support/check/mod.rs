//! The checker: do two trees hold the same, in every property a migration must keep?
//!
//! It shares nothing with the engine it judges: its own walk (recursive, one directory at a time, sorted names), its own
//! comparison of content and holes, its own bookkeeping of hard links. Slow and plain on purpose.

mod entry;
mod selftest;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};

use entry::Entry;
pub(crate) use snapshot::Snapshot;

/// One property of one path in which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Path below the roots; empty for the roots themselves.
    pub(crate) path: Vec<u8>,
    /// `missing`, `extra`, `type`, `owner`, `mode`, `mtime`, `size`, `content`, `link-target`, `device`, `xattr`, `acl`,
    /// `capability`, `hardlink`, `holes`.
    pub(crate) property: &'static str,
    /// Both values.
    pub(crate) detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = OsStr::from_bytes(&self.path);
        match self.path.len() {
            0..400 => write!(f, "{:<11} {path:?}: {}", self.property, self.detail),
            long => {
                let end = OsStr::from_bytes(&self.path[long - 60..]);
                write!(f, "{:<11} …{end:?} ({long} bytes): {}", self.property, self.detail)
            }
        }
    }
}

/// What is compared; by default everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    ignored: BTreeSet<&'static str>,
    time_step: u64,
    not_at_root: BTreeSet<Vec<u8>>,
    left_out: BTreeSet<Vec<u8>>,
    set_id_may_go: bool,
}

impl Check {
    pub(crate) fn new() -> Self {
        Self { time_step: 1, ..Self::default() }
    }

    /// Does not look at a property (see [`Difference::property`]).
    #[must_use]
    pub(crate) fn ignoring(mut self, property: &'static str) -> Self {
        self.ignored.insert(property);
        self
    }

    /// Times need only agree after rounding down to this many nanoseconds.
    #[must_use]
    pub(crate) fn time_step(mut self, nanoseconds: u64) -> Self {
        self.time_step = nanoseconds;
        self
    }

    /// Where the owners differ, the right to become that owner (setuid, setgid, capabilities) need not be there: it
    /// would be given to somebody else.
    #[must_use]
    pub(crate) fn set_id_may_go_with_the_owner(mut self) -> Self {
        self.set_id_may_go = true;
        self
    }

    /// Leaves out an entry of the root directory, on both sides.
    #[must_use]
    pub(crate) fn except_at_root(mut self, name: &str) -> Self {
        self.not_at_root.insert(name.into());
        self
    }

    /// Leaves out one path below the roots and what is in it, on both sides.
    #[must_use]
    pub(crate) fn except(mut self, path: impl AsRef<[u8]>) -> Self {
        self.left_out.insert(path.as_ref().to_vec());
        self
    }

    /// All differences between two trees.
    pub(crate) fn differences(&self, left: &Path, right: &Path) -> Vec<Difference> {
        let mut walk = Walk { check: self, found: Vec::new(), groups: Groups::default(), compared: 0 };
        let [left_root, right_root] = [left, right].map(|root| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, root, flags, Mode::empty()).unwrap_or_else(|error| panic!("open {}: {error}", root.display()))
        });
        walk.pair(Entry::of(left_root), Entry::of(right_root), &[]);
        walk.found
    }

    /// # Panics
    /// With every difference found (the first forty in full).
    #[track_caller]
    pub(crate) fn assert_same(&self, left: &Path, right: &Path) {
        let found = self.differences(left, right);
        let text: Vec<_> = found.iter().take(40).map(ToString::to_string).collect();
        assert!(
            found.is_empty(),
            "{} differences between {} and {}:\n{}",
            found.len(),
            left.display(),
            right.display(),
            text.join("\n")
        );
    }
}

/// Two trees hold the same in every property.
///
/// # Panics
/// With every difference found.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    Check::new().assert_same(left, right);
}

/// Device and inode.
type Id = (u64, u64);

/// Which file of one side is which of the other, and the path that said so first.
#[derive(Default)]
struct Groups {
    right_of: HashMap<Id, (Id, Vec<u8>)>,
    left_of: HashMap<Id, (Id, Vec<u8>)>,
}

struct Walk<'c> {
    check: &'c Check,
    found: Vec<Difference>,
    groups: Groups,
    compared: u64,
}

impl Walk<'_> {
    fn differ(&mut self, path: &[u8], property: &'static str, detail: String) {
        if !self.check.ignored.contains(property) {
            self.found.push(Difference { path: path.to_vec(), property, detail });
        }
    }

    fn unequal<T: PartialEq + fmt::Debug>(&mut self, path: &[u8], property: &'static str, left: &T, right: &T) {
        if left != right {
            self.differ(path, property, format!("{left:?} ≠ {right:?}"));
        }
    }

    fn pair(&mut self, left: Entry, right: Entry, path: &[u8]) {
        self.compared += 1;
        if left.kind() != right.kind() {
            self.differ(path, "type", format!("{:?} ≠ {:?}", left.kind(), right.kind()));
            return;
        }
        self.unequal(path, "owner", &left.owner(), &right.owner());
        let stranger = self.check.set_id_may_go && left.owner() != right.owner();
        if left.kind() != FileType::Symlink {
            let lost = if stranger { left.mode() & !right.mode() & 0o6000 } else { 0 };
            self.unequal(path, "mode", &Octal(left.mode() & !lost), &Octal(right.mode()));
        }
        self.unequal(path, "mtime", &left.mtime(self.check.time_step), &right.mtime(self.check.time_step));
        self.attributes(path, &left, &right, stranger);
        match left.kind() {
            FileType::Directory => self.directories(path, &left, &right),
            FileType::RegularFile => {
                self.same_file(path, &left, &right);
                self.contents(path, &left, &right);
            }
            FileType::Symlink => {
                self.same_file(path, &left, &right);
                self.unequal(path, "link-target", &left.target(), &right.target());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.same_file(path, &left, &right);
                self.unequal(path, "device", &left.device(), &right.device());
            }
            _ => self.same_file(path, &left, &right),
        }
    }

    fn directories(&mut self, path: &[u8], left: &Entry, right: &Entry) {
        let mut names: BTreeMap<Vec<u8>, [bool; 2]> = BTreeMap::new();
        let dirs = [left.open_dir(), right.open_dir()];
        for (side, dir) in dirs.iter().enumerate() {
            for name in list(dir) {
                names.entry(name).or_default()[side] = true;
            }
        }
        for (name, sides) in names {
            let mut inner = path.to_vec();
            if !inner.is_empty() {
                inner.push(b'/');
            }
            inner.extend_from_slice(&name);
            let at_root = path.is_empty() && self.check.not_at_root.contains(&name);
            if at_root || self.check.left_out.contains(&inner) {
                continue;
            }
            match sides {
                [true, true] => {
                    let [left, right] = [&dirs[0], &dirs[1]].map(|dir| Entry::at(dir.as_fd(), &name));
                    self.pair(left, right, &inner);
                }
                [true, false] => self.differ(&inner, "missing", "only on the left".into()),
                _ => self.differ(&inner, "extra", "only on the right".into()),
            }
        }
    }

    /// Names of one file on one side must be names of one file on the other, and of no more than that.
    fn same_file(&mut self, path: &[u8], left: &Entry, right: &Entry) {
        let (left, right) = (left.id(), right.id());
        let (expected, first) = self.groups.right_of.entry(left).or_insert_with(|| (right, path.to_vec())).clone();
        if expected != right {
            let first = OsStr::from_bytes(&first).to_owned();
            self.differ(path, "hardlink", format!("is {first:?} on the left, another file on the right"));
        }
        let (expected, first) = self.groups.left_of.entry(right).or_insert_with(|| (left, path.to_vec())).clone();
        if expected != left {
            let first = OsStr::from_bytes(&first).to_owned();
            self.differ(path, "hardlink", format!("is {first:?} on the right, another file on the left"));
        }
    }

    fn contents(&mut self, path: &[u8], left: &Entry, right: &Entry) {
        if left.size() != right.size() {
            self.differ(path, "size", format!("{} ≠ {}", left.size(), right.size()));
            return;
        }
        if let Some(at) = entry::first_unequal(left, right) {
            self.differ(path, "content", format!("from byte {at} on"));
        }
        let (here, there) = (left.allocated(), right.allocated());
        // Rounding differs between file systems; a hole that was filled is far above this.
        let slack = 256 * 1024 + here / 8;
        if here < left.size() && there > here + slack {
            self.differ(path, "holes", format!("{here} bytes on disk became {there}, of {}", left.size()));
        }
    }

    fn attributes(&mut self, path: &[u8], left: &Entry, right: &Entry, stranger: bool) {
        let (left, right) = (left.attributes(), right.attributes());
        let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for name in names {
            let (here, there) = (left.get(name), right.get(name));
            let given_up = stranger && there.is_none() && name == b"security.capability";
            if here != there && !given_up {
                let property = match name.as_slice() {
                    b"security.capability" => "capability",
                    name if name.starts_with(b"system.posix_acl_") => "acl",
                    _ => "xattr",
                };
                let name = OsStr::from_bytes(name);
                self.differ(path, property, format!("{name:?}: {} ≠ {}", shown(here), shown(there)));
            }
        }
    }
}

/// A value of an attribute, as much of it as helps.
fn shown(value: Option<&Vec<u8>>) -> String {
    match value {
        None => "none".into(),
        Some(value) if value.len() <= 48 => format!("{:?}", OsStr::from_bytes(value)),
        Some(value) => format!("{:?}… ({} bytes)", OsStr::from_bytes(&value[..32]), value.len()),
    }
}

#[derive(PartialEq)]
struct Octal(u32);

impl fmt::Debug for Octal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// The names in a directory, without `.` and `..`.
fn list(dir: &OwnedFd) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    for item in Dir::read_from(dir).unwrap() {
        let name = item.unwrap().file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names
}
