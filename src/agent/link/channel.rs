//! One conversation of a link: what has come and was not taken yet, and how much may still be sent.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::super::frame::{Head, Kind, Totals};
use super::line::{Receiving, Sending};
use super::{LOOK, Link, held};
use crate::wire::{Broken, Line, Put, Take};

/// So much may be under way, bytes: enough for 1 Gbit/s over 60 ms.
pub(super) const WINDOW: u64 = 8 << 20;

/// What a frame costs beside its body: empty ones fill memory, too.
const COST: u64 = 64;

/// What a body of that length costs.
pub(super) fn cost(length: usize) -> u64 {
    length as u64 + COST
}

pub(in super::super) struct Channel {
    pub(super) link: Arc<Link>,
    pub(in super::super) number: u32,
    /// Whoever serves it says how it ended, after everybody else is done with it.
    pub(super) served: bool,
    inbound: Mutex<Inbound>,
    arrived: Condvar,
    outbound: Mutex<Outbound>,
    room: Condvar,
}

struct Inbound {
    queue: VecDeque<(Kind, Vec<u8>)>,
    /// What the other side may still send.
    allowed: u64,
    /// What was taken, and not granted anew yet.
    taken: u64,
    totals: Totals,
    end: Option<Ending>,
    /// Nobody takes any more.
    deaf: bool,
}

enum Ending {
    /// After so many messages.
    Whole(u64),
    Gone,
    Refused(String),
}

struct Outbound {
    credit: u64,
    /// Nothing more is sent.
    done: bool,
    /// The other side takes no more, and perhaps said why.
    unwanted: Option<Option<String>>,
}

impl Channel {
    pub(super) fn new(link: Arc<Link>, number: u32, served: bool) -> Arc<Self> {
        let inbound = Inbound {
            queue: VecDeque::new(),
            allowed: WINDOW,
            taken: 0,
            totals: Totals::default(),
            end: None,
            deaf: false,
        };
        let outbound = Outbound { credit: WINDOW, done: false, unwanted: None };
        Arc::new(Self {
            link,
            number,
            served,
            inbound: Mutex::new(inbound),
            arrived: Condvar::new(),
            outbound: Mutex::new(outbound),
            room: Condvar::new(),
        })
    }

    /// Both directions of it.
    pub(in super::super) fn line(self: &Arc<Self>) -> Line {
        let outbox = Box::new(Sending::new(Arc::clone(self)));
        Line { outbox, inbox: Box::new(Receiving::new(Arc::clone(self))) }
    }

    pub(super) fn wake(&self) {
        drop(held(&self.inbound));
        self.arrived.notify_all();
        drop(held(&self.outbound));
        self.room.notify_all();
    }

    /// Whether a frame of that head may come.
    ///
    /// # Errors
    /// [`Broken::Corrupt`] if not.
    pub(super) fn expects(&self, head: &Head) -> Result<(), Broken> {
        let inbound = held(&self.inbound);
        if inbound.end.is_some() {
            return Err(Broken::Corrupt("a message came after the last".into()));
        }
        if cost(head.length) > inbound.allowed {
            return Err(Broken::Corrupt("more messages came than were granted".into()));
        }
        Ok(())
    }

    /// Takes a frame of messages from the thread that reads.
    pub(super) fn data(&self, kind: Kind, body: Vec<u8>) {
        let mut inbound = held(&self.inbound);
        inbound.allowed -= cost(body.len());
        inbound.totals.frames += 1;
        inbound.totals.bytes += body.len() as u64;
        if inbound.deaf {
            drop(inbound);
            self.link.recycle(body);
        } else {
            inbound.queue.push_back((kind, body));
            self.arrived.notify_one();
        }
    }

    /// The other side has finished, and says how much it sent.
    pub(super) fn whole(&self, body: &[u8]) -> Result<(), Broken> {
        let mut take = Take(body);
        let (frames, bytes, messages) = (take.number()?, take.number()?, take.number()?);
        take.end()?;
        let inbound = held(&self.inbound);
        if inbound.end.is_some() || inbound.totals != (Totals { frames, bytes }) {
            let Totals { frames: came, bytes: in_all } = inbound.totals;
            let text = format!("{came} frames with {in_all} bytes came, {frames} with {bytes} were sent");
            return Err(Broken::Corrupt(text));
        }
        self.end(inbound, Ending::Whole(messages));
        Ok(())
    }

