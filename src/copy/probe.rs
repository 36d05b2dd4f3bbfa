//! What a destination can hold: tried on an inode without a name, which vanishes by itself, and only where that is not
//! possible or not enough, and is allowed, on a named file that is always removed.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::claim::keeping_times;
use super::error::Error;
use super::identity::open_root;
use super::options::Loss;
use super::report::{Probe, Scan, Shortfall};
use super::sys::xattr::{self, ACL_ACCESS, CAPABILITY};
use super::sys::{self, Target};
use super::trouble::say;
use crate::units::{Bytes, Stamp, show_count};

/// A number that is nobody's on most machines.
const SOMEBODY: u32 = 54_321;

/// Finds out what the directory `dst` can hold. With `named` false no named file is made there, and what cannot be
/// told without one is `None`. Times of `dst` are put back.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::Io`].
pub fn probe(dst: &Path, named: bool) -> Result<Probe, Error> {
    let path = dst.as_os_str().as_bytes();
    let dir = open_root(dst)?;
    let io = |op| Error::io(op, path);
    let volume = rustix::fs::fstatvfs(&dir).map_err(io("statvfs"))?;
    let reason = read_only_reason(&dir, volume.f_flag);
    let mut probe = Probe {
        fs_type: fs_type(&dir).map_err(io("statfs"))?,
        writable: reason.is_none(),
        read_only_reason: reason,
        free_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        free_inodes: (volume.f_files > 0).then_some(volume.f_favail),
        name_max: volume.f_namemax,
        ..Probe::default()
    };
    if !probe.writable {
        return Ok(probe);
    }
    if rustix::process::geteuid().as_raw() != 0 {
        probe.device = Some(false);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(&dir, ".", flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => try_file(dir.as_fd(), &file, &mut probe),
        Err(errno) if sys::is_full(errno) => return Ok(probe),
        // The file system has no such files: a named one has to do.
        Err(_) if named => {
            let name = probe_name("file");
            keeping_times(&dir, || {
                let file = sys::create(&dir, &name, sys::PRIVATE)?;
                try_file(dir.as_fd(), &file, &mut probe);
                sys::unlink(&dir, &name)
            })
            .map_err(io("try a file in"))?;
        }
        Err(_) => {}
    }
    if named {
        keeping_times(&dir, || try_names(dir.as_fd(), &mut probe)).map_err(io("try names in"))?;
    }
    Ok(probe)
}

fn probe_name(what: &str) -> CString {
    let name = format!(".decamp-probe-{what}-{}", rustix::process::getpid().as_raw_nonzero());
    CString::new(name).unwrap_or_default()
}

fn read_only_reason(dir: &OwnedFd, flags: StatVfsMountFlags) -> Option<String> {
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Some("it is mounted read-only".into());
    }
    let access = rustix::fs::accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    access.err().map(|errno| match errno {
        Errno::ACCESS | Errno::PERM => "the user may not write there".into(),
        Errno::ROFS => "its file system is read-only".into(),
        other => say(other),
    })
}

/// The type by the mount table, else the magic number.
fn fs_type(dir: &OwnedFd) -> Result<String, Errno> {
    let mount = sys::stat_fd(dir)?.mount;
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = table.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let number = front.split(' ').next()?.parse::<u64>().ok()?;
        (number == mount).then(|| back.split(' ').next().map(str::to_owned))?
    });
    match found {
        Some(name) => Ok(name),
        None => Ok(format!("{:#x}", rustix::fs::fstatfs(dir)?.f_type)),
    }
}

/// Tries everything that one open file tells.
fn try_file(dir: BorrowedFd<'_>, file: &OwnedFd, probe: &mut Probe) {
    let target = Target::Fd(file.as_fd());
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let Ok(made) = target.meta() else { return };
    if made.uid != us.0 {
        let only_root = us.0 == 0 && owner_of_somebody(dir) == Some(SOMEBODY);
        probe.squash = Some(if only_root { "root" } else { "all" });
    }
    probe.holes = holes(file.as_fd());
    probe.time_ns = time_step(target);
    probe.xattr = verdict(xattr::set(target, c"user.decamp", b"1"));
    probe.acl = verdict(xattr::set(target, ACL_ACCESS, &acl()));
    probe.capability = verdict(xattr::set(target, CAPABILITY, &capability()));
    probe.chown = match target.chown(Some(SOMEBODY), Some(SOMEBODY)) {
        Ok(()) => target.meta().ok().map(|now| (now.uid, now.gid) == (SOMEBODY, SOMEBODY)),
        other => verdict(other),
    };
    if probe.squash.is_some() {
        probe.chown = Some(false);
    }
}

