//! It is faithful, it counts what it is asked, and its requests wait side by side.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::super::check::{Snapshot, assert_same};
use super::super::skip::{is_root, needs_root, skipped};
use super::super::tree::Recipe;
use super::{Kind, Latency};

/// No count may depend on the speed of the machine.
const VALID: Duration = Duration::from_secs(3_600);

fn mounted(delay: Duration) -> Option<(tempfile::TempDir, PathBuf, Latency)> {
    let dir = tempfile::tempdir().unwrap();
    let backing = dir.path().join("backing");
    fs::create_dir(&backing).unwrap();
    match Latency::mount_valid(&backing, delay, VALID) {
        Ok(far) => Some((dir, backing, far)),
        Err(error) => {
            skipped(&format!("no FUSE mount: {error}"));
            None
        }
    }
}

/// The counts since the last reset, as a list; the root's own attributes are not in the kernel's cache at first.
fn asked(far: &Latency) -> Vec<(Kind, u64)> {
    let counts = far.counts();
    far.reset();
    counts.by_kind.into_iter().collect()
}

#[test]
fn a_tree_seen_through_it_is_the_tree() {
    let Some((_dir, backing, far)) = mounted(Duration::ZERO) else { return };
    let recipe = Recipe::new(3, 800).with(|odd| odd.locked &= is_root());
    recipe.grow(&backing.join("tree"));
    let before = Snapshot::of(&backing.join("tree"));
    assert_same(&backing.join("tree"), &far.path().join("tree"));
    before.assert_same(&Snapshot::of(&backing.join("tree")));
}

#[test]
fn a_tree_made_through_it_is_the_tree() {
    if !needs_root("owners and devices through FUSE") {
        return;
    }
    let Some((dir, backing, far)) = mounted(Duration::ZERO) else { return };
    let recipe = Recipe::new(3, 800).with(|odd| odd.sockets = true);
    recipe.grow(&dir.path().join("plain"));
    recipe.grow(&far.path().join("tree"));
    assert_same(&dir.path().join("plain"), &far.path().join("tree"));
    assert_same(&dir.path().join("plain"), &backing.join("tree"));
}

#[test]
fn a_tree_copied_through_it_by_another_program_is_the_tree() {
    if !needs_root("rsync of owners and devices") {
        return;
    }
    let Some((dir, backing, far)) = mounted(Duration::from_micros(50)) else { return };
    // rsync gives up on paths longer than PATH_MAX, and reads holes byte by byte.
    let recipe = Recipe::new(4, 500).with(|odd| (odd.deep, odd.holes) = (false, false));
    recipe.grow(&dir.path().join("plain"));
    let mut rsync = Command::new("rsync");
    rsync
        .args(["-aHAXS", "--devices", "--specials", "--timeout=60"])
        .arg(dir.path().join("plain/"))
        .arg(far.path().join("tree"));
    assert!(rsync.status().unwrap().success());
    assert_same(&dir.path().join("plain"), &backing.join("tree"));
}

