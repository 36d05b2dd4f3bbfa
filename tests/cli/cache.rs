//! What copies by hand remember beside the journal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::check::assert_same;
use crate::support::dress::xattr;
use crate::support::env::Decamp;
use crate::support::skip::needs_root;

fn call() -> Decamp {
    Decamp::new().file("src/a", "one").file("src/d/b", "two").file("src/d/e/c", "three")
}

fn sets(call: &Decamp) -> Vec<PathBuf> {
    let list = fs::read_dir(call.state().join("copies")).into_iter().flatten();
    list.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn it_is_kept_for_copies_by_hand_and_only_when_wished() {
    let call = call();
    call.again().args(["copy", "src", "dst", "--dry-run"]).run();
    call.again().args(["copy", "src", "dst", "--no-cache"]).run();
    assert_eq!(sets(&call), [] as [&Path; 0]);
    call.again().args(["copy", "src", "dst"]).run();
    let first = sets(&call);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The same pair under another name is the same; with other losses accepted it is another.
    std::os::unix::fs::symlink("dst", call.dir().join("also")).unwrap();
    call.again().args(["copy", "src", "also"]).run();
    assert_eq!(sets(&call), first);
    call.again().args(["copy", "src", "dst", "--accept", "acl"]).run();
    assert_eq!(sets(&call).len(), 2);
    fs::set_permissions(call.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let checked = call.again().args(["doctor", "--output", "json"]).run().json();
    assert_eq!(checked["findings"], serde_json::json!([]), "{checked}");
    call.again().args(["runs", "prune", "--older-than", "0s", "--yes"]).run();
    assert_eq!(sets(&call).len(), 2);
}

#[test]
fn a_copy_goes_on_where_nothing_can_be_kept() {
    if !needs_root("becoming another user") {
        return;
    }
    let call = call();
    for _ in 0..2 {
        let command = call.again().user(4_321).args(["copy", "src", "dst"]);
        // Given to the user with everything else when the command is made, so it is taken away after that.
        let mut made = command.command();
        std::os::unix::fs::chown(call.state(), Some(0), Some(0)).unwrap();
        fs::set_permissions(call.state(), fs::Permissions::from_mode(0o755)).unwrap();
        let ran = made.output().unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    }
    assert_eq!(sets(&call), [] as [&Path; 0]);
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

#[test]
fn a_damaged_one_is_told_and_made_anew() {
    let call = call();
    call.again().args(["copy", "src", "dst"]).run();
    fs::write(&sets(&call)[0], "nonsense").unwrap();
    xattr(&call.dir().join("dst/d/b"), "user.stray", b"1");
    call.again().args(["copy", "src", "dst"]).stderr_has("is not believed").run();
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    call.again().args(["copy", "src", "dst"]).stderr("").run();
}

#[test]
fn a_killed_copy_leaves_the_former_one_and_it_holds() {
    let call = call();
    let copy = |more: &[&str]| call.again().args(["copy", "src", "dst"]).args(more.iter().copied());
    copy(&[]).run();
    std::thread::sleep(Duration::from_millis(2_100));
    copy(&[]).run();
    let file = sets(&call)[0].clone();
    let before = fs::read(&file).unwrap();
    for name in ["d/b", "a"] {
        xattr(&call.dir().join("dst").join(name), "user.stray", b"1");
    }
    for number in 0..8 {
        fs::write(call.dir().join(format!("src/d/big{number}")), vec![7; 1 << 20]).unwrap();
    }
    let ran = copy(&["--max-rate", "1MiB"]).spawn().kill_after(Duration::from_millis(1_500));
    assert_eq!(ran.status, 137, "{}", ran.stderr);
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(sets(&call), std::slice::from_ref(&file));
    copy(&[]).run();
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
    assert_ne!(fs::read(&file).unwrap(), before);
}

#[test]
fn two_copies_of_one_pair_do_not_meet() {
    let call = call().file("src/big", vec![7; 3 << 20]);
    let mut slow = call.again().args(["copy", "src", "dst", "--max-rate", "1MiB", "--progress", "plain"]).spawn();
    for _ in 0..200 {
        if call.dir().join("dst/.decamp-run").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    call.again().args(["copy", "src", "dst"]).status(6).run();
    assert_eq!(sets(&call), [] as [&Path; 0]);
    let _ = slow.says("copied");
    assert_eq!(slow.wait().status, 0);
    assert_eq!(sets(&call).len(), 1);
    call.again().args(["copy", "src", "dst"]).stderr("").run();
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}
