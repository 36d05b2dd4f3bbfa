//! The requests of the kernel: which cost a round trip, and what is answered when it is over.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, XattrFlags, fallocate, fdatasync, fstatvfs, fsync, lremovexattr, lsetxattr,
    mkdirat, mknodat, readlinkat, symlinkat,
};
use rustix::io::Errno;

use super::super::fuse as convert;
use super::acts::{Attribute, Change, Of, Tree, Wanted, is_dots};
use super::line::Line;
use super::tally::{Kind, Tally};

/// The file system as the kernel sees it.
pub(super) struct Calls {
    tree: Arc<Tree>,
    tally: Arc<Tally>,
    line: Line,
}

/// Files: no request when one is closed.
const FILE: FopenFlags = FopenFlags::FOPEN_NOFLUSH;

/// What a write asks of the kernel's own accord; a network file system is not asked.
const OWN_QUESTION: &[u8] = b"security.capability";

impl Calls {
    pub(super) fn new(tree: Tree, tally: Arc<Tally>, line: Line) -> Self {
        Self { tree: Arc::new(tree), tally, line }
    }

    /// A request that is counted and waits.
    fn paid(&self, kind: Kind, job: impl FnOnce(&Tree) + Send + 'static) {
        self.tally.began(kind);
        let (tree, tally) = (self.tree.clone(), self.tally.clone());
        self.line.wait(move || {
            tally.waited();
            job(&tree);
        });
    }
}

