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

#[test]
fn what_a_write_replaced_is_put_back() {
    let Some(server) = Sshd::start() else { return };
    let far = format!("host::ssh(\"peer\", #{{ config: \"{}\" }})", server.config().display());
    for host in [far.as_str(), "host::local()"] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let shown = |name: &str| {
            let meta = fs::metadata(path(name)).ok()?;
            Some((fs::read(path(name)).unwrap(), meta.permissions().mode() & 0o7777, meta.uid(), meta.gid()))
        };
        let names = ["old", "same", "new", "touched"];
        for name in ["old", "same", "touched"] {
            fs::write(path(name), format!("{name}\n")).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o640)).unwrap();
        }
        std::os::unix::fs::chown(path("old"), Some(60101), Some(60102)).unwrap();
        let before = names.map(shown);
        let body = format!(
            r#"let d = "{}";
               step("write", || {{
                   h.write(d + "/old", "one\n", #{{ mode: "0600", owner: "0:0" }});
                   h.write(d + "/same", "same\n");
                   h.write(d + "/new", "two\n");
                   h.write(d + "/touched", "three\n");
               }});
               step("again", || h.write(d + "/old", "four\n"));"#,
            dir.path().display()
        );
        let call = call(&server, host, &body);
        let id = run(&call).run().json()["run"].as_str().unwrap().to_owned();
        let after = names.map(shown);
        assert_eq!(after[0], Some((b"four\n".to_vec(), 0o600, 0, 0)));
        // What somebody changed since is left, and named; once it is back, so is everything.
        fs::write(path("touched"), "by hand\n").unwrap();
        let undo = || call.again().args(["undo", &id, "--yes"]);
        undo().status(9).stdout_has("touched: left: it is not what the run wrote").run();
        let now = names.map(shown);
        assert_eq!((&now[..3], now[3].as_ref().unwrap().0.as_slice()), (&before[..3], &b"by hand\n"[..]), "{host}");
        fs::write(path("touched"), "three\n").unwrap();
        undo().run();
        assert_eq!(names.map(shown), before, "{host}");
    }
}

#[test]
fn what_holds_a_secret_is_not_kept() {
    let Some(server) = Sshd::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one"), format!("password = {PASSWORD}\n")).unwrap();
    fs::write(dir.path().join("two"), "another, which nobody told\n").unwrap();
    let body = format!(
        r#"let pw = secret("env:PW");
           step("one", || h.write("{0}/one", "x\n"));
           step("two", || h.write("{0}/two", pw));"#,
        dir.path().display()
    );
    let call = call(&server, "host::local()", &body);
    let id = run(&call).run().json()["run"].as_str().unwrap().to_owned();
    let undone = call.again().args(["undo", &id, "--yes"]).status(9).nowhere(PASSWORD).run();
    assert_eq!(undone.stdout.matches("has no undo").count(), 2, "{}", undone.stdout);
    assert_eq!(fs::read_to_string(dir.path().join("two")).unwrap(), PASSWORD);
}
