//! What a run did, by its events, as undo has to know it: with which parameters and results each step ran, what it did,
//! and what has been given back since.
//!
//! The journal's rows tell where every step stands. That is not enough to go back: a resume may change parameters, and
//! what was released runs again with other results. A closure that is replayed with those would take back what the run
//! never did. So the story is cut into stretches, within which every step ran once, with the same parameters; each is
//! replayed for itself, and gives the closures of the steps that last began in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::outcome::Call;
use super::profile::{Recorded, RecordedState, RecordedStep};
use super::run::{AMENDED, amend};
use crate::error::Error;
use crate::journal::{self, EffectRow, EffectStatus, EventRow, Journal, Reader, RunDetail, RunId, StepStatus};

/// A part of a run in which no step ran twice and no parameter changed.
struct Stretch {
    params: Value,
    /// Where the steps stood at its end.
    steps: BTreeMap<String, RecordedState>,
}

/// What a run did.
#[derive(Default)]
pub(super) struct Story {
    /// The number of the event with which each step came to its end.
    pub(super) ended: BTreeMap<String, i64>,
    stretches: Vec<Stretch>,
    /// The stretch each step last began in.
    last: BTreeMap<String, usize>,
    /// Effects that were done and not given back, by step and number, with the stretch they were done in.
    effects: BTreeMap<(String, u64), BTreeSet<usize>>,
    /// Steps whose `release` gave back what they held.
    given_back: BTreeSet<String>,
}

