//! Why one entry could not be handled, and on which side; what of it must stop the whole work.

use rustix::io::Errno;

use super::data::Fault;
use super::error::Error;
use crate::cancel::Cancelled;
use crate::progress::CheckpointError;

/// The trouble with one entry.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was listed and is gone.
    Vanished,
    /// The source's side.
    Source(&'static str, Errno),
    /// The destination's side.
    Dest(&'static str, Errno),
    /// Not a system call's fault.
    Refused(&'static str, String),
    /// Everything must stop.
    Stop(Error),
}

impl Trouble {
    /// The trouble of a call on the source; a name that is gone has vanished.
    pub(super) fn source(op: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| if errno == Errno::NOENT { Self::Vanished } else { Self::Source(op, errno) }
    }

    /// The trouble of a call on the destination.
    pub(super) fn dest(op: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Dest(op, errno)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            // What is at another place is opened when it is read.
            Fault::Read(Errno::NOENT) => Self::Vanished,
            Fault::Read(errno) => Self::Source("read", errno),
            Fault::Write(errno) => Self::Dest("write", errno),
            Fault::Shrank => Self::Refused("read", "it became shorter while it was read".into()),
            Fault::Stop(error) => Self::Stop(error),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<CheckpointError> for Trouble {
    fn from(error: CheckpointError) -> Self {
        Self::Stop(error.into())
    }
}

impl From<Cancelled> for Trouble {
    fn from(cancelled: Cancelled) -> Self {
        Self::Stop(cancelled.into())
    }
}

/// An error number for people: the sentence of the C library with the number's place left out.
pub(super) fn say(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    match text.split_once(" (os error") {
        Some((sentence, _)) => sentence.to_owned(),
        None => text,
    }
}
