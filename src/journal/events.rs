//! `runs/<id>/events.ndjson`: the story of a run beside the database, one JSON object a line (see `line`): its `event`
//! rows, and the rows each transaction changed. The tables can be made again from it.
//!
//! A line is written after its row is committed, into space that was set aside before: a full disk stops the commit
//! and never comes between the two. What a crash leaves out is added by whoever opens the run next; what another
//! process recorded beside a living one (an answer), by the next write of that one.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::Error;
use super::line::{self, Line};
use super::model::RunId;
use super::store::events;
use super::store::images::{self, Image, Named};
use super::view::EventRow;
use super::{now_ms, open};

/// Name of the file in the directory of a run.
pub(super) const FILE: &str = "events.ndjson";

/// How much is set aside at a time.
const AHEAD: u64 = 64 * 1024;

/// What a whole file says.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) lines: Vec<Line>,
    /// Whole lines that cannot be read, and lines that are missing: where, and what is wrong.
    pub(super) damage: Vec<String>,
    /// Length up to the end of the last whole line.
    whole: u64,
    /// Bytes behind it.
    pub(super) torn: u64,
    /// Of the first format: without sums and rows.
    pub(super) old: bool,
}

impl Story {
    /// Reads the story of a run; an empty one if there is no file.
    pub(super) fn read(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join(FILE);
        match fs::read(&path) {
            Ok(text) => Ok(Self::of(&text)),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    fn of(text: &[u8]) -> Self {
        let mut story = Self::default();
        let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        (story.whole, story.torn) = (end as u64, (text.len() - end) as u64);
        let mut last: Option<i64> = Some(0);
        let mut summed = false;
        for (number, bytes) in (1..).zip(text[..end].split_inclusive(|&byte| byte == b'\n')) {
            match line::parse(&bytes[..bytes.len() - 1]) {
                Err(why) => {
                    story.damage.push(format!("line {number}: {why}"));
                    last = None;
                }
                Ok(line) => {
                    if line.prev.is_some() && last.is_some() && line.prev != last {
                        story.damage.push(format!("line {number}: lines before it are missing"));
                    }
                    if line.prev.is_none() && summed {
                        story.damage.push(format!("line {number}: it has no sum"));
                    }
                    summed |= line.prev.is_some();
                    last = Some(line.event.seq);
                    story.lines.push(line);
                }
            }
        }
        story.old = !summed && !story.lines.is_empty();
        story
    }

    /// Number of the last event that can be read, 0 if there is none.
    pub(super) fn last(&self) -> i64 {
        self.lines.iter().map(|line| line.event.seq).max().unwrap_or_default()
    }

    /// The run it tells of, which should be the one whose directory it is in.
    pub(super) fn run(&self) -> Option<&str> {
        let mut rows = self.lines.iter().flat_map(|line| &line.rows);
        rows.find(|(table, _)| *table == "run").and_then(|(_, image)| image.get("id")?.as_str())
    }

    /// The rows as the last line that names each has them, by table and key.
    pub(super) fn rows(&self) -> BTreeMap<(&'static str, String), &Image> {
        let all = self.lines.iter().flat_map(|line| &line.rows);
        all.map(|(table, image)| ((*table, images::key(table, image)), image)).collect()
    }
}

/// Lines that are about to be written.
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    last_seq: i64,
    blobs: Vec<String>,
}

/// The file of one run, open for appending. Whoever has it holds the lock of the run.
#[derive(Debug)]
pub(super) struct Log {
    run: RunId,
    path: PathBuf,
    file: File,
    len: u64,
    reserved: u64,
    last_seq: i64,
    /// Names of the blobs the file holds.
    blobs: HashSet<String>,
}

impl Log {
    /// Opens the file, makes it if need be, and cuts off a line that a crash left torn; says what is in it.
    pub(super) fn open(run_dir: &Path, run: &RunId) -> Result<(Self, Story), Error> {
        let path = run_dir.join(FILE);
        let fail = |op| {
            let path = path.clone();
            move |source: std::io::Error| Error::io(op, &path, source)
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail("open"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fail("read"))?;
        let story = Story::of(&text);
        if story.torn > 0 {
            file.set_len(story.whole).map_err(fail("cut"))?;
        }
        file.seek(SeekFrom::Start(story.whole)).map_err(fail("seek in"))?;
        let named = story.lines.iter().flat_map(|line| &line.rows).filter(|(table, _)| *table == "blob");
        let blobs = named.filter_map(|(_, image)| image.get("hash")?.as_str().map(str::to_owned)).collect();
        let (len, last_seq) = (story.whole, story.last());
        Ok((Self { run: run.clone(), path, file, len, reserved: len, last_seq, blobs }, story))
    }

    /// The run whose file it is.
    pub(super) fn run(&self) -> &RunId {
        &self.run
    }

    /// The lines for what this transaction, or another process before it, recorded and the file has not.
    ///
    /// The rows this transaction changed go with them; where others have changed some, and at the beginning, all rows.
    pub(super) fn text(&self, sql: &Connection, own: usize) -> Result<Text, Error> {
        let missing = events::after(sql, &self.run, self.last_seq)?;
        let all = self.last_seq == 0 || missing.len() > own;
        let rows = if all { self.everything(sql)? } else { images::touched(sql)? };
        self.render(sql, &missing, rows)
    }

    /// Every row of the run, and what makes the journal itself.
    fn everything(&self, sql: &Connection) -> Result<Vec<Named>, Error> {
        let mut rows = images::meta(sql)?;
        rows.extend(images::of_run(sql, &self.run)?);
        Ok(rows)
    }

    fn render(&self, sql: &Connection, missing: &[EventRow], rows: Vec<Named>) -> Result<Text, Error> {
        let mut text = Text { bytes: Vec::new(), last_seq: self.last_seq, blobs: Vec::new() };
        let Some((last, before)) = missing.split_last() else { return Ok(text) };
        let mut named = Vec::new();
        for hash in rows.iter().flat_map(|(table, image)| images::blobs_of(table, image)) {
            if !self.blobs.contains(&hash) && !text.blobs.contains(&hash) {
                // One that is missing from the table cannot be said; opening and `doctor` tell about it.
                if let Some(image) = images::blob(sql, &hash)? {
                    named.push(("blob", image));
                    text.blobs.push(hash);
                }
            }
        }
        named.extend(rows);
        for event in before {
            text.bytes.extend(line::render(event, text.last_seq, &[]));
            text.last_seq = event.seq;
        }
        text.bytes.extend(line::render(last, text.last_seq, &named));
        text.last_seq = last.seq;
        Ok(text)
    }

    /// Sets space aside, so that appending as much cannot fail for want of it.
    pub(super) fn reserve(&mut self, more: u64) -> Result<(), Error> {
        let need = self.len + more;
        if need <= self.reserved {
            return Ok(());
        }
        let upto = need + AHEAD;
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.len, upto - self.len) {
            Ok(()) => {
                self.reserved = upto;
                Ok(())
            }
            // Where space cannot be set aside, writing tells.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(Error::io("set space aside in", &self.path, errno)),
        }
    }

