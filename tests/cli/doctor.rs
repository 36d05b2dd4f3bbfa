//! `decamp doctor` on the journal of a real migration that was killed in its middle.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::check::Check;
use crate::support::env::{Decamp, Ran};

/// A small migration.
fn migration(call: &Decamp) -> Decamp {
    call.again().args([
        "run",
        "move-tree",
        "--source",
        "src",
        "--dest",
        "dst",
        "--freeze",
        "sh -c 'echo freeze >> log'",
    ])
}

fn world() -> Decamp {
    let call = Decamp::new();
    (0..12).fold(call, |call, n| call.file(format!("src/dir-{}/file-{n}", n % 3), vec![n; 3_000]))
}

/// A world whose migration was killed at a point of its journal.
fn killed_at(at: usize) -> Decamp {
    let call = world();
    let ran = migration(&call).env("DECAMP_CRASH_AT", at.to_string()).spawn().wait();
    assert_eq!(ran.status, 137, "{}", ran.stderr);
    call
}

/// How many points an uninterrupted migration passes.
fn points() -> usize {
    let call = world();
    let file = call.dir().join("../points");
    migration(&call).env("DECAMP_CRASH_COUNT", &file).run();
    fs::read_to_string(file).unwrap().lines().count()
}

/// Resumes to the end, answering what is in doubt by looking.
fn go_on(call: &Decamp, what: &str) {
    for _ in 0..4 {
        let ran = call.again().arg("resume").spawn().wait();
        match ran.status {
            0 => return,
            7 => {
                let line = ran.stderr.lines().find_map(|line| line.split_once("decamp decide ")).unwrap().1;
                let words: Vec<&str> = line.split_whitespace().collect();
                let happened = fs::read_to_string(call.dir().join("log")).unwrap_or_default().contains("freeze");
                let answer = if happened { "happened" } else { "retry" };
                call.again().args(["decide", words[0], words[1].trim_matches('\''), answer]).run();
            }
            code => panic!("{what}: resume ended with {code}: {}", ran.stderr),
        }
    }
    panic!("{what}: resume does not come to an end");
}

fn wreck(state: &Path, how: &str) {
    let (db, log) = (state.join("journal.db"), state.join("journal.db-wal"));
    let remove = |path: &Path| drop(fs::remove_file(path));
    let shm = state.join("journal.db-shm");
    match how {
        "gone" => [&db, &log, &shm].iter().for_each(|path| remove(path)),
        "gone with its copies" => {
            [&db, &log, &shm].iter().for_each(|path| remove(path));
            fs::remove_dir_all(state.join("backup")).unwrap();
        }
        "without its log" => [&log, &shm].iter().for_each(|path| remove(path)),
        "with a torn log" => {
            let len = log.metadata().unwrap().len();
            OpenOptions::new().write(true).open(&log).unwrap().set_len(len / 2).unwrap();
            remove(&shm);
        }
        "with another header" => {
            // As after a checkpoint: the log has the first page as well.
            rusqlite::Connection::open(&db).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
            [&log, &shm].iter().for_each(|path| remove(path));
            OpenOptions::new().write(true).open(&db).unwrap().write_all_at(&[0x5A; 100], 0).unwrap();
        }
        "an old copy" => {
            [&log, &shm].iter().for_each(|path| remove(path));
            let copy = fs::read_dir(state.join("backup")).unwrap().flatten().next().unwrap();
            fs::copy(copy.path(), &db).unwrap();
        }
        other => panic!("{other}"),
    }
}

const WAYS: [&str; 6] =
    ["gone", "gone with its copies", "without its log", "with a torn log", "with another header", "an old copy"];

#[test]
fn a_wrecked_journal_is_refused_made_anew_resumed_and_undone() {
    let points = points();
    for (number, how) in WAYS.iter().enumerate() {
        let call = killed_at(points * (number + 2) / (WAYS.len() + 3));
        wreck(&call.state(), how);
        // Everything that would trust it refuses, and says what helps.
        for args in [&["resume"][..], &["runs"], &["run", "move-tree", "--source", "src", "--dest", "other"]] {
            let ran = call.again().args(args.iter().copied()).spawn().wait();
            assert_eq!(ran.status, 8, "{how}: {args:?} {}{}", ran.stdout, ran.stderr);
            assert!(ran.stderr.contains("decamp doctor --rebuild"), "{how}: {}", ran.stderr);
        }
        assert!(!call.dir().join("other").exists());
        call.again().arg("doctor").status(8).stdout_has("error").stdout_has("cannot be trusted").run();
        call.again().args(["doctor", "--rebuild"]).status(2).stderr_has("--yes").run();
        let done = call.again().args(["doctor", "--rebuild", "--yes", "--output", "json"]).run().json();
        assert_eq!(done["rebuilt"]["lost"].as_array().unwrap().len(), 0, "{how}: {done}");
        assert_eq!(done["rebuilt"]["base"].is_null(), *how == "gone with its copies", "{how}: {done}");
        if !how.starts_with("gone") {
            assert!(Path::new(done["rebuilt"]["aside"].as_str().unwrap()).exists(), "{how}: {done}");
        }
        call.again().arg("doctor").stdout_has("can be trusted").run();
        go_on(&call, how);
        Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
        assert_eq!(fs::read_to_string(call.dir().join("log")).unwrap(), "freeze\n", "{how}");
        let runs = call.again().args(["runs", "--output", "json"]).run().json();
        let id = runs["runs"][0]["id"].as_str().unwrap();
        call.again().args(["undo", id]).run();
        assert!(!call.dir().join("dst").exists(), "{how}");
    }
}

