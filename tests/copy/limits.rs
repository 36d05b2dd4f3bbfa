//! What a destination cannot hold is said before and after, and what was accepted by name is all that is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use decamp::cancel::Cancel;
use decamp::copy::options::{Loss, Options, ScanOptions};
use decamp::copy::{self, Work};
use decamp::progress::{Forgetful, Silent};

use super::passes::{accepting, attempt, idle_pass, pass};
use crate::support::check::{Check, Snapshot};
use crate::support::dress;
use crate::support::faults::{Faults, Faulty};
use crate::support::skip::needs_root;
use crate::support::tree::Recipe;
use crate::support::volume::{FileSystem, Volume};

struct Case {
    _dir: tempfile::TempDir,
    src: PathBuf,
    dst: PathBuf,
    faulty: Faulty,
}

/// A generated tree, and a destination that lacks something.
fn case(lack: impl FnOnce(&mut Faults)) -> Option<Case> {
    if !needs_root("a destination that lacks something") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let (src, backing) = (dir.path().join("src"), dir.path().join("backing"));
    Recipe::new(31, 250).with(|odd| odd.holes = false).grow(&src);
    fs::create_dir(&backing).unwrap();
    let faulty = Faulty::over(&backing)?;
    let dst = faulty.path().join("dst");
    fs::create_dir(&dst).unwrap();
    faulty.set(lack);
    Some(Case { _dir: dir, src, dst, faulty })
}

/// What `scan` and `probe` together foresee.
fn foreseen(src: &Path, dst: &Path) -> BTreeSet<Loss> {
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let scan = copy::scan(src, &ScanOptions { xattrs: true, ..ScanOptions::default() }, &work).unwrap();
    let probe = copy::probe(dst, true).unwrap();
    let left = fs::read_dir(dst).unwrap().count();
    assert_eq!(left, 0, "the probe left something behind");
    copy::shortfalls(&scan, &probe).into_iter().filter_map(|shortfall| shortfall.loss).collect()
}

/// Without the losses accepted the lack is foreseen and not passed over in silence; with them everything else arrives.
#[track_caller]
fn told_and_accepted(losses: &[Loss], check: &Check, lack: impl FnOnce(&mut Faults)) {
    let Some(case) = case(lack) else { return };
    let foreseen = foreseen(&case.src, &case.dst);
    for loss in losses {
        assert!(foreseen.contains(loss), "{loss:?} is not foreseen, only {foreseen:?}");
    }
    let before = Snapshot::of(&case.src);
    let hits = case.faulty.hits();
    if let Ok(report) = attempt(&case.src, &case.dst, &Options::default()) {
        assert!(report.failed > 0, "lost in silence: {report:#?}");
        assert!(case.faulty.hits() > hits, "the lack was never met");
    }
    pass(&case.src, &case.dst, &accepting(losses));
    check.assert_same(&case.src, &case.dst);
    idle_pass(&case.src, &case.dst, &accepting(losses));
    before.assert_same(&Snapshot::of(&case.src));
}

#[test]
fn no_extended_attributes() {
    let check = Check::new().ignoring("xattr").ignoring("acl").ignoring("capability");
    told_and_accepted(&[Loss::Xattr, Loss::Acl, Loss::Capability], &check, |faults| faults.no_xattrs = true);
}

#[test]
fn no_change_of_owner() {
    let check = Check::new().ignoring("owner").set_id_may_go_with_the_owner();
    told_and_accepted(&[Loss::Owner], &check, |faults| faults.no_owners = true);
}

#[test]
fn all_owners_squashed() {
    let Some(case) = case(|faults| faults.squash = Some(65_534)) else { return };
    assert!(foreseen(&case.src, &case.dst).contains(&Loss::Owner));
    // For the super-user both sorts of squashing look alike.
    assert!(copy::probe(&case.dst, true).unwrap().squash.is_some());
}

#[test]
fn no_hard_links() {
    let check = Check::new().ignoring("hardlink");
    told_and_accepted(&[Loss::Hardlink], &check, |faults| faults.no_hard_links = true);
}

#[test]
fn times_in_steps_of_two_seconds() {
    let check = Check::new().time_step(2_000_000_000);
    told_and_accepted(&[Loss::Times], &check, |faults| faults.time_step = Some(2_000_000_000));
}

#[test]
fn sockets_are_left_out_only_when_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    Recipe::new(33, 150).with(|odd| (odd.sockets, odd.holes) = (true, false)).grow(&src);
    fs::create_dir(&dst).unwrap();
    let report = attempt(&src, &dst, &Options::default()).unwrap();
    assert_eq!(report.failed, 1, "{report:#?}");
    assert_eq!(report.errors[0].path, b"gallery/specials/socket");
    let report = pass(&src, &dst, &accepting(&[Loss::Special]));
    assert_eq!(report.skipped, 1, "{report:#?}");
    Check::new().except("gallery/specials/socket").assert_same(&src, &dst);
}

#[test]
fn a_full_destination_keeps_what_it_has_and_goes_on_later() {
    let Some(volume) = Volume::new(FileSystem::Ext4, 16) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), volume.path().join("dst"));
    fs::create_dir(&src).unwrap();
    for at in 0..30 {
        fs::write(src.join(format!("file{at:02}")), vec![at; 1_000_000]).unwrap();
    }
    fs::create_dir(&dst).unwrap();
    let before = Snapshot::of(&src);
    let told = match attempt(&src, &dst, &Options::default()) {
        Err(error) => matches!(error, copy::Error::NoSpace { .. }),
        Ok(report) => report.failed > 0,
    };
    assert!(told, "a full destination is not told");
    let kept = fs::read_dir(&dst).unwrap().count();
    assert!(kept >= 5, "only {kept} files were kept");
    // Space is made; the same command goes on.
    for at in 5..30 {
        fs::remove_file(src.join(format!("file{at:02}"))).unwrap();
    }
    assert_eq!(before.len(), 31);
    for at in 5..30 {
        fs::remove_file(dst.join(format!("file{at:02}"))).ok();
    }
    pass(&src, &dst, &super::passes::deleting());
    Check::new().assert_same(&src, &dst);
}

#[test]
fn a_read_only_destination_is_refused() {
    let Some(volume) = Volume::new(FileSystem::Ext4, 16) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), volume.path().join("dst"));
    fs::create_dir(&src).unwrap();
    fs::write(src.join("file"), "x").unwrap();
    fs::create_dir(&dst).unwrap();
    volume.read_only(true);
    assert!(!copy::probe(&dst, true).unwrap().writable);
    let told = attempt(&src, &dst, &Options::default()).map_or(true, |report| report.failed > 0);
    assert!(told, "a read-only destination is not told");
    volume.read_only(false);
    pass(&src, &dst, &Options::default());
    Check::new().assert_same(&src, &dst);
}

#[test]
fn names_too_long_for_a_destination_are_said() {
    // No file system at hand has shorter names; what decides is the number the probe gives.
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    fs::create_dir(&src).unwrap();
    fs::create_dir(&dst).unwrap();
    fs::write(src.join("n".repeat(255)), "x").unwrap();
    dress::stamp(&src, 1_000_000_000, 0);
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let scan = copy::scan(&src, &ScanOptions::default(), &work).unwrap();
    let mut probe = copy::probe(&dst, true).unwrap();
    assert_eq!((scan.longest_name, probe.name_max), (255, 255));
    probe.name_max = 143;
    assert!(copy::shortfalls(&scan, &probe).iter().any(|shortfall| shortfall.loss.is_none()));
}
