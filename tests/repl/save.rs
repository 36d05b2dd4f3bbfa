//! A session becomes a script that is checked, planned and run.

use std::fs;

use crate::support::env::Decamp;

fn saved(lines: &[&str]) -> (Decamp, String) {
    let call = Decamp::new().file("data/a", "one").file("data/sub/b", "two");
    let all = lines.iter().fold(call.again().arg("repl"), |call, line| call.args(["-e", line]));
    all.args(["-e", ":save s.rhai"]).stdout_has("decamp run ./s.rhai --plan").run();
    let text = fs::read_to_string(call.dir().join("s.rhai")).unwrap();
    let checked = call.again().args(["check", "s.rhai"]).spawn().wait();
    assert_eq!(checked.status, 0, "{}\n{text}", checked.stdout);
    (call, text)
}

const LINES: [&str; 9] = [
    "import \"std/verify\" as v;",
    "fn total(counts) { counts.files + counts.dirs }",
    "copy::scan(\"./data\").counts",
    "let before = copy::scan(\"./data\");",
    "total(before.counts)",
    "copy::root(\"./moved\")",
    "if before.counts.files > 0 { copy::tree(\"./data\", \"./moved\"); }",
    "let seen = v::trees(\"./data\", \"./data\", \"full\", #{ exclude: [], accept: [], jobs: 0 });",
    "seen.differences",
];

#[test]
fn a_saved_session_is_a_script_that_runs() {
    let (call, text) = saved(&LINES);
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("repl_saved", text);
    });
    call.again().args(["run", "./s.rhai", "--plan"]).stdout_has("copy::tree").absent("moved").run();
    call.again().args(["run", "./s.rhai"]).file_is("moved/sub/b", "two").run();
    // What was typed is a parameter.
    call.again().args(["run", "./s.rhai", "--dst", "./other"]).file_is("other/a", "one").run();
}

#[test]
fn a_file_is_replaced_only_on_demand() {
    let call = Decamp::new().file("s.rhai", "mine");
    let lines = ["repl", "-e", "copy::root(\"./m\")", "-e"];
    call.again().args(lines).arg(":save s.rhai").status(1).stderr_has(":save! s.rhai").file_is("s.rhai", "mine").run();
    call.again().args(lines).arg(":save! s.rhai").run();
    assert!(fs::read_to_string(call.dir().join("s.rhai")).unwrap().contains("copy::root(p.dst)"));
    call.again()
        .args(["repl", "-e", "1 + 1", "-e", ":save t.rhai"])
        .status(1)
        .stderr_has("nothing to save")
        .absent("t.rhai")
        .run();
}

#[test]
fn what_a_block_changes_outside_itself_survives() {
    let (call, text) = saved(&[
        "let made = 0;",
        "let names = [\"x\", \"y\"];",
        "for name in names { if copy::root(\"./\" + name).made { made += 1; } }",
        "note(\"made\", made);",
    ]);
    call.again().args(["run", "./s.rhai"]).stdout_has("made").run();
    assert!(call.dir().join("x").is_dir() && call.dir().join("y").is_dir(), "{text}");
    let shown = call.again().args(["runs", "--output", "json"]).run().json();
    let run = shown["runs"][0]["id"].as_str().unwrap().to_owned();
    call.again().args(["show", &run]).stdout_has("copy-root").run();
    let again = call.again().args(["run", "./s.rhai", "--output", "json"]).run().json();
    assert_eq!(again["notes"][0]["value"], 0, "both were there: {text}");
}

#[test]
fn results_and_steps_of_ones_own_are_kept() {
    let (call, text) = saved(&[
        "copy::scan(\"./data\")",
        "let files = _.counts.files;",
        "step(\"mine\", || copy::root(\"./m\"))",
        "note(\"files\", files)",
    ]);
    assert!(text.contains("let result_1 = fact(\"result_1\", || copy::scan(p."), "{text}");
    assert!(text.contains("step(\"mine\", || copy::root(p.dst))"), "{text}");
    call.again().args(["run", "./s.rhai"]).stdout_has("files").run();
    assert!(call.dir().join("m").is_dir());
}

/// Saved, left out (said on standard error), and done by a run.
fn kept(lines: &[&str], left: &str) -> (Decamp, String) {
    let call = Decamp::new().file("data/a", "one").file("d/a", "one").env("TOK", "Zebra-99-quill");
    let all = lines.iter().fold(call.again().args(["repl", "--live"]), |call, line| call.args(["-e", line]));
    all.args(["-e", ":save s.rhai"]).stderr_has(left).run();
    let text = fs::read_to_string(call.dir().join("s.rhai")).unwrap();
    call.again().args(["check", "s.rhai"]).run();
    call.again().args(["run", "./s.rhai"]).run();
    (call, text)
}

#[test]
fn what_check_refuses_is_left_out_and_named() {
    let (_, text) = kept(&["parallel([\"x\", \"y\"], |n| copy::root(\"./ni\" + n))"], "effect-outside-step");
    assert!(text.contains("// left out, check refuses it: effect-outside-step:"), "{text}");
    let twice = "step(\"a\", || copy::root(\"./m\"))";
    let (..) = kept(&[twice, "copy::root(\"./n\")", "step(\"a\", || copy::root(\"./o\"))"], "duplicate-step");
    // What depends on a line that is left out goes with it.
    let lines = ["let l = [];", "l.push(copy::scan(\"./d\").bytes)", "if l.len() > 0 { copy::root(\"./made\"); }"];
    let (_, text) = kept(&lines, "it uses `l`");
    assert!(!text.lines().any(|line| line.contains("copy::root") && !line.trim().starts_with("//")), "{text}");
}

#[test]
fn constants_secrets_and_closures_are_saved_as_what_they_are() {
    let (_, text) = kept(&["const K = \"./nh\";", "copy::root(K)"], "");
    assert!(text.contains("copy::root(K)") && !text.contains("left out"), "{text}");
    let make = "let make = |path| copy::root(path);";
    let (_, text) = kept(&["let t = secret(\"env:TOK\");", make, "copy::root(\"./m\")", "fn unused(x) { x }"], "");
    assert!(text.contains("copy::root(p.dst)") && !text.contains("step(\"secret\""), "{text}");
    assert!(!text.contains("unused") && !text.contains("step(\"copy-root\", || |"), "{text}");
    let (_, text) = kept(
        &[
            "let t = secret(\"env:TOK\"); copy::root(\"./m\")",
            "if \"Zebra-99-quill\".len() > 3 { copy::root(\"./z\"); }",
        ],
        "",
    );
    assert!(!text.contains("Zebra-99-quill"), "{text}");
}

#[test]
fn whole_paths_are_parameters_and_parts_of_them_are_not() {
    let (_, text) = kept(&["copy::scan(\"data\").bytes", "for n in [\"x\"] { copy::root(\"./m-\" + n); }"], "");
    assert!(text.contains("copy::scan(p.") && text.contains("copy::root(\"./m-\" + n)"), "{text}");
}
