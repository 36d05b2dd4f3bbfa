//! What hands can do to a state directory: files copied, put back, removed or mixed up. Nothing of it is taken for what
//! it is not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::env::Decamp;

fn world() -> Decamp {
    (0..4).fold(Decamp::new(), |call, n| call.file(format!("src/file-{n}"), vec![n; 300]))
}

/// Moves the tree to `dst`; the name of the run.
fn migrate(call: &Decamp, dst: &str) -> String {
    let known = ids(call);
    call.again().args(["run", "move-tree", "--source", "src", "--dest", dst]).run();
    ids(call).into_iter().find(|id| !known.contains(id)).unwrap()
}

fn ids(call: &Decamp) -> Vec<String> {
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

fn doctor(call: &Decamp, code: i32) -> serde_json::Value {
    call.again().args(["doctor", "--output", "json"]).status(code).run().json()
}

fn found<'r>(report: &'r serde_json::Value, words: &str) -> &'r serde_json::Value {
    let mut all = report["findings"].as_array().unwrap().iter();
    all.find(|found| found["what"].as_str().unwrap().contains(words)).unwrap_or_else(|| panic!("{words}: {report:#}"))
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn aside(state: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(state).unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("journal-damaged")).collect()
}

#[test]
fn the_directory_of_a_run_the_journal_lost_is_no_leftover() {
    let call = world();
    migrate(&call, "one");
    let old = fs::read(call.state().join("journal.db")).unwrap();
    let lost = migrate(&call, "two");
    fs::write(call.state().join("journal.db"), old).unwrap();
    let report = doctor(&call, 8);
    let finding = found(&report, "which the journal has lost");
    assert_eq!(finding["severity"], "error");
    assert!(finding["path"].as_str().unwrap().ends_with(&lost), "{finding}");
    assert_eq!(finding["advice"], "decamp doctor --rebuild");
    let removable = report["findings"].as_array().unwrap().iter().filter(|one| one["advice"] == "it can be removed");
    assert!(removable.into_iter().all(|one| one["what"].as_str().unwrap().contains("a lock")), "{report:#}");
    call.again().args(["doctor", "--rebuild", "--yes"]).run();
    assert!(ids(&call).contains(&lost));
}

#[test]
fn a_copy_of_a_run_directory_blocks_nothing() {
    let call = world();
    let id = migrate(&call, "one");
    let runs = call.state().join("runs");
    copy_dir(&runs.join(&id), &runs.join(format!("{id}.bak")));
    let report = doctor(&call, 0);
    assert_eq!(found(&report, "no name of a run")["severity"], "warning");
    migrate(&call, "two");
    // Under a name that a run could have, it is told apart by what it says.
    let other = runs.join("01999999-0000-7000-8000-000000000000");
    fs::rename(runs.join(format!("{id}.bak")), &other).unwrap();
    let report = doctor(&call, 8);
    assert!(found(&report, "a copy of the files of run")["what"].as_str().unwrap().contains(&id));
    let ran = call.again().args(["doctor", "--rebuild", "--yes"]).spawn().wait();
    assert_eq!(ran.status, 8, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("move this directory out"), "{}", ran.stderr);
    assert_eq!(aside(&call.state()), Vec::<PathBuf>::new());
    fs::remove_dir_all(other).unwrap();
    assert_eq!(ids(&call).len(), 2);
}

#[test]
fn a_journal_that_is_gone_with_its_runs_is_missed_while_a_copy_knows_runs() {
    let call = world();
    migrate(&call, "one");
    let id = migrate(&call, "two");
    // The copy is made before a run begins, and knows the one before.
    let state = call.state();
    let copy = fs::read_dir(state.join("backup")).unwrap().flatten().next().unwrap().path();
    fs::copy(state.join("journal.db"), copy).unwrap();
    fs::remove_dir_all(state.join("runs")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(state.join(format!("journal.db{suffix}"))).ok();
    }
    for args in [&["runs"][..], &["doctor"], &["run", "move-tree", "--source", "src", "--dest", "three"]] {
        let ran = call.again().args(args.iter().copied()).spawn().wait();
        assert_eq!(ran.status, 8, "{args:?} {}{}", ran.stdout, ran.stderr);
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains("doctor --rebuild"), "{}{}", ran.stdout, ran.stderr);
    }
    call.again().args(["doctor", "--rebuild", "--yes"]).spawn().wait();
    assert!(ids(&call).contains(&id));
}

#[test]
fn a_state_directory_that_is_not_there_has_no_journal() {
    let call = Decamp::new();
    call.again().args(["doctor", "--state-dir", "nowhere"]).status(2).stderr_has("there is no journal in").run();
}

#[test]
fn a_progress_store_that_is_gone_or_of_another_run_is_found_and_refused() {
    let call = world();
    let (one, two) = (migrate(&call, "one"), migrate(&call, "two"));
    let runs = call.state().join("runs");
    let store = |id: &str| runs.join(id).join("progress.db");
    fs::copy(store(&one), store(&two)).unwrap();
    let report = doctor(&call, 0);
    assert!(found(&report, "neither resumed nor undone")["what"].as_str().unwrap().contains(&one), "{report:#}");
    let ran = call.again().args(["undo", &two]).status(8).stderr_has("it is that of run").run();
    assert!(ran.stderr.contains(&format!("decamp abandon {two}")), "{}", ran.stderr);
    assert!(call.dir().join("two/file-1").exists());
    call.again().args(["abandon", &two, "--yes"]).run();
    for how in ["empty", "gone"] {
        match how {
            "empty" => fs::write(store(&one), "").unwrap(),
            _ => fs::remove_file(store(&one)).unwrap(),
        }
        let report = doctor(&call, 0);
        assert_eq!(found(&report, "neither resumed nor undone")["severity"], "warning", "{how}");
    }
}
