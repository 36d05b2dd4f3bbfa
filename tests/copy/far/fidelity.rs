//! Every property arrives over a line as it does without one, and a second pass finds nothing to do.

use std::fs;
use std::os::unix::fs::MetadataExt;

use decamp::copy::options::{Equality, Options};
use decamp::progress::{Forgetful, Silent};

use super::kit::{Between, copy};
use crate::copy::kit::{Memory, Pair, deleting, furnish, sh, state, write};
use crate::support::check::{Snapshot, assert_same};
use crate::support::tree::Recipe;
use crate::support::volume::{FileSystem, Volume};

/// A generated tree goes from one file system to another over several lines.
fn travels(from: FileSystem, to: FileSystem, lines: usize) {
    let Some(here) = Volume::new(from, 512) else { return };
    let Some(there) = Volume::new(to, 512) else { return };
    let (src, dst) = (here.path().join("src"), there.path().join("dst"));
    let tmpfs = [from, to].contains(&FileSystem::Tmpfs);
    let made = Recipe::new(70 + lines as u64, 2_000).with(|odd| odd.user_xattrs &= !tmpfs).grow(&src);
    let before = Snapshot::of(&src);
    let between = Between::lines(lines);
    let report = between.copy(&src, &dst, &Options::default(), &Forgetful, &Silent).unwrap();
    assert_eq!(report.errors, []);
    assert_eq!((report.listed.entries(), report.failed), (made + 1, 0), "{report:#?}");
    assert_same(&src, &dst);
    before.assert_same(&Snapshot::of(&src));
    let copied = Snapshot::of(&dst);
    for options in [deleting(), Options { equality: Equality::Content, ..Options::default() }] {
        let report = copy(&src, &dst, &options);
        assert_eq!(report.unchanged, report.listed.entries(), "{report:#?}");
        assert_eq!((report.copied_bytes, report.deleted), (0, 0));
        copied.assert_same(&Snapshot::of(&dst));
    }
}

#[test]
fn from_ext4_to_xfs() {
    travels(FileSystem::Ext4, FileSystem::Xfs, 1);
}

#[test]
fn from_xfs_to_ext4_over_three_lines() {
    travels(FileSystem::Xfs, FileSystem::Ext4, 3);
}

#[test]
fn from_ext4_to_tmpfs_over_two_lines() {
    travels(FileSystem::Ext4, FileSystem::Tmpfs, 2);
}

#[test]
fn one_of_everything_arrives_and_the_next_pass_brings_only_what_changed() {
    let pair = Pair::new();
    furnish(&pair.src);
    let report = copy(&pair.src, &pair.dst, &Options::default());
    assert!(report.listed_bytes > report.copied_bytes, "holes do not travel: {report:#?}");
    pair.assert_same();
    sh(
        &pair.src,
        "printf more >> plain; rm dir/sub/file; rm link; mkdir link; printf x > link/y; ln plain link/z; touch none;
         setfattr -n user.colour -v red dir/empty; truncate -s 300000 grown; mv dir/fifo fifo; chmod 711 dir",
    );
    let report = copy(&pair.src, &pair.dst, &deleting());
    assert!(report.deleted >= 2 && report.updated > 0, "{report:#?}");
    pair.assert_same();
    let report = copy(&pair.src, &pair.dst, &deleting());
    assert_eq!(report.unchanged, report.listed.entries(), "{report:#?}");
}

#[test]
fn a_huge_directory_comes_in_pieces_and_loses_what_the_source_lost() {
    let pair = Pair::new();
    for number in 0..20_000 {
        fs::write(pair.src.join(format!("file-{number:05}")), format!("{number}")).unwrap();
    }
    copy(&pair.src, &pair.dst, &Options::default());
    pair.assert_same();
    for number in (0..20_000).step_by(3) {
        fs::remove_file(pair.src.join(format!("file-{number:05}"))).unwrap();
    }
    fs::create_dir(pair.src.join("file-00003")).unwrap();
    let report = copy(&pair.src, &pair.dst, &deleting());
    assert_eq!(report.deleted, 6_666, "{report:#?}");
    pair.assert_same();
}

