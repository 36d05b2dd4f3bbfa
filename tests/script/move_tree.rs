//! The shipped migration as an operator meets it: its plan, its guards, its refusals, its end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::support::run_id;
use crate::support::check::{Check, Snapshot};
use crate::support::env::{Decamp, Ran};
use crate::support::skip::needs_root;
use crate::support::tree::Recipe;
use crate::support::volume::{FileSystem, Volume};

fn grown(entries: u64) -> Decamp {
    let call = Decamp::new();
    Recipe::new(3, entries).grow(&call.dir().join("src"));
    call
}

/// Two small trees: `src` with `new` and `both`, `dst` with `both` and `old`.
fn small() -> Decamp {
    Decamp::new()
        .file("src/new", "new")
        .file("src/both", "from the source")
        .file("dst/both", "before")
        .file("dst/old", "old")
}

fn start(call: &Decamp) -> Decamp {
    call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst"])
}

fn ended(call: Decamp) -> Ran {
    call.spawn().wait()
}

/// Refused with this exit code and these words, and nothing is changed anywhere in the working directory.
#[track_caller]
fn refused(call: &Decamp, run: Decamp, status: i32, words: &str) {
    let before = Snapshot::of(&call.dir());
    run.status(status).stderr_has(words).run();
    before.assert_same(&Snapshot::of(&call.dir()));
}

#[test]
fn a_plan_changes_nothing_and_its_numbers_are_those_of_the_run() {
    for there in [true, false] {
        let call = grown(300);
        if there {
            fs::create_dir(call.dir().join("dst")).unwrap();
            fs::write(call.dir().join("dst/old"), "old").unwrap();
            fs::create_dir(call.dir().join("kept")).unwrap();
        }
        let more = if there { &["--backup-dir", "kept", "--max-delete", "100%"][..] } else { &[] };
        let with = |run: Decamp| run.args(more.iter().copied()).args(["--output", "json"]);
        let before = Snapshot::with_access_times(&call.dir());
        let plan = ended(with(start(&call)).arg("--plan")).json();
        before.assert_same(&Snapshot::with_access_times(&call.dir()));
        assert_eq!(fs::read_dir(call.state()).unwrap().count(), 0);
        let planned = step(&plan["plan"], "final");
        let ran = ended(with(start(&call)));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let shown = ended(call.again().args(["show", &run_id(&call), "--output", "json"])).json();
        let real = step(&shown["steps"], "final");
        for number in ["created", "updated", "meta_updated", "unchanged", "copied_bytes", "listed", "failed", "foreign"]
        {
            assert_eq!(planned["data"][number], real["result"][0][number], "{number}: {planned}\n{real}");
        }
        assert!(real["result"][0]["created"]["entries"].as_u64().unwrap() > 200);
        assert_eq!(step(&plan["plan"], "root")["changes"], !there);
        Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
        // A plan of a run that is over, or a second one, leaves the journal's rows as they are, too.
        let rows = ended(call.again().args(["log", &run_id(&call), "--output", "ndjson"])).stdout;
        let _planned = ended(with(start(&call)).arg("--plan"));
        assert_eq!(ended(call.again().args(["log", &run_id(&call), "--output", "ndjson"])).stdout, rows);
        assert_eq!(ended(call.again().args(["runs", "--output", "json"])).json()["runs"].as_array().unwrap().len(), 1);
    }
}

fn step<'a>(list: &'a serde_json::Value, key: &str) -> &'a serde_json::Value {
    list.as_array().unwrap().iter().find(|item| item["step"] == key).unwrap_or_else(|| panic!("{key}: {list}"))
}

#[test]
fn what_was_there_before_is_kept_and_comes_back() {
    let call = small();
    fs::create_dir(call.dir().join("kept")).unwrap();
    let before = contents(&call.dir().join("dst"));
    let root = fs::metadata(call.dir().join("dst")).unwrap();
    start(&call).args(["--backup-dir", "kept", "--max-delete", "1"]).run();
    assert_eq!(
        contents(&call.dir().join("kept")),
        BTreeMap::from([("both".into(), "before".into()), ("old".into(), "old".into())])
    );
    assert!(!call.dir().join("dst/.decamp-run").exists());
    call.again().args(["undo", &run_id(&call)]).run();
    assert_eq!(contents(&call.dir().join("dst")), before);
    let now = fs::metadata(call.dir().join("dst")).unwrap();
    assert_eq!((now.mtime(), now.mtime_nsec(), now.mode()), (root.mtime(), root.mtime_nsec(), root.mode()));
    assert!(contents(&call.dir().join("kept")).is_empty());
}

fn contents(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found.insert(path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap());
    }
    found
}

