//! The system calls of the engine, in its own words: one stat type, opens that never follow a link, xattrs of any
//! sort of entry.
//!
//! Everything is relative to an open directory. Where Linux has no call for "this name in that directory, not
//! following links" (xattrs, modes of devices), the way leads through `/proc/self/fd/N`, which is resolved to the open
//! descriptor and to nothing else.

pub(super) mod xattr;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::units::Stamp;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    File,
    Dir,
    Link,
    Fifo,
    Socket,
    Char,
    Block,
    /// The file system does not say.
    Unknown,
}

impl Kind {
    pub(super) fn of_type(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::Char,
            FileType::BlockDevice => Self::Block,
            FileType::Unknown => Self::Unknown,
        }
    }

    /// One letter, as `ls` and `find` write it; also the form in records and digests.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::File => b'f',
            Self::Dir => b'd',
            Self::Link => b'l',
            Self::Fifo => b'p',
            Self::Socket => b's',
            Self::Char => b'c',
            Self::Block => b'b',
            Self::Unknown => b'?',
        }
    }

    pub(super) fn from_letter(letter: u8) -> Option<Self> {
        [Self::File, Self::Dir, Self::Link, Self::Fifo, Self::Socket, Self::Char, Self::Block]
            .into_iter()
            .find(|kind| kind.letter() == letter)
    }

    /// The word for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "directory",
            Self::Link => "symbolic link",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::Char => "character device",
            Self::Block => "block device",
            Self::Unknown => "entry of unknown type",
        }
    }

    pub(super) fn is_device(self) -> bool {
        matches!(self, Self::Char | Self::Block)
    }
}

/// The metadata of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub dev: u64,
    pub ino: u64,
    pub mount: u64,
    pub mount_root: bool,
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blocks: u64,
    pub atime: Stamp,
    pub mtime: Stamp,
    pub ctime: Stamp,
    /// When the inode was made, where the file system tells.
    pub born: Option<Stamp>,
}

impl Meta {
    fn of(stat: &Statx) -> Self {
        let stamp = |time: rustix::fs::StatxTimestamp| Stamp { sec: time.tv_sec, nsec: time.tv_nsec };
        let mode = u32::from(stat.stx_mode);
        Self {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            mount: stat.stx_mnt_id,
            mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            kind: Kind::of_type(FileType::from_raw_mode(mode)),
            mode: mode & 0o7777,
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            atime: stamp(stat.stx_atime),
            mtime: stamp(stat.stx_mtime),
            ctime: stamp(stat.stx_ctime),
            born: StatxFlags::from_bits_retain(stat.stx_mask)
                .contains(StatxFlags::BTIME)
                .then(|| stamp(stat.stx_btime)),
        }
    }

    fn of_stat(stat: &rustix::fs::Stat) -> Self {
        let stamp = |sec: i64, nsec| Stamp { sec, nsec: u32::try_from(nsec).unwrap_or_default() };
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            mount: 0,
            mount_root: false,
            kind: Kind::of_type(FileType::from_raw_mode(stat.st_mode)),
            mode: stat.st_mode & 0o7777,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
            atime: stamp(stat.st_atime, stat.st_atime_nsec),
            mtime: stamp(stat.st_mtime, stat.st_mtime_nsec),
            ctime: stamp(stat.st_ctime, stat.st_ctime_nsec),
            born: None,
        }
    }

    /// What identifies the inode.
    pub(super) fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Whether the file's content was the same at both moments, as far as metadata tells.
    pub(super) fn same_state(&self, other: &Self) -> bool {
        self.id() == other.id() && self.size == other.size && self.mtime == other.mtime && self.ctime == other.ctime
    }
}

const MASK: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID).union(StatxFlags::BTIME);

/// The metadata of a name, links not followed, mounts not triggered.
pub(super) fn stat_at(dir: impl AsFd, name: &CStr) -> Result<Meta, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    retry(|| rustix::fs::statx(dir.as_fd(), name, flags, MASK)).map(|stat| Meta::of(&stat))
}

/// As [`stat_at`]; `None` where the name does not exist.
pub(super) fn find_at(dir: impl AsFd, name: &CStr) -> Result<Option<Meta>, Errno> {
    present(stat_at(dir, name))
}

