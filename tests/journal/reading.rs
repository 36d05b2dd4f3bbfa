//! Reading changes nothing, whatever state the journal was left in, and sees what is written meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use decamp::journal::{Journal, Reader, RunEnd};
use serde_json::json;

use super::support::*;
use crate::support::env::Decamp;

/// Every file below `dir` with the digest of its content and the time of its last change.
///
/// Not the ctime: for the super-user SQLite sets the owner of the log to what it is already.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (String, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else {
            blake3::hash(&fs::read(&path).unwrap()).to_string()
        };
        all.insert(path, (content, meta.mtime(), meta.mtime_nsec()));
    }
    all
}

/// Asks all a reader can be asked.
fn ask(reader: &Reader) {
    for run in reader.runs().unwrap() {
        reader.run(&run.id).unwrap();
        reader.events(&run.id).unwrap();
        reader.sources(&run.id).unwrap();
        reader.resolve(run.id.short()).unwrap();
    }
    reader.unfinished().unwrap();
}

#[test]
fn where_there_is_no_journal_none_is_made() {
    let dir = state();
    let before = picture(dir.path());
    assert!(Journal::read(dir.path()).unwrap().is_none());
    assert!(Journal::read(&dir.path().join("not/there")).unwrap().is_none());
    assert_eq!(picture(dir.path()), before);
}

#[test]
fn a_journal_at_rest_is_read_without_a_trace() {
    let dir = state();
    {
        let run = open(dir.path()).create(new_run()).unwrap();
        run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    }
    let before = picture(dir.path());
    let reader = Journal::read(dir.path()).unwrap().unwrap();
    ask(&reader);
    assert_eq!(picture(dir.path()), before);
}

