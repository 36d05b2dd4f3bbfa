//! The inodes and open files the kernel knows of. A directory is held by a descriptor; anything else by its names in
//! held directories, so that a big tree does not need a descriptor for each of its files.
//!
//! Numbers are those of the backing file system: the same file has the same number in every mount of the same tree. A
//! number that was freed and given again gets a new generation, by which the kernel tells the two apart.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::Generation;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// Where an inode is found: a name in a directory, for a directory `.` in itself.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dir: Arc<OwnedFd>,
    /// Its number.
    dir_ino: u64,
    pub(super) name: Vec<u8>,
}

impl Place {
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        statat(&*self.dir, &*self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(&*self.dir, &*self.name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// A path, for the calls that take no descriptor.
    pub(super) fn path(&self) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(&self.name);
        path
    }

    fn is(&self, other: &Self) -> bool {
        self.dir_ino == other.dir_ino && self.name == other.name
    }
}

/// A name in a directory as it was when reading began.
pub(super) type Listed = (u64, Vec<u8>);

/// An open file, or an open directory with its listing.
pub(super) struct Handle {
    pub(super) file: File,
    pub(super) listing: Mutex<Vec<Listed>>,
}

/// An inode the kernel holds.
#[derive(Default)]
struct Known {
    times: u64,
    /// Of a directory, itself.
    dir: Option<Arc<OwnedFd>>,
    /// Of anything else, the names it was found by.
    names: Vec<Place>,
}

#[derive(Default)]
struct Tables {
    known: HashMap<u64, Known>,
    /// How often a number was freed.
    generations: HashMap<u64, u64>,
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
    pub(super) fn new(root: OwnedFd) -> Result<Self, Errno> {
        let stat = fstat(&root)?;
        let mut tables = Tables::default();
        tables.known.insert(ROOT, Known { times: 1, dir: Some(Arc::new(root)), names: Vec::new() });
        Ok(Self { tables: Mutex::new(tables), root: (stat.st_dev, stat.st_ino) })
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number an inode of the backing file system has here.
    pub(super) fn number(&self, ino: u64) -> u64 {
        if ino == self.root.1 { ROOT } else { ino }
    }

    pub(super) fn place(&self, ino: u64) -> Result<Place, Errno> {
        let tables = self.lock();
        let known = tables.known.get(&ino).ok_or(Errno::STALE)?;
        match &known.dir {
            Some(dir) => Ok(Place { dir: dir.clone(), dir_ino: ino, name: b".".to_vec() }),
            None => known.names.last().cloned().ok_or(Errno::STALE),
        }
    }

    /// A name in a directory.
    pub(super) fn name_in(&self, dir_ino: u64, name: &[u8]) -> Result<Place, Errno> {
        let tables = self.lock();
        let dir = tables.known.get(&dir_ino).and_then(|known| known.dir.clone()).ok_or(Errno::STALE)?;
        Ok(Place { dir, dir_ino, name: name.to_vec() })
    }

    /// The kernel is told of an inode once more.
    pub(super) fn found(&self, place: &Place, stat: &Stat) -> Result<(u64, Generation), Errno> {
        if stat.st_dev != self.root.0 {
            return Err(Errno::XDEV);
        }
        let ino = self.number(stat.st_ino);
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let held = is_dir && self.lock().known.get(&ino).is_some_and(|known| known.dir.is_some());
        let dir = if is_dir && !held { Some(place.open(OFlags::PATH | OFlags::DIRECTORY)?) } else { None };
        let mut tables = self.lock();
        let generation = tables.generations.get(&ino).copied().unwrap_or(0);
        let known = tables.known.entry(ino).or_default();
        known.times += 1;
        if is_dir {
            known.dir = known.dir.take().or(dir.map(Arc::new));
        } else if !known.names.iter().any(|name| name.is(place)) {
            known.names.push(place.clone());
        }
        Ok((ino, Generation(generation)))
    }

    pub(super) fn generation(&self, ino: u64) -> Generation {
        Generation(self.lock().generations.get(&ino).copied().unwrap_or(0))
    }

    /// A name is gone, and with its last name the inode.
    pub(super) fn lost(&self, place: &Place, was: &Stat) {
        let ino = self.number(was.st_ino);
        let is_dir = FileType::from_raw_mode(was.st_mode) == FileType::Directory;
        let mut tables = self.lock();
        if let Some(known) = tables.known.get_mut(&ino) {
            known.names.retain(|name| !name.is(place));
            if is_dir {
                known.dir = None;
            }
        }
        if is_dir || was.st_nlink <= 1 {
            *tables.generations.entry(ino).or_default() += 1;
        }
    }

    /// An inode has another name instead of one it had.
    pub(super) fn moved(&self, from: &Place, to: &Place, was: &Stat) {
        let mut tables = self.lock();
        if let Some(known) = tables.known.get_mut(&self.number(was.st_ino)) {
            for name in &mut known.names {
                if name.is(from) {
                    name.clone_from(to);
                }
            }
        }
    }

    pub(super) fn forget(&self, ino: u64, times: u64) {
        let mut tables = self.lock();
        let Some(known) = tables.known.get_mut(&ino) else { return };
        known.times = known.times.saturating_sub(times);
        if known.times == 0 && ino != ROOT {
            tables.known.remove(&ino);
        }
    }

    pub(super) fn keep(&self, file: OwnedFd) -> u64 {
        let mut tables = self.lock();
        tables.last_handle += 1;
        let number = tables.last_handle;
        tables.handles.insert(number, Arc::new(Handle { file: File::from(file), listing: Mutex::default() }));
        number
    }

    pub(super) fn handle(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.lock().handles.get(&number).cloned().ok_or(Errno::BADF)
    }

    pub(super) fn close(&self, number: u64) {
        self.lock().handles.remove(&number);
    }
}
