//! Compression in flight: nothing that does not shrink is compressed, and how hard it is tried follows what is slow.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How data crosses a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// As is found to be fastest while it goes on.
    #[default]
    Auto,
    /// As it is.
    Never,
    /// With this level of zstd, 1 to 19.
    Level(i32),
}

impl Compress {
    /// One byte for a message: 0 never, 255 auto, else the level.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Never => 0,
            Self::Level(level) => level.clamp(1, 19) as u8,
            Self::Auto => u8::MAX,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Never),
            1..=19 => Some(Self::Level(i32::from(code))),
            u8::MAX => Some(Self::Auto),
            _ => None,
        }
    }
}

/// A part of the data that tells whether the rest is worth it.
const SAMPLE: usize = 4 << 10;
/// Data must shrink to so many of a thousand.
const WORTH: usize = 900;

/// Compresses for one worker.
pub(super) struct Packer {
    level: i32,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    unzstd: Option<zstd::bulk::Decompressor<'static>>,
    sample: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self { level: 0, zstd: None, unzstd: None, sample: vec![0; zstd::zstd_safe::compress_bound(SAMPLE)] }
    }
}

impl Packer {
    /// `data`, compressed at `level` (0: not at all) behind `room` bytes that are left free; `None` where that does not
    /// pay.
    pub(super) fn pack(&mut self, level: i32, data: &[u8], room: usize) -> Option<Vec<u8>> {
        if level <= 0 || data.is_empty() {
            return None;
        }
        if self.level != level || self.zstd.is_none() {
            self.zstd = zstd::bulk::Compressor::new(level).ok();
            self.level = level;
        }
        let zstd = self.zstd.as_mut()?;
        let middle = data.len() / 2;
        let sample = &data[middle..data.len().min(middle + SAMPLE)];
        if data.len() > 4 * SAMPLE {
            let packed = zstd.compress_to_buffer(sample, &mut self.sample[..]).ok()?;
            if packed * 1000 > sample.len() * (WORTH + 50) {
                return None;
            }
        }
        let limit = data.len() * WORTH / 1000;
        let mut out = vec![0; room + limit];
        let packed = zstd.compress_to_buffer(data, &mut out[room..]).ok()?;
        out.truncate(room + packed);
        Some(out)
    }

    /// Fills `into` with what `packed` holds; `false` if that is not exactly as much.
    pub(super) fn unpack(&mut self, packed: &[u8], into: &mut [u8]) -> bool {
        if self.unzstd.is_none() {
            self.unzstd = zstd::bulk::Decompressor::new().ok();
        }
        let len = into.len();
        self.unzstd.as_mut().is_some_and(|zstd| zstd.decompress_to_buffer(packed, into).is_ok_and(|done| done == len))
    }
}

/// Levels that are tried, from the least work to the most.
const LADDER: [i32; 6] = [0, 1, 2, 3, 5, 7];
/// So long is measured before a step.
const SPAN: Duration = Duration::from_millis(200);
/// What a level gave is remembered for so long.
const MEMORY: Duration = Duration::from_secs(4);

/// How hard it is tried now; shared by all workers of one end.
pub(super) struct Pace {
    rung: AtomicUsize,
    fixed: Option<i32>,
    /// Lines data goes to.
    lines: u32,
    spent: Mutex<Spent>,
}

struct Spent {
    since: Instant,
    /// Bytes before they were packed.
    raw: u64,
    sending: Duration,
    /// Bytes a second that were moved with each level, and when.
    known: [Option<(f64, Instant)>; LADDER.len()],
}

impl Pace {
    pub(super) fn new(compress: Compress) -> Self {
        let fixed = match compress {
            Compress::Auto => None,
            Compress::Never => Some(0),
            Compress::Level(level) => Some(level),
        };
        let spent = Spent { since: Instant::now(), raw: 0, sending: Duration::ZERO, known: [None; LADDER.len()] };
        Self { rung: AtomicUsize::new(1), fixed, lines: 1, spent: Mutex::new(spent) }
    }

    /// The same for so many lines.
    pub(super) fn over(self, lines: usize) -> Self {
        Self { lines: u32::try_from(lines).unwrap_or(1).max(1), ..self }
    }

    /// The level for the next piece.
    pub(super) fn level(&self) -> i32 {
        self.fixed.unwrap_or(LADDER[self.rung.load(Ordering::Relaxed)])
    }