#[test]
fn without_a_backup_replacing_needs_an_approval_by_name() {
    let call = small();
    let before = contents(&call.dir().join("dst"));
    start(&call).args(["--yes", "--max-delete", "5"]).status(5).stderr_has(" replace\n").run();
    assert_eq!(contents(&call.dir().join("dst")).get("both"), before.get("both"));
    call.again().args(["resume", "--approve", "replace"]).run();
    assert_eq!(contents(&call.dir().join("dst")), contents(&call.dir().join("src")));
    call.again().args(["undo", &run_id(&call)]).status(9).stderr_has("point of no return `replaced`").run();
}

#[test]
fn more_deletions_than_allowed_are_refused_before_the_first() {
    let call = small();
    fs::create_dir(call.dir().join("kept")).unwrap();
    start(&call).args(["--backup-dir", "kept", "--max-delete", "0"]).status(1).stderr_has("--max-delete").run();
    assert_eq!(fs::read_to_string(call.dir().join("dst/old")).unwrap(), "old");
}

#[test]
fn roots_that_cannot_be_used_are_refused_and_nothing_changes() {
    let call = Decamp::new().file("src/sub/a", "a").file("file", "f");
    symlink("src", call.dir().join("link")).unwrap();
    let run = |source: &str, dest: &str| call.again().args(["run", "move-tree", "--source", source, "--dest", dest]);
    refused(&call, run("missing", "dst"), 2, "missing` does not exist");
    refused(&call, run("file", "dst"), 2, "is not a directory");
    refused(&call, run("src", "file"), 2, "is not a directory");
    refused(&call, run("src", "src"), 2, "same directory");
    refused(&call, run("src", "link"), 2, "same directory");
    refused(&call, run("src", "src/sub/../../src"), 2, "same directory");
    refused(&call, run("src", "src/sub"), 2, "inside the source");
    refused(&call, run("src", "src/new"), 2, "inside the source");
    refused(&call, run("src/sub", "src"), 2, "inside the destination");
    refused(&call, run("src", "link/new"), 2, "inside the source");
    refused(&call, run("src", "no/such/parent"), 2, "no/such");
}

#[test]
fn an_empty_source_never_empties_a_destination() {
    let call = Decamp::new().file("dst/a", "a");
    fs::create_dir(call.dir().join("src")).unwrap();
    fs::create_dir(call.dir().join("kept")).unwrap();
    let run = start(&call).args(["--backup-dir", "kept", "--max-delete", "100%"]);
    run.clone().status(1).stderr_has("--accept empty-source").run();
    assert!(call.dir().join("dst/a").exists());
    call.again().args(["abandon", &run_id(&call), "--yes"]).run();
    run.args(["--accept", "empty-source"]).run();
    assert!(!call.dir().join("dst/a").exists());
}

#[test]
fn a_second_run_on_an_overlapping_target_is_refused() {
    let call = Decamp::new().file("src/a", "a").file("other/b", "b").file("s.rhai", "");
    start(&call).args(["--cutover", "false"]).status(1).run();
    let id = run_id(&call);
    for (source, dest) in [("other", "dst"), ("other", "dst/below"), ("dst", "new")] {
        let run = call.again().args(["run", "move-tree", "--source", source, "--dest", dest]);
        let ran =
            run.status(6).stderr_has(format!("decamp resume {id}")).stderr_has(format!("decamp abandon {id}")).run();
        assert!(ran.stderr.contains("undo"), "{}", ran.stderr);
    }
    // By hand neither, as long as the mark of the run is there.
    call.again().args(["copy", "other", "dst"]).status(6).run();
    call.again().args(["abandon", &id, "--yes"]).run();
    assert!(!call.dir().join("dst/.decamp-run").exists());
    call.again().args(["copy", "other", "dst"]).run();
}

#[test]
fn a_root_that_was_replaced_is_found_before_resume_and_before_undo() {
    let call = small();
    fs::create_dir(call.dir().join("kept")).unwrap();
    start(&call)
        .args(["--backup-dir", "kept", "--max-delete", "5", "--verify", "meta", "--freeze", "false"])
        .status(1)
        .run();
    let id = run_id(&call);
    for (root, undo) in [("src", false), ("dst", false), ("dst", true)] {
        fs::rename(call.dir().join(root), call.dir().join("aside")).unwrap();
        fs::create_dir(call.dir().join(root)).unwrap();
        let (args, status) = if undo { (vec!["undo", id.as_str()], 9) } else { (vec!["resume"], 1) };
        call.again().args(args).status(status).stderr_has("no longer the directory it was").run();
        assert_eq!(fs::read_dir(call.dir().join(root)).unwrap().count(), 0, "{root}");
        fs::remove_dir(call.dir().join(root)).unwrap();
        fs::rename(call.dir().join("aside"), call.dir().join(root)).unwrap();
    }
    call.again().args(["undo", &id]).run();
    assert_eq!(contents(&call.dir().join("dst"))["both"], "before");
}

