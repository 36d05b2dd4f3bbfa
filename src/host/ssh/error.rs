//! What can go wrong with an SSH host.

use std::path::PathBuf;
use std::time::Duration;

use crate::cancel::Cancelled;

/// A failure of a connection, or of something done over one. `host` is the host as it was named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a host cannot be used.
    #[error("`{text}` does not name an SSH host: {why}")]
    BadName {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something handed over cannot be sent.
    #[error("{what}")]
    Unsendable {
        /// What, and why not.
        what: String,
    },
    /// The `ssh` program could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// It.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory that holds the connection's socket cannot be used.
    #[error("cannot keep connections in `{}`: {why}", .path.display())]
    Control {
        /// It.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file or pipe of the connection failed here.
    #[error("cannot {op} `{}`", .path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key of the host is not the one that is known.
    #[error("the key of host `{host}` is not the one that is known")]
    HostKeyChanged {
        /// The host.
        host: String,
        /// `SHA256:…` of the key it showed.
        fingerprint: Option<String>,
        /// The file and line of the known one.
        known: Option<String>,
        /// How `ssh-keygen` and known-hosts files name the host.
        name: String,
    },
    /// Nothing is known about the key of the host.
    #[error("the key of host `{host}` is not known")]
    HostKeyUnknown {
        /// The host.
        host: String,
        /// `SHA256:…` of the key it showed.
        fingerprint: Option<String>,
        /// How it would be asked for by hand.
        by_hand: String,
    },
    /// The host let nobody in with what was offered.
    #[error("host `{host}` refused the login")]
    Refused {
        /// The host.
        host: String,
        /// What ssh said.
        said: String,
        /// A password was given, and offered.
        password: bool,
        /// The host asked for something that nobody here can answer.
        asked: Option<String>,
        /// How it would be called by hand.
        by_hand: String,
    },
    /// No connection could be made.
    #[error("no connection to host `{host}`")]
    Unreachable {
        /// The host.
        host: String,
        /// What ssh said.
        said: String,
    },
    /// The connection was not there in time.
    #[error("no connection to host `{host}` within {limit:?}")]
    ConnectTimeout {
        /// The host.
        host: String,
        /// What was allowed.
        limit: Duration,
        /// What ssh said until then.
        said: String,
    },
    /// ssh and the host, or ssh and its configuration, do not fit.
    #[error("ssh cannot connect to host `{host}` as it is configured")]
    Config {
        /// The host.
        host: String,
        /// What ssh said.
        said: String,
    },
    /// The connection ended while something went on over it.
    #[error("the connection to host `{host}` was lost")]
    Lost {
        /// The host.
        host: String,
        /// What ssh said.
        said: String,
        /// Whether it is certain that nothing had begun there.
        before: bool,
    },
    /// The host allows no further session on a connection, and none of ours will end.
    #[error("host `{host}` opens no session")]
    NoSession {
        /// The host.
        host: String,
        /// What ssh said.
        said: String,
    },
    /// The login shell of the host did not run `sh`.
    #[error("no POSIX shell answered on host `{host}`")]
    NoShell {
        /// The host.
        host: String,
        /// What it said instead.
        said: String,
    },
    /// `sudo` let us not.
    #[error("sudo refused on host `{host}`")]
    Sudo {
        /// The host.
        host: String,
        /// What it said.
        said: String,
        /// A password was given, and offered.
        password: bool,
    },
    /// There is no such program on the host.
    #[error("there is no program `{program}` on host `{host}`")]
    NoProgram {
        /// The host.
        host: String,
        /// First word of the command.
        program: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter the directory `{dir}` on host `{host}`")]
    NoDirectory {
        /// The host.
        host: String,
        /// The directory.
        dir: String,
    },
    /// It took longer than allowed and was ended.
    #[error("`{program}` on host `{host}` was not done within {limit:?}")]
    Timeout {
        /// The host.
        host: String,
        /// First word of the command.
        program: String,
        /// What was allowed.
        limit: Duration,
        /// Whether its end was confirmed; otherwise it may still run.
        ended: bool,
    },
    /// The run was stopped while it went on.
    #[error("`{program}` on host `{host}` was stopped")]
    Cancelled {
        /// The host.
        host: String,
        /// What went on: the first word of a command, or what the host was asked for.
        program: String,
        /// Why the run was stopped.
        #[source]
        source: Cancelled,
    },
    /// A command that was started under a key is gone, and left no result.
    #[error("the command that was started as `{key}` on host `{host}` is gone, and how it ended is not known")]
    JobLost {
        /// The host.
        host: String,
        /// Its key.
        key: String,
        /// Where its output is.
        dir: String,
    },
    /// A shell of the host gave an answer that makes no sense.
    #[error("host `{host}` gave an answer to {what} that cannot be read")]
    Answer {
        /// The host.
        host: String,
        /// What was asked for.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// The host is another kind of machine than this program was built for.
    #[error("host `{host}` is another kind of machine: {machine}")]
    OtherMachine {
        /// The host.
        host: String,
        /// As its `uname -sm` has it.
        machine: String,
    },
    /// No directory of the host lets a program run.
    #[error("no directory on host `{host}` lets a program of ours run")]
    NoPlace {
        /// The host.
        host: String,
        /// The only one that was tried.
        dir: Option<String>,
    },
    /// There is no room for a program.
    #[error("no space for a program on host `{host}`")]
    NoSpace {
        /// The host.
        host: String,
        /// What its shell said.
        said: String,
    },
    /// A program did not arrive as it was sent.
    #[error("a program arrived damaged on host `{host}`")]
    Damaged {
        /// The host.
        host: String,
    },
    /// A small task on the host failed.
    #[error("cannot {what} on host `{host}`")]
    Task {
        /// The host.
        host: String,
        /// What was to be done.
        what: String,
        /// What its shell said.
        said: String,
    },
}

impl Error {
    /// Whether it is certain that what was asked for did not begin, or is over for good.
    #[must_use]
    pub fn settled(&self) -> bool {
        match self {
            Self::Lost { before, .. } => *before,
            Self::Timeout { .. } | Self::Cancelled { .. } | Self::JobLost { .. } => false,
            _ => true,
        }
    }
}
