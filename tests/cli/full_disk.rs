//! A state directory whose disk is filled to the brim in the middle of a run: it stops cleanly at whatever write meets
//! it, and goes on when there is space again, with nothing done twice.

use std::fs;
use std::path::Path;

use crate::support::check::Check;
use crate::support::env::{Decamp, Ran};
use crate::support::volume::{FileSystem, Volume};

/// Fills the state's disk in its middle, up to so many KiB.
const SCRIPT: &str = r#"//! Fill the disk, then go on.
fn params() { #{
    place: #{ type: "path", help: "where the disk is" },
    leave: #{ type: "int", "default": 0, help: "KiB that are left free" },
} }
fn say(word) { host::local().exec(["sh", "-c", "echo \"$1\" >> log", "say", word]) }
fn run(p) {
    step("one", || say("one"));
    // What is recorded of the command itself comes first: else the filling could take the reserve as well.
    step("fill", || host::local().exec(["sh", "-c",
        "while [ $(cat \"$1\"/state/runs/*/events.ndjson | grep -c effect.process) -lt 2 ]; do sleep 0.01; done; n=$(( $(stat -f -c '%a*%S' \"$1\") - $2 * 1024 )); [ $n -le 0 ] || fallocate -l $n \"$1/filler\"",
        "fill", p.place, p.leave.to_string()]));
    step("two", || say("two"));
    step("copy", || copy::tree("src", "dst", #{}));
    for n in range(0, 4) { step("more", #{ key: n.to_string() }, || say(`more ${n}`)); }
}
"#;

fn world(volume: &Volume) -> Decamp {
    let call = Decamp::new().file("s.rhai", SCRIPT);
    fs::create_dir(call.dir().join("dst")).unwrap();
    let call = (0..40).fold(call, |call, n| call.file(format!("src/{n}"), vec![7; 500]));
    call.env("DECAMP_STATE_DIR", volume.path().join("state"))
}

fn run(call: &Decamp, volume: &Volume, leave: u64) -> Ran {
    let place = volume.path().to_str().unwrap();
    call.again().args(["run", "./s.rhai", "--place", place, "--leave", &leave.to_string()]).spawn().wait()
}

/// With space again: to the end, answering what is in doubt by looking.
fn go_on(call: &Decamp, what: &str) {
    for _ in 0..5 {
        let ran = call.again().arg("resume").spawn().wait();
        match ran.status {
            0 => return,
            7 => {
                let line = ran.stderr.lines().find_map(|line| line.split_once("decamp decide ")).unwrap().1;
                let (id, rest) = line.split_once(' ').unwrap();
                let key = rest.split('\'').nth(1).unwrap();
                let word = key.replace("more[", "more ").replace(']', "");
                let happened = key == "fill" || said(call).contains(&word);
                call.again().args(["decide", id, key, if happened { "happened" } else { "retry" }]).run();
            }
            code => panic!("{what}: resume ended with {code}: {}", ran.stderr),
        }
    }
    panic!("{what}: resume does not come to an end");
}

fn said(call: &Decamp) -> Vec<String> {
    fs::read_to_string(call.dir().join("log")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn check_stopped(call: &Decamp, ran: &Ran, what: &str) {
    assert_eq!(ran.status, 8, "{what}: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("no space left") || ran.stderr.contains("full"), "{what}: {}", ran.stderr);
    // Looking is possible, and tells.
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_eq!(runs["runs"][0]["waits_for"], "paused: journal disk full", "{what}: {runs}");
    let id = runs["runs"][0]["id"].as_str().unwrap();
    call.again().args(["log", id]).stdout_has("run.paused").run();
}

fn check_end(call: &Decamp, what: &str) {
    assert_eq!(said(call), ["one", "two", "more 0", "more 1", "more 2", "more 3"], "{what}");
    Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    call.again().arg("doctor").stdout_has("can be trusted").run();
}

fn again(volume: &Volume) {
    fs::remove_file(volume.path().join("filler")).ok();
    fs::remove_dir_all(volume.path().join("state")).ok();
}

/// The disk takes every write up to one, and that one is another in each round.
#[test]
fn a_disk_that_is_full_at_any_write_stops_the_run_and_nothing_is_lost() {
    let Some(volume) = Volume::new(FileSystem::Tmpfs, 100) else { return };
    let (mut stopped, mut leave) = (0, 0);
    loop {
        again(&volume);
        let call = world(&volume).env("DECAMP_NO_FLOOR", "1");
        let ran = run(&call, &volume, leave);
        let what = format!("{leave} KiB left");
        if ran.status == 0 {
            break;
        }
        check_stopped(&call, &ran, &what);
        stopped += 1;
        fs::remove_file(volume.path().join("filler")).unwrap();
        go_on(&call, &what);
        check_end(&call, &what);
        leave += 20;
    }
    println!("stopped by a full disk {stopped} times, up to {leave} KiB left");
    assert!(stopped >= 15, "{stopped}");
}

#[test]
fn a_run_stops_before_its_next_effect_when_hardly_any_space_is_left() {
    let Some(volume) = Volume::new(FileSystem::Tmpfs, 100) else { return };
    let call = world(&volume);
    let ran = run(&call, &volume, 2_000);
    check_stopped(&call, &ran, "2000 KiB left");
    assert_eq!(said(&call), ["one"], "the effect after the full disk did not begin");
    assert!(!volume.path().join("state/ballast").exists(), "the reserve was given up");
    fs::remove_file(volume.path().join("filler")).unwrap();
    go_on(&call, "with space again");
    check_end(&call, "with space again");
    assert!(volume.path().join("state/ballast").exists(), "and made again");
}

fn fill(volume: &Volume, len: u64) {
    let filler = fs::File::create(volume.path().join("filler")).unwrap();
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
}

/// A long copy is stopped by whoever looks after the space.
#[test]
fn a_running_copy_ends_its_batch_when_the_disk_fills_up() {
    let Some(volume) = Volume::new(FileSystem::Tmpfs, 100) else { return };
    let call = world(&volume).env("DECAMP_WATCH_MS", "30").file("src/big", vec![1; 60_000_000]);
    let mut running =
        call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst", "--max-rate", "4MiB"]).spawn();
    assert!(running.says("> final"));
    let free = rustix::fs::statvfs(volume.path()).unwrap();
    fill(&volume, free.f_bavail * free.f_frsize - (1 << 20));
    let ran = running.wait();
    check_stopped(&call, &ran, "in the middle of a copy");
    fs::remove_file(volume.path().join("filler")).unwrap();
    call.again().args(["resume", "--max-rate", "none"]).run();
    Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn low_space_is_told_and_copies_are_made_while_a_run_works() {
    let Some(volume) = Volume::new(FileSystem::Tmpfs, 100) else { return };
    let script = "fn params() { #{} }\nfn run(p) { step(\"nap\", || host::local().exec([\"sleep\", \"2\"])); }\n";
    let call = world(&volume).file("nap.rhai", script).env("DECAMP_WATCH_MS", "50");
    let mut running = call.again().args(["run", "./nap.rhai"]).spawn();
    assert!(running.says("> nap"));
    fill(&volume, 40 << 20);
    assert_eq!(running.wait().status, 0);
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    let id = runs["runs"][0]["id"].as_str().unwrap();
    let log = call.again().args(["log", id, "--level", "warn"]).run().stdout;
    assert_eq!(log.matches("space.low").count(), 1, "{log}");
    let copies = fs::read_dir(Path::new(&volume.path().join("state/backup"))).unwrap().count();
    assert_eq!(copies, 3, "copies are made while it works, and three are kept");
}
