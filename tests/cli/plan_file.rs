//! Plans that are kept: done as they are, once, or refused with what is different.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::check::Check;
use crate::support::env::Decamp;

const PLAN: [&str; 9] = ["run", "move-tree", "--source", "src", "--dest", "dst", "--plan", "--out", "plan.json"];

/// A tree and its kept plan.
fn planned() -> Decamp {
    let call = Decamp::new().file("src/a", "a").file("src/deep/b", "bb").file("src/deep/c", "ccc");
    let ran = call.again().args(PLAN).stdout_has("plan of move-tree").absent("dst").run();
    assert!(ran.stderr.contains("kept in plan.json; do it with: decamp run --from-plan plan.json"), "{}", ran.stderr);
    call
}

fn apply(call: &Decamp) -> Decamp {
    call.again().args(["run", "--from-plan", "plan.json"])
}

/// Changes the kept plan as a text editor would.
fn edited(call: &Decamp, change: impl Fn(&mut Value)) {
    let path = call.dir().join("plan.json");
    let mut plan: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut plan);
    std::fs::write(path, plan.to_string()).unwrap();
}

fn runs(call: &Decamp) -> usize {
    call.again().args(["runs", "--output", "json"]).run().json()["runs"].as_array().unwrap().len()
}

#[test]
fn a_kept_plan_is_done_once() {
    let call = planned();
    let path = call.dir().join("plan.json");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let plan: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(plan["schema"], 1);
    assert_eq!(plan["params"]["source"], call.dir().join("src").to_str().unwrap());
    assert!(plan["items"].as_array().unwrap().len() >= 2, "{plan}");
    assert_eq!(plan["targets"][call.dir().join("dst").to_str().unwrap()], Value::Null, "{plan}");
    call.again().args(PLAN).status(2).stderr_has("`plan.json` exists already").run();
    // Comparing alone uses nothing up.
    apply(&call).arg("--plan").stdout_has("nothing was changed").absent("dst").run();
    assert_eq!(runs(&call), 0);
    apply(&call).args(["--max-age", "1h"]).stdout_has("move-tree: succeeded").run();
    Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    apply(&call).status(2).stderr_has("the plan was applied already, by run ").stderr_has("decamp show ").run();
    assert_eq!(runs(&call), 1);
}

#[test]
fn drift_of_one_file_is_shown_and_refused() {
    let call = planned().file("src/deep/new", "planted");
    let ran = apply(&call).status(1).stderr_has("--accept-drift").absent("dst").run();
    for line in ["-    created.files: 3\n", "+    created.files: 4\n"] {
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    }
    assert_eq!(runs(&call), 0, "a run was begun");
    apply(&call).arg("--accept-drift").stderr_has("created.files: 4").run();
    Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn a_file_that_grew_is_drift() {
    let call = planned().file("src/a", "longer than it was");
    apply(&call).status(1).stderr_has("copied_bytes: 6").stderr_has("copied_bytes: 23").absent("dst").run();
}

#[test]
fn another_directory_of_the_same_name_is_drift() {
    let call = planned();
    std::fs::rename(call.dir().join("src"), call.dir().join("old")).unwrap();
    let call = call.file("src/a", "a").file("src/deep/b", "bb").file("src/deep/c", "ccc");
    let ran = apply(&call).status(1).absent("dst").run();
    assert!(ran.stderr.contains(&format!("-target {}: ", call.dir().join("src").display())), "{}", ran.stderr);
    assert!(!ran.stderr.contains("created.files: 3\n+"), "{}", ran.stderr);
}

#[test]
fn another_text_of_the_script_is_refused() {
    let call = Decamp::new().file("src/a", "a");
    call.again().args(["scripts", "eject", "move-tree"]).run();
    let plan = ["run", "./move-tree.rhai", "--source", "src", "--dest", "dst", "--plan", "--out", "plan.json"];
    call.again().args(plan).run();
    let script = call.dir().join("move-tree.rhai");
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, text.replace("// Takes", "// takes") + "\n// another line\n").unwrap();
    apply(&call).status(2).stderr_has("move-tree.rhai` changed").absent("dst").run();
    std::fs::write(&script, text).unwrap();
    apply(&call).run();
}

