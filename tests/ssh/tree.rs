//! Trees of other machines, by hand and through scripts: real servers.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use super::block::{Cut, at, call, cut, host, nothing_left, result, run};
use super::support::until;
use crate::copy::kit::{Pair, furnish, state, write};
use crate::support::check::assert_same;
use crate::support::env::Decamp;
use crate::support::ssh::Sshd;

fn seed(dir: &Path) {
    furnish(dir);
    write(dir.join("large"), (0..5 << 20).map(|at: u32| (at / 3) as u8).collect::<Vec<_>>());
    for number in 0..200 {
        write(dir.join(format!("many/{}/{number}", number % 7)), format!("{number} ").repeat(number));
    }
}

/// A call by hand that knows the server.
fn by_hand(server: &Sshd) -> Decamp {
    Decamp::new().env("XDG_RUNTIME_DIR", server.dir())
}

fn there(path: &Path) -> String {
    format!("ssh://peer{}", path.display())
}

#[test]
fn a_configuration_is_looked_for_here_and_missed_if_it_is_not_there() {
    let Some(server) = Sshd::start() else { return };
    let decamp = by_hand(&server);
    let pair = Pair::new();
    write(pair.src.join("file"), "here");
    fs::copy(server.config(), decamp.dir().join("some.conf")).unwrap();
    let copy =
        |config: &str| decamp.again().arg("copy").arg(&pair.src).arg(there(&pair.dst)).args(["--ssh-config", config]);
    copy("none.conf").status(1).stderr_has("cannot read `none.conf`").run();
    assert_eq!(fs::read_dir(&pair.dst).unwrap().count(), 0);
    copy("some.conf").stderr_has("decamp-agent runs there").run();
    assert_same(&pair.src, &pair.dst);
}

#[test]
fn a_tree_is_copied_by_hand_between_any_two_places() {
    let Some(server) = Sshd::start() else { return };
    let config = server.config().display().to_string();
    let decamp = by_hand(&server);
    let with = |words: &[&str]| decamp.again().args(words).args(["--ssh-config", &config]);
    for (from, to) in [(true, false), (false, true), (true, true)] {
        let pair = Pair::new();
        seed(&pair.src);
        fs::remove_dir(&pair.dst).unwrap();
        let name = |far: bool, path: &Path| if far { there(path) } else { path.display().to_string() };
        let (src, dst) = (name(from, &pair.src), name(to, &pair.dst));
        // A plan makes nothing; it needs python or perl there.
        with(&["copy", &src, &dst, "--dry-run"]).stderr_has("in memory").run();
        assert!(!pair.dst.exists());
        with(&["copy", &src, &dst]).stderr_has("decamp-agent runs there").run();
        assert_same(&pair.src, &pair.dst);
        let told = with(&["compare", &src, &dst, "--output", "json"]).run().json();
        assert_eq!(told["differences"], json!(0), "{told}");
        write(pair.src.join("plain"), "something else");
        fs::remove_file(pair.src.join("many/0/0")).unwrap();
        with(&["compare", &src, &dst]).status(12).run();
        with(&["copy", &src, &dst, "--delete"]).run();
        assert_same(&pair.src, &pair.dst);
        let [left, right] =
            [&src, &dst].map(|root| with(&["scan", root, "--content", "--output", "json"]).run().json());
        assert_eq!(left["digest"], right["digest"]);
        assert!(!pair.dst.join(".decamp-run").exists());
    }
    nothing_left(&server);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let Some(server) = Sshd::start() else { return };
    let config = server.config().display().to_string();
    let pair = Pair::new();
    write(pair.src.join("x"), "x");
    let decamp = by_hand(&server);
    let with = |words: &[&str]| decamp.again().args(words).args(["--ssh-config", &config]);
    let (src, none) = (pair.src.display().to_string(), there(&pair.base.path().join("none")));
    let dst = pair.dst.display().to_string();
    with(&["copy", &none, &dst]).status(2).stderr_has(&none).run();
    // The same directory under two names, and one inside the other.
    with(&["copy", &src, &there(&pair.src)]).status(2).run();
    with(&["copy", &there(&pair.src), &there(&pair.src.join("in"))]).status(2).run();
    with(&["copy", &src, "pod://a/b/c"]).status(1).stderr_has("pod").run();
    assert_eq!(fs::read_dir(&pair.src).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&pair.dst).unwrap().count(), 0);
    nothing_left(&server);
}

