//! Errors show the right file, line and place, the ways to call a function, and near names.

use super::support::{run, script, whole};
use crate::support::env::Decamp;

#[test]
fn a_hook_called_through_a_module_is_shown_in_the_file_it_stands_in() {
    let call = whole(
        r#"import "./lib" as lib;
fn params() { #{} }
fn run(p) {
    lib::with_hook(|x| {
        x.missing
    });
}"#,
    )
    .file("lib.rhai", "fn with_hook(hook) {\n    // line 2\n    // line 3\n    hook.call(#{ a: 1 })\n}");
    run(&call).status(1).stderr_has("s.rhai:7:11").stderr_has("no property `missing`").run();
}

#[test]
fn an_error_inside_a_module_is_shown_there() {
    let call = whole("import \"./lib\" as lib;\nfn params() { #{} }\nfn run(p) { lib::bad(); }")
        .file("lib.rhai", "fn bad() {\n    let m = #{};\n    m.nothing\n}");
    run(&call).status(1).stderr_has("lib.rhai:3:7").run();
}

#[test]
fn a_wrong_call_shows_the_right_one() {
    run(&script(r#"let path = 1; copy::scan(path);"#))
        .status(2)
        .stderr_has("a place must be a text or an endpoint")
        .run();
    run(&script(r#"copy::scann("/");"#)).status(2).stderr_has("did you mean `copy::scan`?").run();
    run(&script(r#"step("a", |x| x);"#)).status(2).stderr_has("is called with no parameters").run();
    run(&script(r#"step("a", #{ retires: 3 }, || 1);"#)).status(2).stderr_has("did you mean `retries`?").run();
}

#[test]
fn a_script_that_does_not_compile_leaves_no_run() {
    let call = script("let x = ;");
    run(&call).status(2).stderr_has("does not compile").run();
    call.again().arg("runs").stdout("no runs\n").run();
}

#[test]
fn a_script_needs_params_and_run() {
    let call = Decamp::new().file("s.rhai", "fn run(p) { }");
    run(&call).status(2).stderr_has("has no function `params`").run();
    let call = Decamp::new().file("s.rhai", "fn params() { #{ Bad: #{ type: \"string\" } } } fn run(p) { }");
    run(&call).status(2).stderr_has("small letters").run();
    let call = Decamp::new().file("s.rhai", "fn params() { #{ a: #{ type: \"strin\" } } } fn run(p) { }");
    run(&call).status(2).stderr_has("did you mean `string`?").run();
}

#[test]
fn bad_parameters_are_refused_before_anything_runs() {
    let text = r#"fn params() { #{ n: #{ type: "int", required: true }, how: #{ type: "string", values: ["fast", "slow"], "default": "fast" } } }
fn run(p) { step("a", || say("a")); }"#;
    let call = whole(text);
    for (args, message) in [
        (&["--n", "x"][..], "`x` is not a whole number"),
        (&[], "--n"),
        (&["--n", "1", "--how", "fats"], "fast"),
        (&["--n", "1", "--howw", "fast"], "--how"),
        (&["--n", "1", "--set", "m=2"], "there is no parameter `m`"),
    ] {
        run(&call).args(args.iter().copied()).status(2).stderr_has(message).run();
    }
    call.again().arg("runs").stdout("no runs\n").run();
    run(&call).args(["--n", "1", "--set", "how=slow"]).run();
}
