//! `decamp scripts init` and `definitions`: what is written, that it is good, and that nothing is overwritten.

use std::fs;

use crate::support::env::Decamp;

#[test]
fn a_new_directory_holds_a_script_that_checks_plans_and_runs() {
    let call = Decamp::new().file("data/one", "1").file("data/two", "2");
    call.again()
        .args(["scripts", "init", "--editor", "vscode", "moves"])
        .stdout_has("wrote moves/copy-tree.rhai")
        .run();
    call.again().args(["check", "--strict", "moves"]).stdout("1 file checked: 0 errors, 0 warnings\n").run();
    let run = || call.again().args(["run", "moves/copy-tree.rhai", "--source", "data", "--dest", "made"]);
    run().arg("--plan").absent("made").run();
    run().file_is("made/one", "1").file_is("made/two", "2").run();
    let recommended = fs::read_to_string(call.dir().join("moves/.vscode/extensions.json")).unwrap();
    let recommended: serde_json::Value = serde_json::from_str(&recommended).unwrap();
    assert_eq!(recommended["recommendations"].as_array().unwrap().len(), 1);
    for file in ["decamp.d.rhai", "copy.d.rhai", "host.d.rhai", "std/passes.d.rhai"] {
        assert!(call.dir().join("moves/definitions").join(file).is_file(), "{file}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let call = Decamp::new().file("copy-tree.rhai", "mine");
    call.again()
        .args(["scripts", "init"])
        .status(2)
        .stderr_has("cannot write `./copy-tree.rhai`: it is there already")
        .stderr_has("not overwritten")
        .file_is("copy-tree.rhai", "mine")
        .absent("definitions")
        .run();
    let call = call.file("definitions/copy.d.rhai", "mine");
    call.again()
        .args(["scripts", "definitions"])
        .status(2)
        .stderr_has("definitions/copy.d.rhai")
        .file_is("definitions/copy.d.rhai", "mine")
        .absent("definitions/host.d.rhai")
        .run();
}

#[test]
fn definitions_are_made_anew() {
    let call = Decamp::new();
    call.again().args(["scripts", "definitions"]).stdout_has("wrote definitions/copy.d.rhai").run();
    let path = call.dir().join("definitions/copy.d.rhai");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("fn tree", "fn gone")).unwrap();
    call.again().args(["scripts", "definitions"]).file_is("definitions/copy.d.rhai", &text).run();
    let left: Vec<_> = fs::read_dir(call.dir().join("definitions")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

/// What can be called is part of the interface: a change of it is seen.
#[test]
fn definitions_are_what_they_were() {
    let call = Decamp::new();
    let wrote = call.again().args(["scripts", "definitions", "--output", "json"]).run().json();
    let mut all = String::new();
    for path in wrote["paths"].as_array().unwrap() {
        let path = path.as_str().unwrap();
        let text = fs::read_to_string(call.dir().join(path)).unwrap();
        let code = text.lines().filter(|line| !line.starts_with("//") && !line.is_empty());
        all.push_str(&format!("{path}\n{}\n\n", code.collect::<Vec<_>>().join("\n")));
    }
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("definitions", all);
    });
}
