//! The command that measures trees over SSH: `cargo bench --bench far -- [--files N] [--mib N] [--runs N] [--delay-ms N] [--pull]`.
//!
//! A real server in a network namespace, behind its link as it is or behind a proxy with that time of a round trip and
//! 1 Gbit/s. The ways run in turn, each to a destination of its own; times are of whole commands, until what they wrote is
//! durable; what came out is compared.
#![allow(clippy::unwrap_used, reason = "a command that cannot measure ends")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

// What the tests stand on is not used whole here.
#[allow(unused_imports)]
#[path = "../../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::env::program;
use support::rng::Rng;
use support::ssh::Sshd;

/// One way to copy a tree; a line of a shell, in which FROM and TO are directories, and SSH leads to the other side.
struct Way {
    name: &'static str,
    push: &'static str,
    pull: &'static str,
    /// It makes a second pass.
    again: bool,
}

const WAYS: [Way; 6] = [
    Way {
        name: "rsync -a",
        push: "rsync -a --delete -e 'SSH' FROM/ peer:TO/",
        pull: "rsync -a --delete -e 'SSH' peer:FROM/ TO/",
        again: true,
    },
    Way {
        name: "rsync -az",
        push: "rsync -az --delete -e 'SSH' FROM/ peer:TO/",
        pull: "rsync -az --delete -e 'SSH' peer:FROM/ TO/",
        again: true,
    },
    Way {
        name: "tar -S|lz4|ssh",
        push: "tar -C FROM -Scf - . | lz4 -q | SSH peer 'lz4 -dq | tar -C TO -xpf -'",
        pull: "SSH peer 'tar -C FROM -Scf - . | lz4 -q' | lz4 -dq | tar -C TO -xpf -",
        again: false,
    },
    Way {
        name: "tar -S|zstd|ssh",
        push: "tar -C FROM -Scf - . | zstd -q -1 | SSH peer 'zstd -dq | tar -C TO -xpf -'",
        pull: "SSH peer 'tar -C FROM -Scf - . | zstd -q -1' | zstd -dq | tar -C TO -xpf -",
        again: false,
    },
    Way {
        name: "tar|lz4|ssh",
        push: "tar -C FROM -cf - . | lz4 -q | SSH peer 'lz4 -dq | tar -C TO -xpf -'",
        pull: "SSH peer 'tar -C FROM -cf - . | lz4 -q' | lz4 -dq | tar -C TO -xpf -",
        again: false,
    },
    Way {
        name: "decamp",
        push: "DECAMP copy FROM ssh://peerTO --delete --max-delete 100% --ssh-config CONFIG",
        pull: "DECAMP copy ssh://peerFROM TO --delete --max-delete 100% --ssh-config CONFIG",
        again: true,
    },
];

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |flag: &str, or: u64| {
        let at = words.iter().position(|word| word == flag);
        at.map_or(or, |at| words[at + 1].parse().unwrap())
    };
    let (files, mib, runs) = (number("--files", 50_000), number("--mib", 1024), number("--runs", 5));
    let delay = number("--delay-ms", 0);
    let pull = words.iter().any(|word| word == "--pull");
    let Some(mut server) = Sshd::cloud() else { return };
    if delay > 0 {
        server.far_away(Duration::from_millis(delay));
    }
    let home = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| "/var/tmp".into())).unwrap();
    let (small, mixed) = (home.path().join("small"), home.path().join("mixed"));
    small_files(&small, files);
    mixed_files(&mixed, mib);
    let link = if delay > 0 { format!("{delay} ms, 1 Gbit/s") } else { "as it is".to_owned() };
    let way = if pull { "from there" } else { "to there" };
    println!("| {way}, link {link}, {runs} runs in turn | median s | min–max | ÷ rsync -a |\n|---|--:|--:|--:|");
    for (title, tree) in [(format!("{files} small files"), &small), (format!("{mib} MiB mixed, with holes"), &mixed)] {
        let mut first: Vec<Vec<f64>> = vec![Vec::new(); WAYS.len()];
        let mut again = first.clone();
        for _ in 0..runs {
            for (at, way) in WAYS.iter().enumerate() {
                let dst = home.path().join("dst");
                fs::create_dir(&dst).unwrap();
                first[at].extend(timed(&server, way, pull, tree, &dst));
                if way.again {
                    again[at].extend(timed(&server, way, pull, tree, &dst));
                }
                check(tree, &dst, way.name);
                fs::remove_dir_all(&dst).unwrap();
            }
        }
        rows(&format!("{title}, first copy"), &first);
        rows(&format!("{title}, nothing changed"), &again);
    }
}

