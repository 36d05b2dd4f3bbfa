//! A run goes on where it was begun, wherever the one stands who resumes or takes it back.

use super::support::{log, run, run_id, script};
use crate::support::env::{Decamp, program};

/// `decamp ARGS`, typed in another directory that has things of the same names.
fn elsewhere(call: &Decamp, args: &str) -> Decamp {
    let line = format!("cd other && exec '{}' {args}", program().display());
    call.again().program("/bin/sh").args(["-c", &line])
}

#[test]
fn undo_takes_back_what_the_run_made_and_nothing_of_the_same_name() {
    let call = script(r#"step("make", || copy::root("dst")); step("copy", || copy::tree("src", "dst"));"#);
    let call = call.file("src/a", "a").file("other/src/b", "b").file("other/dst/mine", "m");
    run(&call).run();
    let id = run_id(&call);
    elsewhere(&call, &format!("undo {id} --plan")).stderr_has("where the run was begun").run();
    elsewhere(&call, &format!("undo {id}")).stdout_has("undone").absent("dst").file_is("other/dst/mine", "m").run();
}

#[test]
fn resume_goes_on_in_the_directory_of_the_run() {
    let body = r#"step("gate", || { if host::local().which("./go") == () { throw "not yet"; } });
        step("make", || copy::root("dst"));
        step("copy", || copy::tree("src", "dst"));
        step("say", || say("here"));"#;
    let call = script(body).file("src/a", "a").file("other/src/b", "b");
    run(&call).status(1).run();
    let call = call.file("go", "");
    std::fs::set_permissions(call.dir().join("go"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    elsewhere(&call, "resume").absent("other/dst").file_is("dst/a", "a").run();
    assert_eq!(log(&call), ["here"]);
    let shown = call.again().args(["show", &run_id(&call)]).run().stdout;
    assert!(shown.contains(&format!("begun in  {}", call.dir().canonicalize().unwrap().display())), "{shown}");
}

#[test]
fn a_directory_that_is_gone_is_named_and_nothing_is_done_elsewhere() {
    let call = script("step(\"gate\", || { throw \"not yet\"; });").file("other/keep", "");
    let inside = call.dir().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let line = format!("cd inside && exec '{}' run {}/s.rhai", program().display(), call.dir().display());
    call.again().program("/bin/sh").args(["-c", &line]).status(1).run();
    std::fs::remove_dir(&inside).unwrap();
    elsewhere(&call, "resume").status(2).stderr_has("was begun in").stderr_has("inside").run();
}

#[test]
fn a_directory_is_not_made_inside_what_another_run_holds() {
    let call =
        script(r#"step("make", || copy::root("dst")); step("copy", || copy::tree("src", "dst")); throw "stop";"#);
    let call = call.file("src/a", "a");
    run(&call).status(1).run();
    let inside = "fn params() { #{} }\nfn run(p) { step(\"inside\", || copy::root(\"dst/in\")); }\n";
    call.again().file("t.rhai", inside).args(["run", "./t.rhai"]).status(6).absent("dst/in").run();
}
