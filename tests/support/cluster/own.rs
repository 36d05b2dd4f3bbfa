//! The process that holds a cluster of ours, and what runs in it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::rust::repository;
use crate::support::skip::skipped;

/// Holds a cluster, which ends when this is dropped, and when this process ends however.
#[derive(Debug)]
pub(crate) struct Own {
    child: Child,
    dir: PathBuf,
}

/// Why there is no cluster.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This machine cannot have one, or it is not built.
    Unable(String),
    Broken(String),
}

impl Failure {
    /// Says *skipped* where there can be none.
    ///
    /// # Panics
    /// If there should be one.
    pub(super) fn tell(&self) {
        match self {
            Self::Unable(reason) => skipped(reason),
            Self::Broken(said) => panic!("the cluster does not come up: {said}"),
        }
    }
}

/// A process of a cluster, by its number out here.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) words: Vec<String>,
}

impl Own {
    /// Brings one up, in seconds.
    pub(super) fn start() -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let dir = PathBuf::from(format!("/var/tmp/decamp-cluster-{}-{number}", std::process::id()));
        let mut command = Command::new(scripts().join("up"));
        command.arg("--hold").arg(&dir);
        // The pipe closes when this process ends, which ends the cluster.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() == dir.join("kubeconfig").display().to_string() {
            return Ok(Self { child, dir });
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        Err(if status.code() == Some(3) { Failure::Unable(said.trim().to_owned()) } else { Failure::Broken(said) })
    }

    /// Its state.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process that holds it.
    pub(crate) fn holder(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Every process in it, its first one first; none once it has ended.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let outside = fs::read_to_string(self.dir.join("pid")).unwrap_or_default();
        let mut all: Vec<_> = outside.trim().parse::<u32>().into_iter().flat_map(children).collect();
        let mut at = 0;
        while at < all.len() {
            all.extend(children(all[at].pid));
            at += 1;
        }
        all
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// `tests/cluster/`.
pub(super) fn scripts() -> PathBuf {
    repository().join("tests/cluster")
}

/// The kubectl that is built with the cluster, or else the one on the path.
pub(super) fn kubectl() -> PathBuf {
    let built = Command::new(scripts().join("build")).arg("--check").output().unwrap();
    if built.status.success() {
        return Path::new(String::from_utf8(built.stdout).unwrap().trim()).join("kubectl");
    }
    "kubectl".into()
}

/// Whether a process has ended. One that nobody has asked for its end has, too: the first process of some machines is slow.
pub(super) fn is_over(pid: u32) -> bool {
    !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// What a process started and has not ended yet.
fn children(pid: u32) -> Vec<Process> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok())
                .map(|pid| Process { pid, words: words(pid) }),
        );
    }
    all
}

fn words(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
