//! The process that holds a connection: started, watched, asked why it ended.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::askpass::Askpass;
use super::config::{self, Resolved, quoted};
use super::control::Control;
use super::{Dest, Error, Options, Trust, reason};
use crate::cancel::Cancel;
use crate::host::process::Process;

/// What is allowed beyond the time for connecting: logging in may run programs on the far side.
const LOGIN: Duration = Duration::from_secs(30);

/// How long a log may grow before it is emptied: at the level that tells the host's key, every session adds some lines.
const LOG_BYTES: u64 = 1 << 20;

/// A host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519`.
    pub kind: String,
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// It was not known before, and is now.
    pub first_use: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Master {
    control: Control,
    /// The host's key.
    pub(super) host_key: Option<HostKey>,
    /// The process.
    pub(super) process: Process,
}

impl Master {
    /// Connects.
    pub(super) fn connect(dest: &Dest, options: &Options, cancel: &Cancel) -> Result<Self, Error> {
        // ssh would look for a name without a directory at a place of its own, and do without a file that is missing.
        let found = options.config.as_deref().map(|config| {
            fs::canonicalize(config).map_err(|source| Error::Io { op: "read", path: config.to_owned(), source })
        });
        let options = &Options { config: found.transpose()?, ..options.clone() };
        let control = Control::new(&options.base)?;
        let file = control.file("config");
        let write = |text: String| {
            fs::write(&file, text).map_err(|source| Error::Io { op: "write", path: file.clone(), source })
        };
        let own = options.known_hosts.as_deref().map(quoted);
        write(config::text(options, own.as_deref()))?;
        let resolved = Resolved::of(dest, options, &file)?;
        if let Trust::FirstUse { file: run } = &options.trust {
            // A new key goes to the first of the files; all of them are looked at.
            let others = own.unwrap_or_else(|| resolved.known.clone());
            write(config::text(options, Some(&format!("{} {others}", quoted(run)))))?;
        }
        let askpass = options
            .password
            .clone()
            .map(|password| Askpass::serve(&control, &options.program, password, &resolved))
            .transpose()?;
        let child = start(dest, options, &control, askpass.as_ref())?;
        let host = dest.to_string();
        let limit = options.connect_timeout + LOGIN;
        let ended = wait(child, limit, cancel);
        let log = log(&control);
        let seen = askpass.map(Askpass::end).unwrap_or_default();
        match ended {
            Ok(true) => {}
            Ok(false) => return Err(reason::of(&host, &resolved, &log, seen.offered, seen.unanswered)),
            Err(Stopped::Cancelled(source)) => {
                return Err(Error::Cancelled { host, program: "connecting".into(), source });
            }
            Err(Stopped::Late) => return Err(Error::ConnectTimeout { host, limit, said: reason::said(&log) }),
            Err(Stopped::Io(source)) => return Err(Error::Start { program: "ssh", source }),
        }
        let first_use = reason::added(&log);
        let host_key = reason::host_key(&log).map(|(kind, fingerprint)| HostKey { kind, fingerprint, first_use });
        let process = check(&control.socket()).and_then(Process::of);
        let process = process.ok_or_else(|| Error::Unreachable { host, said: reason::said(&log) })?;
        Ok(Self { control, host_key, process })
    }

    /// Whether the connection is held, as far as is known here.
    pub(super) fn lives(&self) -> bool {
        let log = self.control.file("log");
        if log.metadata().is_ok_and(|meta| meta.len() > LOG_BYTES) {
            // ssh appends, so that it goes on at the new end.
            fs::OpenOptions::new().write(true).truncate(true).open(log).ok();
        }
        self.control.socket().exists() && self.process.lives()
    }

    /// What the log tells of its end.
    pub(super) fn said(&self) -> String {
        reason::said(&log(&self.control))
    }

    /// The socket of the connection.
    pub(super) fn socket(&self) -> std::path::PathBuf {
        self.control.socket()
    }
}

fn start(dest: &Dest, options: &Options, control: &Control, askpass: Option<&Askpass>) -> Result<Child, Error> {
    let failed = |source| Error::Start { program: "ssh", source };
    let errors = fs::File::create(control.file("stderr")).map_err(failed)?;
    let mut ssh = Command::new("ssh");
    // With -v a jump host's own ssh says why it failed.
    ssh.args(["-v", "-M", "-N", "-T", "-F"]).arg(control.file("config")).arg("-E").arg(control.file("log"));
    ssh.arg("-S").arg(control.socket()).arg("-o").arg(format!("ControlPersist={}", options.idle.as_secs().max(1)));
    // The file says no for jump hosts; this is the one that stays.
    ssh.args(["-o", "ControlMaster=yes"]).args(config::words(dest, options)).arg("--").arg(&dest.host);
    match askpass {
        Some(askpass) => {
            ssh.env("SSH_ASKPASS", askpass.program()).env("SSH_ASKPASS_REQUIRE", "force");
            if std::env::var_os("DISPLAY").is_none() {
                ssh.env("DISPLAY", ":0");
            }
        }
        None => drop(ssh.env("SSH_ASKPASS_REQUIRE", "never")),
    }
    // A group of its own: Ctrl-C on the terminal is ours to decide about.
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).process_group(0);
    ssh.spawn().map_err(failed)
}

enum Stopped {
    Cancelled(crate::cancel::Cancelled),
    Late,
    Io(std::io::Error),
}

/// Waits until ssh has gone to the background, which it does when it is let in; false if it ended otherwise.
fn wait(mut child: Child, limit: Duration, cancel: &Cancel) -> Result<bool, Stopped> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait().map_err(Stopped::Io)? {
            return Ok(status.success());
        }
        let stopped = match cancel.sleep(pause) {
            Err(cancelled) => Some(Stopped::Cancelled(cancelled)),
            Ok(()) => (deadline <= Instant::now()).then_some(Stopped::Late),
        };
        if let Some(stopped) = stopped {
            if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                kill_process_group(group, Signal::KILL).ok();
            }
            child.wait().ok();
            return Err(stopped);
        }
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Everything ssh said, and its jump hosts.
fn log(control: &Control) -> String {
    let read = |name: &str| fs::read(control.file(name)).unwrap_or_default();
    String::from_utf8_lossy(&[read("stderr"), read("log")].concat()).into_owned()
}

/// The process behind a socket, if it answers.
fn check(socket: &Path) -> Option<u32> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-O", "check", "-S"]).arg(socket).arg("decamp");
    let output = ssh.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_once("pid=")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
