//! A file system that fails in the middle: the report says so, nothing is lost in silence, and when the fault is gone the
//! next pass finishes the work.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use decamp::copy::Error;
use decamp::copy::options::{Loss, Options};
use decamp::copy::report::Report;
use rustix::io::Errno;

use super::passes::{accepting, attempt, deleting, idle_pass, pass};
use crate::support::check::{Check, Snapshot, assert_same};
use crate::support::dress;
use crate::support::faults::{Fail, Faulty, Op};
use crate::support::rng::Rng;
use crate::support::skip::is_root;
use crate::support::tree::Recipe;

/// Which side goes through the failing file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

struct Case {
    _dir: tempfile::TempDir,
    faulty: Faulty,
    /// The source as it lies on a sound file system.
    sound: PathBuf,
    src: PathBuf,
    dst: PathBuf,
    before: Snapshot,
}

impl Case {
    fn new(side: Side, entries: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (sound, other) = (dir.path().join("src"), dir.path().join("dst"));
        // Holes and deep chains take their time through FUSE and have tests of their own.
        let recipe = Recipe::new(41, entries).with(|odd| (odd.holes, odd.deep, odd.locked) = (false, false, is_root()));
        recipe.grow(&sound);
        fs::create_dir(&other).unwrap();
        let faulty = Faulty::over(if side == Side::Source { &sound } else { &other })?;
        let through = faulty.path().to_owned();
        let (src, dst) = if side == Side::Source { (through, other) } else { (sound.clone(), through) };
        let before = Snapshot::of(&sound);
        Some(Self { _dir: dir, faulty, sound, src, dst, before })
    }

    /// A pass with faults. `Err` is fine here: an error is not silence.
    #[track_caller]
    fn attempt(&self, options: &Options) -> Result<Report, Error> {
        let hits = self.faulty.hits();
        let result = attempt(&self.src, &self.dst, options);
        assert!(self.faulty.hits() > hits, "the fault was never met");
        self.before.assert_same(&Snapshot::of(&self.sound));
        if let Ok(report) = &result
            && (report.failed, report.vanished, report.changed, report.skipped) == (0, 0, 0, 0)
        {
            // What claims to be whole must be whole. Looked at from below: the faults are still there.
            self.faulty.clear();
            Check::new().assert_same(&self.sound, &self.dst);
        }
        result
    }

    /// The fault goes away, and the next pass makes it whole.
    #[track_caller]
    fn recovers(&self) {
        self.faulty.clear();
        pass(&self.src, &self.dst, &deleting());
        assert_same(&self.sound, &self.dst);
        idle_pass(&self.src, &self.dst, &deleting());
        self.before.assert_same(&Snapshot::of(&self.sound));
    }
}

fn names(report: &Report) -> Vec<&OsStr> {
    report.errors.iter().map(|error| OsStr::from_bytes(&error.path)).collect()
}

/// One failing call on one entry: exactly that entry is named, all others arrive.
#[track_caller]
fn one_entry(side: Side, fail: Fail, path: &str) {
    let Some(case) = Case::new(side, 150) else { return };
    case.faulty.fail(fail);
    let report = case.attempt(&Options::default()).unwrap();
    assert_eq!(names(&report), [path], "{report:#?}");
    case.faulty.clear();
    // The parent's own times may wait for the entry that is missing.
    let wrong: Vec<_> = Check::new().differences(&case.sound, &case.dst).into_iter().collect();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent).as_bytes();
    let others: Vec<_> = wrong
        .iter()
        .filter(|d| !d.path.starts_with(path.as_bytes()) && d.path != parent)
        .map(ToString::to_string)
        .collect();
    assert!(others.is_empty(), "other entries suffered:\n{}", others.join("\n"));
    case.recovers();
}

#[test]
fn a_file_that_cannot_be_read() {
    one_entry(Side::Source, Fail::new(Op::Read, Errno::IO).on("777").after(3), "gallery/modes/777");
}

