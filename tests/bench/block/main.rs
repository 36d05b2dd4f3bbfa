//! The command that measures copies of block devices: `cargo bench --bench block -- --help`.
//!
//! The ways run in turn, each on a target of zeros and a cold cache; what came out is compared byte for byte. Times are
//! until the target is durable.
#![allow(clippy::unwrap_used, reason = "a command that cannot measure ends")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod far;
// Tests within these modules are no part of this program, and leave things without use.
#[allow(unused_imports)]
#[path = "../../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use decamp::block::{self, Compress, Endpoint, Options, Verify, Work};
use decamp::cancel::Cancel;
use decamp::progress::{Forgetful, Silent};
use decamp::wire::pair;
use support::rng::Rng;

/// One way to copy: what it is called, whether it is a second pass, which programs it needs, and what it does, given source,
/// target and a file for digests. `false`: it failed.
struct Way {
    name: &'static str,
    second: bool,
    needs: &'static [&'static str],
    /// What it does of a first pass for the second one, past the time that is taken.
    keeps: Option<Go>,
    go: Go,
}

type Go = Box<dyn Fn(&Path, &Path, &Path) -> bool>;

impl Way {
    fn first(name: &'static str, go: impl Fn(&Path, &Path, &Path) -> bool + 'static) -> Self {
        Self { name, second: false, needs: &[], keeps: None, go: Box::new(go) }
    }

    fn second(name: &'static str, go: impl Fn(&Path, &Path, &Path) -> bool + 'static) -> Self {
        Self { second: true, ..Self::first(name, go) }
    }

    fn needs(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    fn keeps(self, keeps: impl Fn(&Path, &Path, &Path) -> bool + 'static) -> Self {
        Self { keeps: Some(Box::new(keeps)), ..self }
    }

    /// The programs it needs and this machine has not.
    fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.needs.iter().copied().filter(|name| !shell("which", &[name]))
    }
}

/// Behind the name of a second pass.
const AGAIN: &str = ", 1 %";

