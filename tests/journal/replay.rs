//! Whatever is asked of a run, in whatever order: nothing panics, and the events alone tell the same story as the rows.

use std::collections::BTreeMap;

use decamp::journal::{
    Begun, Class, Decision, EffectId, EffectOutcome, Entered, Error, EventRow, Journal, Mode, Run, RunDetail, RunEnd,
    RunId, StepId, StepOutcome,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::*;

#[derive(Debug, Clone)]
enum Op {
    Enter(u8),
    Done(u8),
    Fail(u8),
    Retry(u8),
    Ask(u8),
    Grant(u8),
    Release(u8),
    Begin(u8, u32, Class),
    Settle(u8, u32),
    EffectFails(u8, u32),
    ActAgain(u8, u32),
    Decide(u8, Decision),
    Restart(Mode),
    Finish(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop_oneof![Just(Class::Converge), Just(Class::Once), Just(Class::Destroy)];
    let place = (0..3_u8, 1..3_u32);
    prop_oneof![
        6 => (0..3_u8).prop_map(Op::Enter),
        3 => (0..3_u8).prop_map(Op::Done),
        2 => (0..3_u8).prop_map(Op::Fail),
        1 => (0..3_u8).prop_map(Op::Retry),
        1 => (0..3_u8).prop_map(Op::Ask),
        1 => (0..3_u8).prop_map(Op::Grant),
        1 => (0..3_u8).prop_map(Op::Release),
        6 => (place.clone(), class).prop_map(|((step, seq), class)| Op::Begin(step, seq, class)),
        4 => place.clone().prop_map(|(step, seq)| Op::Settle(step, seq)),
        1 => place.clone().prop_map(|(step, seq)| Op::EffectFails(step, seq)),
        2 => place.prop_map(|(step, seq)| Op::ActAgain(step, seq)),
        1 => (0..3_u8).prop_map(|step| Op::Decide(step, Decision::Retry)),
        1 => (0..3_u8).prop_map(|step| Op::Decide(step, Decision::Happened)),
        3 => Just(Op::Restart(Mode::Run)),
        1 => Just(Op::Restart(Mode::Undo)),
        1 => (0..6_u8).prop_map(Op::Finish),
    ]
}

/// What a host remembers of a run it works on.
struct Host {
    journal: Journal,
    run: Option<Run>,
    id: RunId,
    steps: BTreeMap<u8, StepId>,
    effects: BTreeMap<(u8, u32), EffectId>,
}

impl Host {
    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        if let Op::Restart(mode) = op {
            self.run = None;
            self.run = Some(self.journal.take_over(&self.id, *mode, &[])?);
            return Ok(());
        }
        if let Op::Decide(step, decision) = op {
            self.run = None;
            return self.journal.decide(&self.id, &step.to_string(), *decision);
        }
        let Some(run) = &self.run else { return Ok(()) };
        let known = |step: &u8| self.steps.get(step).copied();
        match op {
            Op::Enter(step) => {
                let (Entered::Run { step: id, .. }
                | Entered::Replay { step: id, .. }
                | Entered::Rethrow { step: id, .. }) = run.enter(new_step(&step.to_string()))?;
                self.steps.insert(*step, id);
            }
            Op::Begin(step, seq, class) => {
                if let Some(id) = known(step) {
                    let (Begun::Act { effect, .. } | Begun::Done { effect, .. } | Begun::InDoubt { effect, .. }) =
                        run.begin(new_effect(id, *seq, *class))?;
                    self.effects.insert((*step, *seq), effect);
                }
            }
            Op::Settle(step, seq) | Op::EffectFails(step, seq) | Op::ActAgain(step, seq) => {
                if let Some(effect) = self.effects.get(&(*step, *seq)) {
                    match op {
                        Op::ActAgain(..) => run.act_again(*effect)?,
                        Op::Settle(..) => {
                            run.settle(*effect, EffectOutcome::Done { result: json!(1), reconciled: false })?;
                        }
                        _ => run.settle(*effect, EffectOutcome::Failed { error: json!("no") })?,
                    }
                }
            }
            Op::Done(step) | Op::Fail(step) | Op::Retry(step) | Op::Ask(step) | Op::Grant(step) | Op::Release(step) => {
                let Some(id) = known(step) else { return Ok(()) };
                match op {
                    Op::Done(_) => run.leave(id, StepOutcome::Done { result: json!(1), changed: true })?,
                    Op::Fail(_) => run.leave(id, StepOutcome::Failed { error: json!("no") })?,
                    Op::Retry(_) => run.retry_at(id, 1, 2, json!("no"))?,
                    Op::Ask(_) => run.ask(&format!("ask {step}"), id, json!("?"))?,
                    Op::Grant(_) => run.grant(&format!("ask {step}"), "flag", "root")?,
                    _ => run.reopen(id)?,
                }
            }
            Op::Finish(end) => {
                let end = match end {
                    0 => RunEnd::Succeeded,
                    1 => RunEnd::Failed { error: json!("no") },
                    2 => RunEnd::Cancelled { reason: "interrupt".into() },
                    3 => RunEnd::Waiting { what: json!("?") },
                    4 => RunEnd::Undone,
                    _ => RunEnd::UndoFailed { error: json!("no") },
                };
                run.finish_with(end, Some(0))?;
                self.run = None;
            }
            Op::Restart(_) | Op::Decide(..) => {}
        }
        Ok(())
    }
}

/// The statuses of the run, its steps and its effects, as the events tell them.
#[derive(Debug, Default, PartialEq)]
struct Story {
    run: String,
    steps: BTreeMap<String, String>,
    effects: BTreeMap<String, String>,
}

impl Story {
    fn told(events: &[EventRow]) -> Self {
        let mut story = Self::default();
        for event in events {
            story.take(event);
        }
        story
    }

    fn take(&mut self, event: &EventRow) {
        let texts = |key: &str| -> Vec<String> {
            let list = event.data.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if let Some(run) = event.kind.strip_prefix("run.") {
            for key in texts("lost_steps") {
                self.steps.insert(key, "lost".into());
            }
            for key in texts("in_doubt") {
                self.effects.insert(key, "in_doubt".into());
            }
            match run {
                "lost" => {}
                "created" | "resumed" => self.run = "running".into(),
                other => self.run = other.into(),
            }
            return;
        }
        let Some(step) = event.step.clone() else { return };
        let effect = format!("{step}#{}", event.data.get("seq").cloned().unwrap_or_default());
        match event.kind.as_str() {
            "step.started" | "step.retry" | "signal.granted" => {
                // A grant wakes only who waits.
                let waits = self.steps.get(&step).is_some_and(|status| status == "waiting");
                if event.kind != "signal.granted" || waits {
                    self.steps.insert(step, "running".into());
                }
            }
            "signal.asked" => drop(self.steps.insert(step, "waiting".into())),
            "step.released" => {
                let inside = format!("{step}#");
                self.steps.insert(step, "released".into());
                for (key, status) in &mut self.effects {
                    if key.starts_with(&inside) && status == "done" {
                        *status = "abandoned".into();
                    }
                }
            }
            "effect.again" => drop(self.effects.insert(effect, "intent".into())),
            "effect.decided" => {}
            kind => {
                if let Some(status) = kind.strip_prefix("step.") {
                    self.steps.insert(step, status.into());
                } else if let Some(status) = kind.strip_prefix("effect.") {
                    self.effects.insert(effect, status.into());
                }
            }
        }
    }

    fn stored(detail: &RunDetail) -> Self {
        let key = |id: StepId| detail.steps.iter().find(|step| step.id == id).unwrap().key.clone();
        Self {
            run: detail.summary.status.name().into(),
            steps: detail.steps.iter().map(|step| (step.key.clone(), step.status.name().into())).collect(),
            effects: detail
                .effects
                .iter()
                .map(|effect| (format!("{}#{}", key(effect.step), effect.seq), effect.status.name().into()))
                .collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_events_tell_what_the_rows_say(ops in prop::collection::vec(op(), 1..60)) {
        let dir = state_in_memory();
        let journal = open(dir.path());
        let run = journal.create(new_run()).unwrap();
        let id = run.id().clone();
        let mut host =
            Host { journal, run: Some(run), id: id.clone(), steps: BTreeMap::new(), effects: BTreeMap::new() };
        let reader = host.journal.reader().unwrap();
        for op in &ops {
            match host.apply(op) {
                Ok(())
                | Err(
                    Error::Illegal(_)
                    | Error::DuplicateKey { .. }
                    | Error::RequestChanged(_)
                    | Error::NotInDoubt { .. }
                    | Error::Unsettled { .. },
                ) => {}
                Err(other) => prop_assert!(false, "{:?}: {:?}", op, other),
            }
            let detail = reader.run(&id).unwrap();
            let (told, stored) = (Story::told(&reader.events(&id).unwrap()), Story::stored(&detail));
            prop_assert_eq!(told, stored, "after {:?}", op);
        }
        super::crash::agree(&reader, &id, "after anything");
    }
}
