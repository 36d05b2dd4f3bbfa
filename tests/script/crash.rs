//! kill -9 at every journal boundary of move-tree, and at random moments of a big copy: resuming ends in the state of
//! an uninterrupted run, and every command ran once or is asked about.
//!
//! The world is the smallest that reaches every boundary: a tree of some thirty entries with all their oddities, a
//! destination that already holds entries to replace, delete and keep, a backup directory, and the three commands.

mod far;
mod pairs;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::check::{Check, Snapshot};
use crate::support::dress;
use crate::support::env::{Decamp, Ran};
use crate::support::tree::Recipe;

const COMMANDS: [&str; 3] = ["freeze", "thaw", "cutover"];

/// A small tree with a bit of everything.
fn grow(src: &Path) {
    for dir in ["", "home", "home/.cache", "empty", "home/deep/er"] {
        std::fs::create_dir_all(src.join(dir)).unwrap();
    }
    for (name, text) in
        [("shared", "new content"), ("home/a", "a"), ("home/.cache/b", "bb"), ("home/deep/er/c", "ccc"), ("none", "")]
    {
        std::fs::write(src.join(name), text).unwrap();
    }
    for name in [&b"not \xff utf8"[..], b"new\nline", b"sp ace", b"back\\slash"] {
        std::fs::write(src.join(OsStr::from_bytes(name)), name).unwrap();
    }
    std::fs::hard_link(src.join("home/a"), src.join("empty/../linked")).unwrap();
    std::fs::hard_link(src.join("home/a"), src.join("home/deep/linked too")).unwrap();
    std::os::unix::fs::symlink("../nowhere", src.join("home/dangling")).unwrap();
    std::os::unix::fs::symlink("/etc", src.join("absolute")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, src.join("fifo"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    let sparse = std::fs::File::create(src.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 1 << 20).unwrap();
    dress::xattr(&src.join("home/a"), "user.tag", b"v");
    dress::mode(&src.join("home"), 0o2750);
    dress::stamp(&src.join("home/.cache/b"), -5, 7);
    dress::stamp(&src.join("home"), 1_000_000_000, 123_456_789);
}

/// A fresh world: source, destination, backup, all in the working directory of the call.
fn world() -> Decamp {
    let call = Decamp::new();
    let (src, dst) = (call.dir().join("src"), call.dir().join("dst"));
    std::fs::create_dir(&src).unwrap();
    grow(&src);
    std::fs::create_dir(&dst).unwrap();
    for (name, text) in [("shared", "old content"), ("extra", "not in the source"), ("lost/deep", "below")] {
        let path = dst.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    std::fs::create_dir(call.dir().join("backup")).unwrap();
    call
}

fn command(name: &str) -> String {
    format!("sh -c 'echo {name} >> log'")
}

/// `decamp run move-tree` in a world; with `cutover` the run passes its pivot.
fn start(call: &Decamp, cutover: bool) -> Decamp {
    between(call, "src", "dst", cutover)
}

/// The same with other words for the source and the destination of the world.
fn between(call: &Decamp, source: &str, dest: &str, cutover: bool) -> Decamp {
    let mut run = call.again().args([
        "run",
        "move-tree",
        "--source",
        source,
        "--dest",
        dest,
        "--backup-dir",
        "backup",
        "--max-delete",
        "100%",
        "--jobs",
        "2",
        "--freeze",
        &command("freeze"),
        "--thaw",
        &command("thaw"),
    ]);
    if cutover {
        run = run.args(["--cutover", &command("cutover")]);
    }
    run
}

fn finished(call: Decamp) -> Ran {
    call.spawn().wait()
}

/// How often each command ran.
fn ran(call: &Decamp) -> BTreeMap<String, usize> {
    let log = std::fs::read_to_string(call.dir().join("log")).unwrap_or_default();
    let mut counts: BTreeMap<String, usize> = COMMANDS.iter().map(|name| ((*name).to_owned(), 0)).collect();
    for line in log.lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

/// Every file below `dir` and its content.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let own = path.strip_prefix(dir).unwrap().to_owned();
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path);
            } else {
                // A FIFO has nothing to read, and a reader would wait.
                let text =
                    if path.symlink_metadata().unwrap().is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
                found.insert(own, text);
            }
        }
    }
    found
}