#[test]
fn a_file_that_was_edited_or_is_no_plan_is_refused() {
    let call = planned();
    edited(&call, |plan| plan["params"]["max_delete"] = "100%".into());
    apply(&call).status(2).stderr_has("was edited since it was written").absent("dst").run();
    edited(&call, |plan| plan["schema"] = 2.into());
    apply(&call).status(2).stderr_has("has a form this decamp").run();
    for text in ["", "{}", "[1]", "{\"schema\": 1}"] {
        call.again()
            .file("plan.json", text)
            .args(["run", "--from-plan", "plan.json"])
            .status(2)
            .stderr_has("is no kept plan")
            .stderr_has("hint: make it again")
            .run();
    }
    let missing = call.again().args(["run", "--from-plan", "nothing.json"]).status(2);
    missing.stderr_has("cannot read the plan").stderr_has("hint: make one").run();
}

#[test]
fn an_old_plan_is_refused() {
    let call = planned();
    std::thread::sleep(std::time::Duration::from_millis(20));
    apply(&call).args(["--max-age", "10ms"]).status(2).stderr_has(" old, more than ").absent("dst").run();
    apply(&call).args(["--max-age", "soon"]).status(2).run();
}

#[test]
fn a_plan_brings_its_parameters_along() {
    let call = planned();
    apply(&call).args(["--set", "dest=other"]).status(2).stderr_has("cannot be used with").run();
    apply(&call).arg("move-tree").status(2).stderr_has("`move-tree` is named beside --from-plan").run();
    call.again()
        .args(["run", "move-tree", "--source", "src", "--dest", "dst", "--out", "x"])
        .status(2)
        .stderr_has("--plan")
        .run();
    call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst", "--accept-drift"]).status(2).run();
}

#[test]
fn a_plan_that_stops_says_how_far_it_binds() {
    let script = "fn params() { #{} }\nfn run(p) {\n    let r = step(\"look\", || host::local().exec([\"true\"]));\n    \
                  if r.code == 0 { step(\"go\", || host::local().exec([\"touch\", \"done\"])); }\n}\n";
    let call = Decamp::new().file("s.rhai", script);
    let ran = call
        .again()
        .args(["run", "./s.rhai", "--plan", "--out", "plan.json"])
        .stderr_has("it binds up to where it stops")
        .run();
    assert!(ran.stdout.contains("the plan stops here"), "{}", ran.stdout);
    apply(&call).stderr_has("the plan binds up to where it stopped").file_is("done", "").run();
}

#[test]
fn of_two_at_once_one_does_the_plan() {
    let script = "fn params() { #{} }\nfn run(p) { step(\"say\", || host::local().exec([\"sh\", \"-c\", \"sleep 0.3; echo once >> log\"])); }\n";
    let call = Decamp::new().file("s.rhai", script);
    call.again().args(["run", "./s.rhai", "--plan", "--out", "plan.json"]).run();
    let both = [apply(&call).spawn(), apply(&call).spawn()].map(crate::support::env::Running::wait);
    let mut codes = both.each_ref().map(|ran| ran.status);
    codes.sort_unstable();
    assert_eq!(codes, [0, 2], "{}\n{}", both[0].stderr, both[1].stderr);
    assert!(both.iter().any(|ran| ran.stderr.contains("applied already")));
    assert_eq!(std::fs::read_to_string(call.dir().join("log")).unwrap(), "once\n");
    call.again().args(["runs", "--unfinished"]).stdout("no runs\n").run();
}

#[test]
fn plan_is_another_name_of_run_plan() {
    let call = Decamp::new().file("src/a", "a");
    let line = ["move-tree", "--source", "src", "--dest", "dst"];
    call.again().arg("plan").args(line).stdout_has("plan of move-tree (nothing was changed)").absent("dst").run();
    call.again().arg("plan").args(line).args(["--exit-code", "--out", "plan.json"]).status(3).run();
    apply(&call).run();
}
