//! Scripts with hosts over SSH: what is recorded, planned, resumed.

use std::fs;

use rustix::process::Signal;

use super::support::until;
use crate::support::env::{Decamp, Ran};
use crate::support::ssh::{PASSWORD, Sshd};

/// A call in a fresh directory with `s.rhai`, where `h` is the server as `alias`.
fn script(server: &Sshd, alias: &str, opts: &str, body: &str) -> Decamp {
    let config = server.config();
    let text = format!(
        "//! A test.\nfn params() {{ #{{}} }}\nfn run(p) {{\nlet h = host::ssh(\"{alias}\", #{{ config: \"{}\", {opts} }});\n{body}\n}}\n",
        config.display()
    );
    Decamp::new().file("s.rhai", text).env("XDG_RUNTIME_DIR", server.dir())
}

fn run(call: &Decamp) -> Decamp {
    call.again().args(["run", "./s.rhai", "--output", "json"])
}

fn result(ran: &Ran) -> serde_json::Value {
    ran.json()["result"].clone()
}

#[test]
fn a_script_runs_commands_there_as_it_does_here() {
    let Some(server) = Sshd::start() else { return };
    let call = script(
        &server,
        "bob-peer",
        "password: secret(\"env:PW\"), sudo_password: secret(\"env:PW\")",
        r#"let who = h.exec(["id", "-un"], #{ read_only: true }).stdout;
           let root = step("root", || h.exec(["sh", "-c", "id -un; cat"], #{ sudo: true, stdin: "x", timeout: "1m" }).stdout);
           let code = step("code", || h.exec(["sh", "-c", "exit 3"], #{ ok_codes: [0, 3] }).code);
           let k = h.host_key();
           #{ who: who, root: root, code: code, fingerprint: k.fingerprint, first: k.first_use, name: `${h}`,
              sh: h.which("sh"), none: h.which("no-such-program"), keys: k.keys().len() }"#,
    )
    .env("PW", PASSWORD);
    fs::remove_file(server.dir().join("keys")).unwrap();
    let ran = run(&call).nowhere(PASSWORD).run();
    let seen = result(&ran);
    let expected = serde_json::json!({
        "who": "bob\n", "root": "root\nx", "code": 3, "fingerprint": server.fingerprint(), "first": false,
        "name": "bob-peer", "sh": seen["sh"], "none": null, "keys": 3,
    });
    assert_eq!(seen, expected);
    assert!(seen["sh"].as_str().unwrap().ends_with("/sh"));
    // One login for all of it, and nothing left behind.
    assert_eq!(server.log().matches("Accepted password").count(), 1);
    assert_eq!(fs::read_dir(server.dir().join("decamp-ssh")).unwrap().count(), 0);
    let state = walk(&call.state());
    assert!(!state.contains(PASSWORD) && state.contains(&server.fingerprint()));
}

/// Everything below a directory, as one text.
fn walk(dir: &std::path::Path) -> String {
    let mut out = String::new();
    for item in fs::read_dir(dir).unwrap().flatten() {
        match item.file_type().unwrap().is_dir() {
            true => out.push_str(&walk(&item.path())),
            false => out.push_str(&String::from_utf8_lossy(&fs::read(item.path()).unwrap())),
        }
    }
    out
}

#[test]
fn a_key_is_let_in_for_as_long_as_the_run_wants() {
    let Some(server) = Sshd::start() else { return };
    let call = script(
        &server,
        "ada-peer",
        "",
        r#"let key = step("key", || host::keypair("once"));
           let into = step("in", #{ undo: |key| h.revoke_key(key) }, || h.authorize_key(key.public_key, #{ restrict: "restrict" }));
           let again = step("again", || h.authorize_key(key.public_key, #{ restrict: "restrict" }));
           let kept = step("kept", || h.revoke_key(again));
           #{ into: into, again: again.added, kept: kept, keys: into.keys().len() + kept.keys().len() }"#,
    );
    let ran = run(&call).run().json();
    let seen = &ran["result"];
    let line = seen["into"]["line"].as_str().unwrap();
    assert!(line.starts_with("restrict ssh-ed25519 ") && line.contains(" decamp-"), "{line}");
    assert_eq!(
        (&seen["into"]["added"], &seen["again"], &seen["kept"]["removed"], &seen["keys"]),
        (&true.into(), &false.into(), &false.into(), &5.into())
    );
    let file = server.home("ada").join(".ssh/authorized_keys");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{line}\n"));
    // What has no undo is named, and the line is gone all the same.
    call.again()
        .args(["undo", ran["run"].as_str().unwrap(), "--yes"])
        .status(9)
        .stdout_has("host::keypair once: has no undo")
        .run();
    assert!(!file.exists());
}

#[test]
fn a_plan_connects_and_does_nothing() {
    let Some(server) = Sshd::start() else { return };
    let home = server.home("ada");
    let call = script(
        &server,
        "ada-peer",
        "trust: \"first_use\"",
        r#"let who = h.exec(["id", "-un"], #{ read_only: true }).stdout;
           note("who", who);
           step("make", || h.exec(["touch", "made"]));"#,
    );
    fs::write(server.known_hosts(), "").unwrap();
    call.again().args(["plan", "./s.rhai"]).stdout_has("ada-peer: touch made").run();
    assert!(!home.join("made").exists() && fs::read(server.known_hosts()).unwrap().is_empty());
    run(&call).run();
    assert!(home.join("made").exists());
    assert!(walk(&call.state()).contains("ssh-ed25519"));
}

#[test]
fn failures_have_kinds_a_script_can_catch() {
    let Some(mut server) = Sshd::start() else { return };
    let call = script(
        &server,
        "ada-peer",
        "",
        r#"fn kind(f) { try { f.call(); return "none"; } catch (e) { return e.kind; } }
           let all = [];
           all.push(kind(|| h.exec(["no-such-program"], #{ read_only: true })));
           all.push(kind(|| h.exec(["false"], #{ read_only: true })));
           all.push(kind(|| h.exec(["sleep", "9"], #{ read_only: true, timeout: 1 })));
           all.push(kind(|| h.exec(["true"], #{ read_only: true, sudo: true })));
           all.push(kind(|| host::ssh("-oProxyCommand=x")));
           all.push(kind(|| host::local().exec(["true"], #{ read_only: true, sudo: true })));
           all"#,
    );
    let text = fs::read_to_string(call.dir().join("s.rhai")).unwrap();
    // A function stands at the top of a script.
    let at = text.find("fn kind").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    let function = text[at..end].to_owned();
    let text = format!("{}{}\n{function}\n", &text[..at], &text[end..]);
    fs::write(call.dir().join("s.rhai"), text).unwrap();
    let expected = ["not_found", "remote_failed", "timeout", "none", "invalid", "unsupported"];
    assert_eq!(result(&run(&call).run()), serde_json::json!(expected));
    server.end();
    let gone = result(&run(&call).run());
    assert!(gone.as_array().unwrap()[..4].iter().all(|kind| kind == "unreachable"), "{gone}");
}

#[test]
fn a_command_with_a_key_is_waited_for_by_the_next_process() {
    let Some(server) = Sshd::start() else { return };
    let home = server.home("ada");
    let call = script(
        &server,
        "ada-peer",
        "",
        r#"step("long", || h.exec(["sh", "-c", "echo run >>count; while [ ! -e go ]; do sleep 0.1; done; echo done"], #{ key: "long" }).stdout)"#,
    );
    let started = || fs::read_to_string(home.join("count")).unwrap_or_default();
    let running = run(&call).spawn();
    until("the command runs", || started() == "run\n");
    running.signal(Signal::KILL);
    running.wait();
    // Nobody has to say what became of it.
    let resumed = call.again().args(["resume", "--output", "json"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::write(home.join("go"), "").unwrap();
    let ran = resumed.wait();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(started(), "run\n");
    assert!(ran.stdout.contains("done\\n"), "{}", ran.stdout);
    assert_eq!(fs::read_dir(home.join(".local/state/decamp/jobs")).unwrap().count(), 0);
}

#[test]
fn a_command_without_a_key_is_asked_about() {
    let Some(server) = Sshd::start() else { return };
    let home = server.home("ada");
    let call =
        script(&server, "ada-peer", "", r#"step("long", || h.exec(["sh", "-c", "echo run >>count; sleep 4720"]))"#);
    let running = run(&call).spawn();
    until("the command runs", || server.runs("sleep 4720"));
    running.signal(Signal::KILL);
    running.wait();
    until("it was ended with the process that wanted it", || !server.runs("sleep 4720"));
    call.again().arg("resume").status(7).stderr_has("decamp decide").run();
    assert_eq!(fs::read_to_string(home.join("count")).unwrap(), "run\n");
    // The connection of the one that was killed is ended by the next.
    assert_eq!(fs::read_dir(server.dir().join("decamp-ssh")).unwrap().count(), 1);
    call.again()
        .file("t.rhai", fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("sleep 4720", "true"))
        .args(["run", "./t.rhai"])
        .run();
    assert_eq!(fs::read_dir(server.dir().join("decamp-ssh")).unwrap().count(), 0);
}