/// Who owns an inode that somebody else makes; `None` if that somebody may make none. The user is changed for one
/// short-lived thread only.
fn owner_of_somebody(dir: BorrowedFd<'_>) -> Option<u32> {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let (root, somebody) = (rustix::process::geteuid(), rustix::process::Uid::from_raw(SOMEBODY));
            rustix::thread::set_thread_res_uid(root, somebody, root).ok()?;
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o600)).ok()?;
            sys::stat_fd(&file).ok().map(|meta| meta.uid)
        });
        made.join().ok().flatten()
    })
}

/// Lack of space or a broken device is no answer.
fn verdict(result: Result<(), Errno>) -> Option<bool> {
    match result {
        Ok(()) => Some(true),
        Err(errno) if sys::is_full(errno) || errno == Errno::IO || errno == Errno::STALE => None,
        Err(_) => Some(false),
    }
}

fn holes(file: BorrowedFd<'_>) -> Option<bool> {
    const SIZE: u64 = 4 << 20;
    rustix::io::pwrite(file, &[1; 4096], SIZE / 2).ok()?;
    rustix::fs::ftruncate(file, SIZE).ok()?;
    rustix::fs::fsync(file).ok()?;
    let meta = sys::stat_fd(file).ok()?;
    Some(meta.blocks.saturating_mul(512) < SIZE / 2)
}

/// The smallest step of a file's time in nanoseconds.
fn time_step(target: Target<'_>) -> Option<u64> {
    // An odd second, and digits that every coarser step would cut.
    let wanted = Stamp { sec: 1_234_567_891, nsec: 123_456_789 };
    target.set_times(wanted, wanted).ok()?;
    let now = target.meta().ok()?.mtime;
    let cut = |step: u32| wanted.nsec - wanted.nsec % step;
    if now.sec != wanted.sec {
        return Some(2_000_000_000);
    }
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
        .into_iter()
        .find(|&step| now.nsec == cut(step))
        .map_or(Some(1_000_000_000), |step| Some(u64::from(step)))
}

