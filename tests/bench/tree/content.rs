//! What is in the files: cuts of one piece of random bytes. Nothing measured here compresses or compares content.

use crate::support::rng::Rng;

pub(super) struct Content(Vec<u8>);

impl Content {
    /// `bytes` in all; no cut may be longer.
    pub(super) fn new(rng: &mut Rng, bytes: usize) -> Self {
        Self(rng.bytes(bytes))
    }

    /// A piece from anywhere.
    pub(super) fn cut(&self, rng: &mut Rng, bytes: usize) -> &[u8] {
        let at = rng.index(self.0.len() - bytes + 1);
        &self.0[at..at + bytes]
    }
}

/// A time between 2014 and 2023, to the nanosecond: seconds, nanoseconds.
pub(super) fn past(rng: &mut Rng) -> (i64, i64) {
    let second = 1_400_000_000 + rng.below(300_000_000);
    (second.cast_signed(), rng.below(1_000_000_000).cast_signed())
}
