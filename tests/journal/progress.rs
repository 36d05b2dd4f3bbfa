//! The progress store: what engines keep is found again, in order, after a kill, and fast.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use decamp::journal::{Journal, Mode, ProgressStore};
use decamp::progress::{Checkpoint, Record};

use super::support::*;

fn store(dir: &Path) -> ProgressStore {
    open(dir).create(new_run()).unwrap().progress().unwrap()
}

fn record<'a>(kind: u8, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record { kind, key, value: Some(value) }
}

fn keys(store: &ProgressStore, kind: u8, prefix: &[u8], reverse: bool) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    store
        .visit(kind, prefix, reverse, &mut |key, value| {
            assert_eq!(value, [key, b"!"].concat());
            keys.push(key.to_vec());
            true
        })
        .unwrap();
    keys
}

#[test]
fn records_are_kept_replaced_removed_and_visited_in_order() {
    let dir = state();
    let store = store(dir.path());
    let mut all: Vec<Vec<u8>> = (0..3_000_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    all.extend([
        vec![],
        vec![0xFF],
        vec![0xFF, 0xFF],
        vec![0xFF, 0xFF, 1],
        b"a".to_vec(),
        b"a/b".to_vec(),
        b"ab".to_vec(),
    ]);
    for key in &all {
        store.put(&[record(1, key, b"old"), record(2, key, b"other")]).unwrap();
    }
    for key in &all {
        store.put(&[record(1, key, &[key.as_slice(), b"!"].concat())]).unwrap();
    }
    all.sort();
    for prefix in [&b""[..], b"a", b"a/", b"\xFF", b"\xFF\xFF", b"\0\0", b"none"] {
        let mut wanted: Vec<Vec<u8>> = all.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        assert_eq!(keys(&store, 1, prefix, false), wanted, "{prefix:?}");
        wanted.reverse();
        assert_eq!(keys(&store, 1, prefix, true), wanted, "{prefix:?} against");
    }
    assert_eq!(store.get(1, b"a").unwrap().as_deref(), Some(&b"a!"[..]));
    assert_eq!(store.get(2, b"a").unwrap().as_deref(), Some(&b"other"[..]));
    store
        .put(&[Record { kind: 1, key: b"a", value: None }, Record { kind: 1, key: b"not there", value: None }])
        .unwrap();
    assert_eq!(store.get(1, b"a").unwrap(), None);
    assert_eq!(store.get(3, b"a").unwrap(), None);
    assert!(store.keeps());
}

#[test]
fn a_visitor_may_write_stop_and_not_be_alone() {
    let dir = state();
    let store = store(dir.path());
    for n in 0..2_000_u32 {
        store.put(&[record(1, &n.to_be_bytes(), b"v")]).unwrap();
    }
    let mut seen = 0;
    store
        .visit(1, b"", true, &mut |key, _| {
            seen += 1;
            // Undo does this: what is put back is forgotten on the way.
            store.put(&[Record { kind: 1, key, value: None }]).unwrap();
            true
        })
        .unwrap();
    assert_eq!(seen, 2_000);
    store.put(&[record(1, b"x", b"1"), record(1, b"y", b"2")]).unwrap();
    let mut seen = 0;
    store
        .visit(1, b"", false, &mut |_, _| {
            seen += 1;
            false
        })
        .unwrap();
    assert_eq!(seen, 1, "nothing of before is left, and one is enough");
}

#[test]
fn many_threads_share_one_store() {
    let dir = state();
    let run = open(dir.path()).create(new_run()).unwrap();
    std::thread::scope(|scope| {
        for kind in 0..4 {
            let store = run.progress().unwrap();
            scope.spawn(move || {
                for n in 0..500_u32 {
                    store.put(&[record(kind, &n.to_be_bytes(), b"v")]).unwrap();
                    assert!(store.get(kind, &n.to_be_bytes()).unwrap().is_some());
                }
                store.sync().unwrap();
            });
        }
    });
    let mut count = 0;
    for kind in 0..4 {
        run.progress()
            .unwrap()
            .visit(kind, b"", false, &mut |_, _| {
                count += 1;
                true
            })
            .unwrap();
    }
    assert_eq!(count, 2_000);
}

/// How many records are put together, so that a kill is likely to come among them.
const KINDS: u8 = 200;

/// Puts records until it is killed, saying each after it was kept.
#[test]
fn putter() {
    let Some(dir) = std::env::var_os("DECAMP_TEST_PUTTER") else { return };
    let run = open(Path::new(&dir)).create(new_run()).unwrap();
    let store = run.progress().unwrap();
    let told = std::fs::File::create(Path::new(&dir).join("told")).unwrap();
    for n in 0_u32.. {
        let key = n.to_be_bytes();
        let together: Vec<Record<'_>> = (0..KINDS).map(|kind| record(kind, &key, b"v")).collect();
        store.put(&together).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&told, &n.to_be_bytes(), 0).unwrap();
        if n % 1_000 == 999 {
            store.sync().unwrap();
        }
    }
}

