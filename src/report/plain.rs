//! Progress as lines, for logs and terminals that cannot move the cursor: one line a phase, then one every ten seconds
//! or every twentieth, whichever comes first.

use std::fmt::Write as _;
use std::time::Duration;

use super::human::workers;
use super::live::Painter;
use super::tally::{News, Snapshot};
use crate::progress::Held;
use crate::units::{Bytes, show_count, show_duration};

const EVERY: Duration = Duration::from_secs(10);
const TWENTIETH: f64 = 0.05;

/// A quick phase gets no lines between its first and its last: steps of less than this are not told apart.
const LEAST: Duration = Duration::from_secs(1);

pub(super) struct Plain<W> {
    write: W,
    phase: u32,
    told_at: Duration,
    told_fraction: f64,
}

impl<W: FnMut(&str) + Send> Plain<W> {
    pub(super) fn new(write: W) -> Self {
        Self { write, phase: 0, told_at: Duration::ZERO, told_fraction: 0.0 }
    }

    fn line(&mut self, seen: &Snapshot) {
        self.told_at = seen.elapsed;
        self.told_fraction = seen.fraction().unwrap_or(0.0);
        let percent = seen.fraction().map(|f| format!(" {:.0} %", f * 100.0)).unwrap_or_default();
        (self.write)(&format!("{}:{percent} {}", seen.phase, describe(seen)));
    }
}

impl<W: FnMut(&str) + Send> Painter for Plain<W> {
    fn tick(&mut self, seen: &Snapshot) {
        if seen.phase.is_empty() {
            return;
        }
        if seen.number != self.phase {
            self.phase = seen.number;
            self.told_at = Duration::ZERO;
            self.told_fraction = 0.0;
        }
        let since = seen.elapsed.saturating_sub(self.told_at);
        let further = seen.fraction().unwrap_or(0.0) - self.told_fraction;
        if since >= EVERY || (since >= LEAST && further >= TWENTIETH) {
            self.line(seen);
        }
    }

    fn news(&mut self, news: News, seen: &Snapshot) {
        if let Some(line) = say(&news) {
            (self.write)(&line);
        }
        self.tick(seen);
    }

    fn end(&mut self, seen: &Snapshot) {
        if !seen.phase.is_empty() && seen.elapsed >= LEAST {
            self.line(seen);
        }
    }
}

/// One line for what is told once; nothing for what the picture itself shows.
pub(super) fn say(news: &News) -> Option<String> {
    match news {
        News::Failed { path, error } => Some(format!("failed: {path}: {error}")),
        News::Notice { path, text } if path.is_empty() => Some(format!("note: {text}")),
        News::Notice { path, text } => Some(format!("note: {path}: {text}")),
        News::Line(line) => Some(line.clone()),
        News::Phase(_) | News::Event(_) | News::Stop => None,
    }
}

/// Why there are no more workers, while they are at it.
fn told(held: Held) -> &'static str {
    match held {
        Held::Given => "as asked for",
        Held::NoGain => "more are no faster",
        Held::Limit => "no more may be",
        Held::Idle => "no work for more",
    }
}

/// The numbers of a phase: `1,200/5,000 entries, 1.20 GiB/3.00 GiB, 120 MiB/s, 15.0 s left, 2 failed`.
pub(super) fn describe(seen: &Snapshot) -> String {
    // Such as making it durable: there is nothing to count, and still it takes its time.
    if seen.entries == 0 && seen.bytes == 0 && seen.total_entries == 0 && seen.total_bytes == 0 {
        return show_duration(seen.elapsed);
    }
    let mut text = show_count(seen.entries);
    if seen.total_entries > 0 {
        write!(text, "/{}", show_count(seen.total_entries)).ok();
    }
    write!(text, " entries, {}", Bytes(seen.bytes)).ok();
    if seen.total_bytes > 0 {
        write!(text, "/{}", Bytes(seen.total_bytes)).ok();
    }
    if seen.bytes > 0 {
        write!(text, ", {}/s", Bytes(seen.bytes_per_second())).ok();
    } else if seen.entries > 0 {
        write!(text, ", {}/s", show_count(seen.entries_per_second())).ok();
    }
    if let Some(limit) = seen.limit.filter(|_| seen.bytes > 0) {
        write!(text, " (at most {}/s)", Bytes(limit)).ok();
    }
    if let Some(eta) = seen.eta().filter(|eta| !eta.is_zero()) {
        write!(text, ", {} left", show_duration(eta)).ok();
    }
    if seen.failed > 0 {
        write!(text, ", {} failed", show_count(seen.failed)).ok();
    }
    // Last, because a narrow terminal cuts off what is last.
    if seen.workers > 0 {
        write!(text, ", {} operations/s by {}", show_count(seen.operations_per_second()), workers(seen.workers)).ok();
        if let Some(held) = seen.held {
            write!(text, " ({})", told(held)).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    fn at(seconds: u64, entries: u64) -> Snapshot {
        Snapshot {
            phase: "copy".into(),
            number: 1,
            elapsed: Duration::from_secs(seconds),
            entries,
            bytes: entries * 1024,
            total_entries: 1_000,
            total_bytes: 1_024_000,
            failed: 0,
            limit: None,
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_line_comes_every_ten_seconds_or_every_twentieth() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let mut plain = Plain::new(move |line: &str| sink.lock().unwrap().push(line.to_owned()));
        for (seconds, entries) in [(0, 0), (2, 10), (3, 60), (4, 61), (9, 62), (13, 62), (14, 63), (15, 900)] {
            plain.tick(&at(seconds, entries));
        }
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert_eq!(lines[0], "copy: 6 % 60/1,000 entries, 60.0 KiB/0.98 MiB, 20.0 KiB/s, 47.0 s left");
        assert!(lines[1].starts_with("copy: 6 % 62/1,000"), "{lines:#?}");
        assert!(lines[2].starts_with("copy: 90 %"), "{lines:#?}");
    }

    #[test]
    fn a_limit_stands_beside_the_speed() {
        let text = describe(&Snapshot { limit: Some(1 << 20), ..at(1, 10) });
        assert!(text.contains("KiB/s (at most 1.00 MiB/s)"), "{text}");
        assert!(!describe(&at(1, 10)).contains("at most"));
    }

    #[test]
    fn what_works_on_it_stands_at_the_end() {
        let seen = Snapshot { operations: 5_000, workers: 16, ..at(2, 10) };
        assert!(describe(&seen).ends_with(" 2,500 operations/s by 16 workers"), "{}", describe(&seen));
        let seen = Snapshot { held: Some(Held::NoGain), workers: 1, ..seen };
        assert!(describe(&seen).ends_with(" by 1 worker (more are no faster)"), "{}", describe(&seen));
        assert!(!describe(&at(2, 10)).contains("worker"));
    }

    #[test]
    fn failures_are_told_at_once() {
        let news = News::Failed { path: "a\\x0ab".into(), error: "open: denied".into() };
        assert_eq!(say(&news).unwrap(), "failed: a\\x0ab: open: denied");
        assert_eq!(say(&News::Phase("copy".into())), None);
    }
}
