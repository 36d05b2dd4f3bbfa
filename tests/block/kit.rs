//! What the tests of the block engine share: disks of known content, a store in memory, lines that count and break.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use decamp::block::{self, Endpoint, Error, Options, Report, Work};
use decamp::cancel::Cancel;
use decamp::progress::{Checkpoint, CheckpointError, Forgetful, Record, Silent, Visit};
use decamp::wire::{Broken, Inbox, Line, Outbox};

use crate::support::rng::Rng;
use crate::support::skip::{needs_root, skipped};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GRAIN: usize = 64 << 10;
/// Nothing in these tests takes as long.
const LIMIT: Duration = Duration::from_secs(100);

/// Bytes of a test device: 64 MiB, or 1 GiB with `DECAMP_BIG=1`.
pub(crate) fn size() -> u64 {
    if std::env::var_os("DECAMP_BIG").is_some() { 1 << 30 } else { 64 * MIB }
}

/// A loop device over an image of its own; gone when dropped.
pub(crate) struct Disk {
    _home: tempfile::TempDir,
    pub(crate) image: PathBuf,
    pub(crate) path: PathBuf,
}

impl Disk {
    /// A device that holds zeros. `None`, and *skipped* said, where none can be made.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        if !needs_root("a loop device") {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let image = home.path().join("image");
        File::create_new(&image).unwrap().set_len(bytes).unwrap();
        let path = attach(&image, &[])?;
        Some(Self { _home: home, image, path })
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        write(&self.path, at, bytes);
    }

    pub(crate) fn holds(&self) -> Vec<u8> {
        content(&self.path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        detach(&self.path);
    }
}

/// Attaches a file to a free loop device.
pub(crate) fn attach(image: &Path, options: &[&str]) -> Option<PathBuf> {
    let made = Command::new("losetup").args(options).args(["--find", "--show"]).arg(image).output();
    match made {
        Ok(made) if made.status.success() => Some(String::from_utf8(made.stdout).unwrap().trim().into()),
        Ok(made) => {
            skipped(&format!("no loop device: {}", String::from_utf8_lossy(&made.stderr)));
            None
        }
        Err(error) => {
            skipped(&format!("no losetup: {error}"));
            None
        }
    }
}

pub(crate) fn detach(path: &Path) {
    Command::new("losetup").arg("-d").arg(path).status().ok();
}

/// Writes to a device or image, to the medium.
pub(crate) fn write(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
    file.sync_all().unwrap();
}

/// All that a device or image holds.
pub(crate) fn content(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// 40 % zeros, 40 % text, 20 % noise, in pieces from a sector to some extents.
pub(crate) fn mixed(seed: u64, bytes: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut out = Vec::with_capacity(usize::try_from(bytes).unwrap());
    let len = usize::try_from(bytes).unwrap();
    while out.len() < len {
        let piece = 512 << rng.index(14);
        let piece = piece.min(len - out.len());
        match rng.below(10) {
            0..4 => out.resize(out.len() + piece, 0),
            4..8 => {
                let word = rng.next();
                let line = format!("{word:x}: the quick brown fox {} jumps over the lazy dog\n", word % 97);
                out.extend(line.bytes().cycle().take(piece));
            }
            _ => out.extend(rng.bytes(piece)),
        }
    }
    out
}

/// Source and target of the same size; the source holds [`mixed`] content.
pub(crate) fn disks(seed: u64, bytes: u64) -> Option<(Disk, Disk, Vec<u8>)> {
    let (source, target) = (Disk::new(bytes)?, Disk::new(bytes)?);
    let held = mixed(seed, bytes);
    source.write(0, &held);
    Some((source, target, held))
}

pub(crate) fn copy(source: &Path, target: &Path, options: &Options) -> Result<Report, Error> {
    copy_with(Endpoint::local(source), Endpoint::local(target), options, &Forgetful)
}

pub(crate) fn copy_with(
    source: Endpoint,
    target: Endpoint,
    options: &Options,
    checkpoint: &dyn Checkpoint,
) -> Result<Report, Error> {
    // What hangs fails.
    let cancel = Cancel::new().until(Instant::now() + LIMIT);
    block::copy(source, target, options, &Work { progress: &Silent, checkpoint, cancel: &cancel })
}

/// Remembers in memory, as long as the test wants.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Rows>);

/// Values by kind and key.
type Rows = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

impl Checkpoint for Memory {
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError> {
        let mut kept = self.0.lock().unwrap();
        for record in records {
            let key = (record.kind, record.key.to_vec());
            match record.value {
                Some(value) => _ = kept.insert(key, value.to_vec()),
                None => _ = kept.remove(&key),
            }
        }
        Ok(())
    }

    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.0.lock().unwrap().get(&(kind, key.to_vec())).cloned())
    }

    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        assert!(!reverse, "the block engine visits forward");
        let kept = self.0.lock().unwrap().clone();
        for ((of, key), value) in &kept {
            if *of == kind && key.starts_with(prefix) && !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        Ok(())
    }
}

