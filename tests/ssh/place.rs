//! A program of ours on the far side.

use std::io::{Read, Write};
use std::sync::Arc;

use decamp::cancel::Cancel;
use decamp::host::ssh::{Error, Host, Place, Placed, Sudo};
use rustix::process::Signal;

use super::support::{host, until};
use crate::support::ssh::{PASSWORD, Setup, Sshd};

/// A program that both sides can run, and its digest.
fn program() -> (Vec<u8>, String) {
    let bytes = std::fs::read("/bin/cat").unwrap();
    let output = std::process::Command::new("sha256sum").arg("/bin/cat").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (bytes, text.split_whitespace().next().unwrap().to_owned())
}

fn placed(host: &Arc<Host>, place: &Place, sudo: Option<&Sudo>) -> Result<Placed, Error> {
    let (bytes, digest) = program();
    host.place(&bytes, &digest, place, sudo, &Cancel::new())
}

/// Sends something through a started program and back.
fn speak(placed: &Placed) {
    let mut channel = placed.start(&[], &Cancel::new()).unwrap();
    let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = channel.stdin.take().unwrap();
    let sent = text.clone();
    let thread = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let mut back = Vec::new();
    channel.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    thread.join().unwrap();
    assert!(back == text, "{} bytes of {} came back: {}", back.len(), text.len(), channel.said());
}

#[test]
fn a_program_is_sent_started_and_gone() {
    let Some(server) = Sshd::start() else { return };
    for (alias, sudo) in
        [("ada-peer", None), ("finn-peer", None), ("cleo-peer", Some(Sudo { password: Some(PASSWORD.into()) }))]
    {
        let host = Arc::new(host(&server, alias));
        let program = placed(&host, &Place::default(), sudo.as_ref()).unwrap();
        let path = program.path().unwrap().to_owned();
        let there = |path: &str| {
            let seen = super::support::exec(&host, &["sh", "-c", "ls \"$1\"", "ls", path]).unwrap();
            seen.code == Some(0)
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| speak(&program));
            }
        });
        let dir = path.trim_end_matches("/decamp-agent").to_owned();
        let seen = super::support::output(&host, &["stat", "-c", "%a", &dir]);
        assert_eq!(seen, "700\n");
        drop(program);
        until("the program is gone", || !there(&dir));
    }
}

#[test]
fn the_agent_runs_there() {
    let Some(server) = Sshd::start() else { return };
    for alias in ["peer", "bob-peer", "finn-peer"] {
        let host = Arc::new(host(&server, alias));
        let agent = host.place_agent(&Place::default(), None, &Cancel::new()).unwrap();
        let mut channel = agent.start(&["--version"], &Cancel::new()).unwrap();
        let mut said = String::new();
        channel.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.starts_with("decamp-agent "), "{said} {}", channel.said());
    }
}

#[test]
fn a_program_goes_with_the_connection() {
    let Some(server) = Sshd::start() else { return };
    let host = Arc::new(host(&server, "ada-peer"));
    let program = placed(&host, &Place { dir: Some("/dev/shm".into()), memory: false }, None).unwrap();
    let dir = std::path::PathBuf::from(program.path().unwrap()).parent().unwrap().to_owned();
    assert!(server.seen(&dir).exists() && dir.starts_with("/dev/shm"));
    let master = rustix::process::Pid::from_raw(host.master_pid().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(master, Signal::KILL).unwrap();
    until("the program is gone", || !server.seen(&dir).exists());
    assert!(
        matches!(program.start(&[], &Cancel::new()), Err(Error::Lost { .. } | Error::NoShell { .. }))
            || program.path().is_some()
    );
}

#[test]
fn places_where_nothing_runs_are_passed_over_and_named() {
    let mounts = vec![
        // Of its own, so that what other tests send at the same time is not taken for what this one left.
        "for d in /dev/shm /var/tmp; do mount -t tmpfs -o noexec,mode=1777 tmpfs $d; done",
        "mount --bind /tmp /tmp; mount -o remount,bind,noexec /tmp",
        "mount -t tmpfs -o mode=1777,size=16k tmpfs /mnt",
        "mount -t tmpfs -o mode=1777 tmpfs /srv",
    ];
    let Some(server) = Sshd::with(Setup { mounts, ..Setup::default() }) else { return };
    let host = Arc::new(host(&server, "ada-peer"));
    let error = placed(&host, &Place::default(), None).unwrap_err();
    assert!(matches!(error, Error::NoPlace { dir: None, .. }), "{error:?}");
    let shown = decamp::error::Error::from(error).render(false);
    assert!(shown.contains("agent_dir") && shown.contains("agent_memory"), "{shown}");
    let within = |dir: &str| Place { dir: Some(dir.into()), memory: false };
    assert!(matches!(placed(&host, &within("/tmp"), None), Err(Error::NoPlace { dir: Some(_), .. })));
    assert!(matches!(placed(&host, &within("/mnt"), None), Err(Error::NoSpace { .. })));
    speak(&placed(&host, &within("/srv"), None).unwrap());
    speak(&placed(&host, &Place { dir: None, memory: true }, None).unwrap());
    let left = super::support::output(
        &host,
        &["sh", "-c", "ls -d /mnt/.decamp* /var/tmp/.decamp* /dev/shm/.decamp* 2>/dev/null | wc -l"],
    );
    assert_eq!(left.trim(), "0");
}

#[test]
fn a_damaged_program_is_never_started() {
    let Some(server) = Sshd::start() else { return };
    let host = Arc::new(host(&server, "ada-peer"));
    let (bytes, _) = program();
    let wrong = "0".repeat(64);
    let error = host.place(&bytes, &wrong, &Place::default(), None, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
}
