//! What a caller may ask of the block engine. Every field says its default.

use std::path::PathBuf;

use super::codec::Compress;
use super::facts::Identity;
use crate::rate::Rate;

/// What the target is known to hold before the first pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// Nothing is known: everything is written, zeros too.
    #[default]
    Unknown,
    /// Zeros: zeros are not written, and read back where verification is on.
    Zero,
    /// Perhaps much of the same: it is read first, and only what differs crosses and is written.
    Compare,
}

/// What is done about a source that cannot be read in places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReadError {
    /// The copy fails.
    #[default]
    Fail,
    /// Zeros take the place of what is lost, to the sector, and every such range is reported.
    Zero,
}

/// What is read back from the target at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Nothing. What crossed was still checked before it was written.
    None,
    /// What this pass wrote or took for granted.
    #[default]
    Written,
    /// Everything.
    Whole,
}

/// One pass of [`super::copy`].
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Overwrite a target that holds something, or that was written to since the last pass. Default: refuse.
    pub overwrite: bool,
    /// Make the target, an image file, if it does not exist. Default: no.
    pub create: bool,
    /// Copy a source that something may write to; the copy is then no state the source ever was in. Default: refuse.
    pub live: bool,
    /// Default: [`Content::Unknown`].
    pub content: Content,
    /// Default: [`OnReadError::Fail`].
    pub on_read_error: OnReadError,
    /// Take what the ext2, ext3 or ext4 file system on the source does not use for zeros. Default: no.
    pub used_only: bool,
    /// Default: [`Compress::Auto`]; between two ends of this machine nothing is compressed.
    pub compress: Compress,
    /// Default: [`Verify::Written`].
    pub verify: Verify,
    /// File in which the digests of the last pass are kept, so that the next reads one side only. Default: they are kept
    /// in [`super::Work::checkpoint`].
    pub digests: Option<PathBuf>,
    /// What source and target were found to be by an earlier look. Default: whatever they are.
    pub expect: Option<(Identity, Identity)>,
    /// Limit on what is sent. Default: none.
    pub rate: Rate,
    /// Extents on their way at once; bounds memory to about twice as many MiB. Default (0): 32.
    pub in_flight: usize,
}

/// One [`super::compare`].
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// Compare this many bytes. Default: as many as the smaller side has.
    pub length: Option<u64>,
    /// Extents on their way at once. Default (0): 32.
    pub in_flight: usize,
}

/// So many extents are on their way at once where nobody gave a number.
pub(super) fn window(given: usize) -> usize {
    if given == 0 { 32 } else { given }
}
