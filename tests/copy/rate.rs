//! How fast the engine may go.

use std::time::{Duration, Instant};

use decamp::copy::options::Options;
use decamp::rate::Rate;
use decamp::units::Bytes;

use super::kit::Pair;
use super::passes::attempt;

fn limited(limit: u64) -> Options {
    Options { rate: Rate::new(Some(Bytes(limit))), ..Options::default() }
}

fn timed(pair: &Pair, options: &Options) -> Duration {
    let began = Instant::now();
    pair.copy_all(options);
    pair.assert_same();
    began.elapsed()
}

#[test]
fn one_big_file_keeps_the_limit() {
    let pair = Pair::new();
    std::fs::write(pair.src.join("big"), vec![7; 4 << 20]).unwrap();
    let spent = timed(&pair, &limited(8 << 20));
    assert!(spent >= Duration::from_millis(450), "4 MiB at 8 MiB a second in {spent:?}");
}

#[test]
fn many_small_files_keep_it_together() {
    let pair = Pair::new();
    for n in 0..64 {
        std::fs::create_dir_all(pair.src.join(format!("{}", n % 8))).unwrap();
        std::fs::write(pair.src.join(format!("{}/{n}", n % 8)), vec![n; 32 << 10]).unwrap();
    }
    let options = Options { jobs: std::num::NonZeroUsize::new(8), ..limited(4 << 20) };
    let spent = timed(&pair, &options);
    assert!(spent >= Duration::from_millis(450), "2 MiB at 4 MiB a second in {spent:?}");
}

#[test]
fn a_raised_limit_ends_the_copy_soon() {
    let pair = Pair::new();
    std::fs::write(pair.src.join("big"), vec![7; 8 << 20]).unwrap();
    let options = limited(64 << 10);
    let rate = options.rate.clone();
    let raiser = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        rate.set(None);
    });
    let spent = timed(&pair, &options);
    raiser.join().unwrap();
    assert!(spent >= Duration::from_millis(300), "it was not slow before: {spent:?}");
    assert!(spent < Duration::from_secs(60), "8 MiB at 64 KiB a second would be two minutes: {spent:?}");
}

#[test]
fn a_file_that_goes_while_it_is_read_counts_as_changed() {
    for instead in [None, Some("another")] {
        let pair = Pair::new();
        let file = pair.src.join("file");
        std::fs::write(&file, vec![7; 2 << 20]).unwrap();
        let options = limited(128 << 10);
        let (rate, dst) = (options.rate.clone(), pair.dst.join("file"));
        let remover = std::thread::spawn(move || {
            while !dst.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            match instead {
                None => std::fs::remove_file(&file).unwrap(),
                Some(content) => {
                    std::fs::write(file.with_extension("new"), content).unwrap();
                    std::fs::rename(file.with_extension("new"), &file).unwrap();
                }
            }
            rate.set(None);
        });
        let report = attempt(&pair.src, &pair.dst, &options).unwrap();
        remover.join().unwrap();
        assert_eq!((report.changed, report.failed), (1, 0), "{instead:?}");
    }
}

#[test]
fn holes_and_what_is_there_already_cost_nothing() {
    let pair = Pair::new();
    let sparse = std::fs::File::create(pair.src.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 64 << 20).unwrap();
    std::fs::write(pair.src.join("there"), vec![7; 8 << 20]).unwrap();
    pair.copy_all(&Options::default());
    std::fs::remove_file(pair.dst.join("sparse")).unwrap();
    let spent = timed(&pair, &limited(256 << 10));
    assert!(spent < Duration::from_secs(20), "{spent:?}");
}
