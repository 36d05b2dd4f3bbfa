//! A program on the far side with pipes to it, for those who speak a protocol of their own.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use secrecy::{ExposeSecret, SecretString};

use super::quote::{NEWLINE, word};
use super::run::{Sudo, line};
use super::session::{Channel, unopened};
use super::{Error, Host};
use crate::cancel::Cancel;

/// How long the far side may take to start the program.
const START: Duration = Duration::from_secs(60);

/// How much is kept of what a program says on its standard error.
const SAID_BYTES: usize = 64 << 10;

impl Host {
    /// Starts a program and gives its pipes; the first byte of `stdout` is the program's own, whatever the login shell
    /// had to say. Standard error is read from then on, so that it never fills up: see [`Channel::said`].
    ///
    /// # Errors
    /// As [`Host::exec`].
    pub fn stream(&self, argv: &[String], sudo: Option<&Sudo>, cancel: &Cancel) -> Result<Channel, Error> {
        let name = argv.first().map_or("", String::as_str);
        let mut code = format!("{NEWLINE}exec");
        for argument in argv {
            code.push(' ');
            code.push_str(&word(argument)?);
        }
        self.stream_code(name, &code, sudo, cancel)
    }

    /// The same for shell code in one line that ends in the program.
    pub(super) fn stream_code(
        &self,
        name: &str,
        code: &str,
        sudo: Option<&Sudo>,
        cancel: &Cancel,
    ) -> Result<Channel, Error> {
        let deadline = Instant::now() + START;
        loop {
            let nonce = uuid::Uuid::now_v7().simple().to_string();
            let mut channel = self.open(&line(&nonce, sudo), cancel)?;
            let text = format!("{nonce}printf \"\\n%s begin\\n\" {nonce}; {code}\n").into_bytes();
            let password = sudo.and_then(|sudo| sudo.password.clone());
            let mut opening = Opening { nonce, text: Some(text), password, out: Vec::new(), said: Vec::new() };
            if opening.password.is_none() {
                opening.send(&mut channel);
            }
            if opening.wait(self, &mut channel, name, deadline, cancel)? {
                self.slots.opened();
                channel.listen();
                return Ok(channel);
            }
            // It ended before it began.
            let said = String::from_utf8_lossy(&opening.said).trim().to_owned();
            channel.wait();
            let master = Arc::clone(&channel.master);
            drop(channel);
            let host = self.name();
            match unopened(&said) {
                Some(why) => self.after_unopened(&why, &master, &said)?,
                None if !master.lives() => return Err(Error::Lost { host, said: master.said(), before: true }),
                None if sudo.is_some() => {
                    return Err(Error::Sudo { host, said, password: sudo.is_some_and(|sudo| sudo.password.is_some()) });
                }
                None => return Err(Error::NoShell { host, said }),
            }
            cancel.sleep(Duration::from_millis(50)).map_err(|source| self.cancelled(name, source))?;
        }
    }
}

/// A session before its program runs.
struct Opening {
    nonce: String,
    text: Option<Vec<u8>>,
    password: Option<SecretString>,
    out: Vec<u8>,
    said: Vec<u8>,
}

impl Opening {
    fn send(&mut self, channel: &mut Channel) {
        if let (Some(text), Some(stdin)) = (self.text.take(), channel.stdin.as_mut()) {
            // A pipe that is closed is seen at its other ends.
            stdin.write_all(&text).and_then(|()| stdin.flush()).ok();
        }
    }

    /// Reads until the mark; false if the session ended before.
    fn wait(
        &mut self,
        host: &Host,
        channel: &mut Channel,
        name: &str,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        let begin = format!("\n{} begin\n", self.nonce).into_bytes();
        let (prompt, ready) = (format!("{} password:", self.nonce), format!("{} ready\n", self.nonce));
        loop {
            cancel.check().map_err(|source| host.cancelled(name, source))?;
            if deadline <= Instant::now() {
                let (program, limit) = (name.to_owned(), START);
                return Err(Error::Timeout { host: host.name(), program, limit, ended: false });
            }
            let (Some(stdout), Some(stderr)) = (channel.stdout.as_mut(), channel.stderr.as_mut()) else {
                return Ok(false);
            };
            let mut ready_now = [PollFd::new(stdout, PollFlags::IN), PollFd::new(stderr, PollFlags::IN)];
            let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            poll(&mut ready_now, Some(&tick)).ok();
            let [out, err] = [ready_now[0].revents(), ready_now[1].revents()].map(|events| !events.is_empty());
            if err {
                let mut buffer = [0; 4096];
                let count = stderr.read(&mut buffer).unwrap_or(0);
                self.said.extend_from_slice(&buffer[..count]);
                if count == 0 && !out {
                    return Ok(false);
                }
            }
            if out {
                // What is behind the mark belongs to the program's reader: no byte of it is taken.
                let mut byte = [0];
                match stdout.read(&mut byte) {
                    Ok(0) | Err(_) => {
                        stderr.take(SAID_BYTES as u64).read_to_end(&mut self.said).ok();
                        return Ok(false);
                    }
                    Ok(_) => self.out.push(byte[0]),
                }
                if self.out.ends_with(&begin) {
                    return Ok(true);
                }
            }
            let said = String::from_utf8_lossy(&self.said).into_owned();
            if said.contains(&ready) {
                self.send(channel);
            } else if said.contains(&prompt) {
                self.said.clear();
                match (self.password.take(), channel.stdin.as_mut()) {
                    (Some(password), Some(stdin)) => {
                        let line = format!("{}\n", password.expose_secret());
                        stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).ok();
                    }
                    // It was wrong: there is no second one.
                    _ => drop(channel.stdin.take()),
                }
            }
        }
    }
}

impl Channel {
    /// Reads standard error on a thread of its own from now on.
    fn listen(&mut self) {
        let Some(mut stderr) = self.stderr.take() else { return };
        let said = Arc::<Mutex<Vec<u8>>>::default();
        self.said = Some(Arc::clone(&said));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.extend_from_slice(&buffer[..count]);
                let more = said.len().saturating_sub(SAID_BYTES);
                said.drain(..more);
            }
        });
    }

    /// What the program, or a connection that was lost, said so far.
    #[must_use]
    pub fn said(&self) -> String {
        let said = self.said.as_ref().map(|said| said.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let text = String::from_utf8_lossy(&said.unwrap_or_default()).trim().to_owned();
        if self.master.lives() { text } else { format!("{text} {}", self.master.said()).trim().to_owned() }
    }
}
