//! What live lines change is journalled, refused, undone.

use serde_json::Value;

use crate::support::env::Decamp;

fn place() -> Decamp {
    Decamp::new().file("data/a", "one").file("data/sub/b", "two")
}

fn runs(call: &Decamp) -> Vec<Value> {
    call.again().args(["runs", "--output", "json"]).run().json()["runs"].as_array().unwrap().clone()
}

fn id(run: &Value) -> String {
    run["id"].as_str().unwrap().to_owned()
}

#[test]
fn live_lines_are_steps_of_one_run_that_can_be_undone() {
    let call = place();
    call.again()
        .args(["repl", "--live", "-e", "copy::scan(\"data\").counts.files", "-e", "copy::root(\"moved\").made"])
        .args(["-e", "let r = copy::tree(\"data\", \"moved\");", "-e", "r.created.files"])
        .stdout("2\ntrue\n2\n")
        .stderr_has("it can be put back: decamp undo")
        .file_is("moved/sub/b", "two")
        .absent("moved/.decamp-run")
        .run();
    let all = runs(&call);
    assert_eq!((all.len(), &all[0]["script"], &all[0]["status"]), (1, &"repl".into(), &"succeeded".into()));
    let shown = call.again().args(["show", &id(&all[0])]).run().stdout;
    // Reads are no steps, and keep their numbers.
    assert!(shown.contains("line[2]") && shown.contains("line[3]"), "{shown}");
    assert!(!shown.contains("line[1]") && !shown.contains("line[4]"), "{shown}");
    call.again().args(["undo", &id(&all[0])]).absent("moved").file_is("data/a", "one").run();
}

#[test]
fn reading_in_live_mode_makes_no_run() {
    let call = place();
    let read = "let h = host::local(); h.exec([\"cat\", \"data/a\"], #{ read_only: true }).stdout";
    call.again()
        .args(["repl", "--live", "-e", read, "-e", "copy::tree(\"data\", \"x\", #{ dry_run: true }).created.files"])
        .args(["-e", "fn look() { copy::scan(\"data\").counts.files }", "-e", "[1, 2].map(|x| x + look())"])
        .stdout("one\n2\n[3, 4]\n")
        .run();
    assert_eq!(std::fs::read_dir(call.state()).unwrap().count(), 0);
}

/// A change is found behind functions, closures and modules: none runs without its record.
#[test]
fn changes_are_found_wherever_they_hide() {
    let call = place().file("lib.rhai", "fn make(path) { inner(path) }\nfn inner(path) { copy::root(path) }\n");
    for (number, lines) in [
        vec!["fn make(path) { copy::root(path) }", "make(\"m0\").made"],
        vec!["let make = |path| copy::root(path);", "make.call(\"m1\").made"],
        vec!["let all = #{ list: [|path| copy::root(path)] };", "all.list[0].call(\"m2\").made"],
        vec!["import \"./lib\" as lib;", "lib::make(\"m3\").made"],
        vec!["[\"m4\"].map(|path| copy::root(path))[0].made"],
        vec!["fn make(path) { copy::root(path) }", "let f = Fn(\"make\"); f.call(\"m5\").made"],
        vec!["step(\"a\", || copy::root(\"m6\")).made"],
        vec!["if true { copy::root(\"m7\").made } else { false }"],
    ]
    .into_iter()
    .enumerate()
    {
        let call = lines.iter().fold(call.again().args(["repl", "--live"]), |call, line| call.args(["-e", line]));
        call.clone().stdout("true\n").run();
        assert!(call.dir().join(format!("m{number}")).is_dir(), "{lines:?}");
        let newest = id(&runs(&call)[0]);
        call.again().args(["undo", &newest]).absent(format!("m{number}")).run();
    }
}

#[test]
fn what_cannot_be_taken_back_needs_a_word_or_yes() {
    let call = place();
    let line = "host::local().exec([\"touch\", \"made\"]).code";
    call.again()
        .args(["repl", "--live", "-e", line])
        .status(1)
        .stderr_has("nobody is here to be asked")
        .absent("made")
        .run();
    call.again().args(["repl", "--live", "--yes", "-e", line]).stdout("0\n").file_is("made", "").run();
    call.again().args(["repl", "--read-only", "-e", ":live 1"]).status(1).stderr_has("--read-only").run();
    call.again().args(["repl", "--read-only", "--live"]).status(2).run();
    call.again().args(["repl", "--read-only", "-e", "copy::root(\"m\")"]).stdout_has("would change").absent("m").run();
}