#[test]
fn an_unmounted_root_stops_the_run() {
    if !needs_root("mounting") {
        return;
    }
    let Some(volume) = Volume::new(FileSystem::Ext4, 64) else { return };
    fs::create_dir(volume.path().join("src")).unwrap();
    fs::write(volume.path().join("src/a"), "a").unwrap();
    let call = Decamp::new();
    let source = volume.path().join("src").to_string_lossy().into_owned();
    call.again().args(["run", "move-tree", "--source", &source, "--dest", "dst", "--freeze", "false"]).status(1).run();
    volume.unmount();
    call.again().arg("resume").status(1).stderr_has("does not exist").run();
    assert!(call.dir().join("dst/a").exists());
}

#[test]
fn a_full_destination_stops_and_goes_on_after_room_is_made() {
    if !needs_root("mounting") {
        return;
    }
    let Some(volume) = Volume::new(FileSystem::Ext4, 32) else { return };
    let call = Decamp::new();
    for number in 0..8 {
        let call = call.clone();
        let _written = call.file(format!("src/file{number}"), vec![number; 2 << 20]);
    }
    let dest = volume.path().join("dst").to_string_lossy().into_owned();
    let run = call.again().args(["run", "move-tree", "--source", "src", "--dest", &dest]);
    // Too small from the beginning: refused before anything is written.
    fs::write(volume.path().join("ballast"), vec![1; 14 << 20]).unwrap();
    run.clone().status(2).stderr_has("cannot hold").stderr_has("free").run();
    assert!(!Path::new(&dest).exists());
    // Full on the way: somebody else takes the room.
    fs::remove_file(volume.path().join("ballast")).unwrap();
    let eater =
        format!("sh -c 'head -c 100000000 /dev/zero > {}/ballast; echo x >> src/file0; true'", volume.path().display());
    for number in 0..8 {
        let call = call.clone();
        let _written = call.file(format!("src/file{number}"), vec![number; 1 << 20]);
    }
    let again = call.again().args(["run", "move-tree", "--source", "src", "--dest", &dest, "--freeze", &eater]);
    let ran = ended(again);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("no space left") && ran.stderr.contains("decamp resume"), "{}", ran.stderr);
    fs::remove_file(volume.path().join("ballast")).unwrap();
    // The command that took the room would do so again.
    let id = ran.stderr.lines().next().unwrap().trim_start_matches("run ").to_owned();
    call.again().args(["undo", &id]).run();
    call.again().args(["run", "move-tree", "--source", "src", "--dest", &dest]).run();
    Check::new().assert_same(&call.dir().join("src"), Path::new(&dest));
}

#[test]
fn a_read_only_destination_is_refused() {
    if !needs_root("mounting") {
        return;
    }
    let Some(volume) = Volume::new(FileSystem::Ext4, 32) else { return };
    fs::create_dir(volume.path().join("dst")).unwrap();
    volume.read_only(true);
    let call = Decamp::new().file("src/a", "a");
    let dest = volume.path().join("dst").to_string_lossy().into_owned();
    call.again()
        .args(["run", "move-tree", "--source", "src", "--dest", &dest])
        .status(1)
        .stderr_has("cannot be written to")
        .run();
    volume.read_only(false);
}

