//! System calls per file where each costs a little: on a local file system.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::homes::{self, ALL_FILES};
use crate::support::check::assert_same;
use crate::support::env::{Decamp, program};
use crate::support::skip::skipped;
use crate::support::volume::{FileSystem, Volume};

/// What the passes are, in the order of the columns below.
const PASSES: [&str; 3] = ["first copy", "nothing changed", "one in a hundred changed"];

/// Calls per file in each pass: what the engine needs today. It may need less; a new call per file has to be entered here.
#[rustfmt::skip]
const BUDGET: [(&str, [f64; 3]); 24] = [
    ("openat",     [2.070, 0.045, 0.065]),
    ("close",      [2.075, 0.050, 0.070]),
    // Directories of the destination whose names are known are not listed.
    ("getdents64", [0.070, 0.036, 0.036]),
    // One of them, and of links the reading, is the look before the copy that a tree of this size gets.
    ("statx",      [2.150, 0.040, 0.060]),
    // What is no directory is asked by the cheaper call where it can be.
    ("newfstatat", [0.036, 2.095, 2.095]),
    // Files that are open are asked by the cheaper call.
    ("fstat",      [2.030, 0.008, 0.050]),
    ("pread64",    [1.001, 0.001, 0.011]),
    ("pwrite64",   [1.001, 0.001, 0.011]),
    ("fchown",     [1.017, 0.001, 0.011]),
    ("fchmod",     [0.029, 0.001, 0.003]),
    ("utimensat",  [1.035, 0.002, 0.022]),
    ("flistxattr", [1.018, 0.001, 0.042]),
    ("llistxattr", [0.017, 0.022, 0.015]),
    ("fgetxattr",  [0.015, 0.003, 0.015]),
    ("lgetxattr",  [0.001, 0.001, 0.001]),
    ("fsetxattr",  [0.013, 0.001, 0.001]),
    ("mkdirat",    [0.018, 0.001, 0.001]),
    ("symlinkat",  [0.017, 0.000, 0.000]),
    ("linkat",     [0.011, 0.001, 0.001]),
    ("readlinkat", [0.034, 0.000, 0.000]),
    ("fchownat",   [0.017, 0.000, 0.000]),
    ("renameat",   [0.001, 0.001, 0.011]),
    ("unlinkat",   [0.002, 0.002, 0.004]),
    ("read",       [0.010, 0.010, 0.010]),
];

/// Calls per file of all kinds that are not named above, together: the start of the program, and what each worker asks
/// once of a file system.
const OTHERS: f64 = 0.06;

/// A kind may go over its budget by so much: workers meet in different orders.
const SLACK: f64 = 1.03;

/// Calls of threads and of memory, and what a worker does as it starts: their number hangs on how many workers there were
/// and how they met.
const UNCOUNTED: [&str; 24] = [
    "brk",
    "clock_nanosleep",
    "clone3",
    "exit",
    "exit_group",
    "futex",
    "getrandom",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "umask",
    "unshare",
];

/// Calls by kind.
type Calls = BTreeMap<String, u64>;

/// Runs the program under `strace` and counts its calls, those of all its threads together.
fn counted(call: &Decamp, src: &Path, dst: &Path) -> Calls {
    let summary = call.dir().join("calls");
    let strace = ["-f", "-qq", "--summary-only", "--summary-columns=calls,name", "-o"];
    let traced = call.again().program("strace").args(strace).arg(&summary).arg(program());
    traced.arg("copy").args([src, dst]).run();
    let text = fs::read_to_string(summary).unwrap();
    let mut calls: Calls = text.lines().filter_map(line).collect();
    assert!(calls.contains_key("execve"), "no summary of strace: {text}");
    // The standard library looks at a descriptor before it closes it, in debug builds only.
    let closes = calls.get("close").copied().unwrap_or(0);
    calls.entry("fcntl".into()).and_modify(|times| *times = times.saturating_sub(closes));
    calls.retain(|name, _| !UNCOUNTED.contains(&&**name));
    calls
}

/// A line of the summary: how often, and what.
fn line(line: &str) -> Option<(String, u64)> {
    let (times, name) = line.trim().split_once(char::is_whitespace)?;
    let name = name.trim();
    (name != "total").then_some((name.to_owned(), times.parse().ok()?))
}

/// Whether programs can be traced here.
fn can_trace() -> bool {
    match Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output() {
        Ok(out) if out.status.success() => true,
        Ok(out) => {
            skipped(&format!("no strace: {}", String::from_utf8_lossy(&out.stderr)));
            false
        }
        Err(error) => {
            skipped(&format!("no strace: {error}"));
            false
        }
    }
}

fn per_file(times: u64) -> f64 {
    times as f64 / f64::from(ALL_FILES)
}

/// Every kind with what it took and what it may take, and whether one of them took more.
fn judged(calls: &Calls, pass: usize) -> (String, bool) {
    let (mut text, mut over) = (format!("{:<16} {:>8} {:>8}\n", "per file", "found", "budget"), false);
    let mut judge = |name: &str, found: f64, most: f64, slack: f64| {
        let bad = found > most * slack;
        over |= bad;
        writeln!(text, "{name:<16} {found:>8.3} {most:>8.3}{}", if bad { "  <<<" } else { "" }).unwrap();
    };
    for (name, most) in &BUDGET {
        judge(name, per_file(calls.get(*name).copied().unwrap_or(0)), most[pass], SLACK);
    }
    let others = || calls.iter().filter(|(name, _)| BUDGET.iter().all(|(known, _)| known != name));
    judge("others", per_file(others().map(|(_, times)| times).sum()), OTHERS, 1.0);
    for (name, times) in others().filter(|(_, times)| **times > 9) {
        writeln!(text, "  {name:<14} {:>8.3}", per_file(*times)).unwrap();
    }
    (text, over)
}

#[test]
fn system_calls_per_file_stay_within_the_budget() {
    if !can_trace() {
        return;
    }
    // The same file system on every machine: what a call answers decides which one comes next.
    let Some(volume) = Volume::new(FileSystem::Tmpfs, 128) else { return };
    let call = Decamp::new();
    let (src, dst) = (volume.path().join("src"), volume.path().join("dst"));
    homes::grow(&src);
    let mut complaints = String::new();
    for (pass, what) in PASSES.into_iter().enumerate() {
        if pass == 2 {
            homes::change_some(&src);
        }
        homes::settle();
        let calls = counted(&call, &src, &dst);
        assert_same(&src, &dst);
        let (table, over) = judged(&calls, pass);
        // Seen even when the test passes.
        writeln!(io::stderr(), "{what}: {:.3} system calls per file", per_file(calls.values().sum())).ok();
        if over {
            write!(complaints, "\n{what}:\n{table}").unwrap();
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}