/// Leaves a journal with a write-ahead log that nobody has checkpointed.
#[test]
fn unclean() {
    let Some(dir) = std::env::var_os("DECAMP_TEST_UNCLEAN") else { return };
    let journal = open(Path::new(&dir));
    let run = journal.create(new_run()).unwrap();
    let step = start(&run, "a");
    done(&run, step, json!("kept"));
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_journal_of_a_killed_process_is_read_without_a_trace() {
    let dir = state();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::reading::unclean", "--nocapture", "--test-threads=1"])
        .env("DECAMP_TEST_UNCLEAN", dir.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    assert!(fs::metadata(dir.path().join("journal.db-wal")).unwrap().len() > 0, "the log is what this is about");
    let before = picture(dir.path());
    let reader = Journal::read(dir.path()).unwrap().unwrap();
    ask(&reader);
    let run = &reader.runs().unwrap()[0];
    assert_eq!(reader.run(&run.id).unwrap().steps[0].result, Some(json!("kept")), "what is in the log is seen");
    assert_eq!(picture(dir.path()), before);
}

/// Puts this in the place of the log and its shared memory, as a process leaves them that was killed before its commit.
fn leave(state: &Path, log: &[u8], shm: Option<&[u8]>) {
    fs::write(state.join("journal.db-wal"), log).unwrap();
    match shm {
        Some(shm) => fs::write(state.join("journal.db-shm"), shm).unwrap(),
        None => drop(fs::remove_file(state.join("journal.db-shm"))),
    }
}

/// SQLite tries for ever to read a log of a header alone over a read-only connection.
#[test]
fn a_log_without_a_frame_stops_no_command() {
    let script = r#"//! A test.
fn params() { #{} }
fn run(p) { step("a", #{ undo: |r| () }, || 1); approve("go"); }
"#;
    let call = Decamp::new().file("s.rhai", script);
    call.again().args(["run", "./s.rhai"]).status(5).run();
    let state = call.state();
    // A header as SQLite writes it, and the shared memory that belongs to it.
    let (header, shm) = {
        let sql = rusqlite::Connection::open(state.join("journal.db")).unwrap();
        sql.execute_batch("CREATE TABLE other (a); DROP TABLE other;").unwrap();
        let mut header = fs::read(state.join("journal.db-wal")).unwrap();
        header.truncate(32);
        (header, fs::read(state.join("journal.db-shm")).unwrap())
    };
    assert_eq!(header.len(), 32);
    let id = Journal::read(&state).unwrap().unwrap().runs().unwrap()[0].id.to_string();
    let (odd, whole) = (Some(&[0x5A; 32768][..]), Some(&shm[..]));
    let left = [
        (&header[..], &[whole, odd, None][..]),
        (&[], &[whole]),
        (&header[..16], &[None]),
        (&[0x5A; 32], &[whole]),
        (&[0x5A; 9000], &[whole]),
    ];
    for (log, shared) in left {
        for &shm in shared {
            leave(&state, log, shm);
            let before = picture(&state);
            let begun = Instant::now();
            call.again().arg("runs").stdout_has("waiting").run();
            call.again().args(["show", &id]).stdout_has("waiting").run();
            call.again().args(["log", &id]).stdout_has("go").run();
            call.again().args(["export", &id, "--out", "-"]).run();
            assert_eq!(picture(&state), before, "{} bytes: reading leaves them", log.len());
            call.again().args(["doctor"]).run();
            leave(&state, log, shm);
            call.again().args(["resume", &id]).status(5).run();
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        }
    }
    leave(&state, &header, Some(&shm));
    call.again().args(["resume", &id, "--approve", "go"]).stdout_has("succeeded").run();
    leave(&state, &header, Some(&shm));
    call.again().args(["undo", &id, "--yes"]).run();
}

#[test]
fn readers_see_whole_transactions_while_a_run_writes() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (dir, id) = (dir.path().to_owned(), run.id().clone());
            std::thread::spawn(move || {
                let reader = Journal::read(&dir).unwrap().unwrap();
                let mut most = 0;
                while most < 200 {
                    let detail = reader.run(&id).unwrap();
                    assert!(detail.steps.len() >= most, "what was seen stays");
                    most = detail.steps.len();
                    // A step and the event of its start are one transaction.
                    let started =
                        reader.events(&id).unwrap().iter().filter(|event| event.kind == "step.started").count();
                    assert!(started >= most);
                }
            })
        })
        .collect();
    for n in 0..200 {
        let step = start(&run, &format!("step-{n}"));
        done(&run, step, json!(n));
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

/// Opens, writes and closes the journal again and again: the log comes and goes.
#[test]
fn restless() {
    let Some(dir) = std::env::var_os("DECAMP_TEST_RESTLESS") else { return };
    for n in 0..60 {
        let run = open(Path::new(&dir)).create(new_run()).unwrap();
        for step in 0..n % 7 {
            let step = start(&run, &format!("step-{step}"));
            done(&run, step, json!("x".repeat(3_000)));
        }
        run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    }
}

#[test]
fn another_process_that_comes_and_goes_does_not_disturb_a_reader() {
    let dir = state();
    drop(open(dir.path()));
    let mut children: Vec<_> = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "journal::reading::restless", "--nocapture", "--test-threads=1"])
                .env("DECAMP_TEST_RESTLESS", dir.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let (mut most, mut asked) = (0, 0);
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        let reader = Journal::read(dir.path()).unwrap().unwrap();
        let runs = reader.runs().unwrap();
        assert!(runs.len() >= most, "{} after {most}", runs.len());
        most = runs.len();
        for run in runs.iter().take(3) {
            let detail = reader.run(&run.id).unwrap();
            assert!(
                detail.summary.status != decamp::journal::RunStatus::Succeeded || detail.summary.finished_ms.is_some()
            );
        }
        asked += 1;
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(Journal::read(dir.path()).unwrap().unwrap().runs().unwrap().len(), 120);
    assert!(asked > 10, "{asked}");
}

#[test]
fn a_reader_from_before_a_writer_came_sees_what_it_writes() {
    let dir = state();
    drop(open(dir.path()));
    let reader = Journal::read(dir.path()).unwrap().unwrap();
    assert!(reader.runs().unwrap().is_empty());
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    assert_eq!(reader.runs().unwrap().len(), 1);
    drop((run, journal));
    assert_eq!(reader.runs().unwrap().len(), 1, "and after it has gone");
}

#[test]
fn an_event_file_that_fell_behind_or_was_torn_is_completed() {
    let dir = state();
    let id = {
        let run = open(dir.path()).create(new_run()).unwrap();
        let step = start(&run, "a");
        done(&run, step, json!(1));
        run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
        run.id().clone()
    };
    let reader = Journal::read(dir.path()).unwrap().unwrap();
    let file = reader.run_dir(&id).join("events.ndjson");
    let whole = fs::read_to_string(&file).unwrap();
    super::crash::agree(&reader, &id, "untouched");
    let second_line = whole.find('\n').unwrap() + 1;
    for (what, left) in [
        ("a line is missing", &whole[..whole.trim_end().rfind('\n').unwrap() + 1]),
        ("a line is torn", &whole[..whole.len() - 5]),
        ("only the start is left", &whole[..second_line]),
        ("nothing is left", ""),
        ("it is something else", "no event\n"),
    ] {
        fs::write(&file, left).unwrap();
        drop(open(dir.path()));
        super::crash::agree(&reader, &id, what);
    }
    fs::remove_file(&file).unwrap();
    drop(open(dir.path()));
    super::crash::agree(&reader, &id, "removed");
}

#[test]
fn what_is_kept_is_for_its_owner_alone() {
    let home = state();
    let dir = home.path().join("new/state");
    let run = open(&dir).create(new_run()).unwrap();
    run.progress().unwrap();
    for path in picture(&dir).into_keys() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.mode() & 0o7777, wanted, "{}", path.display());
    }
}