const COPY: &str = r#"let ids = copy::roots(src, dst);
    step("root", || copy::root(dst));
    let report = step("copy", || copy::tree(src, dst, #{ delete: true, max_delete: "100%", OPTS }));
    let same = copy::compare(src, dst);
    #{ report: report, equal: same.equal, left: same.left.digest, right: same.right.digest }"#;

fn body(src: &str, dst: &str, opts: &str) -> String {
    format!("let src = {src};\nlet dst = {dst};\n{}", COPY.replace("OPTS", opts))
}

#[test]
fn a_run_copies_plans_and_is_undone_between_any_two_places() {
    let (Some(one), Some(two)) = (Sshd::cloud(), Sshd::cloud()) else { return };
    let hosts = host("a", &one, "") + &host("b", &two, "");
    let here = |path: &Path| format!("\"{}\"", path.display());
    for way in 0..3 {
        let pair = Pair::new();
        seed(&pair.src);
        write(pair.dst.join("dir/sub/own"), "of before");
        let backup = pair.base.path().join("backup");
        let (src, dst) = match way {
            0 => (at("a", &pair.src), here(&pair.dst)),
            1 => (here(&pair.src), at("b", &pair.dst)),
            _ => (at("a", &pair.src), at("b", &pair.dst)),
        };
        let before = state(&pair.dst);
        let call = call(&one, &hosts, &body(&src, &dst, &format!("backup_dir: \"{}\"", backup.display())));
        call.again().args(["run", "./s.rhai", "--plan"]).stdout_has("copy::tree").run();
        assert_eq!(state(&pair.dst), before, "a plan changed something");
        let seen = result(&run(&call).run());
        let runs = call.again().args(["runs", "--output", "json"]).run().json();
        let id = runs["runs"][0]["id"].as_str().unwrap().to_owned();
        assert_same(&pair.src, &pair.dst);
        assert_eq!((&seen["equal"], &seen["left"]), (&json!(true), &seen["right"]), "{seen}");
        assert_eq!(seen["report"]["failed"], 0, "{seen}");
        assert!(!pair.dst.join(".decamp-run").exists());
        let ran = call.again().args(["undo", &id, "--yes"]).run();
        assert_eq!(state(&pair.dst), before, "{}{}", ran.stdout, ran.stderr);
        assert!(!pair.dst.join(".decamp-run").exists());
        for server in [&one, &two] {
            nothing_left(server);
        }
    }
}

fn cut_and_resume(how: Cut, to: bool) {
    let Some(server) = Sshd::cloud() else { return };
    let pair = Pair::new();
    furnish(&pair.src);
    for number in 0..24u8 {
        write(
            pair.src.join(format!("much/{number}")),
            (0..400_000u32).map(|at| (at as u8) ^ number).collect::<Vec<_>>(),
        );
    }
    let hosts = host("b", &server, "keepalive: 2");
    let far = |path: &Path| at("b", path);
    let here = |path: &Path| format!("\"{}\"", path.display());
    let (src, dst) = if to { (here(&pair.src), far(&pair.dst)) } else { (far(&pair.src), here(&pair.dst)) };
    let call = call(&server, &hosts, &body(&src, &dst, "max_rate: \"1536KiB\""));
    let running = run(&call).spawn();
    let arrived = || fs::read_dir(pair.dst.join("much")).map_or(0, Iterator::count);
    until("some have come", || arrived() > 4);
    cut(how, &server, &running);
    let ran = running.wait();
    if how != Cut::Decamp {
        assert_ne!(ran.status, 0, "{how:?}: {}", ran.stderr);
    }
    if how == Cut::Link {
        server.link(true);
    }
    // What is there under its own name is whole.
    for entry in fs::read_dir(pair.dst.join("much")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().starts_with(".decamp-tmp-") {
            let content = fs::read(entry.path()).unwrap();
            let whole = fs::read(pair.src.join("much").join(entry.file_name())).unwrap();
            assert!(whole.starts_with(&content), "{:?}", entry.path());
        }
    }
    let text = fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("1536KiB", "3GiB");
    let resumed = call.again().file("s.rhai", text).args(["resume", "--yes", "--output", "json"]).run();
    let seen = &resumed.json()["result"];
    assert_eq!((&seen["equal"], &seen["report"]["failed"]), (&json!(true), &json!(0)), "{how:?}: {seen}");
    assert!(seen["report"]["unchanged"].as_u64().unwrap() > 0, "{how:?}: {seen}");
    assert_same(&pair.src, &pair.dst);
    assert!(!pair.dst.join(".decamp-run").exists());
    nothing_left(&server);
}

#[test]
fn a_tree_goes_on_after_decamp_was_killed() {
    cut_and_resume(Cut::Decamp, true);
    cut_and_resume(Cut::Decamp, false);
}

#[test]
fn a_tree_goes_on_after_the_agent_was_killed() {
    cut_and_resume(Cut::Agent, true);
    cut_and_resume(Cut::Agent, false);
}

#[test]
fn a_tree_goes_on_after_the_connection_was_killed() {
    cut_and_resume(Cut::Sshd, true);
}

#[test]
fn a_tree_goes_on_after_the_link_was_down() {
    cut_and_resume(Cut::Link, true);
}

#[test]
fn a_destination_that_another_run_has_is_refused_there() {
    let Some(server) = Sshd::start() else { return };
    let pair = Pair::new();
    write(pair.src.join("x"), vec![1; 4 << 20]);
    let hosts = host("b", &server, "");
    let text = body(&format!("\"{}\"", pair.src.display()), &at("b", &pair.dst), "max_rate: \"500KiB\"");
    let call_one = call(&server, &hosts, &text);
    let running = run(&call_one).spawn();
    until("it has begun", || pair.dst.join("x").exists());
    let other = run(&call(&server, &hosts, &text)).status(6).run();
    assert!(other.stdout.contains("conflict") || other.stderr.contains("run"), "{}", other.stderr);
    running.signal(Signal::INT);
    running.wait();
}
