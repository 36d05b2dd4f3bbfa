//! An agent of ours that runs on a host: placed once, kept as long as there is work for it, gone with the last use.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::session::Channel;
use super::upload::{Place, Placed};
use super::{Error, Host, Sudo};
use crate::agent::{self, Client, Files};
use crate::cancel::Cancel;
use crate::wire::{Broken, Line};

/// A connection on which nothing is heard for so long is given up, on both sides: an agent that nobody leads any more
/// holds its devices no longer.
pub const SILENT: Duration = Duration::from_secs(20);

/// How long placing and starting may take, waiting for sessions included.
const START: Duration = Duration::from_secs(180);

/// No agent could be had on a host, or it is there no more.
#[derive(Debug, thiserror::Error)]
pub enum NoAgent {
    /// It could not be sent or started.
    #[error(transparent)]
    Host(#[from] Error),
    /// It was started, and cannot be spoken with.
    #[error("the agent on `{host}` does not answer as it should")]
    Silent {
        /// The host.
        host: String,
        /// What it, or the connection, said.
        said: String,
        /// What happened.
        #[source]
        broken: Broken,
    },
}

/// See the module.
pub struct Far {
    /// `None` while it is dropped.
    client: Option<Client>,
    /// Sessions the streams go through, ended before the agent's file is removed.
    sessions: Mutex<Vec<Session>>,
    placed: Placed,
    host: String,
}

/// A session that can be ended by whoever notices that its stream is broken.
#[derive(Clone)]
struct Session(Arc<Mutex<Channel>>);

impl Session {
    fn held(&self) -> std::sync::MutexGuard<'_, Channel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> String {
        self.held().said()
    }

    /// Ends it at once, so that whoever reads or writes its pipes is freed.
    fn shut(&self) -> agent::Shut {
        let session = self.clone();
        Box::new(move || session.held().kill())
    }
}

impl Host {
    /// Sends the agent and starts it. With `memory` it is no file there, whatever the options of the host say: nothing is
    /// written anywhere. `life` ends everything that waits for it, as long as it lives; `cancel` reaching it.
    ///
    /// # Errors
    /// [`NoAgent`].
    pub fn reach(
        self: &Arc<Self>,
        memory: bool,
        sudo: Option<&Sudo>,
        life: &Cancel,
        cancel: &Cancel,
    ) -> Result<Far, NoAgent> {
        let start = cancel.until(std::time::Instant::now() + START);
        let place = Place { memory: memory || self.options.place.memory, ..self.options.place.clone() };
        let (placed, mut channel) = match self.serving(&place, sudo, &start) {
            // The one session there is holds its file: in memory it needs no other.
            Err(none @ Error::NoSession { .. }) if !place.memory => {
                let place = Place { memory: true, ..place };
                self.serving(&place, sudo, &start).map_err(|error| match error {
                    Error::NoProgram { .. } | Error::NoSession { .. } => none,
                    error => error,
                })?
            }
            serving => serving?,
        };
        channel.keep();
        let (from, to) = pipes(&mut channel)?;
        let session = Session(Arc::new(Mutex::new(channel)));
        let options = agent::Options { silent: SILENT, cancel: life.clone(), shut: Some(session.shut()) };
        let client = Client::connect(from, to, Some(super::upload::digest()), options);
        let client = client.map_err(|broken| silent(self.name(), &session, broken))?;
        Ok(Far { client: Some(client), sessions: Mutex::new(vec![session]), placed, host: self.name() })
    }

    /// The agent, sent and started.
    fn serving(
        self: &Arc<Self>,
        place: &Place,
        sudo: Option<&Sudo>,
        cancel: &Cancel,
    ) -> Result<(Placed, Channel), Error> {
        let placed = self.place_agent(place, sudo, cancel)?;
        let dir = placed.path().and_then(|path| path.rsplit_once('/')).map(|(dir, _)| dir.to_owned());
        let args: Vec<&str> = ["serve"].into_iter().chain(dir.iter().flat_map(|dir| ["--dir", dir])).collect();
        let channel = placed.start(&args, cancel)?;
        Ok((placed, channel))
    }
}

