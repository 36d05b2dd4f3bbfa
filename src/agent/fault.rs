//! Failures of the far side, as they travel and as they come back.

use crate::units::path_text;
use crate::wire::{Broken, Malformed, Put, Take};

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A system call failed: `errno` says how.
    System = 1,
    /// It was not done, because it would do harm.
    Refused = 2,
    /// The far side cannot do it.
    Unsupported = 3,
}

/// Something could not be done on the far side; nothing was changed unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {op} `{}`: {message}", path_text(path))]
pub struct Fault {
    /// What sort of failure it is.
    pub sort: Sort,
    /// What was tried: `open`, `rename`, …
    pub op: String,
    /// With what, raw bytes.
    pub path: Vec<u8>,
    /// The number of the failed call's error, on the far side.
    pub errno: Option<i32>,
    /// Why.
    pub message: String,
}

impl Fault {
    /// Makes the maker of a fault for a failed call on `path`.
    pub fn io(op: &str, path: &[u8]) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let (op, path) = (op.to_owned(), path.to_owned());
        move |error| {
            let errno = error.raw_os_error();
            let message = errno.map_or_else(|| error.to_string(), |_| words(&error));
            Self { sort: Sort::System, op, path, errno, message }
        }
    }

    /// What is not done, and why.
    #[must_use]
    pub fn refused(op: &str, path: &[u8], why: impl Into<String>) -> Self {
        Self { sort: Sort::Refused, op: op.to_owned(), path: path.to_owned(), errno: None, message: why.into() }
    }

    /// Appends it to a message.
    pub fn put(&self, put: &mut Put) {
        put.byte(self.sort as u8).bytes(self.op.as_bytes()).bytes(&self.path);
        put.signed(self.errno.map_or(0, i64::from)).bytes(self.message.as_bytes());
    }

    /// Takes it from a message.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let sort = match take.byte()? {
            1 => Sort::System,
            2 => Sort::Refused,
            3 => Sort::Unsupported,
            other => return Err(Malformed::Kind(other)),
        };
        let op = String::from_utf8_lossy(take.bytes()?).into_owned();
        let path = take.bytes()?.to_owned();
        let errno = i32::try_from(take.signed()?).map_err(|_| Malformed::Range)?;
        let message = String::from_utf8_lossy(take.bytes()?).into_owned();
        Ok(Self { sort, op, path, errno: (errno != 0).then_some(errno), message })
    }
}

/// The words of an error number, without the number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A call of the far side failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be asked, or did not answer.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It answered that it cannot.
    #[error(transparent)]
    Fault(Box<Fault>),
    /// Content could not be read or written on this side.
    #[error("reading or writing on this side failed: {0}")]
    Near(#[source] std::io::Error),
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Broken(malformed.into())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fault_travels_whole() {
        let fault = Fault::io("open", b"/srv/\xff")(std::io::Error::from_raw_os_error(13));
        assert_eq!(fault.to_string(), r"cannot open `/srv/\xff`: Permission denied");
        for fault in [fault, Fault::refused("write", b"/x", "it is a link")] {
            let mut put = Put::default();
            fault.put(&mut put);
            let mut take = Take(&put.0);
            assert_eq!(Fault::take(&mut take).unwrap(), fault);
            take.end().unwrap();
        }
    }
}
