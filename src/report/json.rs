//! Results as JSON: stable snake_case names, quantities with their unit in the name, paths in their text form.

use serde_json::{Map, Value, json};

use super::tally::per_second;
use crate::copy::EntryError;
use crate::copy::report::{Comparison, Counts, Effort, Probe, Report, Scan, Shortfall, Side};
use crate::progress::Held;
use crate::units::path_text;

/// Version of every JSON document and line this program prints.
pub const SCHEMA: u32 = 1;

/// A document: `schema`, then the members of `body`.
#[must_use]
pub fn document(body: Value) -> Value {
    let mut all = Map::new();
    all.insert("schema".into(), SCHEMA.into());
    match body {
        Value::Object(members) => all.extend(members),
        other => {
            all.insert("value".into(), other);
        }
    }
    Value::Object(all)
}

/// Entries by type.
#[must_use]
pub fn counts(counts: &Counts) -> Value {
    json!({
        "entries": counts.entries(),
        "files": counts.files,
        "dirs": counts.dirs,
        "links": counts.links,
        "specials": counts.specials,
    })
}

fn errors(errors: &[EntryError]) -> Value {
    errors.iter().map(|e| json!({ "path": path_text(&e.path), "op": e.op, "reason": e.reason })).collect()
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The report of a pass.
#[must_use]
pub fn report(report: &Report) -> Value {
    json!({
        "planned": report.planned,
        "listed": counts(&report.listed),
        "listed_bytes": report.listed_bytes,
        "created": counts(&report.created),
        "updated": report.updated,
        "meta_updated": report.meta_updated,
        "unchanged": report.unchanged,
        "deleted": report.deleted,
        "backed_up": report.backed_up,
        "foreign": report.foreign,
        "skipped": report.skipped,
        "vanished": report.vanished,
        "changed": report.changed,
        "failed": report.failed,
        "errors": errors(&report.errors),
        "copied_bytes": report.copied_bytes,
        "dest_entries": report.dest_entries,
        "elapsed_ms": millis(report.elapsed),
        "bytes_per_second": per_second(report.copied_bytes, report.elapsed),
        "effort": effort(&report.effort, report.copied_bytes),
    })
}

/// How a walk that moved so many bytes was worked on.
fn effort(effort: &Effort, bytes: u64) -> Value {
    json!({
        "operations": effort.operations,
        "operations_per_second": per_second(effort.operations, effort.elapsed),
        "bytes_per_second": per_second(bytes, effort.elapsed),
        "elapsed_ms": millis(effort.elapsed),
        "workers": effort.workers,
        "most_workers": effort.most_workers,
        "held": effort.held.map(Held::name),
    })
}

/// The report of a scan.
#[must_use]
pub fn scan(scan: &Scan) -> Value {
    json!({
        "counts": counts(&scan.counts),
        "bytes": scan.bytes,
        "disk_bytes": scan.disk_bytes,
        "largest_bytes": scan.largest_bytes,
        "digest": scan.digest,
        "hardlinks": scan.hardlinks,
        "sparse": scan.sparse,
        "xattrs": scan.xattrs,
        "acls": scan.acls,
        "capabilities": scan.capabilities,
        "sockets": scan.sockets,
        "devices": scan.devices,
        "others_owner": scan.others_owner,
        "subsecond": scan.subsecond,
        "odd_names": scan.odd_names,
        "longest_name_bytes": scan.longest_name,
        "longest_path_bytes": scan.longest_path,
        "failed": scan.failed,
        "errors": errors(&scan.errors),
        "elapsed_ms": millis(scan.elapsed),
    })
}

fn side(side: &Side) -> Value {
    json!({ "counts": counts(&side.counts), "bytes": side.bytes, "digest": side.digest })
}

/// The report of a comparison.
#[must_use]
pub fn comparison(comparison: &Comparison) -> Value {
    let named: Value = comparison
        .named
        .iter()
        .map(|d| json!({ "path": path_text(&d.path), "what": d.what, "detail": d.detail }))
        .collect();
    json!({
        "equal": comparison.differences == 0 && comparison.failed == 0,
        "left": side(&comparison.left),
        "right": side(&comparison.right),
        "differences": comparison.differences,
        "named": named,
        "content_files": comparison.content_files,
        "content_bytes": comparison.content_bytes,
        "failed": comparison.failed,
        "errors": errors(&comparison.errors),
        "elapsed_ms": millis(comparison.elapsed),
    })
}

/// What a destination can hold.
#[must_use]
pub fn probe(probe: &Probe) -> Value {
    json!({
        "fs_type": probe.fs_type,
        "writable": probe.writable,
        "read_only_reason": probe.read_only_reason,
        "free_bytes": probe.free_bytes,
        "free_inodes": probe.free_inodes,
        "chown": probe.chown,
        "squash": probe.squash,
        "xattr": probe.xattr,
        "acl": probe.acl,
        "capability": probe.capability,
        "hardlink": probe.hardlink,
        "holes": probe.holes,
        "time_ns": probe.time_ns,
        "device": probe.device,
        "name_max_bytes": probe.name_max,
    })
}

/// What a destination cannot hold.
#[must_use]
pub fn shortfalls(shortfalls: &[Shortfall]) -> Value {
    shortfalls
        .iter()
        .map(|s| json!({ "accept": s.loss.map(crate::copy::options::Loss::name), "entries": s.entries, "reason": s.reason }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_leads_with_its_schema() {
        assert_eq!(document(json!({ "a": 1 })).to_string(), r#"{"schema":1,"a":1}"#);
    }

    #[test]
    fn a_tree_that_could_not_be_compared_is_not_equal() {
        let unsure = Comparison { failed: 1, ..Comparison::default() };
        assert_eq!(comparison(&unsure)["equal"], false);
        assert_eq!(comparison(&Comparison::default())["equal"], true);
    }

    #[test]
    fn every_number_of_a_report_is_there() {
        let effort = Effort {
            operations: 50,
            elapsed: std::time::Duration::from_secs(2),
            workers: 8,
            most_workers: 16,
            held: Some(Held::NoGain),
        };
        let report = Report { failed: 3, vanished: 2, listed_bytes: 7, copied_bytes: 8, effort, ..Report::default() };
        let value = super::report(&report);
        let effort = r#"{"operations":50,"operations_per_second":25,"bytes_per_second":4,"elapsed_ms":2000,"workers":8,"most_workers":16,"held":"no-gain"}"#;
        assert_eq!(value["effort"].to_string(), effort);
        assert_eq!((&value["failed"], &value["vanished"], &value["listed_bytes"]), (&json!(3), &json!(2), &json!(7)));
    }
}
