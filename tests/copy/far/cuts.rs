//! The line breaks after every message there is: what is finished stays, nothing is half there under its own name, and
//! the next pass ends as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use decamp::copy::Error;
use decamp::copy::options::Options;
use decamp::progress::{Forgetful, Silent};

use super::kit::{Between, copy};
use crate::copy::kit::{Memory, Pair, deleting, furnish, sh, write};

/// Every regular file below, with its content.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => {
                    let content = fs::read(entry.path()).unwrap();
                    found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), content);
                }
                _ => {}
            }
        }
    }
    found
}

fn seed(src: &Path) {
    furnish(src);
    write(src.join("large"), vec![9; 1 << 20]);
    for number in 0..5 {
        write(src.join(format!("dirs/{number}/file")), vec![number; 1000]);
    }
}

/// Breaks at every message until a pass comes through; returns at how many.
fn at_every_message(mut pass: impl FnMut(&Between) -> Result<(), Error>) -> i64 {
    for credit in 0.. {
        match pass(&Between::cut_after(credit)) {
            Ok(()) => return credit,
            Err(Error::Apart(_)) => {}
            Err(error) => panic!("after {credit} messages: {error:?}"),
        }
    }
    unreachable!("numbers do not end")
}

#[test]
fn a_first_copy_that_is_cut_anywhere_is_made_whole_by_the_next() {
    let source = Pair::new();
    seed(&source.src);
    let whole = files(&source.src);
    let cuts = at_every_message(|between| {
        let pair = Pair::new();
        let result = between.copy(&source.src, &pair.dst, &Options::default(), &Forgetful, &Silent);
        let error = result.map(|_| ());
        copy(&source.src, &pair.dst, &Options::default());
        assert_eq!(files(&pair.dst), whole);
        crate::support::check::assert_same(&source.src, &pair.dst);
        error
    });
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn a_second_pass_that_is_cut_anywhere_leaves_every_file_old_or_new() {
    let source = Pair::new();
    seed(&source.src);
    let changed = Pair::new();
    copy(&source.src, &changed.src, &Options::default());
    sh(
        &changed.src,
        "printf new > large; printf other > dirs/1/file; rm -r dirs/2; printf x > dirs/0/new; printf y > plain",
    );
    let (old, new) = (files(&source.src), files(&changed.src));
    at_every_message(|between| {
        let pair = Pair::new();
        copy(&source.src, &pair.dst, &Options::default());
        let result = between.copy(&changed.src, &pair.dst, &deleting(), &Forgetful, &Silent).map(|_| ());
        for (path, content) in files(&pair.dst) {
            let temp = path.file_name().unwrap().to_string_lossy().starts_with(".decamp-tmp-");
            let fresh = !old.contains_key(&path);
            let known = [&old, &new].iter().any(|side| side.get(&path) == Some(&content));
            assert!(temp || fresh || known, "{path:?} is neither old nor new");
        }
        copy(&changed.src, &pair.dst, &deleting());
        crate::support::check::assert_same(&changed.src, &pair.dst);
        result
    });
}

#[test]
fn a_run_that_is_cut_goes_on_inside_a_large_file_and_can_be_undone() {
    let pair = Pair::new();
    let content: Vec<u8> = (0..8 << 20).map(|at: u32| (at / 3) as u8 | 1).collect();
    write(pair.src.join("large"), &content);
    let options = Options { big_file: Some(decamp::units::Bytes(1 << 20)), ..Options::default() };
    let memory = Memory::default();
    let cut = Between::cut_after(24).copy(&pair.src, &pair.dst, &options, &memory, &Silent);
    assert!(matches!(cut, Err(Error::Apart(_))), "{cut:?}");
    let half = fs::metadata(pair.dst.join("large")).unwrap().len();
    assert!((1 << 20..8 << 20).contains(&half), "{half}");
    let between = Between::lines(1);
    let report = between.copy(&pair.src, &pair.dst, &options, &memory, &Silent).unwrap();
    assert_eq!(report.errors, []);
    let sent = between.bytes.load(std::sync::atomic::Ordering::SeqCst);
    assert!(sent <= (8 << 20) - (1 << 20) + (64 << 10), "{sent}");
    pair.assert_same();
    let undone = pair.undo(None, &memory).unwrap();
    assert_eq!((undone.failed, undone.left), (0, 0), "{undone:#?}");
    assert_eq!(fs::read_dir(&pair.dst).unwrap().count(), 0);
}
