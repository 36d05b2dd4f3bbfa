//! How far a run goes: up to a step, step by step, back again if it fails; and what it leaves held.

use super::support::{log, run, run_id, script};
use crate::support::env::Decamp;

const THREE: &str = r#"
    step("one", || say("one"));
    for n in [1, 2] { step("two", #{ key: n.to_string() }, || say(`two ${n}`)); }
    step("three", || say("three"));
"#;

#[test]
fn a_run_goes_up_to_a_step_and_on_from_there() {
    let call = script(THREE);
    run(&call).args(["--until", "one"]).stdout_has("stopped after step `one`; go on with: decamp resume").run();
    call.again().arg("runs").stdout_has("waiting").run();
    call.again().args(["resume", "--until", "two[1]"]).stdout_has("waiting in").run();
    assert_eq!(log(&call), ["one", "two 1"]);
    // What is done already is reached at once, and nothing runs past it.
    call.again().args(["resume", "--until", "one"]).stdout_has("after step `one`").run();
    assert_eq!(log(&call).len(), 2);
    let json = call.again().args(["resume", "--until", "three", "--output", "json"]).run().json();
    assert_eq!((&json["status"], &json["exit_code"]), (&"waiting".into(), &0.into()));
    assert_eq!(log(&call), ["one", "two 1", "two 2", "three"]);
    call.again().arg("resume").stdout_has("succeeded").run();
    assert_eq!(log(&call).len(), 4);
}

#[test]
fn a_step_the_script_does_not_have_is_refused_before_anything_begins() {
    let call = script(THREE);
    run(&call).args(["--until", "tow"]).status(2).stderr_has("did you mean `two`?").run();
    call.again().arg("runs").stdout("no runs\n").run();
    let call = script(r#"for n in ["a", "b"] { step("do " + n, || say(n)); }"#);
    run(&call).args(["--until", "do c"]).status(1).stdout_has("--until do c was not reached").run();
    assert_eq!(log(&call), ["a", "b"]);
}

#[test]
fn a_bare_key_is_no_step_and_the_form_is_told() {
    let call = script(THREE);
    run(&call).args(["--until", "2"]).status(2).stderr_has("NAME[KEY]").run();
    call.again().arg("runs").stdout("no runs\n").run();
}

#[test]
fn a_step_that_is_not_reached_stops_the_run_before_the_point_of_no_return() {
    let call = script(
        r#"for n in ["x", "y"] { step("copy", #{ key: n }, || say(n)); }
           step("swap", || { pivot("over"); say("swap"); });
           for n in ["x", "y"] { step("clean", #{ key: n }, || say(`clean ${n}`)); }"#,
    );
    let plan = run(&call).args(["--until", "copy[q]", "--plan", "--output", "json"]).run().json();
    assert!(plan["plan_stops"].as_str().unwrap().contains("`swap/over`: `copy[q]` was not reached"), "{plan}");
    let flags = ["--until", "copy[q]", "--undo-on-failure", "--output", "json"];
    let told = run(&call).args(flags).status(1).run().json();
    assert_eq!((&told["status"], &told["exit_code"]), (&"waiting".into(), &1.into()));
    assert_eq!(log(&call), ["x", "y"]);
    // What is behind it is not reached in one go, either; the point itself, or the step around it, has to be named.
    call.again().args(["resume", "--until", "clean[x]"]).status(1).stdout_has("does not name").run();
    assert_eq!(log(&call).len(), 2);
    call.again().args(["resume", "--until", "over"]).stdout_has("after step `swap/over`").run();
    assert_eq!(log(&call).len(), 2);
    call.again().args(["resume", "--until", "clean[x]"]).stdout_has("after step `clean[x]`").run();
    assert_eq!(log(&call), ["x", "y", "swap", "clean x"]);
    let call = script(r#"step("swap", || { pivot("over"); say("swap"); }); step("last", || say("last"));"#);
    run(&call).args(["--until", "swap"]).stdout_has("after step `swap`").run();
    assert_eq!(log(&call), ["swap"]);
}

#[test]
fn a_plan_goes_as_far() {
    let call = script(THREE);
    let plan = run(&call).args(["--until", "two[1]", "--plan", "--output", "json"]).run().json();
    let steps: Vec<&str> = plan["plan"].as_array().unwrap().iter().map(|item| item["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["one", "two[1]"]);
    assert_eq!(plan["plan_stops"], "after step `two[1]`, as asked");
}

#[test]
fn the_first_branch_that_comes_there_stops_the_others_before_their_next_step() {
    let call = script(
        r#"parallel(["quick", "slow"], |name| {
               if name == "slow" {
                   step("long", || host::local().exec(["sh", "-c", "touch begun; sleep 1; echo long >> log"]));
                   step("never", || say("never"));
               } else {
                   wait_until("begun", #{ timeout: "60s", every: "10ms" }, ||
                       host::local().exec(["test", "-e", "begun"], #{ read_only: true, ok_codes: [0, 1] }).code == 0);
                   step("here", || say("here"));
                   step("behind", || say("behind"));
               }
           });"#,
    );
    run(&call).args(["--until", "here"]).stdout_has("stopped after step `parallel[quick]/here`").run();
    // What had begun went on to its end.
    assert_eq!(log(&call), ["here", "long"]);
    call.again().arg("resume").run();
    let mut lines = log(&call).split_off(2);
    lines.sort();
    assert_eq!(lines, ["behind", "never"]);
}

#[test]
fn what_is_held_is_released_and_that_is_said() {
    let call = script(
        r#"step("hold", #{ release: |r| say("release") }, || say("hold"));
           step("work", || say("work"));
           step("last", || say("last"));"#,
    );
    run(&call)
        .args(["--until", "work"])
        .stdout_has("released, and to be done again on resume with all after it: hold")
        .run();
    assert_eq!(log(&call), ["hold", "work", "release"]);
    call.again().arg("resume").run();
    assert_eq!(log(&call)[3..], ["hold", "work", "last"]);
}

#[test]
fn a_run_that_is_given_up_tells_what_it_holds() {
    let call = script(
        r#"step("hold", #{ release: |r| say("release") }, || say("hold")); step("work", || { say("work"); sleep("60s"); });"#,
    );
    let running = run(&call).spawn();
    while log(&call).len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    let told = call.again().args(["abandon", &run_id(&call), "--yes", "--output", "json"]).run().json();
    assert_eq!(told["held"][0], "hold", "{told}");
    // What was released is not held.
    let call = script(r#"step("hold", #{ release: |r| say("release") }, || say("hold")); throw "stop";"#);
    run(&call).status(1).run();
    call.again().args(["abandon", &run_id(&call), "--yes"]).nowhere("still holds").run();
}

#[test]
fn a_run_that_fails_is_undone_if_that_was_asked_for() {
    let failing = |pivot: &str| {
        script(&format!(
            r#"step("a", #{{ undo: |r| say("undo a") }}, || say("a")); {pivot} step("b", || {{ throw "broken"; }});"#
        ))
    };
    let call = failing("");
    run(&call).arg("--undo-on-failure").status(1).stderr_has("broken").stderr_has("was put back").run();
    assert_eq!(log(&call), ["a", "undo a"]);
    call.again().arg("runs").stdout_has("undone").run();
    let call = failing(r#"pivot("over");"#);
    run(&call).arg("--undo-on-failure").status(1).stderr_has("not undone").stderr_has("`over`").run();
    assert_eq!(log(&call), ["a"]);
    // Waiting is no failure.
    let call = script(r#"step("a", #{ undo: |r| say("undo a") }, || say("a")); approve("go");"#);
    run(&call).arg("--undo-on-failure").status(5).run();
    assert_eq!(log(&call), ["a"]);
}

/// Types these lines, each once it is asked for.
fn typed(call: &Decamp, words: &[&str], answers: &str) -> crate::support::env::Ran {
    call.again().args(words.iter().copied()).on_terminal().stdin(answers).spawn().wait()
}

#[test]
fn every_step_is_asked_about_on_a_terminal_alone() {
    let call = script(THREE);
    run(&call).arg("--step").status(2).stderr_has("no terminal").run();
    let ran = typed(&call, &["run", "./s.rhai", "--step"], "y\nn\n");
    assert!(ran.status == 0 && ran.stdout.contains("stopped before step `two[1]`"), "{} {}", ran.status, ran.stdout);
    assert_eq!(log(&call), ["one"]);
    let ran = typed(&call, &["resume", "--step"], "y\ny\ny\n");
    assert!(ran.status == 0 && !ran.stdout.contains("`one`: run"), "{} {}", ran.status, ran.stdout);
    assert_eq!(log(&call), ["one", "two 1", "two 2", "three"]);
}