#[test]
fn a_file_that_cannot_be_opened() {
    for errno in [Errno::IO, Errno::ACCESS, Errno::STALE] {
        one_entry(Side::Source, Fail::new(Op::Open, errno).on("444"), "gallery/modes/444");
    }
}

#[test]
fn a_directory_that_cannot_be_opened_or_listed() {
    for (op, errno) in [(Op::Opendir, Errno::ACCESS), (Op::Readdir, Errno::IO), (Op::Readdir, Errno::STALE)] {
        one_entry(Side::Source, Fail::new(op, errno).on("links-of-others"), "gallery/links-of-others");
    }
}

#[test]
fn an_entry_that_cannot_be_looked_at() {
    for (op, errno) in [(Op::Lookup, Errno::STALE), (Op::Lookup, Errno::IO), (Op::Lookup, Errno::ACCESS)] {
        one_entry(Side::Source, Fail::new(op, errno).on("6711"), "gallery/modes/6711");
    }
}

#[test]
fn a_link_that_cannot_be_read() {
    one_entry(Side::Source, Fail::new(Op::Readlink, Errno::IO).on("to-dir"), "gallery/links/to-dir");
}

#[test]
fn attributes_that_cannot_be_read() {
    one_entry(Side::Source, Fail::new(Op::GetXattr, Errno::IO).on("user"), "gallery/xattrs/user");
}

#[test]
fn a_file_that_cannot_be_written() {
    one_entry(Side::Destination, Fail::new(Op::Write, Errno::IO).on("777").after(2), "gallery/modes/777");
}

#[test]
fn an_entry_that_cannot_be_made() {
    for name in ["6711", "empty-dir"] {
        let path = format!("gallery/modes/{name}");
        one_entry(Side::Destination, Fail::new(Op::Create, Errno::IO).on(name), &path);
    }
    one_entry(Side::Destination, Fail::new(Op::Create, Errno::IO).on("absolute"), "gallery/links/absolute");
}

#[test]
fn names_that_cannot_be_given() {
    let Some(case) = Case::new(Side::Destination, 150) else { return };
    case.faulty.fail(Fail::new(Op::Link, Errno::IO).times(5));
    let report = case.attempt(&Options::default()).unwrap();
    assert_eq!(report.failed, 5, "{report:#?}");
    case.recovers();
}

#[test]
fn metadata_that_cannot_be_set() {
    one_entry(Side::Destination, Fail::new(Op::Setattr, Errno::IO).on("6711"), "gallery/modes/6711");
    one_entry(Side::Destination, Fail::new(Op::SetXattr, Errno::IO).on("user"), "gallery/xattrs/user");
}

#[test]
fn entries_that_vanish_between_listing_and_look_are_counted() {
    let Some(case) = Case::new(Side::Source, 150) else { return };
    case.faulty.fail(Fail::new(Op::Lookup, Errno::NOENT).on("6711"));
    let report = case.attempt(&Options::default()).unwrap();
    assert_eq!((report.vanished, report.failed), (1, 0), "{report:#?}");
    case.recovers();
}

/// A directory that goes, or closes, between being opened and being listed is an outcome like any other.
#[test]
fn directories_that_go_while_they_are_listed_are_counted() {
    let accepted = accepting(&[Loss::Unreadable]);
    for (errno, options) in
        [(Errno::NOENT, Options::default()), (Errno::STALE, accepted.clone()), (Errno::ACCESS, accepted)]
    {
        let Some(case) = Case::new(Side::Source, 150) else { return };
        case.faulty.fail(Fail::new(Op::Readdir, errno).on("links-of-others"));
        let report = case.attempt(&options).unwrap();
        let told = report.vanished + report.failed + report.skipped;
        assert!(told > 0, "{errno}: what is in the directory is missing in silence: {report:#?}");
        case.recovers();
    }
}

