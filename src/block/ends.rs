//! Both ends together, as whoever leads the work has them: one queue of answers for both.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::codec::Compress;
use super::end::Role;
use super::error::Error;
use super::facts::{Facts, Identity};
use super::geometry::Geometry;
use super::message::{Begin, Reply, Request};
use super::port::{Endpoint, Event, Port, Side};
use crate::cancel::Cancel;

/// The end that is read from, or the left one.
pub(super) const SOURCE: Side = 0;
/// The end that is written to, or the right one.
pub(super) const TARGET: Side = 1;

/// So often it is looked whether the work should stop.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Ends<'a> {
    ports: [Port; 2],
    facts: [Facts; 2],
    events: Receiver<Event>,
    cancel: &'a Cancel,
}

impl<'a> Ends<'a> {
    /// Opens both; nothing is held or changed.
    ///
    /// # Errors
    /// What an end answers, [`Error::Broken`], [`Error::Cancelled`].
    pub(super) fn open(endpoints: [Endpoint; 2], roles: [Role; 2], cancel: &'a Cancel) -> Result<Self, Error> {
        let (sender, events) = channel();
        let paths = [endpoints[0].bytes().to_vec(), endpoints[1].bytes().to_vec()];
        let [first, second] = endpoints;
        // What is read here goes out over the lines of the other end.
        let outgoing = second.lines.len();
        let source = Port::new(SOURCE, roles[SOURCE], first, None, outgoing, &sender);
        let target = Port::new(TARGET, roles[TARGET], second, source.end(), 0, &sender);
        let mut ports = [source, target];
        for (port, path) in ports.iter_mut().zip(paths) {
            port.ask(Request::Open { path });
        }
        let mut found = [None, None];
        while found.iter().any(Option::is_none) {
            let (side, reply) = next(&events, &mut ports, cancel)?;
            match reply {
                Reply::Opened(facts) => found[side] = Some(facts),
                _ => return Err(Error::lied("", "an answer that was not asked for")),
            }
        }
        let [Some(source), Some(target)] = found else { return Err(Error::lied("", "an end without facts")) };
        Ok(Self { ports, facts: [source, target], events, cancel })
    }

    pub(super) fn facts(&self, side: Side) -> &Facts {
        &self.facts[side]
    }

    /// Whether both are in this process.
    pub(super) fn are_local(&self) -> bool {
        self.ports.iter().all(Port::is_local)
    }

    /// Holds one end.
    ///
    /// # Errors
    /// What it answers.
    pub(super) fn begin(&mut self, side: Side, begin: Begin) -> Result<Identity, Error> {
        let cut = Geometry::new(begin.length);
        let begin = if self.are_local() { Begin { compress: Compress::Never, ..begin } } else { begin };
        self.ports[side].ask(Request::Begin(begin));
        match self.next()? {
            (from, Reply::Begun { identity }) if from == side => {
                self.ports[side].agree(cut);
                self.facts[side].identity = identity.clone();
                Ok(identity)
            }
            (from, _) => Err(self.unasked(from)),
        }
    }

    pub(super) fn ask(&mut self, side: Side, request: Request) {
        self.ports[side].ask(request);
    }

    /// The next answer of either.
    ///
    /// # Errors
    /// What an end answers instead, [`Error::Broken`], [`Error::Cancelled`].
    pub(super) fn next(&mut self) -> Result<(Side, Reply), Error> {
        next(&self.events, &mut self.ports, self.cancel)
    }

    /// An answer to no question.
    pub(super) fn unasked(&self, side: Side) -> Error {
        Error::lied(&self.facts[side].path, "an answer that was not asked for")
    }

    /// Lets go of both.
    pub(super) fn close(self) -> [Facts; 2] {
        self.ports.into_iter().for_each(Port::close);
        self.facts
    }
}

/// Looks at one end, wherever it is; nothing is held.
///
/// # Errors
/// As [`super::look`]; [`Error::Broken`], [`Error::Cancelled`].
pub fn look_at(endpoint: Endpoint, cancel: &Cancel) -> Result<Facts, Error> {
    let (sender, events) = channel();
    let path = endpoint.bytes().to_vec();
    let mut ports = [Port::new(SOURCE, Role::Source, endpoint, None, 0, &sender)];
    ports[0].ask(Request::Open { path });
    let Reply::Opened(facts) = next(&events, &mut ports, cancel)?.1 else {
        return Err(Error::lied("", "an answer that was not asked for"));
    };
    ports.into_iter().for_each(Port::close);
    Ok(facts)
}

fn next(events: &Receiver<Event>, ports: &mut [Port], cancel: &Cancel) -> Result<(Side, Reply), Error> {
    loop {
        cancel.check()?;
        match events.recv_timeout(LOOK) {
            Ok(event) => {
                let written = matches!(event.reply, Ok(Reply::Written { .. }));
                ports[event.side].answered(event.lane, written);
                return Ok((event.side, event.reply?));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::lied("", "both ends are gone")),
        }
    }
}
