//! Killed twice: at point n, and what goes on after it at point m. The world and the judge are those of single kills.
//!
//! A few pairs are drawn by a printed seed each time. `DECAMP_CRASH_PAIRS=all` tries every pair there is,
//! `DECAMP_CRASH_PAIRS=500` draws so many of each sort, `DECAMP_CRASH_SEED=7` draws those of another day.

use std::sync::atomic::AtomicUsize;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::support::rng::Rng;

/// What is killed at n, and what at m.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// The run, and its resumption; then it is resumed to its end.
    Resume,
    /// The run, and its undo; then it is undone to the end.
    Undo,
    /// The undo of a run that succeeded, and the undo after it.
    UndoAgain,
}

/// What a pair came to.
struct Pair {
    /// Both points were reached.
    twice: bool,
    /// The first one was.
    once: bool,
    wrong: Vec<String>,
}

/// What every pair is judged by.
struct Reference {
    /// The backup after an uninterrupted run.
    backup: BTreeMap<PathBuf, Vec<u8>>,
    /// The destination before any run, and after an uninterrupted undo.
    before: BTreeMap<PathBuf, Vec<u8>>,
    entries: usize,
}

fn killed_at(call: Decamp, point: usize) -> Ran {
    finished(call.env("DECAMP_CRASH_AT", point.to_string()))
}

/// The run's name, if it was recorded.
fn recorded(call: &Decamp) -> Option<String> {
    let runs = finished(call.again().args(["runs", "--output", "json"])).json();
    runs["runs"][0]["id"].as_str().map(str::to_owned)
}

/// Undoes until it is done, answering what is in doubt by looking at what the command did.
fn go_back(call: &Decamp, id: &str) -> Result<(), String> {
    for _ in 0..6 {
        let again = finished(call.again().args(["undo", id]));
        match again.status {
            0 => return Ok(()),
            2 if again.stderr.contains("undone already") => return Ok(()),
            7 => decide(call, &again),
            code => return Err(format!("undo ended with {code}: {}{}", again.stdout, again.stderr)),
        }
    }
    Err("undo does not come to an end".into())
}

impl Reference {
    fn restored(&self, call: &Decamp) -> Vec<String> {
        let (dst, backup) = (call.dir().join("dst"), call.dir().join("backup"));
        let mut wrong = Vec::new();
        if contents(&dst) != self.before {
            wrong.push(format!("the destination holds {:?}", contents(&dst).keys()));
        }
        if Snapshot::of(&dst).len() != self.entries {
            wrong.push(format!("{} entries instead of {}", Snapshot::of(&dst).len(), self.entries));
        }
        if !contents(&backup).is_empty() {
            wrong.push("the backup is not empty".into());
        }
        let ran = ran(call);
        // A freeze that may have happened is thawed: to thaw in vain harms nobody, to leave frozen does.
        if !(ran["freeze"]..=1).contains(&ran["thaw"]) {
            wrong.push(format!("frozen {} times, thawed {} times", ran["freeze"], ran["thaw"]));
        }
        wrong
    }

    fn pair(&self, sort: Sort, n: usize, m: usize) -> Pair {
        let call = world();
        match sort {
            Sort::Resume => self.resumed(&call, n, m),
            Sort::Undo => self.undone(&call, n, m),
            Sort::UndoAgain => self.undone_again(&call, n, m),
        }
    }

    fn resumed(&self, call: &Decamp, n: usize, m: usize) -> Pair {
        let first = killed_at(start(call, true), n);
        if first.status != 137 {
            // The points are not the same number each time: this run came to its end before n.
            let wrong = if first.status == 0 { wrong(call, &self.backup, true) } else { vec![first.stderr] };
            return Pair { once: false, twice: false, wrong };
        }
        let mut second = killed_at(call.again().arg("resume"), m);
        if second.status == 2 && recorded(call).is_none() {
            second = killed_at(start(call, true), m);
        }
        let wrong = match go_on(call, &start(call, true), true) {
            Ok(_) => wrong(call, &self.backup, true),
            Err(what) => vec![what],
        };
        Pair { once: true, twice: second.status == 137, wrong }
    }