/// The points an uninterrupted call passes.
fn points(call: &Decamp, run: &Decamp) -> Vec<String> {
    let file = call.dir().join("../points");
    let ran = finished(run.clone().env("DECAMP_CRASH_COUNT", &file));
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// Answers what is in doubt by looking at what the command did.
fn decide(call: &Decamp, asked: &Ran) {
    let Some((_, decide)) = asked.stderr.lines().find_map(|line| line.split_once("decamp decide ")) else {
        // The command outlives the program for a moment, and nothing is asked before it has ended.
        assert!(asked.stderr.contains("still runs"), "{}", asked.stderr);
        return std::thread::sleep(Duration::from_millis(20));
    };
    let words: Vec<&str> = decide.split_whitespace().collect();
    let step = words[1].trim_matches('\'');
    let name = if step.starts_with("release") || step.starts_with("undo:") { "thaw" } else { step };
    let answer = if ran(call)[name] > 0 { "happened" } else { "retry" };
    let decided = finished(call.again().args(["decide", words[0], step, answer]));
    assert_eq!(decided.status, 0, "{}", decided.stderr);
}

/// Resumes until the run is over, answering what is in doubt by looking at what the command did.
fn go_on(call: &Decamp, again: &Decamp, probes: bool) -> Result<bool, String> {
    let mut asked = false;
    for _ in 0..60 {
        let resume = call.again().arg("resume");
        let resume = if probes { resume } else { resume.env("DECAMP_NO_PROBE", "1") };
        let ran_again = finished(resume);
        match ran_again.status {
            0 => return Ok(asked),
            7 => {
                asked = true;
                decide(call, &ran_again);
            }
            // Killed after the run was recorded as over, or before it was recorded at all.
            2 if finished(call.again().args(["runs", "--output", "json"])).stdout.contains("succeeded") => {
                return Ok(asked);
            }
            2 if finished(call.again().args(["runs", "--output", "json"])).stdout.contains("\"runs\": []") => {
                let first = finished(again.clone());
                return if first.status == 0 {
                    Ok(asked)
                } else {
                    Err(format!("the run after it: {} {}", first.status, first.stderr))
                };
            }
            code => return Err(format!("resume ended with {code}: {}", ran_again.stderr)),
        }
    }
    Err("resume does not come to an end".into())
}

/// What is wrong with the end state of a whole run.
fn wrong(call: &Decamp, backup: &BTreeMap<PathBuf, Vec<u8>>, cutover: bool) -> Vec<String> {
    let dir = call.dir();
    let mut wrong: Vec<String> = Check::new()
        .differences(&dir.join("src"), &dir.join("dst"))
        .iter()
        .map(|difference| format!("{difference:?}"))
        .collect();
    if contents(&dir.join("backup")) != *backup {
        wrong.push(format!("the backup holds {:?}", contents(&dir.join("backup")).keys()));
    }
    let expected = [("freeze", 1), ("thaw", 0), ("cutover", usize::from(cutover))];
    wrong.extend(
        expected
            .iter()
            .filter(|(name, times)| ran(call)[*name] != *times)
            .map(|(name, times)| format!("{name} ran {} times, not {times}", ran(call)[*name])),
    );
    wrong
}

/// Does `work` for every point, some at a time, and gathers what is wrong.
pub(super) fn each_point(count: usize, work: impl Fn(usize) -> Vec<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(1), Mutex::new(Vec::new()));
    // Programs that start and end wait a good part of their time.
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 3 / 2;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at > count {
                        break;
                    }
                    let wrong = work(at);
                    found.lock().unwrap().extend(wrong.into_iter().map(|what| format!("point {at}: {what}")));
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn a_kill_at_every_boundary_ends_as_an_uninterrupted_run() {
    let reference = world();
    let names = points(&reference, &start(&reference, true));
    let backup = contents(&reference.dir().join("backup"));
    assert_eq!(wrong(&reference, &backup, true), Vec::<String>::new());
    assert!(backup.len() >= 3, "the backup holds {:?}", backup.keys());
    let asked = AtomicUsize::new(0);
    let found = each_point(names.len(), |at| {
        let call = world();
        let killed = finished(start(&call, true).env("DECAMP_CRASH_AT", at.to_string()));
        if killed.status != 137 {
            // The number of points depends on how the work falls on the workers.
            return if killed.status == 0 {
                wrong(&call, &backup, true)
            } else {
                vec![format!("not killed: {}", killed.stderr)]
            };
        }
        match go_on(&call, &start(&call, true), true) {
            Ok(doubt) => {
                asked.fetch_add(usize::from(doubt), Ordering::Relaxed);
                wrong(&call, &backup, true)
            }
            Err(what) => vec![what],
        }
    });
    println!("{} crash points of move-tree, {} of them asked about", names.len(), asked.load(Ordering::Relaxed));
    assert_eq!(found, Vec::<String>::new());
    assert!(names.len() > 40 && asked.load(Ordering::Relaxed) > 0, "{names:?}");
}

#[test]
fn without_the_memory_of_what_is_in_doubt_commands_run_twice() {
    let reference = world();
    let names = points(&reference, &start(&reference, true));
    let acted: Vec<usize> =
        names.iter().enumerate().filter(|(_, name)| *name == "effect.acted").map(|(at, _)| at + 1).collect();
    let twice = each_point(acted.len(), |which| {
        let call = world();
        let killed = finished(start(&call, true).env("DECAMP_CRASH_AT", acted[which - 1].to_string()));
        assert_eq!(killed.status, 137);
        go_on(&call, &start(&call, true), false).unwrap();
        ran(&call).into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name).collect()
    });
    // The test above would not pass with this: both commands are repeated.
    assert_eq!(twice.len(), 2, "{twice:?}");
}

