//! A session on a connection: a command line for the login shell of the far side, and pipes to it.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::master::Master;
use super::slots::{NoSlot, Slot};
use super::{Error, Host};
use crate::cancel::Cancel;

/// An open session, with the pipes of its command: blocking, as engines want them.
///
/// What comes out of `stdout` may end at any byte when the connection is lost, and looks like a good end then: whoever
/// reads must know the end by itself.
#[derive(Debug)]
pub struct Channel {
    /// What the command reads. Dropped: it reads an end of file.
    pub stdin: Option<ChildStdin>,
    /// What it writes.
    pub stdout: Option<ChildStdout>,
    /// What it writes to its standard error, with what ssh has to say about a lost connection.
    pub stderr: Option<ChildStderr>,
    pub(super) said: Option<Arc<Mutex<Vec<u8>>>>,
    child: Child,
    pub(super) master: Arc<Master>,
    slot: Slot,
}

/// What becomes of a session that did not open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// The server has no further one.
    Refused,
    /// The connection was gone before.
    Gone,
}

impl Host {
    /// Opens a session that runs `line` in the login shell of the far side. Waits if as many are open as may be.
    ///
    /// Whether the far side has it is seen from its first answer alone.
    ///
    /// # Errors
    /// As [`Host::connect`].
    pub fn open(&self, line: &str, cancel: &Cancel) -> Result<Channel, Error> {
        let slot = self.slots.take(cancel).map_err(|none| match none {
            NoSlot::Cancelled(source) => self.cancelled("opening a session", source),
            NoSlot::Kept(all) => {
                let said = format!("all {all} that may be open at once are in use by the agent");
                Error::NoSession { host: self.name(), said }
            }
        })?;
        let master = self.living(cancel)?;
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ControlMaster=no"]);
        // Without a session it would make a connection of its own: this way it cannot.
        ssh.args(["-o", "ProxyCommand=false", "-S"]).arg(master.socket()).args(["--", "decamp", line]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = ssh.spawn().map_err(|source| Error::Start { program: "ssh", source })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Channel { stdin, stdout, stderr, said: None, child, master, slot })
    }

    /// What to do after a session did not open: nothing began on the far side, so it may be tried again.
    pub(super) fn after_unopened(&self, unopened: &Unopened, master: &Arc<Master>, said: &str) -> Result<(), Error> {
        match unopened {
            Unopened::Gone => self.gone(master),
            Unopened::Refused if self.slots.refused() => {}
            Unopened::Refused => return Err(Error::NoSession { host: self.name(), said: said.to_owned() }),
        }
        Ok(())
    }
}

impl Channel {
    /// Ends the session from here, if it has not ended, and collects it.
    pub fn end(mut self) {
        self.stdin.take();
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Says that it stays open as long as an agent is there.
    pub(super) fn keep(&mut self) {
        self.slot.keep();
    }

    /// Ends it at once, without waiting: what is left is collected when it is dropped.
    pub(super) fn kill(&mut self) {
        self.child.kill().ok();
    }

    /// Waits for its end; everything it wrote must have been read, or is read meanwhile.
    pub(super) fn wait(&mut self) {
        self.child.wait().ok();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stdin.take();
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Whether what ssh said means that it got no session, so that nothing can have begun.
pub(super) fn unopened(said: &str) -> Option<Unopened> {
    let has = |text: &str| said.contains(text);
    if has("Session open refused by peer") || has("session request failed") {
        return Some(Unopened::Refused);
    }
    // It says nothing about a socket that is not there, and goes on to the connection that it cannot make.
    let asked = has("mux_client_request_session") || has("mux_client_hello") || has("Control master terminated");
    (has("Control socket connect") || has("Connection closed by UNKNOWN port") && !asked).then_some(Unopened::Gone)
}
