//! The rules of entering and leaving a step.

use decamp::journal::{
    Class, EffectOutcome, EffectStatus, Entered, Error, Level, Mode, NewStep, Run, RunEnd, RunStatus, StepKind,
    StepOutcome, StepStatus,
};
use serde_json::json;

use super::support::*;

fn with_inputs(key: &str, inputs: serde_json::Value) -> NewStep {
    NewStep { inputs: Some(inputs), ..new_step(key) }
}

fn status_of(run: &Run, key: &str) -> StepStatus {
    run.recorded(key).unwrap().unwrap().status
}

#[test]
fn a_key_is_entered_once_in_an_incarnation() {
    let dir = state();
    let run = open(dir.path()).create(new_run()).unwrap();
    let step = start(&run, "a");
    assert!(matches!(run.enter(new_step("a")), Err(Error::DuplicateKey { key }) if key == "a"));
    done(&run, step, json!(1));
    assert!(matches!(run.enter(new_step("a")), Err(Error::DuplicateKey { .. })), "done makes no difference");
}

#[test]
fn other_declared_inputs_stop_a_replay_and_other_captures_do_not() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let Entered::Run { step, .. } = run.enter(with_inputs("a", json!({ "x": 1, "y": 2 }))).unwrap() else { panic!() };
    done(&run, step, json!(1));
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    match run.enter(with_inputs("a", json!({ "x": 1, "y": 3 }))) {
        Err(Error::InputsChanged { key, was, now }) => {
            assert_eq!((key.as_str(), *was, *now), ("a", json!({ "x": 1, "y": 2 }), json!({ "x": 1, "y": 3 })));
        }
        other => panic!("{other:?}"),
    }
    // The refusal entered nothing, and the order of keys is no difference.
    let same = NewStep { captured: json!({ "other": true }), ..with_inputs("a", json!({ "y": 2, "x": 1 })) };
    assert!(matches!(run.enter(same), Ok(Entered::Replay { .. })));
}

#[test]
fn a_caught_failure_is_thrown_again_and_an_uncaught_one_runs_again() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let caught = start(&run, "caught");
    fail(&run, caught, json!({ "kind": "io" }));
    assert_eq!(status_of(&run, "caught"), StepStatus::Failed, "until something starts after it");
    let next = start(&run, "next");
    assert_eq!(status_of(&run, "caught"), StepStatus::Handled);
    done(&run, next, json!(1));
    let uncaught = start(&run, "uncaught");
    fail(&run, uncaught, json!({ "kind": "denied" }));
    // What is given back on the way out is no sign that the script went on.
    let hook = start(&run, "release:next:1");
    done(&run, hook, json!(null));
    run.finish_with(RunEnd::Failed { error: json!({ "kind": "denied" }) }, Some(1)).unwrap();
    let id = run.id().clone();
    drop(run);

    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    match run.enter(new_step("caught")).unwrap() {
        Entered::Rethrow { error, .. } => assert_eq!(error, json!({ "kind": "io" })),
        other => panic!("{other:?}"),
    }
    assert!(matches!(run.enter(new_step("next")).unwrap(), Entered::Replay { .. }));
    match run.enter(new_step("uncaught")).unwrap() {
        Entered::Run { attempt: 2, lost: false, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_branch_is_not_caught_by_its_neighbour() {
    let dir = state();
    let run = open(dir.path()).create(new_run()).unwrap();
    let broken = start(&run, "move[a]/copy");
    fail(&run, broken, json!("no"));
    start(&run, "move[b]/copy");
    assert_eq!(status_of(&run, "move[a]/copy"), StepStatus::Failed);
    start(&run, "after");
    assert_eq!(status_of(&run, "move[a]/copy"), StepStatus::Handled);
}

#[test]
fn a_new_step_before_a_passed_pivot_is_refused() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let first = start(&run, "first");
    done(&run, first, json!(1));
    let Entered::Run { step, .. } = run.enter(NewStep { kind: StepKind::Pivot, ..new_step("cutover") }).unwrap() else {
        panic!()
    };
    run.pivot(step).unwrap();
    done(&run, step, json!(null));
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(matches!(run.enter(new_step("first")).unwrap(), Entered::Replay { .. }));
    match run.enter(new_step("inserted")) {
        Err(Error::AfterPivot { key, pivot }) => assert_eq!((key.as_str(), pivot.as_str()), ("inserted", "cutover")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(run.enter(new_step("cutover")).unwrap(), Entered::Replay { .. }));
    start(&run, "inserted");
}

#[test]
fn a_pivot_inside_a_replayed_step_is_passed_with_it() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let outer = start(&run, "outer");
    let Entered::Run { step, .. } = run.enter(NewStep { parent: Some(outer), ..new_step("outer/cutover") }).unwrap()
    else {
        panic!()
    };
    run.pivot(step).unwrap();
    done(&run, step, json!(null));
    done(&run, outer, json!(null));
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(matches!(run.enter(new_step("before")), Err(Error::AfterPivot { .. })));
    assert!(matches!(run.enter(new_step("outer")).unwrap(), Entered::Replay { .. }));
    start(&run, "after");
}

#[test]
fn a_retry_keeps_its_number_its_time_and_its_deadline_over_a_restart() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let poll = NewStep { kind: StepKind::Poll, deadline_ms: Some(4_000_000_000_000), ..new_step("poll") };
    let Entered::Run { step, .. } = run.enter(poll.clone()).unwrap() else { panic!() };
    run.retry_at(step, 3_900_000_000_000, 3, json!("not yet")).unwrap();
    let again = start(&run, "soon");
    run.retry_at(again, 1, 5, json!("not yet")).unwrap();
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    match run.enter(NewStep { deadline_ms: Some(1), ..poll }).unwrap() {
        Entered::Run {
            attempt: 3, deadline_ms: Some(4_000_000_000_000), retry_at_ms: Some(3_900_000_000_000), ..
        } => {}
        other => panic!("{other:?}"),
    }
    match run.enter(new_step("soon")).unwrap() {
        Entered::Run { attempt: 6, retry_at_ms: None, lost: true, .. } => {}
        other => panic!("the attempt had begun and counts: {other:?}"),
    }
}