#[test]
fn a_kill_at_every_boundary_of_undo_ends_in_the_former_state() {
    let ready = || {
        let call = world();
        let before = Snapshot::of(&call.dir().join("dst"));
        let ran = finished(start(&call, false));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let id = super::support::run_id(&call);
        (call, before, id)
    };
    let (reference, before, id) = ready();
    let names = points(&reference, &reference.again().args(["undo", &id]));
    let restored = |call: &Decamp, before: &Snapshot| {
        let now = Snapshot::of(&call.dir().join("dst"));
        let mut wrong = Vec::new();
        if contents(&call.dir().join("dst")) != contents(&reference.dir().join("dst")) {
            wrong.push(format!("the destination holds {:?}", contents(&call.dir().join("dst")).keys()));
        }
        if now.len() != before.len() {
            wrong.push(format!("{} entries instead of {}", now.len(), before.len()));
        }
        if !contents(&call.dir().join("backup")).is_empty() {
            wrong.push("the backup is not empty".into());
        }
        wrong
    };
    assert_eq!(restored(&reference, &before), Vec::<String>::new());
    assert_eq!(contents(&reference.dir().join("dst"))[Path::new("shared")], b"old content");
    assert_eq!(ran(&reference)["thaw"], 1);
    let found = each_point(names.len(), |at| {
        let (call, before, id) = ready();
        let killed = finished(call.again().args(["undo", &id]).env("DECAMP_CRASH_AT", at.to_string()));
        if killed.status != 137 {
            return if killed.status == 0 {
                restored(&call, &before)
            } else {
                vec![format!("not killed: {}", killed.stderr)]
            };
        }
        for _ in 0..4 {
            let again = finished(call.again().args(["undo", &id]));
            match again.status {
                0 => return restored(&call, &before),
                2 if again.stderr.contains("undone already") => return restored(&call, &before),
                7 => decide(&call, &again),
                code => return vec![format!("undo ended with {code}: {}{}", again.stdout, again.stderr)],
            }
        }
        vec!["undo does not come to an end".into()]
    });
    println!("{} crash points of undo", names.len());
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn kills_at_random_moments_of_a_big_copy_lose_nothing() {
    let call = Decamp::new();
    let src = call.dir().join("src");
    Recipe::new(11, 6_000).grow(&src);
    // One file large enough to be taken up in its middle.
    let big: Vec<u8> = (0..160u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(src.join("big"), &big).unwrap();
    let run = call.again().args(["run", "move-tree", "--source", "src", "--dest", "dst"]);
    let mut kills = 0;
    let mut last = None;
    for wait in [60, 120, 250, 90, 400, 30, 180, 600_000] {
        let begun = finished(call.again().args(["runs", "--output", "json"])).stdout.contains("\"id\"");
        let next = if begun { call.again().arg("resume") } else { run.clone() };
        let ran = next.spawn().kill_after(Duration::from_millis(wait));
        if ran.status != 137 {
            last = Some(ran);
            break;
        }
        kills += 1;
    }
    let last = last.unwrap();
    assert_eq!(last.status, 0, "{}{}", last.stdout, last.stderr);
    println!("killed {kills} times");
    assert!(kills >= 3);
    Check::new().assert_same(&src, &call.dir().join("dst"));
}
