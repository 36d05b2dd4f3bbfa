//! Requests per file where each is a round trip.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use super::homes::{self, ALL_FILES};
use crate::support::check::assert_same;
use crate::support::env::Decamp;
use crate::support::latency::{Counts, Kind, Latency};
use crate::support::skip::{needs_root, skipped};

/// What the passes may ask of both sides together, per file.
const BUDGET: [(&str, f64); 3] = [
    // LOOKUP, CREATE, WRITE, two SETATTR, OPEN, READ and a look at the attributes; the rest is directories and links.
    ("first copy", 8.5),
    // Two buffers of names on each side of every directory, and more of them where the kernel asks for less at once.
    ("nothing changed", UNCHANGED),
    ("one in a hundred changed", UNCHANGED + 0.01 * CHANGED_FILE),
];
const UNCHANGED: f64 = 0.10;

/// What a file may ask that is to be replaced, its directory included: OPEN, READ and a look at the attributes of both, and
/// of both directories; LOOKUP of the temporary name, CREATE, WRITE, two SETATTR and at times a third, GETATTR, LOOKUP of
/// the old one and RENAME; SETATTR and GETATTR of the directory, and whether it has a default ACL.
const CHANGED_FILE: f64 = 17.0;

/// Longer than any test: how often the kernel asks again must not depend on the speed of the machine.
const VALID: Duration = Duration::from_secs(3_600);

/// Both sides of a copy. None, and *skipped* said, where nothing can be mounted.
fn mounted(src: &Path, dst: &Path) -> Option<[Latency; 2]> {
    match [src, dst].map(|path| Latency::mount_valid(path, Duration::ZERO, VALID)) {
        [Ok(near), Ok(far)] => Some([near, far]),
        [Err(error), _] | [_, Err(error)] => {
            skipped(&format!("no FUSE mount: {error}"));
            None
        }
    }
}

/// One pass of the program with the kernel's caches empty.
fn pass(call: &Decamp, sides: &mut [Latency; 2]) -> [Counts; 2] {
    homes::settle();
    for side in &mut *sides {
        side.remount().unwrap();
    }
    let [near, far] = &*sides;
    call.again().arg("copy").args([near.path(), far.path()]).run();
    [near.counts(), far.counts()]
}

fn per_file(times: u64) -> f64 {
    times as f64 / f64::from(ALL_FILES)
}

/// Requests per file by kind, the source's and the destination's.
fn table([near, far]: &[Counts; 2]) -> String {
    let mut text = format!("{:<12} {:>8} {:>8}\n", "per file", "source", "dest");
    let mut line = |name: &str, near: u64, far: u64| {
        writeln!(text, "{name:<12} {:>8.3} {:>8.3}", per_file(near), per_file(far)).unwrap();
    };
    for kind in Kind::ALL.into_iter().filter(|kind| near.of(*kind) + far.of(*kind) > 0) {
        line(&kind.name(), near.of(kind), far.of(kind));
    }
    line("in all", near.total(), far.total());
    text
}

#[test]
fn requests_per_file_stay_within_the_budget() {
    if !needs_root("owners through FUSE") {
        return;
    }
    let call = Decamp::new();
    let (src, dst) = (call.dir().join("src"), call.dir().join("dst"));
    homes::grow(&src);
    fs::create_dir(&dst).unwrap();
    let Some(mut sides) = mounted(&src, &dst) else { return };
    let mut over = String::new();
    for (what, most) in BUDGET {
        if what.starts_with("one") {
            homes::change_some(&src);
        }
        let counts = pass(&call, &mut sides);
        assert_same(&src, &dst);
        let found = per_file(counts.iter().map(Counts::total).sum());
        // Seen even when the test passes.
        writeln!(io::stderr(), "{what}: {found:.3} requests per file, at most {most}").ok();
        if found > most {
            write!(over, "\n{what}: {found:.3} requests per file, at most {most}\n{}", table(&counts)).unwrap();
        }
    }
    assert!(over.is_empty(), "{over}");
}