    fn undone(&self, call: &Decamp, n: usize, m: usize) -> Pair {
        let once = killed_at(start(call, false), n).status == 137;
        let Some(id) = recorded(call) else {
            return Pair { once, twice: false, wrong: self.restored(call) };
        };
        let second = killed_at(call.again().args(["undo", &id]), m);
        self.judge(call, &id, once, &second)
    }

    fn undone_again(&self, call: &Decamp, n: usize, m: usize) -> Pair {
        let ran = finished(start(call, false));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let id = recorded(call).unwrap();
        let once = killed_at(call.again().args(["undo", &id]), n).status == 137;
        let second = killed_at(call.again().args(["undo", &id]), m);
        self.judge(call, &id, once, &second)
    }

    fn judge(&self, call: &Decamp, id: &str, once: bool, second: &Ran) -> Pair {
        let wrong = match go_back(call, id) {
            Ok(()) => self.restored(call),
            Err(what) => vec![what],
        };
        Pair { once, twice: once && second.status == 137, wrong }
    }
}

#[test]
fn two_kills_end_as_none() {
    let wish = std::env::var("DECAMP_CRASH_PAIRS").unwrap_or_default();
    let seed = std::env::var("DECAMP_CRASH_SEED").map_or_else(
        |_| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        |seed| seed.parse().expect("DECAMP_CRASH_SEED is a number"),
    );
    let forward = world();
    let points_forward = points(&forward, &start(&forward, true)).len();
    let backup = contents(&forward.dir().join("backup"));
    let back = world();
    let (before, entries) = (contents(&back.dir().join("dst")), Snapshot::of(&back.dir().join("dst")).len());
    assert_eq!(finished(start(&back, false)).status, 0);
    let points_back = points(&back, &back.again().args(["undo", &recorded(&back).unwrap()])).len();
    let reference = Reference { backup, before, entries };
    assert_eq!(reference.restored(&back), Vec::<String>::new());

    let sorts =
        [(Sort::Resume, points_forward, 200), (Sort::Undo, points_forward, 100), (Sort::UndoAgain, points_back, 60)];
    let mut rng = Rng::new(seed);
    for (sort, points, usual) in sorts {
        let began = Instant::now();
        let twice = AtomicUsize::new(0);
        let tried = |n, m| {
            let pair = reference.pair(sort, n, m);
            twice.fetch_add(usize::from(pair.twice), Ordering::Relaxed);
            (pair.once && pair.twice, pair.wrong.into_iter().map(move |what| format!("{n} and {m}: {what}")))
        };
        let found = if wish == "all" {
            each_point(points, |n| {
                let (mut found, mut m) = (Vec::new(), 1);
                loop {
                    let (more, wrong) = tried(n, m);
                    found.extend(wrong);
                    if !more {
                        return found;
                    }
                    m += 1;
                }
            })
        } else {
            let count =
                if wish.is_empty() { usual } else { wish.parse().expect("DECAMP_CRASH_PAIRS: all or a number") };
            let drawn: Vec<(usize, usize)> = (0..count)
                .map(|_| {
                    let n = 1 + rng.below(points as u64) as usize;
                    // What goes on passes the points that are left, and a few of its own.
                    let left = if sort == Sort::Resume { points - n + 12 } else { points_back };
                    (n, 1 + rng.below(left as u64) as usize)
                })
                .collect();
            each_point(count, |at| tried(drawn[at - 1].0, drawn[at - 1].1).1.collect())
        };
        let how = if wish == "all" { "all".to_owned() } else { format!("seed {seed}") };
        let twice = twice.into_inner();
        println!("{sort:?}: {twice} pairs of kills ({how}), {} wrong, {:.0?}", found.len(), began.elapsed());
        assert_eq!(found, Vec::<String>::new(), "{sort:?}, {how}");
        assert!(twice > 10, "only {twice} pairs were reached");
    }
}
