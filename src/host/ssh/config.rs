//! What ssh is told, and what it makes of the user's own configuration.
//!
//! What must hold stands before the user's file (the first value wins, and only a file reaches jump hosts); what is a
//! preference stands behind it, so that the user's own wins.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Dest, Error, Options, Trust};

/// Text of the generated file.
pub(super) fn text(options: &Options, known: Option<&str>) -> String {
    let mut out = String::from("Host *\n");
    let mut must = |line: &str| {
        out.push_str("    ");
        out.push_str(line);
        out.push('\n');
    };
    must(match options.trust {
        Trust::Known => "StrictHostKeyChecking yes",
        Trust::FirstUse { .. } => "StrictHostKeyChecking accept-new",
    });
    if let Some(known) = known {
        must(&format!("UserKnownHostsFile {known}"));
        must("HashKnownHosts no");
    }
    must("NumberOfPasswordPrompts 1");
    must(if options.password.is_some() { "BatchMode no" } else { "BatchMode yes" });
    must(&format!("ConnectTimeout {}", seconds(options.connect_timeout)));
    // A connection of the user's own to a jump host may be used, and none is made that stays.
    must("ControlMaster no");
    must("UpdateHostKeys no");
    if let Some(keepalive) = options.keepalive {
        must(&format!("ServerAliveInterval {}", seconds(keepalive)));
    }
    match options.config.clone().or_else(user_config) {
        Some(config) => out.push_str(&format!("Include {}\n", quoted(&config))),
        // ssh looks at the user database for the home directory, not at the environment.
        None => out.push_str("Include ~/.ssh/config\n"),
    }
    if options.config.is_none() {
        out.push_str("Include /etc/ssh/ssh_config\n");
    }
    out.push_str("Host *\n    ServerAliveInterval 5\n    ServerAliveCountMax 3\n");
    // Wherever the processor has AES these are the fastest; an old server still finds the others behind them.
    out.push_str("    Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com\n");
    out
}

fn seconds(span: Duration) -> u64 {
    span.as_secs().max(1)
}

fn user_config() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    Some(home.join(".ssh/config")).filter(|path| path.is_file())
}

/// A path for a configuration file.
pub(super) fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

/// Options of the command line: they hold for this host alone, whatever any file says.
pub(super) fn words(dest: &Dest, options: &Options) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in [
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "EscapeChar=none",
    ] {
        words.extend(["-o".to_owned(), word.to_owned()]);
    }
    if let Some(user) = &dest.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = dest.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(key) = &options.key {
        words.extend(["-i".to_owned(), key.display().to_string(), "-o".to_owned(), "IdentitiesOnly=yes".to_owned()]);
    }
    if let Some(jump) = &options.jump {
        words.extend(["-J".to_owned(), jump.clone()]);
    }
    words
}

/// What ssh makes of a host.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolved {
    /// Address or name that is connected to.
    pub(super) host: String,
    /// Login name.
    pub(super) user: String,
    /// Port.
    pub(super) port: u16,
    /// The files known keys are looked for in, as a configuration line has them.
    pub(super) known: String,
    /// Another name for the host in these files.
    pub(super) alias: Option<String>,
}

impl Resolved {
    /// Asks `ssh -G`, which connects to nothing.
    pub(super) fn of(dest: &Dest, options: &Options, config: &Path) -> Result<Self, Error> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-G").arg("-F").arg(config).args(words(dest, options)).arg("--").arg(&dest.host);
        let output = ssh.stdin(Stdio::null()).output().map_err(|source| Error::Start { program: "ssh", source })?;
        if !output.status.success() {
            let said = super::reason::said(&String::from_utf8_lossy(&output.stderr));
            return Err(Error::Config { host: dest.to_string(), said });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let value = |key: &str| {
            text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key)).map(|(_, value)| value)
        };
        Ok(Self {
            host: value("hostname").unwrap_or(&dest.host).to_owned(),
            user: value("user").unwrap_or_default().to_owned(),
            port: value("port").and_then(|port| port.parse().ok()).unwrap_or(22),
            known: value("userknownhostsfile").unwrap_or_default().to_owned(),
            alias: value("hostkeyalias").map(str::to_owned),
        })
    }

    /// How known-hosts files name it.
    pub(super) fn known_as(&self) -> String {
        match (&self.alias, self.port) {
            (Some(alias), _) => alias.clone(),
            (None, 22) => self.host.clone(),
            (None, port) => format!("[{}]:{port}", self.host),
        }
    }

    /// The command line that asks a person.
    pub(super) fn by_hand(&self) -> String {
        let port = if self.port == 22 { String::new() } else { format!("-p {} ", self.port) };
        format!("ssh {port}{}@{}", self.user, self.host)
    }
}
