//! What the program does with its command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::args::{self, Args, HELP, Options};
use super::floor::{Act, floor};
use super::peers::{self, Tools};
use super::record::{self, Record};
use super::rounds::Bench;
use super::scenarios::{self, Scenario};
use super::{About, Outcome, fidelity, table, timed, verdict};

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let said = match words.first().and_then(|word| word.to_str()) {
        Some(timed::WORD) => timed::helper(&words[1..]).map(|text| (text, true)),
        Some("floor") => floor_of(&words[1..]).map(|entries| (format!("{entries} entries\n"), true)),
        _ => match args::parse(&words) {
            Ok(args) => done(args),
            Err(wrong) => {
                eprintln!("error: {wrong}");
                return ExitCode::from(2);
            }
        },
    };
    match said {
        Ok((text, good)) => {
            print!("{text}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what is left to print, and whether decamp has kept everything.
fn done(args: Args) -> Outcome<(String, bool)> {
    let options = match args {
        Args::Help => return Ok((HELP.into(), true)),
        Args::List => return Ok((scenarios::list()?, true)),
        Args::Measure(options) => options,
    };
    let chosen = scenarios::chosen(&options.scenarios)?;
    let records = match &options.from {
        Some(file) => {
            let mut records = record::newest(file)?;
            records.retain(|record| chosen.iter().any(|scenario| scenario.name == record.scenario));
            if !options.markdown {
                for scenario in &chosen {
                    show(scenario, &records, &[]);
                }
            }
            records
        }
        None => measure(&options, &chosen)?,
    };
    let text = if options.markdown { table::markdown(&records) } else { String::new() };
    Ok((text, complaints(&records).is_empty()))
}

/// Measures scenario after scenario, and shows each.
fn measure(options: &Options, chosen: &[Scenario]) -> Outcome<Vec<Record>> {
    let bench = bench(options)?;
    let mut records = Vec::new();
    for scenario in chosen {
        eprintln!("{}", scenario.title);
        let measured = bench.measure(scenario, &mut |record| {
            let timed = &record.timed;
            let mark = if record.disturbed { ", disturbed" } else { "" };
            eprintln!(
                "  run {} {:<11} {:>9.3} s synced, {:.3} s exit; others: {:.2} s, {} MiB{mark}; lost: {}",
                record.run,
                record.peer,
                timed.synced,
                timed.exit,
                record.foreign,
                record.foreign_disk >> 20,
                fidelity::shown(record.lost.as_ref())
            );
            // At once: an interrupted measurement has figures, too.
            options.json.as_ref().map_or(Ok(()), |file| record::append(file, record))
        })?;
        if !options.markdown {
            show(scenario, &measured.records, &measured.missing);
        }
        records.extend(measured.records);
    }
    for complaint in complaints(&records) {
        eprintln!("error: {complaint}");
    }
    Ok(records)
}

fn bench(options: &Options) -> Outcome<Bench> {
    if !rustix::process::geteuid().is_root() {
        return Err("file systems are mounted: run it as root".into());
    }
    for name in &options.peers {
        peers::peer(name)?;
    }
    let dir = options.dir.canonicalize().at(&options.dir)?;
    // One of the peers is a line of shell.
    if dir.to_str().is_none_or(|dir| dir.contains(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c))) {
        return Err(format!("{}: choose a --dir of plain letters", dir.display()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).about("signals")?;
    }
    Ok(Bench {
        tools: Tools {
            decamp: PathBuf::from(env!("CARGO_BIN_EXE_decamp")),
            own: Some(std::env::current_exe().about("the path of this program")?),
        },
        dir,
        runs: options.runs,
        scale: options.scale,
        only: options.peers.clone(),
        check_all: options.check_all,
        patience: options.patience,
        session: jiff::Timestamp::now().as_second(),
        machine: record::machine(),
        stop,
    })
}

fn show(scenario: &Scenario, records: &[Record], missing: &[String]) {
    let rows = table::rows(scenario, records);
    if rows.is_empty() {
        return;
    }
    println!("{} ({})\n\n{}", table::title(scenario, &rows), scenario.name, table::text(&rows));
    for line in missing {
        println!("{line}");
    }
    for line in verdict::verdicts(scenario, &rows) {
        println!("{line}");
    }
    println!();
    // Seen as it happens, also in a pipe.
    std::io::stdout().flush().ok();
}

/// Every run in which decamp lost something.
pub(crate) fn complaints(records: &[Record]) -> Vec<String> {
    let own = records.iter().filter(|record| record.peer.starts_with("decamp"));
    let complaint = |record: &Record| {
        let lost = record.lost.as_ref().filter(|lost| !lost.is_empty())?;
        let what = fidelity::shown(Some(lost));
        Some(format!("{}, run {}: {} lost: {what}", record.scenario, record.run, record.peer))
    };
    own.filter_map(complaint).collect()
}

/// `floor copy|copy-xattrs|scan|scan-listed THREADS SRC DST`
fn floor_of(words: &[OsString]) -> Outcome<u64> {
    let [act, threads, src, dst] = words else { return Err("floor ACT THREADS SRC DST".into()) };
    let act = match act.to_str() {
        Some("copy") => Act::Copy { xattrs: false },
        Some("copy-xattrs") => Act::Copy { xattrs: true },
        Some("scan") => Act::Scan { list: false },
        Some("scan-listed") => Act::Scan { list: true },
        _ => return Err(format!("the floor does not {}", act.display())),
    };
    let threads = threads.to_str().and_then(|text| text.parse().ok()).ok_or("the floor takes a number of threads")?;
    // Modes are given as they are.
    rustix::process::umask(rustix::fs::Mode::empty());
    floor(act, threads, Path::new(src), Path::new(dst))
}
