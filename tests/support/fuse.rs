//! Between the kernel's forms of times, types and device numbers and those of the FUSE crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, INodeNo, TimeOrNow};
use rustix::fs::{FileType, Stat, Timespec, UTIME_NOW, major, makedev, minor};

pub(super) fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        _ => fuser::FileType::RegularFile,
    }
}

pub(super) fn attr(ino: u64, stat: &Stat, step: Option<u64>) -> FileAttr {
    let time = |sec: i64, nsec: i64| system_time(round(Timespec { tv_sec: sec, tv_nsec: nsec }, step));
    FileAttr {
        ino: INodeNo(ino),
        size: u64::try_from(stat.st_size).unwrap(),
        blocks: u64::try_from(stat.st_blocks).unwrap(),
        atime: time(stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap()),
        mtime: time(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap()),
        ctime: time(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap()),
        crtime: UNIX_EPOCH,
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap(),
        nlink: u32::try_from(stat.st_nlink).unwrap(),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: encode_device(stat.st_rdev),
        blksize: 4096,
        flags: 0,
    }
}

/// The wire form of a device number: 12 bits of major, 20 of minor.
fn encode_device(dev: u64) -> u32 {
    let (major, minor) = (major(dev), minor(dev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

pub(super) fn decode_device(wire: u32) -> u64 {
    makedev((wire & 0x000f_ff00) >> 8, (wire & 0xff) | ((wire >> 12) & 0x000f_ff00))
}

fn system_time(time: Timespec) -> SystemTime {
    let part = Duration::new(0, u32::try_from(time.tv_nsec).unwrap());
    let seconds = Duration::from_secs(time.tv_sec.unsigned_abs());
    (if time.tv_sec < 0 { UNIX_EPOCH - seconds } else { UNIX_EPOCH + seconds }) + part
}

pub(super) fn timespec(time: TimeOrNow, step: Option<u64>) -> Timespec {
    let time = match time {
        TimeOrNow::Now => return Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        TimeOrNow::SpecificTime(time) => time,
    };
    let exact = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => {
            Timespec { tv_sec: i64::try_from(since.as_secs()).unwrap(), tv_nsec: i64::from(since.subsec_nanos()) }
        }
        // The crate subtracts seconds and nanoseconds both, although nanoseconds count forward from the second: undo
        // it the same way.
        Err(before) => {
            let before = before.duration();
            Timespec { tv_sec: -i64::try_from(before.as_secs()).unwrap(), tv_nsec: i64::from(before.subsec_nanos()) }
        }
    };
    round(exact, step)
}

/// Rounds a time down to a multiple of `step` nanoseconds.
fn round(time: Timespec, step: Option<u64>) -> Timespec {
    let Some(step) = step.map(i128::from) else { return time };
    let exact = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    let down = exact.div_euclid(step) * step;
    let second = i64::try_from(down.div_euclid(1_000_000_000)).unwrap();
    Timespec { tv_sec: second, tv_nsec: i64::try_from(down.rem_euclid(1_000_000_000)).unwrap() }
}
