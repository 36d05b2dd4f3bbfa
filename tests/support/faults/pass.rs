//! The calls of the kernel, each passed on, each answered.

use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, OFlags, SeekFrom, XattrFlags, fallocate, fdatasync, fstatvfs, fsync,
    linkat, mkdirat, mknodat, openat, readlinkat, renameat_with, seek, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::super::fuse as convert;
use super::acts::{Change, Pass};
use super::nodes::Node;
use super::{Op, bytes};

/// Nothing may be cached: the next call must meet the faults of its own moment.
const NO_CACHE: Duration = Duration::ZERO;

fn fuse(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// Answers with what the body finds, or with its error.
macro_rules! answer {
    ($reply:ident, $body:expr, |$found:pat_param| $good:expr) => {{
        let act = || -> Result<_, Errno> { $body };
        match act() {
            Ok($found) => $good,
            Err(errno) => $reply.error(fuse(errno)),
        }
    }};
}

impl Filesystem for Pass {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = InitFlags::FUSE_POSIX_ACL | InitFlags::FUSE_DONT_MASK | InitFlags::FUSE_PARALLEL_DIROPS;
        config.add_capabilities(wanted).map_err(|lacking| std::io::Error::other(format!("kernel lacks {lacking:?}")))
    }

    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(
            reply,
            {
                self.gate(Op::Lookup, bytes(name))?;
                self.entry(&self.nodes.get(dir.0)?, name)
            },
            |attr| reply.entry(&NO_CACHE, &attr, Generation(0))
        );
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.nodes.forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(
            reply,
            {
                let node = self.nodes.get(ino.0)?;
                self.gate(Op::Getattr, &node.name)?;
                Ok(self.attr(ino.0, &node.stat()?))
            },
            |attr| reply.attr(&NO_CACHE, &attr)
        );
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let wanted = Change { mode, uid, gid, size, atime, mtime, handle: handle.map(|handle| handle.0) };
        answer!(reply, self.change(&self.nodes.get(ino.0)?, &wanted), |stat| {
            reply.attr(&NO_CACHE, &self.attr(ino.0, &stat));
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        answer!(
            reply,
            {
                let node = self.nodes.get(ino.0)?;
                self.gate(Op::Readlink, &node.name)?;
                readlinkat(&*node.fd, "", Vec::new())
            },
            |target| reply.data(target.as_bytes())
        );
    }

    fn mknod(
        &self,
        request: &Request,
        dir: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let kind = FileType::from_raw_mode(mode);
        let call = |dir: &Node, mode| mknodat(&*dir.fd, name, kind, mode, convert::decode_device(rdev));
        answer!(reply, self.make(request, dir, name, Some((mode, umask)), call), |(_, attr)| {
            reply.entry(&NO_CACHE, &attr, Generation(0));
        });
    }

    fn mkdir(&self, request: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let call = |dir: &Node, mode| mkdirat(&*dir.fd, name, mode);
        answer!(reply, self.make(request, dir, name, Some((mode, umask)), call), |(_, attr)| {
            reply.entry(&NO_CACHE, &attr, Generation(0));
        });
    }

    fn symlink(&self, request: &Request, dir: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let call = |dir: &Node, _| symlinkat(target, &*dir.fd, name);
        answer!(reply, self.make(request, dir, name, None, call), |(_, attr)| {
            reply.entry(&NO_CACHE, &attr, Generation(0));
        });
    }

    fn create(
        &self,
        request: &Request,
        dir: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let call = |dir: &Node, mode| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&*dir.fd, name, flags, mode).map(drop)
        };
        answer!(
            reply,
            {
                let (node, attr) = self.make(request, dir, name, Some((mode, umask)), call)?;
                Ok((self.open_file(&node, flags)?, attr))
            },
            |(handle, attr)| {
                reply.created(&NO_CACHE, &attr, Generation(0), FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
            }
        );
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(
            reply,
            {
                self.gate(Op::Remove, bytes(name))?;
                unlinkat(&*self.nodes.get(dir.0)?.fd, name, AtFlags::empty())
            },
            |()| reply.ok()
        );
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(
            reply,
            {
                self.gate(Op::Remove, bytes(name))?;
                unlinkat(&*self.nodes.get(dir.0)?.fd, name, AtFlags::REMOVEDIR)
            },
            |()| reply.ok()
        );
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        new_dir: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer!(
            reply,
            {
                self.gate(Op::Rename, bytes(name))?;
                let (dir, new_dir) = (self.nodes.get(dir.0)?, self.nodes.get(new_dir.0)?);
                let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
                renameat_with(&*dir.fd, name, &*new_dir.fd, new_name, flags)
            },
            |()| reply.ok()
        );
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(
            reply,
            {
                self.gate(Op::Link, bytes(name))?;
                self.refuse(|faults| faults.no_hard_links, Errno::PERM)?;
                let (node, dir) = (self.nodes.get(ino.0)?, self.nodes.get(dir.0)?);
                linkat(CWD, &*node.path(), &*dir.fd, name, AtFlags::SYMLINK_FOLLOW)?;
                self.entry(&dir, name)
            },
            |attr| reply.entry(&NO_CACHE, &attr, Generation(0))
        );
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        answer!(reply, self.open_file(&self.nodes.get(ino.0)?, flags.0), |handle| {
            reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(
            reply,
            {
                let handle = self.nodes.handle(handle.0)?;
                let most = self.gate_range(Op::Read, &handle.name, offset, size as usize)?;
                let mut data = vec![0; most];
                let read = handle.file.read_at(&mut data, offset).map_err(os_error)?;
                data.truncate(read);
                Ok(data)
            },
            |data| reply.data(&data)
        );
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(
            reply,
            {
                let handle = self.nodes.handle(handle.0)?;
                let most = self.gate_range(Op::Write, &handle.name, offset, data.len())?;
                handle.file.write_at(&data[..most], offset).map_err(os_error)
            },
            |written| reply.written(u32::try_from(written).unwrap())
        );
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.nodes.close(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        answer!(
            reply,
            {
                let handle = self.nodes.handle(handle.0)?;
                self.gate(Op::Sync, &handle.name)?;
                if data_only { fdatasync(&handle.file) } else { fsync(&handle.file) }
            },
            |()| reply.ok()
        );
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        answer!(
            reply,
            {
                let node = self.nodes.get(ino.0)?;
                self.gate(Op::Opendir, &node.name)?;
                Ok(self.nodes.keep(node.open(OFlags::DIRECTORY)?, node.name.clone()))
            },
            |handle| reply.opened(FileHandle(handle), FopenFlags::empty())
        );
    }

    fn readdir(&self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        answer!(
            reply,
            {
                let open = self.nodes.handle(handle.0)?;
                let mut listing = open.listing.lock().unwrap_or_else(PoisonError::into_inner);
                if offset == 0 {
                    *listing = self.listing(ino, handle.0)?;
                }
                Ok(listing.iter().skip(usize::try_from(offset).unwrap()).cloned().collect::<Vec<_>>())
            },
            |rest| {
                for (at, (number, kind, name)) in (offset + 1..).zip(rest) {
                    let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&name);
                    if reply.add(INodeNo(number), at, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        );
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.nodes.close(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.fsync(request, ino, handle, data_only, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        answer!(reply, fstatvfs(&*self.nodes.get(1)?.fd), |s| {
            let [block, name, fragment] = [s.f_bsize, s.f_namemax, s.f_frsize].map(|n| u32::try_from(n).unwrap());
            reply.statfs(s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, block, name, fragment);
        });
    }

    fn setxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, _: u32, reply: ReplyEmpty) {
        answer!(
            reply,
            {
                let node = self.nodes.get(ino.0)?;
                self.gate(Op::SetXattr, &node.name)?;
                self.refuse(|faults| faults.no_xattrs, Errno::OPNOTSUPP)?;
                let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
                rustix::fs::setxattr(&*node.path(), name, value, flags)
            },
            |()| reply.ok()
        );
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if bytes(name).starts_with(b"system.posix_acl_") && self.faults(|faults| faults.no_xattrs) {
            // The kernel asks by itself before every access check, and takes no other answer for "none".
            return reply.error(fuser::Errno::ENODATA);
        }
        let read = |path: &str, room: usize| match room {
            0 => Ok((rustix::fs::getxattr_query(path, name)?, Vec::new())),
            _ => filled(room, |value| rustix::fs::getxattr(path, name, value)),
        };
        self.attribute(ino, size, read, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let read = |path: &str, room: usize| match room {
            0 => Ok((rustix::fs::listxattr_query(path)?, Vec::new())),
            _ => filled(room, |names| rustix::fs::listxattr(path, names)),
        };
        self.attribute(ino, size, read, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(
            reply,
            {
                let node = self.nodes.get(ino.0)?;
                self.gate(Op::SetXattr, &node.name)?;
                self.refuse(|faults| faults.no_xattrs, Errno::OPNOTSUPP)?;
                rustix::fs::removexattr(&*node.path(), name)
            },
            |()| reply.ok()
        );
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer!(
            reply,
            {
                let handle = self.nodes.handle(handle.0)?;
                let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
                fallocate(&handle.file, mode, offset, length)
            },
            |()| reply.ok()
        );
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        answer!(
            reply,
            {
                let handle = self.nodes.handle(handle.0)?;
                let at = offset.try_into().map_err(|_| Errno::NXIO);
                let to = match whence {
                    0 => SeekFrom::Start(at?),
                    2 => SeekFrom::End(offset),
                    3 => SeekFrom::Data(at?),
                    4 => SeekFrom::Hole(at?),
                    _ => return Err(Errno::INVAL),
                };
                seek(&handle.file, to)
            },
            |at| reply.offset(i64::try_from(at).unwrap())
        );
    }
}

impl Pass {
    /// One attribute, or the list of their names: the size alone if the kernel gave no room.
    fn attribute(
        &self,
        ino: INodeNo,
        size: u32,
        read: impl FnOnce(&str, usize) -> Result<(usize, Vec<u8>), Errno>,
        reply: ReplyXattr,
    ) {
        answer!(
            reply,
            {
                let node = self.nodes.get(ino.0)?;
                self.gate(Op::GetXattr, &node.name)?;
                self.refuse(|faults| faults.no_xattrs, Errno::OPNOTSUPP)?;
                read(&node.path(), size as usize)
            },
            |(used, value)| if size == 0 { reply.size(u32::try_from(used).unwrap()) } else { reply.data(&value) }
        );
    }
}

fn filled(room: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<(usize, Vec<u8>), Errno> {
    let mut value = vec![0; room];
    let used = fill(&mut value)?;
    value.truncate(used);
    Ok((used, value))
}

fn os_error(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
