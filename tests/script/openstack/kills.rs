//! kill -9 at the boundaries of the journal while a volume moves that a server has: resuming ends as an uninterrupted
//! run, and everything was made once; undoing ends as if there had been none.
//!
//! One run asks the clouds some eighty times, so that a part of the boundaries is drawn by seed: every one after an effect
//! acted, and some of the others. `DECAMP_CRASH_OPENSTACK=all` takes every single one, for both.

use std::time::Duration;

use super::world::{World, ended};
use crate::script::crash::each_point;
use crate::support::env::Decamp;
use crate::support::rng::Rng;

/// A volume in a server that is on, and what moves it.
fn world() -> Option<(World, String)> {
    let world = World::new()?;
    let server = world.src.plant_server("app", &world.volume);
    Some((world, server))
}

fn start(world: &World) -> Decamp {
    world.start().arg("--stop-server")
}

fn points(world: &World) -> Vec<String> {
    let file = world.call.dir().join("../points");
    let ran = ended(start(world).env("DECAMP_CRASH_COUNT", &file));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// Resumes until the run is over; what is wrong then.
fn go_on(world: &World, probes: bool) -> Vec<String> {
    for _ in 0..60 {
        let listed = ended(world.call.again().args(["runs", "--output", "json"])).stdout;
        let next = if listed.contains("\"id\"") { world.call.again().arg("resume") } else { start(world) };
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

/// Undoes until nothing is left to undo; what is wrong then.
fn go_back(world: &World, server: &str) -> Vec<String> {
    for _ in 0..60 {
        let listed = ended(world.call.again().args(["runs", "--output", "json"])).json();
        let Some(id) = listed["runs"][0]["id"].as_str() else { break };
        let ran = ended(world.call.again().args(["undo", id]));
        match ran.status {
            0 => break,
            2 if ran.stderr.contains("undone already") => break,
            7 if ran.stderr.contains("still runs") => std::thread::sleep(Duration::from_millis(20)),
            code => return vec![format!("undo ended with {code}: {}{}", ran.stdout, ran.stderr)],
        }
    }
    let mut wrong = world.not_undone();
    let state = world.src.state();
    if state.servers[server].status.now != "ACTIVE" {
        wrong.push("the server is off".into());
    }
    let at: Vec<&str> = state.volumes[&world.volume].attachments.iter().map(|at| at.server.as_str()).collect();
    if at != [server] {
        wrong.push(format!("the source is attached to {at:?}"));
    }
    wrong
}

/// Boundaries by number: all if asked for, else those of a kind, and of the others one of so many.
fn drawn(names: &[String], kind: &str, one_of: u64) -> Vec<usize> {
    let all = std::env::var("DECAMP_CRASH_OPENSTACK").is_ok_and(|which| which == "all");
    let seed = std::env::var("DECAMP_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    let drawn = |(at, name): (usize, &String)| (all || name == kind || rng.below(one_of) == 0).then_some(at + 1);
    let chosen: Vec<usize> = names.iter().enumerate().filter_map(drawn).collect();
    println!("{} of {} crash points of openstack-volume, seed {seed}", chosen.len(), names.len());
    chosen
}

/// Kills a run at every one of these boundaries, and looks what comes of it.
fn each(names: &[String], chosen: &[usize], then: impl Fn(&World, &str) -> Vec<String> + Sync) -> Vec<String> {
    each_point(chosen.len(), |which| {
        let (world, server) = world().unwrap();
        let at = chosen[which - 1];
        let killed = ended(start(&world).env("DECAMP_CRASH_AT", at.to_string()));
        if killed.status != 137 {
            return vec![format!("not killed: {} {}", killed.status, killed.stderr)];
        }
        then(&world, &server).into_iter().map(|what| format!("{at} ({}): {what}", names[at - 1])).collect()
    })
}

#[test]
fn a_kill_at_a_boundary_can_be_undone() {
    let Some((reference, _)) = world() else { return };
    let names = points(&reference);
    assert_eq!(each(&names, &drawn(&names, "", 60), go_back), Vec::<String>::new());
}

#[test]
fn a_kill_at_a_boundary_ends_as_an_uninterrupted_run() {
    let Some((reference, _)) = world() else { return };
    let names = points(&reference);
    assert_eq!((reference.wrong(), once(&reference)), (Vec::new(), Vec::new()));
    let found = each(&names, &drawn(&names, "effect.acted", 40), |world, server| {
        let mut wrong = go_on(world, true);
        wrong.extend(once(world));
        if world.src.state().servers[server].status.now != "SHUTOFF" {
            wrong.push("the server is on".into());
        }
        wrong
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn without_looking_first_things_are_made_twice() {
    let Some((reference, _)) = world() else { return };
    let names = points(&reference);
    // After the first server was made: key, key pair, server.
    let acted = names.iter().enumerate().filter(|(_, name)| *name == "effect.acted").nth(2).unwrap().0 + 1;
    let (world, _) = world().unwrap();
    assert_eq!(ended(start(&world).env("DECAMP_CRASH_AT", acted.to_string())).status, 137);
    go_on(&world, false);
    assert_ne!(once(&world), Vec::<String>::new());
}
