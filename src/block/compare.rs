//! Compares two devices by digests, each side reading its own.

use std::collections::HashMap;
use std::time::Instant;

use super::Work;
use super::codec::Compress;
use super::digest::{Grains, whole};
use super::end::Role;
use super::ends::{Ends, SOURCE, TARGET};
use super::error::Error;
use super::geometry::{Geometry, grain, runs};
use super::message::{Begin, Reply, Request};
use super::options::{CompareOptions, window};
use super::port::Endpoint;
use super::report::Comparison;
use crate::progress::Event;
use crate::units::ByteRange;

/// So many ranges are named.
pub const NAMED: usize = 64;

/// Compares two devices or images; neither is held, so both should be at rest.
///
/// # Errors
/// [`Error::NotFound`] and the like if one cannot be opened, [`Error::Unreadable`] if one cannot be read. Differences are
/// counted, not thrown.
pub fn compare(
    left: Endpoint,
    right: Endpoint,
    options: &CompareOptions,
    work: &Work<'_>,
) -> Result<Comparison, Error> {
    let began = Instant::now();
    let mut ends = Ends::open([left, right], [Role::Source, Role::Source], work.cancel)?;
    let sizes = [ends.facts(SOURCE).size, ends.facts(TARGET).size];
    let least = sizes[0].min(sizes[1]);
    let length = options.length.map_or(least, |length| length.min(least));
    for side in [SOURCE, TARGET] {
        let begin = Begin {
            length,
            exclusive: false,
            zero_unreadable: false,
            used_only: false,
            compress: Compress::Never,
            create: false,
            identity: ends.facts(side).identity.clone(),
        };
        ends.begin(side, begin)?;
    }
    let cut = Geometry::new(length);
    let extents = usize::try_from(cut.extents()).unwrap_or(usize::MAX);
    work.progress.event(Event::Phase("compare"));
    work.progress.event(Event::Total { entries: cut.extents(), bytes: length });
    let mut sums = [vec![[0; 16]; extents], vec![[0; 16]; extents]];
    let mut open: HashMap<u64, [Option<Grains>; 2]> = HashMap::new();
    let mut differing = Vec::new();
    let mut at = 0;
    loop {
        while at < cut.extents() && open.len() < window(options.in_flight) {
            open.insert(at, [None, None]);
            ends.ask(SOURCE, Request::Digest { index: at });
            ends.ask(TARGET, Request::Digest { index: at });
            at += 1;
        }
        if open.is_empty() {
            break;
        }
        let (side, reply) = ends.next()?;
        let Reply::Grains { index, grains } = reply else { return Err(ends.unasked(side)) };
        let pair = open.get_mut(&index).filter(|pair| pair[side].is_none()).ok_or_else(|| ends.unasked(side))?;
        sums[side][index as usize] = grains.sum();
        pair[side] = Some(grains);
        if let [Some(left), Some(right)] = pair {
            let range = cut.range(index).unwrap_or(ByteRange { start: 0, end: 0 });
            for (first, end) in runs(left.differing(right)) {
                let (start, end) = (grain(range.len(), first).start, grain(range.len(), end - 1).end);
                differing.push((
                    end.div_ceil(super::GRAIN) - start / super::GRAIN,
                    ByteRange { start: range.start + start, end: range.start + end },
                ));
            }
            open.remove(&index);
            work.progress.event(Event::Advance { entries: 1, bytes: range.len() });
        }
    }
    let [left, right] = ends.close();
    differing.sort_by_key(|(_, range)| range.start);
    let mut ranges: Vec<ByteRange> = Vec::new();
    for (_, range) in &differing {
        match ranges.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => ranges.push(*range),
        }
    }
    ranges.truncate(NAMED);
    Ok(Comparison {
        equal: differing.is_empty() && (sizes[0] == sizes[1] || options.length.is_some_and(|wanted| wanted <= least)),
        bytes: length,
        differing: differing.iter().map(|(grains, _)| grains).sum(),
        ranges,
        left_digest: whole(length, &sums[SOURCE]),
        right_digest: whole(length, &sums[TARGET]),
        left,
        right,
        elapsed: began.elapsed(),
    })
}