fn fuse(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

fn bytes(name: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec()
}

/// Answers with what was found, or with its error.
macro_rules! answer {
    ($reply:ident, $found:expr, |$good:pat_param| $say:expr) => {{
        let act = || -> Result<_, Errno> { $found };
        match act() {
            Ok($good) => $say,
            Err(errno) => $reply.error(fuse(errno)),
        }
    }};
}

fn say_attribute(reply: ReplyXattr, found: Result<Attribute, Errno>) {
    match found {
        Ok(Attribute::Size(size)) => reply.size(size),
        Ok(Attribute::Value(value)) => reply.data(&value),
        Err(errno) => reply.error(fuse(errno)),
    }
}

impl Filesystem for Calls {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without AUTO every listing brings the attributes; what a name may be is said by this side, mask included.
        let wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_HANDLE_KILLPRIV
            | InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_DONT_MASK;
        config.add_capabilities(wanted).map_err(|lacking| io::Error::other(format!("kernel lacks {lacking:?}")))?;
        let too_few = |least| io::Error::other(format!("fewer than {least} requests in the background"));
        config.set_max_background(1024).map_err(too_few)?;
        config.set_congestion_threshold(900).map_err(too_few)?;
        Ok(())
    }

    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = bytes(name);
        self.paid(Kind::Lookup, move |tree| {
            answer!(reply, tree.lookup(dir.0, &name), |(attr, generation)| reply.entry(&tree.valid, &attr, generation));
        });
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.tree.nodes.forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        self.paid(Kind::Getattr, move |tree| {
            let handle = handle.map(|handle| handle.0);
            answer!(reply, tree.getattr(ino.0, handle), |attr| reply.attr(&tree.valid, &attr));
        });
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
        let change = Change { mode, uid, gid, size, atime, mtime, handle: handle.map(|handle| handle.0) };
        self.paid(Kind::Setattr, move |tree| {
            answer!(reply, tree.setattr(ino.0, &change), |attr| reply.attr(&tree.valid, &attr));
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.paid(Kind::Readlink, move |tree| {
            let read = || {
                let place = tree.nodes.place(ino.0)?;
                readlinkat(&*place.dir, &*place.name, Vec::new())
            };
            answer!(reply, read(), |target| reply.data(target.as_bytes()));
        });
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
        let (name, wanted) = (bytes(name), Wanted::by(request, Some((mode, umask))));
        self.paid(Kind::Mknod, move |tree| {
            let (kind, dev) = (FileType::from_raw_mode(mode), convert::decode_device(rdev));
            let made = tree.make(dir.0, &name, wanted, |at, mode| mknodat(&*at.dir, &*at.name, kind, mode, dev));
            answer!(reply, made, |((), (attr, generation))| reply.entry(&tree.valid, &attr, generation));
        });
    }

    fn mkdir(&self, request: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (name, wanted) = (bytes(name), Wanted::by(request, Some((mode, umask))));
        self.paid(Kind::Mkdir, move |tree| {
            let made = tree.make(dir.0, &name, wanted, |at, mode| mkdirat(&*at.dir, &*at.name, mode));
            answer!(reply, made, |((), (attr, generation))| reply.entry(&tree.valid, &attr, generation));
        });
    }

    fn symlink(&self, request: &Request, dir: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (name, target, wanted) = (bytes(name), target.to_owned(), Wanted::by(request, None));
        self.paid(Kind::Symlink, move |tree| {
            let made = tree.make(dir.0, &name, wanted, |at, _| symlinkat(&target, &*at.dir, &*at.name));
            answer!(reply, made, |((), (attr, generation))| reply.entry(&tree.valid, &attr, generation));
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
        let (name, wanted) = (bytes(name), Wanted::by(request, Some((mode, umask))));
        self.paid(Kind::Create, move |tree| {
            answer!(reply, tree.create(dir.0, &name, wanted, flags), |(handle, (attr, generation))| {
                reply.created(&tree.valid, &attr, generation, FileHandle(handle), FILE);
            });
        });
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = bytes(name);
        self.paid(Kind::Link, move |tree| {
            answer!(reply, tree.link(ino.0, dir.0, &name), |(attr, generation)| {
                reply.entry(&tree.valid, &attr, generation);
            });
        });
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = bytes(name);
        self.paid(Kind::Unlink, move |tree| {
            answer!(reply, tree.remove(dir.0, &name, AtFlags::empty()), |()| reply.ok());
        });
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = bytes(name);
        self.paid(Kind::Rmdir, move |tree| {
            answer!(reply, tree.remove(dir.0, &name, AtFlags::REMOVEDIR), |()| reply.ok());
        });
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
        let (name, new_name) = (bytes(name), bytes(new_name));
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        self.paid(Kind::Rename, move |tree| {
            answer!(reply, tree.rename((dir.0, &name), (new_dir.0, &new_name), flags), |()| reply.ok());
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.paid(Kind::Open, move |tree| {
            answer!(reply, tree.open(ino.0, flags.0), |handle| reply.opened(FileHandle(handle), FILE));
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
        self.paid(Kind::Read, move |tree| {
            answer!(reply, tree.read(handle.0, offset, size), |data| reply.data(&data));
        });
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
        let data = data.to_vec();
        self.paid(Kind::Write, move |tree| {
            answer!(reply, tree.write(handle.0, offset, &data), |written| reply.written(written));
        });
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
        self.tree.nodes.close(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.paid(Kind::Fsync, move |tree| {
            let sync = || {
                let handle = tree.nodes.handle(handle.0)?;
                if data_only { fdatasync(&handle.file) } else { fsync(&handle.file) }
            };
            answer!(reply, sync(), |()| reply.ok());
        });
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        answer!(reply, self.tree.opendir(ino.0), |handle| reply.opened(FileHandle(handle), FopenFlags::empty()));
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        self.paid(Kind::Readdirplus, move |tree| {
            let fill = |reply: &mut ReplyDirectoryPlus| {
                for (at, (number, name)) in (offset + 1..).zip(tree.names(ino.0, handle.0, offset)?) {
                    if !fits(tree, reply, (ino.0, number), at, &name)? {
                        break;
                    }
                }
                Ok(())
            };
            match fill(&mut reply) {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(fuse(errno)),
            }
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.tree.nodes.close(handle.0);
        reply.ok();
    }

    /// Free: every change of a directory is on the server when it is answered.
    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let found = || {
            let s = fstatvfs(&*self.tree.nodes.place(ino.0)?.dir)?;
            let small = |n: u64| u32::try_from(n).map_err(|_| Errno::OVERFLOW);
            let sizes = [small(s.f_bsize)?, small(s.f_namemax)?, small(s.f_frsize)?];
            Ok((s, sizes))
        };
        answer!(reply, found(), |(s, [block, name, fragment])| {
            reply.statfs(s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, block, name, fragment);
        });
    }

    fn setxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, _: u32, reply: ReplyEmpty) {
        let (name, value) = (bytes(name), value.to_vec());
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        self.paid(Kind::Setxattr, move |tree| {
            let set = || lsetxattr(tree.nodes.place(ino.0)?.path(), &*name, &value, flags);
            answer!(reply, set(), |()| reply.ok());
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = bytes(name);
        let free = name == OWN_QUESTION && size == 0;
        let of = Of::Name(name);
        let job = move |tree: &Tree| {
            say_attribute(reply, tree.attribute(ino.0, &of, size));
        };
        if free { job(&self.tree) } else { self.paid(Kind::Getxattr, job) }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.paid(Kind::Listxattr, move |tree| {
            say_attribute(reply, tree.attribute(ino.0, &Of::Names, size));
        });
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = bytes(name);
        self.paid(Kind::Removexattr, move |tree| {
            let remove = || lremovexattr(tree.nodes.place(ino.0)?.path(), &*name);
            answer!(reply, remove(), |()| reply.ok());
        });
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
        self.paid(Kind::Allocate, move |tree| {
            let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
            let allocate = || fallocate(&tree.nodes.handle(handle.0)?.file, mode, offset, length);
            answer!(reply, allocate(), |()| reply.ok());
        });
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.paid(Kind::Seek, move |tree| {
            answer!(reply, tree.seek(handle.0, offset, whence), |at| reply.offset(at));
        });
    }
}

/// Adds one name with its attributes to a listing; false if there is no room for it.
fn fits(
    tree: &Tree,
    reply: &mut ReplyDirectoryPlus,
    (dir, number): (u64, u64),
    at: u64,
    name: &[u8],
) -> Result<bool, Errno> {
    let shown: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
    if is_dots(name) {
        // No attributes of these: the kernel takes number 0 for that, but the listing must hold the true one.
        let attr = tree.getattr(dir, None)?;
        return Ok(!reply.add(INodeNo(0), at, shown, &tree.valid, &attr, Generation(0)));
    }
    let place = tree.nodes.name_in(dir, name)?;
    let stat = match place.stat() {
        Ok(stat) => stat,
        // Gone since the listing was read.
        Err(Errno::NOENT) => return Ok(true),
        Err(errno) => return Err(errno),
    };
    let attr = convert::attr(number, &stat, None);
    let generation = tree.nodes.generation(number);
    if reply.add(attr.ino, at, shown, &tree.valid, &attr, generation) {
        return Ok(false);
    }
    tree.nodes.found(&place, &stat).map(|_| true)
}
