//! A host over the user's own OpenSSH: configuration, agent, certificates, jump hosts, hardware keys all hold.
//!
//! One connection a host, made by our own call of `ssh -M -N` with a generated configuration, in a private directory
//! ([`control`]). Each session on it is a child process `ssh -S socket`. A library that speaks the socket's protocol would
//! save that process, some milliseconds each, and bring a second runtime: engines need blocking pipes, which a child has.
//! What is said against such children does not hold here: what a command ended with is told by an end marker of our own
//! in its output and never by the exit code of `ssh` ([`run`]), and one that finds no session cannot fall back to
//! another connection, because it is given none to make ([`session`]).

pub mod askpass;
mod config;
pub mod control;
mod dest;
mod error;
mod far;
mod gather;
mod job;
pub mod keys;
mod master;
mod quote;
mod ranged;
mod reason;
mod run;
mod session;
mod shell;
mod slots;
mod stream;
mod upload;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;

pub use dest::Dest;
pub use error::Error;
pub use far::{Far, NoAgent, SILENT};
pub use job::Job;
pub use master::HostKey;
pub use ranged::Plain;
pub use run::{Call, Sudo};
pub use session::Channel;
pub use shell::Shell;
pub use upload::{Place, Placed};

use crate::cancel::Cancel;
use master::Master;
use slots::Slots;

/// Whose key is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Keys that the user's known-hosts files hold.
    Known,
    /// Also the key of a host that is not in them, the first time; it is written to `file` and must be the same later.
    FirstUse {
        /// A known-hosts file.
        file: PathBuf,
    },
}

/// How a host is connected to.
#[derive(Debug, Clone)]
pub struct Options {
    /// A private key to log in with; none: what the configuration and the agent have.
    pub key: Option<PathBuf>,
    /// A known-hosts file in place of the user's.
    pub known_hosts: Option<PathBuf>,
    /// Whose key is believed.
    pub trust: Trust,
    /// Jump hosts, as `ssh -J` takes them.
    pub jump: Option<String>,
    /// The password of the login.
    pub password: Option<SecretString>,
    /// A configuration file in place of the user's and the system's.
    pub config: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How often a silent server is asked whether it lives; after three times without an answer the connection is lost.
    /// None: as the user's configuration says, or 5 seconds.
    pub keepalive: Option<Duration>,
    /// How long a connection that nothing uses stays.
    pub idle: Duration,
    /// How many sessions at once.
    pub sessions: usize,
    /// Where a program of ours may lie there.
    pub place: Place,
    /// The directory for the sockets.
    pub base: PathBuf,
    /// The program that asks for passwords: see [`askpass`].
    pub program: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: None,
            known_hosts: None,
            trust: Trust::Known,
            jump: None,
            password: None,
            config: None,
            connect_timeout: Duration::from_secs(30),
            keepalive: None,
            idle: Duration::from_secs(600),
            sessions: 8,
            place: Place::default(),
            base: control::base(),
            program: std::env::current_exe().unwrap_or_default(),
        }
    }
}

/// A host that is connected to when it is first used, and again when its connection was lost.
#[derive(Debug)]
pub struct Host {
    dest: Dest,
    options: Options,
    slots: Slots,
    master: Mutex<Option<Arc<Master>>>,
}

impl Host {
    /// The host of that name. Nothing is connected yet.
    #[must_use]
    pub fn new(dest: Dest, options: Options) -> Self {
        let slots = Slots::new(options.sessions);
        Self { dest, options, slots, master: Mutex::default() }
    }

    /// Its name, as it was given.
    #[must_use]
    pub fn name(&self) -> String {
        self.dest.to_string()
    }

    /// Connects, if that is not done yet or the connection is gone.
    ///
    /// # Errors
    /// [`Error`]; see there.
    pub fn connect(&self, cancel: &Cancel) -> Result<(), Error> {
        self.living(cancel).map(drop)
    }

    /// The key the host showed when it was connected to; none if this version of ssh does not tell.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn host_key(&self, cancel: &Cancel) -> Result<Option<HostKey>, Error> {
        Ok(self.living(cancel)?.host_key.clone())
    }

    /// The process that holds the connection, if there is one.
    #[must_use]
    pub fn master_pid(&self) -> Option<u32> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|master| master.process.pid)
    }

    /// The connection for a program that starts its own `ssh`, such as rsync.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn shell(&self, cancel: &Cancel) -> Result<Shell, Error> {
        Ok(Shell::new(self.living(cancel)?))
    }

    /// Ends the connection, with whatever goes on over it.
    pub fn close(&self) {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The connection, which lived a moment ago.
    fn living(&self, cancel: &Cancel) -> Result<Arc<Master>, Error> {
        // Held while connecting: others wait for the same connection.
        let mut held = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(master) = held.as_ref().filter(|master| master.lives()) {
            return Ok(Arc::clone(master));
        }
        held.take();
        let master = Arc::new(Master::connect(&self.dest, &self.options, cancel)?);
        *held = Some(Arc::clone(&master));
        Ok(master)
    }

    /// Forgets a connection that was found dead.
    fn gone(&self, master: &Arc<Master>) {
        let mut held = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|own| Arc::ptr_eq(own, master)) {
            held.take();
        }
    }
}
