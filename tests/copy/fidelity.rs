//! Every property arrives, on every file system, and every later change of one is found.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use decamp::copy::options::{Equality, Loss, Options};

use super::passes::{accepting, attempt, deleting, idle_pass, pass};
use crate::support::check::{Check, Snapshot, assert_same};
use crate::support::dress;
use crate::support::skip::{is_root, needs_root, skipped};
use crate::support::tree::{Oddities, Recipe};
use crate::support::volume::{FileSystem, Volume};

/// A generated tree goes from one file system to another; the second pass finds nothing to do and touches nothing.
fn travels(from: FileSystem, to: FileSystem) {
    let Some(here) = Volume::new(from, 512) else { return };
    let Some(there) = Volume::new(to, 512) else { return };
    let (src, dst) = (here.path().join("src"), there.path().join("dst"));
    let user_xattrs = holds_user_xattrs(here.path()) && holds_user_xattrs(there.path());
    if !user_xattrs {
        skipped(&format!("user xattrs between {} and {}: this kernel has none there", from.name(), to.name()));
    }
    let seed = from as u64 * 10 + to as u64;
    let made = Recipe::new(seed, 2_000).with(|odd| odd.user_xattrs = user_xattrs).grow(&src);
    fs::create_dir(&dst).unwrap();
    let before = Snapshot::of(&src);
    let report = pass(&src, &dst, &Options::default());
    assert_eq!(report.listed.entries(), made + 1, "{report:#?}");
    assert_same(&src, &dst);
    before.assert_same(&Snapshot::of(&src));
    let copied = Snapshot::of(&dst);
    idle_pass(&src, &dst, &deleting());
    copied.assert_same(&Snapshot::of(&dst));
    let by_content = Options { equality: Equality::Content, ..Options::default() };
    idle_pass(&src, &dst, &by_content);
    copied.assert_same(&Snapshot::of(&dst));
}

fn holds_user_xattrs(path: &Path) -> bool {
    rustix::fs::lsetxattr(path, "user.probe", b"1", rustix::fs::XattrFlags::empty())
        .and_then(|()| rustix::fs::lremovexattr(path, "user.probe"))
        .is_ok()
}

#[test]
fn from_ext4_to_ext4() {
    travels(FileSystem::Ext4, FileSystem::Ext4);
}

#[test]
fn from_ext4_to_xfs() {
    travels(FileSystem::Ext4, FileSystem::Xfs);
}

#[test]
fn from_ext4_to_btrfs() {
    travels(FileSystem::Ext4, FileSystem::Btrfs);
}

#[test]
fn from_ext4_to_tmpfs() {
    travels(FileSystem::Ext4, FileSystem::Tmpfs);
}

#[test]
fn from_xfs_to_ext4() {
    travels(FileSystem::Xfs, FileSystem::Ext4);
}

#[test]
fn from_btrfs_to_ext4() {
    travels(FileSystem::Btrfs, FileSystem::Ext4);
}

#[test]
fn from_tmpfs_to_ext4() {
    travels(FileSystem::Tmpfs, FileSystem::Ext4);
}

/// Within one file system that can share blocks the fast ways of copying are taken.
#[test]
fn within_one_btrfs_and_one_xfs() {
    for kind in [FileSystem::Btrfs, FileSystem::Xfs] {
        let Some(volume) = Volume::new(kind, 512) else { return };
        let (src, dst) = (volume.path().join("src"), volume.path().join("dst"));
        Recipe::new(77, 800).grow(&src);
        fs::create_dir(&dst).unwrap();
        pass(&src, &dst, &Options::default());
        assert_same(&src, &dst);
        idle_pass(&src, &dst, &deleting());
    }
}

/// Files that are not in memory are opened ahead of their turn: many in one directory, some gone by then.
#[test]
fn from_a_disk_that_nothing_was_read_of() {
    let Some(here) = Volume::new(FileSystem::Ext4, 64) else { return };
    let Some(there) = Volume::new(FileSystem::Tmpfs, 64) else { return };
    let (src, dst) = (here.path().join("src"), there.path().join("dst"));
    Recipe::new(6, 300).with(|odd| odd.holes = false).grow(&src);
    fs::create_dir(src.join("many")).unwrap();
    for at in 0..700_usize {
        let content: Vec<u8> = (0..at * 11).map(|byte| (byte * at) as u8).collect();
        fs::write(src.join(format!("many/{at}")), content).unwrap();
    }
    here.remount(FileSystem::Ext4);
    let file = fs::File::open(src.join("many/699")).unwrap();
    let mut byte = [0];
    let mut into = [std::io::IoSliceMut::new(&mut byte)];
    let read = rustix::io::preadv2(&file, &mut into, 0, rustix::io::ReadWriteFlags::NOWAIT);
    assert_eq!(read, Err(rustix::io::Errno::AGAIN), "nothing of it is in memory");
    let report = pass(&src, &dst, &Options::default());
    assert_eq!(report.failed, 0, "{report:#?}");
    assert_same(&src, &dst);
}

