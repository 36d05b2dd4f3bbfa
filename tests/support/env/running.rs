//! A program while it runs: watched, signalled, killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Ran;

/// No test waits longer than this for a program.
const PATIENCE: Duration = Duration::from_secs(600);

/// A started program. Dropped while it runs, it is killed with all it started.
pub(crate) struct Running {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    streams: Arc<Streams>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Streams {
    text: Mutex<[Vec<u8>; 2]>,
    grew: Condvar,
    ended: AtomicBool,
    peak: AtomicU64,
}

impl Running {
    pub(super) fn start(mut command: Command, stdin: Vec<u8>) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let streams = Arc::new(Streams::default());
        let mut readers = Vec::new();
        let mut input = child.stdin.take().unwrap();
        readers.push(thread::spawn(move || {
            // A program may end without reading its input.
            input.write_all(&stdin).ok();
        }));
        let output: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for (which, stream) in output.into_iter().enumerate() {
            let streams = streams.clone();
            readers.push(thread::spawn(move || collect(which, stream, &streams)));
        }
        let watched = (child.id(), streams.clone());
        let watcher = thread::spawn(move || watch_memory(watched.0, &watched.1));
        Self { child, readers, streams, watcher: Some(watcher) }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the program and all it started.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).unwrap();
    }

    /// Waits until either stream has `text`; false if the program ended without it.
    ///
    /// # Panics
    /// After ten minutes.
    pub(crate) fn says(&mut self, text: &str) -> bool {
        let start = Instant::now();
        let mut seen = self.streams.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if seen.iter().any(|stream| contains(stream, text.as_bytes())) {
                return true;
            }
            if self.readers.iter().all(JoinHandle::is_finished) {
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "{text:?} is not said");
            let wait = self.streams.grew.wait_timeout(seen, Duration::from_millis(50));
            seen = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Kills it (SIGKILL) after a while, and says what it had done till then. One that ended before is left alone.
    pub(crate) fn kill_after(mut self, span: Duration) -> Ran {
        let start = Instant::now();
        while start.elapsed() < span && self.child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_micros(200).min(span));
        }
        kill_process_group(self.pid(), Signal::KILL).ok();
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After ten minutes; the program is killed then.
    pub(crate) fn wait(mut self) -> Ran {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > PATIENCE {
                kill_process_group(self.pid(), Signal::KILL).ok();
                panic!("the program does not end");
            }
            thread::sleep(Duration::from_millis(2));
        };
        self.streams.ended.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..).chain(self.watcher.take()) {
            reader.join().unwrap();
        }
        let text = self.streams.text.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = [&text[0], &text[1]].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Ran { status: code(status), stdout, stderr, peak_memory: self.streams.peak.load(Ordering::Relaxed) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            kill_process_group(self.pid(), Signal::KILL).ok();
            self.child.wait().ok();
        }
        self.streams.ended.store(true, Ordering::Relaxed);
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()
}

fn contains(stream: &[u8], text: &[u8]) -> bool {
    stream.windows(text.len()).any(|window| window == text)
}

fn collect(which: usize, stream: Box<dyn Read + Send>, streams: &Streams) {
    let mut stream = BufReader::new(stream);
    loop {
        let got = match stream.fill_buf() {
            Ok(bytes) => bytes.to_vec(),
            // A terminal ends with an error.
            Err(_) => Vec::new(),
        };
        if got.is_empty() {
            streams.grew.notify_all();
            return;
        }
        stream.consume(got.len());
        streams.text.lock().unwrap_or_else(PoisonError::into_inner)[which].extend_from_slice(&got);
        streams.grew.notify_all();
    }
}

/// The kernel keeps the high-water mark; it is gone with the process, so it is asked for all the time.
fn watch_memory(pid: u32, streams: &Streams) {
    let path = format!("/proc/{pid}/status");
    while !streams.ended.load(Ordering::Relaxed) {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok())
        {
            streams.peak.fetch_max(kib * 1024, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
