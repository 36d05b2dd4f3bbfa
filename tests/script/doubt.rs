//! An effect whose outcome is not known is asked about, never repeated blindly.

use std::time::Duration;

use rustix::process::Signal;

use super::support::{log, run, run_id, script};
use crate::support::env::Decamp;

/// A run that was killed in the middle of a command which had already acted.
fn killed() -> Decamp {
    let call = script(
        r#"step("first", || say("first"));
           step("doubtful", || host::local().exec(["sh", "-c", "echo $$ > pid; echo acted >> log; exec sleep 60"]));
           step("last", || say("last"));"#,
    );
    let running = run(&call).spawn();
    while log(&call).len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::KILL);
    running.wait();
    call
}

/// Ends the command that went on without the program.
fn end(call: &Decamp) {
    let pid = std::fs::read_to_string(call.dir().join("pid")).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_command_that_outlives_the_program_is_not_decided_about_before_it_ends() {
    let call = killed();
    let (id, pid) = (run_id(&call), std::fs::read_to_string(call.dir().join("pid")).unwrap());
    let process = format!("still runs, as process {}", pid.trim());
    let abandon = vec!["abandon", &id, "--yes"];
    for args in [vec!["resume"], vec!["undo", &id], vec!["decide", &id, "doubtful", "happened"], abandon] {
        call.again().args(args).status(7).stderr_has(&process).stderr_has("step `doubtful`").run();
    }
    // The run is as it was: nothing was taken over.
    let shown = call.again().args(["show", &id, "--output", "json"]).run().json();
    assert_eq!((&shown["state"], &shown["run"]["epoch"]), (&"interrupted".into(), &1.into()), "{shown}");
    end(&call);
    call.again().arg("resume").status(7).stderr_has("decamp decide").run();
}

#[test]
fn a_run_is_neither_given_up_nor_removed_before_its_command_has_ended() {
    let call = killed();
    let id = run_id(&call);
    let abandon = || call.again().args(["abandon", &id, "--yes"]);
    abandon().status(7).stderr_has("still runs").stderr_has(format!("decamp abandon {id}")).run();
    let prune = || call.again().args(["runs", "prune", "--older-than", "0s", "--plan"]);
    // An abandoned run, as another version may have left it.
    let db = rusqlite::Connection::open(call.state().join("journal.db")).unwrap();
    let mark = |status: &str, effect: &str| {
        db.execute("UPDATE run SET status = ?1", [status]).unwrap();
        db.execute("UPDATE effect SET status = ?1 WHERE status <> 'done'", [effect]).unwrap();
    };
    mark("abandoned", "in_doubt");
    prune().stdout_has("still runs").stdout_has("0 runs would go").run();
    mark("running", "intent");
    drop(db);
    end(&call);
    abandon().run();
    prune().stdout_has("1 run would go").run();
}

#[test]
fn a_command_whose_process_was_not_recorded_is_found_by_its_mark() {
    let call = killed();
    let file = call.state().join("runs").join(run_id(&call)).join("events.ndjson");
    let db = rusqlite::Connection::open(call.state().join("journal.db")).unwrap();
    let last = "kind = 'effect.process' AND seq = (SELECT max(seq) FROM event)";
    // It may have been killed before it could record it, and then nothing has to be taken away.
    let taken = db.execute(&format!("DELETE FROM event WHERE {last}"), []).unwrap();
    drop(db);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.trim_end_matches('\0').lines().collect();
    let rest: String = lines[..lines.len() - taken].iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, rest).unwrap();
    call.again().arg("resume").status(7).stderr_has("still runs").run();
    end(&call);
    call.again().arg("resume").status(7).stderr_has("decamp decide").run();
}

#[test]
fn a_killed_command_is_asked_about() {
    let call = killed();
    end(&call);
    let id = run_id(&call);
    call.again().arg("resume").status(7).stderr_has("it is not known whether").stderr_has("decamp decide").run();
    // Asking changes nothing, and asking again gives the same answer.
    call.again().arg("resume").status(7).run();
    assert_eq!(log(&call), ["first", "acted"]);
    call.again().args(["decide", &id, "first", "happened"]).status(2).stderr_has("doubtful").run();
    call.again().args(["decide", &id, "doubtful", "happened"]).run();
    call.again().arg("resume").stdout_has("succeeded").run();
    assert_eq!(log(&call), ["first", "acted", "last"]);
}

#[test]
fn a_command_that_did_not_happen_is_run_again() {
    let call = killed();
    end(&call);
    // What is in doubt is decided by request; the command itself must not sleep again.
    let text = std::fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("exec sleep 60", "true");
    std::fs::write(call.dir().join("s.rhai"), text).unwrap();
    call.again().args(["resume", "--yes"]).status(1).stderr_has("doubt").run();
    call.again().args(["decide", &run_id(&call), "doubtful", "retry"]).run();
    call.again().args(["resume", "--yes"]).run();
    assert_eq!(log(&call), ["first", "acted", "acted", "last"]);
}

#[test]
fn a_run_that_lives_cannot_be_taken_over() {
    let call =
        script(r#"step("a", || host::local().exec(["sh", "-c", "echo $$ > pid; echo a >> log; exec sleep 60"]));"#);
    let running = run(&call).spawn();
    while log(&call).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = run_id(&call);
    for args in [vec!["resume", &id], vec!["undo", &id], vec!["abandon", &id, "--yes"]] {
        call.again().args(args).status(6).run();
    }
    running.signal(Signal::KILL);
    running.wait();
    end(&call);
    call.again().args(["abandon", &id, "--yes"]).run();
    call.again().args(["resume", &id]).status(2).run();
}
