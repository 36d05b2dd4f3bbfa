//! Connections: who is let in, whose key is believed, what is left behind.

use std::fs;
use std::time::{Duration, Instant};

use decamp::cancel::{Cancel, Reason};
use decamp::error::{self, Kind};
use decamp::host::ssh::{Dest, Error, Host, Options, Trust, control};
use rustix::process::Signal;

use super::support::{exec, host, options, output, until};
use crate::support::ssh::{PASSWORD, Setup, Sshd};

fn connect(options: Options, alias: &str) -> Result<Host, Error> {
    let host = Host::new(Dest::parse(alias).unwrap(), options);
    host.connect(&Cancel::new()).map(|()| host)
}

/// What a person is shown.
fn shown(error: Error) -> (Kind, String) {
    let error = error::Error::from(error);
    (error.kind, error.render(false))
}

#[test]
fn a_known_host_is_connected_to_once_and_leaves_nothing() {
    let Some(server) = Sshd::start() else { return };
    let host = host(&server, "ada-peer");
    assert_eq!(output(&host, &["id", "-un"]), "ada\n");
    let key = host.host_key(&Cancel::new()).unwrap().unwrap();
    assert_eq!((key.kind.as_str(), key.fingerprint, key.first_use), ("ssh-ed25519", server.fingerprint(), false));
    let master = host.master_pid().unwrap();
    assert_eq!(output(&host, &["id", "-un"]), "ada\n");
    assert_eq!(host.master_pid(), Some(master));
    drop(host);
    until("the connection has ended", || !std::path::Path::new(&format!("/proc/{master}")).exists());
    assert_eq!(fs::read_dir(server.dir().join("b")).unwrap().count(), 0);
}

#[test]
fn a_key_that_is_not_known_is_believed_on_request_alone_and_then_kept() {
    let Some(mut server) = Sshd::start() else { return };
    fs::write(server.known_hosts(), "").unwrap();
    let (kind, text) = shown(connect(options(&server), "ada-peer").unwrap_err());
    assert_eq!(kind, Kind::Denied, "{text}");
    assert!(text.contains(&server.fingerprint()) && text.contains("ssh -p"), "{text}");
    assert_eq!(fs::read(server.known_hosts()).unwrap(), b"");
    let file = server.dir().join("run-known");
    let first = || Options { trust: Trust::FirstUse { file: file.clone() }, ..options(&server) };
    let host = connect(first(), "ada-peer").unwrap();
    let key = host.host_key(&Cancel::new()).unwrap().unwrap();
    assert!(key.first_use && key.fingerprint == server.fingerprint());
    drop(host);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1);
    assert_eq!(fs::read(server.known_hosts()).unwrap(), b"", "the user's own file is left alone");
    let host = connect(first(), "ada-peer").unwrap();
    assert!(!host.host_key(&Cancel::new()).unwrap().unwrap().first_use);
    drop(host);
    let options = first();
    server.change_key();
    let (kind, text) = shown(connect(options, "ada-peer").unwrap_err());
    assert_eq!(kind, Kind::Denied, "{text}");
    let place = format!("{}:1", file.display());
    for word in ["ssh-keygen -R", &place, &server.fingerprint()] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn passwords_are_told_to_the_host_and_wrong_ones_tried_once() {
    let Some(server) = Sshd::start() else { return };
    fs::remove_file(server.dir().join("keys")).unwrap();
    let with = |password: &str| Options { password: Some(password.into()), ..options(&server) };
    let host = connect(with(PASSWORD), "bob-peer").unwrap();
    assert_eq!(output(&host, &["id", "-un"]), "bob\n");
    drop(host);
    let (kind, text) = shown(connect(with("wrong"), "bob-peer").unwrap_err());
    assert!(kind == Kind::Denied && text.contains("password"), "{text}");
    assert_eq!(server.log().matches("Failed password").count(), 1, "{}", server.log());
    // A password is no reason to believe a key.
    fs::write(server.known_hosts(), "").unwrap();
    assert!(matches!(connect(with(PASSWORD), "bob-peer"), Err(Error::HostKeyUnknown { .. })));
    assert_eq!(server.log().matches("Accepted password").count(), 1);
}

#[test]
fn a_refused_key_says_how_to_get_in() {
    let Some(server) = Sshd::start() else { return };
    fs::remove_file(server.dir().join("keys")).unwrap();
    let (kind, text) = shown(connect(options(&server), "ada-peer").unwrap_err());
    assert!(kind == Kind::Denied && text.contains("ssh-copy-id") && text.contains("Permission denied"), "{text}");
}

