//! Metadata for generated entries: owner, xattrs, ACLs, capabilities, mode, times, in the order that keeps all of them.

use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use super::rng::Rng;
use super::tree::Oddities;

/// What an entry is, as far as it decides which metadata it can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Link,
    Special,
}

/// Gives an entry a random dress.
pub(crate) fn random(path: &Path, kind: Kind, odd: &Oddities, rng: &mut Rng) {
    let owner = rng.below(odd.owners.max(1));
    if odd.owners > 0 {
        own(path, owner_number(owner), owner_number(rng.below(odd.owners)));
    }
    if odd.user_xattrs && matches!(kind, Kind::File | Kind::Dir) && rng.chance(10) {
        for at in 0..=rng.below(3) {
            let len = rng.index(200);
            xattr(path, &format!("user.note{at}"), &rng.bytes(len));
        }
    }
    if odd.root_xattrs && rng.chance(3) {
        xattr(path, "trusted.decamp-test", &rng.bytes(12));
    }
    if odd.acls && matches!(kind, Kind::File | Kind::Dir) && rng.chance(5) {
        acl(path, "access", &access_acl(rng));
        if kind == Kind::Dir && rng.chance(50) {
            acl(path, "default", &access_acl(rng));
        }
    }
    match kind {
        Kind::File => mode(path, *rng.pick(&[0o644, 0o644, 0o600, 0o664, 0o755, 0o640, 0o444, 0o4755, 0o2711])),
        Kind::Dir => mode(path, *rng.pick(&[0o755, 0o755, 0o700, 0o750, 0o2775, 0o1777])),
        Kind::Special => mode(path, *rng.pick(&[0o600, 0o666])),
        Kind::Link => {}
    }
    if odd.root_xattrs && kind == Kind::File && rng.chance(2) {
        capability(path, 1 << rng.below(32));
    }
    times(path, odd, rng);
}

/// Numbers of owners: ordinary ones, `nobody`, and one above 2^31.
fn owner_number(owner: u64) -> u32 {
    match owner {
        3 => 65_534,
        5 => 3_000_000_000,
        other => 1_000 + u32::try_from(other).unwrap(),
    }
}

pub(crate) fn own(path: &Path, uid: u32, gid: u32) {
    lchown(path, Some(uid), Some(gid)).unwrap_or_else(|error| panic!("chown {}: {error}", path.display()));
}

pub(crate) fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(bits)).unwrap();
}

pub(crate) fn xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("set {name} of {}: {error}", path.display()));
}

/// Sets `security.capability` as the kernel stores it: version 2, effective, one permitted bit of the low word.
pub(crate) fn capability(path: &Path, permitted: u32) {
    let mut value = 0x0200_0001u32.to_le_bytes().to_vec();
    for word in [permitted, 0, 0, 0] {
        value.extend_from_slice(&word.to_le_bytes());
    }
    xattr(path, "security.capability", &value);
}

/// Sets the raw bytes of an ACL; `which` is `access` or `default`.
pub(crate) fn acl(path: &Path, which: &str, value: &[u8]) {
    xattr(path, &format!("system.posix_acl_{which}"), value);
}

/// An ACL with one named user and one named group.
pub(crate) fn access_acl(rng: &mut Rng) -> Vec<u8> {
    let user = 2_000 + u32::try_from(rng.below(50)).unwrap();
    raw_acl(&[
        (0x01, 7, u32::MAX),
        (0x02, 5, user),
        (0x04, 5, u32::MAX),
        (0x08, 4, user + 1),
        (0x10, 7, u32::MAX),
        (0x20, 0, u32::MAX),
    ])
}

/// The kernel's form of an ACL: version 2, then (tag, permissions, id), all little endian.
pub(crate) fn raw_acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// Random times: mostly of the last years, some before 1970, some in the future, always with nanoseconds.
fn times(path: &Path, odd: &Oddities, rng: &mut Rng) {
    let (start, span) = match rng.below(20) {
        0 if odd.old_times => (-1_000_000_000, 900_000_000),
        1 => (2_500_000_000, 500_000_000),
        _ => (1_200_000_000, 500_000_000),
    };
    let second = start + i64::try_from(rng.below(span)).unwrap();
    let nanosecond = i64::try_from(rng.below(1_000_000_000)).unwrap();
    stamp(path, second, nanosecond);
}

/// Sets both times of an entry itself, never of what a link points to.
pub(crate) fn stamp(path: &Path, second: i64, nanosecond: i64) {
    let time = Timespec { tv_sec: second, tv_nsec: nanosecond };
    let both = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &both, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
