//! Messages between two ends of an engine: in order, whole, and with an end that cannot be mistaken.
//!
//! An engine that works at two places is written against [`Outbox`] and [`Inbox`] and knows nothing of what carries its
//! messages. The agent's frames carry them over byte streams; [`pair`] does within a process. A connection that is cut
//! looks like the end of a file to whoever reads bytes, so the end of messages is a message of its own: without it,
//! [`Inbox::receive`] fails with [`Broken::Cut`].

mod codec;
mod memory;

pub use codec::{Malformed, Put, Take};
pub use memory::pair;

/// No message is larger, bytes: one extent of data and what is told of it. A carrier refuses to send or take more.
pub const LARGEST: usize = 2 << 20;

/// Messages could not be exchanged any more. Whatever was not acknowledged by then may or may not have arrived.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The stream ended before the other side had said that it was done.
    #[error("the connection was cut")]
    Cut,
    /// Nothing came for longer than the other side may be silent.
    #[error("nothing was heard of the other side for {0:?}")]
    Silent(std::time::Duration),
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// What arrived is not what was sent: a sum, a sequence or a total does not fit.
    #[error("the other side sent what cannot be: {0}")]
    Corrupt(String),
    /// The other side gave up, and says why.
    #[error("the other side gave up: {0}")]
    Refused(String),
    /// The work was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] crate::cancel::Cancelled),
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self::Corrupt(malformed.to_string())
    }
}

/// Where messages go out. Blocks while the other side takes no more.
pub trait Outbox: Send {
    /// Sends one message, put together from `parts` so that data need not be copied first. It may wait for
    /// [`Outbox::flush`].
    ///
    /// # Errors
    /// [`Broken`] if it cannot be sent; `InvalidInput` within it for one over [`LARGEST`].
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken>;

    /// Sends what was kept back.
    ///
    /// # Errors
    /// [`Broken`] if it cannot be sent.
    fn flush(&mut self) -> Result<(), Broken>;

    /// Says that nothing more will come, and flushes. Nothing may be sent afterwards.
    ///
    /// # Errors
    /// [`Broken`] if it cannot be sent.
    fn finish(&mut self) -> Result<(), Broken>;
}

/// Where messages come in.
pub trait Inbox: Send {
    /// The next message, in place of what `into` held. `false`: the other side has finished, and everything it sent has
    /// been received.
    ///
    /// # Errors
    /// [`Broken`] if none can be received any more.
    fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken>;
}

/// Both directions of one conversation.
pub struct Line {
    /// To the other side.
    pub outbox: Box<dyn Outbox>,
    /// From the other side.
    pub inbox: Box<dyn Inbox>,
}
