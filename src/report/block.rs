//! Results of the block engine as JSON, by the rules of [`super::json`].

use serde_json::{Value, json};

use super::tally::per_second;
use crate::block::{Comparison, Device, Facts, Kind, Report, Signature};
use crate::units::path_text;

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Device => "device",
        Kind::Image => "image",
        Kind::Missing => "missing",
    }
}

fn signatures(found: &[Signature]) -> Value {
    found.iter().map(|one| json!({ "name": one.name, "offset_bytes": one.offset })).collect()
}

/// What an end is.
#[must_use]
pub fn facts(facts: &Facts) -> Value {
    json!({
        "path": facts.path,
        "kind": kind(facts.kind),
        "size_bytes": facts.size,
        "identity": facts.identity.0,
        "read_only": facts.read_only,
        "uses": facts.uses,
        "signatures": signatures(&facts.signatures),
        "wwn": facts.wwn,
    })
}

/// One pass.
#[must_use]
pub fn report(report: &Report) -> Value {
    let lost: Value =
        report.lost.iter().map(|lost| json!({ "offset_bytes": lost.offset, "bytes": lost.bytes })).collect();
    json!({
        "planned": false,
        "pass": report.pass,
        "bytes": report.bytes,
        "extents": report.extents,
        "sent": report.sent,
        "zero": report.zero,
        "same": report.same,
        "already": report.already,
        "found": report.found,
        "verified": report.verified,
        "raw_bytes": report.raw_bytes,
        "wire_bytes": report.wire_bytes,
        "lost": lost,
        "digest": report.digest,
        "target_read": report.target_read,
        "target_changed": report.target_changed,
        "tail_bytes": report.tail_bytes,
        "tail_signatures": signatures(&report.tail_signatures),
        "gpt_backup_misplaced": report.gpt_backup_misplaced,
        "overwritten": signatures(&report.overwritten),
        "source": facts(&report.source),
        "target": facts(&report.target),
        "elapsed_ms": millis(report.elapsed),
        "bytes_per_second": per_second(report.bytes, report.elapsed),
    })
}

/// A pass that was only looked at: what can be known before it.
#[must_use]
pub fn planned(source: &Facts, target: &Facts) -> Value {
    let tail = target.size.saturating_sub(source.size);
    json!({
        "planned": true,
        "pass": 0,
        "bytes": source.size,
        "extents": source.size.div_ceil(crate::block::EXTENT),
        "sent": 0,
        "zero": 0,
        "same": 0,
        "already": 0,
        "found": 0,
        "verified": 0,
        "raw_bytes": 0,
        "wire_bytes": 0,
        "lost": [],
        "digest": Value::Null,
        "target_read": false,
        "target_changed": false,
        "tail_bytes": tail,
        "tail_signatures": [],
        "gpt_backup_misplaced": tail > 0 && source.signatures.iter().any(|one| one.name == "gpt"),
        "overwritten": signatures(&target.signatures),
        "source": facts(source),
        "target": facts(target),
        "elapsed_ms": 0,
        "bytes_per_second": 0,
    })
}

/// How two devices differ.
#[must_use]
pub fn comparison(seen: &Comparison) -> Value {
    let ranges: Value =
        seen.ranges.iter().map(|range| json!({ "offset_bytes": range.start, "bytes": range.len() })).collect();
    json!({
        "equal": seen.equal,
        "bytes": seen.bytes,
        "differing": seen.differing,
        "ranges": ranges,
        "left_digest": seen.left_digest,
        "right_digest": seen.right_digest,
        "left": facts(&seen.left),
        "right": facts(&seen.right),
        "elapsed_ms": millis(seen.elapsed),
    })
}

/// One device of a machine.
#[must_use]
pub fn device(device: &Device) -> Value {
    let text = |path: &std::path::Path| path_text(path.as_os_str().as_encoded_bytes());
    let facts = device.facts.as_ref();
    json!({
        "name": device.name,
        "path": text(&device.path),
        "part_of": device.part_of,
        "size_bytes": facts.map(|facts| facts.size),
        "sector_bytes": device.sector_bytes,
        "serial": device.serial,
        "wwn": facts.and_then(|facts| facts.wwn.clone()),
        "model": device.model,
        "links": device.links.iter().map(|link| text(link)).collect::<Vec<_>>(),
        "identity": facts.map(|facts| facts.identity.0.clone()),
        "read_only": facts.map(|facts| facts.read_only),
        "uses": facts.map(|facts| facts.uses.clone()),
        "signatures": facts.map(|facts| signatures(&facts.signatures)),
        "error": device.error,
    })
}
