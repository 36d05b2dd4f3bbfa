//! One run of a command: how long it took, until it ended and until its destination was synced; what it cost.
//!
//! It is started by a small process of its own. A program inherits the peak memory of the process that starts it, and this
//! one is large by the time a tree has been checked.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

use super::{About, Outcome};

/// What one run took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timed {
    /// Seconds until the command had ended.
    pub(crate) exit: f64,
    /// Seconds until the destination's file system was synced after that.
    pub(crate) synced: f64,
    /// Processor seconds of the command and all it started.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// Bytes of memory of the largest of its processes.
    pub(crate) memory: u64,
    /// Exit status; 128 and the number of the signal if one killed it.
    pub(crate) status: i32,
}

/// A command to run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) words: Vec<OsString>,
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// A path on the file system that is synced.
    pub(crate) synced: PathBuf,
    /// Takes what the command prints.
    pub(crate) output: PathBuf,
}

/// The word that makes this program the small process.
pub(crate) const WORD: &str = "timed";

impl Job {
    /// Runs it, through `helper` if there is one.
    pub(crate) fn run(&self, helper: Option<&Path>) -> Outcome<Timed> {
        let Some(helper) = helper else { return self.here() };
        let mut command = Command::new(helper);
        command.arg(WORD).arg(&self.synced).arg(&self.output).args(&self.words);
        let env = self.env.iter().map(|(name, value)| (name, value));
        let output = command.envs(env).stdin(Stdio::null()).stderr(Stdio::inherit()).output().at(helper)?;
        if !output.status.success() {
            return Err(format!("the process that takes the time failed ({})", output.status));
        }
        serde_json::from_slice(&output.stdout).about("the process that takes the time")
    }

    /// Runs it from this process. Memory is then that of the largest process ever started from here.
    fn here(&self) -> Outcome<Timed> {
        let [program, args @ ..] = &self.words[..] else { return Err("no command to run".into()) };
        let output = File::create(&self.output).at(&self.output)?;
        let errors = output.try_clone().at(&self.output)?;
        let place = File::open(&self.synced).at(&self.synced)?;
        let mut command = Command::new(program);
        command.args(args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let before = children()?;
        let start = Instant::now();
        let status = command.status().at(Path::new(program))?;
        let exit = start.elapsed();
        rustix::fs::syncfs(&place).at(&self.synced)?;
        let synced = start.elapsed();
        let after = children()?;
        Ok(Timed {
            exit: exit.as_secs_f64(),
            synced: synced.as_secs_f64(),
            user: seconds(after.user_time()) - seconds(before.user_time()),
            system: seconds(after.system_time()) - seconds(before.system_time()),
            memory: u64::try_from(after.max_rss()).unwrap_or(0) * 1024,
            status: status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
        })
    }
}

/// Is the small process: `timed SYNCED OUTPUT COMMAND…` prints a [`Timed`].
pub(crate) fn helper(words: &[OsString]) -> Outcome<String> {
    let [synced, output, words @ ..] = words else { return Err("timed SYNCED OUTPUT COMMAND…".into()) };
    let path = |word: &OsStr| PathBuf::from(word);
    let job = Job { words: words.to_vec(), env: Vec::new(), synced: path(synced), output: path(output) };
    serde_json::to_string(&job.here()?).about("a record")
}

fn children() -> Outcome<Usage> {
    getrusage(UsageWho::RUSAGE_CHILDREN).about("getrusage")
}

pub(super) fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
