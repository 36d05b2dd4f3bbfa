//! Why ssh could not connect, found in what it logged.

use super::Error;
use super::config::Resolved;

/// What a log of ssh (level DEBUG1) says, without its debugging lines.
#[must_use]
pub(super) fn said(log: &str) -> String {
    let noise = |line: &&str| {
        let line = line.trim();
        let empty = line.is_empty() || line.chars().all(|c| c == '@');
        let debug = line.starts_with("debug") || line.starts_with("OpenSSH_") || line.starts_with("Authenticated ");
        !(empty || debug || line.starts_with("Transferred:") || line.starts_with("Bytes per second:"))
    };
    let lines: Vec<&str> = log.lines().filter(noise).map(str::trim).collect();
    let from = lines.len().saturating_sub(8);
    lines[from..].join(" | ")
}

/// The last key a host showed, as `(type, SHA256:…)`: on the way over a jump host that host shows its own first.
pub(super) fn host_key(log: &str) -> Option<(String, String)> {
    let line = log.lines().rev().find_map(|line| line.trim().strip_prefix("debug1: Server host key: "))?;
    let mut words = line.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// Whether the log says that a key was written down for the first time.
pub(super) fn added(log: &str) -> bool {
    log.lines().any(|line| line.contains("Permanently added"))
}

/// What a failed connection failed of. `offered`: a password was given to the host; `asked`: what nobody could answer.
pub(super) fn of(host: &str, resolved: &Resolved, log: &str, offered: bool, asked: Option<String>) -> Error {
    let host = host.to_owned();
    let said = said(log);
    let has = |text: &str| log.contains(text);
    let fingerprint = || host_key(log).map(|(_, fingerprint)| fingerprint);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("has changed and you have requested strict checking") {
        let known = log.lines().find_map(|line| {
            let line = line.trim().strip_prefix("Offending ")?;
            line.split_once("key in ").map(|(_, place)| place.to_owned())
        });
        return Error::HostKeyChanged { host, fingerprint: fingerprint(), known, name: resolved.known_as() };
    }
    if has("host key is known for") || has("Host key verification failed") {
        return Error::HostKeyUnknown { host, fingerprint: fingerprint(), by_hand: resolved.by_hand() };
    }
    let refused = ["Permission denied", "Too many authentication failures", "No supported authentication methods"];
    if refused.iter().any(|text| has(text)) || asked.is_some() {
        return Error::Refused { host, said, password: offered, asked, by_hand: resolved.by_hand() };
    }
    let config = [
        "Bad configuration option",
        "bad configuration options",
        "Unable to negotiate",
        "no matching ",
        "Bad owner or permissions",
        "Can't open user config file",
        "Unsupported option",
        "keyword ",
        "unknown ",
    ];
    if config.iter().any(|text| said.contains(text)) && !has("Connection timed out") && !has("Could not resolve") {
        return Error::Config { host, said };
    }
    Error::Unreachable { host, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(log: &str) -> Error {
        of("db1", &Resolved::default(), log, false, None)
    }

    #[test]
    fn reasons_are_told_apart() {
        let changed = "debug1: Server host key: ssh-ed25519 SHA256:new\n@@@@@@\n\
                       @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
                       Offending ED25519 key in /root/.ssh/known_hosts:3\nHost key verification failed.";
        let Error::HostKeyChanged { fingerprint, known, .. } = judged(changed) else { panic!("{changed}") };
        assert_eq!(fingerprint.as_deref(), Some("SHA256:new"));
        assert_eq!(known.as_deref(), Some("/root/.ssh/known_hosts:3"));
        let unknown = "No ED25519 host key is known for db1 and you have requested strict checking.\nHost key verification failed.";
        assert!(matches!(judged(unknown), Error::HostKeyUnknown { .. }));
        assert!(matches!(judged("root@db1: Permission denied (publickey,password)."), Error::Refused { .. }));
        assert!(matches!(judged("/x: line 3: Bad configuration option: foo"), Error::Config { .. }));
        for text in [
            "ssh: connect to host db1 port 22: Connection refused",
            "ssh: Could not resolve hostname db1: Name or service not known",
        ] {
            let Error::Unreachable { said, .. } = judged(&format!("debug1: x\n{text}\n")) else { panic!("{text}") };
            assert_eq!(said, text);
        }
    }
}
