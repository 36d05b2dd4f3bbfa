//! What a pass did, in numbers that add up.

use std::time::Duration;

use super::error::Lost;
use super::facts::Facts;
use super::signature::Signature;
use crate::units::ByteRange;

/// One pass of [`super::copy`]. `extents = sent + zero + same + already`.
#[derive(Debug, Clone)]
pub struct Report {
    /// Extents of the source.
    pub extents: u64,
    /// Of which data crossed, in whole or in part.
    pub sent: u64,
    /// That became zeros on the target, or in part.
    pub zero: u64,
    /// That the target was known or found to have.
    pub same: u64,
    /// That an attempt before this one of the same pass had finished.
    pub already: u64,
    /// Of `same`, those that an attempt before had written without hearing that it had: read at the target.
    pub found: u64,
    /// Bytes of the source.
    pub bytes: u64,
    /// Bytes of data that were written.
    pub raw_bytes: u64,
    /// What they were on the line, after compression.
    pub wire_bytes: u64,
    /// Extents that were read back and are as they should be.
    pub verified: u64,
    /// What could not be read and is zeros on the target.
    pub lost: Vec<Lost>,
    /// Digest of everything that was copied ([`super::compare`] gives the same for the same bytes).
    pub digest: String,
    /// Which pass over this pair it was, the first is 1.
    pub pass: u32,
    /// The target was read to know what it holds.
    pub target_read: bool,
    /// The target had been written to since the last pass; it was read again and overwritten.
    pub target_changed: bool,
    /// Bytes of the target behind the copy, left as they were.
    pub tail_bytes: u64,
    /// What is still on these.
    pub tail_signatures: Vec<Signature>,
    /// The source has a GPT and the target is larger: the backup header is not at the target's end.
    pub gpt_backup_misplaced: bool,
    /// What the target held before.
    pub overwritten: Vec<Signature>,
    /// The source.
    pub source: Facts,
    /// The target, as it was found; its identity is that of the image where one was made.
    pub target: Facts,
    /// How long it took.
    pub elapsed: Duration,
}

/// What is found before anything is done.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The source.
    pub source: Facts,
    /// The target.
    pub target: Facts,
}

/// How two devices differ.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// All bytes that were compared are the same, and both have as many.
    pub equal: bool,
    /// Bytes that were compared.
    pub bytes: u64,
    /// Grains of 64 KiB that differ.
    pub differing: u64,
    /// The first ranges that differ, at most 64, joined where they touch.
    pub ranges: Vec<ByteRange>,
    /// Digest of what was compared, left.
    pub left_digest: String,
    /// And right.
    pub right_digest: String,
    /// The left one.
    pub left: Facts,
    /// The right one.
    pub right: Facts,
    /// How long it took.
    pub elapsed: Duration,
}
