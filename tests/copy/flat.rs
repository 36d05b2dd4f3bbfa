//! One directory that holds everything: those who would be idle help with it.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use decamp::cancel::Cancel;
use decamp::copy::options::Options;
use decamp::copy::{self, Work};
use decamp::progress::Silent;

use super::kit::{Memory, deleting};
use crate::support::check::assert_same;
use crate::support::dress;
use crate::support::latency::Latency;
use crate::support::skip::{needs_root, skipped};

const FILES: usize = 300;

#[test]
fn several_workers_share_a_large_directory() {
    if !needs_root("owners through FUSE") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    fs::create_dir(&src).unwrap();
    fs::create_dir(&dst).unwrap();
    for at in 0..FILES {
        let path = src.join(format!("file {at}"));
        fs::write(&path, vec![at as u8; at * 7]).unwrap();
        dress::own(&path, 1_000 + at as u32 % 3, 100);
        dress::mode(&path, [0o644, 0o600, 0o640][at % 3]);
        if at % 10 == 0 {
            fs::hard_link(&path, src.join(format!("again {at}"))).unwrap();
        }
    }
    let sides = [&src, &dst].map(|path| Latency::mount(path, Duration::from_millis(2)));
    let [Ok(near), Ok(far)] = sides else { return skipped("no FUSE mount") };
    let store = Memory::default();
    let pass = |options: &Options| {
        let cancel = Cancel::new();
        let work = Work { progress: &Silent, checkpoint: &store, cancel: &cancel };
        let options = Options { jobs: NonZeroUsize::new(8), ..options.clone() };
        copy::tree(near.path(), far.path(), &options, &work).unwrap()
    };

    let report = pass(&Options::default());
    assert_same(&src, &dst);
    assert_eq!(report.created.files, (FILES + FILES / 10) as u64);
    let most = near.counts().most_in_flight.max(far.counts().most_in_flight);
    assert!(most >= 3, "{most} requests at once: one worker has all of it");

    // Some are replaced, and some deleted, all of them known as this run's own.
    for at in (0..FILES).step_by(3) {
        fs::write(src.join(format!("file {at}")), "other content").unwrap();
    }
    fs::remove_file(src.join("file 1")).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let report = pass(&deleting());
    assert_same(&src, &dst);
    assert_eq!((report.deleted, report.foreign, report.failed), (1, 0, 0), "{report:#?}");
    assert!(report.updated >= (FILES / 3) as u64, "{report:#?}");
}
