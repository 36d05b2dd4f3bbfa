//! A destination that is claimed for a run, where the run is somewhere else: the claim is held at the destination as long as
//! the conversation lives.

use std::path::Path;

use super::{forms, news, order};
use crate::copy::Error;
use crate::copy::claim::{self, Claim, Marker};
use crate::copy::error::Apart;
use crate::copy::far::errors::{self, text};
use crate::copy::far::words::{VERSION, corrupt};
use crate::copy::identity::{self, RootId};
use crate::units::path_text;
use crate::wire::{Broken, Line, Put, Take};

/// A claim on a destination at another place. Dropping it leaves the marker, as a crash would.
pub struct Held(Line);

/// What is to be claimed, or only asked for.
pub(super) enum Wanted {
    Take { root: std::path::PathBuf, marker: Marker, expect: Option<RootId> },
    Read { root: std::path::PathBuf },
}

impl Wanted {
    pub(super) fn read(take: &mut Take<'_>) -> Result<Self, Broken> {
        Ok(match take.byte()? {
            0 => {
                let root = forms::path(take)?;
                let marker = Marker { run: text(take)?, host: text(take)?, at: text(take)? };
                Self::Take { root, marker, expect: forms::optional(take, forms::root)? }
            }
            1 => Self::Read { root: forms::path(take)? },
            kind => return Err(corrupt(format!("a claim of unknown kind {kind}"))),
        })
    }

    fn take(&self) -> Result<(Put, Option<Claim>), Error> {
        let mut put = Put::of(news::DONE);
        match self {
            Self::Take { root, marker, expect } => {
                if let Some(expected) = expect {
                    let found = identity::root_id(root)?;
                    if found != *expected {
                        let path = path_text(std::os::unix::ffi::OsStrExt::as_bytes(root.as_os_str()));
                        return Err(Error::RootChanged { path, expected: expected.clone(), found });
                    }
                }
                Ok((put, Some(claim::take(root, marker)?)))
            }
            Self::Read { root } => {
                forms::put_optional(&mut put, claim::read(root)?, |put, marker| {
                    for text in [&marker.run, &marker.host, &marker.at] {
                        put.bytes(text.as_bytes());
                    }
                });
                Ok((put, None))
            }
        }
    }

    /// Takes it, and holds it until the near side gives it back or is gone.
    pub(super) fn hold(&self, mut line: Line) -> Result<(), Broken> {
        let failed = |error: Error| {
            let mut put = Put::of(news::FAILED);
            errors::put(&mut put, &error);
            put
        };
        let (put, claim) = self.take().unwrap_or_else(|error| (failed(error), None));
        line.outbox.send(&[&put.0])?;
        line.outbox.flush()?;
        let mut message = Vec::new();
        if let Some(claim) = claim
            && line.inbox.receive(&mut message)?
        {
            if message != [order::RELEASE] {
                return Err(corrupt("another order than to give a claim back"));
            }
            let put = claim.release().map_or_else(failed, |()| Put::of(news::DONE));
            line.outbox.send(&[&put.0])?;
        }
        line.outbox.finish()
    }
}

impl Held {
    /// Takes the destination `root` at the other end of `line` for the run of `marker`, as [`claim::take`]; nothing is
    /// written to a directory that is not the `expected` one.
    ///
    /// # Errors
    /// As [`claim::take`]; [`Error::RootChanged`], [`Error::Apart`].
    pub fn take(mut line: Line, root: &Path, marker: &Marker, expect: Option<&RootId>) -> Result<Self, Error> {
        let mut put = Put::of(order::CLAIM);
        forms::put_path(put.number(VERSION).byte(0), root);
        for text in [&marker.run, &marker.host, &marker.at] {
            put.bytes(text.as_bytes());
        }
        forms::put_optional(&mut put, expect, forms::put_root);
        answer(&mut line, &put.0, |_| Ok(()))?;
        Ok(Self(line))
    }

    /// The marker in the destination `root` at the other end of `line`, as [`claim::read`].
    ///
    /// # Errors
    /// As [`claim::read`]; [`Error::Apart`].
    pub fn read(mut line: Line, root: &Path) -> Result<Option<Marker>, Error> {
        let mut put = Put::of(order::CLAIM);
        forms::put_path(put.number(VERSION).byte(1), root);
        answer(&mut line, &put.0, |take| {
            forms::optional(take, |take| Ok(Marker { run: text(take)?, host: text(take)?, at: text(take)? }))
        })
    }

    /// Gives the destination back, as [`Claim::release`].
    ///
    /// # Errors
    /// As [`Claim::release`]; [`Error::Apart`]: then the marker may be there or not.
    pub fn release(mut self) -> Result<(), Error> {
        answer(&mut self.0, &[order::RELEASE], |_| Ok(()))?;
        // It is done; that the goodbye arrives is of no matter.
        self.0.outbox.finish().ok();
        Ok(())
    }
}

/// Sends a question, and reads the answer.
fn answer<T>(
    line: &mut Line,
    question: &[u8],
    read: impl FnOnce(&mut Take<'_>) -> Result<T, Broken>,
) -> Result<T, Error> {
    let exchange = || -> Result<Result<T, Error>, Broken> {
        line.outbox.send(&[question])?;
        line.outbox.flush()?;
        let mut message = Vec::new();
        if !line.inbox.receive(&mut message)? {
            return Err(Broken::Cut);
        }
        let mut take = Take(&message);
        match take.byte()? {
            news::FAILED => Ok(Err(errors::read(&mut take)?)),
            news::DONE => {
                let found = read(&mut take)?;
                take.end()?;
                Ok(Ok(found))
            }
            kind => Err(corrupt(format!("news of unknown kind {kind}"))),
        }
    };
    exchange().map_err(|broken| Error::from(Apart::from(broken)))?
}
