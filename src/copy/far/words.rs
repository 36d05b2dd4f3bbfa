//! The words that two ends of a tree speak: kinds of messages, and how metadata, attributes and names are written.
//!
//! Everything that comes in is checked here: a name is one component and never `.` or `..`, a type is one there is.
//! What else a peer could lie about (offsets, lengths, what was asked for) is checked where it is used.

use std::ffi::{CStr, CString};

use rustix::io::Errno;

use crate::copy::sys::xattr::Xattrs;
use crate::copy::sys::{Kind, Meta};
use crate::units::Stamp;
use crate::wire::{Broken, Malformed, Put, Take};

/// Both ends must speak the same version.
pub(super) const VERSION: u64 = 1;

/// From the end that decides and writes, to the one that reads.
pub(super) mod ask {
    /// Which tree, and in which version of these words. The first message.
    pub(in super::super) const HELLO: u8 = 0;
    /// Open directories, and tell what is in them.
    pub(in super::super) const FOLDERS: u8 = 1;
    /// The next piece of a directory.
    pub(in super::super) const MORE: u8 = 2;
    /// Small files of one directory, whole.
    pub(in super::super) const FILES: u8 = 3;
    /// A file of any size, as a stream of pieces.
    pub(in super::super) const READ: u8 = 4;
    /// Digests of the grains of the file that a stream will replace.
    pub(in super::super) const GRAINS: u8 = 5;
    /// So many bytes of a stream were taken: as many more may be sent.
    pub(in super::super) const TAKEN: u8 = 6;
    /// A stream is not wanted any more.
    pub(in super::super) const STOP: u8 = 7;
    /// What one name is now.
    pub(in super::super) const LOOK: u8 = 8;
    /// The digest of a part of a file.
    pub(in super::super) const DIGEST: u8 = 9;
    /// Directories that may be closed.
    pub(in super::super) const CLOSE: u8 = 10;
    /// What the root is now, held and by its path.
    pub(in super::super) const ROOT: u8 = 11;
}

/// The other way.
pub(super) mod tell {
    /// The root, or why there is none.
    pub(in super::super) const ROOT: u8 = 20;
    /// A part of a directory.
    pub(in super::super) const ENTRIES: u8 = 21;
    /// A directory could not be opened.
    pub(in super::super) const LOST: u8 = 22;
    /// Small files.
    pub(in super::super) const FILES: u8 = 23;
    /// A piece of a stream.
    pub(in super::super) const DATA: u8 = 24;
    /// A part of the file that is to be replaced is right as it is.
    pub(in super::super) const SAME: u8 = 25;
    /// A stream is over.
    pub(in super::super) const END: u8 = 26;
    /// A request could not be served.
    pub(in super::super) const FAILED: u8 = 27;
    /// An answer to a look, a digest or a question about the root.
    pub(in super::super) const ANSWER: u8 = 28;
}

/// How a directory is asked for.
pub(in crate::copy) const LIST: u8 = 1;
/// With the content of small files, as far as there is room.
pub(in crate::copy) const CONTENT: u8 = 2;
/// Names and types only.
pub(in crate::copy) const NAMES: u8 = 4;

/// Flags of a part of a directory: it is the first, a piece ends with it, the directory does.
pub(super) const FIRST: u8 = 1;
pub(super) const LAST: u8 = 2;
pub(super) const OVER: u8 = 4;

/// A file up to this size goes whole with others.
pub(super) const INLINE: u64 = 128 << 10;
/// So many bytes of a stream may be on their way.
pub(super) const WINDOW: u64 = 4 << 20;
/// A file that is replaced is compared in grains of this size.
pub(super) const GRAIN: u64 = 64 << 10;
/// A shorter file is sent whole even if there is an old one.
pub(in crate::copy) const DELTA: u64 = 4 << 20;
/// Of a grain's digest so many bytes are sent.
pub(super) const MARK: usize = 16;

/// The largest attribute Linux knows, and the longest target of a link.
const LONGEST: usize = 64 << 10;

/// What arrived is not what it should be.
pub(super) fn corrupt(what: impl Into<String>) -> Broken {
    Broken::Corrupt(what.into())
}

/// Reads a name that may be used below an open directory.
pub(super) fn name(take: &mut Take<'_>) -> Result<CString, Broken> {
    checked(take.bytes()?.to_vec())
}

/// Whether bytes are one component of a path.
pub(super) fn checked(bytes: Vec<u8>) -> Result<CString, Broken> {
    let bad = bytes.is_empty() || bytes.len() > 255 || bytes == b"." || bytes == b".." || bytes.contains(&b'/');
    match CString::new(bytes) {
        Ok(name) if !bad => Ok(name),
        _ => Err(corrupt("a name that is none")),
    }
}

/// Writes an error number; 0 is none.
pub(super) fn put_errno(put: &mut Put, errno: Option<Errno>) {
    put.number(errno.map_or(0, |errno| errno.raw_os_error() as u64));
}

