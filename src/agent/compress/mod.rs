//! A line whose messages are compressed, as far as they arrive sooner that way.
//!
//! Small messages are gathered into blocks of 128 KiB, large ones are blocks of their own. A block goes as it is where
//! that saves less than a tenth; how hard the others are compressed is found out while they go ([`pace`](self)). Both
//! ends of a line must be wrapped.

mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use zstd::bulk::{Compressor, Decompressor};

use crate::wire::{Broken, Inbox, LARGEST, Line, Malformed, Outbox, Put, Take};
use pace::Pace;

/// Small messages are gathered to so much, bytes.
const BLOCK: usize = 128 << 10;
/// What is below goes into a block with others.
const SMALL: usize = 64 << 10;
/// What is looked at of a block when the last one did not get smaller.
const SAMPLE: usize = 16 << 10;
/// Not worth the effort below, bytes.
const LEAST: usize = 256;

/// Kinds of blocks: one message or many, as they are or compressed.
mod kind {
    pub(super) const ONE: u8 = 0;
    pub(super) const MANY: u8 = 1;
    pub(super) const ZSTD: u8 = 2;
}

/// What compression came to, of everything sent on a line.
#[derive(Debug, Default)]
pub struct Tally {
    raw: AtomicU64,
    sent: AtomicU64,
    level: AtomicU64,
}

impl Tally {
    /// Bytes of messages.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw.load(Ordering::Relaxed)
    }

    /// Bytes they became.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The level now: 0 as they are, 1 to 6 those of zstd.
    #[must_use]
    pub fn level(&self) -> u64 {
        self.level.load(Ordering::Relaxed)
    }
}

/// Wraps a line; what it tells of what is sent changes as it goes on.
///
/// # Errors
/// [`Broken::Io`] if there is no memory for it.
pub fn wrap(line: Line) -> Result<(Line, Arc<Tally>), Broken> {
    let tally = Arc::new(Tally::default());
    let outbox = Compressing {
        to: line.outbox,
        with: Compressor::new(1)?,
        pace: Pace::default(),
        gathered: Vec::new(),
        plain: Vec::new(),
        packed: Vec::new(),
        hopeless: false,
        since: Instant::now(),
        tally: Arc::clone(&tally),
    };
    let inbox = Expanding { from: line.inbox, with: Decompressor::new()?, block: Vec::new(), many: Vec::new(), at: 0 };
    Ok((Line { outbox: Box::new(outbox), inbox: Box::new(inbox) }, tally))
}

/// Wraps all lines of a conversation.
///
/// # Errors
/// As [`wrap`].
pub fn all(lines: Vec<Line>) -> Result<Vec<Line>, Broken> {
    lines.into_iter().map(|line| wrap(line).map(|(line, _)| line)).collect()
}

struct Compressing {
    to: Box<dyn Outbox>,
    with: Compressor<'static>,
    pace: Pace,
    gathered: Vec<u8>,
    plain: Vec<u8>,
    packed: Vec<u8>,
    /// The last block did not get smaller.
    hopeless: bool,
    /// When the last block was sent.
    since: Instant,
    tally: Arc<Tally>,
}

impl Compressing {
    fn gathered(&mut self) -> Result<(), Broken> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.gathered);
        let done = self.block(kind::MANY, &[&block]);
        self.gathered = block;
        self.gathered.clear();
        done
    }

    fn block(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), Broken> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let produced = self.since.elapsed();
        let began = Instant::now();
        let packed = length >= LEAST && self.pack(parts, length)?;
        let compressed = began.elapsed();
        let began = Instant::now();
        let sent = if packed {
            let mut head = Put::of(kind | kind::ZSTD);
            head.number(length as u64);
            self.to.send(&[&head.0, &self.packed])?;
            self.packed.len()
        } else {
            let head = [kind];
            let whole: Vec<&[u8]> = std::iter::once(&head[..]).chain(parts.iter().copied()).collect();
            self.to.send(&whole)?;
            length
        };
        self.pace.record(length as u64, [produced, compressed, began.elapsed()]);
        self.since = Instant::now();
        self.tally.raw.fetch_add(length as u64, Ordering::Relaxed);
        self.tally.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.tally.level.store(self.pace.level().unsigned_abs().into(), Ordering::Relaxed);
        Ok(())
    }

    /// Compresses a block; false if it goes as it is.
    fn pack(&mut self, parts: &[&[u8]], length: usize) -> Result<bool, Broken> {
        let level = self.pace.level();
        if level == 0 {
            return Ok(false);
        }
        let whole = match parts {
            [one] => one,
            many => {
                self.plain.clear();
                many.iter().for_each(|part| self.plain.extend_from_slice(part));
                self.plain.as_slice()
            }
        };
        if self.hopeless && length > 2 * SAMPLE {
            // From the middle: beginnings are often of another sort.
            let from = length / 2;
            if !pack(&mut self.with, 1, &whole[from..from + SAMPLE], &mut self.packed)? {
                return Ok(false);
            }
        }
        let smaller = pack(&mut self.with, level, whole, &mut self.packed)?;
        self.hopeless = !smaller;
        Ok(smaller)
    }
}

/// Compresses into `into`; false if that saves less than a tenth.
fn pack(with: &mut Compressor<'_>, level: i32, from: &[u8], into: &mut Vec<u8>) -> Result<bool, Broken> {
    with.set_compression_level(level)?;
    into.clear();
    into.reserve(zstd::zstd_safe::compress_bound(from.len()));
    let count = with.compress_to_buffer(from, into)?;
    Ok(count + count / 10 < from.len())
}

