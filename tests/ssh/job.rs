//! Commands that go on without us.

use std::time::Duration;

use decamp::cancel::{Cancel, Reason};
use decamp::host::ssh::{Call, Error, Job, Options, Sudo};
use rustix::process::Signal;

use super::support::{call, host, options, until};
use crate::support::ssh::{PASSWORD, Sshd};

/// A command that counts how often it was started, and waits for a file.
fn counting(server: &Sshd, user: &str) -> Call {
    let home = server.home(user).display().to_string();
    let mut call = call(&[
        "sh",
        "-c",
        "echo run >>\"$1/count\"; cat; echo $TOKEN >&2; while [ ! -e \"$1/go\" ]; do sleep 0.1; done; exit 7",
        "job",
        &home,
    ]);
    call.env = vec![("TOKEN".into(), "a-token".into())];
    call.stdin = "from\nhere\0".into();
    call
}

fn started(server: &Sshd, user: &str) -> usize {
    std::fs::read_to_string(server.home(user).join("count")).unwrap_or_default().lines().count()
}

#[test]
fn a_command_is_found_again_and_never_started_twice() {
    let Some(server) = Sshd::start() else { return };
    for (user, sudo) in
        [("ada", None), ("finn", None), ("cleo", None), ("bob", Some(Sudo { password: Some(PASSWORD.into()) }))]
    {
        let alias = format!("{user}-peer");
        let call = Call { sudo, ..counting(&server, user) };
        let (first, cancel) = (host(&server, &alias), Cancel::new());
        assert_eq!(first.probe_job("k-1", &call, &cancel).unwrap(), Job::Never);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| first.exec_job("k-1", &call, &cancel));
            until("it runs", || started(&server, user) == 1);
            // The one who waits goes away; the command does not notice.
            cancel.cancel(Reason::Interrupt);
            assert!(matches!(thread.join().unwrap(), Err(Error::Cancelled { .. })));
        });
        drop(first);
        let (second, cancel) = (host(&server, &alias), Cancel::new());
        assert_eq!(second.probe_job("k-1", &call, &cancel).unwrap(), Job::Running);
        let ended = std::thread::scope(|scope| {
            let waits: Vec<_> = (0..2).map(|_| scope.spawn(|| second.exec_job("k-1", &call, &cancel))).collect();
            std::thread::sleep(Duration::from_millis(300));
            std::fs::write(server.home(user).join("go"), "").unwrap();
            waits.into_iter().map(|wait| wait.join().unwrap().unwrap()).next_back().unwrap()
        });
        assert_eq!(
            (ended.code, &*ended.stdout, &*ended.stderr),
            (Some(7), &b"from\nhere\0"[..], &b"a-token\n"[..]),
            "{user}"
        );
        assert_eq!(started(&server, user), 1, "{user}");
        assert_eq!(second.probe_job("k-1", &call, &cancel).unwrap(), Job::Ended);
        second.forget_job("k-1", &call, &cancel).unwrap();
        assert_eq!(second.probe_job("k-1", &call, &cancel).unwrap(), Job::Never);
    }
}

#[test]
fn a_wait_goes_on_after_the_link_was_cut() {
    let Some(server) = Sshd::cloud() else { return };
    let options = Options { keepalive: Some(Duration::from_secs(1)), ..options(&server) };
    let host = decamp::host::ssh::Host::new(decamp::host::ssh::Dest::parse("ada-peer").unwrap(), options);
    let (call, cancel) = (counting(&server, "ada"), Cancel::new());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| host.exec_job("cut", &call, &cancel));
        until("it runs", || started(&server, "ada") == 1);
        let master = host.master_pid().unwrap();
        server.link(false);
        until("the cut was noticed", || host.master_pid() != Some(master));
        std::fs::write(server.home("ada").join("go"), "").unwrap();
        server.link(true);
        assert_eq!(thread.join().unwrap().unwrap().code, Some(7));
    });
    assert_eq!(started(&server, "ada"), 1);
}

#[test]
fn a_command_that_is_gone_without_an_end_is_lost() {
    let Some(server) = Sshd::start() else { return };
    let (host, call, cancel) = (host(&server, "ada-peer"), counting(&server, "ada"), Cancel::new());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| host.exec_job("gone", &call, &cancel));
        until("it runs", || started(&server, "ada") == 1);
        let pid = std::fs::read_to_string(server.home("ada").join(".local/state/decamp/jobs/gone/pid")).unwrap();
        // The number is one of the server's own namespace.
        let inner = pid.split_whitespace().next().unwrap().to_owned();
        for pid in server.processes() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let own = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            if own.split_whitespace().next_back() == Some(&inner) {
                rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL)
                    .unwrap();
            }
        }
        let error = thread.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::JobLost { .. }) && !error.settled(), "{error:?}");
    });
    assert_eq!(host.probe_job("gone", &call, &cancel).unwrap(), Job::Lost);
    std::fs::write(server.home("ada").join("go"), "").unwrap();
}

#[test]
fn a_command_that_is_too_slow_is_ended() {
    let Some(server) = Sshd::start() else { return };
    let host = host(&server, "ada-peer");
    let slow = Call { timeout: Some(Duration::from_millis(500)), ..call(&["sh", "-c", "sleep 4719 & wait"]) };
    let error = host.exec_job("slow", &slow, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Timeout { ended: true, .. }), "{error:?}");
    until("it has ended", || !server.runs("sleep 4719"));
}
