//! Looking at runs: an empty journal, a full one, and the journals of others.

use std::fs;

use decamp::journal::{Journal, Mode, NewRun, RunEnd, Source};
use serde_json::json;

use crate::support::env::Decamp;
use crate::support::skip::needs_root;

fn new_run() -> NewRun {
    NewRun {
        script: "move-tree".into(),
        script_path: None,
        params: json!({ "source": "/srv/a" }),
        mode: Mode::Run,
        sources: vec![Source { module: "main".into(), text: "fn run(p) {}".into() }],
        operator: "ada".into(),
        tool_version: "0".into(),
        argv: vec!["decamp".into()],
    }
}

/// A run in the journal of `call` that ended by a failure.
fn failed_run(call: &Decamp) -> String {
    let run = Journal::open(&call.state()).unwrap().create(new_run()).unwrap();
    run.finish(RunEnd::Failed { error: json!({ "message": "it broke" }) }).unwrap();
    run.id().to_string()
}

#[test]
fn an_empty_journal_is_said_and_not_made() {
    let call = Decamp::new();
    call.again().arg("runs").stdout("no runs\n").run();
    call.again().args(["runs", "--output", "json"]).stdout_has("\"runs\": []").run();
    call.again().arg("resume").status(2).stdout("").stderr_has("no run in").run();
    for args in
        [&["show", "x"][..], &["log", "x"], &["undo", "x"], &["abandon", "x", "--yes"], &["decide", "x", "y", "retry"]]
    {
        call.again().args(args.iter().copied()).status(2).stdout("").stderr_has("no runs").run();
    }
    assert_eq!(fs::read_dir(call.state()).unwrap().count(), 0);
}

#[test]
fn a_run_is_listed_shown_and_logged() {
    let call = Decamp::new();
    let id = failed_run(&call);
    let short = &id[id.len() - 8..];
    call.again().arg("runs").stdout_has(&id).stdout_has("failed").stdout_has("move-tree").run();
    call.again()
        .args(["show", short])
        .stdout_has("it broke")
        .stdout_has("/srv/a")
        .stdout_has(format!("decamp resume {id}"))
        .stdout_has(format!("decamp undo {id}"))
        .run();
    let shown = call.again().args(["show", &id, "--output", "json"]).run().json();
    assert_eq!((&shown["run"]["script"], &shown["state"]), (&"move-tree".into(), &"failed".into()), "{shown}");
    let logged = call.again().args(["log", short, "--output", "ndjson"]).run().json_lines();
    assert!(!logged.is_empty() && logged.iter().all(|line| line["at_ms"].is_i64()), "{logged:?}");
    call.again().args(["log", short]).stdout_has("info").run();
    call.again().args(["show", "zzzz"]).status(2).stdout("").stderr_has("decamp runs").run();
}

#[test]
fn the_state_directory_is_repeated_in_commands() {
    let call = Decamp::new();
    let id = failed_run(&call);
    let state = call.state();
    let given = call.again().env("DECAMP_STATE_DIR", "/nowhere").args(["show", &id, "--state-dir"]).arg(&state);
    given.stdout_has(format!("decamp resume {id} --state-dir {}", state.display())).run();
}

#[test]
fn resume_lists_what_it_could_mean() {
    let call = Decamp::new();
    let ids = [failed_run(&call), failed_run(&call)];
    call.again()
        .arg("resume")
        .status(2)
        .stdout("")
        .stderr_has(&ids[0])
        .stderr_has(&ids[1])
        .stderr_has("name the one")
        .run();
}

#[test]
fn nothing_is_abandoned_without_being_asked() {
    let call = Decamp::new();
    let id = failed_run(&call);
    call.again().args(["abandon", &id]).status(2).stdout("").stderr_has("--yes").run();
    call.again().args(["abandon", &id, "--output", "json"]).on_terminal().status(2).stdout_has("--yes").run();
    call.again().args(["abandon", &id]).on_terminal().stdin("n\n").status(1).stdout_has("nothing was done").run();
    call.again().args(["runs"]).stdout_has("failed").run();
}

#[test]
fn a_step_that_is_not_in_doubt_takes_no_decision() {
    let call = Decamp::new();
    let id = failed_run(&call);
    call.again().args(["decide", &id, "copy", "retry"]).status(2).stdout("").stderr_has("not in doubt").run();
}

/// `sudo decamp run …` and then `decamp resume` as oneself, or the other way round.
#[test]
fn a_run_of_another_user_is_named() {
    if !needs_root("writing into another user's home") {
        return;
    }
    let Some((user, home)) = other_home() else { return };
    let state = home.join(".local/state/decamp");
    let fresh = !state.exists();
    let journal = Journal::open(&state).unwrap();
    let run = journal.create(new_run()).unwrap();
    run.finish(RunEnd::Failed { error: json!({ "message": "it broke" }) }).unwrap();
    let id = run.id().clone();
    drop(run);
    let resume = || Decamp::new().arg("resume").spawn().wait();
    // Another state directory of one's own is named with its place, one of somebody else with the user.
    let own = resume();
    let theirs = fresh.then(|| {
        std::os::unix::fs::chown(&state, Some(4_321), Some(4_321)).unwrap();
        resume()
    });
    if fresh {
        drop(journal);
        fs::remove_dir_all(&state).unwrap();
    } else {
        journal.abandon(&id).unwrap();
    }
    let flag = format!("--state-dir {}", state.display());
    for (ran, words) in [(Some(own), flag), (theirs, format!("sudo -u {user}"))] {
        let Some(ran) = ran else { continue };
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(ran.stderr.contains(id.as_str()) && ran.stderr.contains(&words), "{}", ran.stderr);
    }
}

/// A user of this machine with a home directory of its own.
fn other_home() -> Option<(String, std::path::PathBuf)> {
    let table = fs::read_to_string("/etc/passwd").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let home = std::path::PathBuf::from(*fields.get(5)?);
        let usable = home.starts_with("/root") || home.starts_with("/home");
        (usable && home.is_dir()).then(|| (fields[0].to_owned(), home))
    })
}

#[test]
fn a_journal_that_cannot_be_used_is_left_as_it_is() {
    let call = Decamp::new();
    let path = call.state().join("journal.db");
    fs::write(&path, "garbage").unwrap();
    for args in [&["runs"][..], &["resume"], &["show", "x"], &["undo", "x"]] {
        let one = call.again().args(args.iter().copied()).status(8).stdout("");
        one.stderr_has("journal.db").stderr_has("left as it is").run();
    }
    assert_eq!(fs::read(&path).unwrap(), b"garbage");
    assert_eq!(fs::read_dir(call.state()).unwrap().count(), 1);
}

#[test]
fn a_state_directory_that_cannot_be_made() {
    let call = Decamp::new().file("demo.rhai", "//! Demo.\nfn params() { #{} }\nfn run(p) { step(\"a\", || 1); }\n");
    let one = call.again().args(["run", "demo.rhai", "--state-dir", "/proc/none"]).status(8).stdout("");
    one.stderr_has("/proc/none").stderr_has("--state-dir").run();
    call.again().args(["run", "demo.rhai", "--state-dir", "demo.rhai/x"]).status(8).stdout("").run();
}
