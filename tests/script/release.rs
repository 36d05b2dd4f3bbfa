//! What a run holds is given back when it stops before the next pivot, and never after success.

use std::time::Duration;

use rustix::process::Signal;

use super::support::{log, run, run_id, script};

const HELD: &str = r#"
    step("before", || say("before"));
    step("hold", #{ release: |r| say(`release ${r}`), undo: |r| say(`unhold ${r}`) }, || { say("hold"); 5 });
    step("work", || { say("work"); if p.arg == "fail" { throw "broken"; } });
    if p.arg == "pivot" { pivot("over"); }
    step("after", || { say("after"); if p.arg == "pivot" { throw "late"; } });
"#;

#[test]
fn success_releases_nothing() {
    let call = script(HELD);
    run(&call).run();
    assert_eq!(log(&call), ["before", "hold", "work", "after"]);
}

#[test]
fn a_failure_releases_and_resume_holds_again() {
    let call = script(HELD);
    run(&call).args(["--arg", "fail"]).status(1).stderr_has("broken").stderr_has("decamp resume").run();
    assert_eq!(log(&call), ["before", "hold", "work", "release 5"]);
    call.again().arg("resume").status(1).run();
    assert_eq!(log(&call)[4..], ["hold", "work", "release 5"]);
}

#[test]
fn what_was_released_is_not_undone_again() {
    let call = script(HELD);
    run(&call).args(["--arg", "fail"]).status(1).run();
    call.again().args(["undo", &run_id(&call)]).status(9).run();
    assert_eq!(log(&call), ["before", "hold", "work", "release 5"]);
}

#[test]
fn an_undo_gives_back_what_is_held() {
    let call = script(HELD);
    run(&call).run();
    call.again().args(["undo", &run_id(&call)]).status(9).stdout_has("has no undo").run();
    assert_eq!(log(&call), ["before", "hold", "work", "after", "unhold 5"]);
}

#[test]
fn after_the_pivot_nothing_is_released_and_nothing_undone() {
    let call = script(HELD);
    run(&call).args(["--arg", "pivot"]).status(1).stderr_has("late").run();
    assert_eq!(log(&call), ["before", "hold", "work", "after"]);
    call.again().args(["undo", &run_id(&call)]).status(9).stderr_has("point of no return `over`").run();
    assert_eq!(log(&call).len(), 4);
}

#[test]
fn a_hold_that_failed_half_way_is_released() {
    let call =
        script(r#"step("hold", #{ release: |r| say(`release ${r}`) }, || { say("half"); throw "cannot hold"; });"#);
    run(&call).status(1).stderr_has("cannot hold").run();
    assert_eq!(log(&call), ["half", "release "]);
}

#[test]
fn a_signal_releases_and_the_run_goes_on_later() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let call = script(
            r#"step("hold", #{ release: |r| say("release") }, || say("hold"));
               if p.arg == "wait" { sleep("60s"); }
               step("work", || say("work"));"#,
        );
        let running = run(&call).args(["--arg", "wait"]).spawn();
        while log(&call).is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal(signal);
        let ran = running.wait();
        assert_eq!(ran.status, code, "{signal:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("decamp resume"), "{}", ran.stderr);
        assert_eq!(log(&call), ["hold", "release"], "{signal:?}");
    }
}

const BEHIND: &str = r#"
    step("hold", #{ release: |r| say("release"), undo: |r| say("unhold") }, || say("hold"));
    let place = fact("place", || p.arg);
    step("flag", #{ undo: |r| say(`unflag ${place}`) }, || { if p.arg == "late" { throw "broken"; } say("flag") });
    step("copy", || copy::tree("src", "dst"));
    if p.arg == "fail" { throw "broken"; }
"#;

#[test]
fn steps_behind_a_released_one_are_undone() {
    for line in [["--arg", "fail"], ["--until", "copy"]] {
        let call = script(BEHIND).file("src/f", "f").file("dst/own", "own");
        run(&call).args(line).status(if line[0] == "--arg" { 1 } else { 0 }).run();
        let id = run_id(&call);
        call.again().args(["undo", &id, "--plan"]).stdout_has("flag").run();
        call.again().args(["undo", &id]).stdout_has("undone").run();
        assert_eq!(log(&call)[..3], ["hold", "flag", "release"], "{line:?}");
        assert!(log(&call)[3].starts_with("unflag"), "{:?}", log(&call));
        assert_eq!(log(&call).len(), 4, "{:?}", log(&call));
        assert!(!call.dir().join("dst/f").exists());
    }
}

#[test]
fn an_undo_on_failure_undoes_what_is_behind_a_released_step() {
    let call = script(BEHIND).file("src/f", "f").file("dst/own", "own");
    run(&call).args(["--arg", "fail", "--undo-on-failure"]).status(1).run();
    assert_eq!(log(&call), ["hold", "flag", "release", "unflag fail"]);
}

#[test]
fn what_was_released_and_not_done_again_is_undone_with_the_results_it_ran_with() {
    let call = script(
        r#"step("hold", #{ release: |r| say("release") }, || say("hold"));
           let place = step("place", || p.arg);
           if p.arg == "b" { throw "broken"; }
           step("flag", #{ undo: |r| say(`unflag ${place}`) }, || say(`flag ${place}`));
           throw "broken";"#,
    );
    run(&call).args(["--arg", "a"]).status(1).run();
    call.again().args(["resume", "--set", "arg=b"]).status(1).run();
    call.again().args(["undo", &run_id(&call)]).run();
    assert_eq!(log(&call), ["hold", "flag a", "release", "hold", "release", "unflag a"]);
}