/// How long one way takes; nothing if it cannot be gone.
fn timed(server: &Sshd, way: &Way, pull: bool, from: &Path, to: &Path) -> Option<f64> {
    let line = if pull { way.pull } else { way.push };
    let config = server.config().display().to_string();
    let line = line
        .replace("SSH", &format!("ssh -F {config}"))
        .replace("DECAMP", &program().display().to_string())
        .replace("CONFIG", &config)
        .replace("FROM", &from.display().to_string())
        .replace("TO", &to.display().to_string());
    Command::new("sync").status().unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").ok();
    let script = format!("set -eo pipefail; {line}; sync -f '{}'", to.display());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env("XDG_RUNTIME_DIR", server.dir());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let ended = command.output().unwrap();
    let took = began.elapsed().as_secs_f64();
    if !ended.status.success() {
        eprintln!("{}: {}", way.name, String::from_utf8_lossy(&ended.stderr).trim());
        return None;
    }
    Some(took)
}

fn check(left: &Path, right: &Path, name: &str) {
    let same = Command::new("diff").args(["-rq", "--no-dereference"]).arg(left).arg(right).output().unwrap();
    if !same.status.success() {
        eprintln!("{name}: what came out is not the same");
    }
}

fn rows(title: &str, times: &[Vec<f64>]) {
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let base = median(&times[0]);
    for (way, times) in WAYS.iter().zip(times) {
        let Some(own) = median(times) else { continue };
        let (least, most) = times.iter().fold((f64::MAX, 0f64), |(a, b), time| (a.min(*time), b.max(*time)));
        let ratio = base.map_or("–".to_owned(), |base| format!("{:.2}", own / base));
        println!("| {title}: {} | {own:.2} | {least:.2}–{most:.2} | {ratio} |", way.name);
    }
}

/// Text that can be compressed about as source code can.
fn text(rng: &mut Rng, length: usize) -> Vec<u8> {
    let source = include_bytes!("main.rs");
    let mut out = Vec::with_capacity(length + 200);
    while out.len() < length {
        let at = rng.index(source.len() - 200);
        out.extend_from_slice(format!("{:x} ", rng.next() as u32).as_bytes());
        out.extend_from_slice(&source[at..at + rng.index(200)]);
    }
    out.truncate(length);
    out
}

fn small_files(root: &Path, count: u64) {
    let mut rng = Rng::new(1);
    for number in 0..count {
        let dir: PathBuf = root.join(format!("{}/{}", number / 10_000, number / 100 % 100));
        if number % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        let length = 200 + rng.index(6_000);
        fs::write(dir.join(format!("file-{number}.txt")), text(&mut rng, length)).unwrap();
    }
}

fn mixed_files(root: &Path, mib: u64) {
    let mut rng = Rng::new(2);
    fs::create_dir_all(root).unwrap();
    let (mut left, mut number) = (mib << 20, 0u64);
    while left > 0 {
        number += 1;
        let dir = root.join(format!("{}", number % 50));
        fs::create_dir_all(&dir).unwrap();
        let length = match number % 40 {
            0 => 16 << 20,
            1..5 => 1 << 20,
            _ => 1 + rng.below(64 << 10),
        }
        .min(left);
        let content = if number % 3 == 0 { rng.bytes(length as usize) } else { text(&mut rng, length as usize) };
        let file = File::create_new(dir.join(format!("file-{number}"))).unwrap();
        // Every large file has a hole as long as it is itself.
        let gap = if length >= 1 << 20 { length } else { 0 };
        file.write_all_at(&content[..content.len() / 2], 0).unwrap();
        file.write_all_at(&content[content.len() / 2..], content.len() as u64 / 2 + gap).unwrap();
        left -= length;
    }
}