/// Reads an error number.
pub(super) fn errno(take: &mut Take<'_>) -> Result<Option<Errno>, Malformed> {
    match take.small::<u16>()? {
        0 => Ok(None),
        number @ 1..4096 => Ok(Some(Errno::from_raw_os_error(number.into()))),
        _ => Err(Malformed::Range),
    }
}

/// Writes attributes, or why they cannot be told.
pub(super) fn put_xattrs(put: &mut Put, found: &Result<Xattrs, Errno>) {
    put_errno(put, found.as_ref().err().copied());
    if let Ok(xattrs) = found {
        put.number(xattrs.len() as u64);
        for (name, value) in xattrs {
            put.bytes(name.to_bytes()).bytes(value);
        }
    }
}

/// Reads attributes.
pub(super) fn xattrs(take: &mut Take<'_>) -> Result<Result<Xattrs, Errno>, Broken> {
    if let Some(errno) = errno(take)? {
        return Ok(Err(errno));
    }
    let mut found = Xattrs::new();
    for _ in 0..take.small::<u16>()? {
        let name = CString::new(take.bytes()?).map_err(|_| corrupt("an attribute with a zero byte in its name"))?;
        let value = take.bytes()?;
        if name.count_bytes() > 255 || value.len() > LONGEST || crate::copy::sys::xattr::property(&name).is_none() {
            return Err(corrupt("an attribute that cannot be"));
        }
        found.push((name, value.to_vec()));
    }
    found.sort();
    Ok(Ok(found))
}

/// Writes where a link points to, or why that cannot be told.
pub(super) fn put_link(put: &mut Put, found: &Result<CString, Errno>) {
    put_errno(put, found.as_ref().err().copied());
    if let Ok(target) = found {
        put.bytes(target.to_bytes());
    }
}

/// Reads where a link points to.
pub(super) fn link(take: &mut Take<'_>) -> Result<Result<CString, Errno>, Broken> {
    if let Some(errno) = errno(take)? {
        return Ok(Err(errno));
    }
    match CString::new(take.bytes()?) {
        Ok(target) if target.count_bytes() <= LONGEST => Ok(Ok(target)),
        _ => Err(corrupt("a link that cannot be")),
    }
}

/// Reads a type.
pub(super) fn kind(take: &mut Take<'_>) -> Result<Kind, Broken> {
    match take.byte()? {
        b'?' => Ok(Kind::Unknown),
        letter => Kind::from_letter(letter).ok_or_else(|| corrupt("an entry of no known type")),
    }
}

const SAME_PLACE: u8 = 1;
const SAME_OWNER: u8 = 2;
const SAME_MODE: u8 = 4;
const ONE_LINK: u8 = 8;
const MOUNTED: u8 = 16;

/// Writes metadata as the difference to what was written before; the first is written to `None`.
pub(super) fn put_meta(put: &mut Put, meta: &Meta, last: Option<&Meta>) {
    let nothing = Meta { nlink: 0, ..blank() };
    let last = last.unwrap_or(&nothing);
    let mut flags = 0;
    for (same, flag) in [
        ((meta.dev, meta.mount) == (last.dev, last.mount), SAME_PLACE),
        ((meta.uid, meta.gid) == (last.uid, last.gid), SAME_OWNER),
        (meta.mode == last.mode, SAME_MODE),
        (meta.nlink == 1, ONE_LINK),
        (meta.mount_root, MOUNTED),
    ] {
        flags |= if same { flag } else { 0 };
    }
    put.byte(meta.kind.letter()).byte(flags);
    put.signed(meta.ino.wrapping_sub(last.ino) as i64);
    if flags & SAME_PLACE == 0 {
        put.number(meta.dev).number(meta.mount);
    }
    if flags & SAME_OWNER == 0 {
        put.number(meta.uid.into()).number(meta.gid.into());
    }
    if flags & SAME_MODE == 0 {
        put.number(meta.mode.into());
    }
    if flags & ONE_LINK == 0 {
        put.number(meta.nlink.into());
    }
    if meta.kind.is_device() {
        put.number(meta.rdev);
    }
    put.number(meta.size).number(meta.blocks);
    for (stamp, before) in [(meta.mtime, last.mtime), (meta.ctime, meta.mtime), (meta.atime, meta.mtime)] {
        put.signed(stamp.sec.wrapping_sub(before.sec)).number(stamp.nsec.into());
    }
}

