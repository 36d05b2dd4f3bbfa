//! Kill -9 at every boundary of a small run, then resume: the end must be that of a run nobody interrupted.
//!
//! The victim is this test binary itself, started again with the one test that plays the run.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus};

use decamp::journal::{
    Begun, Class, Decision, EffectOutcome, EffectStatus, Entered, Error, Journal, LeaseMode, Mode, Run, RunEnd,
    RunStatus, SignalState, StepKind, StepOutcome, StepStatus, crash, doctor,
};
use decamp::progress::{Checkpoint, Record};
use serde_json::{Value, json};

use super::support::*;

const DIR: &str = "DECAMP_TEST_VICTIM";

/// Plays the run in the directory named by the environment; without it there is nothing to do.
#[test]
fn victim() {
    if let Some(dir) = std::env::var_os(DIR) {
        play(Path::new(&dir)).unwrap();
    }
}

/// What the outside world is: a log of what happened, as a person would see it.
fn happened(world: &Path, key: &str) -> bool {
    fs::read_to_string(world).unwrap_or_default().lines().any(|line| line == key)
}

fn happen(world: &Path, key: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(world).unwrap();
    writeln!(file, "{key}").unwrap();
}

/// Does an effect that must not be repeated, as a native does: probe what is in doubt, then act.
fn once(run: &Run, world: &Path, step: decamp::journal::StepId, seq: u32, class: Class) -> Result<Value, Error> {
    let result = json!({ "seq": seq });
    let (effect, key) = match run.begin(new_effect(step, seq, class))? {
        Begun::Done { result, .. } => return Ok(result),
        Begun::Act { effect, idem_key } => (effect, idem_key),
        Begun::InDoubt { effect, idem_key, .. } => {
            if happened(world, &idem_key) {
                run.settle(effect, EffectOutcome::Done { result: result.clone(), reconciled: true })?;
                return Ok(result);
            }
            run.act_again(effect)?;
            (effect, idem_key)
        }
    };
    crash::point("test: before acting");
    happen(world, &key);
    crash::point("test: after acting");
    run.settle(effect, EffectOutcome::Done { result: result.clone(), reconciled: false })?;
    Ok(result)
}

fn step(
    run: &Run,
    key: &str,
    body: impl FnOnce(decamp::journal::StepId) -> Result<Value, Error>,
) -> Result<Value, Error> {
    match run.enter(new_step(key))? {
        Entered::Replay { result, .. } => Ok(result),
        Entered::Rethrow { error, .. } => panic!("{key} was not thrown: {error}"),
        Entered::Run { step, .. } => {
            let result = body(step)?;
            run.leave(step, StepOutcome::Done { result: result.clone(), changed: true })?;
            Ok(result)
        }
    }
}

fn play(dir: &Path) -> Result<(), Error> {
    let (state, world) = (dir.join("state"), dir.join("world"));
    let journal = Journal::open(&state)?;
    let all = journal.reader()?.runs()?;
    let run = match all.first() {
        None => journal.create(new_run())?,
        Some(run) if run.status.finished() => return Ok(()),
        Some(run) => journal.take_over(&run.id, Mode::Run, &sources())?,
    };
    run.lease(tree("/source", LeaseMode::Shared))?;
    run.lease(tree("/dest", LeaseMode::Exclusive))?;
    step(&run, "prepare", |id| {
        once(&run, &world, id, 1, Class::Once)?;
        once(&run, &world, id, 2, Class::Once)
    })?;
    step(&run, "copy", |id| {
        match run.begin(new_effect(id, 1, Class::Converge))? {
            Begun::Act { effect, .. } => {
                let store = run.progress()?;
                for n in 0..3_u8 {
                    let record = Record { kind: 1, key: &[n], value: Some(&[n; 9]) };
                    store.put(&[record, Record { kind: 2, ..record }]).unwrap();
                }
                store.sync().unwrap();
                fs::write(dir.join("dest"), "data").unwrap();
                run.settle(effect, EffectOutcome::Done { result: json!(null), reconciled: false })?;
            }
            other => panic!("a converging effect acts: {other:?}"),
        }
        Ok(json!("x".repeat(20_000)))
    })?;
    // Fails, is caught, and the run goes on another way.
    match run.enter(new_step("flaky"))? {
        Entered::Run { step, .. } => run.leave(step, StepOutcome::Failed { error: json!({ "kind": "io" }) })?,
        Entered::Rethrow { error, .. } => assert_eq!(error, json!({ "kind": "io" })),
        other => panic!("{other:?}"),
    }
    step(&run, "fallback", |id| once(&run, &world, id, 1, Class::Once))?;
    step(&run, "approve", |id| {
        run.ask("cutover", id, json!("really?"))?;
        run.grant("cutover", "flag", "root")?;
        Ok(json!(run.signal("cutover")?.is_some_and(|signal| signal.state == SignalState::Granted)))
    })?;
    let mut pivot = new_step("pivot");
    pivot.kind = StepKind::Pivot;
    if let Entered::Run { step, .. } = run.enter(pivot)? {
        run.pivot(step)?;
        run.leave(step, StepOutcome::Done { result: json!(null), changed: false })?;
    }
    step(&run, "cut over", |id| once(&run, &world, id, 1, Class::Destroy))?;
    run.finish_with(RunEnd::Succeeded, Some(0))
}