#[test]
fn what_a_user_may_not_read_is_named_or_accepted_by_name() {
    if !needs_root("becoming another user") {
        return;
    }
    let call =
        Decamp::new().file("src/open", "open").file("src/closed/secret", "secret").file("src/shut", "shut").user(4_321);
    for path in ["src/closed", "src/shut"] {
        fs::set_permissions(call.dir().join(path), std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    }
    let run = start(&call);
    run.clone().status(13).stderr_has("closed").stderr_has("--accept unreadable").run();
    assert!(!call.dir().join("dst").exists());
    call.again().args(["abandon", &run_id(&call), "--yes"]).run();
    run.args(["--accept", "unreadable"]).stdout_has("skipped").run();
    assert_eq!(fs::read_to_string(call.dir().join("dst/open")).unwrap(), "open");
    assert!(!call.dir().join("dst/shut").exists());
}

#[test]
fn a_source_that_is_written_to_during_the_final_pass_stops_the_run() {
    let call = Decamp::new().file("src/a", "a");
    // The freeze command freezes nothing: it leaves a writer behind.
    let writer = "sh -c '(i=0; while [ $i -lt 4000 ]; do echo $i >> src/log; i=$((i+1)); done) >/dev/null 2>&1 & while ! [ -e src/log ]; do :; done; true'";
    let ran = ended(start(&call).args(["--freeze", writer, "--thaw", "sh -c 'echo thawed >> thaw'"]));
    // Either the writer was seen at work, or it had come to its end before the pass looked.
    if ran.status != 0 {
        assert!([12, 13].contains(&ran.status), "{} {}", ran.status, ran.stderr);
        assert_eq!(fs::read_to_string(call.dir().join("thaw")).unwrap(), "thawed\n");
    }
}

#[test]
fn a_limit_that_is_too_small_is_found_before_the_freeze_and_raised_on_resume() {
    let call = small();
    fs::create_dir(call.dir().join("kept")).unwrap();
    let run = start(&call).args(["--backup-dir", "kept", "--max-delete", "0", "--freeze", "touch frozen"]);
    run.status(1).stderr_has("--max-delete").run();
    assert!(!call.dir().join("frozen").exists());
    call.again().args(["resume", "--set", "max_delet=1"]).status(2).stderr_has("max_delete").run();
    call.again().args(["resume", "--set", "max_delete=1", "--plan"]).run();
    assert!(call.dir().join("dst/old").exists());
    call.again().args(["resume", "--set", "max_delete=1"]).run();
    assert!(!call.dir().join("dst/old").exists() && call.dir().join("frozen").exists());
}

#[test]
fn what_was_mended_is_copied_on_resume() {
    if !needs_root("becoming another user") {
        return;
    }
    let call = Decamp::new().file("src/open", "open").file("src/shut", "shut").user(4_321);
    let mode = |bits| {
        fs::set_permissions(call.dir().join("src/shut"), std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap()
    };
    // Readable when looked at first, not when it is to be copied again.
    let shut = "sh -c 'echo more >> src/shut; chmod 0 src/shut'";
    start(&call).args(["--freeze", shut, "--verify", "none"]).status(13).stderr_has("shut").run();
    mode(0o600);
    fs::write(call.dir().join("src/shut"), "mended").unwrap();
    call.again().args(["resume", "--set", "freeze=true"]).run();
    assert_eq!(fs::read_to_string(call.dir().join("dst/shut")).unwrap(), "mended");
}

#[test]
fn options_that_cannot_be_used_are_refused_before_anything_is_made() {
    let call = Decamp::new().file("src/a", "a").file("plain", "p");
    for (args, words) in [
        (&["--max-delete", "abc"][..], "no limit for deletions"),
        (&["--max-delete", "500%"], "no limit for deletions"),
        (&["--accept", "bogus"], "`bogus` cannot be accepted"),
        (&["--backup-dir", "plain"], "is no directory"),
        (&["--backup-dir", "/proc"], "file system of the destination"),
        (&["--backup-dir", "src/kept"], "lies inside the source"),
        (&["--backup-dir", "dst/kept"], "lies inside the destination"),
        (&["--freeze", "no-such-program -x"], "no program no-such-program"),
        (&["--source", "plain"], "--source is given 2 times"),
    ] {
        refused(&call, start(&call).args(args.iter().copied()), 2, words);
        // Nothing is left to go on with.
        call.again().arg("resume").status(2).stderr_has("no run").run();
    }
    let state = call.dir().join("src/state");
    fs::create_dir(&state).unwrap();
    start(&call).arg("--state-dir").arg(&state).status(2).stderr_has("state directory").run();
}

#[test]
fn a_failed_cut_over_says_that_users_are_still_stopped() {
    let call = Decamp::new().file("src/a", "a");
    let run = start(&call).args(["--freeze", "true", "--thaw", "touch thawed", "--cutover", "test -e ready"]);
    run.status(1).stderr_has("still frozen").run();
    assert!(!call.dir().join("thawed").exists());
    fs::write(call.dir().join("ready"), "").unwrap();
    call.again().arg("resume").run();
}

#[test]
fn evidence_names_both_sides() {
    let call = grown(200);
    let ran = ended(start(&call).args(["--output", "json"])).json();
    let note = |section: &str| {
        ran["notes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|note| note["section"] == section)
            .unwrap_or_else(|| panic!("{section}: {ran}"))["value"]
            .clone()
    };
    let evidence = note("evidence");
    assert_eq!(evidence["source"], evidence["dest"], "{evidence}");
    assert_eq!(evidence["source"]["digest"].as_str().unwrap().len(), 64);
    assert!(evidence["content_files"].as_u64().unwrap() > 100);
    assert_eq!(note("copied")["passes"], 2);
}
