//! What a script may import, and what it may not.

use super::support::{log, run, whole};

fn with(import: &str) -> crate::support::env::Decamp {
    whole(&format!(
        "import \"{import}\" as m;\nfn params() {{ #{{}} }}\nfn run(p) {{ step(\"a\", || say(m::word())); }}"
    ))
}

#[test]
fn a_file_beside_the_script_can_be_imported() {
    let call = with("./lib/m").file("lib/m.rhai", "fn word() { \"here\" }");
    run(&call).run();
    assert_eq!(log(&call), ["here"]);
}

#[test]
fn nothing_outside_the_directory_can_be_imported() {
    for import in ["../m", "./../m", "./lib/../../m"] {
        let call = with(import);
        std::fs::write(call.dir().join("../m.rhai"), "fn word() { \"outside\" }").unwrap();
        run(&call).status(2).stderr_has("outside the directory of the script").run();
        assert!(log(&call).is_empty());
    }
    let call = with("./m");
    std::fs::write(call.dir().join("../m.rhai"), "fn word() { \"outside\" }").unwrap();
    std::os::unix::fs::symlink("../m.rhai", call.dir().join("m.rhai")).unwrap();
    run(&call).status(2).stderr_has("leads outside the directory of the script").run();
    for import in ["/etc/m", "m", "http://m"] {
        run(&with(import)).status(2).stderr_has("cannot import").run();
    }
}

#[test]
fn a_missing_module_is_named_with_the_nearest() {
    run(&with("std/pases")).status(2).stderr_has("no standard module `std/pases`").stderr_has("did you mean").run();
    run(&with("./missing")).status(2).stderr_has("missing.rhai").stderr_has("s.rhai:3").run();
}

#[test]
fn a_circle_and_a_computed_import_are_refused() {
    let call = with("./m")
        .file("m.rhai", "import \"./n\" as n;\nfn word() { n::w() }")
        .file("n.rhai", "import \"./m\" as m;\nfn w() { 1 }");
    run(&call).status(2).stderr_has("circle").run();
    let call = whole("fn params() { #{} }\nfn run(p) { let n = \"m\"; import n as m; }");
    run(&call).status(2).stderr_has("plain text").run();
}

#[test]
fn a_module_that_does_not_compile_is_shown_in_its_own_file() {
    let call = with("./m").file("m.rhai", "fn word() { let x = ; }");
    run(&call).status(2).stderr_has("m.rhai:1:21").stderr_has("does not compile").run();
}