/// Whether `key` is the step `outer` or one inside it.
fn within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Story {
    /// The story of the run `id`.
    pub(super) fn of(id: &RunId, detail: &RunDetail, call: &Call) -> Result<Self, Error> {
        let mut story = Self::default();
        let Some(reader) = Journal::read(&call.state)? else { return Ok(story) };
        // As the run began; the events tell what became of them.
        let mut params = reader.run(id)?.summary.params;
        let mut steps = BTreeMap::new();
        let mut errors: BTreeMap<String, Value> = BTreeMap::new();
        let (mut begun, mut released) = (false, false);
        for event in reader.events(id)? {
            if event.kind == AMENDED {
                if begun {
                    story.stretches.push(Stretch { params: params.clone(), steps: steps.clone() });
                    (begun, released) = (false, false);
                }
                if let Some(values) = event.data.as_object() {
                    amend(&mut params, values)?;
                }
            }
            let Some(key) = event.step.clone().filter(|key| !hook(key)) else { continue };
            match event.kind.as_str() {
                "step.started" => {
                    if begun && released {
                        story.stretches.push(Stretch { params: params.clone(), steps: steps.clone() });
                        released = false;
                    }
                    begun = true;
                    story.last.insert(key.clone(), story.stretches.len());
                    story.given_back.remove(&key);
                    story.ended.remove(&key);
                    steps.insert(key, RecordedState::Open);
                }
                "step.done" => {
                    story.ended.insert(key.clone(), event.seq);
                    steps.insert(key, RecordedState::Done(result(&reader, &event)?));
                }
                "step.failed" => {
                    story.ended.insert(key.clone(), event.seq);
                    errors.insert(key, event.data["error"].clone());
                }
                "step.handled" => {
                    let error = errors.get(&key).cloned().unwrap_or_default();
                    steps.insert(key, RecordedState::Handled(error));
                }
                "effect.done" => {
                    if let Some(seq) = event.data["seq"].as_u64() {
                        story.effects.entry((key, seq)).or_default().insert(story.stretches.len());
                    }
                }
                "step.released" => {
                    released = true;
                    // What comes behind a released step runs again, and what it did is there all the same.
                    if event.data.get("why").is_none() && event.data["with"] == key.as_str() {
                        story.effects.retain(|(other, _), _| !within(other, &key));
                        story.given_back.insert(key);
                    }
                }
                _ => {}
            }
        }
        for step in &detail.steps {
            let state = state(step.status, step.result.as_ref(), step.error.as_ref());
            if !hook(&step.key) && !matches!(state, RecordedState::Open) {
                steps.insert(step.key.clone(), state);
            }
        }
        story.stretches.push(Stretch { params, steps });
        Ok(story)
    }

    /// How many stretches there are; the last is the present one.
    pub(super) fn stretches(&self) -> usize {
        self.stretches.len()
    }

    /// Whether the closures of a step come from that stretch; what no event tells of comes from the last.
    pub(super) fn from(&self, key: &str, stretch: usize) -> bool {
        self.last.get(key).copied().unwrap_or(self.stretches.len().saturating_sub(1)) == stretch
    }

    /// Whether a step last began in that stretch.
    pub(super) fn needed(&self, stretch: usize) -> bool {
        stretch + 1 == self.stretches.len() || self.last.values().any(|last| *last == stretch)
    }

    /// The parameters in force then.
    pub(super) fn params(&self, stretch: usize) -> Value {
        self.stretches.get(stretch).map(|stretch| stretch.params.clone()).unwrap_or_default()
    }

    /// What the steps had done at the end of that stretch, for its replay.
    pub(super) fn recorded(&self, stretch: usize, detail: &RunDetail) -> Recorded {
        let Some(stretch) = self.stretches.get(stretch) else { return Recorded::default() };
        let steps = stretch.steps.iter().map(|(key, state)| {
            let row = detail.steps.iter().find(|step| step.key == *key);
            let effects = || detail.effects.iter().filter(|effect| row.is_some_and(|row| row.id == effect.step));
            let step = RecordedStep {
                state: state.clone(),
                acted: effects().any(|effect| !self.gone(key, effect)),
                doubtful: false,
                given_back: self.given_back.contains(key),
                inputs: None,
            };
            (key.clone(), step)
        });
        Recorded(steps.collect())
    }

    fn done(&self, key: &str, effect: &EffectRow) -> bool {
        self.effects.contains_key(&(key.to_owned(), u64::from(effect.seq)))
    }

    /// Whether what the effect did has been taken back already.
    pub(super) fn gone(&self, key: &str, effect: &EffectRow) -> bool {
        effect.status == EffectStatus::Abandoned && !self.done(key, effect)
    }

    /// Whether the effect has left nothing that could be put back.
    pub(super) fn left_nothing(&self, key: &str, effect: &EffectRow) -> bool {
        matches!(effect.status, EffectStatus::Failed | EffectStatus::Abandoned) && !self.done(key, effect)
    }

    /// How the parameters of that stretch differ from those in force at the end, for people; none if they do not.
    pub(super) fn other_params(&self, stretch: usize) -> Option<String> {
        self.differ(stretch, self.stretches.len().saturating_sub(1))
    }

    /// With which other parameters the step acted before it last began: its closure does not know of those.
    pub(super) fn acted_before(&self, key: &str) -> BTreeSet<String> {
        let Some(last) = self.last.get(key) else { return BTreeSet::new() };
        let of_step = self.effects.iter().filter(|((step, _), _)| step == key).flat_map(|(_, stretches)| stretches);
        of_step.filter_map(|stretch| self.differ(*stretch, *last)).collect()
    }

    fn differ(&self, one: usize, other: usize) -> Option<String> {
        let (one, other) =
            (self.stretches.get(one)?.params.as_object()?, self.stretches.get(other)?.params.as_object()?);
        let pairs: Vec<String> = one
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(value))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join(", "))
    }
}

/// Whether a step runs because the run stops or goes back.
pub(super) fn hook(key: &str) -> bool {
    key.starts_with("undo:") || key.starts_with("release:")
}

/// Where a step stands, by its row.
pub(super) fn state(status: StepStatus, result: Option<&Value>, error: Option<&Value>) -> RecordedState {
    match (status, error) {
        (StepStatus::Done, _) => RecordedState::Done(result.cloned().unwrap_or_default()),
        (StepStatus::Handled, Some(error)) => RecordedState::Handled(error.clone()),
        _ => RecordedState::Open,
    }
}

/// The result a step was left with.
fn result(reader: &Reader, event: &EventRow) -> Result<Value, Error> {
    let Some(hash) = event.data["result_blob"].as_str() else { return Ok(event.data["result"].clone()) };
    let missing = || journal::Error::NotFound { what: format!("result {hash}") };
    let bytes = reader.blob(hash)?.ok_or_else(missing)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(crate::error::Kind::Internal, "a kept result cannot be read").because(error))
}
