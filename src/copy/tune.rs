//! How many workers a tree gets, found out while they work.
//!
//! The number grows as long as that makes the work faster by more than the noise, then rests, and from time to time
//! tries a few more or a few less: what the work is like changes from one part of a tree to the next. What counts is
//! operations, not bytes: each is about one request to a file system, and waiting for requests is what more workers
//! help against.
//!
//! Nothing here measures or waits by itself. The tuner is shown the work at intervals, and says how many workers it
//! wants from there on.

use std::time::Duration;

use crate::progress::Held;

/// Workers at the beginning.
const FIRST: usize = 8;
/// Never fewer than this: storage that is not in the cache wants a few reads in flight however few processors there are.
const FEWEST: usize = 4;
/// Faster or slower by less than this is noise.
const NOISE: f64 = 0.05;
/// With fewer operations seen than this, nothing can be told.
const ENOUGH: u64 = 100;
/// Time between two looks: while the number grows, as every step of that is time lost, and later.
const PAUSES: [Duration; 2] = [Duration::from_millis(125), Duration::from_millis(250)];
/// Looks for which it rests before it tries something: at first, and at most.
const REST: (u32, u32) = (5, 20);
/// The last so many looks of a rest say how fast the work is before something is tried.
const BASE: u32 = 4;
/// Speeds a trial is judged by.
const TRIAL: u32 = 3;
/// A trial that waits longer than this for workers to stop is given up.
const PATIENCE: u32 = 20;

/// The work at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Since the work began.
    pub at: Duration,
    /// Operations done since the work began.
    pub done: u64,
    /// Workers that are not parked.
    pub running: usize,
    /// How many of them have nothing to do.
    pub idle: usize,
    /// The most workers there may be now.
    pub most: usize,
}

/// A mean speed.
#[derive(Debug, Default)]
struct Mean {
    done: f64,
    seconds: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, (done, seconds): (f64, f64)) {
        self.done += done;
        self.seconds += seconds;
        self.count += 1;
    }

    fn speed(&self) -> f64 {
        if self.seconds > 0.0 { self.done / self.seconds } else { 0.0 }
    }
}

#[derive(Debug)]
enum Phase {
    /// The number was given.
    Fixed,
    /// `best`: the highest speed so far; `kept`: the number that was enough for it; `doubted`: the number at hand was
    /// no faster at the first look.
    Growing { best: f64, kept: usize, doubted: bool },
    /// It goes on for so many looks.
    Resting { left: u32, speed: Mean },
    /// Another number than `kept` is tried; `settled`: all its workers, and no others, were at work at the last look.
    Trying { kept: usize, base: f64, speed: Mean, settled: bool, waited: u32 },
}

/// Finds the number of workers.
#[derive(Debug)]
pub(super) struct Tuner {
    phase: Phase,
    wanted: usize,
    most: usize,
    held: Option<Held>,
    /// Where the present look began.
    since: (Duration, u64),
    /// Looks in a row at which there were workers without work.
    starved: u32,
    rest: u32,
    /// More workers are tried next, not fewer.
    upwards: bool,
}

impl Tuner {
    /// A tuner that begins with as many workers as usual, or stays with the number `given`.
    pub(super) fn new(given: Option<usize>, most: usize) -> Self {
        let (phase, held) = match given {
            Some(number) => (Phase::Fixed, Some(if number > most { Held::Limit } else { Held::Given })),
            None => (Phase::Growing { best: 0.0, kept: FIRST.min(most), doubted: false }, None),
        };
        Self {
            phase,
            wanted: given.unwrap_or(FIRST).max(1),
            most: most.max(1),
            held,
            since: (Duration::ZERO, 0),
            starved: 0,
            rest: REST.0,
            upwards: true,
        }
    }

