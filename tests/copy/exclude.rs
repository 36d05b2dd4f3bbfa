//! The patterns of entries to leave out, with rsync as the judge.

use std::process::Command;

use decamp::copy::exclude::Exclude;
use decamp::copy::options::{CompareOptions, Loss, Options};

use super::kit::{Pair, compare, deleting, sh, write};

const LISTS: &[&[&str]] = &[
    &["foo"],
    &["/foo"],
    &["foo/"],
    &["*.o"],
    &["/*.o"],
    &["a/*.o"],
    &["a/b/"],
    &["/a/**/z"],
    &["**/z"],
    &["b/**"],
    &["b/***"],
    &["/a/*/foo"],
    &["[a-f]*"],
    &["[!a-f]*"],
    &["?"],
    &["x[[:digit:]]"],
    &["+ keep.o", "*.o"],
    &["+ */", "+ *.o", "*"],
    &["+ /a/", "+ /a/b/", "+ /a/b/foo", "*"],
    &["\\*"],
    &["b/foo"],
    &["b/*"],
    &["a/b/foo", "/z"],
    &["**.o"],
    &["/**/foo"],
    &["*/cache/**"],
    &["*/**"],
    &["*/**/f"],
    &["back\\slash"],
    &["back\\\\*"],
    &["a**z"],
];

#[test]
fn rsync_leaves_out_the_same() {
    let pair = Pair::new();
    let names = ["foo", "z", "x1", "xy", "c.o", "keep.o", "*", "back\\slash", "backslash"];
    for dir in ["", "a/", "b/", "a/b/", "a/b/c/", "z1/a/", "a/foo1/b/", "q/a/b/"] {
        for name in names {
            write(pair.src.join(format!("{dir}{name}")), "x");
        }
    }
    sh(
        &pair.src,
        "mkdir -p d/foo/in d/z a/c.o.d d/b; mkdir -p cache/x a/cache/x; touch cache/f cache/x/f a/cache/x/f; touch d/foo/in/file d/z/file d/b/foo d/e",
    );
    let theirs = pair.base.path().join("rsync");
    for list in LISTS {
        for dir in [&theirs, &pair.dst] {
            if dir.exists() {
                std::fs::remove_dir_all(dir).unwrap();
            }
            std::fs::create_dir(dir).unwrap();
        }
        let patterns: Vec<String> = list.iter().map(|&pattern| pattern.to_owned()).collect();
        let mut rsync = Command::new("rsync");
        rsync.arg("-a");
        for pattern in &patterns {
            let rule = if pattern.starts_with("+ ") { pattern.clone() } else { format!("- {pattern}") };
            rsync.arg(format!("--filter={rule}"));
        }
        let mut from = pair.src.clone().into_os_string();
        from.push("/");
        assert!(rsync.arg(from).arg(&theirs).status().unwrap().success());
        let exclude = Exclude::parse(&patterns).unwrap();
        pair.copy_all(&Options { exclude: exclude.clone(), ..Options::default() });
        // This rsync does not set the times of directories it has put something into.
        let accept = [Loss::Times].into();
        let found = compare(&theirs, &pair.dst, &CompareOptions { accept, ..CompareOptions::default() });
        assert_eq!(found.named, [], "{list:?}");
        let options = CompareOptions { exclude, ..CompareOptions::default() };
        let found = compare(&pair.src, &pair.dst, &options);
        assert_eq!((found.differences, found.left), (0, found.right), "{list:?}");
    }
}

#[test]
fn what_is_left_out_protects_its_directories_from_deletion() {
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    write(pair.dst.join("gone/deep/keep.me"), "k");
    write(pair.dst.join("gone/deep/other"), "o");
    write(pair.dst.join("gone/else/other"), "o");
    let exclude = Exclude::parse(&["*.me".into()]).unwrap();
    let report = pair.copy_all(&Options { exclude, ..deleting() });
    assert_eq!(report.deleted, 3);
    assert!(pair.dst.join("gone/deep/keep.me").exists());
    assert!(!pair.dst.join("gone/else").exists() && !pair.dst.join("gone/deep/other").exists());
}
