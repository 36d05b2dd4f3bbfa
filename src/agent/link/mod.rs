//! A link: one pair of byte streams that carries several conversations at once.
//!
//! A thread reads frames and puts them into the queues of their conversations; it never waits for whoever takes them,
//! because no more may be under way than the taker has granted. So one conversation that is not attended to blocks no
//! other. Whoever sends writes its own frames, one at a time, straight from its buffers. Two more threads keep watch: one
//! says that this side is still there when nothing else was said, one notices that the other side is not.
//!
//! A link is broken once, for one reason, and everybody who waits on it is told. A thread that is blocked by a stream
//! itself can only be freed by whoever owns what is below the stream: that is what [`Options::shut`] is for.

mod channel;
mod greet;
mod line;
mod reader;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub(super) use channel::Channel;
pub(super) use greet::{Far, Greeting, Role, Tokens, hex, secret};

use super::frame::{Frame, Kind, sum};
use crate::cancel::Cancel;
use crate::wire::{Broken, Line};
use writer::Writer;

/// Conversations that may be open at once on one link.
const CHANNELS: usize = 1024;

/// How often whoever waits looks whether it should.
const LOOK: Duration = Duration::from_millis(100);

/// Ends what carries a link, so that whoever is blocked by it is freed.
pub type Shut = Box<dyn Fn() + Send + Sync>;

/// What a link needs to know.
pub struct Options {
    /// A link on which nothing was heard for so long is broken ([`Broken::Silent`]). Both sides go by what the near one
    /// says.
    pub silent: Duration,
    /// Whoever waits on the link stops waiting when this is cancelled.
    pub cancel: Cancel,
    /// Called once, when the link is broken; it must not wait.
    pub shut: Option<Shut>,
}

impl Default for Options {
    fn default() -> Self {
        Self { silent: Duration::from_secs(60), cancel: Cancel::new(), shut: None }
    }
}

/// Takes a conversation the other side has opened. Called by the thread that reads: it must not wait.
pub(super) type Accept = Box<dyn Fn(Arc<Channel>, &[u8]) + Send + Sync>;

/// Why a link is broken, for everybody who asks.
#[derive(Debug, Clone)]
enum Why {
    Cut,
    Silent(Duration),
    Io(std::io::ErrorKind, Option<i32>, String),
    Corrupt(String),
    Refused(String),
}

impl From<Broken> for Why {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Cut | Broken::Cancelled(_) => Self::Cut,
            Broken::Silent(span) => Self::Silent(span),
            Broken::Io(error) => Self::Io(error.kind(), error.raw_os_error(), error.to_string()),
            Broken::Corrupt(text) => Self::Corrupt(text),
            Broken::Refused(text) => Self::Refused(text),
        }
    }
}

impl From<Why> for Broken {
    fn from(why: Why) -> Self {
        match why {
            Why::Cut => Self::Cut,
            Why::Silent(span) => Self::Silent(span),
            Why::Io(_, Some(code), _) => std::io::Error::from_raw_os_error(code).into(),
            Why::Io(kind, None, text) => std::io::Error::new(kind, text).into(),
            Why::Corrupt(text) => Self::Corrupt(text),
            Why::Refused(text) => Self::Refused(text),
        }
    }
}

/// A lock that a thread which panicked left behind holds what it held before: every change here is one assignment.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub(super) struct Link {
    start: Instant,
    silent: AtomicU64,
    /// Milliseconds since the start at which something was heard, and said.
    heard: AtomicU64,
    said: AtomicU64,
    writer: Writer,
    channels: Mutex<Channels>,
    greeting: OnceLock<Greeting>,
    why: OnceLock<Why>,
    /// The other side has said that no more will come, and everything had come.
    closed: OnceLock<()>,
    /// Wakes whoever waits for one of the three above.
    lock: Mutex<()>,
    changed: Condvar,
    /// Buffers to be used again.
    spare: Mutex<Vec<Vec<u8>>>,
    shut: Option<Shut>,
    cancel: Cancel,
    accept: Option<Accept>,
}

#[derive(Default)]
struct Channels {
    open: HashMap<u32, Arc<Channel>>,
    last: u32,
}

