//! A kept plan: what a run would do, in a file, to be looked at, approved, and then done as it is or not at all.
//!
//! It holds everything the plan followed from (the hashes of the texts, the parameters, the identities of the targets)
//! and what it said. Before the first effect of the run the plan is made again and compared. A plan is applied once:
//! the run records its name, which is the hash of its content, so that an edited file is another plan, and no plan.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::library::Library;
use super::outcome::{Call, Outcome, PlanItem, Say};
use super::{Script, api};
use crate::error::{Error, Exit, Kind};
use crate::journal::Journal;
use crate::units::show_duration;

/// The form of the file. Another one is refused: what it left out, nobody compared.
const SCHEMA: u64 = 1;

/// A plan that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptPlan {
    schema: u64,
    /// blake3 of the rest.
    id: String,
    created_ms: i64,
    tool_version: String,
    script: String,
    script_path: Option<String>,
    /// Hash of each text, by the name it is imported by.
    sources: BTreeMap<String, String>,
    params: Value,
    /// Identity of each root that was looked at; none: it did not exist.
    targets: BTreeMap<String, Option<String>>,
    items: Vec<Item>,
    /// Where and why the plan could not look further.
    stops: Option<String>,
}

/// One intended effect, without what differs from one look to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    step: String,
    function: String,
    target: String,
    certainty: String,
    changes: Option<bool>,
    summary: String,
    data: Value,
}

impl From<&PlanItem> for Item {
    fn from(item: &PlanItem) -> Self {
        Self {
            step: item.step.clone(),
            function: item.function.clone(),
            target: item.target.clone(),
            certainty: item.certainty.to_owned(),
            changes: item.changes,
            summary: item.summary.clone(),
            data: lasting(&item.data),
        }
    }
}

/// A planned result without spans of time and speeds.
fn lasting(data: &Value) -> Value {
    match data {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !key.ends_with("_ms") && !key.ends_with("_per_second"))
            .map(|(key, value)| (key.clone(), lasting(value)))
            .collect(),
        Value::Array(items) => items.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

impl KeptPlan {
    /// The plan of `script` with `params`, as `outcome` says it.
    pub(super) fn of(script: &Script, library: &Library, params: &Value, outcome: &Outcome) -> Self {
        let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        let mut kept = Self {
            schema: SCHEMA,
            id: String::new(),
            created_ms: Timestamp::now().as_millisecond(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            script: script.name.clone(),
            script_path: script.path.as_ref().map(|path| api::paths::text(path)),
            sources: library.sources().iter().map(|source| (source.module.clone(), hash(&source.text))).collect(),
            params: params.clone(),
            targets: outcome.targets.clone(),
            items: outcome.plan.iter().map(Item::from).collect(),
            stops: outcome.plan_stops.clone(),
        };
        kept.id = kept.hash();
        kept
    }

    fn hash(&self) -> String {
        let bare = Self { id: String::new(), ..self.clone() };
        // Strings, numbers and JSON values: it always has a JSON form.
        blake3::hash(&serde_json::to_vec(&bare).unwrap_or_default()).to_hex().to_string()
    }

    /// Writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// `exists` if the file does; `io`.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let shown = api::paths::text(path);
        let failed = |source: std::io::Error| {
            let kind = match source.kind() {
                std::io::ErrorKind::AlreadyExists => return exists(path),
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Io,
            };
            Error::new(kind, format!("cannot write the plan to `{shown}`")).because(source)
        };
        let text = format!("{:#}\n", serde_json::to_value(self).unwrap_or_default());
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
            // Half a plan is worse than none; the failure itself is what is told.
            std::fs::remove_file(path).ok();
            failed(source)
        })
    }

    /// Reads a file that [`KeptPlan::write`] wrote.
    ///
    /// # Errors
    /// `not_found`, `io`; `unsupported` for another form, `invalid` if it is no plan, was edited, or is older than
    /// `max_age`.
    pub fn read(path: &Path, max_age: Option<Duration>) -> Result<Self, Error> {
        let shown = api::paths::text(path);
        let again = "make it again: decamp run NAME … --plan --out FILE";
        let text = std::fs::read(path).map_err(|source| {
            let kind = if source.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("cannot read the plan `{shown}`")).because(source).exit(Exit::Usage).hint(
                match kind {
                    Kind::NotFound => "make one: decamp run NAME … --plan --out FILE",
                    _ => "it has to be a file that this user may read",
                },
            )
        })?;
        let wrong = |what: &str| Error::new(Kind::Invalid, format!("`{shown}` {what}")).exit(Exit::Usage);
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| wrong("is no kept plan").because(error).hint(again))?;
        if value.get("schema").and_then(Value::as_u64).is_some_and(|schema| schema != SCHEMA) {
            let what = format!("`{shown}` has a form this decamp {} does not know", env!("CARGO_PKG_VERSION"));
            return Err(Error::new(Kind::Unsupported, what).hint(again).exit(Exit::Usage));
        }
        let kept: Self =
            serde_json::from_value(value).map_err(|error| wrong("is no kept plan").because(error).hint(again))?;
        if kept.hash() != kept.id {
            return Err(wrong("was edited since it was written: it is not the plan that was made").hint(again));
        }
        if let Some(max_age) = max_age {
            let age = Timestamp::now().as_millisecond() - kept.created_ms;
            match u64::try_from(age).map(Duration::from_millis) {
                Ok(age) if age <= max_age => {}
                Ok(age) => {
                    let (age, most) = (show_duration(age), show_duration(max_age));
                    return Err(wrong(&format!("is {age} old, more than {most}")).hint(again));
                }
                Err(_) => return Err(wrong("is of a time that is still to come: the clock was set back").hint(again)),
            }
        }
        Ok(kept)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What finds its script again.
    #[must_use]
    pub fn script(&self) -> &str {
        self.script_path.as_deref().unwrap_or(&self.script)
    }

    /// The parameters it was made with.
    #[must_use]
    pub fn params(&self) -> &Value {
        &self.params
    }

    /// Where and why it could not look further: what comes after is not bound by it.
    #[must_use]
    pub fn stops(&self) -> Option<&str> {
        self.stops.as_deref()
    }

    /// What a person compares: targets and items, line by line.
    fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .targets
            .iter()
            .map(|(path, id)| format!("target {path}: {}", id.as_deref().unwrap_or("does not exist")))
            .collect();
        for item in &self.items {
            lines.push(format!("{} {} {}", item.step, item.function, item.target));
            let changes = match item.changes {
                Some(true) => "will change",
                Some(false) => "no change",
                None => "may change",
            };
            lines.push(format!("  {changes}, {}: {}", item.certainty, item.summary));
            flat("", &item.data, &mut lines);
        }
        lines.extend(self.stops.iter().map(|why| format!("the plan stops here: {why}")));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// `created.files: 3`, one line a leaf.