    pub(super) fn gone(&self) {
        self.end(held(&self.inbound), Ending::Gone);
    }

    pub(super) fn refused(&self, text: String) {
        self.unwanted(Some(text.clone()));
        self.end(held(&self.inbound), Ending::Refused(text));
    }

    fn end(&self, mut inbound: std::sync::MutexGuard<'_, Inbound>, ending: Ending) {
        if inbound.end.is_none() {
            inbound.end = Some(ending);
        }
        drop(inbound);
        self.arrived.notify_all();
        self.settle();
    }

    /// The other side takes no more.
    pub(super) fn unwanted(&self, why: Option<String>) {
        let mut outbound = held(&self.outbound);
        if outbound.unwanted.as_ref().is_none_or(Option::is_none) {
            outbound.unwanted = Some(why);
        }
        drop(outbound);
        self.room.notify_all();
    }

    pub(super) fn granted(&self, bytes: u64) -> Result<(), Broken> {
        let mut outbound = held(&self.outbound);
        outbound.credit = outbound.credit.saturating_add(bytes);
        if outbound.credit > WINDOW {
            return Err(Broken::Corrupt("more was granted than was taken".into()));
        }
        drop(outbound);
        self.room.notify_all();
        Ok(())
    }

    /// Waits until so much may be sent, and takes it.
    ///
    /// # Errors
    /// [`Broken`] if it may never be.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), Broken> {
        let mut outbound = held(&self.outbound);
        loop {
            match &outbound.unwanted {
                Some(Some(text)) => return Err(Broken::Refused(text.clone())),
                Some(None) => return Err(Broken::Cut),
                None => self.link.check()?,
            }
            if outbound.credit >= bytes {
                outbound.credit -= bytes;
                return Ok(());
            }
            outbound = self.room.wait_timeout(outbound, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next frame of messages; `None` at the end, with how many messages were sent.
    pub(super) fn next(&self) -> Result<Result<(Kind, Vec<u8>), u64>, Broken> {
        let mut inbound = held(&self.inbound);
        loop {
            if let Some(frame) = inbound.queue.pop_front() {
                inbound.taken += cost(frame.1.len());
                if inbound.taken >= WINDOW / 4 && inbound.end.is_none() {
                    let taken = std::mem::take(&mut inbound.taken);
                    inbound.allowed += taken;
                    drop(inbound);
                    let mut grant = Put::default();
                    grant.number(taken);
                    self.link.writer.post(&self.link, Kind::Grant, self.number, grant.0);
                }
                return Ok(Ok(frame));
            }
            match &inbound.end {
                Some(Ending::Whole(messages)) => return Ok(Err(*messages)),
                Some(Ending::Gone) => return Err(Broken::Cut),
                Some(Ending::Refused(text)) => return Err(Broken::Refused(text.clone())),
                None => self.link.check()?,
            }
            inbound = self.arrived.wait_timeout(inbound, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing more is sent: everything was, or (`gone`) the rest never will be.
    pub(super) fn silence(&self, gone: bool) {
        if std::mem::replace(&mut held(&self.outbound).done, true) {
            return;
        }
        if gone {
            self.link.writer.post(&self.link, Kind::Gone, self.number, Vec::new());
        }
        self.settle();
    }

    /// Nobody takes messages any more.
    pub(super) fn deafen(&self) {
        let mut inbound = held(&self.inbound);
        let tell = !std::mem::replace(&mut inbound.deaf, true) && inbound.end.is_none();
        inbound.queue.clear();
        drop(inbound);
        if tell {
            self.link.writer.post(&self.link, Kind::Deaf, self.number, Vec::new());
        }
    }

    /// Ends what was served: with `why` the other side is told that it was given up.
    pub(in super::super) fn conclude(&self, why: Option<&str>) {
        if let Some(why) = why {
            let mut end = why.len().min(4 << 10);
            while !why.is_char_boundary(end) {
                end -= 1;
            }
            self.link.writer.post(&self.link, Kind::Refuse, self.number, why.as_bytes()[..end].to_vec());
            held(&self.outbound).done = true;
            held(&self.inbound).deaf = true;
            held(&self.inbound).queue.clear();
            self.settle();
        } else {
            self.silence(true);
            self.deafen();
        }
    }

    /// Is over once neither side sends any more.
    fn settle(&self) {
        if held(&self.inbound).end.is_some() && held(&self.outbound).done {
            self.link.forget(self.number);
        }
    }
}
