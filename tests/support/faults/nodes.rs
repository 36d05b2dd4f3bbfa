//! The inodes and open files the kernel knows of. An inode is held by a descriptor, never by a path: it stays itself
//! when it is renamed, and trees deeper than `PATH_MAX` work.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

/// An inode, with the name it was last found by.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) name: Arc<[u8]>,
}

impl Node {
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        fstat(&*self.fd)
    }

    /// A path to this very inode, for the calls that take no descriptor of this kind.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd())
    }

    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(CWD, &*self.path(), flags | OFlags::CLOEXEC, Mode::empty())
    }
}

/// One entry of a directory: number, type, name.
pub(super) type Listed = (u64, fuser::FileType, Vec<u8>);

/// An open file, or an open directory with its listing as it was when reading began.
pub(super) struct Handle {
    pub(super) file: File,
    pub(super) name: Arc<[u8]>,
    pub(super) listing: Mutex<Vec<Listed>>,
}

#[derive(Default)]
struct Tables {
    nodes: HashMap<u64, (Node, u64)>,
    handles: HashMap<u64, Arc<Handle>>,
    last_handle: u64,
}

pub(super) struct Nodes {
    tables: Mutex<Tables>,
    root: (u64, u64),
}

/// The number of the root inode in FUSE.
const ROOT: u64 = 1;

impl Nodes {
    pub(super) fn new(root: OwnedFd) -> Self {
        let stat = fstat(&root).unwrap();
        let node = Node { fd: Arc::new(root), name: Arc::from(&b""[..]) };
        let mut tables = Tables::default();
        tables.nodes.insert(ROOT, (node, 1));
        Self { tables: Mutex::new(tables), root: (stat.st_dev, stat.st_ino) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number an inode of the backing file system has here.
    pub(super) fn number(&self, ino: u64) -> u64 {
        if ino == self.root.1 { ROOT } else { ino }
    }

    pub(super) fn get(&self, ino: u64) -> Result<Node, Errno> {
        self.lock().nodes.get(&ino).map(|(node, _)| node.clone()).ok_or(Errno::STALE)
    }

    /// Finds an entry; the kernel then knows it once more.
    pub(super) fn find(&self, dir: &Node, name: &[u8]) -> Result<(u64, Stat), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&*dir.fd, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        if stat.st_dev != self.root.0 {
            return Err(Errno::XDEV);
        }
        let number = self.number(stat.st_ino);
        let node = Node { fd: Arc::new(fd), name: Arc::from(name) };
        let mut tables = self.lock();
        let known = tables.nodes.entry(number).or_insert((node.clone(), 0));
        known.0.name = node.name;
        known.1 += 1;
        Ok((number, stat))
    }

    pub(super) fn forget(&self, ino: u64, times: u64) {
        let mut tables = self.lock();
        let Some((_, known)) = tables.nodes.get_mut(&ino) else { return };
        *known = known.saturating_sub(times);
        if *known == 0 && ino != ROOT {
            tables.nodes.remove(&ino);
        }
    }

    pub(super) fn keep(&self, file: OwnedFd, name: Arc<[u8]>) -> u64 {
        let mut tables = self.lock();
        tables.last_handle += 1;
        let number = tables.last_handle;
        let handle = Handle { file: File::from(file), name, listing: Mutex::default() };
        tables.handles.insert(number, Arc::new(handle));
        number
    }

    pub(super) fn handle(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.lock().handles.get(&number).cloned().ok_or(Errno::BADF)
    }

    pub(super) fn close(&self, number: u64) {
        self.lock().handles.remove(&number);
    }
}
