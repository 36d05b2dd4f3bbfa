//! The pass itself: what is asked of which end, and what goes into the books when.
//!
//! One thread leads. An extent is asked for at the source together with the digests of what the target is known to have
//! there; where that is not known and shall be, the target is asked first. What comes goes to the target as it came.
//! From time to time the target makes everything durable, and then it is entered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Work;
use super::book::{Books, Entry, Header};
use super::copy::wants_proof;
use super::digest::{Digest, Grains};
use super::ends::{Ends, SOURCE, TARGET};
use super::error::{Error, Lost};
use super::facts::Facts;
use super::geometry::{EXTENT, Geometry, all};
use super::message::{Body, Have, Reply, Request};
use super::options::{Content, Options, Verify, window};
use super::report::Report;
use crate::progress::Event;

/// How it stands with an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// To be done; nothing is known.
    Open,
    /// To be done; an earlier pass left its digests.
    Earlier,
    /// Done in this pass, and not written by it, or read back.
    Done,
    /// Written by this pass, or taken for granted.
    Unproved,
}

/// What is known before a pass or at its beginning.
pub(super) struct Knowledge {
    pub(super) pass: u32,
    /// The first pass whose entries are relied on.
    pub(super) since: u32,
    /// An attempt before this one may have written up to here without knowing.
    pub(super) mark: u64,
    /// What the target holds where nothing else is known.
    pub(super) content: Content,
    stands: Vec<Stand>,
    pub(super) sums: Vec<Digest>,
}

impl Knowledge {
    pub(super) fn none(cut: Geometry, pass: u32, content: Content) -> Self {
        let extents = usize::try_from(cut.extents()).unwrap_or(usize::MAX);
        Self { pass, since: pass, mark: 0, content, stands: vec![Stand::Open; extents], sums: vec![[0; 16]; extents] }
    }

    /// What the books say.
    pub(super) fn of(books: &Books<'_>, header: &Header, cut: Geometry) -> Result<Self, Error> {
        let known = match header.complete {
            // A whole pass leaves no extent unknown: what has no entry is looked at.
            true => Self::none(cut, header.pass + 1, Content::Compare),
            false => Self { mark: header.mark, ..Self::none(cut, header.pass, header.content) },
        };
        let mut known = Self { since: header.since, ..known };
        books.each(cut, |index, entry| {
            let at = index as usize;
            known.stands[at] = match (entry.pass == known.pass, entry.unproved) {
                _ if entry.pass < known.since => Stand::Open,
                (false, _) => Stand::Earlier,
                (true, false) => Stand::Done,
                (true, true) => Stand::Unproved,
            };
            known.sums[at] = entry.grains.sum();
        })?;
        Ok(known)
    }

    /// The same without any trust in what was kept, now and after a cut.
    pub(super) fn forget(self, cut: Geometry) -> Self {
        Self::none(cut, self.pass + 1, Content::Compare)
    }

    /// Whether the books can say what the target holds there.
    pub(super) fn is_vouched(&self, index: u64) -> bool {
        match self.stands.get(index as usize) {
            None | Some(Stand::Open) => false,
            // It may have been written to after its entry.
            Some(Stand::Earlier) => index >= self.mark,
            Some(Stand::Done | Stand::Unproved) => true,
        }
    }
}

/// So many bytes are written before the target is asked to make them durable; at first fewer, so that a connection which
/// breaks again and again gets on each time; or
const SYNC_BYTES: u64 = 32 << 20;
const FIRST_SYNC: u64 = 4 << 20;
/// so long.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// The mark moves so many extents at once: one durable note for each.
const MARK_STEP: u64 = 256;
/// So many extents that were read back are entered at once: a cut while reading back loses no more of them.
const PROVED_STEP: usize = 16;

/// Counts of one pass.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: u64,
    zero: u64,
    same: u64,
    already: u64,
    found: u64,
    raw: u64,
    wire: u64,
    verified: u64,
    lost: Vec<Lost>,
    target_read: bool,
}

