//! Results of the tree engine as text for people.

use std::fmt::Write as _;

use super::notes::table;
use super::style::Style;
use super::tally::per_second;
use crate::copy::EntryError;
use crate::copy::report::{Comparison, Counts, Effort, NAMED, Report, Scan, Shortfall, Side};
use crate::progress::Held;
use crate::units::{Bytes, path_text, show_count, show_duration};

/// Width of the column of labels.
const LABEL: usize = 14;

/// Names of failures and differences printed; JSON has up to [`NAMED`] of them.
const SHOWN: usize = 50;

fn row(out: &mut String, label: &str, value: &str) {
    writeln!(out, "  {label:<LABEL$}{value}").ok();
}

/// `1,234 entries (1,000 files, 200 directories, 33 links, 1 special)`.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    let parts = [
        (counts.files, "file", "files"),
        (counts.dirs, "directory", "directories"),
        (counts.links, "link", "links"),
        (counts.specials, "special", "specials"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, ..)| *n > 0).map(|&(n, one, many)| count(n, one, many)).collect();
    let all = count(counts.entries(), "entry", "entries");
    if parts.is_empty() { all } else { format!("{all} ({})", parts.join(", ")) }
}

/// A count with its noun: `1 file`, `2,000 files`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", show_count(number), if number == 1 { one } else { many })
}

/// The report of a pass.
#[must_use]
pub fn report(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let head = if report.planned { "would be copied (nothing was changed)" } else { "copied" };
    let mark = if report.failed == 0 { style.good(head) } else { style.warn(&format!("{head}, not all of it")) };
    writeln!(out, "{mark}").ok();
    row(&mut out, "listed", &format!("{}, {}", counts(&report.listed), Bytes(report.listed_bytes)));
    row(&mut out, "created", &counts(&report.created));
    row(
        &mut out,
        "updated",
        &format!("{}, metadata of {}", show_count(report.updated), show_count(report.meta_updated)),
    );
    row(&mut out, "unchanged", &show_count(report.unchanged));
    row(&mut out, "deleted", &show_count(report.deleted));
    for (label, number) in [("backed up", report.backed_up), ("skipped", report.skipped), ("vanished", report.vanished)]
    {
        if number > 0 {
            row(&mut out, label, &show_count(number));
        }
    }
    if report.changed > 0 {
        row(&mut out, "changed", &format!("{} while they were read", count(report.changed, "file", "files")));
    }
    let rate = Bytes(per_second(report.copied_bytes, report.elapsed));
    let span = show_duration(report.elapsed);
    if report.planned {
        row(&mut out, "to copy", &format!("{} (found in {span})", Bytes(report.copied_bytes)));
    } else {
        row(&mut out, "copied", &format!("{} in {span}, {rate}/s", Bytes(report.copied_bytes)));
    }
    if report.effort.workers > 0 {
        row(&mut out, "effort", &effort(&report.effort, report.copied_bytes));
    }
    failures(&mut out, report.failed, &report.errors, style);
    out
}

/// `8 workers`.
pub(super) fn workers(number: u64) -> String {
    count(number, "worker", "workers")
}

/// How a walk that moved so many bytes was worked on.
fn effort(effort: &Effort, bytes: u64) -> String {
    let operations = show_count(per_second(effort.operations, effort.elapsed));
    let rate = Bytes(per_second(bytes, effort.elapsed));
    let (now, most) = (effort.workers as u64, effort.most_workers as u64);
    let most = if most > now { format!(", {} at most", show_count(most)) } else { String::new() };
    let held = match effort.held {
        None => "it ended before more could help",
        Some(Held::Given) => "as asked for",
        Some(Held::NoGain) => "more were no faster",
        Some(Held::Limit) => "no more may be",
        Some(Held::Idle) => "there was no work for more",
    };
    format!("{operations} operations/s, {rate}/s by {}{most}: {held}", workers(now))
}

/// The report of a scan.
#[must_use]
pub fn scan(scan: &Scan, looked_at_xattrs: bool, style: Style) -> String {
    let mut out = String::new();
    row(&mut out, "entries", &counts(&scan.counts));
    row(
        &mut out,
        "size",
        &format!("{}, {} on disk, largest {}", Bytes(scan.bytes), Bytes(scan.disk_bytes), Bytes(scan.largest_bytes)),
    );
    row(&mut out, "digest", &scan.digest);
    let mut features = vec![
        ("hard links", scan.hardlinks),
        ("sparse", scan.sparse),
        ("sockets", scan.sockets),
        ("devices", scan.devices),
        ("others'", scan.others_owner),
        ("odd names", scan.odd_names),
    ];
    if looked_at_xattrs {
        features.extend([("xattrs", scan.xattrs), ("ACLs", scan.acls), ("capabilities", scan.capabilities)]);
    }
    for (label, number) in features {
        row(&mut out, label, &show_count(number));
    }
    row(&mut out, "longest", &format!("name {} bytes, path {} bytes", scan.longest_name, scan.longest_path));
    row(&mut out, "time", &show_duration(scan.elapsed));
    failures(&mut out, scan.failed, &scan.errors, style);
    out
}

