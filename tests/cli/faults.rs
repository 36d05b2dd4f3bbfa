//! The program on a failing file system: the exit code says what the report says, and the next call makes it whole.

use std::fs;
use std::time::Duration;

use rustix::io::Errno;

use crate::support::check::Check;
use crate::support::env::Decamp;
use crate::support::faults::{Fail, Faulty, Op};

/// A source of three files, and a failing file system over it or over an empty destination.
fn world(over_source: bool) -> Option<(Decamp, Faulty, [String; 2])> {
    let call = Decamp::new().file("src/a", vec![7; 300_000]).file("src/sub/b", "b").file("src/c", "c");
    let (src, dst) = (call.dir().join("src"), call.dir().join("dst"));
    fs::create_dir(&dst).unwrap();
    let faulty = Faulty::over(if over_source { &src } else { &dst })?;
    let through = faulty.path().to_owned();
    let pair = if over_source { [through, dst] } else { [src, through] };
    Some((call, faulty, pair.map(|path| path.to_str().unwrap().to_owned())))
}

#[test]
fn every_fault_ends_in_a_truthful_exit_code() {
    let faults: [(bool, Fail, &[i32], &str); 7] = [
        (true, Fail::new(Op::Read, Errno::IO).on("a"), &[13], "a"),
        (true, Fail::new(Op::Getattr, Errno::STALE).on("b"), &[13], "b"),
        (true, Fail::new(Op::Opendir, Errno::ACCESS).on("sub"), &[13], "sub"),
        (true, Fail::new(Op::Readdir, Errno::STALE).on("sub"), &[13], "sub"),
        (false, Fail::new(Op::Write, Errno::IO).on("a"), &[13], "a"),
        (false, Fail::new(Op::Write, Errno::NOSPC).on("a"), &[1], "no space"),
        (false, Fail::new(Op::Create, Errno::IO).on("b"), &[13], "b"),
    ];
    for (over_source, fail, codes, words) in faults {
        let Some((call, faulty, [src, dst])) = world(over_source) else { return };
        let shown = format!("{fail:?}");
        faulty.fail(fail);
        // What cannot be read while it is counted is met again while it is copied.
        let ran = call.again().args(["copy", &src, &dst]).spawn().wait();
        assert!(faulty.hits() > 0, "{shown}: not met");
        assert!(codes.contains(&ran.status), "{shown}: {} {}{}", ran.status, ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(words) || ran.stdout.contains(words), "{shown}: {}{}", ran.stdout, ran.stderr);
        faulty.clear();
        call.again().args(["copy", &src, &dst]).run();
        call.again().args(["compare", &src, &dst]).run();
        Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    }
}

#[test]
fn slow_and_short_calls_are_no_failure() {
    for over_source in [true, false] {
        let Some((call, faulty, [src, dst])) = world(over_source) else { return };
        faulty.set(|faults| {
            faults.delay = Duration::from_millis(3);
            faults.short_read = Some(1_000);
            faults.short_write = Some(700);
        });
        call.again().args(["copy", &src, &dst]).run();
        Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    }
}

#[test]
fn a_migration_stops_at_a_fault_and_goes_on_without_it() {
    let Some((call, faulty, [src, dst])) = world(true) else { return };
    faulty.fail(Fail::new(Op::Read, Errno::IO).on("a"));
    let run = call.again().args(["run", "move-tree", "--source", &src, "--dest", &dst, "--cutover", "touch moved"]);
    run.status(13).stderr_has("a").stderr_has("decamp resume").run();
    assert!(!call.dir().join("moved").exists());
    faulty.clear();
    call.again().arg("resume").run();
    assert!(call.dir().join("moved").exists());
    Check::new().assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}