impl Counts {
    /// A report with these counts; what else it says is for the caller to fill in.
    pub(super) fn report(mut self, source: Facts, target: Facts) -> Report {
        self.lost.sort_by_key(|lost| lost.offset);
        self.lost.dedup_by(|next, last| {
            let touches = last.offset + last.bytes == next.offset;
            last.bytes += if touches { next.bytes } else { 0 };
            touches
        });
        Report {
            extents: 0,
            sent: self.sent,
            zero: self.zero,
            same: self.same,
            already: self.already,
            found: self.found,
            bytes: 0,
            raw_bytes: self.raw,
            wire_bytes: self.wire,
            verified: self.verified,
            lost: self.lost,
            digest: String::new(),
            pass: 0,
            target_read: self.target_read,
            target_changed: false,
            tail_bytes: 0,
            tail_signatures: Vec::new(),
            gpt_backup_misplaced: false,
            overwritten: Vec::new(),
            source,
            target,
            elapsed: Duration::ZERO,
        }
    }
}

/// An extent on its way.
struct Flight {
    /// What the target has.
    have: Have,
    /// What it will have.
    grains: Option<Grains>,
    doubted: bool,
}

pub(super) struct Pass<'p, 'e, 'b> {
    ends: &'p mut Ends<'e>,
    books: &'p mut Books<'b>,
    known: &'p mut Knowledge,
    header: Header,
    cut: Geometry,
    options: &'p Options,
    work: &'p Work<'p>,
    /// The next extent to look at.
    at: u64,
    flights: HashMap<u64, Flight>,
    /// Written, and not durable yet.
    wet: Vec<(u64, Entry)>,
    /// Bytes of these, and of what is not entered.
    wet_bytes: u64,
    /// So many of them are enough to be made durable.
    enough: u64,
    /// Being made durable.
    drying: Option<Vec<(u64, Entry)>>,
    dried: Instant,
    counts: Counts,
    /// Extents of which something was lost: they are never entered, so that every attempt reports them.
    incomplete: Vec<u64>,
}

impl<'p, 'e, 'b> Pass<'p, 'e, 'b> {
    pub(super) fn new(
        ends: &'p mut Ends<'e>,
        books: &'p mut Books<'b>,
        known: &'p mut Knowledge,
        header: Header,
        cut: Geometry,
        options: &'p Options,
        work: &'p Work<'p>,
    ) -> Self {
        Self {
            ends,
            books,
            known,
            header,
            cut,
            options,
            work,
            at: 0,
            flights: HashMap::new(),
            wet: Vec::new(),
            wet_bytes: 0,
            enough: FIRST_SYNC,
            drying: None,
            dried: Instant::now(),
            counts: Counts::default(),
            incomplete: Vec::new(),
        }
    }

