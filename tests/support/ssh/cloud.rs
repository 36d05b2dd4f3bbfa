//! Networks of the tests: a link between this machine and a server's namespace, or between two such namespaces.
//!
//! The end of a link lives in the server's namespace, so that it goes with the server, also after a crash.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;

/// Until it has a link.
pub(super) const ADDRESS: &str = "192.0.2.1";

/// The name of the link's end in the namespace.
const INSIDE: &str = "uplink";

/// Addresses of one link, `(this end, that end)`, not used by any other test that runs now.
fn addresses() -> (String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // 100.64.0.0/10 is for such inner links; a /30 each, from a place of this process.
    let number = (std::process::id().wrapping_mul(61) + NEXT.fetch_add(1, Ordering::SeqCst)) % (1 << 20);
    let address = |last: u32| {
        let bits = (100 << 24) | (64 << 16) | (number << 2) | last;
        std::net::Ipv4Addr::from(bits).to_string()
    };
    (address(1), address(2))
}

/// A link from this machine into the namespace of `inside`; the address there.
pub(super) fn connect(inside: Pid) -> String {
    let (here, there) = addresses();
    let pid = inside.as_raw_pid();
    let name = format!("dt{pid}");
    ip(&["link", "add", &name, "type", "veth", "peer", "name", INSIDE, "netns", &pid.to_string()]);
    ip(&["addr", "add", &format!("{here}/30"), "dev", &name]);
    ip(&["link", "set", &name, "up"]);
    within(inside, &["ip", "addr", "add", &format!("{there}/30"), "dev", INSIDE]);
    within(inside, &["ip", "link", "set", INSIDE, "up"]);
    there
}

/// A link between two namespaces in place of the one `inside` has; the address it has there.
pub(super) fn behind(inside: Pid, other: Pid) -> String {
    let (here, there) = addresses();
    let name = format!("dt{}", inside.as_raw_pid());
    within(inside, &["ip", "link", "del", INSIDE]);
    let pids = [inside, other].map(|pid| pid.as_raw_pid().to_string());
    ip(&["link", "add", &name, "netns", &pids[1], "type", "veth", "peer", "name", INSIDE, "netns", &pids[0]]);
    within(other, &["ip", "addr", "add", &format!("{here}/30"), "dev", &name]);
    within(other, &["ip", "link", "set", &name, "up"]);
    within(inside, &["ip", "addr", "add", &format!("{there}/30"), "dev", INSIDE]);
    within(inside, &["ip", "link", "set", INSIDE, "up"]);
    there
}

/// Takes the link of a namespace down, or up.
pub(super) fn link(inside: Pid, up: bool) {
    within(inside, &["ip", "link", "set", INSIDE, if up { "up" } else { "down" }]);
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn within(inside: Pid, words: &[&str]) {
    let net = format!("--net=/proc/{}/ns/net", inside.as_raw_pid());
    let output = Command::new("nsenter").arg(net).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
