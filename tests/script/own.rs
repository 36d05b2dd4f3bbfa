//! A script of one's own, as the manual shows it: run, killed, edited, resumed, approved from elsewhere, undone.
//!
//! The text is taken from README.md, so that what is tested is what a reader gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::{log, run_id};
use crate::support::check::assert_same;
use crate::support::env::Decamp;
use crate::support::rust::repository;

/// The script of the manual.
fn of_the_manual() -> String {
    let page = fs::read_to_string(repository().join("README.md")).unwrap();
    let block = page.split("```rhai\n").skip(1).find(|rest| rest.starts_with("//! Move home directories"));
    let block = block.expect("the manual has a script that moves home directories");
    block[..block.find("```").unwrap()].to_owned()
}

/// Homes to move, and commands that write a line to `log`; the new server is ready when asked for the third time.
fn site() -> Decamp {
    let mut call = Decamp::new().file("homes.rhai", of_the_manual());
    for home in ["ann", "bob", "eve"] {
        for number in 0..40 {
            call = call.file(format!("old/{home}/{number}.txt"), format!("{home} {number}\n"));
        }
    }
    fs::create_dir(call.dir().join("new")).unwrap();
    let ready = "#!/bin/sh\necho asked >> log\n[ \"$(grep -c asked log)\" -ge 3 ]\n";
    let programs = [("ready", ready.to_owned()), ("to", say("switched")), ("back", say("switched back"))];
    for (name, text) in programs {
        call = call.file(name, text);
        fs::set_permissions(call.dir().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    call
}

fn say(line: &str) -> String {
    format!("#!/bin/sh\necho {line} >> log\n")
}

fn start(call: &Decamp) -> Decamp {
    let words = ["run", "./homes.rhai", "--from", "old", "--to", "new", "--ready", "./ready"];
    let more = ["--switch-to", "./to", "--switch-back", "./back", "--homes", "ann", "--homes", "bob", "--homes", "eve"];
    call.again().args(words).args(more)
}

fn same(call: &Decamp, home: &str) {
    assert_same(&call.dir().join("old").join(home), &call.dir().join("new").join(home));
}

#[test]
fn the_script_of_the_manual_lives_through_a_bad_night() {
    let call = site();
    // Killed between two homes: the second begins slowly, as its limit is low.
    let running = start(&call).args(["--max-rate", "200"]).spawn();
    let begun = Instant::now();
    while !call.dir().join("new/bob").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", log(&call).join("\n"));
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::KILL);
    running.wait();
    assert_eq!(log(&call), ["asked"; 3], "asked again until it was ready");
    let id = run_id(&call);

    // Edited: another question, and one more step.
    let edited = of_the_manual().replace("homes over?", "homes over to the new server?").replace(
        "    approve(",
        "    step(\"tell\", #{ undo: |done| () }, || here.exec([\"sh\", \"-c\", \"echo told >> log\"]));\n    approve(",
    );
    assert_ne!(edited, of_the_manual());
    let call = call.file("homes.rhai", edited);
    call.again().arg("resume").status(2).stderr_has("the script was edited").stderr_has("new server").run();
    let waits = call.again().args(["resume", "--accept-script-change", "--max-rate", "none"]).status(5);
    waits.stderr_has(format!("decamp approve {id} agreed")).run();
    assert_eq!(log(&call), ["asked", "asked", "asked", "told"], "what was done is not done again");

    call.again().args(["approve", &id, "agreed"]).run();
    call.again().args(["resume", &id]).stdout_has("succeeded").run();
    assert_eq!(log(&call).last().map(String::as_str), Some("switched"));
    for home in ["ann", "bob", "eve"] {
        same(&call, home);
    }

    call.again().args(["undo", &id]).stdout_has("undone").run();
    assert_eq!(log(&call).last().map(String::as_str), Some("switched back"));
    assert_eq!(left_in(&call.dir().join("new")), [""; 0]);
}

fn left_in(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn its_plan_says_what_it_would_do() {
    // A plan asks once whether the server is ready, and does not wait.
    let call = site().file("log", "asked\nasked\n");
    let ran = start(&call).arg("--plan").stdout_has("switch").stdout_has("copy[eve]").run();
    assert!(ran.stdout.contains("needs --approve agreed"), "{}", ran.stdout);
    assert_eq!(left_in(&call.dir().join("new")), [""; 0]);
}
