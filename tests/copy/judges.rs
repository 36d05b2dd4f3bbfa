//! Two judges that share nothing must say the same: the engine's `compare` and the checker of these tests.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use decamp::cancel::Cancel;
use decamp::copy::options::{CompareOptions, ScanOptions};
use decamp::copy::report::Comparison;
use decamp::copy::{self, Work};
use decamp::progress::{Forgetful, Silent};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::support::check::Check;
use crate::support::dress;
use crate::support::skip::is_root;
use crate::support::tree::Recipe;

fn compare(left: &Path, right: &Path) -> Comparison {
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    copy::compare(left, right, &CompareOptions::default(), &work).unwrap()
}

/// What the engine says, in the words of the checker.
fn engine(left: &Path, right: &Path) -> BTreeSet<(Vec<u8>, &'static str)> {
    let comparison = compare(left, right);
    assert_eq!(comparison.failed, 0, "{comparison:#?}");
    let equal = comparison.differences == 0;
    assert_eq!(comparison.left.digest == comparison.right.digest, equal, "digests and differences disagree");
    let word = |what| match what {
        "only-left" => "missing",
        "only-right" => "extra",
        other => other,
    };
    let mut said: BTreeSet<_> =
        comparison.named.into_iter().map(|difference| (difference.path, word(difference.what))).collect();
    // A directory in place of a file is told as one that is on its side alone, too.
    let types: Vec<_> = said.iter().filter(|(_, what)| *what == "type").map(|(path, _)| path.clone()).collect();
    said.retain(|(path, what)| !(types.contains(path) && ["missing", "extra"].contains(what)));
    said
}

/// What the checker says; holes are not among what `compare` promises.
fn checker(left: &Path, right: &Path) -> BTreeSet<(Vec<u8>, &'static str)> {
    let found = Check::new().ignoring("holes").differences(left, right);
    found.into_iter().map(|difference| (difference.path, difference.property)).collect()
}

type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 13] = [
    ("mode", |root| dress::mode(&root.join("gallery/modes/777"), 0o700)),
    ("mtime of a file", |root| dress::stamp(&root.join("gallery/modes/444"), 1_000_000_000, 999_999_998)),
    ("mtime of a link", |root| dress::stamp(&root.join("gallery/links/absolute"), 3, 3)),
    ("mtime of a directory", |root| dress::stamp(&root.join("gallery/links"), 3, 3)),
    ("mode of the root", |root| dress::mode(root, 0o711)),
    ("content of the same size and time", |root| {
        let path = root.join("gallery/modes/1644");
        fs::File::options().write(true).open(&path).unwrap().write_all_at(b"M", 0).unwrap();
        dress::stamp(&path, 1_000_000_000, 999_999_999);
    }),
    ("size", |root| fs::write(root.join("gallery/modes/empty"), "not any more").unwrap()),
    ("xattr", |root| dress::xattr(&root.join("gallery/xattrs/user"), "user.binary", b"other")),
    ("acl", |root| {
        let acl = [(1, 7, u32::MAX), (2, 1, 2_222), (4, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)];
        dress::acl(&root.join("gallery/xattrs/default-acl"), "default", &dress::raw_acl(&acl));
    }),
    ("link target", |root| {
        fs::remove_file(root.join("gallery/links/to-dir")).unwrap();
        symlink("../namez", root.join("gallery/links/to-dir")).unwrap();
    }),
    ("type", |root| {
        fs::remove_file(root.join("gallery/modes/777")).unwrap();
        fs::create_dir(root.join("gallery/modes/777")).unwrap();
    }),
    ("a name less and one more", |root| {
        fs::rename(root.join("gallery/names/-rf"), root.join("gallery/names/-fr")).unwrap();
    }),
    ("a hard link broken", |root| {
        let path = root.join("gallery/links-of-others/group5-4");
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
    }),
];

const CHANGES_OF_ROOT: [Change; 4] = [
    ("owner", |root| dress::own(&root.join("gallery/links/long"), 12, 13)),
    ("capability", |root| dress::capability(&root.join("gallery/xattrs/capability"), 1)),
    ("trusted xattr of a link", |root| {
        dress::xattr(&root.join("gallery/xattrs/link-with-xattr"), "trusted.decamp-test", b"x");
    }),
    ("device", |root| {
        let path = root.join("gallery/specials/null");
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(1, 5)).unwrap();
    }),
];

fn pair() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = ["left", "right"].map(|name| dir.path().join(name));
    for root in [&left, &right] {
        Recipe::new(51, 200).with(|odd| (odd.locked, odd.holes) = (false, false)).grow(root);
    }
    (dir, left, right)
}

#[test]
fn both_find_nothing_in_equal_trees() {
    let (_dir, left, right) = pair();
    assert_eq!(checker(&left, &right), BTreeSet::new());
    assert_eq!(engine(&left, &right), BTreeSet::new());
}

#[test]
fn both_find_each_planted_difference() {
    let (_dir, left, right) = pair();
    let more = if is_root() { &CHANGES_OF_ROOT[..] } else { &[] };
    // One after the other on the same tree: what was found must stay found.
    for (what, change) in CHANGES.iter().chain(more) {
        let before = checker(&left, &right);
        change(&right);
        let found = checker(&left, &right);
        assert_ne!(found, before, "{what}: not a change");
        let said = engine(&left, &right);
        let text = |set: BTreeSet<(Vec<u8>, &str)>| {
            // Which names of a group that fell apart are the odd ones depends on which is met first.
            let place = |path: Vec<u8>, property: &str| match property {
                "hardlink" => "somewhere".to_owned(),
                _ => path.escape_ascii().to_string(),
            };
            set.into_iter()
                .map(|(path, property)| format!("{property} {}", place(path, property)))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(text(said), text(found), "{what}: the engine (left) and the checker (right) disagree");
    }
}

/// The digest of a scan is that of the same side in a comparison, so that it can be kept and held against later.
#[test]
fn a_scan_has_the_digest_of_the_comparison() {
    let (_dir, left, right) = pair();
    dress::mode(&right.join("gallery/modes/777"), 0o700);
    let comparison = compare(&left, &right);
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let options = ScanOptions { content: true, xattrs: true, ..ScanOptions::default() };
    for (root, side) in [(&left, &comparison.left), (&right, &comparison.right)] {
        let scan = copy::scan(root, &options, &work).unwrap();
        assert_eq!((&scan.digest, scan.counts, scan.bytes), (&side.digest, side.counts, side.bytes));
    }
    assert_ne!(comparison.left.digest, comparison.right.digest);
}
