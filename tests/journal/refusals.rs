//! What a journal refuses to be opened on, and that it leaves it as it was.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use decamp::journal::{Class, EffectOutcome, Error, Journal, Mode, RunEnd, StepOutcome};
use rusqlite::Connection;
use serde_json::json;

use super::support::*;
use crate::support::skip::{needs_root, skipped};
use crate::support::volume::{FileSystem, Volume};

/// A journal at rest with something in it.
fn filled(dir: &Path) {
    let journal = open(dir);
    for _ in 0..20 {
        let run = journal.create(new_run()).unwrap();
        for n in 0..10 {
            let step = start(&run, &format!("step-{n}"));
            done(&run, step, json!("x".repeat(500)));
        }
        run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    }
}

fn refused(dir: &Path, check: impl Fn(&Error) -> bool) {
    let file = dir.join("journal.db");
    let before = fs::read(&file).unwrap();
    for result in [Journal::open(dir).map(drop), Journal::read(dir).map(drop)] {
        match result {
            Err(error) => assert!(check(&error), "{error:?}"),
            Ok(()) => panic!("it was opened"),
        }
        assert_eq!(fs::read(&file).unwrap(), before, "and left as it was");
    }
    assert!(!dir.join("journal.db-wal").exists());
}

#[test]
fn a_damaged_header() {
    let dir = state();
    filled(dir.path());
    let file = OpenOptions::new().write(true).open(dir.path().join("journal.db")).unwrap();
    file.write_all_at(b"not a database!!", 0).unwrap();
    refused(dir.path(), |error| matches!(error, Error::Corrupt { path, .. } if path.ends_with("journal.db")));
}

#[test]
fn a_damaged_page() {
    let dir = state();
    filled(dir.path());
    let path = dir.path().join("journal.db");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let pages = fs::metadata(&path).unwrap().len() / 4096;
    assert!(pages > 20);
    // A page of a table or an index in the middle.
    file.write_all_at(&[0xA5; 4096], pages / 2 * 4096).unwrap();
    refused(dir.path(), |error| matches!(error, Error::Corrupt { detail, .. } if !detail.is_empty()));
}

#[test]
fn a_file_cut_short() {
    let dir = state();
    filled(dir.path());
    let path = dir.path().join("journal.db");
    let len = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 4 * 4096).unwrap();
    refused(dir.path(), |error| matches!(error, Error::Corrupt { .. }));
}

#[test]
fn somebody_elses_database() {
    let dir = state();
    let path = dir.path().join("journal.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);").unwrap();
    refused(dir.path(), |error| matches!(error, Error::Corrupt { .. }));
}

#[test]
fn a_journal_of_a_newer_decamp() {
    let dir = state();
    filled(dir.path());
    Connection::open(dir.path().join("journal.db"))
        .unwrap()
        .execute_batch("PRAGMA user_version = 4711; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;")
        .unwrap();
    refused(dir.path(), |error| matches!(error, Error::Newer { found: 4711, known, .. } if *known < 4711));
}

/// The least a FUSE file system can be.
struct Empty;

impl fuser::Filesystem for Empty {
    fn getattr(&self, _: &fuser::Request, ino: fuser::INodeNo, _: Option<fuser::FileHandle>, reply: fuser::ReplyAttr) {
        let epoch = std::time::UNIX_EPOCH;
        let attr = fuser::FileAttr {
            ino,
            size: 0,
            blocks: 0,
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind: fuser::FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 512,
        };
        reply.attr(&std::time::Duration::from_secs(1), &attr);
    }

    fn lookup(&self, _: &fuser::Request, _: fuser::INodeNo, _: &std::ffi::OsStr, reply: fuser::ReplyEntry) {
        reply.error(fuser::Errno::ENOENT);
    }
}

