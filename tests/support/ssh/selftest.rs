//! The servers themselves, with the plain programs of the system.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Delay, GIGABIT, PASSWORD, Sshd, USERS};
use crate::support::rng::Rng;

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

/// Sends everything back that it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                std::io::copy(&mut &stream, &mut &stream).ok();
                stream.shutdown(Shutdown::Write).ok();
            });
        }
    });
    address
}

/// Sends bytes and ends; what came back.
fn echoed(delay: &Delay, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(delay.address()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).unwrap();
        back
    })
}

#[test]
fn a_long_link_takes_its_time_and_changes_nothing() {
    let round_trip = Duration::from_millis(60);
    let delay = Delay::to(echo(), round_trip, GIGABIT).unwrap();
    let mut stream = TcpStream::connect(delay.address()).unwrap();
    for wanted in [2 * round_trip, round_trip, round_trip] {
        let start = Instant::now();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        // The first waits for the connection, too.
        assert!(start.elapsed() >= wanted, "{:?}", start.elapsed());
    }
    let bytes = Rng::new(1).bytes(20 << 20);
    assert!(echoed(&delay, &bytes) == bytes);
}

#[test]
fn connections_share_the_rate_of_a_long_link() {
    let delay = Delay::to(echo(), Duration::ZERO, 2_000_000).unwrap();
    let bytes = Rng::new(1).bytes(500_000);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert!(echoed(&delay, &bytes) == bytes));
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn a_long_link_to_somebody_who_does_not_read_takes_no_more_in_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let delay = Delay::to(listener.local_addr().unwrap(), Duration::from_millis(20), GIGABIT).unwrap();
    let mut stream = TcpStream::connect(delay.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let chunk = vec![0; 1 << 20];
    let taken = (0..256).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(taken < 256, "{taken} MiB");
}

#[test]
fn a_server_can_be_far_away() {
    let Some(mut server) = Sshd::cloud() else { return };
    // Longer than all else takes.
    server.far_away(Duration::from_millis(400));
    let start = Instant::now();
    assert_eq!(ssh(&server, &["peer", "echo there"]), (true, "there\n".into()));
    // To connect, to agree upon keys, to prove who one is, to run: at least a round trip each.
    assert!(start.elapsed() >= Duration::from_millis(1600), "{:?}", start.elapsed());
}
