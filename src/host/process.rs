//! Whether a command that was started by a process that died still runs.
//!
//! A number alone does not tell: numbers of processes are used again, also after a restart of the machine. With the time
//! of its start and the boot it belongs to it does.

use serde::{Deserialize, Serialize};

/// Name of the variable that tells a command, and whoever looks for it, which effect it is.
pub const MARK: &str = "DECAMP_EFFECT";

/// A process on this machine, beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot.
    pub start: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

impl Process {
    /// The process of that number, also one that has ended and was not collected; `None` if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start: Stat::of(pid)?.start, boot_id: boot_id()? })
    }

    /// Whether that very process still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        boot_id().as_ref() == Some(&self.boot_id)
            && Stat::of(self.pid).is_some_and(|stat| stat.runs && stat.start == self.start)
    }

    /// A command that was started for the effect of this key and still runs: itself, not what it has left behind.
    #[must_use]
    pub fn marked(key: &str) -> Option<Self> {
        let entry = format!("{MARK}={key}");
        let numbers = std::fs::read_dir("/proc").ok()?.flatten();
        let mut pids = numbers.filter_map(|dir| dir.file_name().to_str()?.parse::<u32>().ok());
        let found = pids.find(|pid| {
            // A command is started as the leader of a group of its own.
            Stat::of(*pid).is_some_and(|stat| stat.runs && stat.group == *pid)
                && std::fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|vars| vars.split(|byte| *byte == 0).any(|var| var == entry.as_bytes()))
        });
        found.and_then(Self::of)
    }
}

/// What is needed of `/proc/PID/stat`.
struct Stat {
    /// It has not ended. One that has stays in the list until it is collected.
    runs: bool,
    group: u32,
    start: u64,
}

impl Stat {
    /// `None` if there is no such process.
    fn of(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the command in parentheses and may hold spaces: count from behind it.
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        let runs = !matches!(*fields.first()?, "Z" | "X");
        Some(Self { runs, group: fields.get(2)?.parse().ok()?, start: fields.get(19)?.parse().ok()? })
    }
}

fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn a_process_is_known_as_long_as_it_runs_and_no_longer() {
        let mut child =
            Command::new("sleep").arg("60").env(MARK, "some-key-of-a-test").process_group(0).spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.lives());
        // A process is there a moment before its environment can be read.
        while Process::marked("some-key-of-a-test").as_ref() != Some(&process) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!Process { start: process.start + 1, ..process.clone() }.lives());
        assert!(!Process { boot_id: "another".into(), ..process.clone() }.lives());
        child.kill().unwrap();
        // Not collected yet: it has ended all the same.
        while process.lives() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(Process::of(child.id()).as_ref(), Some(&process));
        child.wait().unwrap();
        assert_eq!(Process::marked("some-key-of-a-test"), None);
        assert_eq!(Process::of(u32::MAX), None);
    }
}
