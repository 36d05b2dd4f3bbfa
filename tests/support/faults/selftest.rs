//! The file system is faithful without faults, and each fault is met by an ordinary program.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::check::{Snapshot, assert_same};
use super::super::dress;
use super::super::skip::{is_root, needs_root};
use super::super::tree::Recipe;
use super::{Fail, Faulty, Op};

fn mounted() -> Option<(tempfile::TempDir, PathBuf, Faulty)> {
    let dir = tempfile::tempdir().unwrap();
    let backing = dir.path().join("backing");
    fs::create_dir(&backing).unwrap();
    let faulty = Faulty::over(&backing)?;
    Some((dir, backing, faulty))
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_tree_seen_through_it_is_the_tree() {
    let Some((_dir, backing, faulty)) = mounted() else { return };
    let recipe = Recipe::new(3, 800).with(|odd| odd.locked &= is_root());
    recipe.grow(&backing.join("tree"));
    let before = Snapshot::of(&backing.join("tree"));
    assert_same(&backing.join("tree"), &faulty.path().join("tree"));
    before.assert_same(&Snapshot::of(&backing.join("tree")));
    assert_eq!(faulty.hits(), 0);
}

#[test]
fn a_tree_made_through_it_is_the_tree() {
    if !needs_root("owners and devices through FUSE") {
        return;
    }
    let Some((dir, backing, faulty)) = mounted() else { return };
    let recipe = Recipe::new(3, 800).with(|odd| odd.sockets = true);
    recipe.grow(&dir.path().join("plain"));
    recipe.grow(&faulty.path().join("tree"));
    assert_same(&dir.path().join("plain"), &backing.join("tree"));
    assert_eq!(faulty.hits(), 0);
}

#[test]
fn a_tree_copied_through_it_by_another_program_is_the_tree() {
    if !needs_root("rsync of owners and devices") {
        return;
    }
    let Some((dir, backing, faulty)) = mounted() else { return };
    // rsync gives up on paths longer than PATH_MAX, and reads holes byte by byte.
    let recipe = Recipe::new(4, 500).with(|odd| (odd.deep, odd.holes) = (false, false));
    recipe.grow(&dir.path().join("plain"));
    let status = Command::new("rsync")
        .args(["-aHAXS", "--devices", "--specials"])
        .arg(dir.path().join("plain/"))
        .arg(faulty.path().join("tree"))
        .status()
        .unwrap();
    assert!(status.success());
    assert_same(&dir.path().join("plain"), &backing.join("tree"));
}

#[test]
fn calls_fail_by_name_and_number() {
    let Some((_dir, backing, faulty)) = mounted() else { return };
    fs::write(backing.join("good"), "good").unwrap();
    fs::write(backing.join("bad"), "bad").unwrap();
    faulty.fail(Fail::new(Op::Open, Errno::IO).on("bad").times(2));
    let read = |name: &str| fs::read_to_string(faulty.path().join(name));
    assert_eq!([errno(read("bad")), errno(read("bad"))], [5, 5]);
    assert_eq!([read("bad").unwrap(), read("good").unwrap()], ["bad", "good"]);
    assert_eq!(faulty.hits(), 2);
    faulty.fail(Fail::new(Op::Lookup, Errno::NOENT).on("bad"));
    faulty.fail(Fail::new(Op::Readdir, Errno::STALE));
    assert_eq!(errno(read("bad")), 2);
    assert_eq!(errno(fs::read_dir(faulty.path()).unwrap().next().unwrap()), Errno::STALE.raw_os_error());
    faulty.clear();
    assert_eq!(fs::read_dir(faulty.path()).unwrap().count(), 2);
    for (op, wanted) in [(Op::Getattr, Errno::STALE), (Op::Lookup, Errno::ACCESS)] {
        faulty.clear();
        faulty.fail(Fail::new(op, wanted).on("good"));
        let path = faulty.path().join("good");
        assert_eq!(errno(File::open(path).and_then(|file| file.metadata())), wanted.raw_os_error(), "{op:?}");
    }
}

#[test]
fn reads_and_writes_fail_at_a_byte_and_come_short() {
    let Some((_dir, backing, faulty)) = mounted() else { return };
    let content = vec![7u8; 300_000];
    fs::write(backing.join("file"), &content).unwrap();
    let path = faulty.path().join("file");
    faulty.fail(Fail::new(Op::Read, Errno::IO).on("file").after(100_000));
    let mut got = Vec::new();
    assert_eq!(errno(File::open(&path).unwrap().read_to_end(&mut got)), 5);
    assert_eq!(got.len(), 100_000);
    faulty.clear();
    faulty.set(|faults| faults.short_read = Some(1_000));
    assert_eq!(File::open(&path).unwrap().read(&mut [0; 5_000]).unwrap(), 1_000);
    assert_eq!(fs::read(&path).unwrap(), content);
    faulty.set(|faults| faults.short_write = Some(700));
    assert_eq!(File::create(&path).unwrap().write_at(&content, 0).unwrap(), 700);
    fs::write(&path, &content).unwrap();
    assert_eq!(fs::read(backing.join("file")).unwrap(), content);
    faulty.clear();
    faulty.fail(Fail::new(Op::Write, Errno::IO).after(8_192));
    assert_eq!(errno(fs::write(&path, &content)), 5);
    assert_eq!(fs::metadata(backing.join("file")).unwrap().len(), 8_192);
}

#[test]
fn space_ends_and_calls_are_slow() {
    let Some((_dir, backing, faulty)) = mounted() else { return };
    faulty.set(|faults| faults.room = Some(10_000));
    fs::write(faulty.path().join("one"), [1; 6_000]).unwrap();
    assert_eq!(errno(fs::write(faulty.path().join("two"), [2; 6_000])), 28);
    assert_eq!(fs::metadata(backing.join("two")).unwrap().len(), 4_000);
    faulty.clear();
    faulty.set(|faults| faults.delay = Duration::from_millis(30));
    let start = Instant::now();
    fs::metadata(faulty.path().join("one")).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn it_can_lack_what_some_file_systems_lack() {
    if !needs_root("changing owners") {
        return;
    }
    let Some((_dir, backing, faulty)) = mounted() else { return };
    let path = faulty.path().join("file");
    fs::write(&path, "x").unwrap();
    faulty.set(|faults| {
        faults.no_xattrs = true;
        faults.no_owners = true;
        faults.no_hard_links = true;
        faults.time_step = Some(2_000_000_000);
    });
    let set = rustix::fs::lsetxattr(&path, "user.x", b"1", rustix::fs::XattrFlags::empty());
    assert_eq!(set, Err(Errno::OPNOTSUPP));
    assert_eq!(errno(std::os::unix::fs::lchown(&path, Some(7), Some(7))), 1);
    assert_eq!(errno(fs::hard_link(&path, faulty.path().join("again"))), 1);
    dress::stamp(&path, -3, 500);
    assert_eq!(times(&backing.join("file")), (-4, 0));
    faulty.set(|faults| faults.squash = Some(65_534));
    fs::write(faulty.path().join("new"), "x").unwrap();
    assert_eq!(fs::metadata(backing.join("new")).unwrap().uid(), 65_534);
    faulty.clear();
    dress::stamp(&path, -3, 500);
    assert_eq!(times(&path), (-3, 500));
    assert_eq!(times(&backing.join("file")), (-3, 500));
}

fn times(path: &Path) -> (i64, i64) {
    let meta = fs::metadata(path).unwrap();
    (meta.mtime(), meta.mtime_nsec())
}