/// Starts the victim; with `at`, it is killed at that point.
pub(crate) fn start_victim(dir: &Path, at: Option<usize>, set: &[(&str, &str)]) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "journal::crash::victim", "--nocapture", "--test-threads=1"]).env(DIR, dir);
    command.envs(set.iter().copied()).stdout(std::process::Stdio::null());
    if let Some(at) = at {
        command.env("DECAMP_CRASH_AT", at.to_string());
    }
    command.status().unwrap()
}

pub(crate) fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

/// How often each thing happened in the world, by idempotency key.
pub(crate) fn world(dir: &Path) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(dir.join("world")).unwrap_or_default().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

/// What is left must be what an uninterrupted run leaves.
pub(crate) fn check_end(dir: &Path, what: &str) {
    let state = dir.join("state");
    let reader = Journal::read(&state).unwrap().unwrap();
    let runs = reader.runs().unwrap();
    assert_eq!(runs.len(), 1, "{what}: {runs:?}");
    let detail = reader.run(&runs[0].id).unwrap();
    assert_eq!(detail.summary.status, RunStatus::Succeeded, "{what}");
    let steps: Vec<(&str, StepStatus)> = detail.steps.iter().map(|step| (step.key.as_str(), step.status)).collect();
    let done = StepStatus::Done;
    assert_eq!(
        steps,
        [
            ("prepare", done),
            ("copy", done),
            ("flaky", StepStatus::Handled),
            ("fallback", done),
            ("approve", done),
            ("pivot", done),
            ("cut over", done)
        ],
        "{what}"
    );
    assert_eq!(detail.steps[1].result, Some(json!("x".repeat(20_000))), "{what}");
    assert_eq!(detail.summary.pivot.as_deref(), Some("pivot"));
    assert!(detail.effects.iter().all(|effect| effect.status == EffectStatus::Done), "{what}: {:?}", detail.effects);
    assert!(detail.leases.len() == 2 && detail.leases.iter().all(|lease| lease.released_ms.is_some()), "{what}");
    let journal = Journal::open(&state).unwrap();
    agree(&reader, &runs[0].id, what);
    drop(journal);
    assert_eq!(fs::read_to_string(dir.join("dest")).unwrap(), "data");
}

/// `events.ndjson` says what the tables say, event by event and row by row, and nothing else is wrong.
pub(crate) fn agree(reader: &decamp::journal::Reader, id: &decamp::journal::RunId, what: &str) {
    let rows: Vec<Value> =
        reader.events(id).unwrap().iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let text = fs::read_to_string(reader.run_dir(id).join("events.ndjson")).unwrap();
    let event = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        ["prev", "rows", "sum"].iter().for_each(|own| drop(line.as_object_mut().unwrap().shift_remove(*own)));
        line
    };
    assert_eq!(text.lines().map(event).collect::<Vec<_>>(), rows, "{what}");
    sound(reader.run_dir(id).ancestors().nth(2).unwrap(), what);
}

/// The doctor trusts the journal.
pub(crate) fn sound(state: &Path, what: &str) {
    let found = doctor::check(state).unwrap();
    assert!(found.trusted(), "{what}: {:#?}", found.findings);
}