#[test]
fn a_retried_step_enters_the_steps_inside_it_again() {
    let dir = state();
    let run = open(dir.path()).create(new_run()).unwrap();
    let outer = start(&run, "outer");
    let first = start(&run, "outer/first");
    done(&run, first, json!("kept"));
    let second = start(&run, "outer/second");
    fail(&run, second, json!("no"));
    run.retry_at(outer, 1, 2, json!("no")).unwrap();
    assert!(matches!(run.enter(new_step("outer/first")).unwrap(), Entered::Replay { .. }));
    assert!(matches!(run.enter(new_step("outer/second")).unwrap(), Entered::Run { attempt: 2, .. }));
}

#[test]
fn an_interrupted_step_is_neither_done_nor_failed() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    run.leave(step, StepOutcome::Interrupted).unwrap();
    run.finish_with(RunEnd::Cancelled { reason: "interrupt".into() }, Some(130)).unwrap();
    let id = run.id().clone();
    drop(run);
    let detail = journal.reader().unwrap().run(&id).unwrap();
    assert_eq!((detail.summary.status, detail.summary.exit_code), (RunStatus::Cancelled, Some(130)));
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(matches!(run.enter(new_step("a")).unwrap(), Entered::Run { attempt: 2, .. }));
}

#[test]
fn what_cannot_follow_is_refused_and_the_journal_goes_on() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    done(&run, step, json!(1));
    assert!(matches!(run.leave(step, StepOutcome::Failed { error: json!(1) }), Err(Error::Illegal(_))));
    assert!(matches!(run.begin(new_effect(step, 1, Class::Once)), Err(Error::Illegal(_))));
    let open_step = start(&run, "b");
    assert!(matches!(run.finish_with(RunEnd::Succeeded, Some(0)), Err(Error::Unsettled { keys, .. }) if keys == ["b"]));
    assert!(matches!(run.finish_with(RunEnd::Undone, Some(0)), Err(Error::Illegal(_))));
    done(&run, open_step, json!(1));
    run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    assert!(matches!(run.finish_with(RunEnd::Succeeded, Some(0)), Err(Error::Illegal(_))));

    // Steps and effects of one run are out of reach of another.
    let other = journal.create(new_run()).unwrap();
    assert!(matches!(other.leave(step, StepOutcome::Interrupted), Err(Error::NotFound { .. })));
    start(&other, "b");
}

#[test]
fn success_is_refused_while_something_is_in_doubt() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    act(&run, new_effect(step, 1, Class::Once));
    let id = run.id().clone();
    drop(run);
    // The step is gone from the edited script: nobody comes by its effect any more.
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(matches!(run.finish_with(RunEnd::Succeeded, Some(0)), Err(Error::Unsettled { keys, .. }) if keys == ["a"]));
}

#[test]
fn large_results_and_before_images_come_back_whole() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let big = json!({ "list": (0..9_000).collect::<Vec<_>>() });
    let before: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let step = start(&run, "a");
    let new = decamp::journal::NewEffect {
        before: Some(before.clone()),
        undo: Some(json!({ "replicas": 3 })),
        ..new_effect(step, 1, Class::Destroy)
    };
    let effect = act(&run, new);
    run.settle(effect, EffectOutcome::Done { result: big.clone(), reconciled: false }).unwrap();
    done(&run, step, big.clone());
    let reader = journal.reader().unwrap();
    let detail = reader.run(run.id()).unwrap();
    assert_eq!(detail.steps[0].result.as_ref(), Some(&big));
    assert_eq!(detail.effects[0].result.as_ref(), Some(&big));
    assert_eq!(reader.blob(detail.effects[0].before.as_ref().unwrap()).unwrap(), Some(before));
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(matches!(run.enter(new_step("a")).unwrap(), Entered::Replay { result, .. } if result == big));
}

