//! How a device is cut: extents travel, grains are compared.

use crate::units::ByteRange;

/// What travels at once, bytes.
pub const EXTENT: u64 = 1 << 20;
/// What has a digest of its own, bytes.
pub const GRAIN: u64 = 64 << 10;
/// Grains of a whole extent: as many as a [`Mask`] has bits.
pub(super) const GRAINS: usize = (EXTENT / GRAIN) as usize;

/// A set of grains of one extent, the first in the lowest bit.
pub(super) type Mask = u16;

/// The cut of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    size: u64,
}

impl Geometry {
    pub(super) fn new(size: u64) -> Self {
        Self { size }
    }

    /// Bytes in all.
    pub(super) fn size(self) -> u64 {
        self.size
    }

    /// Extents in all; the last may be shorter.
    pub(super) fn extents(self) -> u64 {
        self.size.div_ceil(EXTENT)
    }

    /// Where an extent lies; `None` behind the end.
    pub(super) fn range(self, index: u64) -> Option<ByteRange> {
        let start = index.checked_mul(EXTENT).filter(|start| *start < self.size)?;
        Some(ByteRange { start, end: self.size.min(start + EXTENT) })
    }
}

/// How many grains so many bytes of an extent have.
pub(super) fn grains(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(GRAIN)).unwrap_or(usize::MAX).min(GRAINS)
}

/// Where a grain lies within an extent of `bytes` bytes.
pub(super) fn grain(bytes: u64, index: usize) -> ByteRange {
    let start = (index as u64 * GRAIN).min(bytes);
    ByteRange { start, end: bytes.min(start + GRAIN) }
}

/// All of the first `count` grains.
pub(super) fn all(count: usize) -> Mask {
    if count >= GRAINS { Mask::MAX } else { (1 << count) - 1 }
}

/// The runs of neighbours in a set, as half-open ranges of grains.
pub(super) fn runs(mask: Mask) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < GRAINS && mask & (1 << at) == 0 {
            at += 1;
        }
        let start = at;
        while at < GRAINS && mask & (1 << at) != 0 {
            at += 1;
        }
        (at > start).then_some((start, at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extent_and_the_last_grain_may_be_short() {
        let cut = Geometry::new(2 * EXTENT + GRAIN + 5);
        assert_eq!(cut.extents(), 3);
        assert_eq!(cut.range(2), Some(ByteRange { start: 2 * EXTENT, end: 2 * EXTENT + GRAIN + 5 }));
        assert_eq!(cut.range(3), None);
        assert_eq!(cut.range(u64::MAX), None);
        assert_eq!((grains(GRAIN + 5), grains(GRAIN), grains(EXTENT)), (2, 1, GRAINS));
        assert_eq!(grain(GRAIN + 5, 1), ByteRange { start: GRAIN, end: GRAIN + 5 });
        assert!(grain(GRAIN, 1).is_empty());
        assert_eq!(Geometry::new(0).extents(), 0);
    }

    #[test]
    fn sets_are_cut_into_runs() {
        let found = |mask| runs(mask).collect::<Vec<_>>();
        assert_eq!(found(0), []);
        assert_eq!(found(Mask::MAX), [(0, GRAINS)]);
        assert_eq!(found(0b1000_0000_0110_0001), [(0, 1), (5, 7), (15, 16)]);
        assert_eq!((all(0), all(3), all(16)), (0, 7, Mask::MAX));
    }
}
