//! Which parts of a device an ext2, ext3 or ext4 file system uses, by its own bitmaps.
//!
//! The layout follows the kernel's `fs/ext4/ext4.h`. Whatever is not understood, not clean or does not add up is refused:
//! a block that is taken for unused is not copied. The tables of all groups, and the places of the backup superblocks,
//! count as used whatever a bitmap says.

use rustix::io::Errno;

use super::geometry::GRAIN;
use crate::units::ByteRange;

/// A set of the grains in which something is used.
#[derive(Debug)]
pub(super) struct Used {
    bits: Vec<u64>,
    /// Behind the file system everything counts as used.
    end: u64,
}

impl Used {
    fn nothing(end: u64) -> Self {
        let grains = usize::try_from(end.div_ceil(GRAIN)).unwrap_or(usize::MAX);
        Self { bits: vec![0; grains.div_ceil(64)], end }
    }

    /// Whether anything in a range is used.
    pub(super) fn any(&self, range: ByteRange) -> bool {
        let is_used = |grain: u64| {
            let word = usize::try_from(grain / 64).ok().and_then(|word| self.bits.get(word));
            word.is_none_or(|word| word & (1 << (grain % 64)) != 0)
        };
        range.end > self.end || (range.start / GRAIN..range.end.div_ceil(GRAIN)).any(is_used)
    }

    fn mark(&mut self, range: ByteRange) {
        for grain in range.start / GRAIN..range.end.min(self.end).div_ceil(GRAIN) {
            if let Some(word) = usize::try_from(grain / 64).ok().and_then(|word| self.bits.get_mut(word)) {
                *word |= 1 << (grain % 64);
            }
        }
    }
}

// s_state
const VALID: u16 = 1;
const ERRORS: u16 = 2;
// s_feature_incompat
const RECOVER: u32 = 0x4;
const JOURNAL_DEVICE: u32 = 0x8;
const META_BG: u32 = 0x10;
const WIDE: u32 = 0x80;
/// File types in directories, extents, 64 bits, flexible groups, multiple mount protection, inline data, large
/// directories, extended attributes in inodes, checksum seeds, encryption, case folding: none moves a bitmap.
const KNOWN: u32 = 0x2 | 0x40 | WIDE | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
// s_feature_ro_compat
const BIGALLOC: u32 = 0x200;
// bg_flags
const BLOCK_UNINIT: u16 = 0x2;

/// A number at a place; nothing of ours asks for one behind the end.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(bytes.get(at..at + N).unwrap_or(&[0; 8][..N]));
    u64::from_le_bytes(wide)
}

struct Super {
    block: u64,
    blocks: u64,
    first: u64,
    per_group: u64,
    inodes_per_group: u64,
    inode_size: u64,
    descriptor: u64,
    reserved: u64,
    groups: u64,
}

fn read_super(bytes: &[u8], size: u64) -> Result<Super, String> {
    let word = |at| number::<4>(bytes, at);
    if number::<2>(bytes, 0x38) != 0xef53 {
        return Err("there is no ext2, ext3 or ext4 file system".into());
    }
    let (incompat, ro) = (word(0x60) as u32, word(0x64) as u32);
    let state = number::<2>(bytes, 0x3a) as u16;
    if state & ERRORS != 0 || state & VALID == 0 {
        return Err("its file system has errors or was not unmounted cleanly".into());
    }
    if incompat & RECOVER != 0 {
        return Err("its journal holds what was not written to its place yet".into());
    }
    if incompat & JOURNAL_DEVICE != 0 {
        return Err("it is the journal of another device".into());
    }
    if incompat & META_BG != 0 || incompat & !KNOWN != 0 || ro & BIGALLOC != 0 {
        return Err(format!("its layout is not known here (features {incompat:#x}, {ro:#x})"));
    }
    let wide = incompat & WIDE != 0;
    let log = word(0x18);
    if log > 6 {
        return Err("its superblock is damaged".into());
    }
    let found = Super {
        block: 1024 << log,
        blocks: word(0x4) | if wide { word(0x150) << 32 } else { 0 },
        first: word(0x14),
        per_group: word(0x20),
        inodes_per_group: word(0x28),
        inode_size: number::<2>(bytes, 0x58).max(128),
        descriptor: if wide { number::<2>(bytes, 0xfe).max(64) } else { 32 },
        reserved: number::<2>(bytes, 0xce),
        groups: 0,
    };
    let fits = found.blocks.checked_mul(found.block).is_some_and(|bytes| bytes <= size);
    let sound = fits
        && found.per_group > 0
        && found.per_group <= found.block * 8
        && found.inodes_per_group <= found.block * 8
        && found.first <= 1
        && found.first < found.blocks
        && found.descriptor <= 1024;
    if !sound {
        return Err("its superblock is damaged, or the file system is larger than the device".into());
    }
    Ok(Super { groups: (found.blocks - found.first).div_ceil(found.per_group), ..found })
}

