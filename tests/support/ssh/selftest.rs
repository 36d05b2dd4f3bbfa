//! The servers themselves, with the plain programs of the system.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{PASSWORD, Sshd, USERS};

fn ssh(server: &Sshd, words: &[&str]) -> (bool, String) {
    let output = Command::new("ssh").arg("-F").arg(server.config()).args(["-o", "BatchMode=yes"]).args(words).output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn everybody_gets_in_and_nothing_outlives_the_server() {
    let Some(mut server) = Sshd::start() else { return };
    for user in &USERS {
        let (done, said) = ssh(&server, &[&format!("{}-peer", user.name), "id -un"]);
        assert!(done && said.trim() == user.name, "{said}");
    }
    assert_eq!(ssh(&server, &["ada-peer", "sudo -n id -u"]), (true, "0\n".into()));
    let asked = format!("echo '{PASSWORD}' | sudo -S -p '' id -u");
    assert_eq!(ssh(&server, &["bob-peer", &asked]), (true, "0\n".into()));
    assert!(!ssh(&server, &["bob-peer", "sudo -n id -u"]).0);
    assert!(ssh(&server, &["peer", "sleep 4711 >/dev/null 2>&1 </dev/null &"]).0);
    assert!(server.runs("sleep 4711"));
    let all = server.processes();
    server.end();
    let start = Instant::now();
    while all.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clouds_are_cut_off_and_reached_again() {
    let (Some(first), Some(mut second)) = (Sshd::cloud(), Sshd::cloud()) else { return };
    second.behind(&first);
    let short = ["-o", "ConnectTimeout=2", "peer", "true"];
    assert!(ssh(&first, &short).0);
    assert!(!ssh(&second, &short).0, "the second is to be reached over the first alone");
    first.link(false);
    assert!(!ssh(&first, &short).0);
    first.link(true);
    assert!(ssh(&first, &["-o", "ConnectTimeout=20", "peer", "true"]).0);
}
