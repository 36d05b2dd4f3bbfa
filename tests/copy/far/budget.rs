//! How many messages a tree costs: none per file.

use std::sync::atomic::Ordering;

use decamp::copy::options::Options;
use decamp::progress::{Forgetful, Silent};

use super::kit::Between;
use crate::copy::kit::{Pair, deleting, write};

#[test]
fn messages_are_of_directories_and_not_of_files() {
    let pair = Pair::new();
    for dir in 0..20 {
        for file in 0..100 {
            write(pair.src.join(format!("dir{dir}/file{file}")), vec![7; 500]);
        }
    }
    let messages = |options: &Options| {
        let between = Between::lines(1);
        let report = between.copy(&pair.src, &pair.dst, options, &Forgetful, &Silent).unwrap();
        assert_eq!(report.failed, 0);
        (between.messages.load(Ordering::SeqCst), between.bytes.load(Ordering::SeqCst))
    };
    let (first, bytes) = messages(&Options::default());
    assert!(first <= 120, "{first} messages for 2,000 files in 20 directories");
    assert!(bytes < 2_000 * (500 + 80), "{bytes}");
    let (idle, bytes) = messages(&Options::default());
    assert!(idle <= 80, "{idle}");
    assert!(bytes < 2_000 * 70, "{bytes}");
    let (deleting, _) = messages(&deleting());
    assert!(deleting <= 160, "{deleting}");
    for dir in 0..20 {
        for file in 0..100 {
            write(pair.src.join(format!("dir{dir}/file{file}")), vec![8; 600]);
        }
    }
    let (changed, _) = messages(&Options::default());
    assert!(changed <= 200, "{changed}");
}