    /// How many workers there should be.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.min(self.most)
    }

    /// How long to wait before the next look.
    pub(super) fn pause(&self) -> Duration {
        PAUSES[usize::from(!matches!(self.phase, Phase::Growing { .. }))]
    }

    /// Why there are no more; `None`: there will be, if that helps.
    pub(super) fn held(&self) -> Option<Held> {
        self.held
    }

    /// Looks at the work, and may change its mind.
    pub(super) fn look(&mut self, look: &Look) {
        self.most = look.most.max(1);
        if matches!(self.phase, Phase::Fixed) {
            self.held = Some(if self.wanted > self.most { Held::Limit } else { Held::Given });
            return;
        }
        if self.wanted > self.most {
            self.wanted = self.most;
            self.hold(Held::Limit);
        }
        let (began, before) = self.since;
        let done = look.done.saturating_sub(before);
        let seconds = look.at.saturating_sub(began).as_secs_f64();
        // One worker of many has now and then nothing to do for a moment.
        if look.idle > look.running / 8 {
            self.since = (look.at, look.done);
            self.starve();
            return;
        }
        // Little may have been finished because little can be in so short a time: the next look sees more.
        if done < ENOUGH || seconds <= 0.0 {
            return;
        }
        self.since = (look.at, look.done);
        self.starved = 0;
        if self.held == Some(Held::Idle) {
            self.held = None;
        }
        let seen = (done as f64, seconds);
        match &mut self.phase {
            Phase::Fixed => {}
            Phase::Growing { .. } => self.grow(seen.0 / seen.1),
            Phase::Resting { left, speed } => {
                *left = left.saturating_sub(1);
                if *left < BASE {
                    speed.add(seen);
                }
                if *left == 0 {
                    let base = speed.speed();
                    self.try_other(base);
                }
            }
            Phase::Trying { .. } => self.judge(seen, look.running),
        }
    }

    /// More workers could not be given anything: that tells nothing about what they would do.
    fn starve(&mut self) {
        self.starved += 1;
        match &self.phase {
            Phase::Growing { .. } if self.starved > 1 => self.held = Some(Held::Idle),
            &Phase::Trying { kept, .. } => {
                self.wanted = kept;
                self.phase = Phase::Resting { left: self.rest, speed: Mean::default() };
            }
            _ => {}
        }
    }

    fn grow(&mut self, speed: f64) {
        let Phase::Growing { best, kept, doubted } = &mut self.phase else { return };
        if speed > *best * (1.0 + NOISE) {
            self.gain(speed);
        } else if *doubted || speed < *best * (1.0 - NOISE) {
            self.wanted = *kept;
            self.hold(Held::NoGain);
        } else {
            *doubted = true;
        }
    }

    /// The number at hand is faster than any before: goes on with more.
    fn gain(&mut self, speed: f64) {
        self.held = None;
        self.phase = Phase::Growing { best: speed, kept: self.wanted, doubted: false };
        if self.wanted < self.most {
            self.wanted = (self.wanted * 2).min(self.most);
        } else {
            self.hold(Held::Limit);
        }
    }

    /// Stays with the number there is, for a while.
    fn hold(&mut self, why: Held) {
        self.held = Some(why);
        self.rest = REST.0;
        self.upwards = true;
        self.phase = Phase::Resting { left: self.rest, speed: Mean::default() };
    }

    fn try_other(&mut self, base: f64) {
        let kept = self.wanted;
        let up = (kept + kept.div_ceil(2)).min(self.most);
        let down = (kept - kept / 4).max(FEWEST.min(self.most));
        let other = match (up > kept, down < kept) {
            (true, true) if self.upwards => up,
            (_, true) => down,
            (true, false) => up,
            (false, false) => kept,
        };
        self.upwards = other <= kept;
        if other == kept {
            self.phase = Phase::Resting { left: self.rest, speed: Mean::default() };
            return;
        }
        self.wanted = other;
        self.phase = Phase::Trying { kept, base, speed: Mean::default(), settled: false, waited: 0 };
    }

    fn judge(&mut self, seen: (f64, f64), running: usize) {
        let Phase::Trying { kept, base, speed, settled, waited } = &mut self.phase else { return };
        let (kept, base) = (*kept, *base);
        // One who is in the middle of something large parks when that is done.
        if running > self.wanted {
            *waited += 1;
        } else if *settled {
            speed.add(seen);
        }
        *settled = running <= self.wanted;
        let down = self.wanted < kept;
        let hopeless = down && speed.count > 0 && speed.speed() < base * (1.0 - 2.0 * NOISE);
        if *waited <= PATIENCE && speed.count < TRIAL && !hopeless {
            return;
        }
        let speed = if speed.count > 0 { speed.speed() } else { 0.0 };
        if !down && speed > base * (1.0 + NOISE) {
            self.gain(speed);
            return;
        }
        if down && speed >= base * (1.0 - NOISE) {
            self.held = Some(Held::NoGain);
        } else {
            self.wanted = kept;
            self.rest = (self.rest * 2).min(REST.1);
        }
        self.phase = Phase::Resting { left: self.rest, speed: Mean::default() };
    }
}

#[cfg(test)]
mod tests;
