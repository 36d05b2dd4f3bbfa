//! `decamp copy` by hand on real trees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::check::assert_same;
use crate::support::env::Decamp;
use crate::support::skip::needs_root;

fn call() -> Decamp {
    Decamp::new().file("src/a", "one").file("src/d/b", "two").file("src/d/e/c", "three")
}

#[test]
fn a_tree_is_copied_and_a_second_pass_finds_nothing_to_do() {
    let call = call();
    fs::set_permissions(call.dir().join("src/a"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("nowhere", call.dir().join("src/link")).unwrap();
    fs::hard_link(call.dir().join("src/a"), call.dir().join("src/d/a2")).unwrap();
    fs::write(call.dir().join("src").join(OsStr::from_bytes(b"odd\n\xff")), "odd").unwrap();
    call.again().args(["copy", "src", "dst"]).stdout_has("copied\n").run();
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    assert!(!call.dir().join("dst/.decamp-run").exists());
    let report = call.again().args(["copy", "src", "dst", "--output", "json"]).run().json();
    assert_eq!((&report["unchanged"], &report["copied_bytes"]), (&report["listed"]["entries"], &0.into()), "{report}");
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn a_dry_run_changes_nothing_and_counts_the_same() {
    let call = call();
    let planned = call.again().args(["copy", "src", "dst", "-n", "--output", "json"]).absent("dst").run().json();
    let done = call.again().args(["copy", "src", "dst", "--output", "json"]).run().json();
    assert_eq!(planned["planned"], true);
    for name in ["listed", "created", "updated", "deleted", "copied_bytes", "unchanged"] {
        assert_eq!(planned[name], done[name], "{name}");
    }
}

#[test]
fn deletion_is_asked_for_and_guarded() {
    let call = call().file("dst/extra", "x").file("dst/more", "x");
    call.again().args(["copy", "src", "dst"]).file_is("dst/extra", "x").run();
    call.again()
        .args(["copy", "src", "dst", "--delete"])
        .status(1)
        .stderr_has("nothing was deleted")
        .stderr_has("--max-delete 2")
        .file_is("dst/extra", "x")
        .run();
    call.again().args(["copy", "src", "dst", "--delete", "--max-delete", "1"]).status(1).file_is("dst/more", "x").run();
    call.again()
        .args(["copy", "src", "dst", "--delete", "--max-delete", "2"])
        .absent("dst/extra")
        .absent("dst/more")
        .run();
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn what_is_replaced_or_deleted_goes_to_the_backup_directory() {
    let call = call().file("dst/a", "old one").file("dst/extra", "x");
    fs::create_dir(call.dir().join("backup")).unwrap();
    call.again()
        .args(["copy", "src", "dst", "--delete", "--max-delete", "100%", "--backup-dir", "backup"])
        .file_is("dst/a", "one")
        .absent("dst/extra")
        .file_is("backup/a", "old one")
        .file_is("backup/extra", "x")
        .run();
}

#[test]
fn excluded_names_are_left_alone_on_both_sides() {
    let call = call().file("src/x.tmp", "no").file("dst/y.tmp", "stay");
    call.again()
        .args(["copy", "src", "dst", "--delete", "--max-delete", "100%", "--exclude", "*.tmp"])
        .absent("dst/x.tmp")
        .file_is("dst/y.tmp", "stay")
        .file_is("dst/a", "one")
        .run();
}

#[test]
fn content_is_compared_when_asked() {
    let call = call();
    call.again().args(["copy", "src", "dst"]).run();
    let path = call.dir().join("dst/a");
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "two").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    call.again().args(["copy", "src", "dst", "--checksum"]).file_is("dst/a", "one").run();
}

#[test]
fn a_socket_is_named_and_not_passed_over() {
    let call = call();
    let _socket = std::os::unix::net::UnixListener::bind(call.dir().join("src/sock")).unwrap();
    // Found before the copy starts where the destination is new, and by the pass where it is not.
    call.again().args(["copy", "src", "dst"]).status(2).stdout("").stderr_has("--accept special").absent("dst").run();
    fs::create_dir(call.dir().join("dst")).unwrap();
    fs::write(call.dir().join("dst/there"), "").unwrap();
    call.again().args(["copy", "src", "dst"]).status(13).stdout_has("sock: ").file_is("dst/a", "one").run();
    call.again().args(["copy", "src", "dst", "--accept", "special"]).absent("dst/sock").file_is("dst/a", "one").run();
}

#[test]
fn pipes_and_devices_are_copied_as_what_they_are() {
    if !needs_root("making devices") {
        return;
    }
    let call = call();
    let at = |name: &str| call.dir().join("src").join(name);
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).unwrap();
    call.again().args(["copy", "src", "dst"]).run();
    let found = fs::symlink_metadata(call.dir().join("dst/null")).unwrap();
    assert_eq!(found.rdev(), makedev(1, 3));
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn entries_that_may_not_be_read_are_named_unless_accepted() {
    if !needs_root("becoming another user") {
        return;
    }
    let call = call().file("src/secret", "s");
    fs::set_permissions(call.dir().join("src/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let copy = |more: &[&str]| {
        let call = call.again().user(4_321).args(["copy", "src", "dst"]).args(more.iter().copied());
        call.spawn().wait()
    };
    let refused = copy(&[]);
    assert_eq!(refused.status, 13, "{refused:?}");
    assert!(refused.stdout.contains("secret") && refused.stdout.contains("not all of it"), "{refused:?}");
    assert_eq!(fs::read(call.dir().join("dst/d/b")).unwrap(), b"two", "the others are copied");
    let accepted = copy(&["--accept", "unreadable"]);
    assert_eq!(accepted.status, 0, "{accepted:?}");
    assert!(!call.dir().join("dst/secret").exists());
    assert_eq!(fs::read(call.dir().join("dst/d/b")).unwrap(), b"two");
}
