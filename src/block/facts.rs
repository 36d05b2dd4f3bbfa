//! What an end is: size, identity, what it stands on, who uses it, what is on it.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::device;
use super::handle::{self, Access, Handle, Kind};
use super::signature::{self, Signature};
use super::sysfs::{self, Mount};
use crate::units::{ByteRange, path_text};
use crate::wire::{Malformed, Put, Take};

/// Which storage it is, as far as that can be told: kept by a caller, and compared as a whole.
///
/// A device is known by its serial or world-wide name and its partition, a loop device by its file, an image by its file
/// system and inode; only what has nothing of that by its number, which another device may have after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of some storage that an end is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// `b:7:0` a device, `f:DEV:INODE` a file.
    pub(super) storage: String,
    /// Which part; `None` where the kernel does not say how it is spread over it.
    pub(super) range: Option<ByteRange>,
}

/// What an end says of itself before anything is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The path it was asked for, in its text form.
    pub path: String,
    /// What is there.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Which storage it is.
    pub identity: Identity,
    /// The kernel refuses to write to it.
    pub read_only: bool,
    /// Who uses it: `mounted at /srv`, `held by dm-0`, …
    pub uses: Vec<String>,
    /// Of these, what may write to it.
    pub writers: Vec<String>,
    /// What is on it.
    pub signatures: Vec<Signature>,
    /// Where its partitions begin, bytes.
    pub partition_starts: Vec<u64>,
    /// World-wide name of the whole disk, if it has one.
    pub wwn: Option<String>,
    /// The running kernel: device and inode numbers mean something within one only.
    pub kernel: String,
    /// Itself first, then everything below it.
    pub(super) spans: Vec<Span>,
}

/// Looks at what is open.
///
/// # Errors
/// `ENOTBLK` for what is neither a device nor a regular file; what the kernel says.
pub(super) fn of(fd: impl AsFd, path: &[u8]) -> Result<Facts, Errno> {
    let stat = rustix::fs::fstat(&fd)?;
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::BlockDevice => Kind::Device,
        rustix::fs::FileType::RegularFile => Kind::Image,
        _ => return Err(Errno::NOTBLK),
    };
    let size = handle::size(&fd, kind)?;
    let directory = (kind == Kind::Device).then(|| sysfs::directory(stat.st_rdev)).flatten();
    let mut spans = Vec::new();
    match kind {
        Kind::Device => stand_on(stat.st_rdev, Some(ByteRange { start: 0, end: size }), &mut spans, 0),
        _ => spans.push(Span {
            storage: file_name(stat.st_dev, stat.st_ino),
            range: Some(ByteRange { start: 0, end: size }),
        }),
    }
    let disk = directory.as_ref().map(|own| sysfs::whole(own).unwrap_or_else(|| own.clone()));
    let wwn = disk.as_deref().and_then(wwn);
    let (uses, writers) = uses(&stat, kind, directory.as_deref());
    let handle = Handle::reopen(&fd, kind, Access::Shared)?;
    let mut unreadable = Vec::new();
    let mut read = |range: ByteRange| {
        let mut bytes = vec![0; usize::try_from(range.len()).unwrap_or(0)];
        // A device that is broken where marks stand shows none; reading it as a source will say so.
        if handle.read_plain(range.start, &mut bytes).is_err() {
            unreadable.push(range);
            bytes.fill(0);
        }
        Ok::<_, Errno>(bytes)
    };
    let signatures = signature::scan(size, &mut read)?;
    let partition_starts = signature::partition_starts(size, &mut read)?;
    Ok(Facts {
        path: path_text(path),
        kind,
        size,
        identity: identity(&fd, &stat, kind, directory.as_deref(), disk.as_deref(), size)?,
        read_only: kind == Kind::Device && device::is_read_only(&fd)?,
        uses,
        writers,
        signatures,
        partition_starts,
        wwn,
        kernel: kernel(),
        spans,
    })
}

/// The facts of an image that is to be made.
pub(super) fn missing(path: &[u8]) -> Facts {
    Facts {
        path: path_text(path),
        kind: Kind::Missing,
        size: 0,
        identity: Identity(String::new()),
        read_only: false,
        uses: Vec::new(),
        writers: Vec::new(),
        signatures: Vec::new(),
        partition_starts: Vec::new(),
        wwn: None,
        kernel: kernel(),
        spans: Vec::new(),
    }
}