#[test]
fn what_is_left_out_does_not_come_and_does_not_go() {
    let pair = Pair::new();
    furnish(&pair.src);
    write(pair.src.join("dir/sub/cache/x"), "x");
    write(pair.dst.join("dir/sub/cache/y"), "y");
    let exclude = decamp::copy::exclude::Exclude::parse(&["cache/".to_owned(), "/plain".to_owned()]).unwrap();
    copy(&pair.src, &pair.dst, &Options { exclude, ..deleting() });
    assert!(!pair.dst.join("plain").exists() && !pair.dst.join("dir/sub/cache/x").exists());
    assert!(pair.dst.join("dir/sub/cache/y").exists() && pair.dst.join("dir/sub/file").exists());
}

#[test]
fn a_plan_writes_nothing_and_tells_what_would_be() {
    let pair = Pair::new();
    furnish(&pair.src);
    write(pair.dst.join("extra"), "x");
    let before = state(&pair.dst);
    let planned = copy(&pair.src, &pair.dst, &Options { dry_run: true, ..deleting() });
    assert_eq!(state(&pair.dst), before);
    let done = copy(&pair.src, &pair.dst, &deleting());
    assert_eq!(planned.listed, done.listed);
    assert_eq!((planned.deleted, planned.copied_bytes), (done.deleted, done.copied_bytes));
}

#[test]
fn what_a_run_did_over_a_line_can_be_undone() {
    let pair = Pair::new();
    furnish(&pair.src);
    write(pair.dst.join("dir/sub/file"), "what was there");
    write(pair.dst.join("own/file"), "stays");
    let backup = pair.base.path().join("backup");
    let before = state(&pair.dst);
    let memory = Memory::default();
    let options = Options { foreign: decamp::copy::options::Foreign::Backup(backup.clone()), ..deleting() };
    let report = Between::lines(2).copy(&pair.src, &pair.dst, &options, &memory, &Silent).unwrap();
    assert_eq!(report.errors, []);
    assert!(report.backed_up >= 2, "{report:#?}");
    pair.assert_same();
    let undone = pair.undo(Some(&backup), &memory).unwrap();
    assert_eq!((undone.failed, undone.left), (0, 0), "{undone:#?}");
    assert_eq!(state(&pair.dst), before);
}

#[test]
fn the_same_directory_is_refused_and_so_is_a_source_that_is_not_there() {
    let pair = Pair::new();
    write(pair.src.join("x"), "x");
    let refused = |src: &std::path::Path, dst: &std::path::Path| {
        Between::lines(1).copy(src, dst, &Options::default(), &Forgetful, &Silent).unwrap_err().to_string()
    };
    assert!(refused(&pair.src, &pair.src).contains("same directory"));
    assert!(refused(&pair.base.path().join("none"), &pair.dst).contains("does not exist"));
    assert!(refused(&pair.src.join("x"), &pair.dst).contains("not a directory"));
    write(pair.src.join(".decamp-run"), "no marker");
    assert!(refused(&pair.src, &pair.dst).contains("marker"));
    fs::remove_file(pair.src.join(".decamp-run")).unwrap();
    assert!(refused(&pair.src, &pair.src.join("inner")).contains("inside"));
    assert!(!pair.src.join("inner").exists());
    write(pair.src.join("sub/y"), "y");
    assert!(refused(&pair.src.join("sub"), &pair.src).contains("inside"));
}

#[test]
fn an_empty_source_does_not_empty_a_destination() {
    let pair = Pair::new();
    write(pair.dst.join("x"), "x");
    let found = Between::lines(1).copy(&pair.src, &pair.dst, &deleting(), &Forgetful, &Silent);
    assert!(matches!(found, Err(decamp::copy::Error::EmptySource { .. })), "{found:?}");
    assert_eq!(fs::metadata(pair.dst.join("x")).unwrap().size(), 1);
}