fn flat(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            flat(&format!("{path}{dot}{key}"), value, lines);
        }),
        other => lines.push(format!("    {path}: {other}")),
    }
}

/// That a file is not overwritten.
#[must_use]
pub fn exists(path: &Path) -> Error {
    Error::new(Kind::Exists, format!("`{}` exists already", api::paths::text(path)))
        .hint("it is not overwritten: move it away, or name another file")
        .exit(Exit::Usage)
}

/// Refuses a plan whose script is another one by now, or that was applied before.
pub(super) fn usable(kept: &KeptPlan, script: &Script, library: &Library, call: &Call) -> Result<(), Error> {
    let now = KeptPlan::of(script, library, &kept.params, &Outcome::default()).sources;
    let names = kept.sources.keys().chain(now.keys());
    let mut changed: Vec<&str> =
        names.filter(|name| kept.sources.get(*name) != now.get(*name)).map(String::as_str).collect();
    changed.sort_unstable();
    changed.dedup();
    if !changed.is_empty() {
        let label = |name: &&str| format!("`{}`", if *name == "main" { script.label() } else { (*name).to_owned() });
        let texts = changed.iter().map(label).collect::<Vec<_>>().join(", ");
        return Err(Error::new(Kind::Conflict, format!("the script is not the one that was planned: {texts} changed"))
            .hint("make the plan again, and look at it again")
            .exit(Exit::Usage));
    }
    if let Some(reader) = Journal::read(&call.state)?
        && let Some(run) = reader.run_of_plan(&kept.id)?
    {
        return Err(applied(run.as_str()));
    }
    Ok(())
}

/// That a plan is good for one run only.
pub(super) fn applied(run: &str) -> Error {
    Error::new(Kind::Exists, format!("the plan was applied already, by run {run}"))
        .hint(format!("see what became of it: decamp show {run}"))
        .hint("a plan is good for one run; make a new one")
        .exit(Exit::Usage)
}

/// Refuses a plan that would not be made like that any more, and shows what is different.
pub(super) fn unchanged(kept: &KeptPlan, now: &KeptPlan, call: &Call) -> Result<(), Error> {
    if let Some(why) = &kept.stops {
        (call.say)(Say::Line(&format!("the plan binds up to where it stopped: {why}")));
    }
    let (was, now) = (kept.text(), now.text());
    if was == now {
        return Ok(());
    }
    (call.say)(Say::Line("what would be done is not what was planned:"));
    let diff = similar::TextDiff::from_lines(&was, &now);
    let diff = diff.unified_diff().context_radius(2).header("planned", "now").to_string();
    diff.lines().for_each(|line| (call.say)(Say::Line(line)));
    if call.accept_drift {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, "the world is not the one that was planned for; nothing was done")
        .hint("make the plan again, and look at it again")
        .hint("or go on with what is different: --accept-drift")
        .exit(Exit::Failed))
}