    /// Copies until every extent is durable on the target.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        let extents = self.cut.extents();
        self.work.progress.event(Event::Total { entries: extents, bytes: self.cut.size() });
        let window = window(self.options.in_flight);
        loop {
            while self.at < extents && self.flights.len() < window {
                self.start()?;
            }
            let idle = self.flights.is_empty();
            if idle && self.at >= extents && self.wet_bytes == 0 && self.drying.is_none() {
                return Ok(());
            }
            let due = self.wet_bytes >= self.enough || self.dried.elapsed() >= SYNC_AFTER || idle;
            if due && self.drying.is_none() && self.wet_bytes > 0 {
                self.drying = Some(std::mem::take(&mut self.wet));
                self.wet_bytes = 0;
                self.enough = (self.enough * 2).min(SYNC_BYTES);
                self.ends.ask(TARGET, Request::Sync);
            }
            let (side, reply) = self.ends.next()?;
            self.hear(side, reply)?;
        }
    }

    fn bytes(&self, index: u64) -> u64 {
        self.cut.range(index).map_or(0, |range| range.len())
    }

    /// Takes up the next extent.
    fn start(&mut self) -> Result<(), Error> {
        let index = self.at;
        self.at += 1;
        let stand = self.known.stands[index as usize];
        if matches!(stand, Stand::Done | Stand::Unproved) {
            self.counts.already += 1;
            self.advance(index);
            return Ok(());
        }
        let doubted = index < self.known.mark;
        let bytes = self.bytes(index);
        let kept = if stand == Stand::Earlier && !doubted { self.books.get(index, bytes)? } else { None };
        if index >= self.header.mark && self.books.keeps() {
            self.header.mark = index + MARK_STEP;
            self.books.set_header(&self.header)?;
        }
        let have = match (kept, doubted, self.known.content) {
            (Some(entry), ..) => Some(entry.grains),
            (None, false, Content::Zero) => Some(Grains::zeros(bytes)),
            _ => None,
        };
        if have.is_none() && (doubted || self.known.content != Content::Unknown) {
            self.counts.target_read = true;
            self.ends.ask(TARGET, Request::Digest { index });
        } else {
            self.ends.ask(SOURCE, Request::Read { index, have });
        }
        self.flights.insert(index, Flight { have, grains: None, doubted });
        Ok(())
    }

    fn hear(&mut self, side: usize, reply: Reply) -> Result<(), Error> {
        match (side, reply) {
            (TARGET, Reply::Grains { index, grains }) => {
                let have = Some(grains);
                let flight = self.flights.get_mut(&index).filter(|flight| flight.have.is_none());
                flight.ok_or_else(|| self.ends.unasked(side))?.have = have;
                self.ends.ask(SOURCE, Request::Read { index, have });
                Ok(())
            }
            (SOURCE, Reply::Extent { index, body }) => self.arrived(index, body),
            (TARGET, Reply::Written { index }) => {
                let written = self.flights.remove(&index).and_then(|flight| flight.grains);
                let grains = written.ok_or_else(|| self.ends.unasked(side))?;
                self.landed(index, grains, true);
                Ok(())
            }
            (TARGET, Reply::Synced) => {
                let dry = self.drying.take().ok_or_else(|| self.ends.unasked(side))?;
                self.dried = Instant::now();
                self.books.put(&dry)
            }
            (side, _) => Err(self.ends.unasked(side)),
        }
    }

    /// The source said what changes in an extent.
    fn arrived(&mut self, index: u64, body: Body) -> Result<(), Error> {
        let bytes = self.bytes(index);
        let lie = |what: &str| Error::lied(&self.ends.facts(SOURCE).path, what);
        let flight = self.flights.get_mut(&index).filter(|flight| flight.grains.is_none());
        let Some(flight) = flight else { return Err(self.ends.unasked(SOURCE)) };
        let mut grains = match flight.have {
            Some(grains) => grains,
            None if body.data | body.zero == all(Grains::zeros(bytes).count()) => Grains::zeros(bytes),
            None => return Err(lie("an extent is not whole")),
        };
        let mut digests = body.digests.iter();
        for at in 0..grains.count() {
            if body.data & (1 << at) != 0 {
                grains.set(at, *digests.next().ok_or_else(|| lie("an extent has too few digests"))?);
            } else if body.zero & (1 << at) != 0 {
                grains.set(at, grains.zero_digest(at));
            }
        }
        if !body.lost.is_empty() {
            if self.options.on_read_error == super::options::OnReadError::Fail {
                return Err(lie("something was lost where nothing may be"));
            }
            self.counts.lost.extend(&body.lost);
            self.incomplete.push(index);
        }
        if body.is_empty() {
            self.counts.same += 1;
            self.counts.found += u64::from(flight.doubted);
            // Zeros that are only believed to be there have to be looked at like those that were written.
            let believed = !flight.doubted && self.known.content == Content::Zero;
            self.flights.remove(&index);
            self.landed(index, grains, believed);
            return Ok(());
        }
        flight.grains = Some(grains);
        let sent = body.payload.bytes().len() as u64;
        self.counts.raw += body.raw_len(bytes);
        self.counts.wire += sent;
        *(if body.data == 0 { &mut self.counts.zero } else { &mut self.counts.sent }) += 1;
        self.ends.ask(TARGET, Request::Write { index, body });
        Ok(self.options.rate.pay(sent, self.work.cancel)?)
    }

    /// The target has an extent, though perhaps not durably.
    fn landed(&mut self, index: u64, grains: Grains, unproved: bool) {
        self.known.sums[index as usize] = grains.sum();
        self.known.stands[index as usize] = if unproved { Stand::Unproved } else { Stand::Done };
        self.wet_bytes += EXTENT;
        if !self.incomplete.contains(&index) {
            self.wet.push((index, Entry { pass: self.known.pass, unproved, grains }));
        }
        self.advance(index);
    }

    fn advance(&self, index: u64) {
        self.work.progress.event(Event::Advance { entries: 1, bytes: self.bytes(index) });
    }

    /// Reads back what is to be read back, and closes the books of the pass.
    ///
    /// # Errors
    /// [`Error::Mismatch`]; what differs is open again.
    pub(super) fn prove_and_close(mut self, verify: Verify) -> Result<Counts, Error> {
        let wanted: Vec<u64> = (0..self.cut.extents())
            .filter(|index| wants_proof(verify, self.known.stands[*index as usize] == Stand::Unproved))
            .collect();
        if !wanted.is_empty() {
            self.work.progress.event(Event::Phase("verify"));
            let bytes = wanted.iter().map(|index| self.bytes(*index)).sum();
            self.work.progress.event(Event::Total { entries: wanted.len() as u64, bytes });
        }
        let (mut asked, mut open) = (wanted.iter(), 0);
        let mut proved = Vec::new();
        let mut differing = Vec::new();
        loop {
            while open < window(self.options.in_flight) {
                let Some(index) = asked.next() else { break };
                self.ends.ask(TARGET, Request::Digest { index: *index });
                open += 1;
            }
            if open == 0 {
                break;
            }
            let (side, reply) = self.ends.next()?;
            let (TARGET, Reply::Grains { index, grains }) = (side, reply) else { return Err(self.ends.unasked(side)) };
            open -= 1;
            let was = self.known.sums.get(index as usize).ok_or_else(|| self.ends.unasked(side))?;
            if grains.sum() == *was {
                self.counts.verified += 1;
                proved.push((index, Entry { pass: self.known.pass, unproved: false, grains }));
            } else {
                differing.push(index);
            }
            self.advance(index);
            if proved.len() >= PROVED_STEP {
                self.keep(&mut proved)?;
            }
        }
        self.keep(&mut proved)?;
        if let Some(first) = differing.iter().min() {
            self.forget(&differing)?;
            let path = self.ends.facts(TARGET).path.clone();
            return Err(Error::Mismatch { path, extents: differing.len() as u64, offset: first * EXTENT });
        }
        if self.books.keeps() {
            self.header.complete = true;
            self.books.set_header(&self.header)?;
        }
        Ok(self.counts)
    }

    fn keep(&mut self, proved: &mut Vec<(u64, Entry)>) -> Result<(), Error> {
        let mut proved = std::mem::take(proved);
        proved.retain(|(index, _)| !self.incomplete.contains(index));
        self.books.put(&proved)
    }

    /// Takes back what the books say of extents that turned out otherwise: the next attempt looks at them.
    fn forget(&mut self, differing: &[u64]) -> Result<(), Error> {
        let void = |index: &u64| {
            let bytes = self.bytes(*index);
            (*index, Entry { pass: 0, unproved: true, grains: Grains::zeros(bytes) })
        };
        let entries: Vec<_> = differing.iter().map(void).collect();
        self.books.put(&entries)?;
        if self.books.keeps() {
            self.header.mark = self.cut.extents();
            self.books.set_header(&self.header)?;
        }
        Ok(())
    }
}
