//! The digest of a tree: one number for all of it, found by many workers in any order and without keeping a list.
//!
//! Every entry has a record: its path, type, mode, owner, time of change, size, link target, device number, attributes
//! and, if it was read, the BLAKE3 of its content. Each field is preceded by its length, so that no two different
//! entries have the same record. The digest is the sum of the BLAKE3 of all records, as 256-bit numbers, modulo 2^256.
//! A sum does not depend on the order. (It would not withstand somebody who chooses files in order to collide; it is
//! there to notice accidents, and it counts every entry, unlike exclusive-or, where two equal ones cancel out.)
//!
//! Sizes are of files only: a directory's size is its file system's own affair. Times of access and of inode change,
//! inode numbers, link counts and holes are left out: they cannot or need not be the same in a copy.

use std::collections::BTreeSet;

use super::options::Loss;
use super::sys::xattr::{self, Xattrs};
use super::sys::{Kind, Meta};

/// A sum of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    /// Adds a number given in little-endian order.
    pub(super) fn add(&mut self, bytes: &[u8; 32]) {
        let (words, _) = bytes.as_chunks::<8>();
        let mut other = [0; 4];
        for (word, bytes) in other.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        self.merge(Self(other));
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: Self) {
        let mut carry = false;
        for (word, add) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = word.overflowing_add(add);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }

    /// 64 hexadecimal digits, the most significant first.
    pub(super) fn to_hex(self) -> String {
        self.0.iter().rev().map(|word| format!("{word:016x}")).collect()
    }
}

/// Which fields are in the records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    owner: bool,
    times: bool,
    xattr: bool,
    acl: bool,
    capability: bool,
}

impl Fields {
    /// All but those whose loss is accepted.
    pub(super) fn without(accept: &BTreeSet<Loss>) -> Self {
        let has = |loss| !accept.contains(&loss);
        Self {
            owner: has(Loss::Owner),
            times: has(Loss::Times),
            xattr: has(Loss::Xattr),
            acl: has(Loss::Acl),
            capability: has(Loss::Capability),
        }
    }

    /// Whether an attribute is in the records.
    pub(super) fn has(&self, name: &std::ffi::CStr) -> bool {
        match xattr::property(name) {
            Some(Loss::Acl) => self.acl,
            Some(Loss::Capability) => self.capability,
            Some(_) => self.xattr,
            None => false,
        }
    }

    /// The BLAKE3 of an entry's record.
    pub(super) fn record(
        &self,
        path: &[u8],
        meta: &Meta,
        target: Option<&[u8]>,
        xattrs: &Xattrs,
        content: Option<&[u8; 32]>,
    ) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(path);
        field(&[meta.kind.letter()]);
        if meta.kind != Kind::Link {
            // Where another owner is accepted, setuid and setgid are not kept.
            let mode = if self.owner || meta.kind == Kind::Dir { meta.mode } else { meta.mode & !0o6000 };
            field(&mode.to_le_bytes());
        }
        if self.owner {
            field(&meta.uid.to_le_bytes());
            field(&meta.gid.to_le_bytes());
        }
        if self.times {
            field(&meta.mtime.sec.to_le_bytes());
            field(&meta.mtime.nsec.to_le_bytes());
        }
        match meta.kind {
            Kind::File => field(&meta.size.to_le_bytes()),
            Kind::Link => field(target.unwrap_or_default()),
            kind if kind.is_device() => field(&meta.rdev.to_le_bytes()),
            _ => {}
        }
        for (name, value) in xattrs.iter().filter(|(name, _)| self.has(name)) {
            field(name.to_bytes());
            field(value);
        }
        // A marker that no attribute's name can be: what follows is content.
        field(b"");
        if let Some(content) = content {
            field(content);
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry_and_do_not_depend_on_the_order() {
        let (mut a, mut b) = (Sum::default(), Sum::default());
        let (one, most) = (
            &{
                let mut one = [0; 32];
                one[0] = 1;
                one
            },
            &[255; 32],
        );
        a.add(one);
        a.add(most);
        b.add(most);
        assert_eq!(b.to_hex(), "f".repeat(64));
        b.add(one);
        assert_eq!((a, b), (Sum::default(), Sum::default()));
        let mut c = Sum([u64::MAX, 0, 0, 0]);
        c.add(one);
        assert_eq!(c, Sum([0, 1, 0, 0]));
    }
}
