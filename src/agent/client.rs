//! The near side of an agent: its links, and the conversations over them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::Error;
use super::files::Files;
use super::link::{Link, Options, Role, Shut};
use super::machine::Wire;
use crate::cancel::Cancel;
use crate::wire::{Broken, Line, Put, Take};

/// What one more stream into an agent is begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What `decamp-agent join` is started with on the far side; raw bytes.
    pub socket: Vec<u8>,
    /// Good for one stream.
    token: String,
}

/// An agent that was started elsewhere. Dropped, all its conversations break; [`Client::close`] ends them well.
pub struct Client {
    links: Mutex<Vec<Arc<Link>>>,
    cancel: Cancel,
    silent: std::time::Duration,
    groups: AtomicU64,
    turn: AtomicU64,
    /// Conversations about files that wait for the next question.
    pub(super) idle: Mutex<Vec<Line>>,
}

impl Client {
    /// Greets an agent over the streams of a process that runs `decamp-agent serve`. What is printed before its answer is
    /// skipped. `sum` is the SHA-256 (hexadecimal) its file must have, if it can read itself.
    ///
    /// # Errors
    /// [`Broken::Refused`] if something else answers, or the agent is another version or file; [`Broken::Silent`],
    /// [`Broken::Cut`].
    pub fn connect(
        from: Box<dyn Read + Send>,
        to: Box<dyn Write + Send>,
        sum: Option<String>,
        options: Options,
    ) -> Result<Self, Broken> {
        let (cancel, silent) = (options.cancel.clone(), options.silent);
        let link = Link::start(from, to, Role::Near { token: None, sum }, options, None);
        let client = Self {
            links: Mutex::new(vec![Arc::clone(&link)]),
            cancel,
            silent,
            groups: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            idle: Mutex::default(),
        };
        link.greeted()?;
        Ok(client)
    }

    /// SHA-256 of the agent's file in hexadecimal, if it could read itself.
    #[must_use]
    pub fn sum(&self) -> Option<String> {
        self.main().greeted().ok().and_then(|greeting| greeting.sum.clone())
    }

    /// Asks for what `count` more streams are begun with.
    ///
    /// # Errors
    /// [`Broken::Refused`] if the agent has no place for a socket: one stream must do then.
    pub fn tickets(&self, count: u64) -> Result<Vec<Ticket>, Broken> {
        let mut args = Put::default();
        args.number(count);
        let mut line = self.open("door", &args.0)?;
        line.outbox.finish()?;
        let mut message = Vec::new();
        if !line.inbox.receive(&mut message)? {
            return Err(Broken::Corrupt("the agent gave no tickets".into()));
        }
        let mut take = Take(&message);
        let (socket, tokens) = (Vec::<u8>::take(&mut take)?, Vec::<String>::take(&mut take)?);
        take.end()?;
        Ok(tokens.into_iter().map(|token| Ticket { socket: socket.clone(), token }).collect())
    }

    /// Adds a stream: those of a process that runs `decamp-agent join SOCKET` on the agent's machine.
    ///
    /// # Errors
    /// As [`Client::connect`]; the other streams go on.
    pub fn join(
        &self,
        from: Box<dyn Read + Send>,
        to: Box<dyn Write + Send>,
        ticket: &Ticket,
        shut: Option<Shut>,
    ) -> Result<(), Broken> {
        let options = Options { silent: self.silent, cancel: self.cancel.clone(), shut };
        let link = Link::start(from, to, Role::Near { token: Some(ticket.token.clone()), sum: None }, options, None);
        if let Err(broken) = link.greeted() {
            link.fail(Broken::Cut);
            return Err(broken);
        }
        self.held().push(link);
        Ok(())
    }

    /// Whether every stream is whole.
    ///
    /// # Errors
    /// [`Broken`] of the first that is not.
    pub fn check(&self) -> Result<(), Broken> {
        self.held().iter().try_for_each(|link| link.check())
    }

    /// How many streams lead to the agent.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.held().len()
    }

    /// Opens the conversation `name` on one of the streams, in turn.
    ///
    /// # Errors
    /// [`Broken`] if the stream is broken. That the agent does not know the conversation is seen at its first message.
    pub fn open(&self, name: &str, args: &[u8]) -> Result<Line, Broken> {
        let links = self.held().clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        // One that joined and broke leaves the others as they are; where all are broken, the first says why.
        let mut order = (0..links.len()).map(|at| &links[(turn + at) % links.len()]);
        let link = order.find(|link| link.check().is_ok()).or_else(|| links.first()).ok_or(Broken::Cut)?;
        self.start(link, name, args, [0, 0, 1])
    }

    /// Opens one conversation of several lines, spread over all streams.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub fn open_many(&self, name: &str, args: &[u8], count: usize) -> Result<Vec<Line>, Broken> {
        let links = self.held().clone();
        let group = self.groups.fetch_add(1, Ordering::Relaxed);
        let of = |at: usize| {
            let link = links.get(at % links.len()).ok_or(Broken::Cut)?;
            self.start(link, name, args, [group, at as u64, count as u64])
        };
        (0..count).map(of).collect()
    }

    fn start(&self, link: &Arc<Link>, name: &str, args: &[u8], part: [u64; 3]) -> Result<Line, Broken> {
        let mut body = Put::default();
        body.bytes(name.as_bytes()).bytes(args);
        part.iter().for_each(|number| {
            body.number(*number);
        });
        link.open(&body.0)
    }

    /// Asks about files and the machine.
    #[must_use]
    pub fn files(&self) -> Files<'_> {
        Files::new(self)
    }

    /// Lets the agent remove its own file now. After that no stream can join.
    ///
    /// # Errors
    /// [`Error`] if it cannot.
    pub fn settle(&self) -> Result<(), Error> {
        self.files().settle()
    }

    /// Ends all streams, the first one last, and the agent with it.
    ///
    /// # Errors
    /// [`Broken`] if one of them was broken before, or lost something.
    pub fn close(self) -> Result<(), Broken> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .try_for_each(|mut line| line.outbox.finish())?;
        let links: Vec<_> = self.held().drain(..).collect();
        for link in links.iter().rev() {
            link.close()?;
            link.ended()?;
        }
        Ok(())
    }

    fn main(&self) -> Arc<Link> {
        Arc::clone(&self.held()[0])
    }

    fn held(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that was closed is not broken by this.
        self.held().iter().for_each(|link| link.fail(Broken::Cut));
    }
}
