//! A byte that changed, anywhere in the files of a journal whose process was killed: it is refused and can be made anew,
//! or it does not matter. In either case the run ends as if nothing had happened, and nothing is done twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use decamp::journal::{Error, Journal, doctor};
use tempfile::TempDir;

use super::crash::{check_end, killed, points, sound, start_victim, world};
use super::support::*;
use crate::support::rng::Rng;

/// A state with a log, killed when three quarters of the run were done and the file told of all of it: what the last
/// transaction wrote stands nowhere else before that, and can only be noticed to be damaged where it cannot be read.
fn killed_late() -> (TempDir, PathBuf) {
    let names = points();
    let late = names.len() * 3 / 4;
    let told = names[late..].iter().position(|name| name.ends_with("after events")).unwrap();
    let dir = state_in_memory();
    assert!(killed(start_victim(dir.path(), Some(late + told + 1), &[])));
    let state = dir.path().join("state");
    assert!(state.join("journal.db-wal").metadata().unwrap().len() > 32);
    (dir, state)
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else if entry.file_name() != "ballast" {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What became of a state after a change: opened, made anew, or refused for good; and that nothing was done twice.
fn outcome(state: &Path, what: &str) -> &'static str {
    let mut became = "opened";
    if let Err(error) = Journal::open(state) {
        assert!(matches!(error, Error::Corrupt { .. } | Error::Lost { .. }), "{what}: {error:?}");
        let done = doctor::rebuild(state).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(done.lost, Vec::<String>::new(), "{what}");
        became = "made anew";
    }
    sound(state, what);
    became
}

/// Changes one byte of one file of a fresh copy, and lets the run go on from there.
fn flip(template: &Path, file: &Path, at: usize, mask: u8) -> (&'static str, String) {
    let dir = state_in_memory();
    copy_all(template, dir.path());
    let path = dir.path().join("state").join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= mask;
    fs::write(&path, bytes).unwrap();
    // Without it SQLite reads the log itself, as after a restart of the machine.
    fs::remove_file(dir.path().join("state/journal.db-shm")).ok();
    let what = format!("byte {at} of {} with {mask:#x}", file.display());
    let became = outcome(&dir.path().join("state"), &what);
    assert!(start_victim(dir.path(), None, &[]).success(), "{what}, {became}");
    check_end(dir.path(), &what);
    assert_eq!(world(dir.path()).into_values().collect::<Vec<_>>(), [1; 4], "{what}");
    (became, what)
}

/// Changes an event in the middle of a file of events. Somewhere else in a line, as in the name of its sum, the damage
/// would be called something else.
fn misspell(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let middle = lines.len() / 2;
    let changed = lines[middle].replacen(r#""kind":""#, r#""kind":"x"#, 1);
    assert_ne!(changed, lines[middle]);
    lines[middle] = changed;
    fs::write(file, lines.join("\n") + "\n").unwrap();
}

fn tried(all: impl IntoIterator<Item = (&'static str, String)>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for (became, _) in all {
        *counts.entry(became).or_default() += 1;
    }
    counts
}

#[test]
fn a_changed_byte_of_the_log_is_noticed_or_does_not_matter() {
    let (dir, state) = killed_late();
    let len = fs::metadata(state.join("journal.db-wal")).unwrap().len() as usize;
    let mut rng = Rng::new(7);
    // Headers and contents of frames, and what stands between.
    let mut places: Vec<usize> =
        (32..len).step_by(24 + 4096).flat_map(|frame| [frame, frame + 8, frame + 24 + 100]).collect();
    places.extend((0..20).map(|_| rng.below(len as u64) as usize));
    places.extend([0, 16, 24]);
    places.retain(|at| *at < len);
    let stride = places.len().div_ceil(70);
    let counts =
        tried(places.into_iter().step_by(stride).map(|at| flip(dir.path(), Path::new("journal.db-wal"), at, 0x10)));
    println!("changed bytes of the log: {counts:?}");
    assert!(counts["made anew"] > 5, "{counts:?}");
}

#[test]
fn a_log_that_ends_anywhere_is_noticed_or_does_not_matter() {
    let (dir, state) = killed_late();
    let len = fs::metadata(state.join("journal.db-wal")).unwrap().len() as usize;
    let ends: Vec<usize> =
        (32..len).step_by(24 + 4096).flat_map(|frame| [frame, frame + 2_000]).filter(|at| *at < len).collect();
    let stride = ends.len().div_ceil(40);
    let counts = tried(ends.into_iter().step_by(stride).map(|end| {
        let fresh = state_in_memory();
        copy_all(dir.path(), fresh.path());
        let log = fresh.path().join("state/journal.db-wal");
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(end as u64).unwrap();
        fs::remove_file(fresh.path().join("state/journal.db-shm")).ok();
        let what = format!("the log ends at {end}");
        let became = outcome(&fresh.path().join("state"), &what);
        assert!(start_victim(fresh.path(), None, &[]).success(), "{what}");
        check_end(fresh.path(), &what);
        assert_eq!(world(fresh.path()).into_values().collect::<Vec<_>>(), [1; 4], "{what}");
        (became, what)
    }));
    println!("ends of the log: {counts:?}");
    assert!(counts["made anew"] > 5, "{counts:?}");
}

#[test]
fn a_changed_byte_of_the_database_is_noticed_or_does_not_matter() {
    let (dir, state) = killed_late();
    // Everything in the one file, as after a checkpoint.
    let sql = rusqlite::Connection::open(state.join("journal.db")).unwrap();
    sql.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    drop(sql);
    let bytes = fs::read(state.join("journal.db")).unwrap();
    // Where something is written: most of a small journal is empty space. A number of the format that is one higher is
    // not damage: it is refused as that of a newer decamp.
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0 && *at != 63).collect();
    // Another seed and more places, to look for one that is met seldom.
    let asked = |name: &str, usual| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let mut rng = Rng::new(asked("DECAMP_FLIP_SEED", 11));
    let mut places: Vec<usize> =
        (0..asked("DECAMP_FLIPS", 90)).map(|_| written[rng.below(written.len() as u64) as usize]).collect();
    // The format of the schema, which SQLite refuses in words of its own.
    places.push(47);
    let counts = tried(places.into_iter().map(|at| flip(dir.path(), Path::new("journal.db"), at, 0x01)));
    println!("changed bytes of the database: {counts:?}");
    assert!(counts["made anew"] > 20, "{counts:?}");
}

#[test]
fn a_changed_byte_of_the_events_is_noticed_and_written_anew() {
    let (dir, state) = killed_late();
    let run = Journal::read(&state).unwrap().unwrap().runs().unwrap().remove(0).id;
    let file = PathBuf::from("runs").join(run.as_str()).join("events.ndjson");
    let len = fs::metadata(state.join(&file)).unwrap().len() as usize;
    let mut rng = Rng::new(13);
    for _ in 0..25 {
        let at = rng.below(len as u64) as usize;
        let (became, what) = flip(dir.path(), &file, at, 0x04);
        assert_eq!(became, "opened", "the journal itself is whole: {what}");
    }
    // What was damaged is kept, and that it was is told.
    let fresh = state_in_memory();
    copy_all(dir.path(), fresh.path());
    let path = fresh.path().join("state").join(&file);
    misspell(&path);
    let found = doctor::check(&fresh.path().join("state")).unwrap();
    assert!(
        found.trusted() && found.findings.iter().any(|f| f.what.contains("sum does not fit")),
        "{:?}",
        found.findings
    );
    let journal = Journal::open(&fresh.path().join("state")).unwrap();
    let events = journal.reader().unwrap().events(&run).unwrap();
    assert!(events.iter().any(|event| event.kind == "events.rewritten"), "{events:?}");
    let kept = fs::read_dir(path.parent().unwrap()).unwrap().flatten();
    assert_eq!(kept.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count(), 1);
}

/// A change of what an effect has stored is no damage to SQLite, and still it is not believed.
#[test]
fn a_row_that_says_something_else_than_the_events_is_not_believed() {
    let (dir, state) = killed_late();
    for text in [
        "UPDATE effect SET status = 'failed' WHERE status = 'done'",
        "UPDATE step SET status = 'lost' WHERE status = 'done'",
        "UPDATE lease SET path = X'2F6F74686572'",
        "UPDATE meta SET value = zeroblob(32) WHERE key = 'hash_key'",
        "UPDATE meta SET key = 'hash_jey' WHERE key = 'hash_key'",
        "UPDATE meta SET key = 'journal_hd' WHERE key = 'journal_id'",
        "DELETE FROM event WHERE kind = 'step.done'",
        "DELETE FROM blob",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET type = CAST(type AS BLOB) WHERE name = 'step'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET tbl_name = 'stdp' WHERE name = 'step'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = CAST(sql AS BLOB) WHERE name = 'step'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET name = CAST(name AS BLOB) WHERE name = 'step'",
    ] {
        let fresh = state_in_memory();
        copy_all(dir.path(), fresh.path());
        let state = fresh.path().join("state");
        let sql = rusqlite::Connection::open(state.join("journal.db")).unwrap();
        sql.execute_batch(&format!("PRAGMA foreign_keys = OFF; {text};")).unwrap();
        drop(sql);
        assert!(!doctor::check(&state).unwrap().trusted(), "{text}");
        if !text.contains("blob ") && !text.ends_with("blob") {
            assert!(matches!(Journal::open(&state), Err(Error::Corrupt { .. })), "{text}");
        }
        assert_eq!(doctor::rebuild(&state).unwrap().lost, Vec::<String>::new(), "{text}");
        sound(&state, text);
        assert!(start_victim(fresh.path(), None, &[]).success(), "{text}");
        check_end(fresh.path(), text);
    }
    drop((dir, state));
}

#[test]
fn what_cannot_be_restored_is_named_and_not_gone_on_with() {
    let (dir, state) = killed_late();
    let run = Journal::read(&state).unwrap().unwrap().runs().unwrap().remove(0).id;
    let file = state.join("runs").join(run.as_str()).join("events.ndjson");
    misspell(&file);
    ["journal.db", "journal.db-wal", "journal.db-shm"].iter().for_each(|name| drop(fs::remove_file(state.join(name))));
    fs::remove_dir_all(state.join("backup")).unwrap();
    let done = doctor::rebuild(&state).unwrap();
    assert!(done.base.is_none() && done.lost.iter().any(|line| line.contains("sum does not fit")), "{done:?}");
    let journal = Journal::open(&state).unwrap();
    match journal.take_over(&run, decamp::journal::Mode::Run, &[]) {
        Err(Error::Incomplete { missing, .. }) => assert!(!missing.is_empty()),
        other => panic!("{other:?}"),
    }
    journal.abandon(&run).unwrap();
    drop(dir);
}