/// Whole volumes: `lost+found` at their roots is nobody's data.
#[test]
fn roots_of_volumes() {
    let Some(here) = Volume::new(FileSystem::Ext4, 64) else { return };
    let Some(there) = Volume::new(FileSystem::Ext4, 64) else { return };
    let inner = here.path().join("tree");
    Recipe::new(5, 300).with(|odd| odd.holes = false).grow(&inner);
    fs::write(there.path().join("lost+found/#12"), "found by fsck").unwrap();
    fs::write(there.path().join("old"), "to be deleted").unwrap();
    let report = pass(here.path(), there.path(), &deleting());
    assert_eq!(report.deleted, 1, "{report:#?}");
    Check::new().except_at_root("lost+found").assert_same(here.path(), there.path());
    assert!(there.path().join("lost+found/#12").exists());
}

/// Default ACLs, setgid directories and the umask of the destination must not leak into what is made there.
#[test]
fn a_destination_with_habits_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    Recipe::new(6, 300).grow(&src);
    fs::create_dir(&dst).unwrap();
    let acl = [(1, 7, u32::MAX), (2, 7, 77), (4, 0, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)];
    dress::acl(&dst, "default", &dress::raw_acl(&acl));
    if is_root() {
        dress::own(&dst, 99, 99);
    }
    dress::mode(&dst, 0o2777);
    pass(&src, &dst, &Options::default());
    assert_same(&src, &dst);
}

/// Two equal trees with one entry of each sort, and the names the changes below go by.
fn pair() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    fs::create_dir_all(src.join("dir/inner")).unwrap();
    fs::write(src.join("dir/file"), "content of a file").unwrap();
    fs::write(src.join("dir/twin"), "content of a file").unwrap();
    fs::hard_link(src.join("dir/file"), src.join("dir/inner/name")).unwrap();
    symlink("target-1", src.join("dir/link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, src.join("dir/fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    for at in 0..50 {
        fs::write(src.join(format!("dir/inner/other{at}")), "x").unwrap();
    }
    for path in ["dir/file", "dir/twin", "dir/link", "dir/fifo", "dir/inner", "dir", "."] {
        dress::stamp(&src.join(path), 1_400_000_000, 42);
    }
    fs::create_dir(&dst).unwrap();
    pass(&src, &dst, &Options::default());
    assert_same(&src, &dst);
    (dir, src, dst)
}

/// Makes a change in the source; the next pass must bring it over and leave the rest alone.
#[track_caller]
fn found(what: &str, options: &Options, change: impl FnOnce(&Path)) {
    let (_dir, src, dst) = pair();
    change(&src);
    assert!(!Check::new().differences(&src, &dst).is_empty(), "{what}: the change must be one");
    let report = pass(&src, &dst, options);
    let left = Check::new().differences(&src, &dst);
    assert!(left.is_empty(), "{what}: {left:#?}");
    let done = report.created.entries() + report.updated + report.meta_updated;
    assert!((1..=4).contains(&done), "{what}: {done} entries were changed: {report:#?}");
    idle_pass(&src, &dst, options);
}

#[test]
fn changes_of_metadata_alone_are_found() {
    let plain = Options::default();
    let acl =
        dress::raw_acl(&[(1, 7, u32::MAX), (2, 4, 7), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)]);
    for path in ["dir/twin", "dir/inner", "."] {
        found("xattr", &plain, |src| dress::xattr(&src.join(path), "user.note", b"1"));
        found("acl", &plain, |src| dress::acl(&src.join(path), "access", &acl));
        found("mode", &plain, |src| dress::mode(&src.join(path), 0o700));
        found("mtime", &plain, |src| dress::stamp(&src.join(path), 1_400_000_000, 43));
    }
    found("default acl", &plain, |src| dress::acl(&src.join("dir/inner"), "default", &acl));
    found("xattr of a hard link", &plain, |src| dress::xattr(&src.join("dir/file"), "user.note", b"1"));
    found("mtime of a link", &plain, |src| dress::stamp(&src.join("dir/link"), 1_400_000_001, 42));
    found("mode of a fifo", &plain, |src| dress::mode(&src.join("dir/fifo"), 0o644));
}

