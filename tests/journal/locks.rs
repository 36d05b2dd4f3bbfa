//! One process a run, and one run a target.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};

use decamp::journal::{Error, Journal, LeaseMode, Mode, RunEnd, RunId};

use super::support::*;

const DIR: &str = "DECAMP_TEST_HOLDER";

/// Creates a run with an exclusive lease on `/held`, says its name and lives until its input ends.
#[test]
fn holder() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let run = Journal::open(Path::new(&dir)).unwrap().create(new_run()).unwrap();
    run.lease(tree("/held", LeaseMode::Exclusive)).unwrap();
    println!("\nrun {}", run.id());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn start_holder(dir: &Path) -> (Child, RunId) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::locks::holder", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let name = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("run ").map(str::to_owned)).unwrap();
    let id = Journal::read(dir).unwrap().unwrap().resolve(&name).unwrap();
    (child, id)
}

#[test]
fn a_living_process_keeps_its_run_and_a_dead_one_does_not() {
    let dir = state();
    let (mut child, id) = start_holder(dir.path());
    let journal = open(dir.path());
    let reader = journal.reader().unwrap();
    assert!(reader.run(&id).unwrap().summary.live);
    for result in [journal.take_over(&id, Mode::Run, &[]).map(drop), journal.abandon(&id).map(drop)] {
        match result {
            Err(Error::Live { run, pid, host, since_ms }) => {
                assert_eq!((run, pid), (id.clone(), i64::from(child.id())));
                assert!(host.is_some() && since_ms.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let summary = reader.run(&id).unwrap().summary;
    assert!(!summary.live && summary.interrupted());
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert_eq!(run.leases().unwrap().len(), 1);
    let incarnations = reader.run(&id).unwrap().incarnations;
    assert_eq!(incarnations[0].end_reason.as_deref(), Some("lost"));
    assert_ne!(incarnations[0].pid, incarnations[1].pid);
}

#[test]
fn of_many_that_take_over_at_once_one_gets_the_run() {
    let dir = state();
    let journal = open(dir.path());
    let id = journal.create(new_run()).unwrap().id().clone();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (dir, id, barrier) = (dir.path().to_owned(), id.clone(), barrier.clone());
            std::thread::spawn(move || {
                let journal = Journal::open(&dir).unwrap();
                barrier.wait();
                let taken = journal.take_over(&id, Mode::Run, &[]);
                // The winner keeps it until all have tried.
                barrier.wait();
                match taken {
                    Ok(_) => 1,
                    Err(Error::Live { .. }) => 0,
                    Err(other) => panic!("{other}"),
                }
            })
        })
        .collect();
    assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>(), 1);
}

#[test]
fn a_target_of_an_unfinished_run_refuses_others_until_it_is_finished_or_given_up() {
    let dir = state();
    let (mut child, id) = start_holder(dir.path());
    let journal = open(dir.path());
    let other = journal.create(new_run()).unwrap();
    let held = |state: &str| {
        for (path, mode) in [
            ("/held", LeaseMode::Exclusive),
            ("/held/below", LeaseMode::Exclusive),
            ("/", LeaseMode::Exclusive),
            ("/held", LeaseMode::Shared),
        ] {
            match other.lease(tree(path, mode)) {
                Err(Error::Held { run, script, state: told, path: theirs, .. }) => {
                    assert_eq!((run, script.as_str(), told), (id.clone(), "move-tree", state));
                    assert_eq!(theirs, b"/held");
                }
                result => panic!("{path}: {result:?}"),
            }
        }
    };
    held("running");
    other.lease(tree("/held-not", LeaseMode::Exclusive)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Dead is not finished.
    held("interrupted");
    let given = journal.abandon(&id).unwrap();
    assert!(given.len() == 1 && given[0].target.path == b"/held", "{given:?}");
    other.lease(tree("/held/below", LeaseMode::Exclusive)).unwrap();
    assert!(matches!(journal.take_over(&id, Mode::Run, &[]), Err(Error::Illegal(_))), "given up is given up");
}

#[test]
fn a_source_is_shared_until_somebody_changes_it() {
    let dir = state();
    let journal = open(dir.path());
    let (one, other) = (journal.create(new_run()).unwrap(), journal.create(new_run()).unwrap());
    one.lease(tree("/src", LeaseMode::Shared)).unwrap();
    other.lease(tree("/src/below", LeaseMode::Shared)).unwrap();
    assert!(matches!(one.lease(tree("/src", LeaseMode::Exclusive)), Err(Error::Held { .. })));
    other.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    one.lease(tree("/src", LeaseMode::Exclusive)).unwrap();
    // A shared one does not take the exclusive back.
    one.lease(tree("/src", LeaseMode::Shared)).unwrap();
    assert_eq!(one.leases().unwrap()[0].target.mode, LeaseMode::Exclusive);
}

#[test]
fn undoing_a_finished_run_takes_its_targets_again_if_they_are_free() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    run.lease(tree("/dest", LeaseMode::Exclusive)).unwrap();
    run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    let id = run.id().clone();
    drop(run);
    let other = journal.create(new_run()).unwrap();
    other.lease(tree("/dest", LeaseMode::Exclusive)).unwrap();
    assert!(matches!(journal.take_over(&id, Mode::Undo, &[]), Err(Error::Held { .. })));
    other.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    let run = journal.take_over(&id, Mode::Undo, &[]).unwrap();
    assert_eq!(run.leases().unwrap().len(), 1);
}

#[test]
fn runs_are_found_by_either_end_of_their_name() {
    let dir = state();
    let journal = open(dir.path());
    let ids: Vec<RunId> = (0..3).map(|_| journal.create(new_run()).unwrap().id().clone()).collect();
    let reader = journal.reader().unwrap();
    for id in &ids {
        assert_eq!(&reader.resolve(id.as_str()).unwrap(), id);
        assert_eq!(&reader.resolve(id.short()).unwrap(), id);
    }
    match reader.resolve(&ids[0].as_str()[..6]) {
        Err(Error::Ambiguous { candidates, .. }) => assert_eq!(candidates.len(), 3),
        other => panic!("{other:?}"),
    }
    for text in ["", "nonsense"] {
        assert!(matches!(reader.resolve(text), Err(Error::NotFound { .. })), "{text}");
    }
    let nobody = journal.take_over(
        &Journal::open(state().path()).unwrap().create(new_run()).unwrap().id().clone(),
        Mode::Run,
        &[],
    );
    assert!(matches!(nobody, Err(Error::NotFound { .. })));
}
