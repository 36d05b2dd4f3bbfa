//! Entries and the file systems they are in.

use std::ffi::OsStr;
use std::io::Error;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::super::fault::Fault;
use crate::units::Stamp;

/// The metadata of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// `f`ile, `d`irectory, `l`ink, fifo `p`, `s`ocket, `c`haracter or `b`lock device, `?`.
    pub letter: u8,
    /// Permissions with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names it has.
    pub nlink: u64,
    /// Bytes; of a block device too, where it tells.
    pub size: u64,
    /// Number of its device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// The device it stands for.
    pub rdev: u64,
    /// Last change of its content.
    pub mtime: Stamp,
    /// Last change of its inode.
    pub ctime: Stamp,
    /// Where a link leads, raw bytes.
    pub target: Option<Vec<u8>>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, raw bytes.
    pub name: Vec<u8>,
    /// Its metadata; links are not followed.
    pub stat: Stat,
}

/// How full a file system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// The number of its type (`statfs`).
    pub magic: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes this user may still use.
    pub available: u64,
    /// Inodes in all; 0 where they are not limited.
    pub inodes: u64,
    /// Inodes still free.
    pub inodes_free: u64,
    /// Longest name, bytes.
    pub name_max: u64,
    /// Nothing can be written.
    pub read_only: bool,
}

fn path_of(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn of(path: &[u8], meta: &std::fs::Metadata) -> Result<Stat, Error> {
    let kind = meta.file_type();
    let letters = [
        (kind.is_file(), b'f'),
        (kind.is_dir(), b'd'),
        (kind.is_symlink(), b'l'),
        (kind.is_fifo(), b'p'),
        (kind.is_socket(), b's'),
        (kind.is_char_device(), b'c'),
        (kind.is_block_device(), b'b'),
    ];
    let target = kind.is_symlink().then(|| std::fs::read_link(path_of(path))).transpose()?;
    let stamp = |sec, nsec| Stamp { sec, nsec: u32::try_from(nsec).unwrap_or(0) };
    Ok(Stat {
        letter: letters.iter().find(|(is, _)| *is).map_or(b'?', |(_, letter)| *letter),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        nlink: meta.nlink(),
        size: meta.size(),
        dev: meta.dev(),
        ino: meta.ino(),
        rdev: meta.rdev(),
        mtime: stamp(meta.mtime(), meta.mtime_nsec()),
        ctime: stamp(meta.ctime(), meta.ctime_nsec()),
        target: target.map(|target| target.into_os_string().into_vec()),
    })
}

/// The metadata of what `path` leads to.
///
/// # Errors
/// [`Fault`] if it cannot be had.
pub fn stat(path: &[u8]) -> Result<Stat, Fault> {
    std::fs::metadata(path_of(path)).and_then(|meta| of(path, &meta)).map_err(Fault::io("stat", path))
}

/// The metadata of `path` itself, a link not followed.
///
/// # Errors
/// [`Fault`] if it cannot be had.
pub fn lstat(path: &[u8]) -> Result<Stat, Fault> {
    std::fs::symlink_metadata(path_of(path)).and_then(|meta| of(path, &meta)).map_err(Fault::io("stat", path))
}

/// Calls `each` for every entry of a directory, in no order. What vanishes meanwhile is left out.
///
/// # Errors
/// [`Fault`] if the directory or one of its entries cannot be read; what `each` returns.
pub fn list<E: From<Fault>>(path: &[u8], each: &mut dyn FnMut(Entry) -> Result<(), E>) -> Result<(), E> {
    for item in std::fs::read_dir(path_of(path)).map_err(Fault::io("open", path))? {
        let item = item.map_err(Fault::io("read", path))?;
        match lstat(item.path().as_os_str().as_bytes()) {
            Ok(stat) => each(Entry { name: item.file_name().into_vec(), stat })?,
            Err(fault) if fault.errno == Some(rustix::io::Errno::NOENT.raw_os_error()) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

/// How full the file system of `path` is.
///
/// # Errors
/// [`Fault`] if it cannot be had.
pub fn statfs(path: &[u8]) -> Result<FileSystem, Fault> {
    let failed = |errno: rustix::io::Errno| Fault::io("statfs", path)(errno.into());
    let volume = rustix::fs::statvfs(path_of(path)).map_err(failed)?;
    let magic = rustix::fs::statfs(path_of(path)).map_err(failed)?.f_type;
    Ok(FileSystem {
        magic: magic as u64,
        total: volume.f_blocks.saturating_mul(volume.f_frsize),
        available: volume.f_bavail.saturating_mul(volume.f_frsize),
        inodes: volume.f_files,
        inodes_free: volume.f_favail,
        name_max: volume.f_namemax,
        read_only: volume.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}
