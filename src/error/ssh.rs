//! Words what fails with SSH hosts.

use super::{Error, Kind};
use crate::host::ssh;

impl From<ssh::Error> for Error {
    fn from(error: ssh::Error) -> Self {
        use ssh::Error as E;
        let message = error.to_string();
        let made = |kind: Kind| Self::new(kind, message.clone());
        match error {
            E::BadName { .. } => made(Kind::Invalid).hint("write [user@]host[:port], or ssh://[user@]host[:port]"),
            E::Unsendable { .. } => made(Kind::Invalid),
            E::Start { program, source } if source.kind() == std::io::ErrorKind::NotFound => {
                made(Kind::NotFound).because(source).hint(format!("install OpenSSH's client: there is no `{program}`"))
            }
            E::Start { source, .. } | E::Io { source, .. } => made(Kind::Io).because(source),
            E::Control { .. } => {
                made(Kind::Denied).hint("set XDG_RUNTIME_DIR to a short directory that only you may use")
            }
            E::HostKeyChanged { fingerprint, known, name, .. } => {
                let file = known.as_deref().and_then(|place| place.rsplit_once(':')).map(|(file, _)| file);
                let forget = match file {
                    Some(file) => format!("ssh-keygen -R '{name}' -f '{file}'"),
                    None => format!("ssh-keygen -R '{name}'"),
                };
                let known = known.map_or_else(String::new, |place| format!(" known from {place}"));
                made(Kind::Denied)
                    .hint(format!("it shows {}, which is not the key{known}", shown(fingerprint)))
                    .hint("somebody may stand between; ask whoever runs the host whether its key was changed")
                    .hint(format!("only if it was: {forget}"))
            }
            E::HostKeyUnknown { fingerprint, by_hand, .. } => made(Kind::Denied)
                .hint(format!("it shows {}; compare that with what whoever runs the host says", shown(fingerprint)))
                .hint(format!("then call it once by hand, which asks: {by_hand}"))
                .hint("a script can believe a new key the first time: host::ssh(dest, #{ trust: \"first_use\" })"),
            E::Refused { said, password, asked, by_hand, .. } => {
                let error = made(Kind::Denied).because(told(&said));
                let target = by_hand.trim_start_matches("ssh ");
                match (asked, password) {
                    (Some(asked), _) => error.hint(format!("it asked for something nobody answers here: {asked}")),
                    (None, true) => error.hint("the password was not taken, and was tried once"),
                    (None, false) => error
                        .hint(format!("install your key there: ssh-copy-id {target}"))
                        .hint("or name another key with `key`, or give a `password`"),
                }
                .hint(format!("see what is offered: ssh -v {target}"))
            }
            E::Unreachable { said, .. } => made(Kind::Unreachable).because(told(&said)),
            E::ConnectTimeout { said, .. } => made(Kind::Timeout).because(told(&said)),
            E::Config { said, .. } => {
                made(Kind::Invalid).because(told(&said)).hint("see what ssh makes of it: ssh -G HOST")
            }
            E::Lost { said, before, .. } => {
                let error = made(Kind::Unreachable).because(told(&said));
                if before { error } else { error.hint("what went on there may have ended half way") }
            }
            E::NoSession { said, .. } => made(Kind::Conflict)
                .because(told(&said))
                .hint("its sshd may allow none: look at MaxSessions and ForceCommand there"),
            E::NoShell { said, .. } => made(Kind::Unsupported)
                .because(told(&said))
                .hint("decamp needs `sh` and a login that may run commands there"),
            E::Sudo { said, password, .. } => {
                let error = made(Kind::Denied).because(told(&said));
                if password {
                    error.hint("the password was not taken, and was tried once")
                } else {
                    error.hint("give the password: sudo_password: secret(…), or let sudo ask for none (NOPASSWD)")
                }
            }
            E::NoProgram { .. } => {
                made(Kind::NotFound).hint("it must be on the PATH there, or named with its full path")
            }
            E::NoDirectory { .. } => made(Kind::NotFound),
            E::Timeout { ended, .. } => {
                let error = made(Kind::Timeout).hint("give it more time with the option `timeout`");
                if ended { error } else { error.hint("whether it was ended there is not known") }
            }
            E::Cancelled { source, .. } => Self::from(source).because(source),
            E::JobLost { dir, .. } => made(Kind::Conflict)
                .hint("the host was restarted, or somebody killed it with what looks after it")
                .hint(format!("what it wrote until then is there in {dir}")),
            E::OtherMachine { .. } => made(Kind::Unsupported)
                .hint("without a program of ours there, only what its own tools can do is possible"),
            E::NoPlace { dir: Some(dir), .. } => {
                made(Kind::Unsupported).hint(format!("`{dir}` was to hold it; name another one with `agent_dir`"))
            }
            E::NoPlace { dir: None, .. } => made(Kind::Unsupported)
                .hint("name a directory from which programs may run with `agent_dir`")
                .hint("or let it run from memory, if that is allowed there: agent_memory: true"),
            E::NoSpace { said, .. } => made(Kind::NoSpace)
                .because(told(&said))
                .hint("make space there, or name another directory with `agent_dir`"),
            E::Damaged { .. } => made(Kind::Mismatch)
                .hint("try again; if it happens again, look at the memory and the network of both sides"),
            E::Answer { said, .. } => made(Kind::RemoteFailed).because(told(&said)),
            E::Task { said, .. } => made(Kind::RemoteFailed).because(told(&said)),
        }
    }
}

impl From<ssh::NoAgent> for Error {
    fn from(error: ssh::NoAgent) -> Self {
        let message = error.to_string();
        match error {
            ssh::NoAgent::Host(error) => error.into(),
            ssh::NoAgent::Silent { said, broken, .. } => {
                let broken = Self::from(broken);
                let mut made = Self::new(broken.kind, format!("{message}: {}", broken.message));
                made.hints = broken.hints;
                if !said.is_empty() {
                    made = made.because(told(&said));
                }
                made
            }
        }
    }
}

fn shown(fingerprint: Option<String>) -> String {
    fingerprint.unwrap_or_else(|| "a key that is not told".into())
}

/// What a program said, as a cause.
fn told(said: &str) -> Box<dyn std::error::Error + Send + Sync> {
    if said.is_empty() { "it said nothing".into() } else { said.into() }
}

impl From<crate::host::endpoint::BadEndpoint> for Error {
    fn from(error: crate::host::endpoint::BadEndpoint) -> Self {
        match error {
            crate::host::endpoint::BadEndpoint::Host(error) => error.into(),
            other => Self::new(Kind::Invalid, other.to_string()).because(other),
        }
    }
}
