//! The checker is checked: one planted difference for every property, each found and nothing else.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::super::dress;
use super::super::rng::Rng;
use super::super::skip::{is_root, needs_root};
use super::super::tree::Recipe;
use super::super::volume::{FileSystem, Volume};
use super::{Check, Snapshot};

/// A small tree with one entry of each sort; every call makes the same.
fn plant(root: &Path) {
    fs::create_dir_all(root.join("dir/inner")).unwrap();
    fs::write(root.join("file"), "content").unwrap();
    fs::write(root.join("other"), "content").unwrap();
    fs::hard_link(root.join("file"), root.join("dir/name")).unwrap();
    symlink("file", root.join("link")).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    if is_root() {
        mknodat(CWD, root.join("device"), FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(1, 3))
            .unwrap();
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    sparse.write_all_at(b"end", 4 << 20).unwrap();
    for path in ["file", "other", "link", "fifo", "sparse", "dir/inner", "dir", "."] {
        dress::stamp(&root.join(path), 1_000_000_000, 1);
    }
    if is_root() {
        dress::stamp(&root.join("device"), 1_000_000_000, 1);
    }
}

/// Plants two equal trees, changes the second, and returns what the checker says: `property path`.
fn told(change: impl FnOnce(&Path)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = ["left", "right"].map(|name| dir.path().join(name));
    plant(&left);
    plant(&right);
    let before = Check::new().differences(&left, &right);
    assert_eq!(before, [], "the planted trees must be equal");
    change(&right);
    // A change below a directory moves its clock; that is not what is asked here.
    for path in ["dir", "."] {
        dress::stamp(&right.join(path), 1_000_000_000, 1);
    }
    let found = Check::new().differences(&left, &right);
    found.iter().map(|d| format!("{} {}", d.property, String::from_utf8_lossy(&d.path))).collect()
}

fn restamp(path: &Path) {
    dress::stamp(path, 1_000_000_000, 1);
}

#[test]
fn finds_entries_missing_extra_and_of_another_type() {
    assert_eq!(told(|root| fs::remove_file(root.join("dir/name")).unwrap()), ["missing dir/name"]);
    assert_eq!(told(|root| fs::write(root.join("dir/inner/more"), "").unwrap())[1..], ["extra dir/inner/more"]);
    let found = told(|root| {
        fs::remove_file(root.join("link")).unwrap();
        fs::write(root.join("link"), "file").unwrap();
    });
    assert_eq!(found, ["type link"]);
}

#[test]
fn finds_content_size_and_holes() {
    let found = told(|root| {
        fs::write(root.join("other"), "CONTENT").unwrap();
        restamp(&root.join("other"));
    });
    assert_eq!(found, ["content other"]);
    let found = told(|root| {
        fs::write(root.join("other"), "more content").unwrap();
        restamp(&root.join("other"));
    });
    assert_eq!(found, ["size other"]);
    let found = told(|root| {
        let file = fs::File::options().write(true).open(root.join("sparse")).unwrap();
        file.write_all_at(&vec![0; 4 << 20], 0).unwrap();
        restamp(&root.join("sparse"));
    });
    assert_eq!(found, ["holes sparse"]);
    // One byte behind a hole of both sides.
    let found = told(|root| {
        let file = fs::File::options().write(true).open(root.join("sparse")).unwrap();
        file.write_all_at(b"END", 4 << 20).unwrap();
        restamp(&root.join("sparse"));
    });
    assert_eq!(found, ["content sparse"]);
}

#[test]
fn finds_mode_times_and_targets() {
    assert_eq!(told(|root| dress::mode(&root.join("other"), 0o4755)), ["mode other"]);
    assert_eq!(told(|root| dress::mode(&root.join("dir/inner"), 0o1777)), ["mode dir/inner"]);
    assert_eq!(told(|root| dress::mode(root, 0o700)), ["mode "]);
    for path in ["other", "link", "fifo", "dir/inner"] {
        assert_eq!(told(|root| dress::stamp(&root.join(path), 1_000_000_000, 2)), [format!("mtime {path}")]);
    }
    let found = told(|root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink("elsewhere", root.join("link")).unwrap();
        restamp(&root.join("link"));
    });
    assert_eq!(found, ["link-target link"]);
}

#[test]
fn finds_hard_links_lost_and_gained() {
    let found = told(|root| {
        fs::remove_file(root.join("dir/name")).unwrap();
        fs::write(root.join("dir/name"), "content").unwrap();
        restamp(&root.join("dir/name"));
    });
    assert_eq!(found, ["hardlink file"]);
    let found = told(|root| {
        fs::remove_file(root.join("other")).unwrap();
        fs::hard_link(root.join("file"), root.join("other")).unwrap();
    });
    assert_eq!(found, ["hardlink other"]);
}

