//! Removing runs: what is over and settled goes whole, whatever kills the process, and everything else stays.

use std::fs;

use decamp::journal::{Error, Journal, LeaseMode, Mode, RunEnd, RunId, doctor};
use serde_json::json;

use super::crash::sound;
use super::support::*;

/// A run of its own script that came to its end, with a large result and a lease.
fn over(journal: &Journal, name: &str) -> RunId {
    let mut new = new_run();
    new.sources[0].text = format!("// {name}\nfn run(p) {{ }}");
    let run = journal.create(new).unwrap();
    run.lease(tree(&format!("/{name}"), LeaseMode::Exclusive)).unwrap();
    let step = start(&run, "large");
    done(&run, step, json!(format!("{name}{}", "x".repeat(20_000))));
    run.progress().unwrap();
    run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    run.id().clone()
}

#[test]
fn a_run_goes_with_all_it_had_and_the_others_stay_whole() {
    let dir = state();
    let journal = open(dir.path());
    let (first, second) = (over(&journal, "first"), over(&journal, "second"));
    let blobs = || -> i64 {
        let sql = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        sql.query_row("SELECT count(*) FROM blob", [], |row| row.get(0)).unwrap()
    };
    let before = blobs();
    journal.prune(std::slice::from_ref(&first)).unwrap();
    let reader = journal.reader().unwrap();
    assert_eq!(
        reader.runs().unwrap().iter().map(|run| run.id.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&second)
    );
    assert!(!reader.run_dir(&first).exists() && !dir.path().join(format!("runs/{first}.lock")).exists());
    // Its script and its result; the module both used stays.
    assert_eq!(blobs(), before - 2);
    assert_eq!(reader.sources(&second).unwrap().len(), 2);
    super::crash::agree(&reader, &second, "after pruning");
    // What is left of it, such as by a kill, is removed by the next writer, and is no sign of a loss.
    drop(journal);
    fs::create_dir(dir.path().join("runs").join(first.as_str())).unwrap();
    let line = r#"{"seq":1,"at":1,"level":"info","kind":"run.created","step":null,"data":{}}"#;
    fs::write(dir.path().join("runs").join(first.as_str()).join("events.ndjson"), format!("{line}\n")).unwrap();
    assert_eq!(Journal::read(dir.path()).unwrap().unwrap().runs().unwrap().len(), 1);
    drop(open(dir.path()));
    assert!(!dir.path().join("runs").join(first.as_str()).exists());
    // A journal made anew does not bring it back.
    fs::remove_file(dir.path().join("journal.db")).unwrap();
    assert_eq!(doctor::rebuild(dir.path()).unwrap().lost, Vec::<String>::new());
    sound(dir.path(), "made anew");
    let runs = Journal::read(dir.path()).unwrap().unwrap().runs().unwrap();
    assert_eq!(runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>(), [second]);
}

#[test]
fn what_is_not_over_or_alive_stays_and_so_does_what_was_named_with_it() {
    let dir = state();
    let journal = open(dir.path());
    let first = over(&journal, "first");
    let failed = {
        let run = journal.create(new_run()).unwrap();
        run.finish(RunEnd::Failed { error: json!(1) }).unwrap();
        run.id().clone()
    };
    match journal.prune(&[first.clone(), failed.clone()]) {
        Err(Error::Kept { run, .. }) => assert_eq!(run, failed),
        other => panic!("{other:?}"),
    }
    let alive = journal.create(new_run()).unwrap();
    assert!(matches!(journal.prune(&[first.clone(), alive.id().clone()]), Err(Error::Live { .. })));
    let undoing = over(&journal, "undoing");
    let held = journal.take_over(&undoing, Mode::Undo, &[]).unwrap();
    assert!(matches!(journal.prune(&[undoing]), Err(Error::Live { .. })));
    drop(held);
    assert_eq!(journal.reader().unwrap().runs().unwrap().len(), 4);
    journal.prune(&[first]).unwrap();
    assert_eq!(journal.reader().unwrap().runs().unwrap().len(), 3);
}
