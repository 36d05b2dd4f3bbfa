//! Memory stays flat, whatever the tree: many directories, one enormous directory, enormously many empty ones.
//!
//! The big sizes take minutes and a disk: `DECAMP_BIG=1 cargo test --release memory_stays_flat -- --nocapture`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::support::env::Decamp;

const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, Copy)]
enum Shape {
    ManyDirs,
    OneFlat,
    ManySubdirs,
}

impl Shape {
    const ALL: [Self; 3] = [Self::ManyDirs, Self::OneFlat, Self::ManySubdirs];

    fn grow(self, root: &Path, entries: u64) {
        fs::create_dir(root).unwrap();
        for at in 0..entries {
            match self {
                Self::ManyDirs => {
                    let dir = root.join(format!("dir{:06}", at / 100));
                    if at % 100 == 0 {
                        fs::create_dir(&dir).unwrap();
                    } else {
                        File::create(dir.join(format!("a file with a name of usual length {at}"))).unwrap();
                    }
                }
                Self::OneFlat => {
                    File::create(root.join(format!("a file with a name of usual length {at}"))).unwrap();
                }
                Self::ManySubdirs => fs::create_dir(root.join(format!("an empty directory {at}"))).unwrap(),
            }
        }
    }
}

/// Peak memory of the first copy and of the re-sync.
fn peaks(shape: Shape, entries: u64) -> [u64; 2] {
    let call = Decamp::new();
    shape.grow(&call.dir().join("src"), entries);
    let copy = || call.again().args(["copy", "src", "dst", "--delete"]).run().peak_memory;
    let peaks = [copy(), copy()];
    let copied = fs::read_dir(call.dir().join("dst")).unwrap().count();
    assert_eq!(copied, fs::read_dir(call.dir().join("src")).unwrap().count());
    let [first, again] = peaks.map(|peak| peak as f64 / MIB as f64);
    // Seen even when the test passes.
    writeln!(std::io::stderr(), "{shape:?}, {entries} entries: copy {first:.0} MiB, re-sync {again:.0} MiB").ok();
    peaks
}

/// The larger tree may take half as much again, or 24 MiB more, whichever is more.
#[track_caller]
fn flat(shape: Shape, few: u64, many: u64) {
    let (small, large) = (peaks(shape, few), peaks(shape, many));
    for (what, small, large) in [("copy", small[0], large[0]), ("re-sync", small[1], large[1])] {
        assert!(small > 0 && large > 0, "{what}: too quick to be measured");
        let most = small + (small / 2).max(24 * MIB);
        assert!(large <= most, "{shape:?}, {what}: {} MiB at {few}, {} MiB at {many}", small / MIB, large / MIB);
        assert!(large < 150 * MIB, "{shape:?}, {what}: {} MiB at {many}", large / MIB);
    }
}

#[test]
fn memory_stays_flat() {
    let big = std::env::var_os("DECAMP_BIG").is_some();
    let (few, many) = if big { (100_000, 1_000_000) } else { (2_000, 20_000) };
    for shape in Shape::ALL {
        flat(shape, few, many);
    }
}
