//! Questions about files and the machine, as the near side asks them. Paths are raw bytes, and absolute.

use std::io::{Read, Write};
use std::sync::PoisonError;

use super::client::Client;
use super::fault::{Error, Fault};
use super::machine::{Device, Entry, FileSystem, Mount, Stat, Wire};
use crate::wire::{Broken, Line, Put, Take};

/// Kinds of questions.
pub(super) mod ask {
    pub(in super::super) const STAT: u8 = 1;
    pub(in super::super) const LSTAT: u8 = 2;
    pub(in super::super) const LIST: u8 = 3;
    pub(in super::super) const READ: u8 = 4;
    pub(in super::super) const WRITE: u8 = 5;
    pub(in super::super) const STATFS: u8 = 6;
    pub(in super::super) const MOUNTS: u8 = 7;
    pub(in super::super) const DEVICES: u8 = 8;
    pub(in super::super) const REMOVE: u8 = 9;
    pub(in super::super) const MAKE_DIR: u8 = 10;
    pub(in super::super) const SETTLE: u8 = 11;
}

/// Kinds of answers, and of what is sent to be written.
pub(super) mod answer {
    pub(in super::super) const DONE: u8 = 0;
    pub(in super::super) const FAULT: u8 = 1;
    pub(in super::super) const DATA: u8 = 2;
    pub(in super::super) const LAST: u8 = 3;
}

/// So much goes into one message, bytes.
pub(super) const PIECE: usize = 256 << 10;

/// How a file is written. What is not given stays as it is, or is `rw-r--r--` and the agent's own for a new file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Permissions.
    pub mode: Option<u32>,
    /// Owner and group.
    pub owner: Option<(u32, u32)>,
    /// There may be no such file yet.
    pub new: bool,
}

impl Wire for WriteOptions {
    fn put(&self, put: &mut Put) {
        put.flag(self.mode.is_some()).number(self.mode.unwrap_or(0).into());
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        put.flag(self.owner.is_some()).number(uid.into()).number(gid.into()).flag(self.new);
    }

    fn take(take: &mut Take<'_>) -> Result<Self, crate::wire::Malformed> {
        let (has_mode, mode) = (take.flag()?, take.small()?);
        let (has_owner, uid, gid) = (take.flag()?, take.small()?, take.small()?);
        let new = take.flag()?;
        Ok(Self { mode: has_mode.then_some(mode), owner: has_owner.then_some((uid, gid)), new })
    }
}

/// See the module.
#[derive(Clone, Copy)]
pub struct Files<'c> {
    client: &'c Client,
}

