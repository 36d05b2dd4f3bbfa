//! What goes to which stream, in which form and colour, and what happens when nobody reads it.

use std::process::{Command, Stdio};

use crate::support::env::{Decamp, program};

fn pair() -> Decamp {
    Decamp::new().file("src/a", "one").file("src/d/b", "two")
}

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr() {
    let ran = pair().args(["copy", "src", "dst"]).stdout_has("created").file_is("dst/d/b", "two").run();
    assert!(!ran.stderr.contains("created"), "{}", ran.stderr);
    pair().args(["scan", "nowhere"]).status(2).stdout("").stderr_has("error: `nowhere`").run();
}

#[test]
fn json_is_one_document_with_units_in_its_names() {
    let call = pair();
    let report = call.again().args(["copy", "src", "dst", "--output", "json"]).run().json();
    assert_eq!((&report["schema"], &report["copied_bytes"]), (&1.into(), &6.into()), "{report}");
    assert_eq!(report["created"]["files"], 2);
    assert!(report["elapsed_ms"].is_u64());
    let compared = call.again().args(["--output=json", "compare", "src", "dst"]).run().json();
    assert_eq!((&compared["equal"], &compared["differences"]), (&true.into(), &0.into()), "{compared}");
    assert_eq!(compared["left"]["digest"], compared["right"]["digest"]);
    assert_eq!(compared["left"]["digest"].as_str().unwrap().len(), 64);
    let effort = &report["effort"];
    for name in ["operations", "operations_per_second", "bytes_per_second", "elapsed_ms", "workers", "most_workers"] {
        assert!(effort[name].is_u64(), "{name}: {report}");
    }
    assert!(effort["operations"].as_u64() > Some(10) && effort["held"].is_null(), "{report}");
    let scanned = call.again().args(["scan", "dst", "--content", "--output", "json"]).run().json();
    assert_eq!((&scanned["counts"]["files"], &scanned["bytes"]), (&2.into(), &6.into()), "{scanned}");
}

#[test]
fn json_lines_end_with_the_result() {
    let call = pair();
    let lines = call.again().args(["copy", "src", "dst", "--output", "ndjson"]).stderr("").run().json_lines();
    assert!(lines.iter().all(|line| line["schema"] == 1 && line["event"].is_string()), "{lines:#?}");
    assert_eq!(lines.last().unwrap()["event"], "result");
    assert_eq!(lines.last().unwrap()["result"]["created"]["files"], 2);
    let failed = call.again().args(["copy", "gone", "dst", "--output", "ndjson"]).status(2).run().json_lines();
    assert_eq!(failed.last().unwrap()["event"], "error");
}

#[test]
fn colour_follows_flag_environment_and_terminal() {
    let wrong = || Decamp::new().arg("cpoy").status(2);
    wrong().nowhere("\x1b[").run();
    wrong().args(["--color", "always"]).stderr_has("\x1b[1;31merror:").run();
    wrong().env("CLICOLOR_FORCE", "1").stderr_has("\x1b[1;31merror:").run();
    wrong().env("CLICOLOR_FORCE", "0").nowhere("\x1b[").run();
    wrong().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").nowhere("\x1b[").run();
    wrong().on_terminal().stdout_has("\x1b[1;31merror:").run();
    wrong().on_terminal().env("NO_COLOR", "1").nowhere("\x1b[").run();
    wrong().on_terminal().env("TERM", "dumb").nowhere("\x1b[").run();
    wrong().on_terminal().arg("--color=never").nowhere("\x1b[").run();
}

/// `decamp … | head -1`: the reader goes away, the program ends as if all had been read.
#[test]
fn a_reader_that_goes_away_ends_output_quietly() {
    let call = pair();
    for args in
        [&["--help"][..], &["completions", "zsh"], &["scan", "src"], &["copy", "src", "dst", "--output", "ndjson"]]
    {
        let mut child = Command::new(program());
        child.args(args).current_dir(call.dir()).env("DECAMP_STATE_DIR", call.state());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {:?} {stderr}", output.status);
        assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{args:?}: {stderr}");
    }
    assert_eq!(std::fs::read(call.dir().join("dst/a")).unwrap(), b"one", "the copy itself must not stop");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(program()).arg("--help").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot write to standard output") && stderr.contains("No space left"), "{stderr}");
}

#[test]
fn progress_lines_and_silence() {
    let call = pair();
    let ran = call.again().args(["copy", "src", "dst", "--progress", "none"]).run();
    assert_eq!(ran.stderr, "");
    // Less than a second of work is no reason to talk.
    let ran = call.again().args(["copy", "src", "dst", "--progress", "plain"]).run();
    assert_eq!(ran.stderr, "");
}

/// One file of 4 MiB and a limit: long enough to be told of, and no work for a second worker.
#[test]
fn workers_are_told_while_they_work_and_in_the_report() {
    let call = Decamp::new().file("src/big", (0..4 << 18).flat_map(|n: u32| n.to_le_bytes()).collect::<Vec<u8>>());
    let slow = |dst: &str, more: &[&str]| {
        let call = call.again().args(["copy", "src", dst, "--max-rate", "2MiB"]).args(more.iter().copied());
        call.run()
    };
    let ran = slow("plain", &["--progress", "plain"]);
    assert!(ran.stderr.contains(" operations/s by ") && ran.stderr.contains(" workers"), "{}", ran.stderr);
    assert!(ran.stderr.contains(" workers (no work for more)"), "{}", ran.stderr);
    assert!(ran.stdout.contains("\n  effort  ") && ran.stdout.contains(" operations/s, "), "{}", ran.stdout);
    assert!(ran.stdout.contains(" workers: there was no work for more\n"), "{}", ran.stdout);
    let lines = slow("events", &["--output", "ndjson"]).json_lines();
    let copying = |line: &&serde_json::Value| line["event"] == "progress" && line["phase"] == "copy";
    let told: Vec<_> = lines.iter().filter(copying).collect();
    assert!(told.iter().any(|line| line["held"] == "idle" && line["workers"].as_u64() > Some(1)), "{told:#?}");
    assert!(told.iter().any(|line| line["operations_per_second"].as_u64() > Some(5)), "{told:#?}");
    assert!(told.iter().all(|line| line["bytes_per_second"].is_u64()), "{told:#?}");
    let effort = &lines.last().unwrap()["result"]["effort"];
    assert_eq!(effort["held"], "idle", "{effort}");
    assert!(
        effort["operations"].as_u64() >= Some(64) && effort["bytes_per_second"].as_u64() > Some(1 << 20),
        "{effort}"
    );
    let given = call.again().args(["copy", "src", "given", "--jobs", "3"]).run();
    assert!(given.stdout.contains(" by 3 workers: as asked for\n"), "{}", given.stdout);
}
