//! Whether the tables and `events.ndjson` of a run say the same: the one is checked by the other, because a byte that
//! changed inside a row is no damage to SQLite.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::error::Error;
use super::events::Story;
use super::model::RunId;
use super::store::images::{self, Image};
use super::store::{blobs, events, runs};
use super::view::EventRow;

/// What differs, one line each; nothing for a file of the first format. The caller holds the lock of the run.
///
/// A file may lack the events at its end, where a process died between a commit and its lines: then the rows those
/// events are about may differ, and no others.
pub(super) fn differences(sql: &Connection, run: &RunId, story: &Story) -> Result<Vec<String>, Error> {
    // Nothing to compare with: of the first format, or a process died right after it made the run.
    if story.old || story.lines.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut table = events::after(sql, run, 0)?;
    let late = table.split_off(table.partition_point(|row| row.seq <= story.last()));
    let mut lines = story.lines.iter().map(|line| &line.event).peekable();
    for row in &table {
        while let Some(line) = lines.next_if(|line| line.seq < row.seq) {
            found.push(format!("event {} is only in the file", line.seq));
        }
        match lines.next_if(|line| line.seq == row.seq) {
            Some(line) if json!(line) != json!(row) => found.push(format!("event {} is another one there", row.seq)),
            Some(_) => {}
            None => found.push(format!("event {} is only in the table", row.seq)),
        }
    }
    found.extend(lines.map(|line| format!("event {} is only in the file", line.seq)));

    let late = Late::of(&late);
    let mut said = story.rows();
    let own = match runs::head(sql, run) {
        Ok(_) => images::of_run(sql, run)?,
        Err(Error::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut needed: Vec<String> = own.iter().flat_map(|(name, image)| images::blobs_of(name, image)).collect();
    needed.sort_unstable();
    needed.dedup();
    for hash in needed {
        if let Err(error) = blobs::need(sql, &hash) {
            found.push(format!("content {hash}: {error}"));
        }
    }
    let keys: BTreeMap<i64, String> = own
        .iter()
        .filter(|(name, _)| *name == "step")
        .filter_map(|(_, image)| Some((image.get("id")?.as_i64()?, image.get("key")?.as_str()?.to_owned())))
        .collect();
    for (name, image) in images::meta(sql)?.into_iter().chain(own) {
        let key = images::key(name, &image);
        match said.remove(&(name, key.clone())) {
            Some(line) if *line == image => {}
            _ if late.explains(name, &image, &keys) => {}
            None => found.push(format!("row {key} of `{name}` is not in the file")),
            Some(line) => found.push(format!("row {key} of `{name}` has another {}", columns(line, &image))),
        }
    }
    // Blobs are checked against their names, and those of another run may have been there before.
    said.retain(|(name, _), _| *name != "blob");
    found.extend(said.into_keys().map(|(name, key)| format!("row {key} of `{name}` is only in the file")));
    Ok(found)
}

/// What the events tell that a file lacks.
struct Late<'e> {
    any: bool,
    /// Of the run itself: what its process left open may be lost or in doubt by them.
    whole: bool,
    steps: BTreeSet<&'e str>,
}

impl<'e> Late<'e> {
    fn of(events: &'e [EventRow]) -> Self {
        Self {
            any: !events.is_empty(),
            whole: events.iter().any(|event| event.kind.starts_with("run.")),
            steps: events.iter().filter_map(|event| event.step.as_deref()).collect(),
        }
    }

    /// Whether they can be why a row is another one.
    fn explains(&self, table: &str, image: &Image, keys: &BTreeMap<i64, String>) -> bool {
        let text = |column: &str| image.get(column).and_then(Value::as_str).unwrap_or_default();
        let of_step = |key: &str| self.steps.contains(key);
        match table {
            "meta" => false,
            "step" => of_step(text("key")) || (self.whole && text("status") == "lost"),
            "effect" => {
                let step = image.get("step_id").and_then(Value::as_i64).and_then(|id| keys.get(&id));
                step.is_some_and(|key| of_step(key)) || (self.whole && text("status") == "in_doubt")
            }
            _ => self.any,
        }
    }
}

/// Names of the columns two rows differ in.
fn columns(one: &Image, other: &Image) -> String {
    let all = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    let differ: Vec<&str> = all.filter(|name| one.get(*name) != other.get(*name)).map(String::as_str).collect();
    differ.join(", ")
}
