//! `decamp export`: read back with the programs an operator has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::support::env::Decamp;

#[test]
fn an_archive_is_read_back_with_tar_and_zstd_and_hides_command_lines() {
    let call = Decamp::new().file("src/a", "one");
    let run = ["run", "move-tree", "--source", "src", "--dest", "dst", "--freeze", "sh -c 'echo hunter2-x > frozen'"];
    call.again().args(run).run();
    let id = call.again().args(["runs", "--output", "json"]).run().json()["runs"][0]["id"].as_str().unwrap().to_owned();
    let said = call.again().args(["export", &id, "--output", "json"]).run().json();
    let short = &id[id.len() - 8..];
    assert_eq!(said["file"], format!("decamp-{short}.tar.zst"));
    let file = call.dir().join(said["file"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    call.again().args(["export", &id]).status(1).stderr_has("--out").run();

    let out = call.dir().join("out");
    fs::create_dir(&out).unwrap();
    let tar = Command::new("tar").args(["--zstd", "-xf"]).arg(&file).arg("-C").arg(&out).status().unwrap();
    assert!(tar.success());
    let top = out.join(format!("decamp-{short}"));
    let read = |name: &str| fs::read_to_string(top.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let whole: Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!((&whole["run"]["id"], &whole["state"]), (&id.as_str().into(), &"succeeded".into()));
    assert!(whole["steps"].as_array().unwrap().len() > 3 && !whole["effects"].as_array().unwrap().is_empty());
    assert_eq!(whole["run"]["params"]["freeze"][0], "sh");
    let events: Vec<Value> = read("events.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["kind"], "run.succeeded");
    assert!(read("sources/main.rhai").contains("fn run("));
    assert!(top.join("sources/std").is_dir());
    let environment: Value = serde_json::from_str(&read("environment.json")).unwrap();
    assert_eq!(environment["decamp"], env!("CARGO_PKG_VERSION"));
    let doctor: Value = serde_json::from_str(&read("doctor.json")).unwrap();
    assert_eq!(doctor["trusted"], true);
    for name in ["run.json", "events.ndjson"] {
        assert!(!read(name).contains("hunter2"), "{name} holds the command line");
        assert!(!read(name).contains("hash_key"), "{name} holds the journal's key");
    }
    // The same on standard output.
    let line = format!("'{}' export {id} --out - | zstd -dc | tar -t", crate::support::env::program().display());
    call.again().program("/bin/sh").args(["-c", &line]).stdout_has("run.json").run();
}

#[test]
fn the_failure_of_a_command_does_not_bring_its_line_into_the_archive() {
    let script = r#"//! Fails, and says so in many ways.
fn params() { #{ back: #{ type: "argv", "default": [] } } }
fn run(p) {
    let key = secret("command:echo hunter2-of-a-store");
    let line = ["sh", "-c", "echo no hunter2-a >&2; exit 3"];
    let looked = "";
    try { host::local().exec(["sh", "-c", "echo hunter2-b >&2; exit 4"], #{ read_only: true }); }
    catch (e) { looked = e.message; }
    note("looked", looked);
    step("spoken", || host::local().exec(["sh", "-c", "echo hunter2-c"], #{ env: #{ KEY: key } }));
    step("broken", || host::local().exec(line));
}
"#;
    let call = Decamp::new().file("s.rhai", script);
    let back = "--set=back=sh -c 'echo hunter2-d'";
    call.again().args(["run", back, "./s.rhai"]).status(1).stderr_has("hunter2-a").run();
    let id = call.again().args(["runs", "--output", "json"]).run().json()["runs"][0]["id"].as_str().unwrap().to_owned();
    call.again().args(["export", &id, "--out", "x.tar.zst"]).run();
    let read = |name: &str| {
        let line = format!("zstd -dc x.tar.zst | tar -xO --wildcards '*/{name}'");
        call.again().program("/bin/sh").args(["-c", &line]).run().stdout
    };
    for name in ["run.json", "events.ndjson", "doctor.json", "environment.json"] {
        let text = read(name);
        let at = text.find("hunter2").map(|at| &text[at.saturating_sub(200)..at + 20]);
        assert_eq!(at, None, "{name} holds a command line");
    }
    let whole: Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!(whole["run"]["outcome"]["message"], "`sh …` ended with exit code 3");
    assert_eq!(whole["run"]["params"]["back"][0], "sh");

    // The key of the journal's hashes is in none of it either.
    let sql = rusqlite::Connection::open(call.state().join("journal.db")).unwrap();
    let key: Vec<u8> = sql.query_row("SELECT value FROM meta WHERE key = 'hash_key'", [], |row| row.get(0)).unwrap();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = serde_json::to_string(&key).unwrap();
    for name in ["run.json", "events.ndjson", "doctor.json"] {
        let text = read(name).to_lowercase();
        assert!(!text.contains(&hex) && !text.contains(&list[1..list.len() - 1]), "{name} holds the journal's key");
    }
}
