//! Pools over trees that exist in numbers only: nothing is stranded by workers who park, and nobody is left waiting.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::cancel::Reason;
use crate::progress::{Forgetful, Held, Progress};
use std::sync::mpsc::channel;
use std::thread::ThreadId;
use std::time::Duration;

/// A tree: a directory at depth `d` is listed in `pieces(d)` pieces of `fan(d)` subdirectories each.
struct Land {
    pieces: fn(usize) -> usize,
    fan: fn(usize) -> usize,
    /// Called at every piece.
    at_piece: Box<dyn Fn() + Sync>,
    entered: AtomicU64,
    listed: AtomicU64,
    finished: AtomicU64,
    /// Workers with things of their own.
    equipped: AtomicUsize,
    listers: Mutex<Vec<ThreadId>>,
    done: AtomicU64,
}

impl Land {
    fn new(pieces: fn(usize) -> usize, fan: fn(usize) -> usize) -> Self {
        Self {
            pieces,
            fan,
            at_piece: Box::new(|| {}),
            entered: AtomicU64::new(0),
            listed: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            equipped: AtomicUsize::new(0),
            listers: Mutex::default(),
            done: AtomicU64::new(0),
        }
    }

    /// Directories and pieces there are.
    fn size(&self) -> (u64, u64) {
        let (mut dirs, mut pieces, mut level) = (0, 0, 1);
        for depth in 0.. {
            if level == 0 {
                break;
            }
            dirs += level;
            pieces += level * (self.pieces)(depth) as u64;
            level *= ((self.pieces)(depth) * (self.fan)(depth)) as u64;
        }
        (dirs, pieces)
    }

    #[track_caller]
    fn assert_whole(&self) {
        let (dirs, pieces) = self.size();
        let seen = [&self.entered, &self.listed, &self.finished].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(seen, [dirs - 1, pieces, dirs], "entered, listed and finished");
        assert_eq!(self.equipped.load(Ordering::SeqCst), 0, "every worker handed its counts in");
    }
}

fn depth(dir: &Dir) -> usize {
    std::iter::successors(Some(dir), |dir| dir.parent.as_deref()).count() - 1
}

fn land_dir(parent: Option<Arc<Dir>>, budget: &Arc<Budget>) -> Arc<Dir> {
    Dir::new(parent, c"d".into(), (None, None), Pair::new(None, None, budget), 0)
}

/// How far a listing got, and the descriptors that know it.
#[derive(Default)]
struct Place(usize, usize);

impl Job for Land {
    type Worker = ();
    type Cursor = Place;
    type Part = ();

    fn worker(&self) {
        self.equipped.fetch_add(1, Ordering::SeqCst);
    }

    fn open(&self, (): &mut (), parent: &Arc<Dir>, _: Child) -> Result<Option<Arc<Dir>>, Error> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let pair = parent.pair().map_err(Error::io("open", b"land"))?;
        Ok(Some(land_dir(Some(parent.clone()), Dir::budget_of(&pair))))
    }

    fn step(
        &self,
        (): &mut (),
        dir: &Arc<Dir>,
        pair: &Pair,
        place: &mut Place,
        found: &mut Children,
    ) -> Result<bool, Error> {
        (self.at_piece)();
        let here = std::ptr::from_ref(pair).addr();
        assert!(place.0 == 0 || place.1 == here, "a directory was closed in the middle of its listing");
        self.listers.lock().unwrap().push(std::thread::current().id());
        self.listed.fetch_add(1, Ordering::SeqCst);
        self.done.fetch_add(10, Ordering::Relaxed);
        let depth = depth(dir);
        for _ in 0..(self.fan)(depth) {
            found.push(c"d", 0, 0);
        }
        *place = Place(place.0 + 1, here);
        Ok(place.0 < (self.pieces)(depth))
    }

    fn finish(&self, (): &mut (), _: &Arc<Dir>, _: &Pair) -> Result<(), Error> {
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn lost(&self, (): &mut (), _: &Arc<Dir>, errno: Errno) -> Result<(), Error> {
        panic!("lost: {errno}");
    }

    fn retire(&self, (): ()) {
        self.equipped.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Fails the test instead of hanging it.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || sender.send(work()).unwrap());
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Ok(result) => result,
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("somebody waits for ever"),
    }
}

