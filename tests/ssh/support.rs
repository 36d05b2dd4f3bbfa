//! Hosts of the tests.

use std::time::Duration;

use decamp::cancel::Cancel;
use decamp::host::local::Ended;
use decamp::host::ssh::{Call, Dest, Error, Host, Options};

use crate::support::env::program;
use crate::support::ssh::Sshd;

/// Options for a server, which keep the sockets below its directory.
pub(super) fn options(server: &Sshd) -> Options {
    Options {
        config: Some(server.config()),
        base: server.dir().join("b"),
        program: program().to_owned(),
        connect_timeout: Duration::from_secs(20),
        ..Options::default()
    }
}

/// The server, as the user of that alias.
pub(super) fn host(server: &Sshd, alias: &str) -> Host {
    Host::new(Dest::parse(alias).unwrap(), options(server))
}

pub(super) fn call(argv: &[&str]) -> Call {
    Call { argv: argv.iter().map(ToString::to_string).collect(), ..Call::default() }
}

pub(super) fn exec(host: &Host, argv: &[&str]) -> Result<Ended, Error> {
    host.exec(&call(argv), &Cancel::new())
}

/// The output of a command that must do well.
pub(super) fn output(host: &Host, argv: &[&str]) -> String {
    let ended = exec(host, argv).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// Waits until something is so.
///
/// # Panics
/// After a minute.
#[track_caller]
pub(super) fn until(what: &str, is: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