#[test]
fn a_file_system_that_is_not_this_machines_own() {
    if !needs_root("mounting a FUSE file system") {
        return;
    }
    let home = state();
    let mount = home.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let session = match fuser::spawn_mount(Empty, &mount, &fuser::Config::default()) {
        Ok(session) => session,
        Err(error) => return skipped(&format!("no FUSE here: {error}")),
    };
    // On it, and in a directory on it that does not exist yet.
    for dir in [mount.clone(), mount.join("state/decamp")] {
        match Journal::open(&dir) {
            Err(Error::NotLocal { path, fs }) => assert_eq!((path, fs), (dir, "FUSE")),
            other => panic!("{other:?}"),
        }
    }
    session.umount_and_join().unwrap();
    Journal::open(&mount).unwrap();
}

#[test]
fn too_little_space_to_begin_with() {
    let Some(volume) = Volume::new(FileSystem::Tmpfs, 32) else { return };
    match Journal::open(&volume.path().join("state")) {
        Err(Error::Full { space: Some((free, need)), .. }) => assert!(free < need && need == 64 << 20),
        other => panic!("{other:?}"),
    }
}

/// A disk that fills up in the middle: everything stops, nothing is lost, and with space again it goes on.
fn disk_full(kind: FileSystem, mib: u64) {
    let Some(volume) = Volume::new(kind, mib) else { return };
    let dir = volume.path().join("state");
    let journal = Journal::open(&dir).unwrap();
    let run = journal.create(new_run()).unwrap();
    let first = start(&run, "first");
    done(&run, first, json!("kept"));
    let filler = volume.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let block = vec![0x5A; 1 << 16];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    // The last bytes too.
    while std::io::Write::write_all(&mut file, &block[..512]).is_ok() {}
    file.sync_all().ok();
    drop(file);

    // Noise, so that nothing packs it.
    let mut seed = 1_u64;
    let mut noise = move || {
        let mut text = String::with_capacity(12_000);
        while text.len() < 12_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(&format!("{:x}", seed >> 20));
        }
        text
    };
    let (mut kept, mut failed) = (0, None);
    for n in 0..20_000 {
        let step = match run.enter(new_step(&format!("step-{n}"))) {
            Ok(decamp::journal::Entered::Run { step, .. }) => step,
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        match run.leave(step, StepOutcome::Done { result: json!(noise()), changed: true }) {
            Ok(()) => kept = n + 1,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    assert!(matches!(failed, Some(Error::Full { .. })), "{failed:?}");
    // Fail-stop: nothing more is written, however small, and so nothing more may act.
    assert!(matches!(run.enter(new_step("small")), Err(Error::Full { .. })));
    assert!(matches!(run.begin(new_effect(first, 1, Class::Once)), Err(Error::Full { .. })));
    let id = run.id().clone();
    let seen = Journal::read(&dir).unwrap().unwrap().run(&id).unwrap();
    drop((run, journal));

    // Looking is possible on a full disk.
    let detail = Journal::read(&dir).unwrap().unwrap().run(&id).unwrap();
    assert_eq!(detail.summary.steps_done, seen.summary.steps_done);
    assert_eq!(detail.summary.steps_done, 1 + kept, "everything that was answered is there");
    assert!(matches!(Journal::open(&dir), Err(Error::Full { space: Some(_), .. })));

    fs::remove_file(&filler).unwrap();
    let journal = Journal::open(&dir).unwrap();
    let run = journal.take_over(&id, Mode::Run, &[]).unwrap();
    let step = start(&run, "after");
    let effect = act(&run, new_effect(step, 1, Class::Once));
    run.settle(effect, EffectOutcome::Done { result: json!(1), reconciled: false }).unwrap();
    done(&run, step, json!(1));
    run.finish_with(RunEnd::Succeeded, Some(0)).unwrap();
    super::crash::agree(&journal.reader().unwrap(), &id, "after the full disk");
}

#[test]
fn a_full_tmpfs_stops_cleanly_and_works_again() {
    disk_full(FileSystem::Tmpfs, 80);
}

#[test]
fn a_full_ext4_stops_cleanly_and_works_again() {
    disk_full(FileSystem::Ext4, 120);
}
