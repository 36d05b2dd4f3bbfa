//! The floor: a copier that makes only the system calls nobody can avoid, to see how far from that a real one is.
//!
//! It keeps content, owner, mode, times, and with `xattrs` the extended attributes and ACLs of files. It knows no hard
//! links, no holes, no re-sync, and gives up at the first error. The unit of work is a directory, held by descriptors on
//! both sides; threads take directories from one stack.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, Stat, StatxFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::fs::{
    chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mkdirat, openat, readlinkat, statat,
    statx, symlinkat, utimensat,
};
use rustix::io::{Errno, read, write};

use super::{About, Outcome};

/// What is done with each directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Copies into an empty directory.
    Copy { xattrs: bool },
    /// Looks at every entry on both sides, as a re-sync with nothing to do must. `list` reads the destination's directory
    /// first: behind a latency that fills the caches of the kernel.
    Scan { list: bool },
}

/// Does it with so many threads; returns how many entries there were. Files get their modes when they are made, so that
/// the process must have no umask that matters.
pub(crate) fn floor(act: Act, threads: usize, src: &Path, dst: &Path) -> Outcome<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let roots = [src, dst].map(|root| openat(CWD, root, flags, Mode::empty()).at(root));
    let [src, dst] = roots;
    let all = All {
        act,
        src: src?,
        dst: dst?,
        todo: Mutex::new(Todo { dirs: vec![c".".to_owned()], open: 1 }),
        more: Condvar::new(),
        failed: AtomicBool::new(false),
        entries: AtomicU64::new(0),
    };
    let outcome = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(|| all.work())).collect();
        // All are waited for; the first failure is told.
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        ended.into_iter().try_for_each(|end| end.unwrap_or_else(|_| Err("a thread of the floor panicked".into())))
    });
    outcome.map(|()| all.entries.into_inner())
}

/// Directories nobody has begun, and how many are not done.
struct Todo {
    dirs: Vec<CString>,
    open: usize,
}

struct All {
    act: Act,
    src: OwnedFd,
    dst: OwnedFd,
    todo: Mutex<Todo>,
    more: Condvar,
    failed: AtomicBool,
    entries: AtomicU64,
}

/// The directories of one unit of work, and what a thread keeps for itself.
struct Pair<'b> {
    src: OwnedFd,
    dst: OwnedFd,
    buffer: &'b mut [u8],
}

impl All {
    fn work(&self) -> Outcome<()> {
        let mut names = vec![MaybeUninit::uninit(); 256 << 10];
        let mut buffer = vec![0; 1 << 20];
        while let Some(dir) = self.next() {
            let done = self.dir(&dir, &mut names, &mut buffer);
            let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
            todo.open -= 1;
            if done.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            if todo.open == 0 || done.is_err() {
                self.more.notify_all();
            }
            drop(todo);
            done.map_err(|error| format!("{}: {error}", dir.to_string_lossy()))?;
        }
        Ok(())
    }

    fn next(&self) -> Option<CString> {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.failed.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(dir) = todo.dirs.pop() {
                return Some(dir);
            }
            if todo.open == 0 {
                return None;
            }
            todo = self.more.wait(todo).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, dir: CString) {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        todo.dirs.push(dir);
        todo.open += 1;
        drop(todo);
        self.more.notify_one();
    }

    fn dir(&self, path: &CStr, names: &mut [MaybeUninit<u8>], buffer: &mut [u8]) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let src = openat(&self.src, path, flags, Mode::empty())?;
        let dst = openat(&self.dst, path, flags, Mode::empty())?;
        if self.act == (Act::Scan { list: true }) {
            let mut listing = RawDir::new(&dst, &mut *names);
            while let Some(item) = listing.next() {
                item?;
            }
        }
        let mut pair = Pair { src, dst, buffer };
        let source = pair.src.try_clone().map_err(|_| Errno::MFILE)?;
        let mut listing = RawDir::new(&source, names);
        let mut seen = 0;
        while let Some(item) = listing.next() {
            let item = item?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            seen += 1;
            let kind = item.file_type();
            if matches!(self.act, Act::Scan { .. }) {
                pair.look(name)?;
            }
            match (self.act, kind) {
                (_, FileType::Directory) => {
                    if matches!(self.act, Act::Copy { .. }) {
                        mkdirat(&pair.dst, name, Mode::RWXU)?;
                    }
                    self.push(below(path, name));
                }
                (Act::Copy { xattrs }, FileType::RegularFile) => pair.file(name, xattrs)?,
                (Act::Copy { .. }, FileType::Symlink) => pair.link(name)?,
                (Act::Copy { .. }, _) => return Err(Errno::NOTSUP),
                _ => {}
            }
        }
        self.entries.fetch_add(seen, Ordering::Relaxed);
        if matches!(self.act, Act::Copy { .. }) {
            let stat = fstat(&pair.src)?;
            fchown(&pair.dst, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            fchmod(&pair.dst, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            futimens(&pair.dst, &times(&stat))?;
        }
        Ok(())
    }
}

impl Pair<'_> {
    fn file(&mut self, name: &CStr, xattrs: bool) -> Result<(), Errno> {
        let from = openat(&self.src, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&from)?;
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let to = openat(&self.dst, name, create, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        while left > 0 {
            let got = read(&from, &mut *self.buffer)?;
            if got == 0 || write(&to, &self.buffer[..got])? != got {
                return Err(Errno::IO);
            }
            left = left.saturating_sub(got as u64);
        }
        fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        if stat.st_mode & 0o6000 != 0 {
            fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        }
        if xattrs {
            attributes(&from, &to)?;
        }
        futimens(&to, &times(&stat))
    }

    fn link(&self, name: &CStr) -> Result<(), Errno> {
        let target = readlinkat(&self.src, name, Vec::new())?;
        let stat = statat(&self.src, name, AtFlags::SYMLINK_NOFOLLOW)?;
        symlinkat(&target, &self.dst, name)?;
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(&self.dst, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        utimensat(&self.dst, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// An entry that is not there on the other side is another's to miss: this only costs what looking costs.
    fn look(&self, name: &CStr) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let left = statx(&self.src, name, flags, StatxFlags::BASIC_STATS)?;
        let right = statx(&self.dst, name, flags, StatxFlags::BASIC_STATS)?;
        std::hint::black_box(left.stx_size == right.stx_size && left.stx_mtime.tv_sec == right.stx_mtime.tv_sec);
        Ok(())
    }
}

fn attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut names = [0u8; 4096];
    let used = match flistxattr(from, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed?,
    };
    if used == 0 {
        return Ok(());
    }
    let mut value = vec![0u8; 64 << 10];
    for name in names[..used].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let len = fgetxattr(from, name, &mut *value)?;
        fsetxattr(to.as_fd(), name, &value[..len], XattrFlags::empty())?;
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds(stat.st_mtime_nsec) },
    }
}

fn below(dir: &CStr, name: &CStr) -> CString {
    let mut path = dir.to_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    // Neither part has a zero byte in it.
    CString::new(path).unwrap_or_default()
}