type Pipes = (Box<dyn std::io::Read + Send>, Box<dyn std::io::Write + Send>);

fn pipes(channel: &mut Channel) -> Result<Pipes, Error> {
    match (channel.stdout.take(), channel.stdin.take()) {
        (Some(from), Some(to)) => Ok((Box::new(from), Box::new(to))),
        _ => Err(Error::Start { program: "ssh", source: std::io::Error::other("it has no pipes") }),
    }
}

fn silent(host: String, session: &Session, broken: Broken) -> NoAgent {
    NoAgent::Silent { host, said: session.said(), broken }
}

impl Far {
    /// Where its file lies there; none in memory.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.placed.path()
    }

    /// Whether everything that leads to it is whole.
    ///
    /// # Errors
    /// [`NoAgent::Silent`] if not: another one has to be reached.
    pub fn check(&self) -> Result<(), NoAgent> {
        self.client().and_then(Client::check).map_err(|broken| self.gone(broken))
    }

    /// Asks about files and the machine.
    ///
    /// # Errors
    /// [`NoAgent::Silent`] if it is gone.
    pub fn files(&self) -> Result<Files<'_>, NoAgent> {
        Ok(self.client().map_err(|broken| self.gone(broken))?.files())
    }

    /// Opens the conversation `room` with so many lines over so many streams: sessions are added until there are as many,
    /// as far as the host and the agent have them.
    ///
    /// # Errors
    /// [`NoAgent`] if it is gone, or a session cannot be had for another reason than that there is none.
    pub fn lines(&self, room: &str, count: usize, streams: usize, cancel: &Cancel) -> Result<Vec<Line>, NoAgent> {
        let client = self.client().map_err(|broken| self.gone(broken))?;
        // Held while streams are added: who comes meanwhile wants the same ones.
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if client.streams() < streams {
            self.widen(client, streams - client.streams(), &mut sessions, cancel)?;
        }
        drop(sessions);
        client.open_many(room, b"", count.max(1)).map_err(|broken| self.gone(broken))
    }

    fn widen(&self, client: &Client, more: usize, all: &mut Vec<Session>, cancel: &Cancel) -> Result<(), NoAgent> {
        let tickets = match client.tickets(more as u64) {
            Ok(tickets) => tickets,
            // It has no place for a socket; it says so and goes on.
            Err(Broken::Refused(_)) => return Ok(()),
            Err(broken) => return Err(self.told(all, broken)),
        };
        for ticket in tickets {
            let Ok(socket) = str::from_utf8(&ticket.socket) else { return Ok(()) };
            // A server that has no further session says so at once; one that this side keeps back is not waited for long.
            let soon = cancel.until(std::time::Instant::now() + Duration::from_secs(20));
            let mut channel = match self.placed.start(&["join", socket], &soon) {
                Ok(channel) => channel,
                Err(Error::NoSession { .. }) => return Ok(()),
                Err(Error::Cancelled { .. }) if cancel.check().is_ok() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            channel.keep();
            let (from, to) = pipes(&mut channel)?;
            let session = Session(Arc::new(Mutex::new(channel)));
            let joined = client.join(from, to, &ticket, Some(session.shut()));
            joined.map_err(|broken| silent(self.host.clone(), &session, broken))?;
            all.push(session);
        }
        Ok(())
    }

    fn client(&self) -> Result<&Client, Broken> {
        self.client.as_ref().ok_or(Broken::Cut)
    }

    fn gone(&self, broken: Broken) -> NoAgent {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.told(&sessions, broken)
    }

    fn told(&self, sessions: &[Session], broken: Broken) -> NoAgent {
        let said: Vec<String> = sessions.iter().map(Session::said).filter(|said| !said.is_empty()).collect();
        NoAgent::Silent { host: self.host.clone(), said: said.join(" "), broken }
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far").field("host", &self.host).field("placed", &self.placed).finish_non_exhaustive()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // Whatever was to be done has been answered or given up by now; an agent that is gone is no failure any more.
        self.client.take().map(Client::close);
    }
}
