//! `decamp check` as a person or an editor meets it: directories, forms of output, exit codes, the list of rules.

use decamp::script::check::rules::RULES;

use crate::support::env::Decamp;
use crate::support::rust::repository;

const GOOD: &str = "fn params() { #{} }\nfn run(p) { 42 }\n";
const WARNED: &str = "fn params() { #{} }\nfn run(p) { let n = 1; }\n";
const BAD: &str = "fn params() { #{} }\nfn run(p) {\n    stp(\"é\", 1);\n}\n";

#[test]
fn directories_are_gone_through() {
    let call = Decamp::new()
        .file("moves/one.rhai", GOOD)
        .file("moves/deep/two.rhai", BAD)
        .file("moves/definitions/copy.d.rhai", "module copy;\n")
        .file("moves/.git/three.rhai", BAD)
        .file("moves/notes.txt", "no script");
    call.again()
        .args(["check", "moves"])
        .status(10)
        .stdout_has("moves/deep/two.rhai:3:5: error: there is no function `stp` [unknown-function]")
        .stdout_has("did you mean `step`?")
        .stdout_has("2 files checked: 1 error, 0 warnings\n")
        .run();
    // No script at all must not look like a clean one.
    call.file("empty/notes.txt", "").args(["check", "empty"]).status(2).stderr_has("no script in `empty`").run();
}

#[test]
fn exit_codes_tell_errors_from_warnings() {
    let call = Decamp::new().file("good.rhai", GOOD).file("warned.rhai", WARNED).file("bad.rhai", BAD);
    for (file, strict, status) in
        [("good.rhai", true, 0), ("warned.rhai", false, 0), ("warned.rhai", true, 11), ("bad.rhai", true, 10)]
    {
        let call = call.again().args(["check", file]);
        if strict { call.arg("--strict") } else { call }.status(status).run();
    }
    call.again().args(["check", "missing.rhai"]).status(10).stdout_has("cannot be read").run();
    call.args(["check", "move-tree"]).status(10).stdout_has("decamp scripts eject move-tree").run();
}

#[test]
fn json_gives_an_editor_what_it_needs() {
    let call = Decamp::new().file("bad.rhai", BAD);
    let seen = call.args(["check", "bad.rhai", "--output", "json"]).status(10).run().json();
    assert_eq!((&seen["schema"], &seen["errors"], &seen["files"]), (&1.into(), &1.into(), &1.into()));
    let finding = &seen["findings"][0];
    assert_eq!(finding["rule"], "unknown-function");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["hint"], "did you mean `step`?");
    let range = serde_json::json!({ "start": { "line": 3, "column": 5 }, "end": { "line": 3, "column": 8 } });
    assert_eq!(finding["range"], range);
}

#[test]
fn rules_are_listed_and_stand_in_the_manual() {
    let listed = Decamp::new().args(["check", "--list-rules"]).run().stdout;
    let manual = std::fs::read_to_string(repository().join("README.md")).unwrap();
    for rule in RULES {
        assert!(listed.contains(rule.name) && listed.contains(rule.summary), "{}", rule.name);
        let row = format!("| `{}` | {} | {} |", rule.name, rule.severity.name(), rule.summary);
        assert!(manual.contains(&row), "README.md lacks\n{row}");
    }
    let rows = manual
        .lines()
        .filter(|line| line.ends_with('|') && (line.contains("| error |") || line.contains("| warning |")));
    assert_eq!(rows.count(), RULES.len(), "README.md has rows of rules that do not exist");
    let json = Decamp::new().args(["check", "--list-rules", "--output", "json"]).run().json();
    assert_eq!(json["rules"].as_array().unwrap().len(), RULES.len());
}
