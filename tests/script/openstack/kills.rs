//! kill -9 at the boundaries of the journal while a volume moves: resuming ends as an uninterrupted run, and everything
//! was made once.
//!
//! One run asks the clouds some eighty times, so that a part of the boundaries is drawn by seed: every one after an effect
//! acted, and some of the others. `DECAMP_CRASH_OPENSTACK=all` takes every single one.

use std::time::Duration;

use super::world::{World, ended};
use crate::script::crash::each_point;
use crate::support::rng::Rng;

fn points(world: &World) -> Vec<String> {
    let file = world.call.dir().join("../points");
    let ran = ended(world.start().env("DECAMP_CRASH_COUNT", &file));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// Resumes until the run is over; what is wrong then.
fn go_on(world: &World, probes: bool) -> Vec<String> {
    for _ in 0..60 {
        let listed = ended(world.call.again().args(["runs", "--output", "json"])).stdout;
        let next = if listed.contains("\"id\"") { world.call.again().arg("resume") } else { world.start() };
        let ran = ended(if probes { next } else { next.env("DECAMP_NO_PROBE", "1") });
        match ran.status {
            0 => return world.wrong(),
            2 if listed.contains("succeeded") => return world.wrong(),
            // The client outlives the program for a moment, and nothing is done before it has ended.
            7 if ran.stderr.contains("still runs") => std::thread::sleep(Duration::from_millis(20)),
            code => return vec![format!("resume ended with {code}: {}", ran.stderr)],
        }
    }
    vec!["resume does not come to an end".into()]
}

fn once(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for cloud in [&world.src, &world.dst] {
        for (path, times) in [("v2.1/servers ->", 1), ("os-keypairs ->", 1), ("os-volume_attachments ->", 1)] {
            if cloud.asked("POST", path) != times {
                wrong.push(format!("{path} {} times", cloud.asked("POST", path)));
            }
        }
    }
    if world.dst.asked("POST", "/volumes ->") != 1 {
        wrong.push(format!("{} volumes were made", world.dst.asked("POST", "/volumes ->")));
    }
    wrong
}

#[test]
fn a_kill_at_a_boundary_ends_as_an_uninterrupted_run() {
    let Some(reference) = World::new() else { return };
    let names = points(&reference);
    assert_eq!((reference.wrong(), once(&reference)), (Vec::new(), Vec::new()));
    let all = std::env::var("DECAMP_CRASH_OPENSTACK").is_ok_and(|which| which == "all");
    let seed = std::env::var("DECAMP_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    let drawn = |(at, name): (usize, &String)| (all || name == "effect.acted" || rng.below(12) == 0).then_some(at + 1);
    let chosen: Vec<usize> = names.iter().enumerate().filter_map(drawn).collect();
    println!("{} of {} crash points of openstack-volume, seed {seed}", chosen.len(), names.len());
    let found = each_point(chosen.len(), |which| {
        let world = World::new().unwrap();
        let killed = ended(world.start().env("DECAMP_CRASH_AT", chosen[which - 1].to_string()));
        if killed.status != 137 {
            return vec![format!("not killed: {} {}", killed.status, killed.stderr)];
        }
        let mut wrong = go_on(&world, true);
        wrong.extend(once(&world));
        wrong
            .into_iter()
            .map(|what| format!("{} ({}): {what}", chosen[which - 1], names[chosen[which - 1] - 1]))
            .collect()
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn without_looking_first_things_are_made_twice() {
    let Some(reference) = World::new() else { return };
    let names = points(&reference);
    // After the first server was made: key, key pair, server.
    let acted = names.iter().enumerate().filter(|(_, name)| *name == "effect.acted").nth(2).unwrap().0 + 1;
    let world = World::new().unwrap();
    assert_eq!(ended(world.start().env("DECAMP_CRASH_AT", acted.to_string())).status, 137);
    go_on(&world, false);
    assert_ne!(once(&world), Vec::<String>::new());
}
