//! `decamp run`, `resume` and `undo` from outside: what is said, on which stream, with which exit code.

use rustix::process::Signal;

use crate::support::env::{Decamp, Ran};

const SCRIPT: &str = r#"//! Try the ways a run can go.
fn params() { #{
    fail: #{ type: "bool", "default": false, help: "fail in the second step" },
    ask: #{ type: "bool", "default": false, help: "ask before the second step" },
    nap: #{ type: "duration", "default": "0s", help: "sleep in the first step" },
    names: #{ type: "string", list: true, help: "names" },
    place: #{ type: "path", help: "a place" },
    plan: #{ type: "string", "default": "", help: "named like a flag" },
} }
fn run(p) {
    let host = host::local();
    step("first", #{ undo: |done| host.exec(["rm", "made"]) }, || host.exec(["sh", "-c", "touch made; sleep " + p.nap]));
    if p.ask { approve("cutover", #{ summary: "switch over" }); }
    step("second", || { if p.fail { throw "it broke" } 2 });
    note("evidence", #{ source: #{ files: 3 }, dest: #{ files: 3 } });
    #{ names: p.names, place: p.place, plan: p.plan }
}
"#;

fn demo() -> Decamp {
    Decamp::new().file("demo.rhai", SCRIPT)
}

/// The command for the run, as the last hint gives it.
#[track_caller]
fn command(ran: &Ran) -> Vec<String> {
    let line = ran.stderr.lines().rev().find(|line| line.contains("decamp ")).expect("no command is given");
    let (_, command) = line.split_once("decamp ").unwrap();
    shlex_words(command)
}

fn shlex_words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_run_tells_its_steps_and_reports_on_stdout() {
    let ran = demo().args(["run", "demo.rhai"]).stdout_has("succeeded").stderr_has("> first").run();
    assert!(ran.stdout.contains("         source     dest\n  files  3       =  3\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("> first"), "{}", ran.stdout);
}

#[test]
fn parameters_come_as_flags_or_by_name() {
    let call = demo();
    let result = |args: &[&str]| {
        let call = call.again().args(["run", "--output", "json"]).args(args.iter().copied());
        call.run().json()["result"].clone()
    };
    let given = result(&["./demo.rhai", "--names", "a", "--names=b", "--place", "x y", "--set", "plan=P"]);
    assert_eq!(given["names"].to_string(), r#"["a","b"]"#);
    assert_eq!(given["place"], call.dir().join("x y").to_str().unwrap());
    assert_eq!(given["plan"], "P");
    let given = result(&["--set", "names=a", "demo.rhai", "--set", "names=b", "--fail=false"]);
    assert_eq!(given["names"].to_string(), r#"["a","b"]"#);
    let given = result(&["demo.rhai", "--names", "flag", "--set", "names=set"]);
    assert_eq!(given["names"].to_string(), r#"["flag"]"#, "a flag wins over --set");
}

#[test]
fn a_path_with_odd_bytes_arrives_in_its_text_form() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let call = demo();
    let one =
        call.again().args(["run", "demo.rhai", "--output", "json", "--place"]).arg(OsStr::from_bytes(b"a\xff\\b"));
    let place = one.run().json()["result"]["place"].as_str().unwrap().to_owned();
    assert_eq!(place, format!("{}/a\\xff\\x5cb", call.dir().display()));
    let one = call.again().args(["run", "demo.rhai", "--names"]).arg(OsStr::from_bytes(b"a\xff"));
    one.status(2).stdout("").stderr_has("`a\\xff` is not UTF-8").run();
}

#[test]
fn bad_parameters_are_refused_before_anything_runs() {
    let call = demo();
    for (args, words) in [
        (&["--nap", "soon"][..], "`soon` is not a duration"),
        (&["--fail=perhaps"], "perhaps"),
        (&["--nmes", "a"], "did you mean `--names`?"),
        (&["--set", "nmes=a"], "did you mean `names`?"),
        (&["--set", "names"], "has no `=`"),
        (&["extra"], "extra"),
    ] {
        let one = call.again().args(["run", "demo.rhai"]).args(args.iter().copied());
        one.status(2).stdout("").stderr_has(words).absent("made").run();
    }
    call.again().arg("runs").stdout("no runs\n").run();
}

#[test]
fn a_script_lists_its_parameters() {
    let help = demo().args(["run", "demo.rhai", "--help"]).stderr("").run().stdout;
    for words in ["Try the ways", "--fail[=<true|false>]", "--names <TEXT>", "[repeatable]", "[default: 0s]", "--plan"]
    {
        assert!(help.contains(words), "{words} is not in\n{help}");
    }
    assert!(help.contains("--set plan=VALUE"), "{help}");
}

#[test]
fn a_failure_shows_the_line_and_the_way_on() {
    let call = demo();
    let failed = call.again().args(["run", "demo.rhai", "--fail"]).status(1).stdout("").run();
    assert!(failed.stderr.contains("error: it broke") && failed.stderr.contains("demo.rhai:14:"), "{}", failed.stderr);
    let way = command(&failed);
    assert_eq!(way[0], "resume", "{way:?}");
    // The command works as it is given; the step fails again, the first is not run again.
    let again = call.again().args(way).status(1).stderr_has("= first (done before)").stderr_has("(attempt 2)").run();
    assert_eq!(command(&again)[0], "resume");
    let json = call.again().args(["resume", "--output", "json"]).status(1).run().json();
    assert!(json["run"].is_string() && json["error"]["message"] == "it broke", "{json}");
}

#[test]
fn the_state_directory_given_by_flag_is_part_of_the_way_on() {
    let call = demo();
    let state = call.dir().join("elsewhere");
    let failed = call.again().args(["run", "demo.rhai", "--fail", "--state-dir"]).arg(&state).status(1).run();
    let way = command(&failed);
    assert!(way.ends_with(&["--state-dir".to_owned(), state.display().to_string()]), "{way:?}");
    call.again().args(way).status(1).stderr_has("= first (done before)").run();
    call.again().arg("runs").stdout("no runs\n").run();
}

#[test]
fn a_plan_does_nothing_and_says_whether_there_is_something_to_do() {
    let call = demo();
    call.again().args(["run", "demo.rhai", "--plan"]).stdout_has("nothing was changed").absent("made").run();
    call.again().args(["run", "demo.rhai", "--plan", "--exit-code"]).status(3).absent("made").run();
    let plan = call.again().args(["run", "demo.rhai", "-n", "--output", "json"]).absent("made").run().json();
    assert_eq!((&plan["status"], &plan["plan"][0]["step"]), (&"planned".into(), &"first".into()), "{plan}");
    assert_eq!(std::fs::read_dir(call.state()).unwrap().count(), 0, "a plan keeps no journal");
}

#[test]
fn an_approval_is_asked_for_on_a_terminal_and_waited_for_elsewhere() {
    let call = demo();
    let waits = call.again().args(["run", "demo.rhai", "--ask"]).status(5).stdout("").stderr_has("`cutover`").run();
    let way = |verb: &str| -> Vec<String> {
        let line = waits.stderr.lines().find_map(|line| line.split_once(&format!("decamp {verb} "))).unwrap().1;
        [verb].into_iter().chain(line.split(' ')).map(str::to_owned).collect()
    };
    call.again().args(way("approve")).stdout_has("approved `cutover`").run();
    call.again().args(way("resume")).stdout_has("succeeded").run();
    let ask = || call.again().args(["run", "demo.rhai", "--ask"]).on_terminal();
    ask().stdin("y\n").stdout_has("switch over").stdout_has("[y/N]").stdout_has("succeeded").run();
    ask().stdin("\n").status(1).stdout_has("[y/N]").stdout_has("not approved").run();
    ask().stdin("n\n").status(1).nowhere("succeeded").run();
    let asked = ask().stdin("y\n").run();
    assert!(!asked.stdout.contains("/1000"), "no bar before there is something to count: {:?}", asked.stdout);
    // The end of input is no answer.
    ask().stdin("\x04").status(5).stdout_has("[y/N]").run();
    // Programs are never asked, terminal or not.
    ask().args(["--output", "json"]).stdin("y\n").status(5).nowhere("[y/N]").run();
    call.again().args(["run", "demo.rhai", "--ask", "--approve", "cutover"]).stdout_has("succeeded").run();
}

#[test]
fn an_undo_goes_back_and_says_so() {
    let call = demo();
    let done = call.again().args(["run", "demo.rhai", "--output", "json"]).file_is("made", "").run().json();
    let run = done["run"].as_str().unwrap();
    call.again().args(["undo", run, "--plan"]).stdout_has("nothing was changed").file_is("made", "").run();
    call.again().args(["undo", run]).stdout_has("undone").absent("made").run();
    let twice = call.again().args(["undo", run]).status(2).stdout("").run();
    assert!(!twice.stderr.contains("go on with"), "{}", twice.stderr);
    call.again().args(["abandon", run, "--yes"]).status(2).stderr_has("nothing to abandon").run();
}

#[test]
fn an_abandoned_run_is_over() {
    let call = demo();
    let failed = call.again().args(["run", "demo.rhai", "--fail"]).status(1).run();
    let run = command(&failed)[1].clone();
    call.again().args(["abandon", &run]).on_terminal().stdin("y\n").stdout_has("abandoned run").run();
    call.again().args(["resume"]).status(2).stderr_has("no run in").run();
    call.again().args(["runs"]).stdout_has("abandoned").run();
}

#[test]
fn signals_save_the_state_and_name_the_way_on() {
    let call = demo();
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut running = call.again().args(["run", "demo.rhai", "--nap", "100s"]).spawn();
        assert!(running.says("> first"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        rustix::process::kill_process(running.pid(), signal).unwrap();
        let ran = running.wait();
        assert_eq!(ran.status, status, "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert_eq!(command(&ran)[0], "resume", "{ran:?}");
    }
    call.again().args(["runs", "--unfinished"]).stdout_has("cancelled").run();
}

#[test]
fn events_come_as_json_lines_while_it_runs() {
    let lines = demo().args(["run", "demo.rhai", "--output", "ndjson"]).stderr("").run().json_lines();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["run", "step_begin", "step_end", "step_begin", "step_end", "result"]);
    assert!(lines.iter().all(|line| line["schema"] == 1));
}

#[test]
fn a_live_run_is_not_taken_away() {
    let call = demo();
    let mut running = call.again().args(["run", "demo.rhai", "--nap", "100s"]).spawn();
    assert!(running.says("> first"));
    call.again().arg("resume").status(6).stdout("").stderr_has("being worked on").run();
    call.again().arg("runs").stdout_has("running").run();
    // One that nobody has is meant before one that somebody has.
    let failed = call.again().args(["run", "demo.rhai", "--fail"]).status(1).run();
    call.again().arg("resume").status(1).stderr_has(&command(&failed)[1]).stderr_has("= first").run();
    running.signal(Signal::TERM);
    running.wait();
}
