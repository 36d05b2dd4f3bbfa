//! Undo runs the closures of the recorded script backwards, survives being repeated, and says what it cannot do.

use super::support::{log, run, run_id, script, whole};

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