impl Link {
    /// Starts a link over a pair of streams.
    pub(super) fn start(
        from: Box<dyn Read + Send>,
        to: Box<dyn Write + Send>,
        role: Role,
        options: Options,
        accept: Option<Accept>,
    ) -> Arc<Self> {
        let link = Arc::new(Self {
            start: Instant::now(),
            silent: AtomicU64::new(options.silent.as_millis() as u64),
            heard: AtomicU64::new(0),
            said: AtomicU64::new(0),
            writer: Writer::new(to),
            channels: Mutex::default(),
            greeting: OnceLock::new(),
            why: OnceLock::new(),
            closed: OnceLock::new(),
            lock: Mutex::default(),
            changed: Condvar::new(),
            spare: Mutex::default(),
            shut: options.shut,
            cancel: options.cancel,
            accept,
        });
        let reading = Arc::clone(&link);
        std::thread::spawn(move || reader::run(&reading, from, role));
        watch::start(&link);
        link
    }

    /// Waits until the other side has answered.
    ///
    /// # Errors
    /// [`Broken`] if it does not, or not as it should.
    pub(super) fn greeted(&self) -> Result<&Greeting, Broken> {
        self.wait(|| self.greeting.get())
    }

    /// Waits until the other side has closed the link.
    ///
    /// # Errors
    /// [`Broken`] if it broke instead.
    pub(super) fn ended(&self) -> Result<(), Broken> {
        self.wait(|| self.closed.get().copied())
    }

    fn wait<T>(&self, ready: impl Fn() -> Option<T>) -> Result<T, Broken> {
        let mut lock = held(&self.lock);
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            self.check()?;
            lock = self.changed.wait_timeout(lock, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the link can be used.
    ///
    /// # Errors
    /// [`Broken`] if not.
    pub(super) fn check(&self) -> Result<(), Broken> {
        if let Some(why) = self.why.get() {
            return Err(why.clone().into());
        }
        Ok(self.cancel.check()?)
    }

    /// Breaks the link, if it has neither been broken nor closed before, and tells everybody.
    pub(super) fn fail(&self, broken: Broken) {
        let first = {
            let _held = held(&self.lock);
            self.closed.get().is_none() && self.why.set(broken.into()).is_ok()
        };
        if first {
            if let Some(shut) = &self.shut {
                shut();
            }
            self.wake();
        }
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.writer.wake();
        let open: Vec<_> = held(&self.channels).open.values().cloned().collect();
        open.iter().for_each(|channel| channel.wake());
    }

    /// Opens a conversation; `body` says which.
    ///
    /// # Errors
    /// [`Broken`] if the link is; `InvalidInput` if `body` is too large.
    pub(super) fn open(self: &Arc<Self>, body: &[u8]) -> Result<Line, Broken> {
        if body.len() > 64 << 10 {
            return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput).into());
        }
        let channel = {
            let mut channels = held(&self.channels);
            if channels.open.len() >= CHANNELS {
                return Err(Broken::Refused(format!("{CHANNELS} conversations are open on one link")));
            }
            channels.last += 1;
            let channel = Channel::new(Arc::clone(self), channels.last, false);
            channels.open.insert(channel.number, Arc::clone(&channel));
            // Under the lock, for numbers must arrive in their order; written without it, for that may take a while.
            self.writer.note(Kind::Open, channel.number, body.to_vec());
            channel
        };
        self.writer.pump(self);
        self.check()?;
        Ok(channel.line())
    }

    /// Says that no more will come.
    ///
    /// # Errors
    /// [`Broken`] if it cannot be said.
    pub(super) fn close(&self) -> Result<(), Broken> {
        self.writer.close(self)
    }

    fn channel(&self, number: u32) -> Option<Arc<Channel>> {
        held(&self.channels).open.get(&number).cloned()
    }

    /// Forgets a conversation that is over on both sides.
    fn forget(&self, number: u32) {
        held(&self.channels).open.remove(&number);
    }

    fn millis(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// A buffer to read into.
    fn buffer(&self) -> Vec<u8> {
        held(&self.spare).pop().unwrap_or_default()
    }

    /// Gives a buffer back. Small ones are not worth keeping.
    fn recycle(&self, buffer: Vec<u8>) {
        let mut spare = held(&self.spare);
        if buffer.capacity() >= 32 << 10 && spare.len() < 8 {
            spare.push(buffer);
        }
    }

    fn frame<'a>(&self, kind: Kind, channel: u32, parts: &'a [&'a [u8]]) -> Frame<'a> {
        Frame { kind, channel, parts, sum: sum(self.writer.seed(), parts) }
    }

    fn spoke(&self) {
        self.said.store(self.millis(), Ordering::Relaxed);
    }
}
