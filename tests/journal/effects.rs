//! What an effect is allowed after it was done, failed or left in doubt.

use decamp::journal::{
    Begun, Class, Decision, EffectOutcome, EffectStatus, Entered, Error, Journal, Mode, NewEffect, Run, RunId, StepId,
    StepOutcome,
};
use serde_json::json;

use super::support::*;

/// A run whose process died with one effect of this class begun; the next incarnation is inside the step again.
fn in_doubt(journal: &Journal, class: Class) -> (Run, RunId, StepId) {
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    act(&run, new_effect(step, 1, class));
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    let step = start(&run, "a");
    (run, id, step)
}

fn changed(step: StepId, class: Class) -> NewEffect {
    NewEffect { request: json!({ "argv": ["rm", "x"] }), ..new_effect(step, 1, class) }
}

#[test]
fn what_was_done_once_is_not_done_again_whatever_failed_after_it() {
    let dir = state();
    let journal = open(dir.path());
    for class in [Class::Once, Class::Destroy] {
        let run = journal.create(new_run()).unwrap();
        let step = start(&run, "a");
        let effect = act(&run, new_effect(step, 1, class));
        run.settle(effect, EffectOutcome::Done { result: json!("first"), reconciled: false }).unwrap();
        let second = act(&run, new_effect(step, 2, class));
        run.settle(second, EffectOutcome::Failed { error: json!("no") }).unwrap();
        // A retry within the process, then one in the next.
        run.retry_at(step, 1, 2, json!("no")).unwrap();
        assert!(
            matches!(run.begin(new_effect(step, 1, class)).unwrap(), Begun::Done { result, .. } if result == "first")
        );
        let again = act(&run, new_effect(step, 2, class));
        assert_eq!(again, second);
        run.settle(again, EffectOutcome::Failed { error: json!("no") }).unwrap();
        run.leave(step, StepOutcome::Failed { error: json!("no") }).unwrap();
        let id = run.id().clone();
        drop(run);
        let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
        let Entered::Run { step, effects, .. } = run.enter(new_step("a")).unwrap() else { panic!() };
        assert!(effects.len() == 1 && effects[0].result == Some(json!("first")), "{effects:?}");
        assert!(matches!(run.begin(new_effect(step, 1, class)).unwrap(), Begun::Done { .. }));
        // Another request at that place is no repetition, and neither done nor safe.
        match run.begin(changed(step, class)) {
            Err(Error::RequestChanged(change)) => {
                assert_eq!((change.key.as_str(), change.seq, change.status), ("a", 1, EffectStatus::Done));
                assert_eq!(change.was, json!({ "argv": ["touch", "x"] }));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_converges_acts_again_and_keeps_the_first_state_before() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    let new = |replicas: u32| NewEffect {
        undo: Some(json!({ "replicas": replicas })),
        before: Some(vec![replicas as u8]),
        ..new_effect(step, 1, Class::Converge)
    };
    let effect = act(&run, new(3));
    run.settle(effect, EffectOutcome::Done { result: json!(null), reconciled: false }).unwrap();
    // By now the world says 0: that must not become what undo restores.
    assert_eq!(act(&run, new(0)), effect);
    let reader = journal.reader().unwrap();
    let row = reader.run(run.id()).unwrap().effects.remove(0);
    assert_eq!(row.undo, Some(json!({ "replicas": 3 })));
    assert_eq!(reader.blob(&row.before.unwrap()).unwrap(), Some(vec![3]));
    // Another target is another thing, with its own state before.
    run.settle(effect, EffectOutcome::Done { result: json!(null), reconciled: false }).unwrap();
    act(&run, NewEffect { target: "elsewhere".into(), ..new(5) });
    assert_eq!(reader.run(run.id()).unwrap().effects[0].undo, Some(json!({ "replicas": 5 })));
}

#[test]
fn in_doubt_what_converges_acts_and_the_rest_is_asked_about() {
    let dir = state();
    let journal = open(dir.path());
    let (run, ..) = in_doubt(&journal, Class::Converge);
    let step = run.recorded("a").unwrap().unwrap().id;
    // Other options for the same place converge as well; another place would be left half changed.
    let elsewhere = NewEffect { target: "elsewhere".into(), ..new_effect(step, 1, Class::Converge) };
    assert!(matches!(run.begin(elsewhere), Err(Error::RequestChanged(_))));
    act(&run, changed(step, Class::Converge));
    // Harmful to repeat if it is now, or was then.
    for (then, now) in [
        (Class::Once, Class::Once),
        (Class::Destroy, Class::Destroy),
        (Class::Once, Class::Converge),
        (Class::Converge, Class::Once),
    ] {
        let (run, _, step) = in_doubt(&journal, then);
        match run.begin(new_effect(step, 1, now)).unwrap() {
            Begun::InDoubt { effect, decision: None, class, since_ms, .. } => {
                assert_ne!(class, Class::Converge);
                assert!(since_ms > 1_500_000_000_000);
                run.settle(effect, EffectOutcome::Done { result: json!("probed"), reconciled: true }).unwrap();
            }
            other => panic!("{then} {now}: {other:?}"),
        }
        let row = journal.reader().unwrap().run(run.id()).unwrap().effects.remove(0);
        assert!(row.reconciled && row.result == Some(json!("probed")));
    }
}

#[test]
fn in_doubt_with_another_request_only_a_decision_helps() {
    let dir = state();
    let journal = open(dir.path());
    for decision in [Decision::Happened, Decision::Retry] {
        let (run, id, step) = in_doubt(&journal, Class::Once);
        assert!(matches!(run.begin(changed(step, Class::Once)), Err(Error::RequestChanged(_))));
        assert!(matches!(journal.decide(&id, "a", decision), Err(Error::Live { .. })), "the process lives");
        drop(run);
        journal.decide(&id, "a", decision).unwrap();
        let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
        let step = start(&run, "a");
        match run.begin(changed(step, Class::Once)).unwrap() {
            Begun::InDoubt { decision: Some(told), .. } => assert_eq!(told, decision),
            other => panic!("{other:?}"),
        }
        let row = journal.reader().unwrap().run(&id).unwrap().effects.remove(0);
        assert_eq!(row.request, json!({ "argv": ["rm", "x"] }), "what will act is what is recorded");
    }
}

#[test]
fn an_effect_never_settled_in_the_same_process_is_in_doubt_too() {
    let dir = state();
    let run = open(dir.path()).create(new_run()).unwrap();
    let step = start(&run, "a");
    act(&run, new_effect(step, 1, Class::Once));
    run.retry_at(step, 1, 2, json!("timed out")).unwrap();
    assert!(matches!(run.begin(new_effect(step, 1, Class::Once)).unwrap(), Begun::InDoubt { .. }));
}

#[test]
fn the_idempotency_key_stays_over_attempts_and_is_nobody_elses() {
    let dir = state();
    let journal = open(dir.path());
    let key = |begun: Begun| match begun {
        Begun::Act { idem_key, .. } | Begun::InDoubt { idem_key, .. } => idem_key,
        Begun::Done { .. } => panic!("done"),
    };
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    let first = key(run.begin(new_effect(step, 1, Class::Once)).unwrap());
    let second = key(run.begin(new_effect(step, 2, Class::Once)).unwrap());
    assert_ne!(first, second);
    let id = run.id().clone();
    drop(run);
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    let step = start(&run, "a");
    assert_eq!(key(run.begin(new_effect(step, 1, Class::Once)).unwrap()), first);
    let other = journal.create(new_run()).unwrap();
    let step = start(&other, "a");
    assert_ne!(key(other.begin(new_effect(step, 1, Class::Once)).unwrap()), first);
}
