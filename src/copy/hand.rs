//! A worker's own things in a pass: its counts, its buffers, and how it speaks of trouble.

use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::data::Mover;
use super::dir::{Dir, TROUBLED};
use super::error::{EntryError, Error};
use super::file::Opened;
use super::listing::Buffer;
use super::meter::Meter;
use super::options::Loss;
use super::report::{Counts, NAMED, Report};
use super::sys::{self, Kind, is_full};
use super::tree::Pass;
use super::trouble::{Trouble, say};
use crate::progress::Event;
use crate::units::path_text;

/// About how many requests it takes to make an entry, beyond those for one that is left as it is.
const MAKING: u64 = 5;

/// So much is written before the others hear of it: little beside what is worth writing back.
const LOT: u64 = 16;

/// What became of an entry of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Created(Kind),
    Updated,
    Meta,
    Unchanged,
    Skipped,
    Vanished,
    Failed,
    /// It waits for the deletion of what is in its way.
    Deferred,
}

/// One worker of a pass.
pub(super) struct Hand<'a> {
    pub pass: &'a Pass<'a>,
    pub tally: Report,
    /// Listed entries that have an outcome.
    pub settled: u64,
    pub mover: Mover,
    pub scratch: Vec<u8>,
    pub buffer: Buffer,
    /// The entry at hand is to be kept in the backup directory before it is replaced.
    pub aside: bool,
    /// The file at hand, if it was opened before it was looked at.
    pub opened: Option<Opened>,
    /// What the kernel takes from the mode of every new file.
    pub umask: u32,
    /// What was proved and is not handed over yet.
    pub learned: Vec<u128>,
    /// Made, and not counted for early writing yet.
    written: u64,
    meter: Meter<'a>,
}

pub(super) fn count_kind(counts: &mut Counts, kind: Kind) {
    *match kind {
        Kind::File => &mut counts.files,
        Kind::Dir => &mut counts.dirs,
        Kind::Link => &mut counts.links,
        _ => &mut counts.specials,
    } += 1;
}

impl<'a> Hand<'a> {
    pub(super) fn new(pass: &'a Pass<'a>) -> Self {
        Self {
            pass,
            tally: Report::default(),
            settled: 0,
            mover: Mover::limited(pass.options.rate.clone(), pass.work.cancel.clone(), pass.streams.clone()),
            scratch: Vec::new(),
            buffer: Buffer::default(),
            aside: false,
            opened: None,
            umask: sys::own_umask(),
            meter: Meter::new(pass.work.progress, &pass.done),
            learned: Vec::new(),
            written: 0,
        }
    }

    /// Tells progress, a little at a time.
    pub(super) fn advance(&mut self, entries: u64, bytes: u64) {
        self.meter.advance(entries, bytes, self.pass.options.rate.piece(4 << 20));
    }

    /// Counts a look at an entry, which comes long before the entry is done.
    pub(super) fn looked(&self) {
        self.meter.work(1);
    }

    /// Counts what was made for early writing, in lots: all workers share one counter.
    pub(super) fn wrote(&mut self, size: u64) {
        self.written += 1 + (size >> 16);
        if self.written >= LOT {
            self.pass.written.fetch_add(std::mem::take(&mut self.written), Ordering::Relaxed);
        }
    }

    pub(super) fn tell(&mut self) {
        self.meter.tell();
    }

