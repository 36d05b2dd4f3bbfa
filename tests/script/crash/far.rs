//! The same with one tree, or both, on another machine: a real server, and a few points drawn by a printed seed each time.
//!
//! `DECAMP_CRASH_FAR=all` tries every point, `DECAMP_CRASH_FAR=50` so many of each way, `DECAMP_CRASH_SEED=7` draws those
//! of another day.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::support::rng::Rng;
use crate::support::ssh::Sshd;

/// Which of source and destination are on the server.
const WAYS: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

/// Points of each way, if nothing else is asked for.
const USUAL: usize = 8;

fn world_of(server: &Sshd) -> Decamp {
    // The sockets of connections lie below it, and have to be short.
    world().env("XDG_RUNTIME_DIR", server.dir())
}

fn start_on(server: &Sshd, call: &Decamp, (from, to): (bool, bool), cutover: bool) -> Decamp {
    let place = |far: bool, name: &str| {
        if far { format!("ssh://peer{}", call.dir().join(name).display()) } else { name.to_owned() }
    };
    between(call, &place(from, "src"), &place(to, "dst"), cutover).arg("--ssh-config").arg(server.config())
}

/// Which points of so many are tried, by seed.
fn drawn(count: usize, rng: &mut Rng) -> Vec<usize> {
    let wish = std::env::var("DECAMP_CRASH_FAR").unwrap_or_default();
    if wish == "all" {
        return (1..=count).collect();
    }
    let number = if wish.is_empty() { USUAL } else { wish.parse().expect("DECAMP_CRASH_FAR: all or a number") };
    (0..number).map(|_| 1 + rng.below(count as u64) as usize).collect()
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    std::env::var("DECAMP_CRASH_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("it is a number"))
}

#[test]
fn a_kill_ends_as_an_uninterrupted_run_wherever_the_trees_are() {
    let Some(server) = Sshd::start() else { return };
    let seed = seed();
    let mut rng = Rng::new(seed);
    for way in WAYS {
        let reference = world_of(&server);
        let names = points(&reference, &start_on(&server, &reference, way, true));
        let backup = contents(&reference.dir().join("backup"));
        assert_eq!(wrong(&reference, &backup, true), Vec::<String>::new(), "{way:?}");
        let drawn = drawn(names.len(), &mut rng);
        let killed = AtomicUsize::new(0);
        let found = each_point(drawn.len(), |at| {
            let (call, point) = (world_of(&server), drawn[at - 1]);
            let run = start_on(&server, &call, way, true);
            let ran = finished(run.clone().env("DECAMP_CRASH_AT", point.to_string()));
            let found = match ran.status {
                137 => {
                    killed.fetch_add(1, Ordering::Relaxed);
                    match go_on(&call, &run, true) {
                        Ok(_) => wrong(&call, &backup, true),
                        Err(what) => vec![what],
                    }
                }
                0 => wrong(&call, &backup, true),
                _ => vec![format!("not killed: {}", ran.stderr)],
            };
            found.into_iter().map(|what| format!("{way:?}, {point} of {}: {what}", names.len())).collect()
        });
        let killed = killed.into_inner();
        println!("{way:?}: {killed} kills at {} points, seed {seed}, {} wrong", names.len(), found.len());
        assert_eq!(found, Vec::<String>::new(), "seed {seed}");
        assert!(names.len() > 40 && killed > drawn.len() / 2, "{killed} of {}: {names:?}", drawn.len());
    }
}

#[test]
fn a_kill_of_undo_ends_in_the_former_state_wherever_the_trees_are() {
    let Some(server) = Sshd::start() else { return };
    let seed = seed();
    let mut rng = Rng::new(seed);
    for way in WAYS {
        let ready = || {
            let call = world_of(&server);
            let before = (contents(&call.dir().join("dst")), Snapshot::of(&call.dir().join("dst")).len());
            let ran = finished(start_on(&server, &call, way, false));
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            let id = super::super::support::run_id(&call);
            (call, before, id)
        };
        let restored = |call: &Decamp, before: &(BTreeMap<PathBuf, Vec<u8>>, usize)| {
            let dst = call.dir().join("dst");
            let now = (contents(&dst), Snapshot::of(&dst).len());
            let kept = contents(&call.dir().join("backup"));
            let same = now == *before && kept.is_empty();
            if same {
                Vec::new()
            } else {
                vec![format!("the destination holds {:?}, the backup {:?}", now.0.keys(), kept.keys())]
            }
        };
        let (reference, before, id) = ready();
        let names = points(&reference, &reference.again().args(["undo", &id]));
        assert_eq!(restored(&reference, &before), Vec::<String>::new(), "{way:?}");
        let drawn = drawn(names.len(), &mut rng);
        let found = each_point(drawn.len(), |at| {
            let (call, before, id) = ready();
            let killed = finished(call.again().args(["undo", &id]).env("DECAMP_CRASH_AT", drawn[at - 1].to_string()));
            if killed.status == 0 {
                return restored(&call, &before);
            }
            for _ in 0..4 {
                let again = finished(call.again().args(["undo", &id]));
                match again.status {
                    0 => return restored(&call, &before),
                    2 if again.stderr.contains("undone already") => return restored(&call, &before),
                    7 => decide(&call, &again),
                    code => return vec![format!("undo ended with {code}: {}{}", again.stdout, again.stderr)],
                }
            }
            vec!["undo does not come to an end".into()]
        });
        println!("{way:?}: kills at {} of {} points of undo, seed {seed}", drawn.len(), names.len());
        assert_eq!(found, Vec::<String>::new(), "{way:?}, seed {seed}");
    }
}
