//! One pass of the engine, as these tests make it, and what must be true of every report whatever happened.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use decamp::cancel::Cancel;
use decamp::copy::options::{Loss, MaxDelete, Options};
use decamp::copy::report::{NAMED, Report};
use decamp::copy::{self, EntryError, Error, Work};
use decamp::progress::{Event, Forgetful, Progress};

use super::kit::{sh, write};
use crate::support::check::assert_same;
use crate::support::volume::{FileSystem, Volume};

/// Keeps the path of every entry that was said to have failed.
#[derive(Default)]
struct Told(Mutex<Vec<Vec<u8>>>);

impl Progress for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::Failed { path, .. } = event {
            self.0.lock().unwrap().push(path.to_vec());
        }
    }
}

/// One pass, whatever comes of it. A report is checked for telling the truth about itself.
#[track_caller]
pub(crate) fn attempt(src: &Path, dst: &Path, options: &Options) -> Result<Report, Error> {
    let told = Told::default();
    let cancel = Cancel::new();
    let report = copy::tree(src, dst, options, &Work { progress: &told, checkpoint: &Forgetful, cancel: &cancel })?;
    let told = told.0.into_inner().unwrap();
    assert_eq!(told.len() as u64, report.failed, "every failed entry is told: {told:?}, {report:#?}");
    assert_eq!(report.errors.len() as u64, report.failed.min(NAMED as u64), "and named: {report:#?}");
    for error in &report.errors {
        assert!(told.contains(&error.path), "{error:?} is in the report and was not told");
        assert!(!error.op.is_empty() && !error.reason.is_empty(), "{error:?} says too little");
    }
    let source_side = report.created.entries()
        + report.updated
        + report.meta_updated
        + report.unchanged
        + report.skipped
        + report.vanished;
    // Failures on the destination alone (deletions) are in `failed`, too.
    assert!(
        source_side <= report.listed.entries() && report.listed.entries() <= source_side + report.failed,
        "the counts do not add up: {}",
        told_by(&report)
    );
    Ok(report)
}

/// A report, to be read by people: its counts, then the failed entries.
fn told_by(report: &Report) -> String {
    let errors: Vec<_> = report.errors.iter().map(said).collect();
    format!("{:#?}\n{}", Report { errors: Vec::new(), ..report.clone() }, errors.join("\n"))
}

/// A failed entry, to be read by people.
pub(crate) fn said(error: &EntryError) -> String {
    format!("{:?}: {}: {}", OsStr::from_bytes(&error.path), error.op, error.reason)
}

/// One pass that must succeed in everything.
#[track_caller]
pub(crate) fn pass(src: &Path, dst: &Path, options: &Options) -> Report {
    let report = attempt(src, dst, options).unwrap_or_else(|error| panic!("{error}"));
    let errors: Vec<_> = report.errors.iter().map(said).collect();
    assert!(errors.is_empty(), "{} entries failed:\n{}", report.failed, errors.join("\n"));
    assert_eq!((report.vanished, report.changed), (0, 0), "nothing else is at work here: {report:#?}");
    report
}

/// One pass over trees that are the same already: nothing may be done.
#[track_caller]
pub(crate) fn idle_pass(src: &Path, dst: &Path, options: &Options) {
    let report = pass(src, dst, options);
    let done = (report.created.entries(), report.updated, report.meta_updated, report.deleted, report.copied_bytes);
    assert_eq!(done, (0, 0, 0, 0, 0), "there was nothing to do: {}", told_by(&report));
    assert_eq!(report.unchanged + report.skipped, report.listed.entries(), "{report:#?}");
}

/// Options that accept losses.
pub(crate) fn accepting(losses: &[Loss]) -> Options {
    Options { accept: losses.iter().copied().collect(), ..Options::default() }
}

/// Options that delete as much as there is to delete.
pub(crate) fn deleting() -> Options {
    Options { delete: true, max_delete: MaxDelete::Percent(100), ..Options::default() }
}

/// The listing of a directory tells another inode of a subvolume than the one that is opened.
#[test]
fn what_is_in_a_subvolume_is_deleted_and_the_subvolume_too() {
    let Some(volume) = Volume::new(FileSystem::Btrfs, 0) else { return };
    let (src, dst) = (volume.path().join("src"), volume.path().join("dst"));
    write(src.join("kept/file"), "here");
    fs::create_dir(&dst).unwrap();
    for name in ["kept", "extra"] {
        sh(&dst, &format!("btrfs -q subvolume create {name} && mkdir {name}/below && touch {name}/below/one"));
    }
    pass(&src, &dst, &deleting());
    assert_same(&src, &dst);
}

/// Names that change the file they stand for, with sizes and times that do not tell.
#[test]
fn names_linked_anew_get_the_file_they_stand_for_now() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    fs::create_dir(&src).unwrap();
    fs::create_dir(&dst).unwrap();
    for number in 1..=6 {
        let name = src.join(format!("f{number}"));
        fs::write(&name, format!("{number}")).unwrap();
        fs::hard_link(&name, src.join(format!("g{number}"))).unwrap();
        crate::support::dress::stamp(&name, 1_000, 0);
    }
    pass(&src, &dst, &Options::default());
    for number in 1..=6 {
        let name = src.join(format!("g{}", 7 - number));
        fs::remove_file(&name).unwrap();
        fs::hard_link(src.join(format!("f{number}")), &name).unwrap();
    }
    pass(&src, &dst, &Options::default());
    assert_same(&src, &dst);
}