#[test]
fn an_approval_waits_until_it_is_granted() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    run.grant("early", "flag", "root").unwrap();
    let step = start(&run, "early");
    run.ask("early", step, json!("?")).unwrap();
    assert_eq!(status_of(&run, "early"), StepStatus::Running, "granted before it was asked for");
    done(&run, step, json!(true));
    let step = start(&run, "cutover");
    run.ask("cutover", step, json!({ "text": "sure?" })).unwrap();
    assert_eq!(status_of(&run, "cutover"), StepStatus::Waiting);
    assert!(run.signal("cutover").unwrap().is_some_and(|signal| signal.open()));
    run.finish_with(RunEnd::Waiting { what: json!("cutover") }, Some(5)).unwrap();
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    match run.enter(new_step("cutover")).unwrap() {
        Entered::Run { step, attempt: 1, lost: false, .. } => {
            run.ask("cutover", step, json!({ "text": "sure?" })).unwrap();
            run.grant("cutover", "prompt", "alice").unwrap();
            assert_eq!(run.signal("cutover").unwrap().unwrap().by.as_deref(), Some("alice"));
            assert_eq!(status_of(&run, "cutover"), StepStatus::Running);
            done(&run, step, json!(true));
        }
        other => panic!("{other:?}"),
    }
    let signals = journal.reader().unwrap().run(&id).unwrap().signals;
    assert_eq!(signals.len(), 2);
}

#[test]
fn a_release_lets_done_effects_act_again_and_keeps_in_doubt_what_is() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let before = start(&run, "before");
    done(&run, before, json!(1));
    let freeze = start(&run, "freeze");
    let effect = act(&run, new_effect(freeze, 1, Class::Once));
    run.settle(effect, EffectOutcome::Done { result: json!(1), reconciled: false }).unwrap();
    done(&run, freeze, json!(1));
    let last = start(&run, "last");
    act(&run, new_effect(last, 1, Class::Once));
    run.leave(last, StepOutcome::Interrupted).unwrap();
    let hook = start(&run, "release:freeze:1");
    done(&run, hook, json!(null));
    run.reopen(freeze).unwrap();
    run.finish_with(RunEnd::Cancelled { reason: "interrupt".into() }, Some(130)).unwrap();
    let id = run.id().clone();
    drop(run);

    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(matches!(run.enter(new_step("before")).unwrap(), Entered::Replay { .. }));
    let freeze = start(&run, "freeze");
    let effect = act(&run, new_effect(freeze, 1, Class::Once));
    run.settle(effect, EffectOutcome::Done { result: json!(1), reconciled: false }).unwrap();
    let last = start(&run, "last");
    let begun = run.begin(new_effect(last, 1, Class::Once)).unwrap();
    assert!(matches!(begun, decamp::journal::Begun::InDoubt { decision: None, .. }), "{begun:?}");
    assert!(matches!(run.enter(new_step("release:freeze:1")).unwrap(), Entered::Replay { .. }));
    run.event(Level::Info, "note", None, json!({})).unwrap();
}

#[test]
fn undo_goes_back_and_never_forward_again() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    let effect = act(&run, new_effect(step, 1, Class::Converge));
    run.settle(effect, EffectOutcome::Failed { error: json!("no") }).unwrap();
    fail(&run, step, json!("no"));
    run.finish_with(RunEnd::Failed { error: json!("no") }, Some(1)).unwrap();
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Undo, &[]).unwrap();
    let undo = start(&run, "undo:a");
    done(&run, undo, json!(null));
    // Waiting for a person does not turn an undo into a run that could be resumed.
    run.finish_with(RunEnd::Waiting { what: json!("?") }, Some(7)).unwrap();
    drop(run);
    let reader = journal.reader().unwrap();
    assert_eq!(reader.run(&id).unwrap().summary.status, RunStatus::UndoFailed);
    assert!(matches!(journal.take_over(&id, Mode::Run, &[]), Err(Error::Illegal(_))));
    let run = journal.take_over(&id, Mode::Undo, &[]).unwrap();
    assert!(matches!(run.enter(new_step("undo:a")).unwrap(), Entered::Replay { .. }));
    run.finish_with(RunEnd::Undone, Some(0)).unwrap();
    drop(run);
    let detail = reader.run(&id).unwrap();
    assert_eq!(detail.summary.status, RunStatus::Undone);
    assert_eq!(detail.effects[0].status, EffectStatus::Failed);
    assert_eq!(detail.incarnations.len(), 3);
    assert!(matches!(journal.abandon(&id), Err(Error::Illegal(_))));
}
