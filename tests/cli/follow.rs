//! `decamp log --follow` beside a living run, and what of the events is shown.

use rustix::process::Signal;

use crate::support::env::Decamp;

const SCRIPT: &str = r#"//! Wait for a file.
fn params() { #{} }
fn run(p) {
    step("first", || host::local().exec(["true"]));
    step("wait", || host::local().exec(["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]));
    step("last", || host::local().exec(["true"]));
}
"#;

fn id(call: &Decamp) -> String {
    call.again().args(["runs", "--output", "json"]).run().json()["runs"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn events_come_while_a_run_of_another_process_goes_on_and_end_with_it() {
    let call = Decamp::new().file("s.rhai", SCRIPT);
    let mut running = call.again().args(["run", "./s.rhai"]).spawn();
    assert!(running.says("> wait"));
    let mut follower = call.again().args(["log", &id(&call), "-f"]).spawn();
    assert!(follower.says("step.started [wait]"));
    let other = call.again().args(["log", &id(&call), "--follow", "--output", "ndjson"]).spawn();
    std::fs::write(call.dir().join("go"), "").unwrap();
    assert_eq!(running.wait().status, 0);
    let followed = follower.wait();
    assert_eq!(followed.status, 0, "{}", followed.stderr);
    assert!(
        followed.stdout.contains("step.done [last]") && followed.stdout.contains("run.succeeded"),
        "{}",
        followed.stdout
    );
    let kinds = other.wait().json_lines();
    assert_eq!(kinds.last().unwrap()["kind"], "run.succeeded");
    // Each once, in order.
    let seqs: Vec<i64> = kinds.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    // A run that is over is printed and not waited for.
    call.again().args(["log", &id(&call), "-f"]).stdout_has("run.succeeded").run();
}

#[test]
fn ctrl_c_ends_following_and_not_the_run() {
    let call = Decamp::new().file("s.rhai", SCRIPT);
    let mut running = call.again().args(["run", "./s.rhai"]).spawn();
    assert!(running.says("> wait"));
    let mut follower = call.again().args(["log", &id(&call), "-f"]).spawn();
    assert!(follower.says("step.started [wait]"));
    follower.signal(Signal::INT);
    assert_eq!(follower.wait().status, 130);
    std::fs::write(call.dir().join("go"), "").unwrap();
    assert_eq!(running.wait().status, 0);
}

#[test]
fn events_are_chosen_by_level_and_time() {
    let script = "fn params() { #{} }\nfn run(p) { step(\"a\", || 1); step(\"b\", || throw \"broken\"); }\n";
    let call = Decamp::new().file("s.rhai", script);
    call.again().args(["run", "./s.rhai"]).status(1).run();
    let id = id(&call);
    call.again().args(["log", &id, "--level", "error"]).stdout_has("step.failed").nowhere("step.done").run();
    call.again().args(["log", &id, "--since", "1h"]).stdout_has("step.done").run();
    call.again().args(["log", &id, "--since", "0s"]).stdout("").run();
    call.again().args(["log", &id, "--level", "loud"]).status(2).stderr_has("warn").run();
    call.again().args(["log", &id, "-f", "--output", "json"]).status(2).stderr_has("ndjson").run();
    call.again().args(["runs", "--status", "succeeded"]).stdout("no runs\n").run();
    call.again().args(["runs", "--status", "failed"]).stdout_has(&id).run();
    call.again().args(["runs", "--status", "broken"]).status(2).stderr_has("failed").run();
}
