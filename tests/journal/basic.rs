//! One process after another: what is written is read back, and the second goes on where the first stopped.

use decamp::journal::{
    Class, EffectOutcome, EffectStatus, Entered, Error, Journal, LeaseMode, Level, Mode, RunEnd, RunStatus,
    StepOutcome, StepStatus,
};
use serde_json::json;

use super::support::*;

#[test]
fn a_run_is_written_and_read_back() {
    let dir = state();
    assert!(Journal::read(dir.path()).unwrap().is_none(), "nothing there yet");
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    run.lease(tree("/a", LeaseMode::Shared)).unwrap();
    run.lease(tree("/b", LeaseMode::Exclusive)).unwrap();
    let step = start(&run, "prepare");
    let effect = act(&run, new_effect(step, 1, Class::Once));
    run.settle(effect, EffectOutcome::Done { result: json!(42), reconciled: false }).unwrap();
    run.event(Level::Info, "note", Some(step), json!({ "text": "hello" })).unwrap();
    done(&run, step, json!({ "n": 1 }));

    let reader = journal.reader().unwrap();
    let detail = reader.run(run.id()).unwrap();
    assert_eq!(detail.summary.status, RunStatus::Running);
    assert!(detail.summary.live && !detail.summary.interrupted());
    assert_eq!((detail.summary.steps, detail.summary.steps_done), (1, 1));
    assert_eq!(detail.summary.params, json!({ "source": "/a", "dest": "/b" }));
    assert_eq!(detail.steps[0].status, StepStatus::Done);
    assert_eq!(detail.steps[0].result, Some(json!({ "n": 1 })));
    assert_eq!(detail.steps[0].changed, Some(true));
    assert_eq!(detail.effects[0].status, EffectStatus::Done);
    assert_eq!(detail.effects[0].result, Some(json!(42)));
    assert_eq!(detail.leases.len(), 2);
    assert_eq!(detail.sources.len(), 2);
    assert_eq!(reader.sources(run.id()).unwrap(), sources());

    run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    let detail = reader.run(run.id()).unwrap();
    assert_eq!(detail.summary.status, RunStatus::Succeeded);
    assert_eq!(detail.summary.exit_code, Some(0));
    assert!(detail.leases.iter().all(|lease| lease.released_ms.is_some()));
    assert!(reader.unfinished().unwrap().is_empty());
    let kinds: Vec<String> = reader.events(run.id()).unwrap().into_iter().map(|event| event.kind).collect();
    let told = "run.created lease.taken lease.taken step.started effect.intent effect.done note step.done \
                lease.released lease.released run.succeeded";
    assert_eq!(kinds.join(" "), told);
}

#[test]
fn copies_are_made_before_a_run_and_before_a_pivot_and_three_are_kept() {
    let dir = state();
    let journal = open(dir.path());
    let copies = || {
        let entries = std::fs::read_dir(dir.path().join("backup")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    // What a process left that died over a copy is removed by the next.
    std::fs::create_dir(dir.path().join("backup")).unwrap();
    std::fs::write(dir.path().join("backup/.unfinished-999999999"), "half").unwrap();
    std::fs::write(dir.path().join("backup/.unfinished-999999999-journal"), "half").unwrap();
    let run = journal.create(new_run()).unwrap();
    assert_eq!(copies().len(), 1);
    journal.create(new_run()).unwrap();
    assert_eq!(copies().len(), 1, "one is young enough for many runs");
    for n in 0..5 {
        let step = start(&run, &format!("pivot-{n}"));
        // A copy is named by the millisecond.
        std::thread::sleep(std::time::Duration::from_millis(2));
        run.pivot(step).unwrap();
        done(&run, step, json!(null));
    }
    let names = copies();
    assert_eq!(names.len(), 3);
    // The newest is a journal that can be put back, with all but the last pivot in it.
    let put_back = state();
    std::fs::copy(&names[2], put_back.path().join("journal.db")).unwrap();
    let detail = Journal::read(put_back.path()).unwrap().unwrap().run(run.id()).unwrap();
    assert_eq!(detail.summary.pivot.as_deref(), Some("pivot-3"));
    open(put_back.path()).take_over(run.id(), Mode::Run, &[]).unwrap();
}

#[test]
fn a_second_process_replays_what_is_done_and_runs_the_rest() {
    let dir = state();
    let id = {
        let run = open(dir.path()).create(new_run()).unwrap();
        let first = start(&run, "first");
        done(&run, first, json!("result"));
        start(&run, "second");
        run.id().clone()
    };
    let reader = Journal::read(dir.path()).unwrap().unwrap();
    let left = reader.unfinished().unwrap();
    assert!(left.len() == 1 && left[0].interrupted(), "{left:?}");
    assert_eq!(left[0].state(), "interrupted");

    let journal = open(dir.path());
    let run = journal.take_over(&id, Mode::Run, &sources()).unwrap();
    assert_eq!(run.epoch(), 2);
    let mut first = new_step("first");
    first.body_hash = "another".into();
    match run.enter(first).unwrap() {
        Entered::Replay { result, body_changed, .. } => assert_eq!((result, body_changed), (json!("result"), true)),
        other => panic!("{other:?}"),
    }
    match run.enter(new_step("second")).unwrap() {
        Entered::Run { step, attempt: 2, lost: true, .. } => {
            run.leave(step, StepOutcome::Done { result: json!(null), changed: false }).unwrap();
        }
        other => panic!("{other:?}"),
    }
    run.finish(RunEnd::Succeeded).unwrap();
    drop(run);
    assert!(matches!(journal.take_over(&id, Mode::Run, &[]), Err(Error::Illegal(_))));
}
