//! Without a terminal: lines from the command line and from standard input.

use crate::support::env::Decamp;

fn repl(lines: &[&str]) -> Decamp {
    let call = Decamp::new().file("data/a", "one").file("data/sub/b", "two").arg("repl");
    lines.iter().fold(call, |call, line| call.args(["-e", line]))
}

#[test]
fn results_go_to_standard_output_and_are_numbered() {
    repl(&["1 + 2", "_ * 2", "_1 + _2", "let x = #{ a: [1, 2] };", "x", "switch _3 { 9 => \"nine\", _ => \"other\" }"])
        .stdout("3\n6\n9\na  [1, 2]\nnine\n")
        .stderr("")
        .run();
}

#[test]
fn a_session_that_changes_nothing_leaves_nothing() {
    let call = repl(&[
        "copy::root(\"moved\")",
        "let r = copy::tree(\"data\", \"moved\")",
        "r.created.files",
        "host::local().exec([\"touch\", \"x\"])",
    ]);
    let ran = call
        .clone()
        .stdout_has("would change: copy::tree data → moved")
        .stdout_has("\n2\n")
        .absent("moved")
        .absent("x")
        .run();
    assert!(
        ran.stdout.contains("may change: host.exec touch x\n  will run (unknown)\nnothing was changed\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(std::fs::read_dir(call.state()).unwrap().count(), 0);
}

#[test]
fn what_depends_on_a_change_that_was_not_made_is_said() {
    repl(&["let r = host::local().exec([\"date\"]); if r.code == 0 { 1 } else { 2 }"])
        .stdout_has("the plan stops here: it depends on the exit code of `date`")
        .stdout_has("nothing was changed")
        .run();
}

#[test]
fn standard_input_is_read_line_by_line_to_the_first_failure() {
    let text =
        "let d = #{\n  a: 1,\n};\n// nothing\nfn twice(x) {\n  x * 2\n}\ntwice(d.a)\n:type d\n:json d\nd.b\n:vars\n";
    Decamp::new()
        .arg("repl")
        .stdin(text)
        .status(1)
        .stdout("2\nmap\n{\n  \"a\": 1\n}\n")
        .stderr_has("there is no property `b`")
        .stderr_has("1 │ d.b\n   ·   ─")
        .run();
}

#[test]
fn mistakes_are_shown_as_those_of_a_script() {
    for (line, status, message, hint) in [
        ("let xyz = 1; xzy + 1", 2, "undefined variable: xzy", None),
        ("cpoy::scan(\"data\")", 2, "undefined module: cpoy", Some("did you mean `copy`?")),
        ("copy::scn(\"data\")", 1, "there is no function `copy::scn`", Some("did you mean `copy::scan`?")),
        ("copy::scan(\"data\", #{ contnt: true })", 2, "contnt", Some("did you mean `content`?")),
        (":vras", 2, "there is no command `:vras`", Some("did you mean `:vars`?")),
        ("40 +", 2, "does not compile", None),
    ] {
        let call = repl(&[line]).status(status).stdout("").stderr_has(message);
        match hint {
            Some(hint) => call.stderr_has(format!("hint: {hint}")).run(),
            None => call.run(),
        };
    }
    // A name of the session itself is a better guess than one of the language.
    repl(&["let entries = 1;", "entires"]).status(2).stderr_has("hint: did you mean `entries`?").run();
}

#[test]
fn a_failure_is_kept_and_functions_and_imports_last() {
    let lines = "import \"std/verify\" as v;
fn same(a, b) { v::trees(a, b, \"full\", #{ exclude: [], accept: [], jobs: 0 }).differences }
same(\"data\", \"data\")
v::trees(\"data\", \"data\", \"meta\", #{ exclude: [], accept: [], jobs: 0 }).differences
let failed = || { let x = #{}; x.nothing };
let got = (); try { failed.call() } catch (e) { got = \"caught\"; } got
";
    let call = Decamp::new().file("data/a", "one").file("in", lines);
    call.again().arg("repl").stdin(lines).stdout("0\n0\ncaught\n").run();
    // Loaded as one, it is the same.
    call.again().args(["repl", "-e", ":load in", "-e", "same(\"data\", \"data\")"]).stdout("0\n0\ncaught\n0\n").run();
    let call = call.file("bad", "let a = 1;\n\na.b.c\n");
    call.again().args(["repl", "-e", ":load bad"]).status(1).stderr_has("[bad:3:3]").run();
}

#[test]
fn an_error_in_a_function_of_an_earlier_line_shows_that_line() {
    repl(&["fn bad(x) { x.nope }", "bad(#{})"])
        .status(1)
        .stderr_has("1 │ fn bad(x) { x.nope }")
        .stderr_has("line 1:1:15")
        .run();
    // The latest of a name counts.
    repl(&["fn f() { 1 }", "fn f() { 2 }", "f()"]).stdout("2\n").run();
}

#[test]
fn programs_get_one_document_or_one_line_a_result() {
    let ran = repl(&["let r = copy::root(\"moved\")", "r.made", "nope()"]).args(["--output", "json"]).status(1).run();
    let document = ran.json();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["results"][0]["plan"][0]["function"], "copy::root");
    assert_eq!(document["results"][1]["value"], true);
    assert_eq!(document["results"].as_array().unwrap().len(), 2);
    assert_eq!(document["error"]["message"], "there is no function `nope`");
    let lines = repl(&["1", "nope()"]).args(["--output", "ndjson"]).status(1).run().json_lines();
    assert_eq!(lines[0]["result"]["value"], 1);
    assert_eq!(lines.last().unwrap()["event"], "error");
}

#[test]
fn help_comes_from_the_documentation() {
    let call = Decamp::new();
    let docs = call.again().args(["docs", "copy::tree"]).run().stdout;
    for line in ["help copy::tree", "copy::tree?", ":doc copy::tree", ":help copy::tree()"] {
        call.again().args(["repl", "-e", line]).stdout(docs.clone()).run();
    }
    call.again().args(["repl", "-e", ":apropos digest"]).stdout_has("copy::scan").run();
    call.again().args(["repl", "-e", "help"]).stdout_has(":save FILE").run();
    call.again()
        .args(["repl", "-e", "import \"std/verify\" as v;", "-e", "v::trees?"])
        .stdout_has("std/verify::trees")
        .run();
    call.again().args(["repl", "-e", "fn own(a, b) { 1 }", "-e", "own?"]).stdout_has("own(a, b)").run();
}

#[test]
fn tables_are_shortened_for_people_only() {
    let line = "let l = []; for n in 0..30 { l.push(#{ name: `n${n}`, size_bytes: n * 1024 }); } l";
    let ran = repl(&[line]).run();
    assert!(ran.stdout.starts_with("name  size_bytes\nn0    0\nn1    1024 (1.00 KiB)\n"), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 31);
}

#[test]
fn what_is_not_there_yet_is_said() {
    let call = Decamp::new();
    for (line, said, status) in [
        ("_", "no result yet", 2),
        ("_3 + 1", "no result `_3` yet", 2),
        ("_err.kind", "nothing has failed yet", 2),
        ("scan(\"a\")", "did you mean `copy::scan`?", 1),
        ("zzz(1)", "list them all: decamp docs", 1),
        (":bogus", "there is no command `:bogus`", 2),
        (":json", "`:json` needs an argument", 2),
    ] {
        call.again().args(["repl", "-e", line]).status(status).stderr_has(said).run();
    }
}
