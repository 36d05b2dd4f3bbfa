//! `decamp runs prune`: only what is over and cannot be undone goes, and only after it was said.

use crate::support::env::Decamp;

fn ids(call: &Decamp) -> Vec<(String, String)> {
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    let all = runs["runs"].as_array().unwrap();
    all.iter().map(|run| (run["id"].as_str().unwrap().to_owned(), run["state"].as_str().unwrap().to_owned())).collect()
}

fn prune(call: &Decamp) -> Decamp {
    call.again().args(["runs", "prune", "--older-than", "0s"])
}

#[test]
fn what_can_be_resumed_or_undone_stays() {
    let script = r#"//! Ends as it is told.
fn params() { #{ how: #{ type: "string", "default": "" } } }
fn run(p) {
    step("made", #{ undo: |r| () }, || host::local().exec(["true"]));
    if p.how == "pivot" { pivot("gone"); }
    if p.how == "fail" { step("broken", || throw "broken"); }
}
"#;
    let call = Decamp::new().file("s.rhai", script);
    for (how, status) in [("pivot", 0), ("", 0), ("fail", 1), ("", 0)] {
        call.again().args(["run", "./s.rhai", "--how", how]).status(status).run();
    }
    let newest = ids(&call)[0].0.clone();
    call.again().args(["undo", &newest]).run();
    // Undone, failed, succeeded, succeeded behind its pivot.
    let all = ids(&call);
    let states: Vec<&str> = all.iter().map(|(_, state)| state.as_str()).collect();
    assert_eq!(states, ["undone", "failed", "succeeded", "succeeded"]);

    let plan = prune(&call).args(["-n", "--output", "json"]).run().json();
    let gone = |report: &serde_json::Value| -> Vec<String> {
        report["removed"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(gone(&plan), [all[0].0.clone(), all[3].0.clone()], "{plan:#}");
    assert_eq!(ids(&call), all, "a plan changes nothing");
    prune(&call).args(["-n", "--keep", "1"]).stdout_has("--keep").stdout_has("1 run would go").run();
    call.again().args(["runs", "prune", "--older-than", "90d", "-y"]).stdout_has("not old enough").run();
    assert_eq!(ids(&call), all);
    prune(&call).status(2).stderr_has("--plan").run();

    prune(&call).arg("-y").stdout_has("removed 2 runs").run();
    assert_eq!(ids(&call), [all[1].clone(), all[2].clone()]);
    call.again().args(["show", &all[0].0]).status(2).run();
    call.again().arg("doctor").stdout_has("can be trusted").run();
    prune(&call).args(["-y", "--and-undoable"]).stdout_has("removed 1 run").run();
    assert_eq!(ids(&call), [all[1].clone()]);
    // What was kept can be gone on with.
    call.again().args(["undo", &all[1].0]).run();
}

#[test]
fn a_living_run_is_left_alone_while_others_go() {
    let nap = "fn params() { #{ nap: #{ type: \"string\", \"default\": \"0\" } } }\nfn run(p) { pivot(\"gone\"); step(\"nap\", || host::local().exec([\"sleep\", p.nap])); }\n";
    let call = Decamp::new().file("s.rhai", nap);
    call.again().args(["run", "./s.rhai"]).run();
    let mut running = call.again().args(["run", "./s.rhai", "--nap", "1.5"]).spawn();
    assert!(running.says("> nap"));
    prune(&call).arg("-y").stdout_has("removed 1 run").run();
    assert_eq!(running.wait().status, 0);
    assert_eq!(ids(&call).len(), 1);
    call.again().arg("doctor").stdout_has("can be trusted").run();
}