/// Entries of the destination are deleted only where the source's listing is complete.
#[test]
fn nothing_is_deleted_where_the_source_cannot_be_listed() {
    for (op, errno) in [(Op::Readdir, Errno::IO), (Op::Opendir, Errno::STALE), (Op::Lookup, Errno::ACCESS)] {
        let Some(case) = Case::new(Side::Source, 150) else { return };
        pass(&case.src, &case.dst, &Options::default());
        let kept = case.dst.join("gallery/links-of-others");
        let before = Snapshot::of(&kept);
        case.faulty.fail(Fail::new(op, errno).on("links-of-others"));
        fs::write(case.dst.join("extra"), "deleted, its directory is readable").unwrap();
        let report = case.attempt(&deleting());
        assert!(report.as_ref().map_or(true, |report| report.failed > 0), "{report:#?}");
        assert_eq!(Snapshot::of(&kept), before, "{op:?} {errno}");
        case.recovers();
    }
}

/// The whole source goes stale in the middle, as an NFS export does: nothing of the destination may be deleted.
#[test]
fn nothing_is_deleted_when_the_source_goes_stale() {
    for op in [Op::Readdir, Op::Lookup, Op::Getattr, Op::Opendir] {
        let Some(case) = Case::new(Side::Source, 150) else { return };
        pass(&case.src, &case.dst, &Options::default());
        let before = Snapshot::of(&case.dst);
        case.faulty.fail(Fail::new(op, Errno::STALE));
        let result = case.attempt(&deleting());
        assert!(result.as_ref().map_or(true, |report| report.failed > 0), "{op:?}: {result:#?}");
        // Metadata of directories may have been brought up to date; no entry may be gone or have other content.
        assert_eq!(before.len(), Snapshot::of(&case.dst).len(), "{op:?}");
        case.recovers();
    }
}

/// The old content stays under its name until the new one is whole.
#[test]
fn a_replacement_that_fails_leaves_the_old_file() {
    for fail in [
        Fail::new(Op::Rename, Errno::IO),
        Fail::new(Op::Write, Errno::IO).after(100),
        Fail::new(Op::Write, Errno::NOSPC).after(100),
        Fail::new(Op::Setattr, Errno::IO),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (src, backing) = (dir.path().join("src"), dir.path().join("backing"));
        for (root, content) in [(&src, vec![b'n'; 5_000]), (&backing, vec![b'o'; 4_000])] {
            fs::create_dir(root).unwrap();
            fs::write(root.join("file"), content).unwrap();
        }
        let Some(faulty) = Faulty::over(&backing) else { return };
        faulty.fail(fail.clone());
        let result = attempt(&src, faulty.path(), &Options::default());
        assert!(result.as_ref().map_or(true, |report| report.failed > 0), "{fail:?}: {result:#?}");
        assert!(faulty.hits() > 0);
        assert_eq!(fs::read(backing.join("file")).unwrap(), vec![b'o'; 4_000], "{fail:?}");
        faulty.clear();
        pass(&src, faulty.path(), &deleting());
        assert_same(&src, &backing);
    }
}

#[test]
fn a_destination_that_fills_up() {
    let Some(case) = Case::new(Side::Destination, 400) else { return };
    case.faulty.set(|faults| faults.room = Some(200_000));
    match case.attempt(&Options::default()) {
        Err(Error::NoSpace { .. }) => {}
        Err(other) => panic!("told as something else: {other}"),
        Ok(report) => assert!(report.failed > 0, "{report:#?}"),
    }
    case.recovers();
}

#[test]
fn short_reads_and_writes_are_gone_on_with() {
    for side in [Side::Source, Side::Destination] {
        let Some(case) = Case::new(side, 200) else { return };
        case.faulty.set(|faults| {
            faults.short_read = Some(777);
            faults.short_write = Some(555);
        });
        let report = case.attempt(&Options::default()).unwrap();
        assert_eq!(report.failed, 0, "{report:#?}");
        case.recovers();
    }
}

#[test]
fn slow_calls_only_take_longer() {
    for side in [Side::Source, Side::Destination] {
        let Some(case) = Case::new(side, 150) else { return };
        case.faulty.set(|faults| faults.delay = Duration::from_millis(2));
        pass(&case.src, &case.dst, &Options::default());
        case.recovers();
    }
}

