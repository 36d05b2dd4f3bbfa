//! What others did to the machine while something was measured.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::timed::{Timed, seconds};
use super::{About, Outcome};

/// The processors and disks when a run began.
#[derive(Debug)]
pub(crate) struct Meter {
    machine: Ticks,
    own: f64,
    /// Loop devices of the place; none if disks do not matter there.
    devices: Vec<String>,
    others_on_disk: u64,
}

/// What others did during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Foreign {
    /// Processor seconds.
    pub(crate) cpu: f64,
    /// Bytes read from disks and written to them.
    pub(crate) disk: u64,
}

/// Processor seconds of the whole machine since it was started.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    /// In programs. The kernel's own threads have none of it, so that writing back is nobody's fault.
    user: f64,
    /// In programs and kernel.
    busy: f64,
    /// Taken away by other machines on the same host.
    stolen: f64,
}

impl Meter {
    pub(crate) fn start(devices: &[String]) -> Outcome<Self> {
        let others_on_disk = others_on_disk(devices)?;
        Ok(Self { machine: ticks()?, own: own()?, devices: devices.to_vec(), others_on_disk })
    }

    /// What neither the command that was measured nor this program did.
    pub(crate) fn foreign(&self, timed: &Timed) -> Outcome<Foreign> {
        let now = ticks()?;
        let user = now.user - self.machine.user - timed.user - (own()? - self.own);
        let cpu = (user + now.stolen - self.machine.stolen).max(0.0);
        Ok(Foreign { cpu, disk: others_on_disk(&self.devices)?.saturating_sub(self.others_on_disk) })
    }
}

impl Foreign {
    /// How much that was, in parts of what makes a run worthless.
    pub(crate) fn share(&self, timed: &Timed) -> f64 {
        // The kernel counts processor time in hundredths of a second, for each processor.
        let cpu = self.cpu / (0.1 * timed.synced + 0.05);
        // Journals and maps of the file system the images are on are a few MiB.
        let disk = self.disk as f64 / ((16 << 20) as f64 * (timed.synced + 1.0));
        cpu.max(disk)
    }
}

/// Bytes moved on the disks of the machine, without those that went through these loop devices.
fn others_on_disk(devices: &[String]) -> Outcome<u64> {
    if devices.is_empty() {
        return Ok(0);
    }
    let text = fs::read_to_string("/proc/diskstats").about("/proc/diskstats")?;
    let (mut all, mut own) = (0, 0);
    for line in text.lines() {
        // major minor name, reads merged sectors ms, writes merged sectors ms, …
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, _, name, _, _, read, _, _, _, written, ..] = words[..] else { continue };
        let sectors = read.parse().unwrap_or(0u64) + written.parse().unwrap_or(0u64);
        if devices.iter().any(|device| device.strip_prefix("/dev/") == Some(name)) {
            own += sectors;
        } else if Path::new("/sys/block").join(name).join("device").exists() {
            // Neither a part of a disk nor a device on top of others.
            all += sectors;
        }
    }
    Ok(all.saturating_sub(own) * 512)
}

/// Waits until the machine has been idle for a moment, at most so long; whether it was.
pub(crate) fn wait(limit: Duration) -> Outcome<bool> {
    const MOMENT: Duration = Duration::from_millis(300);
    let start = Instant::now();
    loop {
        let before = ticks()?;
        thread::sleep(MOMENT);
        if ticks()?.busy - before.busy < 0.15 * MOMENT.as_secs_f64() {
            return Ok(true);
        }
        if start.elapsed() >= limit {
            return Ok(false);
        }
    }
}

/// What this very process used.
fn own() -> Outcome<f64> {
    Ok(seconds(getrusage(UsageWho::RUSAGE_SELF).about("getrusage")?.user_time()))
}

fn ticks() -> Outcome<Ticks> {
    let text = fs::read_to_string("/proc/stat").about("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let values: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = values[..] else {
        return Err(format!("/proc/stat begins with {line:?}"));
    };
    // Linux shows a hundred of them a second, whatever it counts in.
    let seconds = |ticks: f64| ticks / 100.0;
    let busy = user + nice + system + irq + softirq;
    Ok(Ticks { user: seconds(user + nice), busy: seconds(busy), stolen: seconds(steal) })
}