/// An ACL with one named user, as the kernel takes it.
fn acl() -> Vec<u8> {
    let nobody = u32::MAX;
    let entries = [(1_u16, 6_u16, nobody), (2, 4, SOMEBODY), (4, 4, nobody), (0x10, 4, nobody), (0x20, 0, nobody)];
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(rights.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

/// The right to bind to low ports, in the second revision of the format.
fn capability() -> Vec<u8> {
    [0x0200_0000_u32, 1 << 10, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Tries what needs names: hard links and devices.
fn try_names(dir: BorrowedFd<'_>, probe: &mut Probe) -> Result<(), Errno> {
    let (one, two, node) = (probe_name("one"), probe_name("two"), probe_name("node"));
    // Left by a process that died and had our number.
    for name in [&one, &two, &node] {
        sys::unlink(dir, name).ok();
    }
    let file = sys::create(dir, &one, sys::PRIVATE)?;
    probe.hardlink = match rustix::fs::linkat(dir, &one, dir, &two, AtFlags::empty()) {
        Ok(()) => sys::stat_fd(&file).ok().map(|meta| meta.nlink == 2),
        other => verdict(other),
    };
    if probe.device.is_none() {
        let null = rustix::fs::makedev(1, 3);
        let made = rustix::fs::mknodat(dir, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o600), null);
        probe.device = verdict(made);
    }
    let mut result = Ok(());
    for name in [&one, &two, &node] {
        match sys::unlink(dir, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => result = Err(errno),
        }
    }
    result
}

/// What the scanned source has and the probed destination cannot hold, in the order of [`Loss`]; what nothing can be
/// accepted for comes first. Room is judged as if the destination held nothing of the source yet. What the probe could
/// not tell is not a shortfall.
#[must_use]
pub fn shortfalls(scan: &Scan, probe: &Probe) -> Vec<Shortfall> {
    let mut found = Vec::new();
    let mut add = |loss, entries: u64, reason: String| {
        if entries > 0 {
            found.push(Shortfall { loss, entries, reason });
        }
    };
    let entries = scan.counts.entries();
    if !probe.writable {
        let reason = probe.read_only_reason.as_deref().unwrap_or("it is not writable");
        add(None, entries.max(1), format!("nothing can be written to the destination: {reason}"));
    }
    let space = if probe.holes == Some(false) { scan.bytes.max(scan.disk_bytes) } else { scan.disk_bytes };
    if space > probe.free_bytes {
        let (needed, free) = (Bytes(space), Bytes(probe.free_bytes));
        add(None, entries, format!("the source takes {needed}, the destination has {free} free"));
    }
    let inodes = entries - scan.hardlinks.min(entries);
    if let Some(free) = probe.free_inodes.filter(|&free| inodes > free) {
        let (needed, free) = (show_count(inodes), show_count(free));
        add(None, entries, format!("the source has {needed} inodes, the destination has {free} free"));
    }
    if probe.name_max > 0 && scan.longest_name > probe.name_max {
        let (needed, most) = (scan.longest_name, probe.name_max);
        add(None, 1, format!("a name of the source has {needed} bytes, the destination takes {most}"));
    }
    if probe.chown == Some(false) {
        let why = match probe.squash {
            Some(_) => "the server gives new files another owner",
            None => "the user may not give files away",
        };
        add(Some(Loss::Owner), scan.others_owner, format!("owners cannot be kept: {why}"));
    }
    for (able, loss, entries, what) in [
        (probe.xattr, Loss::Xattr, scan.xattrs, "extended attributes"),
        (probe.acl, Loss::Acl, scan.acls, "access control lists"),
        (probe.capability, Loss::Capability, scan.capabilities, "file capabilities"),
        (probe.hardlink, Loss::Hardlink, scan.hardlinks, "hard links"),
        (probe.holes, Loss::Holes, scan.sparse, "holes"),
    ] {
        if able == Some(false) {
            add(Some(loss), entries, format!("{what} cannot be kept by the destination"));
        }
    }
    if let Some(step) = probe.time_ns.filter(|&step| step > 1) {
        add(Some(Loss::Times), scan.subsecond, format!("times are rounded to {step} ns by the destination"));
    }
    let devices = if probe.device == Some(false) { scan.devices } else { 0 };
    if devices > 0 {
        add(Some(Loss::Special), scan.sockets + devices, "devices and sockets cannot be made there".into());
    } else {
        add(Some(Loss::Special), scan.sockets, "sockets cannot be copied".into());
    }
    add(Some(Loss::Unreadable), scan.failed, "entries of the source cannot be read".into());
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn probing_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let before = std::fs::metadata(dir.path()).unwrap().modified().unwrap();
        let unnamed = probe(dir.path(), false).unwrap();
        assert!(unnamed.writable && unnamed.free_bytes > 0 && unnamed.name_max == 255);
        assert_eq!(unnamed.hardlink, None);
        let named = probe(dir.path(), true).unwrap();
        assert_eq!(named.hardlink, Some(true));
        assert_eq!(named.time_ns, unnamed.time_ns);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(std::fs::metadata(dir.path()).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn every_shortfall_is_found_and_nothing_else() {
        let able = Probe {
            writable: true,
            free_bytes: 1 << 30,
            chown: Some(true),
            xattr: Some(true),
            acl: None,
            hardlink: Some(true),
            time_ns: Some(1),
            name_max: 255,
            ..Probe::default()
        };
        let mut scan = Scan { bytes: 10, disk_bytes: 10, longest_name: 9, others_owner: 3, ..Scan::default() };
        (scan.counts.files, scan.xattrs, scan.acls, scan.hardlinks, scan.subsecond) = (9, 2, 2, 1, 9);
        assert_eq!(shortfalls(&scan, &able), []);
        let unable = Probe {
            chown: Some(false),
            xattr: Some(false),
            acl: Some(false),
            hardlink: Some(false),
            time_ns: Some(1_000),
            free_bytes: 5,
            free_inodes: Some(2),
            name_max: 8,
            ..able
        };
        let losses: Vec<_> = shortfalls(&scan, &unable).iter().map(|s| (s.loss, s.entries)).collect();
        assert_eq!(
            losses,
            [
                (None, 9),
                (None, 9),
                (None, 1),
                (Some(Loss::Owner), 3),
                (Some(Loss::Xattr), 2),
                (Some(Loss::Acl), 2),
                (Some(Loss::Hardlink), 1),
                (Some(Loss::Times), 9)
            ]
        );
        scan.sockets = 2;
        assert_eq!(shortfalls(&scan, &Probe { device: None, ..able_again() }).last().unwrap().entries, 2);
    }

    fn able_again() -> Probe {
        Probe { writable: true, free_bytes: 1 << 30, name_max: 255, ..Probe::default() }
    }
}