#[test]
fn finds_xattrs_and_acls() {
    for path in ["other", "dir/inner"] {
        assert_eq!(told(|root| dress::xattr(&root.join(path), "user.x", b"1")), [format!("xattr {path}")]);
    }
    let acl =
        dress::raw_acl(&[(1, 6, u32::MAX), (2, 4, 7), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)]);
    assert_eq!(told(|root| dress::acl(&root.join("other"), "access", &acl)), ["acl other"]);
    assert_eq!(told(|root| dress::acl(&root.join("dir/inner"), "default", &acl)), ["acl dir/inner"]);
}

#[test]
fn finds_owners_capabilities_devices_and_xattrs_of_root() {
    if !needs_root("changing owners") {
        return;
    }
    for path in ["other", "link", "dir/inner"] {
        assert_eq!(told(|root| dress::own(&root.join(path), 0, 7)), [format!("owner {path}")]);
    }
    assert_eq!(told(|root| dress::capability(&root.join("other"), 1)), ["capability other"]);
    assert_eq!(told(|root| dress::xattr(&root.join("link"), "trusted.x", b"1")), ["xattr link"]);
    let found = told(|root| {
        fs::remove_file(root.join("device")).unwrap();
        let kind = FileType::CharacterDevice;
        mknodat(CWD, root.join("device"), kind, Mode::from_raw_mode(0o600), makedev(1, 5)).unwrap();
        restamp(&root.join("device"));
    });
    assert_eq!(found, ["device device"]);
}

#[test]
fn rights_may_go_with_the_owner_and_only_then() {
    if !needs_root("changing owners") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = ["left", "right"].map(|name| dir.path().join(name));
    plant(&left);
    plant(&right);
    for name in ["file", "other"] {
        dress::mode(&left.join(name), 0o6755);
        dress::capability(&left.join(name), 1);
        dress::mode(&right.join(name), 0o755);
    }
    dress::own(&right.join("file"), 7, 7);
    let found = Check::new().ignoring("owner").set_id_may_go_with_the_owner().differences(&left, &right);
    let found: Vec<_> = found.iter().map(|d| (d.property, &*d.path)).collect();
    assert_eq!(found, [("mode", &b"other"[..]), ("capability", b"other")]);
}

#[test]
fn generated_trees_repeat_and_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right, other] = ["left", "right", "other"].map(|name| dir.path().join(name));
    let recipe = Recipe::new(7, 1_500);
    assert_eq!(recipe.grow(&left), recipe.grow(&right));
    Check::new().assert_same(&left, &right);
    Recipe::new(8, 1_500).grow(&other);
    assert!(Check::new().differences(&left, &other).len() > 300, "another seed makes another tree");
    // The generator counts what it makes, the snapshot what is there; the root is in the second only.
    let counted = recipe.grow(&dir.path().join("third"));
    assert_eq!(Snapshot::of(&dir.path().join("third")).len() as u64, counted + 1);
}

#[test]
fn snapshots_see_a_touch() {
    let dir = tempfile::tempdir().unwrap();
    plant(&dir.path().join("tree"));
    let before = Snapshot::of(&dir.path().join("tree"));
    before.assert_same(&Snapshot::of(&dir.path().join("tree")));
    // Nothing but the ctime changes.
    dress::stamp(&dir.path().join("tree/other"), 1_000_000_000, 1);
    let after = Snapshot::of(&dir.path().join("tree"));
    assert!(std::panic::catch_unwind(|| before.assert_same(&after)).is_err());
}

#[test]
fn what_is_left_out_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = ["left", "right"].map(|name| dir.path().join(name));
    plant(&left);
    plant(&right);
    fs::remove_file(right.join("dir/name")).unwrap();
    dress::stamp(&right.join("dir"), 1_000_000_000, 900);
    fs::create_dir(right.join("lost+found")).unwrap();
    dress::stamp(&right, 1_000_000_000, 900);
    let check = Check::new().except_at_root("lost+found").except("dir/name").time_step(1_000);
    check.assert_same(&left, &right);
    assert_eq!(check.ignoring("mtime").time_step(1).differences(&left, &right), []);
    assert_eq!(Check::new().differences(&left, &right).len(), 4);
}

#[test]
fn acls_of_xfs_are_seen_once() {
    let [Some(xfs), Some(ext4)] = [FileSystem::Xfs, FileSystem::Ext4].map(|kind| Volume::new(kind, 0)) else { return };
    for root in [xfs.path(), ext4.path()] {
        plant(&root.join("tree"));
        dress::acl(&root.join("tree/other"), "access", &dress::access_acl(&mut Rng::new(1)));
    }
    Check::new().assert_same(&xfs.path().join("tree"), &ext4.path().join("tree"));
    // A program that takes the second sight for an attribute leaves it behind elsewhere.
    dress::xattr(&ext4.path().join("tree/other"), "trusted.SGI_ACL_FILE", b"junk");
    assert_eq!(Check::new().differences(&xfs.path().join("tree"), &ext4.path().join("tree")).len(), 1);
}
