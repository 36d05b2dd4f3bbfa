//! A command outlives the process that started it: nothing is said or done about its effect while it still runs.

use crate::error::{Error, Exit, Kind};
use crate::host::process::Process;
use crate::journal::{EffectRow, EffectStatus, EventRow, Reader, RunDetail};

/// The event that tells which process a command is.
pub(super) const STARTED: &str = "effect.process";

/// Refuses to go on with a run whose interrupted command still runs.
pub(super) fn check(reader: &Reader, detail: &RunDetail) -> Result<(), Error> {
    let id = &detail.summary.id;
    // A living process looks after its commands itself, and whoever wants its run is told so.
    if detail.summary.live {
        return Ok(());
    }
    let open = |effect: &&EffectRow| matches!(effect.status, EffectStatus::Intent | EffectStatus::InDoubt);
    let doubtful: Vec<&EffectRow> = detail.effects.iter().filter(open).filter(|e| e.function == "host.exec").collect();
    if doubtful.is_empty() {
        return Ok(());
    }
    let events = reader.events(id)?;
    for effect in doubtful {
        let process = match started(effect, &events)? {
            Some(process) => process.lives().then_some(process),
            // It died before it could tell which process the command is.
            None => Process::marked(&effect.idem_key),
        };
        let Some(Process { pid, .. }) = process else { continue };
        let step = detail.steps.iter().find(|step| step.id == effect.step).map_or("", |step| step.key.as_str());
        let message = format!("the command `{}` of step `{step}` still runs, as process {pid}", effect.target);
        return Err(Error::new(Kind::Conflict, message)
            .hint("it was started by a process of this run that has died; what it does is not known before it ends")
            .hint(format!("wait for its end, or end it: kill -TERM -{pid}"))
            .hint(format!("then: decamp resume {id}"))
            .exit(Exit::InDoubt));
    }
    Ok(())
}

/// The process that was told of after the effect last began.
fn started(effect: &EffectRow, events: &[EventRow]) -> Result<Option<Process>, Error> {
    let id = serde_json::json!(effect.id);
    let mut found = None;
    for event in events.iter().filter(|event| event.data.get("effect") == Some(&id)) {
        match event.kind.as_str() {
            "effect.intent" | "effect.again" => found = None,
            STARTED => found = event.data.get("process"),
            _ => {}
        }
    }
    let read = |process: &serde_json::Value| {
        serde_json::from_value(process.clone())
            .map_err(|error| Error::new(Kind::Internal, "a record of a process cannot be read").because(error))
    };
    found.map(read).transpose()
}
