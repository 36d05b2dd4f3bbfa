//! An end for storage that can only be read and written by ranges, as `dd` does on a machine where nothing of ours runs.
//!
//! It answers what every end answers, from this process: every byte that is looked at crosses the line to the storage, and
//! nobody else is kept from it meanwhile. So it is what remains where an agent cannot be had.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::codec::Packer;
use super::digest::{self, Grains};
use super::error::Error;
use super::facts::{Facts, Identity, Span};
use super::geometry::{EXTENT, GRAIN, Geometry, Mask, all, grain, grains, runs};
use super::handle::Kind;
use super::message::{Begin, Body, Have, Payload, Reply, Request};
use super::port::Endpoint;
use super::signature;
use crate::units::ByteRange;
use crate::wire::{Broken, Line, pair};

/// What such storage says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What is there.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Which storage it is; see [`Identity`].
    pub identity: String,
    /// It cannot be written to.
    pub read_only: bool,
    /// Who uses it.
    pub uses: Vec<String>,
    /// World-wide name, if it has one.
    pub wwn: Option<String>,
    /// The kernel that runs there.
    pub kernel: String,
    /// Its device number there, `7:0`.
    pub device: Option<String>,
}

/// Storage that is read and written by ranges. Called from several threads.
pub trait Ranged: Send + Sync {
    /// What it is now; nothing is changed.
    ///
    /// # Errors
    /// What stands in the way.
    fn look(&self) -> Result<Seen, Error>;

    /// All bytes of a range.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it has not all of them.
    fn read(&self, range: ByteRange) -> Result<Vec<u8>, Error>;

    /// Writes all of `data`.
    ///
    /// # Errors
    /// What stands in the way.
    fn write(&self, start: u64, data: &[u8]) -> Result<(), Error>;

    /// Makes an image of so many zeros, where nothing is yet.
    ///
    /// # Errors
    /// What stands in the way.
    fn create(&self, size: u64) -> Result<(), Error>;

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// What stands in the way.
    fn sync(&self) -> Result<(), Error>;
}

impl Endpoint {
    /// Storage that is read and written by ranges, so many of them at once; `target`: to be written to.
    #[must_use]
    pub fn ranged(name: &str, storage: Arc<dyn Ranged>, target: bool, at_once: usize) -> Self {
        let (near, far): (Vec<_>, Vec<_>) = (0..at_once.max(1)).map(|_| pair(2)).unzip();
        let path = name.to_owned();
        std::thread::spawn(move || {
            let end = Ranging { path, storage: &*storage, target, cut: OnceLock::new(), facts: Mutex::default() };
            end.serve(far);
        });
        Self::remote(name, near).called(name)
    }
}

struct Ranging<'s> {
    path: String,
    storage: &'s dyn Ranged,
    target: bool,
    cut: OnceLock<Geometry>,
    facts: Mutex<Option<Facts>>,
}