fn pool<'a>(land: &'a Land, cancel: &'a Cancel, budget: &'a Budget, wanted: usize) -> Pool<'a, Land> {
    Pool { job: land, cancel, budget, board: Board::new(wanted).into(), error: Mutex::new(None) }
}

/// Works on a land with 12 workers, of whom now these and now those park.
fn work_and_park(land: &Land, open: usize) {
    let (cancel, budget) = (Cancel::new(), Budget::new(open));
    let pool = pool(land, &cancel, &budget, 12);
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (pool, root) = (&pool, (number == 11).then(|| land_dir(None, &budget)));
            scope.spawn(move || pool.work(number, root));
        }
        for wanted in [1, 12, 3, 7, 2, 12, 1, 5].into_iter().cycle() {
            if pool.board.is_ended() {
                break;
            }
            pool.board.want(wanted);
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    assert!(pool.error.into_inner().unwrap().is_none());
}

#[test]
fn workers_who_park_strand_nothing() {
    let lands: [fn() -> Land; 4] = [
        // Many tiny trees.
        || Land::new(|_| 1, |depth| [40, 5, 5, 2, 0][depth.min(4)]),
        // A deep chain.
        || Land::new(|_| 1, |depth| usize::from(depth < 3_000)),
        // One huge directory, and more subdirectories in it than are kept waiting.
        || Land::new(|depth| if depth == 0 { 60 } else { 1 }, |depth| if depth == 0 { 200 } else { 0 }),
        // Every directory comes in pieces.
        || Land::new(|_| 3, |depth| if depth < 6 { 1 } else { 0 }),
    ];
    for make in lands {
        for open in [1 << 20, 4] {
            in_time(move || {
                let land = make();
                work_and_park(&land, open);
                land.assert_whole();
            });
        }
    }
}

#[test]
fn what_one_hands_back_another_goes_on_with() {
    in_time(|| {
        let mut land = Land::new(|depth| if depth == 0 { 50 } else { 1 }, |depth| usize::from(depth == 0));
        land.at_piece = Box::new(|| std::thread::sleep(Duration::from_millis(2)));
        let (cancel, budget) = (Cancel::new(), Budget::new(1 << 20));
        let pool = pool(&land, &cancel, &budget, 2);
        std::thread::scope(|scope| {
            // The second has the root, and is the one to park.
            let root = land_dir(None, &budget);
            let second = scope.spawn(|| pool.work(1, Some(root)));
            let first = scope.spawn(|| pool.work(0, None));
            while land.listed.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
            pool.board.want(1);
            let (first, second) = (first.thread().id(), second.thread().id());
            while !pool.board.is_ended() {
                std::thread::yield_now();
            }
            let listers = land.listers.lock().unwrap();
            assert!(listers.contains(&first) && listers.contains(&second));
            assert!(listers[listers.len() / 2..].iter().all(|lister| *lister == first), "it did not park");
        });
        land.assert_whole();
    });
}

#[test]
fn who_is_idle_is_called_when_there_is_work() {
    in_time(|| {
        let mut land = Land::new(|_| 1, |depth| if depth == 0 { 50 } else { 0 });
        land.at_piece = Box::new(|| std::thread::sleep(Duration::from_millis(2)));
        let (cancel, budget) = (Cancel::new(), Budget::new(1 << 20));
        let pool = pool(&land, &cancel, &budget, 2);
        std::thread::scope(|scope| {
            let idle = scope.spawn(|| pool.work(1, None)).thread().id();
            while pool.board.resting().0 == 0 {
                std::thread::yield_now();
            }
            pool.work(0, Some(land_dir(None, &budget)));
            assert!(land.listers.lock().unwrap().contains(&idle));
        });
        land.assert_whole();
    });
}

#[test]
fn who_is_wanted_again_comes_back() {
    in_time(|| {
        let mut land = Land::new(|depth| if depth == 0 { 200 } else { 1 }, |depth| if depth == 0 { 10 } else { 0 });
        land.at_piece = Box::new(|| std::thread::sleep(Duration::from_millis(1)));
        let (cancel, budget) = (Cancel::new(), Budget::new(1 << 20));
        let pool = pool(&land, &cancel, &budget, 1);
        let mut came = false;
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (pool, root) = (&pool, (number == 0).then(|| land_dir(None, &budget)));
                scope.spawn(move || pool.work(number, root));
            }
            while pool.board.resting().1 < 3 {
                std::thread::yield_now();
            }
            pool.board.want(4);
            while !came && !pool.board.is_ended() {
                // At the end they wake as well, and that does not count.
                came = pool.board.resting() == (0, 0) && !pool.board.is_ended();
            }
        });
        assert!(came, "nobody woke up");
        land.assert_whole();
    });
}

