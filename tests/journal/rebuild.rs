//! A journal that was damaged, at any moment of a run: it is noticed, made anew, and the run goes on from it to the same
//! end, with nothing done twice.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use decamp::journal::{Error, Journal, doctor};

use super::crash::{check_end, killed, points, sound, start_victim, world};
use super::support::*;

/// What can happen to the files of a journal at rest.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Everything of it is gone.
    Gone,
    /// The log is gone, and with it every commit since the last checkpoint.
    LogGone,
    /// The log ends in the middle.
    LogTorn,
    /// The header is another one.
    Header,
    /// A page in the middle is noise.
    Page,
    /// An old copy was put back by hand.
    OldCopy,
}

const ALL: [Damage; 6] =
    [Damage::Gone, Damage::LogGone, Damage::LogTorn, Damage::Header, Damage::Page, Damage::OldCopy];

impl Damage {
    fn make(self, state: &Path) {
        let (db, log) = (state.join("journal.db"), state.join("journal.db-wal"));
        let open = |path: &Path| OpenOptions::new().write(true).open(path).unwrap();
        match self {
            Self::Gone => ["journal.db", "journal.db-wal", "journal.db-shm"].iter().for_each(|name| {
                fs::remove_file(state.join(name)).ok();
            }),
            Self::LogGone => {
                fs::remove_file(log).ok();
                fs::remove_file(state.join("journal.db-shm")).ok();
            }
            Self::LogTorn => {
                if let Ok(meta) = log.metadata() {
                    open(&log).set_len(meta.len() / 2).unwrap();
                    fs::remove_file(state.join("journal.db-shm")).ok();
                }
            }
            Self::Header => open(&db).write_all_at(&[0xA5; 64], 0).unwrap(),
            Self::Page => {
                let pages = db.metadata().unwrap().len() / 4096;
                open(&db).write_all_at(&[0xA5; 4096], pages / 2 * 4096).unwrap();
            }
            Self::OldCopy => {
                let Ok(copies) = fs::read_dir(state.join("backup")) else { return };
                let mut copies: Vec<_> = copies.map(|copy| copy.unwrap().path()).collect();
                copies.sort();
                fs::remove_file(log).ok();
                fs::remove_file(state.join("journal.db-shm")).ok();
                fs::copy(&copies[0], &db).unwrap();
            }
        }
    }
}

/// Whether an event of a run has been written at all.
fn told(state: &Path) -> bool {
    let Ok(runs) = fs::read_dir(state.join("runs")) else { return false };
    runs.flatten().any(|run| run.path().join("events.ndjson").metadata().is_ok_and(|meta| meta.len() > 0))
}

#[test]
fn damaged_after_a_kill_at_any_point_it_is_made_anew_and_ends_as_if_nothing_had_happened() {
    let names = points();
    let mut rebuilt = 0;
    for (at, name) in names.iter().enumerate() {
        for damage in [ALL[at % ALL.len()], ALL[(at + 1) % ALL.len()]] {
            let dir = state_in_memory();
            let what = format!("killed at {} ({name}), then {damage:?}", at + 1);
            assert!(killed(start_victim(dir.path(), Some(at + 1), &[])), "{what}");
            let state = dir.path().join("state");
            if !told(&state) || !state.join("journal.db").exists() {
                continue;
            }
            damage.make(&state);
            // Whatever is refused can be made anew, and what is not refused is whole.
            if let Err(error) = Journal::open(&state) {
                assert!(matches!(error, Error::Corrupt { .. } | Error::Lost { .. }), "{what}: {error:?}");
                assert!(Journal::read(&state).is_err(), "{what}");
                assert!(!doctor::check(&state).unwrap().trusted(), "{what}");
                let done = doctor::rebuild(&state).unwrap();
                assert_eq!(done.lost, Vec::<String>::new(), "{what}");
                rebuilt += 1;
            }
            sound(&state, &what);
            assert!(start_victim(dir.path(), None, &[]).success(), "{what}");
            check_end(dir.path(), &what);
            assert_eq!(world(dir.path()).into_values().collect::<Vec<_>>(), [1; 4], "{what}");
        }
    }
    println!("{rebuilt} journals made anew");
    assert!(rebuilt > names.len(), "{rebuilt}");
}
