//! The builder notices what is wrong, all of it at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::skip::needs_root;
use super::Decamp;

fn sh(script: &str) -> Decamp {
    Decamp::new().program("/bin/sh").args(["-c", script])
}

#[test]
fn what_is_expected_and_comes_passes() {
    let ran = sh("cat; echo err >&2; cat in > out; exit 3")
        .stdin("{\"a\":1}\n{\"a\":2}\n")
        .file("in", "content")
        .status(3)
        .stdout("{\"a\":1}\n{\"a\":2}\n")
        .stdout_like("…1…\n…")
        .stdout_has("\"a\"")
        .stderr("err\n")
        .stderr_has("er")
        .stderr_like("e…r")
        .nowhere("fnord")
        .file_is("out", "content")
        .absent("other")
        .run();
    assert_eq!(ran.json_lines()[1]["a"], 2);
    assert!(ran.peak_memory > 0);
}

#[test]
fn everything_that_differs_is_said_at_once() {
    let call = sh("echo out; echo err >&2; echo new > file; exit 1")
        .stdout("other")
        .stdout_like("… other")
        .stdout_has("other")
        .stderr("other")
        .stderr_has("other")
        .stderr_like("other…")
        .nowhere("err")
        .file_is("file", "old")
        .file_is("missing", "")
        .absent("file");
    let wrong = call.spawn().wait().mismatches(&call);
    assert_eq!(wrong.len(), 11, "{wrong:#?}");
}

#[test]
fn the_environment_is_empty_and_calls_share_a_directory() {
    let first = sh("echo x > $DECAMP_STATE_DIR/kept; env | grep -c CARGO").status(1).stdout("0\n");
    let second = first.again().program("/bin/sh").args(["-c", "cat $DECAMP_STATE_DIR/kept"]).stdout("x\n");
    first.run();
    second.run();
}

#[test]
fn programs_are_killed_and_signalled() {
    let start = Instant::now();
    let killed = sh("echo begun; sleep 100 & wait").spawn().kill_after(Duration::from_millis(300));
    assert_eq!((killed.status, &*killed.stdout), (137, "begun\n"));
    let mut running = sh("trap 'echo bye; exit 5' INT; echo ready; sleep 2 & wait").spawn();
    assert!(running.says("ready"));
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!((ended.status, &*ended.stdout), (5, "ready\nbye\n"));
    let mut running = sh("echo short").spawn();
    assert!(!running.says("long"));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn it_runs_on_a_terminal() {
    sh("test -t 0 && test -t 1 && test -t 2 && echo \"it's one\"; exit 4")
        .on_terminal()
        .status(4)
        .stdout_has("it's one")
        .run();
    sh("test -t 1").status(1).run();
}

#[test]
fn it_runs_as_another_user() {
    if !needs_root("becoming another user") {
        return;
    }
    sh("id -u; id -G; echo mine > file").user(4_321).stdout("4321\n4321\n").file_is("file", "mine\n").run();
}
