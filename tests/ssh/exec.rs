//! Commands: what they get, what they give, how they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use decamp::cancel::{Cancel, Reason};
use decamp::host::ssh::{Call, Error, Sudo};
use rustix::process::Signal;

use super::support::{call, exec, host, options, output, until};
use crate::support::ssh::{PASSWORD, Setup, Sshd, USERS, command_line};

#[test]
fn every_login_shell_runs_the_same_words() {
    let Some(server) = Sshd::start() else { return };
    for user in &USERS {
        let host = host(&server, &format!("{}-peer", user.name));
        let odd = ["a b", "it's", "$HOME `x` !! \\ \"q\"", "two\nlines\n", "", "ü", "*"];
        let words: Vec<&str> = ["printf", "<%s>"].into_iter().chain(odd).collect();
        let expected: String = odd.iter().map(|word| format!("<{word}>")).collect();
        assert_eq!(output(&host, &words), expected, "{}", user.name);
        let mut cat = call(&["sh", "-c", "cat; pwd; echo \"$TOKEN\"; echo oops >&2; exit 3"]);
        cat.stdin = "in\0put\n\\ü".into();
        cat.env = vec![("TOKEN".into(), "it's\n$x".into())];
        cat.cwd = Some("/usr".into());
        let ended = host.exec(&cat, &Cancel::new()).unwrap();
        assert_eq!((ended.code, ended.signal), (Some(3), None));
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), "in\0put\n\\ü/usr\nit's\n$x\n", "{}", user.name);
        assert_eq!(ended.stderr, b"oops\n");
    }
}

#[test]
fn ends_are_told_apart() {
    let Some(server) = Sshd::start() else { return };
    let host = host(&server, "ada-peer");
    for code in [0, 1, 127, 255] {
        let ended = exec(&host, &["sh", "-c", &format!("exit {code}")]).unwrap();
        assert_eq!(ended.code, Some(code));
    }
    assert_eq!(exec(&host, &["sh", "-c", "kill -9 $$"]).unwrap().code, Some(137));
    assert!(matches!(exec(&host, &["no-such-program"]), Err(Error::NoProgram { .. })));
    let nowhere = Call { cwd: Some("/no/such".into()), ..call(&["true"]) };
    assert!(matches!(host.exec(&nowhere, &Cancel::new()), Err(Error::NoDirectory { .. })));
    let ended = exec(&host, &["sh", "-c", "yes | head -c 5000000; echo end"]).unwrap();
    assert!(ended.stdout.len() < 2_000_000 && ended.stdout.ends_with(b"end\n"));
    let begun = Instant::now();
    let ended = exec(&host, &["sh", "-c", "echo started; sleep 300 &"]).unwrap();
    assert_eq!((ended.code, ended.stdout), (Some(0), b"started\n".to_vec()));
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_long_input_arrives_whole() {
    let Some(server) = Sshd::start() else { return };
    let host = host(&server, "cleo-peer");
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let sum = Call { stdin: text.as_str().into(), ..call(&["cksum"]) };
    let far = String::from_utf8(host.exec(&sum, &Cancel::new()).unwrap().stdout).unwrap();
    let near = decamp::host::local::Invocation { argv: sum.argv, stdin: text.into(), ..Default::default() };
    assert_eq!(far.as_bytes(), decamp::host::local::run(&near, &Cancel::new()).unwrap().stdout);
}

#[test]
fn a_command_that_is_stopped_ends_there_with_what_it_started() {
    let Some(server) = Sshd::start() else { return };
    for alias in ["ada-peer", "finn-peer"] {
        let host = Arc::new(host(&server, alias));
        let cancel = Cancel::new();
        let (token, shared) = (cancel.clone(), Arc::clone(&host));
        let thread =
            std::thread::spawn(move || shared.exec(&call(&["sh", "-c", "sleep 4713 & sleep 4713; wait"]), &token));
        until("the command runs", || server.runs("sleep 4713"));
        cancel.cancel(Reason::Interrupt);
        let error = thread.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }) && !error.settled(), "{error:?}");
        until("the command has ended", || !server.runs("sleep 4713"));
        let slow = Call { timeout: Some(Duration::from_millis(100)), ..call(&["sh", "-c", "sleep 4714 & wait"]) };
        assert!(matches!(host.exec(&slow, &Cancel::new()), Err(Error::Timeout { ended: true, .. })));
        until("the slow one has ended", || !server.runs("sleep 4714"));
        // One that does not want to is killed.
        let deaf = Call {
            timeout: Some(Duration::from_millis(300)),
            ..call(&["sh", "-c", "trap '' TERM; while :; do sleep 0.47; done"])
        };
        assert!(matches!(host.exec(&deaf, &Cancel::new()), Err(Error::Timeout { .. })));
        until("the deaf one has ended", || !server.runs("sleep 0.47"));
    }
}

