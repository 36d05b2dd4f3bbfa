//! How fast a run may go: given when it begins, changed from another terminal, kept over a resume.

use std::time::{Duration, Instant};

use crate::support::check::Check;
use crate::support::env::Decamp;

/// A source with one file of so many MiB.
fn with_file(mib: usize) -> Decamp {
    Decamp::new().file("src/big", (0..mib << 18).flat_map(|n| (n as u32).to_le_bytes()).collect::<Vec<u8>>())
}

fn moving(call: &Decamp, rate: &str) -> Decamp {
    call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst", "--max-rate", rate])
}

fn run_id(call: &Decamp) -> String {
    call.again().args(["runs", "--output", "json"]).run().json()["runs"][0]["id"].as_str().unwrap().to_owned()
}

fn same(call: &Decamp) {
    Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn a_copy_by_hand_keeps_the_limit() {
    let call = with_file(4);
    let began = Instant::now();
    call.again().args(["copy", "src", "dst", "--max-rate", "8MiB"]).run();
    let spent = began.elapsed();
    assert!(spent >= Duration::from_millis(450), "4 MiB at 8 MiB a second in {spent:?}");
    same(&call);
}

#[test]
fn another_terminal_changes_a_living_run() {
    let call = with_file(48);
    let began = Instant::now();
    let mut running = moving(&call, "256KiB").spawn();
    assert!(running.says("> "), "no step begins");
    let id = run_id(&call);
    let told = call.again().args(["rate", &id, "none"]).stdout_has("the process that works on it takes it up").run();
    assert!(told.stdout.contains("no limit"), "{}", told.stdout);
    let ran = running.wait();
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("max rate: no limit, set by "), "{}", ran.stderr);
    assert!(began.elapsed() < Duration::from_secs(90), "at 256 KiB a second it would be three minutes");
    same(&call);
    call.again().args(["show", &id]).stdout_has("max rate  no limit").run();
    let story = std::fs::read_to_string(call.state().join("runs").join(&id).join("events.ndjson")).unwrap();
    assert_eq!(story.matches("\"run.rate\"").count(), 2, "{story}");
    let shown = call.again().args(["log", &id, "--output", "ndjson"]).run().json_lines();
    assert_eq!(shown.len(), story.lines().count());
}

#[test]
fn the_last_limit_holds_after_a_kill() {
    let call = with_file(4);
    let mut running = moving(&call, "64KiB").spawn();
    assert!(running.says("> final"), "no pass begins");
    let killed = running.kill_after(Duration::from_millis(300));
    assert_eq!(killed.status, 137, "{}", killed.stderr);
    let id = run_id(&call);
    call.again().args(["rate", &id, "6MiB"]).stdout_has("it holds when it is resumed").run();
    call.again().args(["show", &id]).stdout_has("max rate  at most 6.00 MiB/s").run();
    let began = Instant::now();
    call.again().args(["resume", &id]).run();
    let spent = began.elapsed();
    // Where it was killed, at most a few hundred KiB were there.
    assert!(spent >= Duration::from_millis(450), "some 4 MiB at 6 MiB a second in {spent:?}");
    assert!(spent < Duration::from_secs(40), "at the old limit it would be a minute: {spent:?}");
    same(&call);
}

#[test]
fn a_limit_given_to_resume_goes_before_the_last_one() {
    let call = with_file(4);
    let mut running = moving(&call, "64KiB").spawn();
    assert!(running.says("> final"), "no pass begins");
    running.kill_after(Duration::from_millis(100));
    let began = Instant::now();
    call.again().args(["resume", "--max-rate", "none"]).run();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    same(&call);
}

#[test]
fn a_script_may_limit_one_copy() {
    let script = "fn params() { #{} }\nfn run(p) { step(\"copy\", || copy::tree(\"src\", \"dst\", #{ accept: [], max_rate: RATE })); }\n";
    let call = with_file(4)
        .file("s.rhai", script.replace("RATE", "\"8MiB\""))
        .file("bad.rhai", script.replace("RATE", "\"fast\""));
    std::fs::create_dir(call.dir().join("dst")).unwrap();
    let began = Instant::now();
    call.again().args(["run", "./s.rhai"]).run();
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    same(&call);
    call.again().args(["run", "./bad.rhai"]).status(2).stderr_has("option `max_rate`").stderr_has("50MiB").run();
}

#[test]
fn what_cannot_be_limited_is_refused() {
    let call = Decamp::new().file("src/a", "a");
    call.again().args(["rate", "0198", "20MiB"]).status(2).stderr_has("there are no runs").run();
    call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst"]).run();
    let id = run_id(&call);
    call.again().args(["rate", &id, "20MiB"]).status(2).stderr_has("is over").run();
    for bad in ["0", "quick", "-5"] {
        call.again()
            .args(["rate", &id, "--", bad])
            .status(2)
            .stderr_has("a size a second such as 50MiB, or none")
            .run();
    }
}
