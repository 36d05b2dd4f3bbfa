//! One entry, held by a descriptor that was never opened for reading: looking at it changes nothing.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{CWD, FileType, Mode, OFlags, SeekFrom, Stat, fstat, major, minor, openat, readlinkat, seek};
use rustix::io::Errno;

/// What `statfs` calls XFS.
const XFS: i64 = 0x5846_5342;

pub(crate) struct Entry {
    fd: OwnedFd,
    stat: Stat,
}

impl Entry {
    pub(super) fn of(fd: OwnedFd) -> Self {
        let stat = fstat(&fd).unwrap();
        Self { fd, stat }
    }

    pub(super) fn at(dir: BorrowedFd<'_>, name: &[u8]) -> Self {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, OsStr::from_bytes(name), flags, Mode::empty())
            .unwrap_or_else(|error| panic!("open {:?}: {error}", OsStr::from_bytes(name)));
        Self::of(fd)
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(super) fn owner(&self) -> (u32, u32) {
        (self.stat.st_uid, self.stat.st_gid)
    }

    pub(super) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    pub(super) fn id(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap()
    }

    /// Bytes it takes on disk.
    pub(super) fn allocated(&self) -> u64 {
        u64::try_from(self.stat.st_blocks).unwrap() * 512
    }

    pub(super) fn device(&self) -> (u32, u32) {
        (major(self.stat.st_rdev), minor(self.stat.st_rdev))
    }

    /// Nanoseconds since 1970, rounded down to a multiple of `step`.
    pub(super) fn mtime(&self, step: u64) -> i128 {
        let step = i128::from(step);
        let exact = i128::from(self.stat.st_mtime) * 1_000_000_000 + i128::from(self.stat.st_mtime_nsec);
        exact.div_euclid(step) * step
    }

    pub(super) fn ctime(&self) -> (i64, i64) {
        (self.stat.st_ctime, i64::try_from(self.stat.st_ctime_nsec).unwrap())
    }

    pub(super) fn atime(&self) -> (i64, i64) {
        (self.stat.st_atime, i64::try_from(self.stat.st_atime_nsec).unwrap())
    }

    pub(super) fn links(&self) -> u64 {
        self.stat.st_nlink
    }

    pub(super) fn target(&self) -> CString {
        readlinkat(&self.fd, "", Vec::new()).unwrap()
    }

    pub(super) fn open_dir(&self) -> OwnedFd {
        self.reopen(OFlags::DIRECTORY)
    }

    pub(super) fn open_file(&self) -> File {
        File::from(self.reopen(OFlags::empty()))
    }

    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd())
    }

    /// Opens it for reading; its access time stays where the kernel lets us ask for that.
    fn reopen(&self, flags: OFlags) -> OwnedFd {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let path = self.proc_path();
        openat(CWD, &*path, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| openat(CWD, &*path, flags, Mode::empty()))
            .unwrap()
    }

    /// All extended attributes, ACLs and capabilities among them. A label of SELinux is the machine's, not the data's,
    /// and XFS shows root every ACL a second time under a name of its own: there (and only there) it is no attribute.
    pub(super) fn attributes(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let path = self.proc_path();
        let mut names = vec![0u8; 64 * 1024];
        let used = match rustix::fs::listxattr(&*path, &mut *names) {
            Ok(used) => used,
            Err(Errno::OPNOTSUPP) => 0,
            Err(error) => panic!("listxattr: {error}"),
        };
        let mut out = BTreeMap::new();
        for name in names[..used].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0u8; 64 * 1024];
            let name_text = OsStr::from_bytes(name);
            let used = rustix::fs::getxattr(&*path, name_text, &mut *value)
                .unwrap_or_else(|error| panic!("getxattr {name_text:?}: {error}"));
            value.truncate(used);
            let shadow = name.starts_with(b"trusted.SGI_ACL_") && rustix::fs::fstatfs(&self.fd).unwrap().f_type == XFS;
            if name != b"security.selinux" && !shadow {
                out.insert(name.to_vec(), value);
            }
        }
        out
    }
}

/// The first byte in which two files of the same size differ. Where both have a hole nothing is read.
pub(super) fn first_unequal(left: &Entry, right: &Entry) -> Option<u64> {
    const CHUNK: usize = 256 * 1024;
    let size = left.size();
    let files = [left.open_file(), right.open_file()];
    let mut buffers = [vec![0u8; CHUNK], vec![0u8; CHUNK]];
    let mut at = 0;
    while at < size {
        at = next_data(&files[0], at, size).min(next_data(&files[1], at, size));
        let len = CHUNK.min(usize::try_from(size - at).unwrap_or(CHUNK));
        for (file, buffer) in files.iter().zip(&mut buffers) {
            file.read_exact_at(&mut buffer[..len], at).unwrap();
        }
        if buffers[0][..len] != buffers[1][..len] {
            let inner = (0..len).find(|&i| buffers[0][i] != buffers[1][i]).unwrap();
            return Some(at + inner as u64);
        }
        at += len as u64;
    }
    None
}

/// Where data goes on, from `at`; `size` if there is none.
fn next_data(file: &File, at: u64, size: u64) -> u64 {
    match seek(file, SeekFrom::Data(at)) {
        Ok(next) => next,
        Err(Errno::NXIO) => size,
        Err(_) => at,
    }
}