fn kernel() -> String {
    sysfs::text(Path::new("/proc/sys/kernel/random"), "boot_id").unwrap_or_default()
}

fn device_name(dev: u64) -> String {
    format!("b:{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev))
}

fn file_name(dev: u64, ino: u64) -> String {
    format!("f:{dev:x}:{ino:x}")
}

/// Loops upon loops end here.
const DEPTH: u32 = 16;

/// Notes a part of a device, and what that part is made of.
fn stand_on(dev: u64, range: Option<ByteRange>, spans: &mut Vec<Span>, depth: u32) {
    spans.push(Span { storage: device_name(dev), range });
    let Some(directory) = sysfs::directory(dev).filter(|_| depth < DEPTH) else { return };
    let moved = |by: u64| range.map(|range| ByteRange { start: range.start + by, end: range.end + by });
    if let Some(disk) = sysfs::whole(&directory) {
        let start = sysfs::number(&directory, "start").unwrap_or(0) * 512;
        if let Some(disk) = sysfs::number_of(&disk) {
            stand_on(disk, moved(start), spans, depth + 1);
        }
        return;
    }
    let node = directory.file_name().map(|name| Path::new("/dev").join(name));
    let backing = node.and_then(|node| std::fs::File::open(node).ok()).and_then(|file| device::backing(&file).ok());
    if let Some(backing) = backing {
        spans.push(Span { storage: file_name(backing.dev, backing.ino), range: moved(backing.offset) });
        // A loop over a device node has the node as its file, and the device below.
        let below = sysfs::text(&directory, "loop/backing_file").and_then(|path| rustix::fs::stat(path.as_str()).ok());
        let below = below.filter(|stat| stat.st_dev == backing.dev && stat.st_ino == backing.ino);
        if let Some(below) =
            below.filter(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::BlockDevice)
        {
            stand_on(below.st_rdev, moved(backing.offset), spans, depth + 1);
        }
    }
    for slave in sysfs::names(&directory.join("slaves")) {
        if let Some(dev) = sysfs::number_of(&directory.join("slaves").join(slave)) {
            stand_on(dev, None, spans, depth + 1);
        }
    }
}

fn wwn(disk: &Path) -> Option<String> {
    ["wwid", "device/wwid", "device/wwn"].iter().find_map(|name| sysfs::text(disk, name))
}

fn identity(
    fd: impl AsFd,
    stat: &Stat,
    kind: Kind,
    directory: Option<&Path>,
    disk: Option<&Path>,
    size: u64,
) -> Result<Identity, Errno> {
    if kind == Kind::Image {
        let volume = rustix::fs::fstatvfs(&fd)?;
        return Ok(Identity(format!("image:{:x}:{:x}", volume.f_fsid, stat.st_ino)));
    }
    let part = directory.and_then(|own| sysfs::number(own, "partition")).map_or(String::new(), |n| format!("/{n}"));
    let known = disk.and_then(|disk| {
        let mapped = sysfs::text(disk, "dm/uuid").or_else(|| sysfs::text(disk, "md/uuid"));
        let serial = ["serial", "device/serial"].iter().find_map(|name| sysfs::text(disk, name));
        mapped.or_else(|| wwn(disk)).or(serial).map(|name| format!("disk:{name}"))
    });
    let known = known.or_else(|| {
        let node = Path::new("/dev").join(disk?.file_name()?);
        let backing = device::backing(std::fs::File::open(node).ok()?).ok()?;
        Some(format!("loop:{:x}:{:x}+{}", backing.dev, backing.ino, backing.offset))
    });
    let known = known.unwrap_or_else(|| {
        let dev = disk.and_then(sysfs::number_of).unwrap_or(stat.st_rdev);
        format!("number:{}:{}@{}", rustix::fs::major(dev), rustix::fs::minor(dev), kernel())
    });
    Ok(Identity(format!("{known}{part}={size}")))
}

/// Who uses it, and of these who may write to it.
fn uses(stat: &Stat, kind: Kind, directory: Option<&Path>) -> (Vec<String>, Vec<String>) {
    let (mut all, mut writers) = (Vec::new(), Vec::new());
    let mut note = |text: String, writes: bool| {
        if writes && !writers.contains(&text) {
            writers.push(text.clone());
        }
        if !all.contains(&text) {
            all.push(text);
        }
    };
    let mounts = sysfs::mounts();
    let swaps = sysfs::swaps();
    let mut of_device = |dev: u64, name: &str| {
        for Mount { place, read_only, .. } in mounts.iter().filter(|mount| mount.is_of(dev)) {
            note(format!("{name}mounted at {}", path_text(place)), !read_only);
        }
        if swaps.iter().any(|(device, _)| *device == Some(dev)) {
            note(format!("{name}used as swap"), true);
        }
        for holder in sysfs::directory(dev).into_iter().flat_map(|own| sysfs::names(&own.join("holders"))) {
            note(format!("{name}held by {holder}"), true);
        }
    };
    match kind {
        Kind::Device => {
            of_device(stat.st_rdev, "");
            for part in directory.into_iter().flat_map(sysfs::partitions) {
                let name = part.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                if let Some(dev) = sysfs::number_of(&part) {
                    of_device(dev, &format!("its partition {name} is "));
                }
            }
        }
        _ => {
            for node in loops_over(stat.st_dev, stat.st_ino) {
                note(
                    format!("attached to {}", path_text(std::os::unix::ffi::OsStrExt::as_bytes(node.as_os_str()))),
                    true,
                );
            }
            if swaps.iter().any(|(device, file)| device.is_none() && *file == (stat.st_dev, stat.st_ino)) {
                note("used as swap".to_owned(), true);
            }
        }
    }
    (all, writers)
}

/// Loop devices that stand on a file.
fn loops_over(dev: u64, ino: u64) -> Vec<PathBuf> {
    let attached = sysfs::names(Path::new("/sys/block")).into_iter().filter(|name| {
        name.starts_with("loop") && Path::new("/sys/block").join(name).join("loop/backing_file").exists()
    });
    let nodes = attached.map(|name| Path::new("/dev").join(name));
    nodes
        .filter(|node| {
            let backing = std::fs::File::open(node).ok().and_then(|file| device::backing(&file).ok());
            backing.is_some_and(|backing| (backing.dev, backing.ino) == (dev, ino))
        })
        .collect()
}

impl Facts {
    /// By what the two are the same storage, or share a part of it.
    pub(super) fn shared_with(&self, other: &Self) -> Option<String> {
        if let (Some(mine), Some(theirs)) = (&self.wwn, &other.wwn)
            && mine == theirs
            && self.identity == other.identity
        {
            return Some(format!("both are {}", self.identity));
        }
        if self.kernel != other.kernel || self.kernel.is_empty() {
            return None;
        }
        for (depth, mine) in self.spans.iter().enumerate() {
            for (other_depth, theirs) in other.spans.iter().enumerate() {
                let overlap = match (mine.range, theirs.range) {
                    (Some(a), Some(b)) => a.start < b.end && b.start < a.end,
                    // How it is spread is unknown: then only a thing and what it stands on are surely not apart.
                    _ => depth == 0 || other_depth == 0,
                };
                if mine.storage == theirs.storage && overlap {
                    return Some(format!("both are on {}", mine.storage));
                }
            }
        }
        None
    }

    pub(super) fn put(&self, put: &mut Put) {
        put.bytes(self.path.as_bytes()).byte(match self.kind {
            Kind::Device => 0,
            Kind::Image => 1,
            Kind::Missing => 2,
        });
        put.number(self.size).bytes(self.identity.0.as_bytes()).flag(self.read_only);
        for list in [&self.uses, &self.writers] {
            put.number(list.len() as u64);
            list.iter().for_each(|text| _ = put.bytes(text.as_bytes()));
        }
        put.number(self.signatures.len() as u64);
        for one in &self.signatures {
            put.bytes(one.name.as_bytes()).number(one.offset);
        }
        put.number(self.partition_starts.len() as u64);
        self.partition_starts.iter().for_each(|start| _ = put.number(*start));
        put.bytes(self.wwn.as_deref().unwrap_or_default().as_bytes()).bytes(self.kernel.as_bytes());
        put.number(self.spans.len() as u64);
        for span in &self.spans {
            put.bytes(span.storage.as_bytes()).flag(span.range.is_some());
            if let Some(range) = span.range {
                put.number(range.start).number(range.end);
            }
        }
    }

    pub(super) fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let path = string(take)?;
        let kind = match take.byte()? {
            0 => Kind::Device,
            1 => Kind::Image,
            2 => Kind::Missing,
            _ => return Err(Malformed::Range),
        };
        let (size, identity, read_only) = (take.number()?, Identity(string(take)?), take.flag()?);
        let (uses, writers) = (list(take, string)?, list(take, string)?);
        let signatures = list(take, |take| Ok(Signature { name: string(take)?, offset: take.number()? }))?;
        let partition_starts = list(take, |take| take.number())?;
        let (wwn, kernel) = (Some(string(take)?).filter(|wwn| !wwn.is_empty()), string(take)?);
        let spans = list(take, |take| {
            let storage = string(take)?;
            let range =
                if take.flag()? { Some(ByteRange { start: take.number()?, end: take.number()? }) } else { None };
            Ok(Span { storage, range })
        })?;
        Ok(Self {
            path,
            kind,
            size,
            identity,
            read_only,
            uses,
            writers,
            signatures,
            partition_starts,
            wwn,
            kernel,
            spans,
        })
    }
}

