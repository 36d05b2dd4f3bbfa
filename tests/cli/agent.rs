//! The far side's program, written out.

use std::process::Command;

use crate::support::env::Decamp;

#[test]
fn what_is_written_runs_and_is_what_was_said() {
    let call = Decamp::new();
    let said = call.again().args(["agent", "--output", "json"]).run().json();
    assert_eq!(said["file"], serde_json::Value::Null);
    call.again().args(["agent", "--out", "far"]).stdout_has("wrote far: decamp-agent ").run();
    let path = call.dir().join("far");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), said["bytes"].as_u64().unwrap());
    let sum = Command::new("sha256sum").arg(&path).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert!(sum.starts_with(said["sha256"].as_str().unwrap()), "{sum}");
    let ran = Command::new(&path).arg("--version").output().unwrap();
    assert_eq!(ran.stdout, format!("decamp-agent {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn nothing_is_overwritten() {
    let call = Decamp::new().file("far", "mine");
    call.args(["agent", "--out", "far"])
        .status(1)
        .stderr_has("cannot write the agent to `far`")
        .file_is("far", "mine")
        .run();
}