/// Seven of eight park, then the one at work does `act`.
fn act_while_parked(act: impl Fn() + Sync + Send + 'static, cancel: &Cancel) -> Option<Error> {
    let parked = Arc::new(AtomicUsize::new(0));
    let mut land = Land::new(|_| 1_000_000, |_| 0);
    let seen = parked.clone();
    land.at_piece = Box::new(move || {
        if seen.load(Ordering::SeqCst) == 7 {
            act();
        }
    });
    let budget = Budget::new(1 << 20);
    let pool = pool(&land, cancel, &budget, 1);
    let mut equipped = 0;
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (pool, root) = (&pool, (number == 0).then(|| land_dir(None, &budget)));
            scope.spawn(move || pool.work(number, root));
        }
        while pool.board.resting().1 < 7 || land.listed.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        equipped = land.equipped.load(Ordering::SeqCst);
        parked.store(7, Ordering::SeqCst);
    });
    assert_eq!(equipped, 1, "who is parked has nothing");
    pool.error.into_inner().unwrap()
}

#[test]
fn cancelling_wakes_those_who_are_parked() {
    let error = in_time(|| {
        let cancel = Cancel::new();
        let stop = cancel.clone();
        act_while_parked(move || stop.cancel(Reason::Interrupt), &cancel)
    });
    assert!(matches!(error, Some(Error::Cancelled(_))), "{error:?}");
}

#[test]
#[should_panic(expected = "a scoped thread panicked")]
fn a_panic_wakes_those_who_are_parked() {
    in_time(|| act_while_parked(|| panic!("on purpose"), &Cancel::new()));
}

/// What was told of workers: the last number, all operations.
#[derive(Default)]
struct Told(Mutex<(usize, u64, Option<Held>)>);

impl Progress for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::Workers { running, operations, held } = event {
            let mut told = self.0.lock().unwrap();
            *told = (running, told.1 + operations, held);
        }
    }
}

#[test]
fn the_effort_is_told_and_returned() {
    for (jobs, workers, held) in [(NonZeroUsize::new(3), 3, Some(Held::Given)), (None, 2, None)] {
        let land = Land::new(|_| 1, |depth| if depth < 2 { 20 } else { 0 });
        let (told, cancel, budget) = (Told::default(), Cancel::new(), Budget::new(1 << 20));
        let work = Work { progress: &told, checkpoint: &Forgetful, cancel: &cancel };
        let effort = run(&land, land_dir(None, &budget), &budget, &work, jobs, &land.done).unwrap();
        land.assert_whole();
        let operations = land.size().1 * 10;
        // Other trees are worked on meanwhile, in other tests: they leave less room, but always for two.
        assert!(effort.workers >= workers.min(2) && effort.most_workers <= 8.max(workers), "{effort:?}");
        assert_eq!(effort.operations, operations);
        let told = *told.0.lock().unwrap();
        assert_eq!((told.1, told.2), (operations, effort.held));
        assert!(effort.held == held || effort.held == Some(Held::Limit), "{effort:?}");
    }
}

#[test]
fn workers_come_as_long_as_they_help() {
    in_time(|| {
        // Two hundred pieces a second and worker: only the number of workers makes it faster.
        let mut land = Land::new(|_| 1, |depth| [400, 8, 0][depth.min(2)]);
        land.at_piece = Box::new(|| std::thread::sleep(Duration::from_millis(5)));
        let (told, cancel, budget) = (Told::default(), Cancel::new(), Budget::new(1 << 20));
        let work = Work { progress: &told, checkpoint: &Forgetful, cancel: &cancel };
        let tuner = Tuner::new(None, 64);
        let effort = tuned(&land, land_dir(None, &budget), &budget, &work, tuner, &land.done).unwrap();
        land.assert_whole();
        assert!(effort.most_workers >= 16, "{effort:?}");
    });
}