#[test]
fn a_cut_in_the_middle_is_never_an_end() {
    let Some(server) = Sshd::start() else { return };
    let lost = |cut: &dyn Fn(&Sshd, u32)| {
        let host = Arc::new(host(&server, "ada-peer"));
        let shared = Arc::clone(&host);
        let thread = std::thread::spawn(move || exec(&shared, &["sh", "-c", "echo some; exec sleep 4715"]));
        until("the command runs", || server.runs("sleep 4715"));
        cut(&server, host.master_pid().unwrap());
        let error = thread.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost { before: false, .. }) && !error.settled(), "{error:?}");
        until("the command has ended", || !server.runs("sleep 4715"));
        // The next one finds a new connection by itself.
        assert_eq!(output(&host, &["echo", "again"]), "again\n");
    };
    lost(&|_, master| {
        rustix::process::kill_process(rustix::process::Pid::from_raw(master.cast_signed()).unwrap(), Signal::KILL)
            .unwrap();
    });
    lost(&|server, _| server.signal_connections(Signal::KILL));
}

#[test]
fn sudo_asks_once_and_says_why_not() {
    let Some(server) = Sshd::start() else { return };
    let sudo = |alias: &str, password: Option<&str>| {
        let host = host(&server, alias);
        let sudo = Some(Sudo { password: password.map(Into::into) });
        let id = Call { sudo, stdin: "from here\n".into(), ..call(&["sh", "-c", "id -u; cat"]) };
        host.exec(&id, &Cancel::new()).map(|ended| String::from_utf8(ended.stdout).unwrap())
    };
    for (alias, password) in [
        ("ada-peer", None),
        ("ada-peer", Some(PASSWORD)),
        ("bob-peer", Some(PASSWORD)),
        ("finn-peer", Some(PASSWORD)),
        ("cleo-peer", Some(PASSWORD)),
    ] {
        assert_eq!(sudo(alias, password).unwrap(), "0\nfrom here\n", "{alias} {password:?}");
    }
    assert!(matches!(sudo("bob-peer", None), Err(Error::Sudo { password: false, .. })));
    assert!(matches!(sudo("bob-peer", Some("wrong")), Err(Error::Sudo { password: true, .. })));
}

#[test]
fn sessions_wait_for_each_other() {
    let setup = Setup { lines: vec!["MaxSessions 3".into()], ..Setup::default() };
    let Some(server) = Sshd::with(setup) else { return };
    // More than the server has: it says so, and is believed.
    let host = host(&server, "ada-peer");
    host.connect(&Cancel::new()).unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..10)
            .map(|number| {
                let host = &host;
                scope.spawn(move || output(host, &["sh", "-c", &format!("sleep 0.1; echo {number}")]))
            })
            .collect();
        for (number, thread) in all.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("{number}\n"));
        }
    });
    let none = Setup { lines: vec!["MaxSessions 0".into()], ..Setup::default() };
    let server = Sshd::with(none).unwrap();
    let host = super::support::host(&server, "ada-peer");
    assert!(matches!(exec(&host, &["true"]), Err(Error::NoSession { .. })));
}

#[test]
fn no_secret_is_seen_in_any_process() {
    let Some(server) = Sshd::start() else { return };
    let secret = "Very-secret-4716";
    let mut options = options(&server);
    options.password = Some(PASSWORD.into());
    let dest = decamp::host::ssh::Dest::parse("bob-peer").unwrap();
    let host = decamp::host::ssh::Host::new(dest, options);
    let sudo = Some(Sudo { password: Some(PASSWORD.into()) });
    let slow = Call { sudo, stdin: secret.into(), ..call(&["sh", "-c", "cat >/dev/null; sleep 4716"]) };
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| host.exec(&slow, &cancel));
        until("the command runs", || server.runs("sleep 4716"));
        let own = std::process::id().to_string();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
            let vars = std::fs::read(process.path().join("environ")).unwrap_or_default();
            let text = format!("{} {}", command_line(pid), String::from_utf8_lossy(&vars));
            let clear = !text.contains(secret) && !text.contains(PASSWORD);
            // The compiler of another test may have this file's text among its words; a session's process never does.
            assert!(clear || pid.to_string() == own, "{text}");
        }
        cancel.cancel(Reason::Interrupt);
        assert!(thread.join().unwrap().is_err());
    });
}
