//! Subdirectories that were found and not entered yet, packed.

use std::ffi::{CStr, CString};

/// A subdirectory that was found and not entered yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub name: CString,
    /// The job's own bits: on which sides it is, and so on.
    pub bits: u8,
    /// The inode that was found under the name on the side that matters to the job; 0 if it does not matter.
    pub ino: u64,
}

/// Children, packed.
#[derive(Debug, Default)]
pub(super) struct Children {
    packed: Vec<u8>,
    count: usize,
}

impl Children {
    pub(super) fn push(&mut self, name: &CStr, bits: u8, ino: u64) {
        let bytes = name.to_bytes_with_nul();
        self.packed.extend_from_slice(bytes);
        self.packed.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        self.packed.push(bits);
        self.packed.extend_from_slice(&ino.to_le_bytes());
        self.count += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Child> {
        let (rest, ino) = self.packed.split_last_chunk::<8>()?;
        let (&bits, rest) = rest.split_last()?;
        let (rest, length) = rest.split_last_chunk::<2>()?;
        let start = rest.len() - usize::from(u16::from_le_bytes(*length));
        let name = CStr::from_bytes_with_nul(&rest[start..]).ok()?.to_owned();
        let child = Child { name, bits, ino: u64::from_le_bytes(*ino) };
        self.packed.truncate(start);
        self.count -= 1;
        Some(child)
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.packed.append(&mut other.packed);
        self.count += std::mem::take(&mut other.count);
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn children_come_back_as_they_were_put() {
        let mut children = Children::default();
        children.push(c"one", 1, 7);
        children.push(c"", 3, u64::MAX);
        let mut more = Children::default();
        more.push(c"a\xff", 0, 0);
        children.append(&mut more);
        let names: Vec<_> = std::iter::from_fn(|| children.pop()).map(|c| (c.name, c.bits, c.ino)).collect();
        assert_eq!(names, [(c"a\xff".into(), 0, 0), (c"".into(), 3, u64::MAX), (c"one".into(), 1, 7)]);
        assert_eq!((children.count, more.count), (0, 0));
    }
}