#[test]
fn hosts_that_are_not_there_are_unreachable() {
    let Some(mut server) = Sshd::start() else { return };
    let options = options(&server);
    server.end();
    let (kind, text) = shown(connect(options.clone(), "ada-peer").unwrap_err());
    assert!(kind == Kind::Unreachable && text.contains("refused"), "{text}");
    let (kind, text) = shown(connect(options.clone(), "no-such-host.invalid").unwrap_err());
    assert!(kind == Kind::Unreachable && text.contains("resolve"), "{text}");
    fs::write(server.config(), "Host *\n  NoSuchOption yes\n").unwrap();
    let (kind, text) = shown(connect(options, "ada-peer").unwrap_err());
    assert!(kind == Kind::Invalid && text.contains("nosuchoption"), "{text}");
}

#[test]
fn a_server_that_is_frozen_is_found_out() {
    let Some(server) = Sshd::start() else { return };
    let options = Options { keepalive: Some(Duration::from_secs(1)), ..options(&server) };
    let host = connect(options, "ada-peer").unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| exec(&host, &["sleep", "4717"]));
        until("the command runs", || server.runs("sleep 4717"));
        server.signal_sessions(Signal::STOP);
        let error = thread.join().unwrap().unwrap_err();
        let Error::Lost { said, .. } = &error else { panic!("{error:?}") };
        assert!(said.contains("not responding"), "{said}");
        server.signal_sessions(Signal::CONT);
        until("the command has ended", || !server.runs("sleep 4717"));
    });
}

#[test]
fn a_link_that_is_cut_is_found_out_and_used_again() {
    let Some(server) = Sshd::cloud() else { return };
    let options = Options { keepalive: Some(Duration::from_secs(1)), ..options(&server) };
    let host = connect(options, "ada-peer").unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| exec(&host, &["sleep", "4718"]));
        until("the command runs", || server.runs("sleep 4718"));
        server.link(false);
        assert!(matches!(thread.join().unwrap(), Err(Error::Lost { .. })));
    });
    server.link(true);
    until("the host answers again", || exec(&host, &["true"]).is_ok());
}

#[test]
fn the_second_cloud_is_reached_over_the_first() {
    let (Some(first), Some(mut second)) = (Sshd::cloud(), Sshd::cloud()) else { return };
    second.behind(&first);
    let mut config = fs::read_to_string(first.config()).unwrap().replace("Host ", "Host first-");
    config.push_str(&fs::read_to_string(second.config()).unwrap());
    fs::write(second.config(), config).unwrap();
    let jump = Options { jump: Some("first-ada-peer".into()), ..options(&second) };
    let host = connect(jump.clone(), "bob-peer").unwrap();
    assert_eq!(output(&host, &["id", "-un"]), "bob\n");
    let key = host.host_key(&Cancel::new()).unwrap().unwrap();
    assert_eq!(key.fingerprint, second.fingerprint());
    drop(host);
    // The rules hold for the host on the way as well.
    fs::write(first.known_hosts(), "").unwrap();
    let (kind, text) = shown(connect(jump, "bob-peer").unwrap_err());
    assert!(kind == Kind::Denied && text.contains("known"), "{text}");
}

#[test]
fn connecting_stops_on_request() {
    let setup = Setup { cloud: true, ..Setup::default() };
    let Some(server) = Sshd::with(setup) else { return };
    server.link(false);
    let host = host(&server, "ada-peer");
    let cancel = Cancel::new();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| host.connect(&cancel));
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel(Reason::Interrupt);
        assert!(matches!(thread.join().unwrap(), Err(Error::Cancelled { .. })));
    });
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(fs::read_dir(server.dir().join("b")).unwrap().count(), 0);
}

#[test]
fn what_a_dead_process_left_is_ended() {
    let Some(server) = Sshd::start() else { return };
    let host = host(&server, "ada-peer");
    host.connect(&Cancel::new()).unwrap();
    let master = host.master_pid().unwrap();
    let base = server.dir().join("b");
    assert_eq!(control::sweep(&base), 0);
    let dir = fs::read_dir(&base).unwrap().next().unwrap().unwrap().path();
    // As if another process had made it, that is no more.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = decamp::host::process::Process::of(child.id()).unwrap();
    child.wait().unwrap();
    fs::write(dir.join("owner"), serde_json::to_vec(&dead).unwrap()).unwrap();
    assert_eq!(control::sweep(&base), 1);
    until("the connection has ended", || !std::path::Path::new(&format!("/proc/{master}")).exists());
    assert!(!dir.exists());
    assert_eq!(output(&host, &["echo", "again"]), "again\n");
}