/// Reads the map of a device of `size` bytes; `read` gives the bytes of a range.
///
/// # Errors
/// Why there is none that could be relied on.
pub(super) fn map(size: u64, mut read: impl FnMut(ByteRange) -> Result<Vec<u8>, Errno>) -> Result<Used, String> {
    let mut get = |start: u64, len: u64| {
        let end = start.checked_add(len).filter(|end| *end <= size).ok_or("a table of it lies behind its end")?;
        read(ByteRange { start, end }).map_err(|errno| format!("it cannot be read at byte {start}: {errno}"))
    };
    let it = read_super(&get(1024, 1024)?, size)?;
    let mut used = Used::nothing(it.blocks * it.block);
    let span = |first: u64, count: u64| ByteRange {
        start: first.saturating_mul(it.block),
        end: first.saturating_add(count).saturating_mul(it.block),
    };
    // What stands before the first group: the boot sector.
    used.mark(span(0, it.first + 1));
    let table_blocks = (it.groups * it.descriptor).div_ceil(it.block);
    let table = get((it.first + 1) * it.block, it.groups * it.descriptor)?;
    for group in 0..it.groups {
        let bytes = &table[(group * it.descriptor) as usize..][..it.descriptor as usize];
        let place = |low: usize, high: usize| {
            number::<4>(bytes, low) | if it.descriptor >= 64 { number::<4>(bytes, high) << 32 } else { 0 }
        };
        let (block_bitmap, inode_bitmap, inode_table) = (place(0, 0x20), place(4, 0x24), place(8, 0x28));
        let free = number::<2>(bytes, 0xc) | if it.descriptor >= 64 { number::<2>(bytes, 0x2c) << 16 } else { 0 };
        let begin = it.first + group * it.per_group;
        let count = it.per_group.min(it.blocks - begin);
        used.mark(span(begin, (1 + table_blocks + it.reserved).min(count)));
        used.mark(span(block_bitmap, 1));
        used.mark(span(inode_bitmap, 1));
        used.mark(span(inode_table, (it.inodes_per_group * it.inode_size).div_ceil(it.block)));
        if number::<2>(bytes, 0x12) as u16 & BLOCK_UNINIT != 0 {
            continue;
        }
        let bitmap = get(block_bitmap.saturating_mul(it.block), it.block)?;
        let is_used = |index: u64| bitmap[(index / 8) as usize] & (1 << (index % 8)) != 0;
        let mut found = 0;
        for index in 0..count {
            if is_used(index) {
                used.mark(span(begin + index, 1));
            } else {
                found += 1;
            }
        }
        if found != free {
            return Err(format!("its bitmap of group {group} does not add up: {found} blocks are free, not {free}"));
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_file_system_counts_as_used() {
        let mut used = Used::nothing(10 * GRAIN);
        let part = |start: u64, end: u64| ByteRange { start: start * GRAIN, end: end * GRAIN };
        assert!(!used.any(part(0, 10)));
        assert!(used.any(part(0, 11)) && used.any(part(9, 11)) && used.any(part(70, 71)));
        used.mark(ByteRange { start: 3 * GRAIN + 5, end: 3 * GRAIN + 6 });
        assert!(used.any(part(3, 4)) && used.any(part(0, 10)) && !used.any(part(4, 10)) && !used.any(part(0, 3)));
    }

    #[test]
    fn what_is_no_file_system_is_refused() {
        let read = |range: ByteRange| Ok(vec![0; range.len() as usize]);
        assert!(map(1 << 20, read).is_err_and(|why| why.contains("no ext2")));
        assert!(map(100, read).is_err_and(|why| why.contains("behind its end")));
        let noise = |range: ByteRange| {
            let mut bytes = vec![0xff; range.len() as usize];
            bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
            Ok(bytes)
        };
        assert!(map(1 << 20, noise).is_err());
    }
}
