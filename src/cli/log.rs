//! `decamp log`: the events of a run, oldest first.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::duration;
use super::ctx::Ctx;
use super::global::Format;
use super::state;
use super::when::exact;
use crate::error::{Error, Exit, Kind};
use crate::journal::{EventRow, Level, Reader, RunId};
use crate::report::notes::one_line;
use crate::report::style::Style;

/// Print what happened in a run, oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --follow it ends when the run has: it works for a run of another terminal too.\n\nExamples:\n  decamp log \
                        4f1c09aa\n  decamp log 4f1c09aa --follow\n  decamp log 4f1c09aa --level warn --since 10m\n  decamp log 4f1c09aa --output ndjson | jq 'select(.level == \"error\")'"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Only events of this step
    #[arg(long, value_name = "KEY")]
    step: Option<String>,

    /// Only events as loud as this: info, warn or error
    #[arg(long, value_name = "LEVEL", value_parser = level, default_value = "info")]
    level: Level,

    /// Only events of the last so much time, such as 10m or 2h
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    since: Option<Duration>,

    /// Go on printing events as they come, until the run has ended
    #[arg(long, short = 'f')]
    follow: bool,
}

/// How often a run that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

fn level(text: &str) -> Result<Level, String> {
    Level::from_name(text).ok_or_else(|| "give info, warn or error".to_owned())
}

/// What of the events is shown.
struct Filter {
    step: Option<String>,
    level: Level,
    since_ms: i64,
}

impl Filter {
    fn of(args: &Args) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = args.since.map(|span| now.saturating_sub(span).as_millis());
        let since_ms = since.map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
        Self { step: args.step.clone(), level: args.level, since_ms }
    }

    fn shows(&self, event: &EventRow) -> bool {
        let loud = |level: Level| Level::ALL.iter().position(|known| *known == level);
        let step = self.step.as_ref().is_none_or(|step| event.step.as_ref() == Some(step));
        step && event.at >= self.since_ms && loud(event.level) >= loud(self.level)
    }
}

/// Prints events as they come, until no process has the run.
fn follow(ctx: &Ctx, reader: &Reader, id: &RunId, filter: &Filter) -> Result<Exit, Error> {
    let mut last = 0;
    loop {
        // Looked at before the events: what is written till then is shown before the end.
        let live = reader.run(id)?.summary.live;
        for event in reader.events_after(id, last)? {
            last = event.seq;
            if filter.shows(&event) {
                ctx.item(|| line(&event, ctx.out), || data(&event));
            }
        }
        if !live || ctx.closed() {
            return Ok(Exit::Success);
        }
        ctx.cancel.sleep(LOOK)?;
    }
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    let filter = Filter::of(&args);
    if args.follow {
        if ctx.format() == Format::Json {
            return Err(Error::new(Kind::Invalid, "one JSON document has an end, and what is followed has none")
                .hint("use --output ndjson"));
        }
        return follow(ctx, &reader, &id, &filter);
    }
    let mut events = reader.events(&id)?;
    events.retain(|event| filter.shows(event));
    if ctx.format() == Format::Json {
        let all: Value = events.iter().map(data).collect();
        ctx.result(String::new, || json!({ "run": id.as_str(), "events": all }));
        return Ok(Exit::Success);
    }
    for event in &events {
        if ctx.closed() {
            break;
        }
        ctx.item(|| line(event, ctx.out), || data(event));
    }
    Ok(Exit::Success)
}

fn line(event: &EventRow, style: Style) -> String {
    let level = match event.level.name() {
        "error" => style.bad("error"),
        "warn" => style.warn("warn "),
        other => format!("{other:<5}"),
    };
    let step = event.step.as_deref().map(|step| format!(" [{step}]")).unwrap_or_default();
    let data = match &event.data {
        Value::Null => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        data => format!(" {}", one_line("", data)),
    };
    format!("{} {level} {}{step}{data}", exact(event.at), event.kind)
}

fn data(event: &EventRow) -> Value {
    json!({
        "event": "log",
        "seq": event.seq,
        "at_ms": event.at,
        "level": event.level.name(),
        "kind": event.kind,
        "step": event.step,
        "data": event.data,
    })
}
