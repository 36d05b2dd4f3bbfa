//! Files and the machine, asked by scripts: the same words and results here and there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::support::until;
use crate::support::env::Decamp;
use crate::support::ssh::{PASSWORD, Sshd};

fn call(server: &Sshd, host: &str, body: &str) -> Decamp {
    let text = format!("//! A test.\nfn params() {{ #{{}} }}\nfn run(p) {{\nlet h = {host};\n{body}\n}}\n");
    Decamp::new().file("s.rhai", text).env("XDG_RUNTIME_DIR", server.dir()).env("PW", PASSWORD)
}

fn run(call: &Decamp) -> Decamp {
    call.again().args(["run", "./s.rhai", "--output", "json"])
}

/// What a script finds in a directory with a file, a link, and a name that is no text; with what differs between machines left out.
const LOOK: &str = r#"let d = "DIR";
    let kind = |act| { try { act.call(); return "none"; } catch (e) { return e.kind; } };
    let kinds = h.list(d).map(|one| `${one.name}:${one.kind}:${one.size_bytes}:${one.target}`);
    let at = h.stat(d + "/link");
    let own = h.stat(d + "/link", #{ link: true });
    let none = kind.call(|| h.list(d + "/none"));
    let full = h.statfs(d);
    let wrote = step("write", || h.write(d + "/made", "two\n", #{ mode: "0640", owner: "60101:60101" }));
    let again = step("again", || h.write(d + "/made", "two\n"));
    let fresh = kind.call(|| step("new", || h.write(d + "/made", "x", #{ only_new: true })));
    #{ kinds: kinds, at: [at.kind, at.size_bytes, at.target], own: [own.kind, own.target], none: none,
       absent: h.stat(d + "/none"), text: h.read(d + "/file"), part: h.read(d + "/file", #{ offset_bytes: 1, length_bytes: 2 }),
       raw: h.read(d + "/raw", #{ bytes: true }).len(), raw_text: kind.call(|| h.read(d + "/raw")),
       full: full.total_bytes > 0 && full.free_bytes <= full.total_bytes, mounts: h.mounts().some(|one| one.path == "/"),
       wrote: [wrote.mode, wrote.uid, wrote.size_bytes, wrote.written], again: [again.written, again.mode], fresh: fresh,
       devices: type_of(h.block_devices()) }"#;

#[test]
fn a_host_over_ssh_answers_as_this_machine_does() {
    let Some(server) = Sshd::start() else { return };
    let dir = server.home("root").join("looked");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "one\n").unwrap();
    fs::write(dir.join("raw"), b"\xff\0\xfe").unwrap();
    std::os::unix::fs::symlink("file", dir.join("link")).unwrap();
    let look = LOOK.replace("DIR", &dir.display().to_string());
    let far = format!("host::ssh(\"peer\", #{{ config: \"{}\" }})", server.config().display());
    let there = run(&call(&server, &far, &look)).run().json()["result"].clone();
    let made = fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.permissions().mode() & 0o7777, made.uid(), made.len()), (0o640, 60101, 4));
    fs::remove_file(dir.join("made")).unwrap();
    let here = run(&call(&server, "host::local()", &look)).run().json()["result"].clone();
    assert_eq!(there, here);
    let expected = serde_json::json!({
        "kinds": ["file:file:4:", "link:link:4:file", "raw:file:3:"], "at": ["file", 4, null], "own": ["link", "file"],
        "none": "not_found", "absent": null, "text": "one\n", "part": "ne", "raw": 3, "raw_text": "invalid", "full": true,
        "mounts": true, "wrote": ["0640", 60101, 4, true], "again": [false, "0640"], "fresh": "exists", "devices": "array",
    });
    assert_eq!(there, expected);
    until("no agent runs", || !server.runs("decamp-agent"));
}

#[test]
fn it_acts_as_whoever_the_handle_says_and_keeps_no_secret() {
    let Some(server) = Sshd::start() else { return };
    let home = server.home("bob");
    let far = format!(
        "host::ssh(\"bob-peer\", #{{ config: \"{}\", sudo: true, sudo_password: secret(\"env:PW\") }})",
        server.config().display()
    );
    let body = format!(
        r#"step("secret", || h.write("{0}/secret", secret("env:PW"), #{{ mode: "0600" }}));
           #{{ owner: h.stat("{0}/secret").uid, text: h.read("{0}/secret") }}"#,
        home.display()
    );
    let ran = run(&call(&server, &far, &body)).nowhere(PASSWORD).run().json()["result"].clone();
    assert_eq!((&ran["owner"], &ran["text"]), (&0.into(), &"[secret env:PW]".into()), "{ran}");
    assert_eq!(fs::read_to_string(home.join("secret")).unwrap(), PASSWORD);
    // Without sudo bob may not.
    let plain = format!("host::ssh(\"ada-peer\", #{{ config: \"{}\" }})", server.config().display());
    let body = format!("h.read(\"{}/secret\")", home.display());
    run(&call(&server, &plain, &body)).status(1).stderr_has("Permission denied").run();
}

#[test]
fn a_plan_reads_there_and_writes_nothing() {
    let Some(server) = Sshd::start() else { return };
    let home = server.home("ada");
    fs::write(home.join("conf"), "a = 1\n").unwrap();
    let far = format!("host::ssh(\"ada-peer\", #{{ config: \"{}\" }})", server.config().display());
    let body = format!(
        r#"note("conf", h.read("{0}/conf"));
           step("same", || h.write("{0}/conf", "a = 1\n"));
           step("other", || h.write("{0}/conf", "a = 2\n"));"#,
        home.display()
    );
    let planned = call(&server, &far, &body).args(["plan", "./s.rhai"]);
    planned.stdout_has("holds that already").stdout_has("will write 6 B").run();
    assert_eq!(fs::read_to_string(home.join("conf")).unwrap(), "a = 1\n");
}
