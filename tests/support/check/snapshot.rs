//! Everything about a tree at one moment, to show later that nothing in it was touched.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};

use super::entry::Entry;
use super::list;

/// One line for every entry: inode, owner, mode, times (ctime too), size, attributes, target, digest of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<Vec<u8>, String>);

impl Snapshot {
    /// Looks at a tree without access times: reading it is allowed.
    pub(crate) fn of(root: &Path) -> Self {
        Self::take(root, false)
    }

    /// Looks at a tree, access times too: not even reading it is allowed.
    pub(crate) fn with_access_times(root: &Path) -> Self {
        Self::take(root, true)
    }

    fn take(root: &Path, access: bool) -> Self {
        let fd = openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut all = BTreeMap::new();
        visit(&Entry::of(fd), Vec::new(), access, &mut all);
        Self(all)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// # Panics
    /// With every entry that is not as it was.
    #[track_caller]
    pub(crate) fn assert_same(&self, after: &Self) {
        let mut lines = Vec::new();
        for path in self.0.keys().chain(after.0.keys().filter(|path| !self.0.contains_key(*path))) {
            let (before, after) = (self.0.get(path), after.0.get(path));
            if before != after {
                let path = OsStr::from_bytes(path);
                lines.push(format!("{path:?}\n  was {}\n  is  {}", show(before), show(after)));
            }
        }
        assert!(lines.is_empty(), "{} entries were touched:\n{}", lines.len(), lines.join("\n"));
    }
}

fn show(line: Option<&String>) -> &str {
    line.map_or("not there", String::as_str)
}

fn visit(entry: &Entry, path: Vec<u8>, access: bool, all: &mut BTreeMap<Vec<u8>, String>) {
    // Before anything is read: on file systems without O_NOATIME reading moves the clock.
    // There is no way to read a symbolic link that leaves its time alone.
    let atime = (access && entry.kind() != FileType::Symlink).then(|| entry.atime());
    let content = match entry.kind() {
        FileType::RegularFile => {
            let mut hash = blake3::Hasher::new();
            let mut file = entry.open_file();
            // Above this a hash of zeros takes longer than the test is worth; such files are sparse ones.
            if entry.allocated() * 8 >= entry.size() {
                std::io::copy(&mut file, &mut hash).unwrap();
            }
            hash.finalize().to_hex()[..16].to_owned()
        }
        FileType::Symlink => format!("{:?}", entry.target()),
        _ => String::new(),
    };
    let line = format!(
        "{:?} inode {} links {} owner {:?} mode {:04o} mtime {} ctime {:?} atime {atime:?} size {} device {:?} {content} {:02x?}",
        entry.kind(),
        entry.id().1,
        entry.links(),
        entry.owner(),
        entry.mode(),
        entry.mtime(1),
        entry.ctime(),
        entry.size(),
        entry.device(),
        entry.attributes(),
    );
    all.insert(path.clone(), line);
    if entry.kind() == FileType::Directory {
        let dir = entry.open_dir();
        for name in list(&dir) {
            let mut inner = path.clone();
            inner.push(b'/');
            inner.extend_from_slice(&name);
            visit(&Entry::at(dir.as_fd(), &name), inner, access, all);
        }
    }
}
