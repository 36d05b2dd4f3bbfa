//! `runs/<id>/events.ndjson`: the story of a run beside the database, one JSON object a line, the same as its `event`
//! rows.
//!
//! A line is written after its row is committed, into space that was set aside before: a full disk stops the commit
//! and never comes between the two. What a crash leaves out is added by whoever opens the run next.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::Error;
use super::model::RunId;
use super::store::events;
use super::view::EventRow;

/// Name of the file in the directory of a run.
pub(super) const FILE: &str = "events.ndjson";

/// How much is set aside at a time.
const AHEAD: u64 = 64 * 1024;

/// The file of one run, open for appending. Whoever has it holds the lock of the run.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    len: u64,
    reserved: u64,
    last_seq: i64,
}

impl Log {
    /// Opens the file, makes it if need be, and cuts off a line that a crash left torn.
    pub(super) fn open(run_dir: &Path) -> Result<Self, Error> {
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
        let (whole, last_seq) = tail(&mut file).map_err(fail("read"))?;
        if file.metadata().map_err(fail("look at"))?.len() != whole {
            file.set_len(whole).map_err(fail("cut"))?;
        }
        file.seek(SeekFrom::Start(whole)).map_err(fail("seek in"))?;
        Ok(Self { path, file, len: whole, reserved: whole, last_seq })
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

    /// Appends rows; with `sync` they survive a power cut.
    pub(super) fn append(&mut self, rows: &[EventRow], sync: bool) -> Result<(), Error> {
        let Some(last) = rows.last() else { return Ok(()) };
        let text = lines(rows);
        self.file.write_all(&text).map_err(|source| Error::io("write", &self.path, source))?;
        if sync {
            self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source))?;
        }
        self.len += text.len() as u64;
        self.last_seq = last.seq;
        Ok(())
    }

    /// Adds what the table has and the file has not.
    pub(super) fn catch_up(&mut self, sql: &Connection, run: &RunId) -> Result<(), Error> {
        let missing = events::after(sql, run, self.last_seq)?;
        self.append(&missing, true)
    }

    /// Gives back what was set aside and not used.
    pub(super) fn trim(&mut self) -> Result<(), Error> {
        self.reserved = self.len;
        self.file.set_len(self.len).map_err(|source| Error::io("cut", &self.path, source))
    }
}

/// Number of the last whole line of a run's file, 0 if there is none; changes nothing.
pub(super) fn last_seq(run_dir: &Path) -> Result<i64, Error> {
    let path = run_dir.join(FILE);
    match File::open(&path).and_then(|mut file| tail(&mut file)) {
        Ok((_, seq)) => Ok(seq),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(Error::io("read", &path, source)),
    }
}

/// The rows as lines.
pub(super) fn lines(rows: &[EventRow]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        // A row is strings, numbers and JSON values: it always has a JSON form.
        text.extend(serde_json::to_vec(row).unwrap_or_default());
        text.push(b'\n');
    }
    text
}

/// Length of the file up to the end of its last whole line, and the number in that line.
fn tail(file: &mut File) -> std::io::Result<(u64, i64)> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut window: u64 = 64 * 1024;
    loop {
        let start = len.saturating_sub(window);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(len - start).read_to_end(&mut bytes)?;
        let last = bytes.iter().rposition(|&byte| byte == b'\n');
        if let Some(end) = last {
            let before = bytes[..end].iter().rposition(|&byte| byte == b'\n');
            if before.is_some() || start == 0 {
                let line = &bytes[before.map_or(0, |at| at + 1)..end];
                let row: Option<serde_json::Value> = serde_json::from_slice(line).ok();
                // A whole line that is no event: the file is not ours any more and is written anew from the table.
                let seq = row.and_then(|row| row.get("seq")?.as_i64());
                return Ok(seq.map_or((0, 0), |seq| (start + end as u64 + 1, seq)));
            }
        } else if start == 0 {
            return Ok((0, 0));
        }
        window *= 8;
    }
}
