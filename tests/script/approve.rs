//! Approvals: on the terminal, from another one, in advance; and what a run does while nobody answers.

use rustix::process::Signal;

use super::support::{log, run, run_id, script};
use crate::support::env::{Decamp, Running, program};

const ASKING: &str = r#"
    step("before", || say("before"));
    if p.arg == "stop" { throw "stopped"; }
    approve("go", #{ summary: "switch over?" });
    step("after", || say("after"));
"#;

fn dangerous() -> Decamp {
    script(r#"approve("delete old", #{ summary: "delete it?", dangerous: true }); step("after", || say("after"));"#)
}

/// A call on a terminal whose keyboard is the file `keys` in its directory.
fn at_a_keyboard(call: &Decamp, words: &[&str]) -> Running {
    let line = [&[program().to_str().unwrap()], words].concat().join(" ");
    let script = r#"rm -f keys; mkfifo keys; exec 3<>keys; exec script -qefc "$1" /dev/null <&3"#;
    call.again().program("sh").args(["-c", script, "sh", &line]).spawn()
}

fn events(call: &Decamp, id: &str) -> Vec<i64> {
    let text = std::fs::read_to_string(call.state().join("runs").join(id).join("events.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_i64().unwrap()).collect()
}

/// The event file of a run holds what the journal holds, in order.
fn complete(call: &Decamp, id: &str) {
    let db = rusqlite::Connection::open(call.state().join("journal.db")).unwrap();
    let mut all = db.prepare("SELECT seq FROM event WHERE run_id = ?1 ORDER BY seq").unwrap();
    let all: Vec<i64> = all.query_map([id], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(events(call, id), all);
}

#[test]
fn the_other_terminal_answers_and_the_run_goes_on() {
    let call = script(ASKING);
    let mut running = at_a_keyboard(&call, &["run", "./s.rhai"]);
    assert!(running.says("Go on? [y/N]"));
    let id = run_id(&call);
    call.again().args(["show", &id]).stdout_has("it waits for the approval `go`: decamp approve").run();
    call.again().arg("runs").stdout_has("approval of go").run();
    call.again().args(["approve", &id, "go", "--note", "said so on the phone"]).stdout_has("approved `go`").run();
    let ran = running.wait();
    assert!(ran.status == 0 && ran.stdout.contains("(settled elsewhere)"), "{} {}", ran.status, ran.stdout);
    assert_eq!(log(&call), ["before", "after"]);
    let shown = call.again().args(["show", &id, "--output", "json"]).run().json();
    let signal = &shown["approvals"][0];
    assert_eq!((&signal["state"], &signal["via"]), (&"granted".into(), &"command".into()), "{signal}");
    assert_eq!(signal["question"]["note"], "said so on the phone");
    assert!(signal["by"].as_str().unwrap().contains("uid"), "{signal}");
    // The living process put the event of the other one into its file, in its place.
    complete(&call, &id);
}

#[test]
fn a_person_at_the_terminal_answers() {
    let call = script(ASKING);
    let mut running = at_a_keyboard(&call, &["run", "./s.rhai"]);
    assert!(running.says("`go`: switch over?") && running.says("[y/N]"));
    std::fs::write(call.dir().join("keys"), "n\n").unwrap();
    assert_eq!(running.wait().status, 1);
    // The next process asks again.
    let mut running = at_a_keyboard(&call, &["resume"]);
    assert!(running.says("[y/N]"));
    std::fs::write(call.dir().join("keys"), "y\n").unwrap();
    assert_eq!(running.wait().status, 0);
    assert_eq!(log(&call), ["before", "after"]);
}

#[test]
fn what_is_dangerous_needs_its_name_typed() {
    for (typed, status) in [("y", 1), ("delete old", 0)] {
        let call = dangerous();
        let mut running = at_a_keyboard(&call, &["run", "./s.rhai", "--yes"]);
        assert!(running.says("type its name (delete old):"));
        std::fs::write(call.dir().join("keys"), format!("{typed}\n")).unwrap();
        let ran = running.wait();
        assert_eq!((ran.status, log(&call).len()), (status, usize::from(status == 0)), "{typed}: {}", ran.stdout);
    }
}

#[test]
fn a_run_that_waits_is_killed_approved_and_goes_on_without_asking() {
    let call = script(ASKING);
    let mut running = run(&call).args(["--on-approval", "wait"]).spawn();
    assert!(running.says("waiting for the approval `go`"));
    let id = run_id(&call);
    running.signal(Signal::KILL);
    running.wait();
    call.again().args(["approve", &id, "go"]).stdout_has("go on with: decamp resume").run();
    complete(&call, &id);
    call.again().arg("resume").stdout_has("succeeded").run();
    assert_eq!(log(&call), ["before", "after"]);
    complete(&call, &id);
}

#[test]
fn a_run_without_a_terminal_waits_if_told_to() {
    let call = script(ASKING);
    let mut running = run(&call).args(["--on-approval=wait"]).spawn();
    assert!(running.says("waiting for the approval `go`: switch over?; approve it with: decamp approve"));
    call.again().args(["approve", &run_id(&call), "go"]).stdout_has("its process finds the answer by itself").run();
    assert_eq!(running.wait().status, 0);
    // Stopping it works as everywhere.
    let call = script(ASKING);
    let mut running = run(&call).args(["--on-approval=wait"]).spawn();
    assert!(running.says("waiting for the approval"));
    running.signal(Signal::TERM);
    assert_eq!(running.wait().status, 143);
}

#[test]
fn without_a_terminal_the_process_ends_and_names_the_commands() {
    let call = script(ASKING);
    let ran = run(&call).status(5).run();
    let id = run_id(&call);
    assert!(ran.stderr.contains(&format!("decamp approve {id} go\n")), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("decamp resume {id}\n")), "{}", ran.stderr);
    call.again().arg("runs").stdout_has("approval of go").run();
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_eq!(runs["runs"][0]["asks_for"][0], "go");
    call.again().args(["resume", "--yes"]).run();
    let shown = call.again().args(["show", &id, "--output", "json"]).run().json();
    assert_eq!(shown["approvals"][0]["via"], "yes");
    // Yes is no answer to what is dangerous, its name is.
    let call = dangerous();
    run(&call).arg("--yes").status(5).stderr_has("'delete old'").run();
    call.again().args(["resume", "--approve", "delete old"]).run();
    assert_eq!(log(&call), ["after"]);
}

#[test]
fn a_no_from_elsewhere_stands_until_somebody_says_yes() {
    let call = script(ASKING);
    run(&call).status(5).run();
    let id = run_id(&call);
    call.again().args(["approve", &id, "go", "--deny", "--note", "not today"]).stdout_has("denied `go`").run();
    for args in [vec!["resume"], vec!["resume", "--yes"]] {
        call.again().args(args).status(1).stderr_has("`go` was denied by").stderr_has("not today").run();
    }
    call.again().args(["show", &id]).stdout_has("was denied by").run();
    call.again().args(["approve", &id, "go"]).run();
    call.again().arg("resume").run();
    assert_eq!(log(&call), ["before", "after"]);
    call.again().args(["approve", &id, "go"]).status(2).stderr_has("asks for nothing any more").run();
    // A living process learns of it as of a yes.
    let call = script(ASKING);
    let mut running = run(&call).args(["--on-approval=wait"]).spawn();
    assert!(running.says("waiting for the approval"));
    call.again().args(["approve", &run_id(&call), "go", "--deny"]).run();
    let ran = running.wait();
    assert!(ran.status == 1 && ran.stderr.contains("was denied by"), "{} {}", ran.status, ran.stderr);
}

#[test]
fn only_what_the_script_has_can_be_approved() {
    let call = script(ASKING);
    run(&call).args(["--arg", "stop"]).status(1).run();
    let id = run_id(&call);
    call.again().args(["approve", &id, "og"]).status(2).stderr_has("did you mean `go`?").run();
    // In advance, because the script has it.
    call.again().args(["approve", &id, "go"]).run();
    call.again().args(["resume", "--set", "arg=on"]).run();
    assert_eq!(log(&call), ["before", "after"]);
    let call = script(ASKING);
    run(&call).args(["--approve", "gone"]).status(2).stderr_has("the script has no approval `gone`").run();
    assert_eq!(log(&call).len(), 0);
    let call = script(r#"let name = "a" + p.arg; approve(name); step("after", || say("after"));"#);
    run(&call).args(["--arg", "b", "--approve", "ab"]).stderr_has("note: no `ab` stands in the script").run();
    // Those that are asked are named.
    let call = script(r#"approve("a" + p.arg); step("after", || say("after"));"#);
    run(&call).args(["--arg", "b"]).status(5).run();
    call.again().args(["approve", &run_id(&call), "xyz"]).status(2).stderr_has("it waits for: decamp approve").run();
}

#[test]
fn many_answers_at_once_leave_the_event_file_whole() {
    let names: Vec<String> = (0..20).map(|n| format!("go{n}")).collect();
    let asks: String =
        names.iter().map(|name| format!("approve(\"{name}\"); step(\"{name}!\", || say(\"{name}\"));")).collect();
    let call = script(&asks);
    let mut running = run(&call).args(["--on-approval=wait"]).spawn();
    assert!(running.says("waiting for the approval"));
    let id = run_id(&call);
    std::thread::scope(|scope| {
        for part in names.chunks(5) {
            scope.spawn(|| part.iter().for_each(|name| drop(call.again().args(["approve", &id, name]).run())));
        }
    });
    assert_eq!(running.wait().status, 0);
    assert_eq!(log(&call), names);
    complete(&call, &id);
}

#[test]
fn an_answer_covers_the_one_question_it_was_given_to() {
    let body = r#"for n in ["a", "b"] {
        step("drop", #{ key: n }, || { approve("ok", #{ summary: `drop ${n}?`, dangerous: true }); say(n) });
    }"#;
    let call = script(body);
    run(&call).status(5).stderr_has("drop a?").run();
    let id = run_id(&call);
    call.again().args(["approve", &id, "ok"]).stdout_has("approved `drop[a]/ok`").run();
    call.again().arg("resume").status(5).stderr_has("drop b?").run();
    assert_eq!(log(&call), ["a"]);
    call.again().args(["approve", &id, "drop[a]/ok", "--deny"]).status(2).stderr_has("is past it").run();
    call.again().args(["approve", &id, "drop[b]/ok", "--deny", "--note", "no"]).run();
    call.again().args(["approve", &id, "ok"]).stdout_has("denied it: no").run();
    call.again().arg("resume").run();
    assert_eq!(log(&call), ["a", "b"]);
}