#[test]
fn each_request_is_counted_by_its_kind() {
    use Kind::*;
    let Some((_dir, backing, far)) = mounted(Duration::ZERO) else { return };
    let at = |name: &str| far.path().join(name);
    fs::metadata(far.path()).unwrap();
    far.reset();
    fs::create_dir(at("dir")).unwrap();
    assert_eq!(asked(&far), [(Lookup, 1), (Mkdir, 1)]);
    let mut file = File::create_new(at("dir/file")).unwrap();
    assert_eq!(asked(&far), [(Lookup, 1), (Create, 1)]);
    file.write_all(&[7; 3_000]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(asked(&far), [(Write, 1), (Fsync, 1)]);
    fs::set_permissions(at("dir/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(at("dir/file"), at("again")).unwrap();
    fs::rename(at("again"), at("dir/moved")).unwrap();
    assert_eq!(asked(&far), [(Lookup, 2), (Setattr, 1), (Link, 1), (Rename, 1)]);
    std::os::unix::fs::symlink("dir/file", at("link")).unwrap();
    assert_eq!(fs::read_link(at("link")).unwrap().to_str(), Some("dir/file"));
    assert_eq!(asked(&far), [(Lookup, 1), (Readlink, 1), (Symlink, 1)]);
    fs::remove_file(at("link")).unwrap();
    fs::remove_file(at("dir/moved")).unwrap();
    fs::remove_file(at("dir/file")).unwrap();
    fs::remove_dir(at("dir")).unwrap();
    assert_eq!(asked(&far), [(Unlink, 3), (Rmdir, 1)]);
    assert_eq!(fs::read_dir(&backing).unwrap().count(), 0);
}

#[test]
fn a_listing_brings_the_attributes_and_reading_is_one_request() {
    use Kind::*;
    let Some((_dir, backing, far)) = mounted(Duration::ZERO) else { return };
    for at in 0..20 {
        fs::write(backing.join(format!("file{at}")), [at; 5_000]).unwrap();
    }
    fs::metadata(far.path()).unwrap();
    far.reset();
    let mut seen = 0;
    for item in fs::read_dir(far.path()).unwrap() {
        seen += item.unwrap().metadata().unwrap().size();
    }
    assert_eq!(seen, 100_000);
    // The second answer says that there is no more.
    assert_eq!(asked(&far), [(Readdirplus, 2)]);
    let mut content = Vec::new();
    File::open(far.path().join("file3")).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, [3; 5_000]);
    assert_eq!(asked(&far), [(Open, 1), (Read, 1)]);
    let mut names = [0; 100];
    let path = far.path().join("file3");
    assert_eq!(rustix::fs::llistxattr(&path, &mut names), Ok(0));
    assert_eq!(rustix::fs::lsetxattr(&path, "user.x", b"1", rustix::fs::XattrFlags::empty()), Ok(()));
    assert_eq!(rustix::fs::lgetxattr(&path, "user.x", &mut names), Ok(1));
    assert_eq!(rustix::fs::lremovexattr(&path, "user.x"), Ok(()));
    assert_eq!(asked(&far), [(Getxattr, 1), (Listxattr, 1), (Setxattr, 1), (Removexattr, 1)]);
}

#[test]
fn after_a_remount_everything_is_asked_again() {
    use Kind::*;
    let Some((_dir, backing, mut far)) = mounted(Duration::ZERO) else { return };
    fs::write(backing.join("file"), "x").unwrap();
    let path = far.path().join("file");
    let number = fs::metadata(&path).unwrap().ino();
    fs::metadata(&path).unwrap();
    assert_eq!(asked(&far), [(Lookup, 1)]);
    far.remount().unwrap();
    assert_eq!((asked(&far), &path), (vec![], &far.path().join("file")));
    assert_eq!(fs::metadata(&path).unwrap().ino(), number);
    assert_eq!(asked(&far), [(Lookup, 1)]);
}

#[test]
fn new_entries_belong_to_the_caller() {
    if !needs_root("becoming another user") {
        return;
    }
    let Some((_dir, backing, far)) = mounted(Duration::ZERO) else { return };
    let dir = far.path().join("open");
    fs::create_dir(&dir).unwrap();
    let script = "umask 0; cd \"$1\" && mkdir dir && : > file && chmod 4755 file && ln -s x link && mkfifo pipe";
    let mut other = Command::new("setpriv");
    other.args(["--reuid=4321", "--regid=8765", "--clear-groups", "--inh-caps=-all", "--", "sh", "-euc", script, "sh"]);
    // Where the mount is may be closed to others, so it is entered before.
    assert!(other.arg(".").current_dir(&dir).status().unwrap().success());
    for (name, mode) in [("dir", 0o777), ("file", 0o4755), ("link", 0o777), ("pipe", 0o666)] {
        let found = fs::symlink_metadata(backing.join("open").join(name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (4_321, 8_765, mode), "{name}");
    }
    std::os::unix::fs::chown(backing.join("open"), Some(0), Some(77)).unwrap();
    fs::set_permissions(backing.join("open"), fs::Permissions::from_mode(0o2755)).unwrap();
    fs::create_dir(dir.join("of-group")).unwrap();
    let found = fs::metadata(dir.join("of-group")).unwrap();
    assert_eq!((found.gid(), found.mode() & 0o7777), (77, 0o2755));
}

#[test]
fn names_change_places_and_numbers_are_used_again() {
    let Some((_dir, backing, far)) = mounted(Duration::ZERO) else { return };
    let at = |name: &str| far.path().join(name);
    for round in 0..50 {
        let text = format!("round {round}");
        fs::write(at("new"), &text).unwrap();
        let mut open = File::open(at("new")).unwrap();
        fs::write(at("old"), "old").unwrap();
        fs::rename(at("new"), at("old")).unwrap();
        assert_eq!(fs::read_to_string(at("old")).unwrap(), text);
        fs::hard_link(at("old"), at("second")).unwrap();
        fs::remove_file(at("old")).unwrap();
        assert_eq!(fs::read_to_string(at("second")).unwrap(), text);
        assert_eq!(fs::metadata(at("second")).unwrap().nlink(), 1);
        fs::remove_file(at("second")).unwrap();
        let mut still = String::new();
        open.read_to_string(&mut still).unwrap();
        assert_eq!(still, text);
        fs::create_dir(at("old")).unwrap();
        fs::remove_dir(at("old")).unwrap();
    }
    assert_eq!(fs::read_dir(&backing).unwrap().count(), 0);
}

#[test]
fn requests_wait_side_by_side() {
    const EACH: Duration = Duration::from_millis(20);
    const MANY: u32 = 64;
    let Some((_dir, backing, far)) = mounted(EACH) else { return };
    for at in 0..MANY {
        fs::write(backing.join(format!("file{at}")), "").unwrap();
    }
    let start = Instant::now();
    fs::metadata(far.path().join("file0")).unwrap();
    assert!(start.elapsed() >= EACH);
    far.reset();
    let start = Instant::now();
    thread::scope(|scope| {
        for at in 0..MANY {
            let path = far.path().join(format!("file{at}"));
            scope.spawn(move || fs::metadata(path).unwrap());
        }
    });
    let took = start.elapsed();
    assert!(took < EACH * MANY, "{took:?}");
    let counts = far.counts();
    assert_eq!((counts.of(Kind::Lookup), counts.total()), (u64::from(MANY) - 1, u64::from(MANY) - 1));
    assert!(counts.most_in_flight > 4, "{counts}");
}
