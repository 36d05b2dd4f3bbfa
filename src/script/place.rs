//! Where a run was begun: what a script says with a relative path or a command is meant from there, whoever goes on.

use super::api::paths::{path, text};
use super::outcome::{Call, Say};
use crate::error::{Error, Exit, Kind};
use crate::journal::{EventRow, RunId};

/// The directory a run was begun in; none for a run of a decamp that did not keep it.
pub(super) fn of(events: &[EventRow]) -> Option<&str> {
    let begun = events.iter().find(|event| event.kind == "run.created")?;
    begun.data.get("cwd")?.as_str()
}

/// Makes the directory the run was begun in the working directory of this process.
///
/// # Errors
/// `not_found` if it cannot be entered: elsewhere a relative path would mean something else.
pub(super) fn enter(id: &RunId, events: &[EventRow], call: &Call) -> Result<(), Error> {
    let Some(place) = of(events) else { return Ok(()) };
    let dir = path(place)?;
    if std::env::current_dir().is_ok_and(|here| here == dir) {
        return Ok(());
    }
    std::env::set_current_dir(&dir).map_err(|error| {
        Error::new(Kind::NotFound, format!("run {id} was begun in `{place}`, which cannot be entered"))
            .because(error)
            .hint("relative paths and commands of the run are meant from there: bring it back")
            .exit(Exit::Usage)
    })?;
    (call.say)(Say::Line(&format!("in {}, where the run was begun", text(&dir))));
    Ok(())
}