#[test]
fn what_was_put_survives_a_kill_whole() {
    for wait in [5, 30, 80, 200] {
        let dir = state();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::progress::putter", "--nocapture", "--test-threads=1"])
            .env("DECAMP_TEST_PUTTER", dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let told = dir.path().join("told");
        while std::fs::metadata(&told).map_or(0, |meta| meta.len()) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = u32::from_be_bytes(std::fs::read(&told).unwrap().try_into().unwrap());
        let journal = Journal::open(dir.path()).unwrap();
        let id = journal.reader().unwrap().runs().unwrap()[0].id.clone();
        let store = journal.take_over(&id, Mode::Run, &[]).unwrap().progress().unwrap();
        let mut counts = std::collections::BTreeSet::new();
        for kind in 0..KINDS {
            let mut next = 0_u32;
            store
                .visit(kind, b"", false, &mut |key, _| {
                    assert_eq!(key, next.to_be_bytes());
                    next += 1;
                    true
                })
                .unwrap();
            // The one after the last told may have been kept without being told.
            assert!(next == last + 1 || next == last + 2, "{next} of {last}");
            counts.insert(next);
        }
        assert_eq!(counts.len(), 1, "all that was put together or none of it");
    }
}

#[test]
fn a_hundred_thousand_puts_take_seconds() {
    let dir = state();
    let store = store(dir.path());
    let value = [7; 40];
    let since = Instant::now();
    for n in 0..100_000_u32 {
        let key = format!("some/directory/of/a/tree/file-{n}");
        store.put(&[record(1, key.as_bytes(), &value)]).unwrap();
    }
    store.sync().unwrap();
    let one_by_one = since.elapsed();
    let since = Instant::now();
    for batch in 0..100_u32 {
        let keys: Vec<String> = (0..1_000).map(|n| format!("another/directory/file-{batch}-{n}")).collect();
        let records: Vec<Record<'_>> = keys.iter().map(|key| record(2, key.as_bytes(), &value)).collect();
        store.put(&records).unwrap();
    }
    store.sync().unwrap();
    let batched = since.elapsed();
    println!("100,000 puts: {one_by_one:.2?} one by one, {batched:.2?} by the thousand");
    // Generous: the machine of a test may be busy and its disk slow.
    assert!(one_by_one.as_secs() < 60 && batched.as_secs() < 30);
}

#[test]
fn a_file_that_is_no_progress_store_is_refused() {
    let dir = state();
    let run = open(dir.path()).create(new_run()).unwrap();
    std::fs::write(run.dir().join("progress.db"), "this is no database at all, whatever its name").unwrap();
    assert!(matches!(run.progress(), Err(decamp::journal::Error::Corrupt { .. })));
}

#[test]
fn a_store_that_is_behind_what_was_synced_or_of_another_run_is_refused() {
    let dir = state();
    let journal = open(dir.path());
    let run = journal.create(new_run()).unwrap();
    let (id, path) = (run.id().clone(), run.dir().join("progress.db"));
    let store = run.progress().unwrap();
    store.put(&[record(1, b"a", b"1")]).unwrap();
    store.sync().unwrap();
    drop((store, run));
    let old = std::fs::read(&path).unwrap();
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    let store = run.progress().unwrap();
    store.put(&[record(1, b"b", b"2")]).unwrap();
    store.sync().unwrap();
    drop((store, run));
    let new = std::fs::read(&path).unwrap();
    std::fs::write(&path, &old).unwrap();
    let refused = |journal: &Journal, id| {
        let run = journal.take_over(id, Mode::Run, &[]).unwrap();
        match run.progress() {
            Err(decamp::journal::Error::Corrupt { detail, .. }) => detail,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&journal, &id).contains("newest part is missing"));
    std::fs::write(&path, &new).unwrap();
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    assert!(run.progress().unwrap().get(1, b"b").unwrap().is_some());
    let other = journal.create(new_run()).unwrap();
    drop(other.progress().unwrap());
    let (name, place) = (other.id().clone(), other.dir().join("progress.db"));
    drop((run, other));
    std::fs::write(&place, &new).unwrap();
    assert!(refused(&journal, &name).contains("it is that of run"));
}

#[test]
fn copies_of_the_journal_from_the_future_make_room_for_the_next() {
    let dir = state();
    let backup = dir.path().join("backup");
    drop(open(dir.path()).create(new_run()).unwrap());
    let made = std::fs::read_dir(&backup).unwrap().next().unwrap().unwrap().path();
    for n in 0..3 {
        std::fs::copy(&made, backup.join(format!("journal-99999999999{n}9.db"))).unwrap();
    }
    std::fs::remove_file(&made).unwrap();
    drop(open(dir.path()).create(new_run()).unwrap());
    let mut names: Vec<String> =
        std::fs::read_dir(&backup).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().any(|name| !name.contains("99999999")), "{names:?}");
    let report = decamp::journal::doctor::check(dir.path()).unwrap();
    assert_eq!(report.findings.iter().filter(|found| found.what.contains("from the future")).count(), 2);
}