/// The names of the points an uninterrupted run passes.
pub(crate) fn points() -> Vec<String> {
    let dir = state_in_memory();
    let names = dir.path().join("points");
    let status = start_victim(dir.path(), None, &[("DECAMP_CRASH_COUNT", names.to_str().unwrap())]);
    assert!(status.success());
    check_end(dir.path(), "uninterrupted");
    assert_eq!(world(dir.path()).values().copied().collect::<Vec<_>>(), [1; 4]);
    fs::read_to_string(names).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn killed_at_every_point_and_resumed_it_ends_as_if_never_interrupted() {
    let points = points();
    assert!(points.len() > 90, "{points:?}");
    for (at, name) in points.iter().enumerate() {
        let dir = state_in_memory();
        let what = format!("killed at {} ({name})", at + 1);
        assert!(killed(start_victim(dir.path(), Some(at + 1), &[])), "{what}");
        sound(&dir.path().join("state"), &what);
        assert!(start_victim(dir.path(), None, &[]).success(), "{what}");
        check_end(dir.path(), &what);
        assert_eq!(world(dir.path()).into_values().collect::<Vec<_>>(), [1; 4], "{what}");
    }
    println!("{} crash points", points.len());
}

#[test]
fn killed_twice_it_still_ends_as_if_never_interrupted() {
    let count = points().len();
    // Pairs drawn by a fixed seed (a linear congruential generator): the same ones each time.
    let mut seed: u64 = 0x5eed;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below + 1
    };
    for _ in 0..40 {
        let (first, second) = (draw(count), draw(count));
        let what = format!("killed at {first}, then at {second}");
        let dir = state_in_memory();
        assert!(killed(start_victim(dir.path(), Some(first), &[])), "{what}");
        // The second process may come to its end before that point.
        start_victim(dir.path(), Some(second), &[]);
        assert!(start_victim(dir.path(), None, &[]).success(), "{what}");
        check_end(dir.path(), &what);
        assert_eq!(world(dir.path()).into_values().collect::<Vec<_>>(), [1; 4], "{what}");
    }
}

#[test]
fn without_probes_the_crash_test_finds_repeated_effects() {
    let points = points();
    let mut repeated = 0;
    for (at, name) in points.iter().enumerate().filter(|(_, name)| name.starts_with("test: after acting")) {
        let dir = state_in_memory();
        assert!(killed(start_victim(dir.path(), Some(at + 1), &[])), "{name}");
        assert!(start_victim(dir.path(), None, &[("DECAMP_NO_PROBE", "1")]).success());
        repeated += world(dir.path()).values().filter(|&&count| count > 1).count();
    }
    assert_eq!(repeated, 4, "each effect acts twice when what is in doubt is forgotten");
}

#[test]
fn a_person_decides_about_what_a_killed_process_left_in_doubt() {
    let points = points();
    let at = points.iter().position(|name| name == "test: after acting").unwrap() + 1;
    for decision in [Decision::Happened, Decision::Retry] {
        let dir = state_in_memory();
        assert!(killed(start_victim(dir.path(), Some(at), &[])));
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let id = journal.reader().unwrap().resolve(journal.reader().unwrap().runs().unwrap()[0].id.short()).unwrap();
        // Straight after the kill, before anybody has taken the run over.
        match journal.decide(&id, "copy", decision) {
            Err(Error::NotInDoubt { in_doubt, .. }) => assert_eq!(in_doubt, ["prepare"]),
            other => panic!("{other:?}"),
        }
        journal.decide(&id, "prepare", decision).unwrap();
        let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
        let Entered::Run { step, lost: true, attempt: 2, effects, .. } = run.enter(new_step("prepare")).unwrap() else {
            panic!("the step was lost");
        };
        assert!(effects.len() == 1 && effects[0].in_doubt, "{effects:?}");
        match run.begin(new_effect(step, 1, Class::Once)).unwrap() {
            Begun::InDoubt { effect, decision: Some(told), class: Class::Once, .. } => {
                assert_eq!(told, decision);
                if decision == Decision::Retry {
                    run.act_again(effect).unwrap();
                    // The answer was for that one doubt: a second death asks again.
                    drop(run);
                    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
                    let step = start(&run, "prepare");
                    let begun = run.begin(new_effect(step, 1, Class::Once)).unwrap();
                    assert!(matches!(begun, Begun::InDoubt { decision: None, .. }), "{begun:?}");
                } else {
                    run.settle(effect, EffectOutcome::Done { result: json!(1), reconciled: true }).unwrap();
                }
            }
            other => panic!("{other:?}"),
        }
    }
}
