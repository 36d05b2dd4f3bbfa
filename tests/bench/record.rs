//! The figures of one run, as they are kept: a line of JSON each.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fidelity::Lost;
use super::timed::Timed;
use super::{About, Outcome};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When the command that measured was started, in seconds since 1970: runs in turn have the same.
    pub(crate) session: i64,
    pub(crate) machine: String,
    pub(crate) scenario: String,
    pub(crate) peer: String,
    /// Entries of the tree, and bytes of content.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// From 1 on.
    pub(crate) run: u32,
    #[serde(flatten)]
    pub(crate) timed: Timed,
    /// Processor seconds of others meanwhile, bytes they moved on disks, and whether that was too much each time it
    /// was tried.
    pub(crate) foreign: f64,
    pub(crate) foreign_disk: u64,
    pub(crate) disturbed: bool,
    /// What the copy has not kept; nothing if it was not looked at.
    pub(crate) lost: Option<Lost>,
}

/// Adds a record to a file.
pub(crate) fn append(path: &Path, record: &Record) -> Outcome<()> {
    let line = serde_json::to_string(record).about("a record")? + "\n";
    let mut file = OpenOptions::new().create(true).append(true).open(path).at(path)?;
    file.write_all(line.as_bytes()).at(path)
}

/// All records of a file; of each scenario only what was measured last.
pub(crate) fn newest(path: &Path) -> Outcome<Vec<Record>> {
    let text = fs::read_to_string(path).at(path)?;
    let lines = (1..).zip(text.lines());
    let parsed =
        lines.map(|(number, line)| serde_json::from_str(line).map_err(|e| format!("{}:{number}: {e}", path.display())));
    let all: Vec<Record> = parsed.collect::<Outcome<_>>()?;
    let last = |scenario: &str| all.iter().filter(|of| of.scenario == scenario).map(|of| of.session).max();
    Ok(all.iter().filter(|record| last(&record.scenario) == Some(record.session)).cloned().collect())
}

/// The kind of machine this is: processors, memory, kernel.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let cpu = read("/proc/cpuinfo");
    let processors = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let model = field(&cpu, "model name").unwrap_or_else(|| "unknown".into());
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: f64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let version: Vec<_> = kernel.trim().splitn(3, '.').take(2).collect();
    format!("{processors} × {model}, {:.0} GiB, Linux {}", kib / (1 << 20) as f64, version.join("."))
}