/// Whatever fails, however often, on either side: a report without a failure means an equal tree, and when the faults are
/// gone one pass makes it so. `DECAMP_SEEDS=1000` tries more than the usual ten.
#[test]
fn random_faults_are_never_silent() {
    let errnos = [Errno::IO, Errno::STALE, Errno::ACCESS, Errno::NOSPC, Errno::NOENT, Errno::INTR];
    let source = [Op::Lookup, Op::Getattr, Op::Open, Op::Read, Op::Opendir, Op::Readdir, Op::Readlink, Op::GetXattr];
    let destination = [
        Op::Lookup,
        Op::Getattr,
        Op::Setattr,
        Op::Create,
        Op::Link,
        Op::Remove,
        Op::Rename,
        Op::Open,
        Op::Write,
        Op::Sync,
        Op::Readdir,
        Op::GetXattr,
        Op::SetXattr,
    ];
    let seeds = std::env::var("DECAMP_SEEDS").map_or(10, |seeds| seeds.parse().expect("a number of seeds"));
    for seed in 0..seeds {
        let mut rng = Rng::new(seed);
        let side = if seed % 2 == 0 { Side::Source } else { Side::Destination };
        let Some(case) = Case::new(side, 200) else { return };
        if rng.chance(50) {
            // Half of the trees are re-synced.
            pass(&case.sound, &case.backing_of_dst(), &Options::default());
            scramble(&case.backing_of_dst().join("home"), &mut rng);
        }
        let ops: &[Op] = if side == Side::Source { &source } else { &destination };
        for _ in 0..3 {
            let every = 5 + u32::try_from(rng.below(60)).unwrap();
            case.faulty.fail(Fail::new(*rng.pick(ops), *rng.pick(&errnos)).every(every));
        }
        let hits = case.faulty.hits();
        let result = attempt(&case.src, &case.dst, &deleting());
        case.before.assert_same(&Snapshot::of(&case.sound));
        if let Ok(report) = &result
            && (report.failed, report.vanished, report.changed) == (0, 0, 0)
        {
            case.faulty.clear();
            let wrong = Check::new().differences(&case.sound, &case.dst);
            assert!(
                wrong.is_empty(),
                "seed {seed}, {} hits, claims to be whole: {wrong:#?}",
                case.faulty.hits() - hits
            );
        }
        case.recovers();
    }
}

/// Changes a fifth of the files below a directory, each in another way.
fn scramble(dir: &Path, rng: &mut Rng) {
    for item in fs::read_dir(dir).unwrap() {
        let (path, kind) = item.map(|item| (item.path(), item.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            scramble(&path, rng);
        } else if kind.is_file() && rng.chance(20) {
            match rng.below(5) {
                0 => fs::remove_file(&path).unwrap(),
                1 => fs::write(&path, "other content").unwrap(),
                2 => dress::mode(&path, 0o600),
                3 => dress::stamp(&path, 1, 1),
                _ => {
                    fs::remove_file(&path).unwrap();
                    fs::create_dir(&path).unwrap();
                }
            }
        }
    }
}

impl Case {
    /// The destination as it lies on a sound file system.
    fn backing_of_dst(&self) -> PathBuf {
        self.sound.with_file_name("dst")
    }
}

/// A directory of the source turns into a link to somewhere else while the copy runs: nothing may be written or read there.
#[test]
fn the_outside_of_both_roots_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dst, outside) = (dir.path().join("src"), dir.path().join("dst"), dir.path().join("outside"));
    fs::create_dir_all(src.join("dir")).unwrap();
    fs::write(src.join("dir/file"), "from the source").unwrap();
    fs::create_dir(&dst).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "not to be touched").unwrap();
    std::os::unix::fs::symlink(&outside, dst.join("dir")).unwrap();
    dress::stamp(&outside, 1_000_000_000, 0);
    let before = Snapshot::of(&outside);
    pass(&src, &dst, &deleting());
    before.assert_same(&Snapshot::of(&outside));
    assert_same(&src, &dst);
    assert!(!is_link(&dst.join("dir")));
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().unwrap().is_symlink()
}
