//! An effect whose outcome is not known is asked about, never repeated blindly.

use std::time::Duration;

use rustix::process::Signal;

use super::support::{log, run, run_id, script};
use crate::support::env::Decamp;

/// A run that was killed in the middle of a command which had already acted.
fn killed() -> Decamp {
    let call = script(
        r#"step("first", || say("first"));
           step("doubtful", || host::local().exec(["sh", "-c", "echo acted >> log; sleep 60"]));
           step("last", || say("last"));"#,
    );
    let running = run(&call).spawn();
    while log(&call).len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::KILL);
    running.wait();
    call
}

#[test]
fn a_killed_command_is_asked_about() {
    let call = killed();
    let id = run_id(&call);
    call.again().arg("resume").status(7).stderr_has("it is not known whether").stderr_has("decamp decide").run();
    // Asking changes nothing, and asking again gives the same answer.
    call.again().arg("resume").status(7).run();
    assert_eq!(log(&call), ["first", "acted"]);
    call.again().args(["decide", &id, "first", "happened"]).status(2).stderr_has("doubtful").run();
    call.again().args(["decide", &id, "doubtful", "happened"]).run();
    call.again().arg("resume").stdout_has("succeeded").run();
    assert_eq!(log(&call), ["first", "acted", "last"]);
}

#[test]
fn a_command_that_did_not_happen_is_run_again() {
    let call = killed();
    // What is in doubt is decided by request; the command itself must not sleep again.
    let text = std::fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("sleep 60", "true");
    std::fs::write(call.dir().join("s.rhai"), text).unwrap();
    call.again().args(["resume", "--yes"]).status(1).stderr_has("doubt").run();
    call.again().args(["decide", &run_id(&call), "doubtful", "retry"]).run();
    call.again().args(["resume", "--yes"]).run();
    assert_eq!(log(&call), ["first", "acted", "acted", "last"]);
}

#[test]
fn a_run_that_lives_cannot_be_taken_over() {
    let call = script(r#"step("a", || host::local().exec(["sh", "-c", "echo a >> log; sleep 60"]));"#);
    let running = run(&call).spawn();
    while log(&call).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = run_id(&call);
    for args in [vec!["resume", &id], vec!["undo", &id], vec!["abandon", &id, "--yes"]] {
        call.again().args(args).status(6).run();
    }
    running.signal(Signal::KILL);
    running.wait();
    call.again().args(["abandon", &id, "--yes"]).run();
    call.again().args(["resume", &id]).status(2).run();
}