/// Reads metadata.
pub(super) fn meta(take: &mut Take<'_>, last: Option<&Meta>) -> Result<Meta, Broken> {
    let nothing = Meta { nlink: 0, ..blank() };
    let last = last.unwrap_or(&nothing);
    let kind = match kind(take)? {
        Kind::Unknown => return Err(corrupt("an entry of no known type")),
        kind => kind,
    };
    let flags = take.byte()?;
    let mut meta = Meta { kind, mount_root: flags & MOUNTED != 0, ..*last };
    meta.ino = last.ino.wrapping_add(take.signed()? as u64);
    if flags & SAME_PLACE == 0 {
        (meta.dev, meta.mount) = (take.number()?, take.number()?);
    }
    if flags & SAME_OWNER == 0 {
        (meta.uid, meta.gid) = (take.small()?, take.small()?);
    }
    if flags & SAME_MODE == 0 {
        meta.mode = take.small()?;
    }
    meta.nlink = if flags & ONE_LINK == 0 { take.small()? } else { 1 };
    meta.rdev = if kind.is_device() { take.number()? } else { 0 };
    (meta.size, meta.blocks) = (take.number()?, take.number()?);
    let mut stamp = |before: i64| -> Result<Stamp, Malformed> {
        let sec = before.wrapping_add(take.signed()?);
        Ok(Stamp { sec, nsec: take.small()? })
    };
    meta.mtime = stamp(last.mtime.sec)?;
    (meta.ctime, meta.atime) = (stamp(meta.mtime.sec)?, stamp(meta.mtime.sec)?);
    let odd = [meta.mtime, meta.ctime, meta.atime].iter().any(|stamp| stamp.nsec >= 1_000_000_000);
    // The largest number means "leave it" to the call that sets an owner.
    let nobody = meta.uid == u32::MAX || meta.gid == u32::MAX;
    if odd || nobody || meta.mode > 0o7777 || i64::try_from(meta.size).is_err() {
        return Err(corrupt("metadata that cannot be"));
    }
    Ok(meta)
}

fn blank() -> Meta {
    let zero = Stamp { sec: 0, nsec: 0 };
    Meta {
        dev: 0,
        ino: 0,
        mount: 0,
        mount_root: false,
        kind: Kind::Unknown,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        born: None,
    }
}

/// Writes a name as what it adds to the one before.
pub(super) fn put_next_name(put: &mut Put, name: &CStr, last: &[u8]) {
    let bytes = name.to_bytes();
    let common = bytes.iter().zip(last).take_while(|(a, b)| a == b).count();
    put.number(common as u64).bytes(&bytes[common..]);
}

/// Reads a name into `last`, which holds the one before.
pub(super) fn next_name(take: &mut Take<'_>, last: &mut Vec<u8>) -> Result<CString, Broken> {
    let common: usize = take.small()?;
    let rest = take.bytes()?;
    if common > last.len() || rest.len() > 255 {
        return Err(corrupt("a name that is none"));
    }
    last.truncate(common);
    last.extend_from_slice(rest);
    checked(last.clone())
}

/// The mark of one grain.
pub(super) fn mark(grain: &[u8]) -> [u8; MARK] {
    let mut out = [0; MARK];
    out.copy_from_slice(&blake3::hash(grain).as_bytes()[..MARK]);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn metadata_survives_its_encoding(
            numbers: [u64; 4],
            small: [u32; 3],
            mode in 0u32..0o10000,
            secs: [i64; 3],
            size in 0..i64::MAX as u64,
            kind in prop::sample::select(b"fdlpscb".to_vec()),
        ) {
            let stamp = |at: usize| Stamp { sec: secs[at], nsec: small[at] % 1_000_000_000 };
            let kind = Kind::from_letter(kind).unwrap();
            let one = Meta {
                dev: numbers[0], ino: numbers[1], mount: numbers[2], mount_root: mode & 1 > 0, kind, mode,
                nlink: small[0], uid: small[1] % u32::MAX, gid: small[2] % u32::MAX, rdev: if kind.is_device() { numbers[3] } else { 0 },
                size, blocks: numbers[3], atime: stamp(0), mtime: stamp(1), ctime: stamp(2), born: None,
            };
            let two = Meta { ino: numbers[3], nlink: 1, mode: 0, ..one };
            let mut put = Put::default();
            put_meta(&mut put, &one, None);
            put_meta(&mut put, &two, Some(&one));
            let mut take = Take(&put.0);
            prop_assert_eq!(meta(&mut take, None).unwrap(), one);
            prop_assert_eq!(meta(&mut take, Some(&one)).unwrap(), two);
            take.end().unwrap();
        }

        #[test]
        fn names_survive_and_bad_ones_do_not(names: Vec<Vec<u8>>) {
            let mut last = Vec::new();
            let mut read = Vec::new();
            for bytes in names {
                let Ok(name) = checked(bytes.clone()) else {
                    let mut put = Put::default();
                    put.number(0).bytes(&bytes);
                    prop_assert!(next_name(&mut Take(&put.0), &mut Vec::new()).is_err());
                    continue;
                };
                let mut put = Put::default();
                put_next_name(&mut put, &name, &last);
                prop_assert_eq!(next_name(&mut Take(&put.0), &mut read).unwrap(), name);
                last = bytes;
            }
        }
    }

    #[test]
    fn a_name_is_one_component() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 256]] {
            assert!(checked(bad.to_vec()).is_err(), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b"\xff", &[b'x'; 255]] {
            assert!(checked(good.to_vec()).is_ok(), "{good:?}");
        }
    }
}
