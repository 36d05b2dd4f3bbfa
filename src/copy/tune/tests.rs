//! The tuner against loads whose best number of workers is known.

use super::*;

const TICK: Duration = Duration::from_millis(250);
const MOST: usize = 256;

/// A load, worked on by whoever the tuner wants.
struct World {
    tuner: Tuner,
    at: Duration,
    done: f64,
    seed: u64,
    noise: f64,
    most: usize,
    idle: usize,
    /// The number wanted at every look.
    story: Vec<usize>,
}

impl World {
    fn new() -> Self {
        Self::given(None)
    }

    fn given(jobs: Option<usize>) -> Self {
        let tuner = Tuner::new(jobs, MOST);
        Self { tuner, at: Duration::ZERO, done: 0.0, seed: 1, noise: 0.0, most: MOST, idle: 0, story: Vec::new() }
    }

    /// A number between -1 and 1.
    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }

    /// So many looks at work of which `speed` says how many operations a second so many workers do.
    fn go(&mut self, looks: usize, speed: impl Fn(usize) -> f64) {
        for _ in 0..looks {
            let running = self.tuner.wanted();
            let noisy = 1.0 + self.noise * self.random();
            self.at += TICK;
            self.done += speed(running - self.idle.min(running)) * TICK.as_secs_f64() * noisy;
            let (done, idle, most) = (self.done as u64, self.idle, self.most);
            self.tuner.look(&Look { at: self.at, done, running, idle, most });
            self.story.push(self.tuner.wanted());
        }
    }

    fn wanted(&self) -> usize {
        self.tuner.wanted()
    }

    /// The mean of what was wanted at the last so many looks.
    fn lately(&self, looks: usize) -> usize {
        self.story[self.story.len() - looks..].iter().sum::<usize>() / looks
    }
}

/// Every worker waits for a server that serves 100 of them at once.
fn waiting(workers: usize) -> f64 {
    workers.min(100) as f64 * 1_000.0
}

/// Two processors have all to do.
fn computing(workers: usize) -> f64 {
    workers.min(2) as f64 * 40_000.0
}

#[test]
fn work_that_waits_gets_workers_up_to_the_knee_and_soon() {
    let mut world = World::new();
    world.go(5, waiting);
    assert!(world.wanted() >= 128, "{:?}", world.story);
    world.go(75, waiting);
    assert_eq!(world.tuner.held(), Some(Held::NoGain));
    assert!((96..=150).contains(&world.lately(60)), "{:?}", world.story);
}

#[test]
fn work_that_computes_gets_no_more_than_it_began_with() {
    let mut world = World::new();
    world.go(4, computing);
    assert_eq!((world.wanted(), world.tuner.held()), (FIRST, Some(Held::NoGain)), "{:?}", world.story);
    world.go(200, computing);
    assert!(world.lately(100) <= FIRST, "{:?}", world.story);
    assert!(world.story.iter().all(|wanted| (FEWEST..=2 * FIRST).contains(wanted)), "{:?}", world.story);
}

#[test]
fn noise_does_not_mislead() {
    for seed in 1..=50 {
        let mut world = World { noise: 0.04, seed, ..World::new() };
        world.go(160, waiting);
        assert!((80..=170).contains(&world.lately(120)), "seed {seed}: {:?}", world.story);
        let mut world = World { noise: 0.04, seed, ..World::new() };
        world.go(160, computing);
        assert!(world.lately(120) <= 2 * FIRST, "seed {seed}: {:?}", world.story);
    }
}

#[test]
fn a_load_that_changes_its_nature_is_followed_both_ways() {
    let mut world = World::new();
    world.go(80, computing);
    world.go(100, waiting);
    assert!(world.lately(20) >= 80, "{:?}", world.story);
    // More is worse now, as on a disk whose head is sent about.
    world.go(1_000, |workers| 8_000.0 / (workers as f64).sqrt());
    assert!(world.lately(40) <= 2 * FIRST, "{:?}", world.story);
}

#[test]
fn trials_are_rare_and_a_bad_one_is_short() {
    let mut world = World::new();
    world.go(400, waiting);
    let usual = world.story[399];
    let fewer = world.story[100..].iter().filter(|wanted| **wanted < usual).count();
    assert!(fewer > 0, "it never tries fewer: {:?}", world.story);
    assert!(fewer < 40, "{fewer} of 300 looks with too few: {:?}", world.story);
}

#[test]
fn what_ends_early_tells_nothing() {
    let mut world = World::new();
    assert_eq!((world.wanted(), world.tuner.held()), (FIRST, None));
    world.go(2, waiting);
    assert_eq!(world.tuner.held(), None);
}

#[test]
fn a_number_that_is_given_stays() {
    let mut world = World::given(Some(3));
    world.go(100, waiting);
    assert!(world.story.iter().all(|wanted| *wanted == 3), "{:?}", world.story);
    assert_eq!(world.tuner.held(), Some(Held::Given));
    world.most = 2;
    world.go(1, waiting);
    assert_eq!((world.wanted(), world.tuner.held()), (2, Some(Held::Limit)));
}

#[test]
fn there_are_never_more_than_may_be() {
    let mut world = World { most: 20, tuner: Tuner::new(None, 20), ..World::new() };
    world.go(40, waiting);
    assert!(world.story.iter().all(|wanted| *wanted <= 20), "{:?}", world.story);
    assert_eq!((world.wanted(), world.tuner.held()), (20, Some(Held::Limit)), "{:?}", world.story);
    // Another tree begins beside this one, and ends.
    world.most = 6;
    world.go(40, waiting);
    assert!(world.story[40..].iter().all(|wanted| *wanted <= 6), "{:?}", world.story);
    world.most = MOST;
    world.go(80, waiting);
    assert!(world.wanted() >= 80, "{:?}", world.story);
}

#[test]
fn idle_workers_stop_growth_and_conclude_nothing() {
    let mut world = World { idle: 3, ..World::new() };
    world.go(10, waiting);
    assert_eq!((world.wanted(), world.tuner.held()), (FIRST, Some(Held::Idle)));
    world.idle = 0;
    world.go(6, waiting);
    assert!(world.wanted() >= 128, "{:?}", world.story);
}

#[test]
fn work_that_is_counted_in_lots_is_seen_all_the_same() {
    let mut world = World::new();
    for _ in 0..20 {
        // Nothing is finished for two looks, and then all of it.
        world.go(2, |_| 0.0);
        world.go(1, |workers| 3.0 * waiting(workers));
    }
    assert!(world.wanted() >= 96, "{:?}", world.story);
}

#[test]
fn workers_who_are_still_busy_are_waited_for() {
    let mut world = World::new();
    world.go(60, waiting);
    let usual = world.wanted();
    // Nobody parks: fewer workers are never seen, and so never found to be as good.
    for _ in 0..300 {
        world.at += TICK;
        world.done += waiting(usual) * TICK.as_secs_f64();
        world.tuner.look(&Look { at: world.at, done: world.done as u64, running: usual, idle: 0, most: usual });
        assert!(world.wanted() >= usual - usual / 4, "{} of {usual}", world.wanted());
    }
}