/// What crosses lines: counted, and cut when enough has.
#[derive(Clone)]
pub(crate) struct Watch {
    /// Messages until every line breaks, in both directions.
    left: Arc<AtomicI64>,
    /// How often data of each extent arrived whole at the target.
    arrived: Arc<Mutex<BTreeMap<u64, u32>>>,
    /// Bytes of all messages.
    bytes: Arc<AtomicI64>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { left: Arc::new(AtomicI64::new(i64::MAX)), arrived: Arc::default(), bytes: Arc::default() }
    }

    /// Breaks after so many messages from now on.
    pub(crate) fn cut_after(&self, messages: i64) {
        self.left.store(messages, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    /// How many messages may still pass.
    pub(crate) fn left(&self) -> i64 {
        self.left.load(Ordering::SeqCst)
    }

    /// Extents whose data arrived more than once, and how often too often.
    pub(crate) fn again(&self) -> u32 {
        self.arrived.lock().unwrap().values().map(|count| count - 1).sum()
    }

    /// Extents whose data arrived.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::SeqCst)).unwrap()
    }

    /// Both ends of a line that is watched.
    fn line(&self) -> (Line, Line) {
        let ((to_far, from_near), (to_near, from_far)) = (sync_channel(4), sync_channel(4));
        let line = |sender, receiver, far| Line {
            outbox: Box::new(WatchedOut { sender, watch: self.clone() }),
            inbox: Box::new(WatchedIn { receiver, watch: self.clone(), far }),
        };
        (line(to_far, from_far, false), line(to_near, from_near, true))
    }
}

/// `None` is the end.
type Message = Option<Vec<u8>>;

struct WatchedOut {
    sender: SyncSender<Message>,
    watch: Watch,
}

impl WatchedOut {
    /// Waits for room, as long as the line is whole.
    fn put(&self, mut message: Message) -> Result<(), Broken> {
        loop {
            match self.sender.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) if self.watch.left() > 0 => message = back,
                Err(_) => return Err(Broken::Cut),
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Outbox for WatchedOut {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        if self.watch.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(Broken::Cut);
        }
        let message = parts.concat();
        self.watch.bytes.fetch_add(i64::try_from(message.len()).unwrap(), Ordering::SeqCst);
        self.put(Some(message))
    }

    fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Broken> {
        if self.watch.left() <= 0 { Err(Broken::Cut) } else { self.put(None) }
    }
}

struct WatchedIn {
    receiver: Receiver<Message>,
    watch: Watch,
    /// Requests come in here, not answers.
    far: bool,
}

impl Inbox for WatchedIn {
    fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        let message = loop {
            // What is on its way when the line breaks does not arrive.
            if self.watch.left() <= 0 {
                return Err(Broken::Cut);
            }
            match self.receiver.recv_timeout(Duration::from_millis(2)) {
                Ok(message) => break message,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Broken::Cut),
            }
        };
        let Some(message) = message else { return Ok(false) };
        // A request to write (kind 5) with data: the number of the extent, then which of its grains are data.
        if self.far && message[0] == 5 {
            let mut take = decamp::wire::Take(&message[1..]);
            let (index, data) = (take.number().unwrap(), take.number().unwrap());
            if data != 0 {
                *self.watch.arrived.lock().unwrap().entry(index).or_default() += 1;
            }
        }
        *into = message;
        Ok(true)
    }
}

/// Ends that are served by threads of their own, as the far side serves them.
#[derive(Default)]
pub(crate) struct Far {
    threads: Vec<JoinHandle<Result<(), Broken>>>,
}

impl Far {
    /// Source and target behind `lines` lines each.
    pub(crate) fn both(source: &Path, target: &Path, lines: usize, watch: &Watch) -> (Self, Endpoint, Endpoint) {
        let mut far = Self { threads: Vec::new() };
        let source = far.source(source, lines, watch);
        let target = far.target(target, lines, watch);
        (far, source, target)
    }

    pub(crate) fn only_target(target: &Path, lines: usize, watch: &Watch) -> (Self, Endpoint) {
        let mut far = Self { threads: Vec::new() };
        let target = far.target(target, lines, watch);
        (far, target)
    }

    pub(crate) fn only_source(source: &Path, lines: usize, watch: &Watch) -> (Self, Endpoint) {
        let mut far = Self { threads: Vec::new() };
        let source = far.source(source, lines, watch);
        (far, source)
    }

    fn source(&mut self, path: &Path, lines: usize, watch: &Watch) -> Endpoint {
        let (near, far): (Vec<_>, Vec<_>) = (0..lines).map(|_| watch.line()).unzip();
        self.threads.push(std::thread::spawn(move || block::serve_source(far)));
        Endpoint::remote(path, near)
    }

    fn target(&mut self, path: &Path, lines: usize, watch: &Watch) -> Endpoint {
        let (near, far): (Vec<_>, Vec<_>) = (0..lines).map(|_| watch.line()).unzip();
        self.threads.push(std::thread::spawn(move || block::serve_target(far)));
        Endpoint::remote(path, near)
    }

    /// Waits until the far side has gone; whether every part of it ended well.
    pub(crate) fn gone(self) -> bool {
        let ended: Vec<_> = self.threads.into_iter().map(joined).collect();
        ended.iter().all(Result::is_ok)
    }
}

/// Waits for a thread that must end.
pub(crate) fn joined<T>(thread: JoinHandle<T>) -> T {
    let end = Instant::now() + LIMIT;
    while !thread.is_finished() {
        assert!(Instant::now() < end, "the far side hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap()
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], last: &Path) {
    let output = Command::new(program).args(arguments).arg(last).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Feeds a program.
pub(crate) fn feed(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program}");
}

/// Asserts that two devices or images hold the same over as much as the first has.
pub(crate) fn same(left: &Path, right: &Path) {
    let (left_bytes, right_bytes) = (content(left), content(right));
    assert!(right_bytes.len() >= left_bytes.len());
    let differs = left_bytes.chunks(4096).zip(right_bytes.chunks(4096)).position(|(a, b)| a != b && a != &b[..a.len()]);
    assert_eq!(differs, None, "the first block of 4 KiB that differs");
}

/// Bytes an image takes up.
pub(crate) fn stored(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks() * 512
}
