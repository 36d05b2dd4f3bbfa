//! The shipped migration of trees with ends on other machines: real servers.

use std::fs;
use std::path::Path;

use super::block::nothing_left;
use crate::copy::kit::{Pair, furnish, state, write};
use crate::support::check::assert_same;
use crate::support::env::{Decamp, Ran};
use crate::support::ssh::{Setup, Sshd};

/// What is there, on the server or here.
fn place(far: bool, path: &Path) -> String {
    if far { format!("ssh://peer{}", path.display()) } else { path.display().to_string() }
}

fn start(server: &Sshd, call: &Decamp, source: &str, dest: &str) -> Decamp {
    let run = call.again().args(["run", "move-tree", "--source", source, "--dest", dest]);
    run.arg("--ssh-config").arg(server.config())
}

fn call(server: &Sshd) -> Decamp {
    Decamp::new().env("XDG_RUNTIME_DIR", server.dir())
}

fn ended(call: Decamp) -> Ran {
    call.spawn().wait()
}

fn run_id(call: &Decamp) -> String {
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    runs["runs"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_tree_moves_between_any_two_places_and_back() {
    let Some(server) = Sshd::start() else { return };
    for (from, to) in [(true, false), (false, true), (true, true)] {
        let pair = Pair::new();
        furnish(&pair.src);
        write(pair.dst.join("old"), "of before");
        write(pair.dst.join("plain"), "to be replaced");
        let backup = pair.base.path().join("kept");
        fs::create_dir(&backup).unwrap();
        let before = state(&pair.dst);
        let call = call(&server);
        let commands = ["--freeze", "touch frozen", "--thaw", "rm frozen"];
        let run = start(&server, &call, &place(from, &pair.src), &place(to, &pair.dst))
            .args(["--backup-dir", backup.to_str().unwrap(), "--max-delete", "100%"])
            .args(commands);
        run.clone().arg("--plan").stdout_has("copy::tree").stdout_has("forecast").run();
        assert_eq!(state(&pair.dst), before, "a plan changed something");
        let ran = run.args(["--output", "json"]).run();
        assert_same(&pair.src, &pair.dst);
        assert!(!pair.dst.join(".decamp-run").exists() && call.dir().join("frozen").exists());
        let notes = ran.json()["notes"].clone();
        let evidence = notes.as_array().unwrap().iter().find(|note| note["section"] == "evidence").unwrap();
        assert_eq!(evidence["value"]["source"], evidence["value"]["dest"], "{notes}");
        assert_eq!(fs::read_to_string(backup.join("old")).unwrap(), "of before");
        let undone = call.again().args(["undo", &run_id(&call)]).run();
        assert_eq!(state(&pair.dst), before, "{}{}", undone.stdout, undone.stderr);
        assert!(!pair.dst.join(".decamp-run").exists() && !call.dir().join("frozen").exists());
        nothing_left(&server);
    }
}

#[test]
fn a_failed_move_is_resumed_and_passes_its_pivot_once() {
    let Some(server) = Sshd::start() else { return };
    let pair = Pair::new();
    furnish(&pair.src);
    fs::remove_dir(&pair.dst).unwrap();
    let call = call(&server);
    let run = start(&server, &call, &place(false, &pair.src), &place(true, &pair.dst));
    run.args(["--freeze", "touch frozen", "--cutover", "test -e ready"]).status(1).stderr_has("still frozen").run();
    let id = run_id(&call);
    // Nobody else has it meanwhile.
    let other = start(&server, &call, &place(false, &pair.src), &place(true, &pair.dst));
    other.status(6).stderr_has(format!("decamp resume {id}")).run();
    assert!(pair.dst.join(".decamp-run").exists());
    fs::write(call.dir().join("ready"), "").unwrap();
    write(pair.src.join("plain"), "written after the cut-over began");
    call.again().args(["resume", &id]).run();
    assert!(!pair.dst.join(".decamp-run").exists());
    call.again().args(["undo", &id]).status(9).stderr_has("point of no return").run();
}

#[test]
fn roots_there_that_cannot_be_used_are_refused_and_nothing_is_made() {
    let Some(server) = Sshd::start() else { return };
    let pair = Pair::new();
    write(pair.src.join("sub/x"), "x");
    write(pair.base.path().join("file"), "f");
    let call = call(&server);
    let base = pair.base.path();
    let (src, dst) = (&pair.src, &pair.dst);
    let far = |path: &Path| place(true, path);
    let here = |path: &Path| place(false, path);
    let pod = "pod://ns/pod/path".to_owned();
    let before = state(base);
    for (source, dest, more, status, words) in [
        (far(&base.join("none")), here(dst), None, 2, "does not exist"),
        (far(&base.join("file")), here(dst), None, 2, "is not a directory"),
        (here(src), far(&base.join("file")), None, 2, "is not a directory"),
        (here(src), far(&base.join("no/such")), None, 2, "does not exist"),
        (here(src), far(src), None, 2, "same directory"),
        (far(src), here(src), None, 2, "same directory"),
        (here(src), far(&src.join("new")), None, 2, "inside the source"),
        (far(src), far(&src.join("sub")), None, 2, "inside the source"),
        (far(&src.join("sub")), here(src), None, 2, "inside the destination"),
        (here(src), far(dst), Some(dst.join("kept")), 2, "lies inside the destination"),
        (far(src), far(dst), Some(src.join("kept")), 2, "lies inside the source"),
        (here(src), far(dst), Some("/proc".into()), 2, "file system of the destination"),
        (here(src), pod, None, 1, "in a pod, where this cannot be done yet"),
    ] {
        let run = start(&server, &call, &source, &dest);
        let run = match &more {
            Some(dir) => run.arg("--backup-dir").arg(dir),
            None => run,
        };
        let ran = ended(run);
        assert_eq!(ran.status, status, "{source} to {dest} {more:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{source} to {dest} {more:?}: {}", ran.stderr);
        assert_eq!(state(base), before, "{source} to {dest} {more:?}");
    }
    nothing_left(&server);
}

#[test]
fn a_plan_that_cannot_ask_says_so() {
    // Without them no program runs from memory, and a plan puts no file anywhere.
    let hide = "for f in /usr/bin/python3* /usr/bin/python /usr/bin/perl* /usr/local/bin/python3*; do \
                [ ! -f \"$f\" ] || mount --bind /dev/null \"$f\"; done";
    let Some(server) = Sshd::with(Setup { mounts: vec![hide], ..Setup::default() }) else { return };
    let pair = Pair::new();
    furnish(&pair.src);
    fs::remove_dir(&pair.dst).unwrap();
    let call = call(&server);
    for (from, to) in [(false, true), (true, false)] {
        let run = start(&server, &call, &place(from, &pair.src), &place(to, &pair.dst));
        let plan = run.clone().arg("--plan").stdout_has("only after the run").stdout_has("puts no file").run();
        assert!(!pair.dst.exists() && !plan.stdout.contains("forecast"), "{}", plan.stdout);
        run.run();
        assert_same(&pair.src, &pair.dst);
        fs::remove_dir_all(&pair.dst).unwrap();
    }
}

#[test]
fn a_run_that_is_given_up_leaves_no_mark_there() {
    let Some(mut server) = Sshd::start() else { return };
    let pair = Pair::new();
    write(pair.src.join("x"), "x");
    let call = call(&server);
    let marked = || pair.dst.join(".decamp-run").exists();
    let failed = || {
        let run = start(&server, &call, &place(false, &pair.src), &place(true, &pair.dst));
        run.args(["--verify", "none", "--freeze", "false"]).status(1).run();
        assert!(marked());
        run_id(&call)
    };
    call.again().args(["abandon", &failed(), "--yes"]).stdout_has("its targets are free").run();
    assert!(!marked() && pair.dst.join("x").exists());
    nothing_left(&server);
    let id = failed();
    server.end();
    let ran = ended(call.again().args(["abandon", &id, "--yes"]));
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    for words in ["is abandoned", "was not removed", "remove it by hand"] {
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    assert!(marked());
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_eq!(runs["runs"][0]["status"], "abandoned", "{runs}");
}

#[test]
fn by_sudo_what_belongs_to_others_is_kept() {
    let Some(server) = Sshd::start() else { return };
    let pair = Pair::new();
    write(pair.src.join("theirs"), "x");
    std::os::unix::fs::chown(pair.src.join("theirs"), Some(60102), Some(60103)).unwrap();
    fs::remove_dir(&pair.dst).unwrap();
    fs::set_permissions(pair.base.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let call = call(&server);
    let there = format!("ssh://ada-peer{}", pair.dst.display());
    let run = start(&server, &call, &place(false, &pair.src), &there);
    run.clone().status(2).stderr_has("--accept owner").run();
    assert!(!pair.dst.exists());
    run.arg("--sudo").stderr_has("by sudo").run();
    assert_same(&pair.src, &pair.dst);
    nothing_left(&server);
}