#[test]
fn flow_functions_work_or_say_why_not() {
    let call = place();
    call.again()
        .args(["repl", "--live", "-e", "step(\"a\", || 1) + fact(\"b\", || 2)", "-e", "note(\"seen\", 3);"])
        .stdout("3\nseen\n3\n")
        .run();
    call.again().args(["repl", "--live", "-e", "approve(\"x\")"]).status(5).run();
    call.again().args(["repl", "--live", "--approve", "x", "-e", "approve(\"x\"); 4"]).stdout("4\n").run();
    call.again()
        .args(["repl", "--live", "-e", "step(\"a\", #{ undo: |r| 1 }, || copy::root(\"m\"))"])
        .status(2)
        .stderr_has("a session cannot keep the `undo` closure")
        .stderr_has(":save FILE")
        .absent("m")
        .run();
}

#[test]
fn a_failed_command_is_listed_when_the_session_is_undone() {
    let call = place();
    call.again()
        .args(["repl", "--live", "--yes", "-e", "host::local().exec([\"touch\", \"made\"]); copy::root(\"m\");"])
        .run();
    let run = id(&runs(&call)[0]);
    call.again().args(["undo", &run]).status(9).stdout_has("host.exec touch made: has no undo").absent("m").run();
}

#[test]
fn two_sessions_cannot_have_one_target() {
    let call = place();
    let lines = "copy::root(\"moved\").made\ncopy::tree(\"data\", \"moved\").created.files\nhost::local().exec([\"sleep\", \"4\"])\n";
    let mut first = call.again().args(["repl", "--live", "--yes"]).stdin(lines).spawn();
    let begun = std::time::Instant::now();
    while !call.dir().join("moved/sub/b").exists() {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let copy = "copy::tree(\"data\", \"moved\").created.files";
    call.again().args(["repl", "--live", "-e", copy]).status(6).stdout("").run();
    first.says("\n2\n");
    first.signal(rustix::process::Signal::KILL);
    first.wait();
    // A killed session holds its targets, cannot be resumed, and can be undone.
    call.again().args(["repl", "--live", "-e", copy]).status(6).run();
    let killed = runs(&call).into_iter().find(|run| run["status"] == "running").unwrap();
    call.again()
        .args(["resume", &id(&killed)])
        .status(2)
        .stderr_has("was an interactive session, which cannot be resumed")
        .stderr_has(format!("decamp undo {}", id(&killed)))
        .stderr_has(format!("decamp abandon {}", id(&killed)))
        .run();
    // The command it had begun goes on for a while, and nothing is taken back under it.
    let undo = || call.again().args(["undo", &id(&killed)]);
    while undo().spawn().wait().status == 7 {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let undone = runs(&call).into_iter().find(|run| run["id"] == killed["id"]).unwrap();
    assert_eq!((&undone["status"], &undone["exit_code"]), (&"undone".into(), &9.into()));
    call.again().args(["runs"]).absent("moved").run();
}

#[test]
fn nobody_is_sent_to_resume_a_session() {
    let call = Decamp::new().file("data/a", "one");
    let cut = "copy::root(\"m\"); host::local().exec([\"sh\", \"-c\", \"kill -9 $PPID; sleep 1\"]);";
    call.again().args(["repl", "--live", "--yes", "-e", cut]).status(137).run();
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    let run = runs["runs"][0]["id"].as_str().unwrap().to_owned();
    let next = call.again().args(["show", &run]).run().stdout;
    assert!(next.contains("decamp undo") && !next.contains("decamp resume"), "{next}");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let said = call.again().args(["decide", &run, "line[1]", "happened"]).run().stdout;
    assert!(said.contains("decamp undo") && !said.contains("decamp resume"), "{said}");
    let held = call.again().args(["copy", "data", "m"]).spawn().wait();
    assert!(!held.stderr.contains("decamp resume"), "{}", held.stderr);
}
