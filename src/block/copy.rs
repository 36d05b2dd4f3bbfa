//! One pass over a pair of devices, from the first look to the report.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Instant;

use super::Work;
use super::book::{Books, Entry, Header};
use super::end::Role;
use super::ends::{Ends, SOURCE, TARGET};
use super::error::Error;
use super::facts::Facts;
use super::geometry::{EXTENT, Geometry};
use super::handle::Kind;
use super::message::{Begin, Reply, Request};
use super::options::{Content, OnReadError, Options, Verify};
use super::pass::{Knowledge, Pass};
use super::port::Endpoint;
use super::refuse::{expected, refuse};
use super::report::{Preview, Report};
use crate::progress::{Checkpoint, Event};

/// Whether the books have an attempt or a pass of before, of whatever pair.
///
/// # Errors
/// [`Error::Checkpoint`]; as a file of digests that cannot be read.
pub fn begun(options: &Options, checkpoint: &dyn Checkpoint) -> Result<bool, Error> {
    Ok(Books::open(digests(options), checkpoint)?.header()?.is_some())
}

/// The file of digests if there is one: whoever only looks makes none.
fn digests(options: &Options) -> Option<&Path> {
    options.digests.as_deref().filter(|path| path.exists())
}

/// Looks at both ends and refuses what [`copy`] would refuse at first sight; nothing is held or changed.
///
/// # Errors
/// As [`copy`], before anything is written.
pub fn preview(source: Endpoint, target: Endpoint, options: &Options, work: &Work<'_>) -> Result<Preview, Error> {
    let ends = Ends::open([source, target], [Role::Source, Role::Target], work.cancel)?;
    refuse(ends.facts(SOURCE), ends.facts(TARGET), options)?;
    let books = Books::open(digests(options), work.checkpoint)?;
    let header = same_pair(&books, ends.facts(SOURCE), ends.facts(TARGET))?;
    if header.is_none() && !options.overwrite {
        blank(ends.facts(TARGET))?;
    }
    let [source, target] = ends.close();
    Ok(Preview { source, target })
}

/// Makes the target hold what the source holds, over as much as the source has.
///
/// A pass that was cut off is taken up where it was: what the target had said to be durable is neither read nor sent
/// again; what was on its way is read at the target and sent again only if it had not arrived. A pass after a whole one
/// sends what changed since, and reads the target only where the books cannot vouch for it.
///
/// # Errors
/// Whatever stands in [`Error`]. Before the first refusal is overcome nothing is written; afterwards, what was written
/// stays, and is in the books.
pub fn copy(source: Endpoint, target: Endpoint, options: &Options, work: &Work<'_>) -> Result<Report, Error> {
    let began = Instant::now();
    let mut ends = Ends::open([source, target], [Role::Source, Role::Target], work.cancel)?;
    refuse(ends.facts(SOURCE), ends.facts(TARGET), options)?;
    let mut books = Books::open(options.digests.as_deref(), work.checkpoint)?;
    let header = same_pair(&books, ends.facts(SOURCE), ends.facts(TARGET))?;
    let size = ends.facts(SOURCE).size;
    let found = ends.facts(TARGET).signatures.clone();
    if header.is_none() && !options.overwrite {
        blank(ends.facts(TARGET))?;
    }
    let create = ends.facts(TARGET).kind == Kind::Missing;
    let begin = Begin {
        length: size,
        exclusive: !options.live,
        zero_unreadable: options.on_read_error == OnReadError::Zero,
        used_only: options.used_only,
        compress: options.compress,
        create: false,
        identity: ends.facts(SOURCE).identity.clone(),
    };
    let identity = ends.facts(TARGET).identity.clone();
    ends.begin(SOURCE, begin.clone())?;
    let held = Begin { exclusive: true, zero_unreadable: false, used_only: false, create, identity, ..begin };
    ends.begin(TARGET, held)?;

    let cut = Geometry::new(size);
    let mut changed = false;
    let mut known = match header {
        Some(header) if header.size == size => {
            let known = Knowledge::of(&books, &header, cut)?;
            let found = match header.disturbed {
                Some(offset) => Some(offset),
                None => disturbed(&mut ends, &books, &known, cut)?,
            };
            match found {
                None => known,
                Some(_) if options.overwrite => {
                    changed = true;
                    known.forget(cut)
                }
                Some(offset) => {
                    // The next look may fall on other places.
                    books.set_header(&Header { disturbed: Some(offset), ..header })?;
                    return Err(Error::TargetChanged { path: ends.facts(TARGET).path.clone(), offset });
                }
            }
        }
        // The source has another size: what is on the target is still ours, and has to be looked at.
        Some(header) => Knowledge::none(cut, header.pass + 1, Content::Compare),
        None => Knowledge::none(cut, 1, if create { Content::Zero } else { options.content }),
    };
    let fresh = Header {
        source: ends.facts(SOURCE).identity.0.clone(),
        target: ends.facts(TARGET).identity.0.clone(),
        size,
        pass: known.pass,
        complete: false,
        mark: known.mark,
        since: known.since,
        content: known.content,
        disturbed: None,
    };
    if books.keeps() {
        books.set_header(&fresh)?;
    }
    work.progress.event(Event::Phase("copy"));
    let mut pass = Pass::new(&mut ends, &mut books, &mut known, fresh, cut, options, work);
    pass.run()?;
    let counts = pass.prove_and_close(options.verify)?;
    let [source, target] = ends.close();
    let tail = target.size.saturating_sub(size);
    let report = Report {
        extents: cut.extents(),
        bytes: size,
        digest: super::digest::whole(size, &known.sums),
        pass: known.pass,
        target_changed: changed,
        tail_bytes: tail,
        tail_signatures: target.signatures.iter().filter(|one| tail > 0 && one.offset >= size).cloned().collect(),
        gpt_backup_misplaced: tail > 0 && source.signatures.iter().any(|one| one.name == "gpt"),
        overwritten: found,
        elapsed: began.elapsed(),
        ..counts.report(source, target)
    };
    if report.sent + report.zero + report.same + report.already != report.extents {
        return Err(Error::lied("", "the extents do not add up: a defect of decamp, do not trust this copy"));
    }
    for lost in &report.lost {
        let text = format!("{lost} could not be read and is zeros in the copy");
        work.progress.event(Event::Notice { path: report.source.path.as_bytes(), text: &text });
    }
    Ok(report)
}

