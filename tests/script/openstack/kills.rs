//! kill -9 at the boundaries of the journal while a volume moves that a server has: resuming ends as an uninterrupted
//! run, and everything was made once; undoing ends as if there had been none.
//!
//! A run asks the clouds some sixty times, so that beside four that are always killed at a few boundaries are drawn by a
//! printed seed each time, half of them where an effect has acted and nobody has recorded it yet.
//! `DECAMP_CRASH_OPENSTACK=all` takes every single one for both, `DECAMP_CRASH_OPENSTACK=20` draws so many,
//! `DECAMP_CRASH_OPENSTACK=at:7,12` takes these; `DECAMP_CRASH_SEED=7` draws those of another day.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::world::{World, ended};
use crate::script::crash::each_point;
use crate::support::env::Decamp;
use crate::support::rng::Rng;

/// Boundaries drawn for each test, if nothing else is asked for.
const USUAL: usize = 4;

/// Killed at every time: which effects, in their order, leave something on its way that no list shows yet. The new volume is
/// made, the server stops, the source leaves it, and the first server is deleted.
const ON_THE_WAY: [usize; 4] = [6, 8, 9, 17];

/// A volume in a server that is on, and what moves it.
fn world() -> Option<(World, String)> {
    let world = World::new()?;
    let server = world.src.plant_server("app", &world.volume);
    Some((world, server))
}

fn start(world: &World) -> Decamp {
    world.start().arg("--stop-server")
}

/// What the boundaries of an uninterrupted run are called, which must have been one; `None` where none can be made.
fn points() -> Option<&'static [String]> {
    static NAMES: OnceLock<Option<Vec<String>>> = OnceLock::new();
    let found = NAMES.get_or_init(|| {
        let (world, _) = world()?;
        let file = world.call.dir().join("../points");
        let ran = ended(start(&world).env("DECAMP_CRASH_COUNT", &file));
        assert_eq!((ran.status, world.wrong(), once(&world)), (0, Vec::new(), Vec::new()), "{}", ran.stderr);
        Some(std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect())
    });
    found.as_deref()
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

/// Boundaries by number.
fn drawn(names: &[String]) -> Vec<usize> {
    let wish = std::env::var("DECAMP_CRASH_OPENSTACK").unwrap_or_default();
    if wish == "all" {
        return (1..=names.len()).collect();
    }
    if let Some(list) = wish.strip_prefix("at:") {
        return list.split(',').map(|at| at.parse().expect("numbers of boundaries")).collect();
    }
    let count =
        if wish.is_empty() { USUAL } else { wish.parse().expect("DECAMP_CRASH_OPENSTACK: all, a number or at:") };
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("DECAMP_CRASH_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("it is a number"));
    let always = ON_THE_WAY.len();
    println!("{always} and {count} drawn of {} crash points of openstack-volume, seed {seed}", names.len());
    let mut rng = Rng::new(seed);
    let acted: Vec<usize> = acted(names).collect();
    let one = |which: usize| if which.is_multiple_of(2) { *rng.pick(&acted) } else { 1 + rng.index(names.len()) };
    ON_THE_WAY.iter().map(|which| acted[which - 1]).chain((0..count).map(one)).collect()
}

/// Where an effect has acted and is not recorded as done.
fn acted(names: &[String]) -> impl Iterator<Item = usize> {
    names.iter().enumerate().filter(|(_, name)| *name == "effect.acted").map(|(at, _)| at + 1)
}

/// Kills a run at every one of these boundaries, and looks what comes of it.
fn each(names: &[String], what: &str, then: impl Fn(&World, &str) -> Vec<String> + Sync) -> Vec<String> {
    let chosen = drawn(names);
    each_point(chosen.len(), |which| {
        let begun = Instant::now();
        let (world, server) = world().unwrap();
        let at = chosen[which - 1];
        let killed = ended(start(&world).env("DECAMP_CRASH_AT", at.to_string()));
        // The number of boundaries depends a little on how the copy falls on the clock: the last may not be reached.
        if killed.status != 137 && killed.status != 0 {
            return vec![format!("{at}: not killed: {} {}", killed.status, killed.stderr)];
        }
        let until = begun.elapsed();
        let found = then(&world, &server);
        let last = killed.stderr.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
        println!(
            "{what} {at} {}: {} after {:.1} s, {:.1} s more; {last} {found:?}",
            names[at - 1],
            if killed.status == 0 { "not reached" } else { "killed" },
            until.as_secs_f64(),
            (begun.elapsed() - until).as_secs_f64(),
        );
        found.into_iter().map(|what| format!("{at} ({}, {last}): {what}", names[at - 1])).collect()
    })
}

#[test]
fn a_kill_at_a_boundary_can_be_undone() {
    let Some(names) = points() else { return };
    assert_eq!(each(names, "undo", go_back), Vec::<String>::new());
}

#[test]
fn a_kill_at_a_boundary_ends_as_an_uninterrupted_run() {
    let Some(names) = points() else { return };
    let found = each(names, "resume", |world, server| {
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
    let Some(names) = points() else { return };
    // After the first server was made: key, key pair, server.
    let at = acted(names).nth(2).unwrap();
    let (world, _) = world().unwrap();
    assert_eq!(ended(start(&world).env("DECAMP_CRASH_AT", at.to_string())).status, 137);
    go_on(&world, false);
    assert_ne!(once(&world), Vec::<String>::new());
}
