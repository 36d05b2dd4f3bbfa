//! What rsync says of its work: a line for each entry that it changes (`%i`), progress, and sums at the end.

use std::io::{BufReader, Read};

use crate::copy::error::EntryError;
use crate::copy::report::{Counts, NAMED, Report};
use crate::progress::{Event, Progress};

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Itemized {
    report: Report,
    /// Bytes and files that progress has told of.
    told: (u64, u64),
    /// Directories among what is new, as the sums count them.
    new: u64,
}

impl Itemized {
    /// Reads all that rsync writes to its standard output.
    pub(crate) fn read(&mut self, from: impl Read, dry: bool, progress: &dyn Progress) {
        let mut line = Vec::new();
        // Progress is written over itself.
        for byte in BufReader::new(from).bytes().map_while(Result::ok) {
            if byte == b'\n' || byte == b'\r' {
                self.line(&String::from_utf8_lossy(&line), if dry { None } else { Some(progress) });
                line.clear();
            } else {
                line.push(byte);
            }
        }
        self.line(&String::from_utf8_lossy(&line), None);
    }

    fn line(&mut self, line: &str, progress: Option<&dyn Progress>) {
        let report = &mut self.report;
        if line.starts_with("*deleting") {
            report.deleted += 1;
        } else if let Some((what, sum)) = line.split_once(": ") {
            let number = || sum.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            match what {
                "Number of files" => report.listed = counts(sum),
                "Number of created files" => self.new = number(),
                "Total file size" => report.listed_bytes = number(),
                "Total transferred file size" => report.copied_bytes = number(),
                _ => {}
            }
        } else if line.len() >= 11
            && !line.contains(' ')
            && let [kind, entry, rest @ ..] = line.as_bytes()
            && b"<>ch.".contains(kind)
        {
            match (kind, rest.starts_with(b"+")) {
                (_, true) => *of(&mut report.created, *entry) += 1,
                (b'.', false) => report.meta_updated += 1,
                (_, false) => report.updated += 1,
            }
        } else if let Some(progress) = progress
            && let Some((bytes, files)) = so_far(line)
        {
            let entries = files.saturating_sub(self.told.1);
            progress.event(Event::Advance { entries, bytes: bytes.saturating_sub(self.told.0) });
            self.told = (bytes, files.max(self.told.1));
        }
    }

    /// All of it, with what was written to standard error.
    pub(crate) fn report(self, said: &[String]) -> Report {
        let mut report = self.report;
        for line in said {
            if line.contains("has vanished") {
                report.vanished += 1;
            } else if line.starts_with("rsync: ") {
                report.failed += 1;
                if report.errors.len() < NAMED {
                    let path = line.split('"').nth(1).unwrap_or_default().as_bytes().to_vec();
                    report.errors.push(EntryError { path, op: "copy", reason: line.clone() });
                }
            }
        }
        let done = report.created.entries() + report.updated + report.meta_updated + report.failed + report.vanished;
        report.unchanged = report.listed.entries().saturating_sub(done);
        report.dest_entries = report.listed.entries().saturating_sub(self.new) + report.deleted;
        report
    }
}

/// `6 (reg: 3, dir: 2, link: 1)`.
fn counts(sum: &str) -> Counts {
    let mut counts = Counts::default();
    let parts = sum.split_once('(').map_or("", |(_, parts)| parts.trim_end_matches(')'));
    for (name, number) in parts.split(", ").filter_map(|part| part.split_once(": ")) {
        let number = number.parse().unwrap_or(0);
        match name {
            "reg" => counts.files += number,
            "dir" => counts.dirs += number,
            "link" => counts.links += number,
            _ => counts.specials += number,
        }
    }
    counts
}

fn of(counts: &mut Counts, entry: u8) -> &mut u64 {
    match entry {
        b'f' => &mut counts.files,
        b'd' => &mut counts.dirs,
        b'L' => &mut counts.links,
        _ => &mut counts.specials,
    }
}

/// Bytes and files of `1234  12%  1.2MB/s  0:00:01 (xfr#3, to-chk=7/10)`.
fn so_far(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let bytes = words.next()?.parse().ok()?;
    words.next().filter(|word| word.ends_with('%'))?;
    let files = line.split_once("xfr#").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    Some((bytes, files.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn what_rsync_says_adds_up() {
        let out =
            b".d..t......\n>f+++++++++\ncd+++++++++\ncL+++++++++\nhf+++++++++\n>f.st......\n*deleting  \n*deleting\n\
            \r         12 100%    0.00kB/s    0:00:00 (xfr#2, to-chk=0/9)\n\n\
            Number of files: 9 (reg: 5, dir: 3, link: 1)\nNumber of created files: 4 (reg: 2, dir: 1, link: 1)\n\
            Number of deleted files: 2 (reg: 2)\nNumber of regular files transferred: 2\n\
            Total file size: 99 bytes\nTotal transferred file size: 12 bytes\nLiteral data: 12 bytes\n";
        let mut seen = Itemized::default();
        seen.read(&out[..], false, &Silent);
        assert_eq!(seen.told, (12, 2));
        let said =
            ["rsync: [sender] send_files failed to open \"/a b\": Permission denied (13)", "rsync error: some files"];
        let report = seen.report(&said.map(str::to_owned));
        assert_eq!(report.listed, Counts { files: 5, dirs: 3, links: 1, specials: 0 });
        assert_eq!(report.created, Counts { files: 2, dirs: 1, links: 1, specials: 0 });
        assert_eq!((report.updated, report.meta_updated, report.deleted, report.failed), (1, 1, 2, 1));
        assert_eq!((report.unchanged, report.dest_entries), (2, 7));
        assert_eq!((report.listed_bytes, report.copied_bytes), (99, 12));
        assert_eq!(report.errors[0].path, b"/a b");
        assert_eq!(report.listed.entries(), report.accounted());
    }
}
