//! The command that measures copies of block devices: `cargo bench --bench block -- [--mib N] [--runs N]`.
//!
//! Two loop devices past the page cache, 40 % zeros, 40 % text, 20 % noise; the ways run in turn, each on a target of zeros
//! and a cold cache; what came out is compared byte for byte. Times are until the target is durable.
#![allow(clippy::unwrap_used, reason = "a command that cannot measure ends")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

#[allow(dead_code)]
#[path = "../support/rng.rs"]
mod rng;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use decamp::block::{self, Compress, Endpoint, Options, Verify, Work};
use decamp::cancel::Cancel;
use decamp::progress::{Forgetful, Silent};
use decamp::wire::pair;
use rng::Rng;

/// One way to copy; its name and what it does, given source, target and a file for digests.
type Way = (&'static str, fn(&Path, &Path, &Path) -> bool);

const WAYS: [Way; 8] = [
    ("dd, direct", |source, target, _| {
        let end = |name: &str, path: &Path| format!("{name}={}", path.display());
        shell("dd", &[&end("if", source), &end("of", target), "bs=1M", "iflag=direct", "oflag=direct", "conv=fsync"])
    }),
    ("nbdcopy", |source, target, _| {
        let end = |path: &Path| {
            ["[".into(), "nbdkit".into(), "-f".into(), "file".into(), path.display().to_string(), "]".into()]
        };
        let words: Vec<String> = ["--flush".to_owned()].into_iter().chain(end(source)).chain(end(target)).collect();
        shell("nbdcopy", &words.iter().map(String::as_str).collect::<Vec<_>>())
    }),
    ("decamp, here", |source, target, _| copy(local(source), local(target), Verify::None, None)),
    ("decamp, here, read back", |source, target, _| copy(local(source), local(target), Verify::Written, None)),
    ("decamp, 4 lines, as it is", |source, target, _| lines(source, target, Compress::Never)),
    ("decamp, 4 lines, zstd:1", |source, target, _| lines(source, target, Compress::Level(1))),
    ("decamp, 4 lines, auto", |source, target, _| lines(source, target, Compress::Auto)),
    ("decamp, second pass, 1 %", |source, target, digests| {
        copy(local(source), local(target), Verify::Written, Some(digests))
    }),
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |flag: &str, or: u64| {
        let at = words.iter().position(|word| word == flag);
        at.map_or(or, |at| words[at + 1].parse().unwrap())
    };
    let (mib, runs) = (number("--mib", 1024), number("--runs", 5));
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (disk(home.path(), "source", mib), disk(home.path(), "target", mib));
    fill(&source.1, mib);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); WAYS.len()];
    for _ in 0..runs {
        for (way, times) in WAYS.iter().zip(&mut times) {
            let digests = home.path().join("digests");
            if way.0.contains("second") {
                fs::remove_file(&digests).ok();
                assert!(copy(local(&source.1), local(&target.1), Verify::None, Some(&digests)));
                change(&source.1, mib);
            } else {
                assert!(shell("blkdiscard", &["-f", "-z", &target.1.display().to_string()]));
            }
            shell("sync", &[]);
            fs::write("/proc/sys/vm/drop_caches", "3").ok();
            let began = Instant::now();
            if !way.1(&source.1, &target.1, &digests) {
                continue;
            }
            shell("sync", &[]);
            times.push(began.elapsed().as_secs_f64());
            let (left, right) = (source.1.display().to_string(), target.1.display().to_string());
            assert!(shell("cmp", &[&left, &right]), "{} did not copy", way.0);
        }
    }
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let base = median(&times[1]);
    println!("| {mib} MiB, {runs} runs in turn | median s | min–max | ÷ nbdcopy |\n|---|--:|--:|--:|");
    for ((name, _), times) in WAYS.iter().zip(&times) {
        let Some(own) = median(times) else {
            println!("| {name} | not run | | |");
            continue;
        };
        let (least, most) = times.iter().fold((f64::MAX, 0f64), |(a, b), time| (a.min(*time), b.max(*time)));
        let ratio = base.map_or("–".to_owned(), |base| format!("{:.2}", own / base));
        println!("| {name} | {own:.2} | {least:.2}–{most:.2} | {ratio} |");
    }
    for (_, device) in [source, target] {
        shell("losetup", &["-d", &device.display().to_string()]);
    }
}

fn local(path: &Path) -> Endpoint {
    Endpoint::local(path)
}

fn copy(source: Endpoint, target: Endpoint, verify: Verify, digests: Option<&Path>) -> bool {
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let digests = digests.map(Path::to_owned);
    block::copy(source, target, &Options { verify, digests, overwrite: true, ..Options::default() }, &work).unwrap();
    true
}

/// Both ends behind lines within this process: what the messages cost.
fn lines(source: &Path, target: &Path, compress: Compress) -> bool {
    let (near, far): (Vec<_>, Vec<_>) = (0..4).map(|_| pair(4)).unzip();
    let served = std::thread::spawn(move || block::serve_target(far));
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let options = Options { verify: Verify::None, compress, overwrite: true, ..Options::default() };
    let report = block::copy(local(source), Endpoint::remote(target, near), &options, &work).unwrap();
    served.join().unwrap().unwrap();
    eprintln!("  {} of {} bytes of data crossed", report.wire_bytes, report.raw_bytes);
    true
}

/// Runs a program in silence; `false` if it cannot be run, or fails.
fn shell(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn disk(home: &Path, name: &str, mib: u64) -> (PathBuf, PathBuf) {
    let image = home.join(name);
    File::create_new(&image).unwrap().set_len(mib << 20).unwrap();
    let made = Command::new("losetup").args(["--direct-io=on", "--find", "--show"]).arg(&image).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let device = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
    (image, device)
}

/// 40 % zeros, 40 % text, 20 % noise, by pieces of 1 MiB.
fn fill(device: &Path, mib: u64) {
    let file = File::options().write(true).open(device).unwrap();
    let mut rng = Rng::new(1);
    let source = include_str!("block.rs");
    for extent in 0..mib {
        let piece: Vec<u8> = match rng.below(10) {
            0..4 => vec![0; 1 << 20],
            4..8 => {
                let mut text = Vec::new();
                while text.len() < 1 << 20 {
                    let at = rng.index(source.len() / 2);
                    text.extend_from_slice(format!("{:x} ", rng.next()).as_bytes());
                    text.extend_from_slice(&source.as_bytes()[at..at + rng.index(200)]);
                }
                text.truncate(1 << 20);
                text
            }
            _ => rng.bytes(1 << 20),
        };
        file.write_all_at(&piece, extent << 20).unwrap();
    }
    file.sync_all().unwrap();
}

/// Changes one of a hundred pieces of 64 KiB.
fn change(device: &Path, mib: u64) {
    let file = File::options().write(true).open(device).unwrap();
    let mut rng = Rng::new(u64::from(std::process::id()) + mib);
    for _ in 0..mib * 16 / 100 {
        file.write_all_at(&rng.bytes(64 << 10), rng.below(mib * 16) * (64 << 10)).unwrap();
    }
    file.sync_all().unwrap();
}