#[test]
fn xattrs_that_change_or_go_are_found() {
    let (_dir, src, dst) = pair();
    let file = src.join("dir/twin");
    for value in [&b"one"[..], b"two", b""] {
        dress::xattr(&file, "user.note", value);
        pass(&src, &dst, &Options::default());
        assert_same(&src, &dst);
    }
    rustix::fs::lremovexattr(&file, "user.note").unwrap();
    pass(&src, &dst, &Options::default());
    assert_same(&src, &dst);
    // What only the destination has goes as well.
    dress::xattr(&src.join("dir/inner"), "user.a", b"a");
    dress::xattr(&dst.join("dir/inner"), "user.b", b"b");
    pass(&src, &dst, &Options::default());
    assert_same(&src, &dst);
}

#[test]
fn changes_of_owner_and_of_what_root_keeps_are_found() {
    if !needs_root("changing owners") {
        return;
    }
    let plain = Options::default();
    for path in ["dir/twin", "dir/link", "dir/inner", "dir/fifo"] {
        found("owner", &plain, |src| dress::own(&src.join(path), 7, 0));
        found("group", &plain, |src| dress::own(&src.join(path), 0, 7));
    }
    found("capability", &plain, |src| dress::capability(&src.join("dir/twin"), 1));
    found("trusted xattr of a link", &plain, |src| dress::xattr(&src.join("dir/link"), "trusted.note", b"1"));
}

#[test]
fn changes_of_content_and_targets_are_found() {
    let plain = Options::default();
    let by_content = Options { equality: Equality::Content, ..Options::default() };
    let rewrite = |src: &Path| {
        let file = fs::File::options().write(true).open(src.join("dir/twin")).unwrap();
        file.write_all_at(b"CONTENT", 0).unwrap();
    };
    found("content of the same size", &plain, rewrite);
    found("content of the same size and time", &by_content, |src| {
        rewrite(src);
        dress::stamp(&src.join("dir/twin"), 1_400_000_000, 42);
    });
    found("link target of the same length and time", &plain, |src| {
        fs::remove_file(src.join("dir/link")).unwrap();
        symlink("target-2", src.join("dir/link")).unwrap();
        dress::stamp(&src.join("dir/link"), 1_400_000_000, 42);
        dress::stamp(&src.join("dir"), 1_400_000_000, 42);
    });
    found("a file becomes a directory", &plain, |src| {
        fs::remove_file(src.join("dir/twin")).unwrap();
        fs::create_dir(src.join("dir/twin")).unwrap();
    });
    found("a link becomes a fifo", &plain, |src| {
        fs::remove_file(src.join("dir/link")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, src.join("dir/link"), mode).unwrap();
    });
}

#[test]
fn changes_of_hard_links_are_found() {
    let plain = Options::default();
    found("a name more", &plain, |src| {
        fs::hard_link(src.join("dir/file"), src.join("dir/inner/second")).unwrap();
    });
    found("a name becomes a file of its own", &plain, |src| {
        fs::remove_file(src.join("dir/inner/name")).unwrap();
        fs::write(src.join("dir/inner/name"), "content of a file").unwrap();
        dress::stamp(&src.join("dir/inner/name"), 1_400_000_000, 42);
        dress::stamp(&src.join("dir/inner"), 1_400_000_000, 42);
    });
    found("two equal files become one", &plain, |src| {
        fs::remove_file(src.join("dir/twin")).unwrap();
        fs::hard_link(src.join("dir/file"), src.join("dir/twin")).unwrap();
        dress::stamp(&src.join("dir"), 1_400_000_000, 42);
    });
    found("a name moves to another file", &plain, |src| {
        fs::remove_file(src.join("dir/inner/name")).unwrap();
        fs::hard_link(src.join("dir/twin"), src.join("dir/inner/name")).unwrap();
        dress::stamp(&src.join("dir/inner"), 1_400_000_000, 42);
    });
}