impl<'c> Files<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client }
    }

    /// The metadata of what `path` leads to.
    ///
    /// # Errors
    /// [`Error`] if it cannot be had.
    pub fn stat(self, path: &[u8]) -> Result<Stat, Error> {
        self.ask(ask::STAT, path)
    }

    /// The metadata of `path` itself, a link not followed.
    ///
    /// # Errors
    /// [`Error`] if it cannot be had.
    pub fn lstat(self, path: &[u8]) -> Result<Stat, Error> {
        self.ask(ask::LSTAT, path)
    }

    /// How full the file system of `path` is.
    ///
    /// # Errors
    /// [`Error`] if it cannot be had.
    pub fn statfs(self, path: &[u8]) -> Result<FileSystem, Error> {
        self.ask(ask::STATFS, path)
    }

    /// Every mount there.
    ///
    /// # Errors
    /// [`Error`] if the kernel does not tell.
    pub fn mounts(self) -> Result<Vec<Mount>, Error> {
        self.ask(ask::MOUNTS, b"")
    }

    /// Every block device there.
    ///
    /// # Errors
    /// [`Error`] if the kernel does not tell.
    pub fn block_devices(self) -> Result<Vec<Device>, Error> {
        self.ask(ask::DEVICES, b"")
    }

    /// Removes a file or an empty directory that this agent has made, and that is still the same.
    ///
    /// # Errors
    /// [`Error`] if it did not make it, or it cannot be removed.
    pub fn remove(self, path: &[u8]) -> Result<(), Error> {
        self.ask(ask::REMOVE, path)
    }

    /// Makes a directory with permissions `mode`.
    ///
    /// # Errors
    /// [`Error`] if it exists, or cannot be made.
    pub fn make_dir(self, path: &[u8], mode: u32) -> Result<Stat, Error> {
        self.talk(|line| {
            let mut request = Put::of(ask::MAKE_DIR);
            request.bytes(path).number(mode.into());
            line.outbox.send(&[&request.0])?;
            line.outbox.flush()?;
            answered(line)
        })
    }

    /// Lets the agent remove its own file.
    ///
    /// # Errors
    /// [`Error`] if it cannot.
    pub(super) fn settle(self) -> Result<(), Error> {
        self.ask(ask::SETTLE, b"")
    }

    /// The entries of a directory, in no order.
    ///
    /// # Errors
    /// [`Error`] if it cannot be read to its end.
    pub fn list(self, path: &[u8]) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.stream(ask::LIST, path, |_| {}, &mut |data| {
            entries.extend(Vec::<Entry>::take(&mut Take(data))?);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Reads a file from byte `offset` on, at most `length` bytes, into `into`; gives how many there were.
    ///
    /// # Errors
    /// [`Error`] if it cannot be read, or written to `into`.
    pub fn read(self, path: &[u8], offset: u64, length: Option<u64>, into: &mut dyn Write) -> Result<u64, Error> {
        let mut count = 0;
        let range = |request: &mut Put| {
            request.number(offset).number(length.unwrap_or(u64::MAX));
        };
        let told = self.stream(ask::READ, path, range, &mut |data| {
            count += data.len() as u64;
            into.write_all(data).map_err(Error::Near)
        })?;
        if told != count {
            return Err(Broken::Corrupt(format!("{count} bytes of a file came, {told} were read")).into());
        }
        Ok(count)
    }

    /// Writes a file whole: under another name, synced, and then put in place of what was there. A link is not written
    /// through.
    ///
    /// # Errors
    /// [`Error`] if it cannot be written, or `from` not read: what was there is still there.
    pub fn write(self, path: &[u8], from: &mut dyn Read, options: &WriteOptions) -> Result<Stat, Error> {
        self.talk(|line| {
            let mut request = Put::of(ask::WRITE);
            request.bytes(path);
            options.put(&mut request);
            match send_content(line, &request.0, from) {
                // It stopped listening, and has said why.
                Err(Error::Broken(Broken::Cut)) => answered(line),
                Err(error) => Err(error),
                Ok(()) => answered(line),
            }
        })
    }

    fn ask<T: Wire>(self, kind: u8, path: &[u8]) -> Result<T, Error> {
        self.talk(|line| {
            let mut request = Put::of(kind);
            request.bytes(path);
            line.outbox.send(&[&request.0])?;
            line.outbox.flush()?;
            answered(line)
        })
    }

    /// Asks for something that comes in pieces; gives the number that was told with the last.
    fn stream(
        self,
        kind: u8,
        path: &[u8],
        more: impl Fn(&mut Put),
        each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        self.talk(|line| {
            let mut request = Put::of(kind);
            request.bytes(path);
            more(&mut request);
            line.outbox.send(&[&request.0])?;
            line.outbox.flush()?;
            let mut message = Vec::new();
            loop {
                let mut take = next(line, &mut message)?;
                match take.byte()? {
                    answer::DATA => each(take.rest())?,
                    answer::LAST => return Ok(take.number()?),
                    answer::FAULT => return Err(Fault::take(&mut take)?.into()),
                    other => return Err(crate::wire::Malformed::Kind(other).into()),
                }
            }
        })
    }

    /// Holds one conversation after the other on as few lines as are asked on at once.
    fn talk<T>(self, work: impl FnOnce(&mut Line) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.client.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut line = match idle {
            Some(line) => line,
            None => self.client.open("files", b"")?,
        };
        let done = work(&mut line);
        // After a failure nobody knows what is still to come on it.
        if done.is_ok() {
            self.client.idle.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        done
    }
}

fn send_content(line: &mut Line, request: &[u8], from: &mut dyn Read) -> Result<(), Error> {
    line.outbox.send(&[request])?;
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Near(error)),
        };
        line.outbox.send(&[&[answer::DATA], &piece[..count]])?;
        total += count as u64;
    }
    let mut last = Put::of(answer::LAST);
    last.number(total);
    line.outbox.send(&[&last.0])?;
    line.outbox.flush()?;
    Ok(())
}

fn next<'m>(line: &mut Line, message: &'m mut Vec<u8>) -> Result<Take<'m>, Broken> {
    if line.inbox.receive(message)? {
        Ok(Take(message))
    } else {
        Err(Broken::Corrupt("the agent ended a conversation in the middle of an answer".into()))
    }
}

fn answered<T: Wire>(line: &mut Line) -> Result<T, Error> {
    let mut message = Vec::new();
    let mut take = next(line, &mut message)?;
    match take.byte()? {
        answer::DONE => {
            let value = T::take(&mut take)?;
            take.end()?;
            Ok(value)
        }
        answer::FAULT => Err(Fault::take(&mut take)?.into()),
        other => Err(crate::wire::Malformed::Kind(other).into()),
    }
}