/// A text; other bytes than UTF-8 in their text form, since it is shown.
pub(super) fn string(take: &mut Take<'_>) -> Result<String, Malformed> {
    let bytes = take.bytes()?;
    Ok(str::from_utf8(bytes).map_or_else(|_| path_text(bytes), str::to_owned))
}

/// A list of what `one` takes; never believes its length before the items are there.
pub(super) fn list<T>(
    take: &mut Take<'_>,
    mut one: impl FnMut(&mut Take<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = take.number()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(one(take)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(spans: &[(&str, Option<(u64, u64)>)]) -> Facts {
        let span = |(storage, range): &(&str, Option<(u64, u64)>)| Span {
            storage: (*storage).to_owned(),
            range: range.map(|(start, end)| ByteRange { start, end }),
        };
        Facts { kernel: "k".into(), spans: spans.iter().map(span).collect(), ..missing(b"x") }
    }

    #[test]
    fn storage_is_shared_where_parts_overlap() {
        let file = on(&[("f:1:2", Some((0, 100)))]);
        let loop_ = on(&[("b:7:0", Some((0, 50))), ("f:1:2", Some((50, 100)))]);
        let other = on(&[("b:7:1", Some((0, 50))), ("f:1:2", Some((0, 50)))]);
        assert!(file.shared_with(&loop_).is_some() && file.shared_with(&other).is_some());
        assert!(loop_.shared_with(&other).is_none());
        let disk = on(&[("b:8:0", Some((0, 100)))]);
        let part = on(&[("b:8:1", Some((0, 40))), ("b:8:0", Some((10, 50)))]);
        assert!(disk.shared_with(&part).is_some() && part.shared_with(&disk).is_some());
        // Two volumes of one group are apart; a volume and the disk below it are not.
        let (a, b) =
            (on(&[("b:253:0", Some((0, 9))), ("b:8:0", None)]), on(&[("b:253:1", Some((0, 9))), ("b:8:0", None)]));
        assert!(a.shared_with(&b).is_none() && a.shared_with(&disk).is_some());
        assert!(file.shared_with(&Facts { kernel: "other".into(), ..file.clone() }).is_none());
    }

    #[test]
    fn facts_cross_a_line_as_they_are() {
        let facts = Facts {
            size: 7,
            uses: vec!["mounted at /a".into()],
            signatures: vec![Signature { name: "xfs".into(), offset: 0 }],
            partition_starts: vec![1, 2],
            wwn: Some("naa.5".into()),
            ..on(&[("b:7:0", Some((0, 50))), ("f:1:2", None)])
        };
        let mut put = Put::default();
        facts.put(&mut put);
        let mut take = Take(&put.0);
        assert_eq!(Facts::take(&mut take), Ok(facts));
        assert_eq!(take.end(), Ok(()));
        assert_eq!(list(&mut Take(&[0xff, 0xff, 0xff, 0x7f]), |take| take.byte()), Err(Malformed::Short));
    }
}
