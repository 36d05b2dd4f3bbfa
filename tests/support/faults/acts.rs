//! What a call does to the backing directory: the faults first, then the same call one floor down.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fuser::{INodeNo, Request, TimeOrNow};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat,
    ftruncate, openat, utimensat,
};
use rustix::io::Errno;

use super::super::fuse as convert;
use super::nodes::{Listed, Node, Nodes};
use super::{Faults, Op, Shared, bytes};

pub(super) struct Pass {
    pub(super) nodes: Nodes,
    shared: Arc<Mutex<Shared>>,
}

impl Pass {
    pub(super) fn over(backing: &Path, shared: Arc<Mutex<Shared>>) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self { nodes: Nodes::new(openat(CWD, backing, flags, Mode::empty()).unwrap()), shared }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults<T>(&self, look: impl FnOnce(&Faults) -> T) -> T {
        look(&self.lock().faults)
    }

    /// Every call passes here: it waits, or fails, as the test wants it to.
    pub(super) fn gate(&self, op: Op, name: &[u8]) -> Result<(), Errno> {
        self.gate_range(op, name, 0, 0).map(|_| ())
    }

    pub(super) fn gate_range(&self, op: Op, name: &[u8], at: u64, len: usize) -> Result<usize, Errno> {
        let delay = self.faults(|faults| faults.delay);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        self.lock().allow(op, name, at, len)
    }

    /// Refuses with `errno` if the file system is `without` something at the moment.
    pub(super) fn refuse(&self, without: impl FnOnce(&Faults) -> bool, errno: Errno) -> Result<(), Errno> {
        if self.faults(without) { self.lock().hit(errno) } else { Ok(()) }
    }

    pub(super) fn attr(&self, number: u64, stat: &Stat) -> fuser::FileAttr {
        convert::attr(number, stat, self.faults(|faults| faults.time_step))
    }

    pub(super) fn entry(&self, dir: &Node, name: &OsStr) -> Result<fuser::FileAttr, Errno> {
        let (number, stat) = self.nodes.find(dir, bytes(name))?;
        Ok(self.attr(number, &stat))
    }

    /// Makes a new entry and gives it the owner and mode it would have had, had the caller made it.
    pub(super) fn make(
        &self,
        request: &Request,
        dir: INodeNo,
        name: &OsStr,
        mode: Option<(u32, u32)>,
        call: impl FnOnce(&Node, Mode) -> Result<(), Errno>,
    ) -> Result<(Node, fuser::FileAttr), Errno> {
        self.gate(Op::Create, bytes(name))?;
        let dir = self.nodes.get(dir.0)?;
        let inherits = rustix::fs::getxattr_query(&*dir.path(), "system.posix_acl_default").is_ok();
        let (bits, umask) = mode.unwrap_or((0o777, 0));
        let wanted = if inherits { bits & 0o7777 } else { bits & 0o7777 & !umask };
        call(&dir, Mode::from_raw_mode(wanted))?;
        let (number, made) = self.nodes.find(&dir, bytes(name))?;
        let node = self.nodes.get(number)?;
        let squash = self.faults(|faults| faults.squash);
        let of_group = dir.stat()?.st_mode & 0o2000 != 0;
        let uid = Uid::from_raw(squash.unwrap_or(request.uid()));
        let gid = (!of_group || squash.is_some()).then(|| Gid::from_raw(squash.unwrap_or(request.gid())));
        chownat(&*node.fd, "", Some(uid), gid, AtFlags::EMPTY_PATH)?;
        if mode.is_some() && !inherits {
            let group_bit =
                if FileType::from_raw_mode(made.st_mode) == FileType::Directory { made.st_mode & 0o2000 } else { 0 };
            chmodat(CWD, &*node.path(), Mode::from_raw_mode(wanted | group_bit), AtFlags::empty())?;
        }
        let attr = self.attr(number, &node.stat()?);
        Ok((node, attr))
    }

    pub(super) fn change(&self, node: &Node, wanted: &Change) -> Result<Stat, Errno> {
        self.gate(Op::Setattr, &node.name)?;
        let path = node.path();
        if let Some(size) = wanted.size {
            match wanted.handle {
                Some(handle) => ftruncate(&self.nodes.handle(handle)?.file, size)?,
                None => ftruncate(node.open(OFlags::WRONLY)?, size)?,
            }
        }
        if wanted.uid.is_some() || wanted.gid.is_some() {
            self.refuse(|faults| faults.no_owners || faults.squash.is_some(), Errno::PERM)?;
            let (uid, gid) = (wanted.uid.map(Uid::from_raw), wanted.gid.map(Gid::from_raw));
            chownat(&*node.fd, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = wanted.mode {
            chmodat(CWD, &*path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        if wanted.atime.is_some() || wanted.mtime.is_some() {
            let step = self.faults(|faults| faults.time_step);
            self.lock().hits += u64::from(step.is_some());
            let time = |time: Option<TimeOrNow>| {
                time.map_or(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, |time| convert::timespec(time, step))
            };
            let both = Timestamps { last_access: time(wanted.atime), last_modification: time(wanted.mtime) };
            utimensat(CWD, &*path, &both, AtFlags::empty())?;
        }
        node.stat()
    }

    pub(super) fn open_file(&self, node: &Node, flags: i32) -> Result<u64, Errno> {
        self.gate(Op::Open, &node.name)?;
        // The kernel truncates by itself, gives each write its offset, and has resolved the name.
        let access = OFlags::from_bits_retain(flags.cast_unsigned()) & (OFlags::RDONLY | OFlags::WRONLY | OFlags::RDWR);
        Ok(self.nodes.keep(node.open(access)?, node.name.clone()))
    }

    pub(super) fn listing(&self, ino: INodeNo, handle: u64) -> Result<Vec<Listed>, Errno> {
        let handle = self.nodes.handle(handle)?;
        self.gate(Op::Readdir, &handle.name)?;
        let mut all = Vec::new();
        for item in Dir::read_from(&handle.file)? {
            let item = item?;
            let name = item.file_name().to_bytes().to_vec();
            let number = if name == b"." || name == b".." { ino.0 } else { self.nodes.number(item.ino()) };
            all.push((number, convert::kind(item.file_type()), name));
        }
        Ok(all)
    }
}

/// What a `setattr` asks for.
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
    pub(super) handle: Option<u64>,
}