/// Refuses a target that holds something.
fn blank(target: &Facts) -> Result<(), Error> {
    if target.signatures.is_empty() {
        return Ok(());
    }
    Err(Error::Signature { path: target.path.clone(), found: target.signatures.clone() })
}

/// What the books say of this pair.
fn same_pair(books: &Books<'_>, source: &Facts, target: &Facts) -> Result<Option<Header>, Error> {
    let Some(header) = books.header()? else { return Ok(None) };
    let [source_was, target_was] = [&header.source, &header.target].map(|text| super::facts::Identity(text.clone()));
    if target.kind == Kind::Missing {
        return Err(books.bad(format!("they are about `{target_was}`, and `{}` does not exist", target.path)));
    }
    expected(source, target, &source_was, &target_was)?;
    Ok(Some(header))
}

/// Extents that are looked at to see whether anybody wrote to the target.
const PROBES: u64 = 32;

/// As many of them are asked for at a time: no more way than that is waited for, and all threads there are at work.
const PROBES_OPEN: usize = 16;

/// The first place found at which the target is not as the books say.
///
/// Where somebody wrote without telling, the beginning, the end or the beginning of a partition has nearly always
/// changed: superblocks are written by every mount. Extents that are picked anew each time see the rest.
fn disturbed(ends: &mut Ends<'_>, books: &Books<'_>, known: &Knowledge, cut: Geometry) -> Result<Option<u64>, Error> {
    let extents = cut.extents();
    let mut wanted: Vec<u64> = (0..4).chain(extents.saturating_sub(2)..extents).collect();
    wanted.extend(ends.facts(TARGET).partition_starts.iter().map(|start| start / EXTENT));
    wanted.extend((0..PROBES).map(|n| RandomState::new().hash_one(n) % extents.max(1)));
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|index| known.is_vouched(*index));
    let mut wanted = wanted.into_iter();
    let mut open = BTreeMap::new();
    let mut first: Option<u64> = None;
    loop {
        while open.len() < PROBES_OPEN
            && let Some(index) = wanted.next()
        {
            let bytes = cut.range(index).map_or(0, |range| range.len());
            let Some(Entry { grains, .. }) = books.get(index, bytes)? else { continue };
            ends.ask(TARGET, Request::Digest { index });
            open.insert(index, grains);
        }
        if open.is_empty() {
            return Ok(first);
        }
        let (side, reply) = ends.next()?;
        let (TARGET, Reply::Grains { index, grains: now }) = (side, reply) else { return Err(ends.unasked(side)) };
        let Some(grains) = open.remove(&index) else { return Err(ends.unasked(side)) };
        if now != grains {
            let at = index * EXTENT;
            first = Some(first.map_or(at, |first| first.min(at)));
        }
    }
}

/// Whether a level of proof concerns an extent that was written (or taken for granted) in this pass.
pub(super) fn wants_proof(verify: Verify, unproved: bool) -> bool {
    match verify {
        Verify::None => false,
        Verify::Written => unproved,
        Verify::Whole => true,
    }
}