    /// Appends lines; with `sync` they survive a power cut.
    pub(super) fn append(&mut self, text: Text, sync: bool) -> Result<(), Error> {
        if text.bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(&text.bytes).map_err(|source| Error::io("write", &self.path, source))?;
        if sync {
            self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source))?;
        }
        self.len += text.bytes.len() as u64;
        self.last_seq = text.last_seq;
        self.blobs.extend(text.blobs);
        Ok(())
    }

    /// Adds what the table has and the file has not, with every row of the run.
    pub(super) fn catch_up(&mut self, sql: &Connection) -> Result<(), Error> {
        let missing = events::after(sql, &self.run, self.last_seq)?;
        if missing.is_empty() {
            return Ok(());
        }
        let text = self.render(sql, &missing, self.everything(sql)?)?;
        self.append(text, true)
    }

    /// Writes the file anew from the table; a damaged one is kept beside it, one of the first format is not.
    pub(super) fn rewrite(&mut self, sql: &Connection, keep: bool) -> Result<(), Error> {
        if keep {
            let aside = self.path.with_file_name(format!("{FILE}.damaged-{}", now_ms()));
            fs::copy(&self.path, &aside)
                .and_then(|_| File::open(&aside)?.sync_all())
                .map_err(|source| Error::io("keep a copy of", &self.path, source))?;
        }
        let fresh = self.path.with_file_name(format!(".{FILE}.new"));
        let fail = |source| Error::io("write", &fresh, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(fail)?;
        let mut log = Self {
            run: self.run.clone(),
            path: fresh.clone(),
            file,
            len: 0,
            reserved: 0,
            last_seq: 0,
            blobs: HashSet::new(),
        };
        log.catch_up(sql)?;
        log.file.sync_all().map_err(fail)?;
        fs::rename(&fresh, &self.path).map_err(|source| Error::io("replace", &self.path, source))?;
        log.path.clone_from(&self.path);
        *self = log;
        self.path.parent().map_or(Ok(()), open::sync_dir)
    }

    /// Gives back what was set aside and not used.
    pub(super) fn trim(&mut self) -> Result<(), Error> {
        self.reserved = self.len;
        self.file.set_len(self.len).map_err(|source| Error::io("cut", &self.path, source))
    }
}

/// Number of the last event each run's file tells of, 0 where there is none yet; changes nothing.
pub(super) fn last_of_files(runs_dir: &Path) -> Result<BTreeMap<RunId, i64>, Error> {
    let fail = |source| Error::io("list", runs_dir, source);
    let list = match fs::read_dir(runs_dir) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut last = BTreeMap::new();
    for entry in list {
        let entry = entry.map_err(fail)?;
        // What has another name was put there by hand.
        let Some(run) = entry.file_name().to_str().and_then(RunId::named) else { continue };
        let path = entry.path().join(FILE);
        match File::open(&path).and_then(|mut file| tail(&mut file)) {
            Ok(seq) => drop(last.insert(run, seq)),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Error::io("read", &path, error)),
        }
    }
    Ok(last)
}

/// The number in the last whole line that can be read.
fn tail(file: &mut File) -> std::io::Result<i64> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut window: u64 = 64 * 1024;
    loop {
        let start = len.saturating_sub(window);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(len - start).read_to_end(&mut bytes)?;
        let end = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        let mut lines = bytes[..end].rsplit(|&byte| byte == b'\n').peekable();
        while let Some(text) = lines.next() {
            // The first piece of a window may be the end of a line.
            let whole = start == 0 || lines.peek().is_some();
            if let Some(line) = whole.then(|| line::parse(text).ok()).flatten() {
                return Ok(line.event.seq);
            }
        }
        if start == 0 {
            return Ok(0);
        }
        window *= 8;
    }
}