/// `None` where the name does not exist.
pub(super) fn present(found: Result<Meta, Errno>) -> Result<Option<Meta>, Errno> {
    match found {
        Ok(meta) => Ok(Some(meta)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The metadata of what is open.
pub(super) fn stat_fd(fd: impl AsFd) -> Result<Meta, Errno> {
    retry(|| rustix::fs::statx(fd.as_fd(), c"", AtFlags::EMPTY_PATH, MASK)).map(|stat| Meta::of(&stat))
}

/// The metadata of a file that is open, without what matters for directories only (which mount it is on) and without its
/// time of birth: a cheaper call.
pub(super) fn file_fd(fd: impl AsFd) -> Result<Meta, Errno> {
    retry(|| rustix::fs::fstat(fd.as_fd())).map(|stat| Meta::of_stat(&stat))
}

/// The same of what a name stands for, as [`stat_at`].
pub(super) fn look_at(dir: impl AsFd, name: &CStr) -> Result<Meta, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    retry(|| rustix::fs::statat(dir.as_fd(), name, flags)).map(|stat| Meta::of_stat(&stat))
}

/// Size, times of change and identity of what is open, and no time of access: a network file system that has just been
/// read from would have to ask its server for that.
pub(super) fn state_fd(fd: impl AsFd) -> Result<Meta, Errno> {
    let mask = StatxFlags::BASIC_STATS.difference(StatxFlags::ATIME);
    retry(|| rustix::fs::statx(fd.as_fd(), c"", AtFlags::EMPTY_PATH, mask)).map(|stat| Meta::of(&stat))
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// Opens for reading and leaves the access time alone where that is permitted.
fn open_quietly(dir: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = |extra| retry(|| rustix::fs::openat(dir.as_fd(), name, flags | SAFE | extra, Mode::empty()));
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        other => other,
    }
}

/// Opens a directory below `dir`.
pub(super) fn open_dir(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    open_quietly(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a regular file for reading. Should it have become a FIFO meanwhile, the open does not wait for a writer.
pub(super) fn open_read(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    open_quietly(dir, name, OFlags::RDONLY | OFlags::NONBLOCK)
}

/// The mode of a new file that nobody else may read yet.
pub(super) const PRIVATE: u32 = 0o600;

/// Makes a new file. Of `mode` the process's umask, or a default ACL, may take something.
pub(super) fn create(dir: impl AsFd, name: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFE;
    retry(|| rustix::fs::openat(dir.as_fd(), name, flags, Mode::from_raw_mode(mode)))
}

/// Gives this thread a umask of its own, zero, and returns it; where that is not permitted, the process's.
///
/// Modes are then right from the start. The process's own umask is left alone: others make files by it.
pub(super) fn own_umask() -> u32 {
    // SAFETY: only what a thread shares with others of its file system state (umask, working directory, root) is
    // separated; no descriptor becomes invalid, and nothing here goes by the working directory.
    if unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.is_ok() {
        rustix::process::umask(Mode::empty());
        return 0;
    }
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}

/// Opens an existing file for reading and writing.
pub(super) fn open_write(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | SAFE;
    retry(|| rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty()))
}

/// Takes hold of an entry of any type without opening it.
pub(super) fn open_path(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | SAFE;
    retry(|| rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty()))
}

/// Where a link points to.
pub(super) fn read_link(dir: impl AsFd, name: &CStr) -> Result<CString, Errno> {
    rustix::fs::readlinkat(dir.as_fd(), name, Vec::new())
}

/// Removes an entry that is not a directory.
pub(super) fn unlink(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    rustix::fs::unlinkat(dir.as_fd(), name, AtFlags::empty())
}

/// Removes an empty directory.
pub(super) fn rmdir(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    rustix::fs::unlinkat(dir.as_fd(), name, AtFlags::REMOVEDIR)
}

/// Whether an error means that the destination is full.
pub(super) fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT)
}

/// The file system's own way to say "I do not have this".
pub(super) fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY)
}

/// Something whose metadata is read or set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// An open file or directory.
    Fd(BorrowedFd<'a>),
    /// An entry held by `O_PATH`; not a symbolic link.
    Held(BorrowedFd<'a>),
    /// A name; the only way for a symbolic link. Its mode cannot be set.
    Name(BorrowedFd<'a>, &'a CStr),
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Target<'_> {
    /// Its metadata; of what is open without the mount and the time of birth.
    pub(super) fn meta(self) -> Result<Meta, Errno> {
        match self {
            Self::Fd(fd) | Self::Held(fd) => file_fd(fd),
            Self::Name(dir, name) => stat_at(dir, name),
        }
    }

    pub(super) fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Fd(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Held(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
            Self::Name(dir, name) => rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Sets the mode; does nothing for a name, which is a symbolic link and has none.
    pub(super) fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Fd(fd) => rustix::fs::fchmod(fd, mode),
            Self::Held(fd) => rustix::fs::chmod(proc_path(fd), mode),
            Self::Name(..) => Ok(()),
        }
    }

    pub(super) fn set_times(self, atime: Stamp, mtime: Stamp) -> Result<(), Errno> {
        let spec = |stamp: Stamp| Timespec { tv_sec: stamp.sec, tv_nsec: stamp.nsec.into() };
        let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
        match self {
            Self::Fd(fd) => rustix::fs::futimens(fd, &times),
            Self::Held(fd) => rustix::fs::utimensat(rustix::fs::CWD, proc_path(fd), &times, AtFlags::empty()),
            Self::Name(dir, name) => rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }
}

/// Raises the limit of open files to what the process may have, and says what it is now.
pub(super) fn file_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let now = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
        let limit = if raised.is_ok() { now.maximum } else { now.current };
        usize::try_from(limit.unwrap_or(1 << 20)).unwrap_or(1 << 20).min(1 << 20)
    })
}

/// Metadata to test with.
#[cfg(test)]
pub(super) mod sample {
    use super::{Kind, Meta, Stamp};

    pub(in crate::copy) fn meta(kind: Kind) -> Meta {
        let at = |sec| Stamp { sec, nsec: 5 };
        Meta {
            dev: 1,
            ino: 2,
            mount: 0,
            mount_root: false,
            kind,
            mode: 0o644,
            nlink: 1,
            uid: 10,
            gid: 20,
            rdev: 0,
            size: 100,
            blocks: 8,
            atime: at(1),
            mtime: at(2),
            ctime: at(3),
            born: None,
        }
    }
}
