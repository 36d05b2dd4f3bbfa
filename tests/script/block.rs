//! `block::copy` in a run: killed at every boundary of the journal and in the middle of the work, planned, repeated.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::support::{run, run_id, script};
use crate::support::env::Decamp;
use crate::support::rng::Rng;

const MIB: usize = 1 << 20;

/// An image of so many MiB, a third of it holes.
fn image(call: &Decamp, mib: usize) -> Vec<u8> {
    let mut rng = Rng::new(5);
    let mut held = vec![0; mib * MIB];
    for extent in (0..mib).filter(|extent| extent % 3 != 1) {
        held[extent * MIB..][..MIB].copy_from_slice(&rng.bytes(MIB));
    }
    fs::write(call.dir().join("source"), &held).unwrap();
    held
}

const COPY: &str = r#"step("copy", || block::copy("source", "target", #{ create: true }))"#;

#[test]
fn a_kill_at_every_boundary_ends_in_a_whole_copy() {
    let mut killed = 0;
    for at in 1.. {
        let call = script(COPY);
        let held = image(&call, 5);
        let first = run(&call).env("DECAMP_CRASH_AT", at.to_string()).spawn().wait();
        if first.status == 0 {
            break;
        }
        assert_eq!(first.status, 137, "{}", first.stderr);
        killed += 1;
        // Before the run is on record there is nothing to resume.
        let runs = call.again().args(["runs", "--output", "json"]).run().json();
        let again = match runs["runs"].as_array().and_then(|runs| runs.first()) {
            // Killed behind its last word, it has succeeded.
            Some(over) if over["status"] == "succeeded" => run(&call).args(["--plan"]).spawn().wait(),
            Some(_) => call.again().args(["resume", &run_id(&call)]).spawn().wait(),
            None => run(&call).spawn().wait(),
        };
        assert_eq!(again.status, 0, "killed at {at}: {}", again.stderr);
        assert!(fs::read(call.dir().join("target")).unwrap() == held, "killed at {at}");
    }
    assert!(killed > 10, "{killed}");
}

#[test]
fn killed_in_the_middle_it_goes_on_and_sends_no_more_than_is_missing() {
    let call = script(
        r#"let report = step("copy", || block::copy("source", "target", #{ create: true, max_rate: "20MiB" }));
           note("report", report);"#,
    );
    let held = image(&call, 48);
    let first = run(&call).spawn().kill_after(Duration::from_millis(1500));
    assert_eq!(first.status, 137, "{}", first.stderr);
    let ran = call.again().args(["resume", &run_id(&call), "--output", "json"]).spawn().wait();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(fs::read(call.dir().join("target")).unwrap() == held);
    let shown = call.again().args(["show", &run_id(&call), "--output", "json"]).run().json().to_string();
    let number = |name: &str| -> u64 {
        let at = shown.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {shown}"));
        let digits = shown[at + name.len() + 3..].trim_start();
        digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
    };
    // What an attempt before had written was in the books, or was found on the target.
    assert!(number("already") + number("found") > 0 && number("sent") < 32, "{shown}");
    assert_eq!(number("sent") + number("zero") + number("same") + number("already"), 48, "{shown}");
}

#[test]
fn a_plan_writes_nothing_and_says_how_much() {
    let call = script(COPY);
    image(&call, 3);
    let plan = call.again().args(["run", "./s.rhai", "--plan"]).run();
    assert!(plan.stdout.contains("3.00 MiB to copy"), "{}", plan.stdout);
    assert!(!call.dir().join("target").exists());
}

#[test]
fn a_later_step_of_the_run_sends_what_changed_and_refuses_a_stranger() {
    let call = script(
        r#"let pair = fact("pair", || block::pair("source", "target"));
           step("copy", || block::copy("source", "target", #{ expect: pair }));
           step("change", || host::local().exec(["sh", "-c", "printf x | dd of=source bs=1 seek=70000 conv=notrunc"]));
           let again = step("again", || block::copy("source", "target", #{ expect: pair }));
           if again.sent != 1 || again.raw_bytes != 65536 || again.target_read { throw `${again}`; }
           let seen = block::compare("source", "target");
           if !seen.equal || seen.left_digest != again.digest { throw `${seen}`; }
           step("swap", || host::local().exec(["mv", "target", "other"]));
           step("lost", || host::local().exec(["cp", "other", "target"]));
           step("stranger", || block::copy("source", "target", #{ expect: pair, overwrite: true }));"#,
    );
    let mut held = image(&call, 4);
    fs::File::create(call.dir().join("target")).unwrap().set_len(4 * MIB as u64).unwrap();
    let ran = run(&call).spawn().wait();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("is not the target it was"), "{}", ran.stderr);
    held[70_000] = b'x';
    assert!(fs::read(call.dir().join("other")).unwrap() == held);
    let mut first = [0; 4096];
    fs::File::open(call.dir().join("source")).unwrap().read_exact_at(&mut first, 0).unwrap();
    assert!(first == held[..4096]);
}

#[test]
fn two_runs_do_not_share_a_target() {
    let call = script(COPY);
    image(&call, 5);
    // The first run ends in the middle and holds its target.
    let first = run(&call).env("DECAMP_CRASH_AT", "40").spawn().wait();
    assert_eq!(first.status, 137, "{}", first.stderr);
    let second = run(&call).spawn().wait();
    assert_eq!(second.status, 6, "{}", second.stderr);
    assert!(second.stderr.contains("decamp resume"), "{}", second.stderr);
}
