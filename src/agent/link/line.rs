//! Both ends of a conversation, as engines know them.

use std::sync::Arc;

use super::super::frame::{Frame, Kind, MOST, Totals};
use super::channel::{Channel, cost};
use crate::wire::{Broken, Inbox, Outbox, Put, Take};

/// Messages below this are gathered, bytes; larger ones are written from where they lie.
const SMALL: usize = 16 << 10;
/// So much is gathered before it is written.
const GATHERED: usize = 64 << 10;

pub(super) struct Sending {
    channel: Arc<Channel>,
    gathered: Vec<u8>,
    totals: Totals,
    messages: u64,
}

impl Sending {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self { channel, gathered: Vec::new(), totals: Totals::default(), messages: 0 }
    }

    /// Writes what was gathered, and then one more frame.
    fn write(&mut self, more: Option<(Kind, &[&[u8]])>) -> Result<(), Broken> {
        let Channel { link, number, .. } = &*self.channel;
        link.check()?;
        let gathered = [self.gathered.as_slice()];
        let mut frames: Vec<Frame<'_>> = Vec::with_capacity(2);
        if !self.gathered.is_empty() {
            frames.push(link.frame(Kind::Many, *number, &gathered));
        }
        if let Some((kind, parts)) = more {
            frames.push(link.frame(kind, *number, parts));
        }
        let mut owed = 0;
        for frame in frames.iter().filter(|frame| matches!(frame.kind, Kind::One | Kind::Many)) {
            let length = frame.parts.iter().map(|part| part.len()).sum();
            owed += cost(length);
            self.totals.frames += 1;
            self.totals.bytes += length as u64;
        }
        if owed > 0 {
            self.channel.charge(owed)?;
        }
        link.writer.write(link, &frames)?;
        self.gathered.clear();
        Ok(())
    }
}

impl Outbox for Sending {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MOST {
            return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput).into());
        }
        self.messages += 1;
        if length >= SMALL {
            return self.write(Some((Kind::One, parts)));
        }
        let mut put = Put(std::mem::take(&mut self.gathered));
        put.number(length as u64);
        parts.iter().for_each(|part| {
            put.raw(part);
        });
        self.gathered = put.0;
        if self.gathered.len() >= GATHERED { self.write(None) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Broken> {
        if self.gathered.is_empty() { self.channel.link.check() } else { self.write(None) }
    }

    fn finish(&mut self) -> Result<(), Broken> {
        // The totals count what is still to be written.
        self.flush()?;
        let mut body = Put::default();
        body.number(self.totals.frames).number(self.totals.bytes).number(self.messages);
        self.write(Some((Kind::End, &[&body.0])))?;
        self.channel.silence(false);
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.channel.served {
            self.channel.silence(true);
        }
    }
}

pub(super) struct Receiving {
    channel: Arc<Channel>,
    /// A frame of several messages, and where the next one is.
    current: Vec<u8>,
    at: usize,
    messages: u64,
}

impl Receiving {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self { channel, current: Vec::new(), at: 0, messages: 0 }
    }
}

impl Inbox for Receiving {
    fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        loop {
            if self.at < self.current.len() {
                let mut take = Take(&self.current[self.at..]);
                let message = take.bytes().inspect_err(|malformed| {
                    self.channel.link.fail((*malformed).into());
                })?;
                into.clear();
                into.extend_from_slice(message);
                self.at = self.current.len() - take.0.len();
                self.messages += 1;
                return Ok(true);
            }
            match self.channel.next()? {
                Ok((Kind::Many, body)) => {
                    self.channel.link.recycle(std::mem::replace(&mut self.current, body));
                    self.at = 0;
                }
                Ok((_, body)) => {
                    self.channel.link.recycle(std::mem::replace(into, body));
                    self.messages += 1;
                    return Ok(true);
                }
                Err(sent) if sent == self.messages => return Ok(false),
                Err(sent) => {
                    let text = format!("{} messages came, {sent} were sent", self.messages);
                    self.channel.link.fail(Broken::Corrupt(text.clone()));
                    return Err(Broken::Corrupt(text));
                }
            }
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.channel.served {
            self.channel.deafen();
        }
    }
}