/// Ways within this machine; the second is what the others are compared with.
fn here() -> Vec<Way> {
    vec![
        Way::first("dd, direct", |source, target, _| {
            let end = |name: &str, path: &Path| format!("{name}={}", path.display());
            let words = ["bs=1M", "iflag=direct", "oflag=direct", "conv=fsync"];
            shell("dd", &[&[&*end("if", source), &*end("of", target)], &words[..]].concat())
        }),
        Way::first("nbdcopy", |source, target, _| {
            let end = |path: &Path| {
                ["[".into(), "nbdkit".into(), "-f".into(), "file".into(), path.display().to_string(), "]".into()]
            };
            let words: Vec<String> = ["--flush".to_owned()].into_iter().chain(end(source)).chain(end(target)).collect();
            shell("nbdcopy", &words.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .needs(&["nbdcopy", "nbdkit"]),
        Way::first("decamp", |source, target, _| copy(local(source), local(target), Verify::None, None)),
        Way::first("decamp, read back", |source, target, _| copy(local(source), local(target), Verify::Written, None)),
        Way::first("decamp, 4 lines, as it is", |source, target, _| lines(source, target, Compress::Never)),
        Way::first("decamp, 4 lines, zstd:1", |source, target, _| lines(source, target, Compress::Level(1))),
        Way::first("decamp, 4 lines, auto", |source, target, _| lines(source, target, Compress::Auto)),
        Way::second("decamp, 1 %", |source, target, digests| {
            copy(local(source), local(target), Verify::Written, Some(digests))
        }),
    ]
}

const USAGE: &str = "cargo bench --bench block -- [--ssh [--delay-ms N]] [--mib N] [--scale N] [--runs N]

Two loop devices past the page cache, 40 % zeros, 40 % text, 20 % noise. Without --ssh both are here; with it the source
is on a server in a network namespace, with --delay-ms behind a proxy with that time of a round trip and 1 Gbit/s.
--mib: the size (1024); --scale: a fraction of it, as 0.05; --runs: 5 each.";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let given = |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    if words.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return;
    }
    let scale: f64 = given("--scale").map_or(1.0, |text| text.parse().unwrap());
    let mib: u64 = given("--mib").map_or(1024, |text| text.parse().unwrap());
    let mib = ((mib as f64 * scale) as u64).max(16);
    let runs: usize = given("--runs").map_or(5, |text| text.parse().unwrap());
    if words.iter().any(|word| word == "--ssh") {
        let Some(mut server) = support::ssh::Sshd::cloud() else { return };
        if let Some(delay) = given("--delay-ms") {
            server.far_away(Duration::from_millis(delay.parse().unwrap()));
        }
        let far = far::Server::new(&server);
        measure(&far::ways(&far), &["document", "zstd -1", "nbdcopy", "bdsync", "blocksync-fast"], mib, runs);
        return;
    }
    measure(&here(), &["nbdcopy"], mib, runs);
}

/// Runs the ways in turn, and prints the medians, each beside those of the ways it is compared with: a second pass beside
/// theirs, or beside the whole copy of those that know no other.
fn measure(ways: &[Way], beside: &[&str], mib: u64, runs: usize) {
    let missing: BTreeSet<_> = ways.iter().flat_map(Way::missing).collect();
    if !missing.is_empty() {
        println!("not installed, so that what needs it is not run: {}\n", Vec::from_iter(missing).join(", "));
    }
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (Disk::new(home.path(), "source", mib), Disk::new(home.path(), "target", mib));
    fill(&source.0, mib);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    for round in 0..runs {
        for (way, times) in ways.iter().zip(&mut times) {
            if way.missing().next().is_some() {
                continue;
            }
            let digests = home.path().join("digests");
            if way.second {
                fs::remove_file(&digests).ok();
                assert!(copy(local(&source.0), local(&target.0), Verify::None, Some(&digests)));
                assert!(way.keeps.as_ref().is_none_or(|keeps| keeps(&source.0, &target.0, &digests)), "{}", way.name);
                change(&source.0, mib, round as u64);
            } else {
                assert!(shell("blkdiscard", &["-f", "-z", &target.0.display().to_string()]));
            }
            shell("sync", &[]);
            fs::write("/proc/sys/vm/drop_caches", "3").ok();
            let began = Instant::now();
            if !(way.go)(&source.0, &target.0, &digests) {
                eprintln!("{} failed", way.name);
                continue;
            }
            shell("sync", &[]);
            times.push(began.elapsed().as_secs_f64());
            let (left, right) = (source.0.display().to_string(), target.0.display().to_string());
            assert!(shell("cmp", &[&left, &right]), "{} did not copy", way.name);
        }
    }
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let columns: String = beside.iter().map(|name| format!(" ÷ {name} |")).collect();
    println!("| {mib} MiB, {runs} runs in turn | median s | min–max |{columns}");
    println!("|---|--:|--:|{}", "--:|".repeat(beside.len()));
    for (way, own) in ways.iter().zip(&times) {
        let name = way.name;
        let Some(middle) = median(own) else {
            println!("| {name} | not run | |{}", " |".repeat(beside.len()));
            continue;
        };
        let (least, most) = own.iter().fold((f64::MAX, 0f64), |(a, b), time| (a.min(*time), b.max(*time)));
        let ratio = |other: &&str| {
            let called = |name: &str| ways.iter().position(|way| way.name == name);
            let second = called(&format!("{other}{AGAIN}")).filter(|_| way.second);
            let base = second.or_else(|| called(other)).and_then(|at| median(&times[at]));
            base.map_or(" – |".to_owned(), |base| format!(" {:.3} |", middle / base))
        };
        let ratios: String = beside.iter().map(ratio).collect();
        println!("| {name} | {middle:.2} | {least:.2}–{most:.2} |{ratios}");
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

/// A loop device over an image; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(home: &Path, name: &str, mib: u64) -> Self {
        let image = home.join(name);
        File::create_new(&image).unwrap().set_len(mib << 20).unwrap();
        let made = Command::new("losetup").args(["--direct-io=on", "--find", "--show"]).arg(&image).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        shell("losetup", &["-d", &self.0.display().to_string()]);
    }
}

/// 40 % zeros, 40 % text, 20 % noise, by pieces of 1 MiB.
fn fill(device: &Path, mib: u64) {
    let file = File::options().write(true).open(device).unwrap();
    let mut rng = Rng::new(1);
    let source = include_str!("main.rs");
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
fn change(device: &Path, mib: u64, round: u64) {
    let file = File::options().write(true).open(device).unwrap();
    let mut rng = Rng::new((u64::from(std::process::id()) << 20) + (mib << 8) + round);
    for _ in 0..mib * 16 / 100 {
        file.write_all_at(&rng.bytes(64 << 10), rng.below(mib * 16) * (64 << 10)).unwrap();
    }
    file.sync_all().unwrap();
}