/// The report of a comparison: both sides beside each other, then the differences.
#[must_use]
pub fn comparison(comparison: &Comparison, names: (&str, &str), style: Style) -> String {
    let mut out = sides(names, &comparison.left, &comparison.right);
    let read = format!(
        "content of {} read on both sides, {} each, in {}",
        count(comparison.content_files, "file", "files"),
        Bytes(comparison.content_bytes),
        show_duration(comparison.elapsed)
    );
    writeln!(out, "{read}").ok();
    if comparison.differences == 0 && comparison.failed == 0 {
        writeln!(out, "{}", style.good("no difference")).ok();
    }
    if comparison.differences > 0 {
        writeln!(out, "{}", style.bad(&count(comparison.differences, "difference", "differences"))).ok();
        for d in comparison.named.iter().take(SHOWN) {
            let detail = if d.detail.is_empty() { String::new() } else { format!(" ({})", d.detail) };
            writeln!(out, "  {}: {}{detail}", name(&d.path), d.what).ok();
        }
        more(&mut out, comparison.differences, comparison.named.len());
    }
    failures(&mut out, comparison.failed, &comparison.errors, style);
    out
}

fn sides(names: (&str, &str), left: &Side, right: &Side) -> String {
    let line = |label: &str, of: &dyn Fn(&Side) -> String| {
        let (left, right) = (of(left), of(right));
        let same = if left == right { "=" } else { "≠" };
        vec![label.to_owned(), left, same.to_owned(), right]
    };
    let rows = vec![
        line("entries", &|s| show_count(s.counts.entries())),
        line("files", &|s| show_count(s.counts.files)),
        line("directories", &|s| show_count(s.counts.dirs)),
        line("links", &|s| show_count(s.counts.links)),
        line("specials", &|s| show_count(s.counts.specials)),
        line("bytes", &|s| show_count(s.bytes)),
        line("digest", &|s| fold_digest(&s.digest)),
    ];
    let heads = ["", names.0, "", names.1].map(str::to_owned).to_vec();
    table(&heads, &rows)
}

/// A digest of 64 digits on two lines, so that two of them stand beside each other on 80 columns.
fn fold_digest(digest: &str) -> String {
    match digest.split_at_checked(32) {
        Some((first, rest)) if !rest.is_empty() => format!("{first}\n{rest}"),
        _ => digest.to_owned(),
    }
}

/// What the source has and the destination cannot hold, one line each.
#[must_use]
pub fn shortfalls(shortfalls: &[Shortfall]) -> Vec<String> {
    shortfalls
        .iter()
        .map(|s| {
            let entries =
                if s.entries > 0 { format!(" ({})", count(s.entries, "entry", "entries")) } else { String::new() };
            match s.loss {
                Some(loss) => format!("{}: {}{entries}", loss.name(), s.reason),
                None => format!("{}{entries}", s.reason),
            }
        })
        .collect()
}

fn failures(out: &mut String, failed: u64, errors: &[EntryError], style: Style) {
    if failed == 0 {
        return;
    }
    writeln!(out, "{}", style.bad(&format!("failed: {}", count(failed, "entry", "entries")))).ok();
    for e in errors.iter().take(SHOWN) {
        writeln!(out, "  {}: {}: {}", name(&e.path), e.op, e.reason).ok();
    }
    more(out, failed, errors.len());
}

fn more(out: &mut String, all: u64, named: usize) {
    let shown = named.min(SHOWN) as u64;
    if all > shown {
        writeln!(
            out,
            "  and {} more (--output json names up to {})",
            show_count(all - shown),
            show_count(NAMED as u64)
        )
        .ok();
    }
}

/// A path below a root; the root itself is `.`.
fn name(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { path_text(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::report::Difference;
    use std::time::Duration;

    #[test]
    fn a_pass_reads_like_this() {
        let done = Report {
            listed: Counts { files: 1_200, dirs: 30, links: 1, specials: 0 },
            created: Counts { files: 1_000, ..Counts::default() },
            updated: 20,
            meta_updated: 3,
            unchanged: 207,
            failed: 1,
            errors: vec![EntryError { path: b"a\nb".to_vec(), op: "open", reason: "Permission denied".into() }],
            listed_bytes: 5 << 20,
            copied_bytes: 4 << 20,
            elapsed: Duration::from_secs(2),
            effort: Effort {
                operations: 9_000,
                elapsed: Duration::from_secs(1),
                workers: 12,
                most_workers: 16,
                held: Some(Held::NoGain),
            },
            ..Report::default()
        };
        insta::assert_snapshot!(report(&done, Style::plain()), @r"
        copied, not all of it
          listed        1,231 entries (1,200 files, 30 directories, 1 link), 5.00 MiB
          created       1,000 entries (1,000 files)
          updated       20, metadata of 3
          unchanged     207
          deleted       0
          copied        4.00 MiB in 2.0 s, 2.00 MiB/s
          effort        9,000 operations/s, 4.00 MiB/s by 12 workers, 16 at most: more were no faster
        failed: 1 entry
          a\x0ab: open: Permission denied
        ");
    }

    #[test]
    fn a_comparison_shows_both_sides() {
        let side = |digest: &str| Side { digest: digest.repeat(64), bytes: 1_000, ..Side::default() };
        let mut found = Comparison { left: side("a"), right: side("b"), differences: 60, ..Comparison::default() };
        found.named = vec![Difference { path: Vec::new(), what: "mode", detail: "0755, 0700".into() }];
        let text = comparison(&found, ("/a", "/b"), Style::plain());
        assert!(text.contains("  .: mode (0755, 0700)\n  and 59 more"), "{text}");
        assert!(text.contains(&"a".repeat(32)) && text.contains('≠'), "{text}");
        assert!(!text.contains("no difference"), "{text}");
    }
}