impl Ranging<'_> {
    /// Answers on every line until the other side has finished on it, or it is broken: then that is where it is seen.
    fn serve(&self, lines: Vec<Line>) {
        std::thread::scope(|scope| {
            for line in lines {
                scope.spawn(move || self.answer(line));
            }
        });
    }

    fn answer(&self, mut line: Line) -> Result<(), Broken> {
        let mut packer = Packer::default();
        loop {
            let mut message = Vec::new();
            if !line.inbox.receive(&mut message)? {
                return line.outbox.finish();
            }
            let request = Request::read(message, self.cut.get().copied());
            let reply =
                request.map_err(Error::malformed(&self.path)).and_then(|request| self.handle(&mut packer, request));
            reply.unwrap_or_else(Reply::Failed).send(&mut *line.outbox)?;
            line.outbox.flush()?;
        }
    }

    fn handle(&self, packer: &mut Packer, request: Request) -> Result<Reply, Error> {
        match request {
            Request::Open { .. } => {
                let facts = self.look()?;
                if facts.kind == Kind::Missing && !self.target {
                    return Err(Error::NotFound { path: self.path.clone() });
                }
                *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts.clone());
                Ok(Reply::Opened(facts))
            }
            Request::Begin(begin) => self.begin(&begin),
            Request::Read { index, have } => self.read(index, have),
            Request::Digest { index } => Ok(Reply::Grains { index, grains: Grains::of(&self.load(index)?.1) }),
            Request::Write { index, body } => self.write(packer, index, &body),
            Request::Sync => self.storage.sync().map(|()| Reply::Synced),
        }
    }

    fn look(&self) -> Result<Facts, Error> {
        let seen = self.storage.look()?;
        let mut read = |range: ByteRange| self.storage.read(range);
        let (signatures, partition_starts) = match seen.kind {
            Kind::Missing => (Vec::new(), Vec::new()),
            _ => (signature::scan(seen.size, &mut read)?, signature::partition_starts(seen.size, &mut read)?),
        };
        let span =
            |device| Span { storage: format!("b:{device}"), range: Some(ByteRange { start: 0, end: seen.size }) };
        Ok(Facts {
            path: self.path.clone(),
            kind: seen.kind,
            size: seen.size,
            identity: Identity(seen.identity),
            read_only: seen.read_only,
            writers: seen.uses.clone(),
            uses: seen.uses,
            signatures,
            partition_starts,
            wwn: seen.wwn,
            kernel: seen.kernel,
            spans: seen.device.into_iter().map(span).collect(),
        })
    }

    fn begin(&self, begin: &Begin) -> Result<Reply, Error> {
        let path = self.path.clone();
        if begin.used_only {
            return Err(Error::NoMap { path, why: "it is read by ranges alone".into() });
        }
        if begin.create {
            self.storage.create(begin.length)?;
        }
        let now = self.look()?;
        if !begin.create && now.identity != begin.identity {
            let role = if self.target { "target" } else { "source" };
            return Err(Error::Other { path, role, expected: begin.identity.clone(), found: now.identity });
        }
        if self.target && !now.uses.is_empty() {
            return Err(Error::InUse { path, by: now.uses });
        }
        if now.size < begin.length {
            return Err(Error::Resized { path, before: begin.length, now: now.size });
        }
        let cut = Geometry::new(begin.length);
        self.cut.set(cut).map_err(|_| Error::lied(&self.path, "it is to be held a second time"))?;
        Ok(Reply::Begun { identity: now.identity })
    }

    fn range(&self, index: u64) -> Result<ByteRange, Error> {
        let range = self.cut.get().and_then(|cut| cut.range(index));
        range.ok_or_else(|| Error::lied(&self.path, format!("extent {index} lies behind the end")))
    }

    fn load(&self, index: u64) -> Result<(ByteRange, Vec<u8>), Error> {
        let range = self.range(index)?;
        let bytes = self.storage.read(range)?;
        if bytes.len() as u64 != range.len() {
            return Err(Error::lied(&self.path, "a range is not as long as it was asked for"));
        }
        Ok((range, bytes))
    }

    fn read(&self, index: u64, have: Have) -> Result<Reply, Error> {
        let (range, mut bytes) = self.load(index)?;
        let found = Grains::of(&bytes);
        let wanted: Mask = have.map_or(all(found.count()), |have| found.differing(&have));
        let zero = found.zero_mask() & wanted;
        let data = wanted & !zero;
        let digests = found.digests().iter().enumerate().filter(|(at, _)| data & (1 << at) != 0).map(|(_, one)| *one);
        let digests = digests.collect();
        let mut len = 0;
        for at in (0..grains(range.len())).filter(|at| data & (1 << at) != 0) {
            let part = grain(range.len(), at);
            bytes.copy_within(part.start as usize..part.end as usize, len);
            len += part.len() as usize;
        }
        bytes.truncate(len);
        let payload = if len == 0 { Payload::Nothing } else { Payload::Message(bytes, 0) };
        Ok(Reply::Extent { index, body: Body { data, zero, digests, packed: false, payload, lost: Vec::new() } })
    }

    fn write(&self, packer: &mut Packer, index: u64, body: &Body) -> Result<Reply, Error> {
        let range = self.range(index)?;
        let lied = |what: &str| Error::lied(&self.path, what);
        if !self.target {
            return Err(lied("a source is to be written to"));
        }
        let raw = usize::try_from(body.raw_len(range.len())).unwrap_or(usize::MAX).min(EXTENT as usize);
        let sent = body.payload.bytes();
        let mut unpacked = Vec::new();
        let data = if body.packed {
            unpacked.resize(raw, 0);
            if !packer.unpack(sent, &mut unpacked) {
                return Err(lied("an extent cannot be unpacked"));
            }
            &unpacked[..]
        } else {
            sent
        };
        let pieces = data.chunks(GRAIN as usize);
        if data.len() != raw || pieces.len() != body.digests.len() {
            return Err(lied("an extent is not as long as it says"));
        }
        if pieces.zip(&body.digests).any(|(bytes, digest)| digest::of_grain(bytes) != *digest) {
            return Err(lied("data does not have the digest that came with it"));
        }
        let part = |first, end: usize| {
            let (first, last) = (grain(range.len(), first), grain(range.len(), end - 1));
            (range.start + first.start, (last.end - first.start) as usize)
        };
        let mut at = 0;
        for (first, end) in runs(body.data) {
            let (start, len) = part(first, end);
            self.storage.write(start, &data[at..at + len])?;
            at += len;
        }
        for (first, end) in runs(body.zero) {
            let (start, len) = part(first, end);
            self.storage.write(start, &vec![0; len])?;
        }
        Ok(Reply::Written { index })
    }
}