/// What has the name of one of a group of hard links in the destination has to go before the group can be made.
#[test]
fn directories_in_the_way_of_hard_links_are_replaced() {
    for name in ["dir/file", "dir/inner/name"] {
        for full in [false, true] {
            let (_dir, src, dst) = pair();
            fs::remove_file(dst.join(name)).unwrap();
            fs::create_dir(dst.join(name)).unwrap();
            if full {
                fs::write(dst.join(name).join("in the way"), "x").unwrap();
            }
            pass(&src, &dst, &deleting());
            assert_same(&src, &dst);
        }
    }
}

#[test]
fn a_tree_that_moved_on_is_caught_up_with() {
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    // Much the same names as the source, hardly the same things behind them; and older: attributes alone are looked at
    // where the source has changed since.
    Recipe::new(12, 700).grow(&dst);
    Recipe::new(11, 700).grow(&src);
    pass(&src, &dst, &deleting());
    assert_same(&src, &dst);
    idle_pass(&src, &dst, &deleting());
}

/// Set for a test that was started again as an ordinary user: the directory it works in.
const PLACE: &str = "DECAMP_TEST_PLACE";

/// Runs the rest of the calling test as an ordinary user: as root, the test is started again under another number.
/// Returns whether we are that user.
fn as_ordinary_user(test: &str, prepare: impl FnOnce(&Path)) -> Option<PathBuf> {
    if let Some(place) = std::env::var_os(PLACE) {
        return Some(place.into());
    }
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    if !is_root() {
        let place = dir.keep();
        return Some(place);
    }
    const USER: u32 = 4_321;
    dress::own(dir.path(), USER, USER);
    let program = dir.path().join("tests-of-decamp");
    crate::support::env::copy_program(&std::env::current_exe().unwrap(), &program);
    dress::mode(&program, 0o755);
    let done = Command::new("setpriv")
        .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "--"])
        .arg(&program)
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, dir.path())
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "as user {USER}:\n{text}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(text.contains("1 passed"), "{text}");
    None
}

#[test]
fn an_ordinary_user_moves_what_is_theirs() {
    let test = "copy::fidelity::an_ordinary_user_moves_what_is_theirs";
    let Some(place) = as_ordinary_user(test, |_| {}) else { return };
    let (src, dst) = (place.join("src"), place.join("dst"));
    let mut recipe = Recipe::new(21, 600);
    recipe.odd = Oddities::ordinary();
    recipe.grow(&src);
    fs::create_dir(&dst).unwrap();
    pass(&src, &dst, &Options::default());
    assert_same(&src, &dst);
    idle_pass(&src, &dst, &deleting());
}

#[test]
fn what_an_ordinary_user_cannot_keep_is_said() {
    if std::env::var_os(PLACE).is_none() && !needs_root("files of several owners") {
        return;
    }
    let test = "copy::fidelity::what_an_ordinary_user_cannot_keep_is_said";
    let place = as_ordinary_user(test, |place| {
        fs::create_dir_all(place.join("src/closed")).unwrap();
        fs::create_dir(place.join("dst")).unwrap();
        dress::own(&place.join("dst"), 4_321, 4_321);
        for (name, mode) in [("theirs", 0o644), ("secret", 0o600), ("closed/inside", 0o644)] {
            fs::write(place.join("src").join(name), name).unwrap();
            dress::mode(&place.join("src").join(name), mode);
        }
        dress::mode(&place.join("src/closed"), 0o700);
        fs::write(place.join("src/mine"), "mine").unwrap();
        dress::own(&place.join("src/mine"), 4_321, 4_321);
        dress::own(&place.join("src"), 4_321, 4_321);
    });
    let Some(place) = place else { return };
    let (src, dst) = (place.join("src"), place.join("dst"));
    assert_ne!(fs::metadata(src.join("theirs")).unwrap().uid(), 4_321);
    // Not accepted: refused, or said entry by entry; never silent.
    if let Ok(report) = attempt(&src, &dst, &Options::default()) {
        let failed: Vec<_> = report.errors.iter().map(|error| std::ffi::OsStr::from_bytes(&error.path)).collect();
        for name in ["theirs", "secret", "closed"] {
            assert!(failed.iter().any(|path| *path == name), "{name} is not among {failed:?}");
        }
    }
    let report = pass(&src, &dst, &accepting(&[Loss::Owner, Loss::Unreadable]));
    assert!(report.skipped >= 2, "{report:#?}");
    Check::new().ignoring("owner").except("secret").except("closed").assert_same(&src, &dst);
    assert_eq!(fs::read_to_string(dst.join("theirs")).unwrap(), "theirs");
}
