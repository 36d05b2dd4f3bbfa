//! What is on a device: an own table of marks at fixed places. Never "it is empty" without having looked here.

use crate::units::ByteRange;

/// A mark that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// What has such a mark: `ext4`, `xfs`, `gpt`, …
    pub name: String,
    /// Where it stands, bytes from the start.
    pub offset: u64,
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at byte {})", self.name, self.offset)
    }
}

/// As much of the beginning as marks stand in.
const HEAD: u64 = 260 << 10;
/// As much of the end.
const TAIL: u64 = 512 << 10;

/// Name, place from the start, bytes.
const MARKS: &[(&str, u64, &[u8])] = &[
    ("xfs", 0, b"XFSB"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("swap", 4086, b"SWAP-SPACE"),
    ("swap", 16374, b"SWAPSPACE2"),
    ("swap", 65526, b"SWAPSPACE2"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("luks", 0x4000, b"SKUL\xba\xbe"),
    ("gpt", 512, b"EFI PART"),
    ("gpt", 4096, b"EFI PART"),
    ("md-raid", 0, b"\xfc\x4e\x2b\xa9"),
    ("md-raid", 4096, b"\xfc\x4e\x2b\xa9"),
    ("bcache", 0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("bitlocker", 3, b"-FVE-FS-"),
    ("vfat", 0x36, b"FAT1"),
    ("vfat", 0x52, b"FAT32   "),
    ("iso9660", 0x8001, b"CD001"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 0x400, b"\xe2\xe1\xf5\xe0"),
    ("f2fs", 0x400, b"\x10\x20\xf5\xf2"),
    ("jfs", 0x8000, b"JFS1"),
    ("reiserfs", 0x1_0034, b"ReIsEr"),
    ("ceph", 0, b"bluestore block device"),
    ("qcow2", 0, b"QFI\xfb"),
];

/// Marks of LVM may stand in any of the first four sectors.
const LVM: (&[u8], &[u8]) = (b"LABELONE", b"LVM2 001");
/// An uberblock of ZFS, as either order of bytes writes it; the ring begins at 128 KiB of each label of 256 KiB.
const ZFS: [&[u8]; 2] = [b"\x0c\xb1\xba\x00\0\0\0\0", b"\0\0\0\0\x00\xba\xb1\x0c"];
const ZFS_LABEL: u64 = 256 << 10;

/// Looks for every known mark; `read` gives the bytes of a range within `size`.
///
/// # Errors
/// What `read` fails with.
pub(super) fn scan<E>(size: u64, mut read: impl FnMut(ByteRange) -> Result<Vec<u8>, E>) -> Result<Vec<Signature>, E> {
    let head = read(ByteRange { start: 0, end: size.min(HEAD) })?;
    let tail_at = size.saturating_sub(TAIL) & !511;
    let tail = read(ByteRange { start: tail_at, end: size })?;
    let mut found = Vec::new();
    let mut note = |name: &str, offset: u64| found.push(Signature { name: name.to_owned(), offset });
    for (name, at, mark) in MARKS {
        if has(&head, *at, mark) {
            note(name, *at);
        }
    }
    if has(&head, 0x438, b"\x53\xef") {
        note(ext(&head), 0x438);
    }
    for sector in (0..2048).step_by(512) {
        if has(&head, sector, LVM.0) && has(&head, sector + 24, LVM.1) {
            note("lvm2", sector);
        }
    }
    let boot = ["vfat", "ntfs", "exfat", "bitlocker", "gpt"];
    let in_tail = |at: u64, mark: &[u8]| at >= tail_at && has(&tail, at - tail_at, mark);
    for sector in [512, 4096] {
        if let Some(at) = size.checked_sub(sector).filter(|at| *at >= 4096 && in_tail(*at, b"EFI PART")) {
            note("gpt-backup", at);
        }
    }
    // Version 1.0 stands 8 to 12 KiB before the end, version 0.90 in the last whole 64 KiB but one.
    let md = [(size / 512).checked_sub(16).map(|at| (at & !7) * 512), (size & !0xffff).checked_sub(0x1_0000)];
    for at in md.into_iter().flatten().filter(|at| in_tail(*at, b"\xfc\x4e\x2b\xa9")) {
        note("md-raid", at);
    }
    let labels = [Some(0), (size & !(ZFS_LABEL - 1)).checked_sub(ZFS_LABEL)];
    for ring in labels.into_iter().flatten().map(|label| label + (128 << 10)) {
        let mark = |at| ZFS.iter().any(|mark| has(&head, at, mark) || in_tail(at, mark));
        if let Some(at) = (ring..ring + (128 << 10)).step_by(1024).find(|at| mark(*at)) {
            note("zfs", at);
        }
    }
    // Boot sectors of file systems end as a table of partitions does.
    if has(&head, 510, b"\x55\xaa") && !found.iter().any(|one| boot.contains(&&*one.name)) {
        found.push(Signature { name: "mbr".to_owned(), offset: 510 });
    }
    found.sort_by_key(|one| one.offset);
    found.dedup();
    Ok(found)
}

fn has(bytes: &[u8], at: u64, mark: &[u8]) -> bool {
    usize::try_from(at).ok().and_then(|at| bytes.get(at..)).is_some_and(|rest| rest.starts_with(mark))
}

/// Which of its family: by the features in the superblock at 1024.
fn ext(head: &[u8]) -> &'static str {
    let word = |at: usize| {
        let bytes = head.get(1024 + at..1028 + at).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let (compat, incompat) = (word(0x5c), word(0x60));
    match (incompat & 0x8 != 0, incompat & 0x2c0 != 0, compat & 0x4 != 0) {
        // A journal of its own on a device of its own.
        (true, ..) => "ext-journal",
        (_, true, _) => "ext4",
        (_, _, true) => "ext3",
        _ => "ext2",
    }
}

/// Where the partitions of a table begin, bytes: the places a file system that is written to changes first.
pub(super) fn partition_starts<E>(
    size: u64,
    mut read: impl FnMut(ByteRange) -> Result<Vec<u8>, E>,
) -> Result<Vec<u64>, E> {
    let head = read(ByteRange { start: 0, end: size.min(36 << 10) })?;
    let word = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_le_bytes))
    };
    let mut starts = Vec::new();
    for sector in [512usize, 4096] {
        if !has(&head, sector as u64, b"EFI PART") {
            continue;
        }
        let (table, count, entry) = (word(sector + 72), word(sector + 80).min(128), word(sector + 84).max(128));
        for index in 0..count {
            let at = table * sector as u64 + index * entry + 32;
            starts.extend(usize::try_from(at).ok().map(|at| word(at) * sector as u64));
        }
    }
    if starts.is_empty() && has(&head, 510, b"\x55\xaa") {
        starts.extend((0..4).map(|index| word(446 + 16 * index + 8) * 512));
    }
    starts.retain(|start| *start > 0 && *start < size);
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        let read = |range: ByteRange| Ok::<_, ()>(bytes[range.start as usize..range.end as usize].to_vec());
        scan(bytes.len() as u64, read).unwrap_or_default().into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn every_mark_of_the_table_is_found_where_it_stands() {
        for (name, at, mark) in MARKS {
            let mut bytes = vec![0; 2 << 20];
            bytes[*at as usize..*at as usize + mark.len()].copy_from_slice(mark);
            assert_eq!(names(&bytes), [*name], "{at}");
        }
        assert_eq!(names(&vec![0; 2 << 20]), [""; 0]);
        assert_eq!(names(&[]), [""; 0]);
        assert_eq!(names(&[0; 700]), [""; 0]);
    }

    #[test]
    fn marks_at_the_end_and_rings_are_found() {
        let size = (3 << 20) + 512;
        let plant = |at: usize, mark: &[u8]| {
            let mut bytes = vec![0; size];
            bytes[at..at + mark.len()].copy_from_slice(mark);
            names(&bytes)
        };
        assert_eq!(plant(size - 512, b"EFI PART"), ["gpt-backup"]);
        assert_eq!(plant(((size / 512 - 16) & !7) * 512, b"\xfc\x4e\x2b\xa9"), ["md-raid"]);
        assert_eq!(plant((3 << 20) - (64 << 10), b"\xfc\x4e\x2b\xa9"), ["md-raid"]);
        assert_eq!(plant((128 << 10) + 5 * 1024, ZFS[0]), ["zfs"]);
        assert_eq!(plant((3 << 20) - (128 << 10) + 1024, ZFS[1]), ["zfs"]);
        assert_eq!(plant(510, b"\x55\xaa"), ["mbr"]);
        assert_eq!(plant(0x438, b"\x53\xef"), ["ext2"]);
    }
}
