//! Progress as JSON lines on standard output: one object a line, each with `schema` and `event`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::json::SCHEMA;
use super::live::Painter;
use super::output::Output;
use super::tally::{News, Snapshot};
use crate::progress::Held;

/// At most one progress event in this time.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Events {
    output: Arc<Output>,
    phase: u32,
    told_at: Duration,
    told: (u64, u64),
}

impl Events {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self { output, phase: 0, told_at: Duration::ZERO, told: (0, 0) }
    }

    fn progress(&mut self, seen: &Snapshot) {
        self.told_at = seen.elapsed;
        self.told = (seen.entries, seen.bytes);
        self.output.json(progress(seen), false);
    }
}

impl Painter for Events {
    fn tick(&mut self, seen: &Snapshot) {
        if seen.number != self.phase {
            self.phase = seen.number;
            self.told_at = Duration::ZERO;
            self.told = (0, 0);
        }
        let moved = self.told != (seen.entries, seen.bytes);
        if !seen.phase.is_empty() && moved && seen.elapsed.saturating_sub(self.told_at) >= EVERY {
            self.progress(seen);
        }
    }

    fn news(&mut self, news: News, seen: &Snapshot) {
        if let Some(event) = event(news) {
            self.output.json(event, false);
        }
        self.tick(seen);
    }

    fn end(&mut self, seen: &Snapshot) {
        if !seen.phase.is_empty() && self.told != (seen.entries, seen.bytes) {
            self.progress(seen);
        }
    }
}

fn progress(seen: &Snapshot) -> Value {
    let known = |total: u64| (total > 0).then_some(total);
    json!({
        "schema": SCHEMA,
        "event": "progress",
        "phase": seen.phase,
        "entries": seen.entries,
        "bytes": seen.bytes,
        "total_entries": known(seen.total_entries),
        "total_bytes": known(seen.total_bytes),
        "failed": seen.failed,
        "max_rate_bytes": seen.limit,
        "bytes_per_second": seen.bytes_per_second(),
        "operations_per_second": seen.operations_per_second(),
        "workers": seen.workers,
        "held": seen.held.map(Held::name),
        "elapsed_ms": seen.elapsed.as_millis() as u64,
        "eta_ms": seen.eta().map(|eta| eta.as_millis() as u64),
    })
}

fn event(news: News) -> Option<Value> {
    Some(match news {
        News::Phase(phase) => json!({ "schema": SCHEMA, "event": "phase", "phase": phase }),
        News::Failed { path, error } => {
            json!({ "schema": SCHEMA, "event": "entry_failed", "path": path, "error": error })
        }
        News::Notice { path, text } => json!({ "schema": SCHEMA, "event": "notice", "path": path, "text": text }),
        News::Line(line) => json!({ "schema": SCHEMA, "event": "line", "text": line }),
        News::Event(event) => event,
        News::Stop => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_event_carries_schema_and_kind() {
        let all = [
            News::Phase("copy".into()),
            News::Failed { path: "a".into(), error: "b".into() },
            News::Notice { path: "a".into(), text: "b".into() },
            News::Line("x\ny".into()),
        ];
        for news in all {
            let event = event(news).unwrap();
            assert_eq!(event["schema"], 1);
            assert!(event["event"].is_string(), "{event}");
            assert!(!event.to_string().contains('\n'));
        }
        assert_eq!(progress(&Snapshot::default())["total_bytes"], Value::Null);
    }
}