    /// Counts the outcome of a listed entry.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Created(kind) => count_kind(&mut self.tally.created, kind),
            Outcome::Updated => self.tally.updated += 1,
            Outcome::Meta => self.tally.meta_updated += 1,
            Outcome::Unchanged => self.tally.unchanged += 1,
            Outcome::Skipped => self.tally.skipped += 1,
            Outcome::Vanished => self.tally.vanished += 1,
            // Counted where it was named.
            Outcome::Failed => {}
            Outcome::Deferred => return,
        }
        if matches!(outcome, Outcome::Created(_) | Outcome::Updated) {
            self.meter.owe(MAKING);
        }
        self.settled += 1;
        self.advance(1, 0);
    }

    /// Counts and names an entry that could not be handled.
    pub(super) fn fail(&mut self, dir: &Dir, name: &[u8], op: &'static str, reason: String) {
        dir.set(TROUBLED);
        let path = dir.path_of(name);
        self.pass.work.progress.event(Event::Failed { path: &path, error: &format!("cannot {op} it: {reason}") });
        self.tally.failed += 1;
        if self.tally.errors.len() < NAMED {
            self.tally.errors.push(EntryError { path, op, reason });
        }
    }

    /// What trouble means: an outcome of the entry, or the end of the pass.
    pub(super) fn trouble(&mut self, dir: &Dir, name: &[u8], trouble: Trouble) -> Result<Outcome, Error> {
        match trouble {
            Trouble::Vanished => Ok(Outcome::Vanished),
            Trouble::Source(_, Errno::ACCESS | Errno::PERM) if self.pass.options.accept.contains(&Loss::Unreadable) => {
                let path = dir.path_of(name);
                self.pass.work.progress.event(Event::Notice { path: &path, text: "left out: it may not be read" });
                Ok(Outcome::Skipped)
            }
            Trouble::Source(op, errno) => {
                self.pass.check_source()?;
                self.fail(dir, name, op, say(errno));
                Ok(Outcome::Failed)
            }
            Trouble::Dest(op, errno) => {
                self.pass.check_destination(errno)?;
                self.fail(dir, name, op, format!("{} (in the destination)", say(errno)));
                Ok(Outcome::Failed)
            }
            Trouble::Refused(op, reason) => {
                self.fail(dir, name, op, reason);
                Ok(Outcome::Failed)
            }
            Trouble::Stop(error) => Err(error),
        }
    }
}

impl Pass<'_> {
    /// Ends the pass if it is not one entry of the source that cannot be read, but the whole source.
    pub(super) fn check_source(&self) -> Result<(), Error> {
        self.work.cancel.check()?;
        self.far.and_then(|source| source.lost()).map_or(Ok(()), Err)
    }

    /// Ends the pass if an error of the destination is not of one entry alone.
    pub(super) fn check_destination(&self, errno: Errno) -> Result<(), Error> {
        let path = || path_text(&self.dst_path);
        if is_full(errno) {
            return Err(Error::NoSpace { path: path() });
        }
        if errno == Errno::ROFS {
            return Err(Error::ReadOnly { path: path(), reason: say(errno) });
        }
        if matches!(errno, Errno::STALE | Errno::NOTCONN | Errno::IO | Errno::NXIO | Errno::NODEV)
            && let Some(root) = &self.right_fd
        {
            // Is it the entry, or has the whole destination gone?
            rustix::fs::fstat(root).map_err(Error::io("stat", &self.dst_path))?;
        }
        Ok(())
    }
}

/// Adds up the counts of two workers.
pub(super) fn absorb(into: &mut Report, from: Report) {
    let add = |a: &mut Counts, b: Counts| {
        a.files += b.files;
        a.dirs += b.dirs;
        a.links += b.links;
        a.specials += b.specials;
    };
    add(&mut into.listed, from.listed);
    add(&mut into.created, from.created);
    for (sum, count) in [
        (&mut into.updated, from.updated),
        (&mut into.meta_updated, from.meta_updated),
        (&mut into.unchanged, from.unchanged),
        (&mut into.deleted, from.deleted),
        (&mut into.backed_up, from.backed_up),
        (&mut into.foreign, from.foreign),
        (&mut into.skipped, from.skipped),
        (&mut into.vanished, from.vanished),
        (&mut into.changed, from.changed),
        (&mut into.failed, from.failed),
        (&mut into.listed_bytes, from.listed_bytes),
        (&mut into.copied_bytes, from.copied_bytes),
        (&mut into.dest_entries, from.dest_entries),
    ] {
        *sum += count;
    }
    let room = NAMED.saturating_sub(into.errors.len());
    into.errors.extend(from.errors.into_iter().take(room));
}
