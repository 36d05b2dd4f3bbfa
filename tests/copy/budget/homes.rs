//! Home directories of plain files: the tree the budgets are counted on. Always the same one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::support::dress;
use crate::support::rng::Rng;

const USERS: u32 = 25;
/// Of each user: the home, and what is in it.
const DIRS: [&str; 4] = ["", "project", ".cache", "project/src"];
/// In each directory.
const FILES: u32 = 60;

/// Regular files in the tree, names of hard links not counted.
pub(super) const ALL_FILES: u32 = USERS * DIRS.len() as u32 * FILES;

/// Lets some time pass: what was changed a moment ago may change again in the same tick of its clock, so a pass must look
/// at it twice, and no tree that is worth moving is so young.
pub(super) fn settle() {
    thread::sleep(Duration::from_secs(3));
}

/// Grows the tree: small files of several owners and modes, among them a few links, hard links, attributes and ACLs.
pub(super) fn grow(root: &Path) {
    let mut rng = Rng::new(7);
    let dirs = dirs(root);
    fs::create_dir(root).unwrap();
    for (user, dir) in &dirs {
        fs::create_dir_all(dir).unwrap();
        for at in 0..FILES {
            file(&dir.join(name(at)), *user, at, &mut rng);
        }
    }
    // A directory gets its owner and times when everything is in it.
    for (user, dir) in dirs.iter().rev() {
        own(dir, *user);
        stamp(dir, &mut rng);
    }
    stamp(root, &mut rng);
}

/// Every directory with its user, parents first.
fn dirs(root: &Path) -> Vec<(u32, PathBuf)> {
    let of = |user: u32| DIRS.map(|dir| (user, root.join(format!("user{user:02}")).join(dir)));
    (0..USERS).flat_map(of).collect()
}

fn name(at: u32) -> String {
    format!("file{at:02}.txt")
}

fn file(path: &Path, user: u32, at: u32, rng: &mut Rng) {
    let size = 1_024 + rng.index(7 * 1_024);
    fs::write(path, rng.bytes(size)).unwrap();
    own(path, user);
    dress::mode(path, *rng.pick(&[0o644, 0o600, 0o755, 0o640, 0o444]));
    match at {
        // One in a hundred files has an attribute, one in five hundred an ACL.
        7 if rng.chance(60) => dress::xattr(path, "user.tag", &rng.bytes(10)),
        9 if rng.chance(12) => dress::acl(path, "access", &dress::access_acl(rng)),
        11 if rng.chance(30) => fs::hard_link(path, path.with_extension("again")).unwrap(),
        13 => {
            let link = path.with_extension("lnk");
            symlink(name(0), &link).unwrap();
            own(&link, user);
            stamp(&link, rng);
        }
        _ => {}
    }
    stamp(path, rng);
}

fn own(path: &Path, user: u32) {
    dress::own(path, 1_000 + user, 100 + user % 7);
}

fn stamp(path: &Path, rng: &mut Rng) {
    let [second, nanosecond] = [300_000_000, 1_000_000_000].map(|below| i64::try_from(rng.below(below)).unwrap());
    dress::stamp(path, 1_400_000_000 + second, nanosecond);
}

/// Changes one file in a hundred: half of them keep their size.
pub(super) fn change_some(root: &Path) {
    let files = dirs(root).into_iter().flat_map(|(_, dir)| (0..FILES).map(move |at| dir.join(name(at))));
    let mut changed = 0;
    for (nth, path) in files.enumerate().filter(|(nth, _)| nth % 100 == 33) {
        let mut content = fs::read(&path).unwrap();
        if nth % 200 == 33 {
            content[0] ^= 1;
        } else {
            content.extend_from_slice(b"one more line\n");
        }
        fs::write(&path, content).unwrap();
        changed += 1;
    }
    assert_eq!(changed, ALL_FILES / 100);
}
