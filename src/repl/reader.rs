//! Who reads from the terminal: a thread of its own, so that nothing it does can keep the session from ending.
//!
//! A terminal that went away is an end of file that an editor may read over and over again. The session asks for a line
//! and waits for it, for a signal, and for the terminal's hang-up; a reader that does not come back is left behind.

use std::io::stdin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::interrupt::Interrupt;
use crate::cancel::Reason;
use crate::error::{Error, Kind};

/// How often a waiting session looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// How long a reader may take to put the terminal back.
const LEAVE: Duration = Duration::from_secs(1);

/// What is being typed may be long and deeply nested.
const STACK: usize = 16 << 20;

/// Reads when it is asked to: `P` is what stands before a line, `T` what came.
pub(super) struct Reader<P, T> {
    ask: Sender<P>,
    given: Receiver<T>,
}

impl<P: Send + 'static, T: Send + 'static> Reader<P, T> {
    /// # Errors
    /// `internal` if there can be no thread.
    pub(super) fn start(mut read: impl FnMut(P) -> T + Send + 'static) -> Result<Self, Error> {
        let (ask, asked) = channel::<P>();
        let (give, given) = channel();
        let work = move || {
            for before in asked {
                if give.send(read(before)).is_err() {
                    return;
                }
            }
        };
        let thread = Builder::new().name("reader".to_owned()).stack_size(STACK).spawn(work);
        thread.map_err(|source| Error::new(Kind::Internal, "cannot begin to read").because(source))?;
        Ok(Self { ask, given })
    }

    /// What is read next; none if the session is to end.
    ///
    /// # Errors
    /// `internal` if the reader is gone.
    pub(super) fn next(&self, before: P, interrupt: &Interrupt) -> Result<Option<T>, Error> {
        let gone = || Error::new(Kind::Internal, "nobody reads the terminal any more");
        self.ask.send(before).map_err(|_| gone())?;
        loop {
            match self.given.recv_timeout(LOOK) {
                Ok(read) => return Ok(Some(read)),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if hung_up() {
                interrupt.end(Reason::HangUp);
                return Ok(None);
            }
            if interrupt.ended().is_some() {
                // It was woken, and puts the terminal back.
                self.given.recv_timeout(LEAVE).ok();
                return Ok(None);
            }
        }
    }
}

/// Whether the terminal is gone.
pub(super) fn hung_up() -> bool {
    let input = stdin();
    let mut look = [PollFd::new(&input, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut look, Some(&now)).is_ok()
        && look[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}
