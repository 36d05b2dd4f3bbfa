//! How hard to compress: a level that is tried, kept where messages go faster with it, and left where they do not.
//!
//! Three take turns: whoever makes the messages, the compressor, and the link. Where the link is waited for, a higher
//! level may help; where the compressor takes the time and the link hardly any, a lower one. Whether it did is measured,
//! and what did not help is not tried again for a while.

use std::time::Duration;

/// The highest level: what lies above costs more than any link is worth.
const HIGHEST: i32 = 6;
/// A level is judged by so much, bytes, and so long.
const BYTES: u64 = 2 << 20;
const SPAN: Duration = Duration::from_millis(40);
/// Windows that pass before what did not help is tried again, at first and at most.
const REST: u32 = 8;
const LONGEST_REST: u32 = 256;
/// A step is kept if it made things faster by so much, and left if slower.
const GAIN: f64 = 1.03;

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    bytes: u64,
    produce: Duration,
    compress: Duration,
    link: Duration,
}

impl Window {
    fn total(&self) -> Duration {
        self.produce + self.compress + self.link
    }

    fn rate(&self) -> f64 {
        self.bytes as f64 / self.total().as_secs_f64().max(1e-9)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    level: i32,
    now: Window,
    /// The level before the last step, and how fast things went with it.
    tried: Option<(i32, f64)>,
    /// Windows to wait before the next step up, and down.
    rest: [u32; 2],
    next_rest: [u32; 2],
}

impl Default for Pace {
    fn default() -> Self {
        Self { level: 1, now: Window::default(), tried: None, rest: [0; 2], next_rest: [REST; 2] }
    }
}

impl Pace {
    /// 0: as they are; 1 to 6: those of zstd.
    pub(super) fn level(&self) -> i32 {
        self.level
    }

    /// Takes note of a block: its bytes, and the time it took to be made, compressed and sent.
    pub(super) fn record(&mut self, bytes: u64, [produce, compress, link]: [Duration; 3]) {
        self.now.bytes += bytes;
        self.now.produce += produce;
        self.now.compress += compress;
        self.now.link += link;
        if self.now.bytes >= BYTES && self.now.total() >= SPAN {
            let window = std::mem::take(&mut self.now);
            self.judge(window);
        }
    }

    fn judge(&mut self, window: Window) {
        let rate = window.rate();
        if let Some((before, was)) = self.tried.take() {
            let direction = usize::from(self.level < before);
            if rate < was * GAIN {
                self.rest[direction] = self.next_rest[direction];
                self.next_rest[direction] = (self.next_rest[direction] * 2).min(LONGEST_REST);
                // Down with no loss saves work; up with no gain wastes it.
                if direction == 0 || rate * GAIN < was {
                    self.level = before;
                    return;
                }
            } else {
                self.next_rest[direction] = REST;
            }
        }
        self.rest.iter_mut().for_each(|rest| *rest = rest.saturating_sub(1));
        let share = |part: Duration| part.as_secs_f64() / window.total().as_secs_f64().max(1e-9);
        let step = if share(window.link) > 0.3 && self.level < HIGHEST && self.rest[0] == 0 {
            1
        } else if share(window.compress) > 0.5 && share(window.link) < 0.2 && self.level > 0 && self.rest[1] == 0 {
            -1
        } else {
            return;
        };
        self.tried = Some((self.level, rate));
        self.level += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compresses at so many MB/s by level (0: for nothing), to so much of the size, over a link of so many MB/s that
    /// takes what it can while the others work. Gives how often each level was in force, after a while.
    fn levels(link: f64, producer: f64, speed: [f64; 7], size: [f64; 7]) -> [u32; 7] {
        let mut pace = Pace::default();
        let mut seen = [0; 7];
        for at in 0..20_000 {
            let level = pace.level().unsigned_abs() as usize;
            let block = 0.131_072;
            let (produce, compress) = (block / producer, if level == 0 { 0.0 } else { block / speed[level] });
            let wait = (block * size[level] / link - produce - compress).max(0.0);
            pace.record(131_072, [produce, compress, wait].map(Duration::from_secs_f64));
            if at > 2_000 {
                seen[level] += 1;
            }
        }
        seen
    }

    const SPEED: [f64; 7] = [0.0, 500.0, 400.0, 250.0, 180.0, 110.0, 80.0];
    const SIZE: [f64; 7] = [1.0, 0.40, 0.38, 0.36, 0.35, 0.34, 0.33];

    fn most(seen: [u32; 7]) -> usize {
        (0..7).max_by_key(|level| seen[*level]).unwrap_or_default()
    }

    #[test]
    fn a_slow_link_is_worth_a_high_level() {
        let seen = levels(10.0, 2000.0, SPEED, SIZE);
        assert!(most(seen) >= 3 && seen[0] == 0, "{seen:?}");
    }

    #[test]
    fn a_fast_link_is_not_worth_any() {
        let seen = levels(700.0, 2000.0, SPEED, SIZE);
        assert!(most(seen) == 0 && seen[0] > 15_000, "{seen:?}");
    }

    #[test]
    fn in_between_the_compressor_is_not_the_slowest() {
        let seen = levels(125.0, 2000.0, SPEED, SIZE);
        assert!((1..=3).contains(&most(seen)), "{seen:?}");
    }

    #[test]
    fn where_nothing_waits_for_the_link_nothing_is_tried() {
        let seen = levels(1000.0, 20.0, SPEED, SIZE);
        assert_eq!(most(seen), 1, "{seen:?}");
    }
}