impl Outbox for Compressing {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > LARGEST {
            return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput).into());
        }
        if length >= SMALL {
            self.gathered()?;
            return self.block(kind::ONE, parts);
        }
        let mut put = Put(std::mem::take(&mut self.gathered));
        put.number(length as u64);
        parts.iter().for_each(|part| {
            put.raw(part);
        });
        self.gathered = put.0;
        if self.gathered.len() >= BLOCK { self.gathered() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.gathered()?;
        self.to.flush()
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.gathered()?;
        self.to.finish()
    }
}

struct Expanding {
    from: Box<dyn Inbox>,
    with: Decompressor<'static>,
    block: Vec<u8>,
    /// Several messages, and where the next one is.
    many: Vec<u8>,
    at: usize,
}

impl Expanding {
    /// Expands what is behind the length in `packed`, to exactly that length.
    fn expand(with: &mut Decompressor<'_>, mut packed: Take<'_>, into: &mut Vec<u8>) -> Result<(), Broken> {
        let length: usize = packed.small()?;
        if length > LARGEST {
            return Err(Malformed::Range.into());
        }
        into.clear();
        into.reserve_exact(length);
        let count = with
            .decompress_to_buffer(packed.rest(), into)
            .map_err(|error| Broken::Corrupt(format!("a compressed block cannot be expanded: {error}")))?;
        if count != length {
            return Err(Broken::Corrupt(format!("a compressed block of {length} bytes holds {count}")));
        }
        Ok(())
    }
}

impl Inbox for Expanding {
    fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        loop {
            if self.at < self.many.len() {
                let mut take = Take(&self.many[self.at..]);
                let message = take.bytes()?;
                into.clear();
                into.extend_from_slice(message);
                self.at = self.many.len() - take.0.len();
                return Ok(true);
            }
            if !self.from.receive(&mut self.block)? {
                return Ok(false);
            }
            let mut take = Take(&self.block);
            let kind = take.byte()?;
            let several = match kind & !kind::ZSTD {
                kind::ONE => false,
                kind::MANY => true,
                _ => return Err(Malformed::Kind(kind).into()),
            };
            let target = if several { &mut self.many } else { &mut *into };
            self.at = 0;
            if kind & kind::ZSTD != 0 {
                Self::expand(&mut self.with, take, target)?;
            } else {
                target.clear();
                target.extend_from_slice(take.rest());
            }
            if !several {
                self.many.clear();
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::wire::pair;

    proptest! {
        #[test]
        fn messages_arrive_as_they_were_sent(sizes in prop::collection::vec(0usize..200_000, 0..12), kinds: u8, flushes: u8) {
            let messages: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(at, size)| content(*size, kinds >> (at % 8) & 1 == 1)).collect();
            let (left, right) = pair(100);
            let ((mut left, tally), (mut right, _)) = (wrap(left).unwrap(), wrap(right).unwrap());
            for (at, message) in messages.iter().enumerate() {
                let (head, tail) = message.split_at(message.len() / 3);
                left.outbox.send(&[head, tail]).unwrap();
                if flushes >> (at % 8) & 1 == 1 { left.outbox.flush().unwrap(); }
            }
            left.outbox.finish().unwrap();
            let mut got = Vec::new();
            let mut message = vec![7];
            while right.inbox.receive(&mut message).unwrap() { got.push(message.clone()); }
            prop_assert!(got == messages);
            prop_assert!(tally.raw_bytes() >= sizes.iter().map(|size| *size as u64).sum::<u64>());
        }

        #[test]
        fn what_no_compressor_made_is_refused(block: Vec<u8>, zstd: bool) {
            let (mut left, right) = pair(4);
            let mut block = block;
            if zstd { block.splice(0..0, [kind::ZSTD, 20]); }
            left.outbox.send(&[&block]).unwrap();
            left.outbox.finish().unwrap();
            let (mut right, _) = wrap(right).unwrap();
            let mut message = Vec::new();
            // Any bytes may be a message; what matters is that nothing panics, and nothing is expanded beyond its length.
            if right.inbox.receive(&mut message).is_ok() { prop_assert!(message.len() <= block.len().max(20)); }
        }
    }

    /// Bytes that can be compressed, or cannot.
    fn content(size: usize, random: bool) -> Vec<u8> {
        let mut state = size as u64 + 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..size).map(|at| if random { next() } else { (at / 64) as u8 }).collect()
    }

    #[test]
    fn what_can_be_smaller_is_and_what_cannot_goes_as_it_is() {
        for (random, least, most) in [(false, 0, 300_000), (true, 2_000_000, 2_000_000)] {
            let (left, _right) = pair(100);
            let (mut left, tally) = wrap(left).unwrap();
            let message = content(100_000, random);
            (0..20).for_each(|_| left.outbox.send(&[&message]).unwrap());
            assert_eq!(tally.raw_bytes(), 2_000_000);
            assert!((least..=most).contains(&tally.sent_bytes()), "{random}: {}", tally.sent_bytes());
        }
    }

    #[test]
    fn a_lie_about_the_length_is_refused() {
        let packed = zstd::bulk::compress(&[0; 100_000], 1).unwrap();
        for (length, kind) in [(99_999, kind::ZSTD), (100_001, kind::ZSTD), (LARGEST as u64 + 1, kind::ZSTD), (5, 9)] {
            let (mut left, right) = pair(4);
            let mut head = Put::of(kind);
            head.number(length);
            left.outbox.send(&[&head.0, &packed]).unwrap();
            let (mut right, _) = wrap(right).unwrap();
            assert!(matches!(right.inbox.receive(&mut Vec::new()), Err(Broken::Corrupt(_))), "{length}");
        }
    }
}