#[test]
fn a_wreck_straight_after_the_kill_can_be_undone_too() {
    let call = killed_at(points() * 2 / 3);
    wreck(&call.state(), "gone");
    call.again().args(["doctor", "--rebuild", "--yes"]).stdout_has("made from").run();
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    let id = runs["runs"][0]["id"].as_str().unwrap().to_owned();
    call.again().args(["undo", &id]).run();
    assert!(!call.dir().join("dst").exists());
    call.again().args(["log", &id]).stdout_has("run.rebuilt").run();
}

fn finding<'r>(report: &'r serde_json::Value, words: &str) -> Option<&'r serde_json::Value> {
    report["findings"].as_array().unwrap().iter().find(|found| found["what"].as_str().unwrap().contains(words))
}

/// Every file below a directory with what tells whether it was changed.
fn picture(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path())
            } else {
                files.push((entry.path(), fs::read(entry.path()).unwrap()))
            }
        }
    }
    files.sort();
    files
}

#[test]
fn it_finds_what_is_not_as_it_should_be_and_changes_nothing() {
    let call = killed_at(points() / 2);
    let state = call.state();
    call.again().arg("doctor").stdout_has("can be trusted").run();
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    let id = runs["runs"][0]["id"].as_str().unwrap().to_owned();
    fs::set_permissions(state.join("journal.db"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(state.join("ballast")).unwrap();
    fs::write(state.join("backup/journal-1.db"), "no database").unwrap();
    fs::write(state.join("runs/01999999-0000-7000-8000-000000000000.lock"), "").unwrap();
    for name in ["progress.db-wal", "progress.db-shm"] {
        fs::remove_file(state.join("runs").join(&id).join(name)).ok();
    }
    fs::write(state.join("runs").join(&id).join("progress.db"), "no database at all, whatever its name").unwrap();
    let file = state.join("runs").join(&id).join("events.ndjson");
    let mut events = fs::read(&file).unwrap();
    events.extend(b"{\"seq\":");
    fs::write(&file, events).unwrap();
    let before = picture(&state);
    let ran: Ran = call.again().args(["doctor", "--output", "json"]).run();
    assert!(picture(&state) == before, "something was changed");
    let report = ran.json();
    for (words, severity) in [
        ("others can get at it", "warning"),
        ("the reserve for a full disk is missing", "warning"),
        ("a copy that cannot be used", "warning"),
        ("a lock of no run", "note"),
        ("neither resumed nor undone", "warning"),
        ("its last line is torn", "note"),
    ] {
        let found = finding(&report, words).unwrap_or_else(|| panic!("{words}: {report:#}"));
        assert_eq!(found["severity"], severity, "{found}");
        assert_ne!(found["advice"], "", "{found}");
    }
    assert_eq!(report["trusted"], true);
    // Whoever finds the store gone does not take what the run made for what was there before.
    let ran = call.again().arg("resume").status(8).stderr_has("progress.db").run();
    assert!(ran.stderr.contains("abandon"), "{}", ran.stderr);
}

#[test]
fn a_mark_of_a_run_that_is_over_is_found() {
    let call = killed_at(points() * 2 / 3);
    let marker = call.dir().join("dst/.decamp-run");
    let text = fs::read(&marker).unwrap();
    go_on(&call, "resumed");
    assert!(!marker.exists());
    fs::write(&marker, text).unwrap();
    call.again().arg("doctor").stdout_has("which is over").stdout_has("rm ").run();
}

#[test]
fn nothing_is_made_anew_while_somebody_works_on_it() {
    let call = Decamp::new().file(
        "s.rhai",
        "fn params() { #{} }\nfn run(p) { step(\"nap\", || host::local().exec([\"sleep\", \"20\"])); }\n",
    );
    let mut running = call.again().args(["run", "./s.rhai"]).spawn();
    assert!(running.says("> nap"));
    // The file of a run the journal does not know.
    let line = r#"{"seq":99,"at":1,"level":"info","kind":"run.created","step":null,"data":{}}"#;
    let other = call.state().join("runs/01999999-0000-7000-8000-000000000000");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("events.ndjson"), format!("{line}\n")).unwrap();
    let ran = call.again().args(["doctor", "--rebuild", "--yes"]).spawn().wait();
    assert_eq!(ran.status, 8, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("locked by another process"), "{}", ran.stderr);
    drop(running);
}