/// One directory of so many entries, of which every piece may be done by anybody.
struct Field {
    entries: usize,
    /// Called at every piece.
    at_piece: Box<dyn Fn(usize) -> bool + Sync + Send>,
    doers: Mutex<Vec<(usize, ThreadId)>>,
    closed: Mutex<Vec<bool>>,
}

impl Job for Field {
    type Worker = ();
    type Cursor = bool;
    type Part = ();

    fn worker(&self) {}

    fn open(&self, (): &mut (), _: &Arc<Dir>, _: Child) -> Result<Option<Arc<Dir>>, Error> {
        Ok(None)
    }

    fn step(&self, (): &mut (), _: &Arc<Dir>, _: &Pair, done: &mut bool, _: &mut Children) -> Result<bool, Error> {
        // Until somebody is idle.
        std::thread::yield_now();
        Ok(!*done)
    }

    fn share(&self, (): &mut (), _: &Arc<Dir>, _: &Arc<Pair>, done: &mut bool) -> Result<Option<((), usize)>, Error> {
        Ok((!*done).then_some(((), self.entries)))
    }

    fn help(&self, (): &mut (), (): &(), piece: Range<usize>) -> bool {
        let me = std::thread::current().id();
        let good = (self.at_piece)(piece.start);
        self.doers.lock().unwrap().extend(piece.map(|at| (at, me)));
        good
    }

    fn close(&self, (): &mut (), done: &mut bool, (): &(), whole: bool, _: &mut Children) -> Result<(), Error> {
        *done = true;
        self.closed.lock().unwrap().push(whole);
        Ok(())
    }

    fn finish(&self, (): &mut (), _: &Arc<Dir>, _: &Pair) -> Result<(), Error> {
        Ok(())
    }

    fn lost(&self, (): &mut (), _: &Arc<Dir>, errno: Errno) -> Result<(), Error> {
        panic!("lost: {errno}");
    }

    fn retire(&self, (): ()) {}
}

/// Works on a field with four workers; returns it, and the error of the pool.
fn shared(at_piece: impl Fn(usize) -> bool + Sync + Send + 'static) -> (Field, Option<Error>) {
    in_time(move || {
        let field =
            Field { entries: 1_000, at_piece: Box::new(at_piece), doers: Mutex::default(), closed: Mutex::default() };
        let budget = Budget::new(1 << 20);
        let pool = Pool {
            job: &field,
            cancel: &Cancel::new(),
            budget: &budget,
            board: Board::new(4).into(),
            error: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (pool, root) = (&pool, (number == 0).then(|| land_dir(None, &budget)));
                scope.spawn(move || pool.work(number, root));
            }
        });
        let error = pool.error.into_inner().unwrap();
        (field, error)
    })
}

#[test]
fn who_is_idle_helps_with_the_directory_of_another() {
    let slow = |_| {
        std::thread::sleep(Duration::from_micros(200));
        true
    };
    let (field, error) = shared(slow);
    assert!(error.is_none(), "{error:?}");
    let mut doers = field.doers.into_inner().unwrap();
    doers.sort_unstable_by_key(|(at, _)| *at);
    assert!(doers.iter().map(|(at, _)| *at).eq(0..1_000), "every entry is done, and once");
    let threads: std::collections::HashSet<_> = doers.iter().map(|(_, thread)| thread).collect();
    assert!(threads.len() > 1, "nobody helped");
    assert_eq!(*field.closed.lock().unwrap(), [true]);
}

#[test]
fn what_goes_wrong_while_others_help_ends_it_and_the_owner_hears_of_it() {
    let (field, _) = shared(|at| at < 500);
    let done = field.doers.into_inner().unwrap().len();
    assert!((500..1_000).contains(&done), "{done}: the rest was stopped");
    assert_eq!(field.closed.lock().unwrap().len(), 1, "what was done is taken in all the same");
}

#[test]
#[should_panic(expected = "a scoped thread panicked")]
fn a_helper_that_panics_does_not_leave_the_owner_waiting() {
    let owner = Mutex::new(None);
    let piece = move |_| {
        let me = std::thread::current().id();
        let first = *owner.lock().unwrap().get_or_insert(me);
        assert!(first == me, "on purpose");
        std::thread::sleep(Duration::from_millis(1));
        true
    };
    shared(piece);
}
