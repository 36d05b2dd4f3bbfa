//! Trees deeper than a path may be long, and deeper than a process may hold directories open.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use decamp::copy::options::Options;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};

use super::kit::{Memory, Pair, deleting};

fn open(dir: &OwnedFd, name: &CString) -> OwnedFd {
    openat(dir, name, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).unwrap()
}

/// A chain of directories with a file in each.
fn dig(root: &std::path::Path, depth: usize) {
    let name = CString::new("d".repeat(40)).unwrap();
    let mut at: OwnedFd = std::fs::File::open(root).unwrap().into();
    for _ in 0..depth {
        mkdirat(&at, &name, Mode::from_raw_mode(0o755)).unwrap();
        drop(openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap());
        at = open(&at, &name);
    }
}

/// Removes such a chain; the standard library would do it by recursion.
fn fill_in(root: &std::path::Path) {
    let name = CString::new("d".repeat(40)).unwrap();
    let mut stack: Vec<OwnedFd> = vec![std::fs::File::open(root).unwrap().into()];
    while let Ok(next) = openat(stack.last().unwrap(), &name, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        stack.push(next);
    }
    while let Some(at) = stack.pop() {
        unlinkat(&at, "file", AtFlags::empty()).ok();
        if let Some(parent) = stack.last() {
            unlinkat(parent, &name, AtFlags::REMOVEDIR).unwrap();
        }
    }
}

#[test]
fn depth_is_no_limit() {
    let pair = Pair::new();
    dig(&pair.src, 2_500);
    let report = pair.copy_all(&Options::default());
    assert_eq!((report.listed.dirs, report.listed.files), (2_501, 2_500));
    pair.assert_same();
    let store = Memory::default();
    let again = pair.copy_with(&deleting(), &store).unwrap();
    assert_eq!(again.unchanged, 5_001);
    fill_in(&pair.src);
    std::fs::write(pair.src.join("one"), "1").unwrap();
    let emptied = pair.copy_all(&deleting());
    assert_eq!(emptied.deleted, 5_000);
    pair.assert_same();
}
