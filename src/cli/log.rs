//! `decamp log`: the events of a run, oldest first.

use serde_json::{Value, json};

use super::ctx::Ctx;
use super::global::Format;
use super::state;
use super::when::exact;
use crate::error::{Error, Exit};
use crate::journal::EventRow;
use crate::report::notes::one_line;
use crate::report::style::Style;

/// Print what happened in a run, oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  decamp log 4f1c09aa\n  decamp log 4f1c09aa --output ndjson | jq 'select(.level == \"error\")'"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Only events of this step
    #[arg(long, value_name = "KEY")]
    step: Option<String>,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    let mut events = reader.events(&id)?;
    if let Some(step) = &args.step {
        events.retain(|event| event.step.as_deref() == Some(step));
    }
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