    /// So many bytes went out, and one line took so long to take what they became. Where the lines are what all wait
    /// for, more work is put into less bytes; where they are idle, less; and never back to what was slower a moment ago.
    pub(super) fn sent(&self, raw: u64, sending: Duration) {
        if self.fixed.is_some() {
            return;
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.sending += sending;
        spent.raw += raw;
        let (elapsed, now) = (spent.since.elapsed(), Instant::now());
        if elapsed < SPAN {
            return;
        }
        let rung = self.rung.load(Ordering::Relaxed);
        let busy = spent.sending.as_secs_f64() / (elapsed * self.lines).as_secs_f64();
        spent.known[rung] = Some((spent.raw as f64 / elapsed.as_secs_f64(), now));
        let recent = |known: Option<(f64, Instant)>| known.filter(|(_, at)| now - *at < MEMORY).map(|(rate, _)| rate);
        self.rung.store(next(rung, busy, &spent.known.map(recent)), Ordering::Relaxed);
        (spent.since, spent.raw, spent.sending) = (now, 0, Duration::ZERO);
    }
}

/// The rung to go on with: `busy` is the share of time the lines were taken up, `rates` what each rung gave lately.
fn next(rung: usize, busy: f64, rates: &[Option<f64>; LADDER.len()]) -> usize {
    let mine = rates[rung].unwrap_or(0.0);
    let better = |other: usize| rates[other].is_some_and(|rate| rate > mine * 1.05);
    let worse = |other: usize| rates[other].is_some_and(|rate| rate < mine * 1.02);
    let (down, up) = (rung.checked_sub(1), Some(rung + 1).filter(|up| *up < LADDER.len()));
    if let Some(back) = [down, up].into_iter().flatten().find(|other| better(*other)) {
        return back;
    }
    let wanted = if busy > 0.7 {
        up
    } else if busy < 0.4 {
        down
    } else {
        None
    };
    wanted.filter(|other| !worse(*other)).unwrap_or(rung)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| b"a line of some text "[at % 20]).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().finalize_xof();
        let mut out = vec![0; len];
        reader.fill(&mut out);
        out
    }

    #[test]
    fn what_shrinks_comes_back_and_what_does_not_is_left() {
        let mut packer = Packer::default();
        let data = text(1 << 20);
        let packed = packer.pack(1, &data, 9).unwrap();
        assert!(packed.len() < 100_000);
        let mut back = vec![0; data.len()];
        assert!(packer.unpack(&packed[9..], &mut back) && back == data);
        assert!(!packer.unpack(&packed[9..], &mut back[1..]), "a byte too many");
        assert!(!packer.unpack(&packed[9..], &mut vec![0; data.len() + 1]), "a byte too few");
        assert!(!packer.unpack(b"no zstd", &mut back));
        assert_eq!(packer.pack(1, &noise(1 << 20), 0), None);
        assert_eq!(packer.pack(0, &data, 0), None);
        // A sample that promises more than the rest keeps.
        let mut mixed = noise(1 << 20);
        mixed[(1 << 19)..(1 << 19) + SAMPLE].copy_from_slice(&text(SAMPLE));
        assert_eq!(packer.pack(1, &mixed, 0), None);
    }

    #[test]
    fn the_level_follows_what_is_slow() {
        let mut rates = [None; LADDER.len()];
        rates[1] = Some(100.0);
        assert_eq!((next(1, 0.9, &rates), next(1, 0.1, &rates), next(1, 0.5, &rates)), (2, 0, 1));
        // It was tried, and it was slower.
        rates[2] = Some(90.0);
        assert_eq!(next(1, 0.9, &rates), 1);
        // It was faster before.
        assert_eq!(next(2, 0.9, &rates), 1);
        rates = [Some(1.0); LADDER.len()];
        assert_eq!((next(LADDER.len() - 1, 0.9, &rates), next(0, 0.1, &rates)), (LADDER.len() - 1, 0));
        let pace = Pace::new(Compress::Auto).over(2);
        assert_eq!(pace.level(), 1);
        pace.spent.lock().unwrap().since = Instant::now() - SPAN;
        pace.sent(1 << 20, SPAN * 2);
        assert_eq!(pace.level(), 2);
        let fixed = Pace::new(Compress::Level(3));
        fixed.sent(1, SPAN);
        assert_eq!((fixed.level(), Pace::new(Compress::Never).level()), (3, 0));
        for compress in [Compress::Auto, Compress::Never, Compress::Level(7)] {
            assert_eq!(Compress::of_code(compress.code()), Some(compress));
        }
        assert_eq!(Compress::of_code(20), None);
    }
}
