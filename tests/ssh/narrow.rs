//! Servers on which the agent has little room, or none: one session alone, another processor.

use serde_json::json;

use super::block::{at, call, host, nothing_left, result, run};
use crate::block::kit::{MIB, disks};
use crate::copy::kit::{Pair, furnish, write};
use crate::support::check::assert_same;
use crate::support::env::Decamp;
use crate::support::ssh::{Setup, Sshd};

/// Without python and perl no program runs from memory.
const NO_MEMORY: &str = "for f in /usr/bin/python3 /usr/bin/perl; do [ ! -e $f ] || mount --bind /dev/null $f; done";

fn one_session(mounts: Vec<&'static str>) -> Option<Sshd> {
    Sshd::with(Setup { lines: vec!["MaxSessions 1".into()], mounts, ..Setup::default() })
}

#[test]
fn one_session_is_enough_for_an_agent_in_memory() {
    let Some(server) = one_session(Vec::new()) else { return };
    let pair = Pair::new();
    furnish(&pair.src);
    let by_hand = Decamp::new().env("XDG_RUNTIME_DIR", server.dir());
    let (src, dst) = (pair.src.display().to_string(), format!("ssh://peer{}", pair.dst.display()));
    by_hand.args(["copy", &src, &dst, "--ssh-config"]).arg(server.config()).stderr_has("in memory").run();
    assert_same(&pair.src, &pair.dst);
    // While the agent has it there is none for a command, which is told at once.
    let body = format!(
        r#"let before = b.exec(["true"], #{{ read_only: true }}).code;
           let seen = b.stat("{}").kind;
           let why = "";
           try {{ b.exec(["true"], #{{ read_only: true }}); }} catch (e) {{ why = e.kind; }}
           #{{ before: before, seen: seen, why: why }}"#,
        pair.src.display()
    );
    let seen = result(&run(&call(&server, &host("b", &server, ""), &body)).run());
    assert_eq!(seen, json!({ "before": 0, "seen": "dir", "why": "conflict" }));
    nothing_left(&server);
}

#[test]
fn one_session_and_no_memory_is_said_at_once_and_devices_go_without_an_agent() {
    let Some(server) = one_session(vec![NO_MEMORY]) else { return };
    let Some((source, target, held)) = disks(91, 2 * MIB) else { return };
    let pair = Pair::new();
    write(pair.src.join("x"), "x");
    let by_hand = Decamp::new().env("XDG_RUNTIME_DIR", server.dir());
    let (src, dst) = (pair.src.display().to_string(), format!("ssh://peer{}", pair.dst.display()));
    let copy = by_hand.args(["copy", &src, &dst, "--ssh-config"]).arg(server.config());
    copy.status(1).stderr_has("opens no session").stderr_has("MaxSessions").run();
    let body = format!(
        r#"step("copy", || block::copy("{}", {}, #{{ overwrite: true }}))"#,
        source.path.display(),
        at("b", &target.path)
    );
    let seen = result(&run(&call(&server, &host("b", &server, ""), &body)).stderr_has("degraded").run());
    assert_eq!(seen["degraded"].as_array().unwrap().len(), 1, "{seen}");
    assert!(target.holds() == held);
    nothing_left(&server);
}

#[test]
fn an_agent_for_another_processor_is_not_sent() {
    let fake = "printf '#!/bin/sh\\necho Linux riscv64\\n' >/run/sshd/uname; chmod 755 /run/sshd/uname; \
                mount --bind /run/sshd/uname /usr/bin/uname";
    let Some(server) = Sshd::with(Setup { mounts: vec![fake], ..Setup::default() }) else { return };
    let Some((source, target, held)) = disks(92, 2 * MIB) else { return };
    let hosts = host("b", &server, "");
    let body = format!(
        r#"step("copy", || block::copy("{}", {}, #{{ overwrite: true }}))"#,
        source.path.display(),
        at("b", &target.path)
    );
    let ran = run(&call(&server, &hosts, &body)).stderr_has("riscv64").stderr_has("degraded").run();
    assert_eq!(result(&ran)["degraded"].as_array().unwrap().len(), 1, "{}", ran.stdout);
    assert!(!ran.stderr.contains("decamp-agent runs there") && target.holds() == held, "{}", ran.stderr);
    // A tree that is moved is refused, with what can be done; one that is copied by hand is copied by rsync.
    let pair = Pair::new();
    write(pair.src.join("x"), "x");
    let there = format!("ssh://peer{}", pair.dst.display());
    let by_hand = Decamp::new().env("XDG_RUNTIME_DIR", server.dir());
    let src = pair.src.display().to_string();
    let with = |words: &[&str]| by_hand.again().args(words).arg("--ssh-config").arg(server.config());
    for call in [with(&["compare", &src, &there]), with(&["run", "move-tree", "--source", &src, "--dest", &there])] {
        call.status(1).stderr_has("riscv64").stderr_has("rsync -aHAXS").run();
    }
    assert_eq!(std::fs::read_dir(&pair.dst).unwrap().count(), 0);
    with(&["copy", &src, &there]).stderr_has("riscv64").stderr_has("degraded").run();
    assert_eq!(std::fs::read(pair.dst.join("x")).unwrap(), b"x");
    nothing_left(&server);
}
