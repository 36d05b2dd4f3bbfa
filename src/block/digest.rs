//! Digests of grains, of extents, of a whole device. BLAKE3; 128 bits where many are kept, 256 for the one of a whole.

use std::sync::OnceLock;

use super::geometry::{GRAIN, GRAINS, Mask, grain};
use crate::wire::{Malformed, Put, Take};

/// The digest of one grain.
pub(super) type Digest = [u8; 16];

/// What a grain is compared with to know whether it is all zeros: the C library does this faster than anything here.
static ZEROS: [u8; GRAIN as usize] = [0; GRAIN as usize];

/// Whether there is nothing but zeros; at most a grain.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

fn of(bytes: &[u8]) -> Digest {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    out
}

/// The digest of a grain of so many zeros.
pub(super) fn of_zeros(bytes: usize) -> Digest {
    static WHOLE: OnceLock<Digest> = OnceLock::new();
    if bytes == ZEROS.len() { *WHOLE.get_or_init(|| of(&ZEROS)) } else { of(&ZEROS[..bytes]) }
}

/// The digest of a grain.
pub(super) fn of_grain(bytes: &[u8]) -> Digest {
    // Most zeros are found by their first bytes not being any.
    if is_zero(bytes) { of_zeros(bytes.len()) } else { of(bytes) }
}

/// The digests of all grains of one extent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Grains {
    bytes: u32,
    count: u8,
    digests: [Digest; GRAINS],
}

impl std::fmt::Debug for Grains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Grains({} of {} bytes)", self.count, self.bytes)
    }
}

impl Grains {
    /// Those of an extent of `bytes` zeros.
    pub(super) fn zeros(bytes: u64) -> Self {
        let count = super::geometry::grains(bytes);
        let mut digests = [[0; 16]; GRAINS];
        for (index, digest) in digests.iter_mut().enumerate().take(count) {
            *digest = of_zeros(grain(bytes, index).len() as usize);
        }
        Self { bytes: bytes as u32, count: count as u8, digests }
    }

    /// Those of what an extent holds.
    pub(super) fn of(extent: &[u8]) -> Self {
        let mut digests = [[0; 16]; GRAINS];
        let chunks = extent.chunks(GRAIN as usize);
        let count = chunks.len();
        chunks.zip(&mut digests).for_each(|(bytes, digest)| *digest = of_grain(bytes));
        Self { bytes: extent.len() as u32, count: count as u8, digests }
    }

    /// From digests that were kept.
    pub(super) fn kept(bytes: u64, kept: &[Digest]) -> Option<Self> {
        let count = super::geometry::grains(bytes);
        let mut digests = [[0; 16]; GRAINS];
        (kept.len() == count).then(|| {
            digests[..count].copy_from_slice(kept);
            Self { bytes: bytes as u32, count: count as u8, digests }
        })
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests[..self.count()]
    }

    pub(super) fn set(&mut self, index: usize, digest: Digest) {
        self.digests[index] = digest;
    }

    /// What all zeros of this grain's length have as their digest.
    pub(super) fn zero_digest(&self, index: usize) -> Digest {
        of_zeros(grain(u64::from(self.bytes), index).len() as usize)
    }

    /// Which grains are all zeros.
    pub(super) fn zero_mask(&self) -> Mask {
        let is_zero = |(index, digest): (usize, &Digest)| Mask::from(*digest == self.zero_digest(index)) << index;
        self.digests().iter().enumerate().map(is_zero).fold(0, |mask, bit| mask | bit)
    }

    /// Which grains are not as in `other`.
    pub(super) fn differing(&self, other: &Self) -> Mask {
        let pairs = self.digests().iter().zip(other.digests());
        pairs.enumerate().fold(0, |mask, (index, (a, b))| mask | Mask::from(a != b) << index)
    }

    /// One digest for the extent.
    pub(super) fn sum(&self) -> Digest {
        of(self.digests().as_flattened())
    }

    /// Which are zeros, then the others.
    pub(super) fn put(&self, put: &mut Put) {
        let zero = self.zero_mask();
        put.number(u64::from(zero));
        for (index, digest) in self.digests().iter().enumerate() {
            if zero & (1 << index) == 0 {
                put.raw(digest);
            }
        }
    }

    /// Reads those of an extent of `bytes` bytes.
    pub(super) fn take(take: &mut Take<'_>, bytes: u64) -> Result<Self, Malformed> {
        let mut grains = Self::zeros(bytes);
        let zero: Mask = take.small()?;
        if zero & !super::geometry::all(grains.count()) != 0 {
            return Err(Malformed::Range);
        }
        for index in 0..grains.count() {
            if zero & (1 << index) == 0 {
                grains.set(index, take.array()?);
            }
        }
        Ok(grains)
    }
}

/// The digest of a whole device: of its size and of the sums of its extents, in order. 64 hexadecimal digits.
pub(super) fn whole(size: u64, sums: &[Digest]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"decamp block 1");
    hasher.update(&size.to_le_bytes());
    hasher.update(sums.as_flattened());
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::geometry::EXTENT;

    #[test]
    fn zeros_are_known_by_their_digest_and_cross_a_line() {
        let mut extent = vec![0; EXTENT as usize - 7];
        extent[GRAIN as usize * 3] = 1;
        let grains = Grains::of(&extent);
        assert_eq!(grains.zero_mask(), !(1 << 3));
        assert_eq!(grains.differing(&Grains::zeros(EXTENT - 7)), 1 << 3);
        assert_eq!(Grains::of(&vec![0; EXTENT as usize - 7]), Grains::zeros(EXTENT - 7));
        assert_ne!(grains.sum(), Grains::zeros(EXTENT - 7).sum());
        let mut put = Put::default();
        grains.put(&mut put);
        assert!(put.0.len() < 24, "{}", put.0.len());
        assert_eq!(Grains::take(&mut Take(&put.0), EXTENT - 7), Ok(grains));
        assert_eq!(Grains::take(&mut Take(&put.0), GRAIN), Err(Malformed::Range));
        assert_eq!(Grains::kept(EXTENT - 7, grains.digests()), Some(grains));
        assert_eq!(Grains::kept(EXTENT, &grains.digests()[1..]), None);
    }

    #[test]
    fn the_order_and_the_size_are_in_the_whole() {
        let (a, b) = ([1; 16], [2; 16]);
        assert_ne!(whole(7, &[a, b]), whole(7, &[b, a]));
        assert_ne!(whole(7, &[a, b]), whole(8, &[a, b]));
    }
}
