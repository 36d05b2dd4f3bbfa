//! Undo runs the closures of the recorded script backwards, survives being repeated, and says what it cannot do.

use super::support::{log, run, run_id, script, whole};
use crate::support::env::Decamp;

#[test]
fn undo_uses_the_recorded_script_not_the_file() {
    let call = script(r#"step("a", #{ undo: |r| say("undo a") }, || say("a"));"#);
    run(&call).run();
    std::fs::remove_file(call.dir().join("s.rhai")).unwrap();
    call.again().args(["undo", &run_id(&call)]).stdout_has("undone").run();
    assert_eq!(log(&call), ["a", "undo a"]);
    call.again().args(["undo", &run_id(&call)]).status(2).stderr_has("undone already").run();
}

#[test]
fn a_failed_undo_is_repeated_from_where_it_failed() {
    let call = script(
        r#"for n in ["a", "b", "c"] {
               step("do", #{ key: n, undo: |r| { host::local().exec(["test", "-e", `ok-${n}`]); say(`undo ${n}`); } }, || say(n));
           }"#,
    );
    run(&call).run();
    let id = run_id(&call);
    for ready in ["c", "a"] {
        std::fs::write(call.dir().join(format!("ok-{ready}")), "").unwrap();
    }
    call.again().args(["undo", &id]).status(9).stderr_has("decamp undo").run();
    assert_eq!(log(&call)[3..], ["undo c"]);
    std::fs::write(call.dir().join("ok-b"), "").unwrap();
    call.again().args(["undo", &id]).run();
    assert_eq!(log(&call)[3..], ["undo c", "undo b", "undo a"]);
}

#[test]
fn a_step_that_did_not_end_is_undone_too() {
    let call = script(r#"step("a", #{ undo: |r| say(`undo ${r}`) }, || { say("a"); throw "half"; });"#);
    run(&call).status(1).run();
    call.again().args(["undo", &run_id(&call)]).run();
    assert_eq!(log(&call), ["a", "undo "]);
}

#[test]
fn undo_closures_still_see_the_imports_of_their_module() {
    let call = whole(
        r#"import "./lib/tools" as tools;
fn params() { #{} }
fn run(p) { tools::both("x"); }"#,
    )
    .file(
        "lib/tools.rhai",
        r#"import "./words" as words;
fn say(word) { host::local().exec(["sh", "-c", "echo \"$1\" >> log", "say", word]) }
fn both(name) { step(name, #{ undo: |r| say(words::back(name)) }, || say(name)); }"#,
    )
    .file("lib/words.rhai", r#"fn back(name) { `back ${name}` }"#);
    run(&call).run();
    call.again().args(["undo", &run_id(&call)]).run();
    assert_eq!(log(&call), ["x", "back x"]);
}

#[test]
fn a_plan_of_undo_changes_nothing() {
    let call = script(r#"step("a", #{ undo: |r| say("undo a") }, || say("a")); step("b", || say("b"));"#);
    run(&call).run();
    let plan = call.again().args(["undo", &run_id(&call), "--plan"]).run();
    assert!(
        plan.stdout.find("undo:b").or(plan.stdout.find("b  ")) < plan.stdout.find("undo:a").or(plan.stdout.find("a  ")),
        "{}",
        plan.stdout
    );
    assert_eq!(log(&call), ["a", "b"]);
}

const PLACES: &str = r#"
    step("one", #{ undo: |r| say(`undo one ${p.arg} ${r}`) }, || { say(`one ${p.arg}`); p.arg });
    step("two", #{ undo: |r| say(`undo two ${p.arg}`) }, || { if p.arg == "a" { throw "broken"; } say("two") });
"#;

#[test]
fn a_step_is_undone_with_the_parameters_it_ran_with() {
    let call = script(PLACES);
    run(&call).args(["--arg", "a"]).status(1).run();
    call.again().args(["resume", "--set", "arg=b"]).run();
    let id = run_id(&call);
    call.again().args(["undo", &id, "--plan"]).stdout_has("arg=\"a\", as it ran").run();
    call.again().args(["undo", &id]).run();
    assert_eq!(log(&call), ["one a", "two", "undo two b", "undo one a a"]);
}

#[test]
fn what_a_step_did_with_earlier_parameters_is_named() {
    let call = script(
        r#"step("one", #{ undo: |r| say(`undo ${p.arg}`) }, || {
               copy::tree("src", p.arg);
               if p.arg == "a" { throw "broken"; }
           });"#,
    )
    .file("src/f", "f")
    .file("a/own", "own")
    .file("b/own", "own");
    run(&call).args(["--arg", "a"]).status(1).run();
    call.again().args(["resume", "--set", "arg=b"]).run();
    let undone = call.again().args(["undo", &run_id(&call)]).status(9).stdout_has("acted with arg=\"a\" before");
    undone.run();
}

#[test]
fn what_was_left_is_not_said_to_be_undone() {
    let call = script(r#"step("a", #{ undo: |r| say("undo a") }, || say("a")); step("b", || say("b"));"#);
    run(&call).run();
    let undone = call.again().args(["undo", &run_id(&call), "--output", "json"]).status(9).run().json();
    let states: Vec<_> = undone["steps"].as_array().unwrap().iter().map(|s| (&s["step"], &s["state"])).collect();
    assert_eq!(format!("{states:?}"), r#"[(String("undo:b"), String("left")), (String("undo:a"), String("undone"))]"#);
    assert_eq!(undone["steps"][0]["changed"], false);
}

#[test]
fn changed_parameters_are_shown_and_asked_about_in_the_plan() {
    let call = script(
        r#"step("one", #{ inputs: p.arg }, || say("one"));
           if p.arg == "a" { throw "broken"; }"#,
    );
    run(&call).args(["--arg", "a"]).status(1).run();
    let set = ["resume", "--set", "arg=b"];
    call.again().args(set).arg("--plan").stdout_has("step `one` ran with \"a\"").run();
    call.again().args(set).args(["--plan", "--on-changed-inputs=redo"]).stderr_has("run again").run();
    call.again().args(set).arg("--on-changed-inputs=keep").run();
    let id = run_id(&call);
    let shown = call.again().args(["show", &id]).stdout_has("changed at ").run().stdout;
    assert!(!shown.contains("arg  a"), "{shown}");
    let shown = call.again().args(["show", &id, "--output", "json"]).run().json();
    assert_eq!(shown["run"]["params"]["arg"], "b", "{shown}");
    assert_eq!(shown["params_changed"][0]["params"]["arg"], "b");
}

#[test]
fn what_was_in_the_way_of_an_undo_can_be_taken_away() {
    let call = Decamp::new().file("src/sub/a", "one");
    let moved = || call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst"]);
    moved().run();
    let id = run_id(&call);
    std::fs::write(call.dir().join("dst/sub/mine"), "mine").unwrap();
    let undo = || call.again().args(["undo", &id]);
    for _ in 0..2 {
        undo()
            .status(9)
            .stdout_has("sub: left")
            .stdout_has(format!("decamp undo {id}"))
            .file_is("dst/sub/mine", "mine")
            .run();
        call.again().arg("runs").stdout_has("undo_failed").run();
    }
    // Its target is its own until then.
    moved().status(6).stderr_has(&id[id.len() - 8..]).run();
    std::fs::remove_file(call.dir().join("dst/sub/mine")).unwrap();
    undo().stdout_has("undone").absent("dst").run();
    undo().status(2).stderr_has("undone already").run();
    call.again().arg("runs").stdout_has("undone").run();
}
