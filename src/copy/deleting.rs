//! The second walk of a pass: what the source does not have goes from the destination.
//!
//! Every directory is listed anew on both sides at this moment. Where the source's listing is not complete, nothing is
//! deleted. Entries that waited for a directory in their way are made here.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::children::{Child, Children};
use super::copying::{BY_RUN, LEFT, RIGHT, WAY};
use super::dir::{Dir, FAILED, IN_THE_WAY, OURS, PROTECTED, Pair, TOUCHED};
use super::end::End;
use super::entry::{Batch, Here, Inherits, NoTemps};
use super::error::Error;
use super::far::words::{LIST, NAMES};
use super::filter::Filter;
use super::hand::{Hand, Outcome};
use super::ledger::Records;
use super::listing::Listing;
use super::names;
use super::options::Foreign;
use super::pool::Job;
use super::sys::{self, Kind, Meta, Target};
use super::tree::Pass;
use super::trouble::Trouble;

/// The walk.
pub(super) struct Deleting<'a>(pub &'a Pass<'a>);

/// What is known of the source's directory.
#[derive(Debug, Default)]
pub(super) enum Cursor {
    #[default]
    Start,
    /// All names with their order.
    Listed(Listing, Vec<u32>),
    /// Huge: by asking for each name.
    ByName,
}

impl<'a> Job for Deleting<'a> {
    type Worker = Hand<'a>;
    type Cursor = Cursor;
    type Part = ();

    fn worker(&self) -> Hand<'a> {
        Hand::new(self.0)
    }

    fn retire(&self, hand: Hand<'a>) {
        self.0.add(hand);
    }

    fn open(&self, hand: &mut Hand<'a>, parent: &Arc<Dir>, child: Child) -> Result<Option<Arc<Dir>>, Error> {
        match hand.open_pair(parent, &child) {
            Ok(dir) => Ok(Some(dir)),
            Err(Trouble::Vanished) => Ok(None),
            Err(trouble) => {
                parent.set(PROTECTED);
                let outcome = hand.trouble(parent, child.name.to_bytes(), trouble)?;
                if child.bits & WAY != 0 {
                    hand.settle(outcome);
                }
                Ok(None)
            }
        }
    }

    fn step(
        &self,
        hand: &mut Hand<'a>,
        dir: &Arc<Dir>,
        pair: &Pair,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Error> {
        let Some(right) = pair.right() else { return Ok(false) };
        if hand.is_beyond(dir) || hand.is_backup(dir) {
            dir.set(PROTECTED);
            return Ok(false);
        }
        hand.delete_in(dir, pair.left(), right, cursor, found).or_else(|trouble| {
            dir.set(FAILED | PROTECTED);
            hand.trouble(dir, b"", trouble).map(|_| false)
        })
    }

    fn asks(&self, bits: u8) -> Option<u8> {
        (bits & LEFT != 0).then_some(LIST | NAMES)
    }

    fn finish(&self, hand: &mut Hand<'a>, dir: &Arc<Dir>, pair: &Pair) -> Result<(), Error> {
        if let Some(left) = &dir.left {
            // What was removed has changed the time.
            if dir.is(TOUCHED)
                && let Some(right) = pair.right()
                && let Err(errno) = Target::Fd(right).set_times(left.atime, left.mtime)
            {
                hand.trouble(dir, b"", Trouble::Dest("set the times of", errno))?;
            }
            return Ok(());
        }
        hand.finish_delete(dir)
    }

    fn lost(&self, hand: &mut Hand<'a>, dir: &Arc<Dir>, errno: Errno) -> Result<(), Error> {
        let outcome = hand.trouble(dir, b"", Trouble::Dest("open again", errno))?;
        if dir.is(IN_THE_WAY) && !dir.set(FAILED) {
            hand.settle(outcome);
        }
        Ok(())
    }
}

impl Hand<'_> {
    fn open_pair(&mut self, parent: &Arc<Dir>, child: &Child) -> Result<Arc<Dir>, Trouble> {
        let pair = parent.pair().map_err(Trouble::dest("open its directory"))?;
        let mut left = None;
        if child.bits & LEFT != 0
            && let Some(from) = pair.left()
        {
            let held = from.dir(&child.name).map_err(|errno| match errno {
                // It cannot be read, as the first walk said already, or has changed: nothing is deleted in it.
                Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NOTDIR => Trouble::Vanished,
                other => Trouble::source("open")(other),
            })?;
            let meta = held.lend().meta().map_err(Trouble::source("stat"))?;
            left = Some((held, meta));
        }
        let to = pair.right().ok_or(Trouble::Vanished)?;
        let (fd, meta) = self.open_right(to, child)?;
        let flags =
            if child.bits & WAY != 0 { IN_THE_WAY } else { 0 } | if child.bits & BY_RUN != 0 { OURS } else { 0 };
        let metas = (left.as_ref().map(|(_, meta)| *meta), Some(meta));
        let fds = Pair::new(left.map(|(held, _)| held), Some(fd), Dir::budget_of(&pair));
        Ok(Dir::new(Some(parent.clone()), child.name.clone(), metas, fds, flags))
    }

    fn delete_in(
        &mut self,
        dir: &Arc<Dir>,
        left: Option<End<'_>>,
        right: BorrowedFd<'_>,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Trouble> {
        if let (Cursor::Start, Some(left)) = (&*cursor, left) {
            let mut listing = Listing::default();
            let more = left.list(&mut listing, &mut self.buffer, |_, _| true);
            let more = more.map_err(|errno| Trouble::Source("list", errno))?;
            let order = listing.by_name();
            *cursor = if more { Cursor::ByName } else { Cursor::Listed(listing, order) };
            if more {
                left.rewind().map_err(|errno| Trouble::Source("list", errno))?;
            }
        }
        let mut listing = Listing::default();
        let mut left_out = false;
        let mut filter = Filter::new(&self.pass.options.exclude, dir, left, Some(right));
        let keep = |name: &CStr, kind| {
            let keep = !filter.special(name, kind) && !filter.excluded(name, kind);
            left_out |= !keep;
            keep
        };
        let more = listing.read(right, &mut self.buffer, keep).map_err(Trouble::dest("list"))?;
        if left_out {
            dir.set(PROTECTED);
        }
        let path = dir.path();
        let records = if self.pass.history {
            let order = listing.by_name();
            self.pass.ledger.load(&path, |name| listing.find(&order, name).is_some())?
        } else {
            Records::default()
        };
        let inherits = Inherits::default();
        let here = Here {
            dir,
            left: left.unwrap_or(End::Here(right)),
            right: Some(right),
            path: &path,
            records: &records,
            inherits: &inherits,
            no_temps: NoTemps::default(),
        };
        let mut batch = Batch::default();
        let mut result = Ok(());
        for item in &listing.items {
            let name = listing.name(item);
            let source = match (&*cursor, left) {
                (Cursor::Listed(listing, order), _) => {
                    listing.find(order, name.to_bytes()).map(|place| listing.items[order[place] as usize].kind)
                }
                (_, None) => None,
                (_, Some(left)) => left.kind_of(name).map_err(Trouble::source("stat"))?,
            };
            self.pass.work.cancel.check()?;
            if item.kind == Kind::Dir {
                // A listing need not tell the inode that is opened: not that of a subvolume, and in user space none.
                let meta = sys::find_at(right, name).map_err(Trouble::dest("stat"))?;
                let Some(meta) = meta.filter(|meta| meta.kind == Kind::Dir) else { continue };
                let made = records.made.get(name.to_bytes());
                let by_run = made.is_some_and(|made| (made.kind, made.ino) == (Kind::Dir, meta.ino));
                let bits = match source {
                    Some(Kind::Dir) => LEFT | RIGHT,
                    Some(_) => RIGHT | WAY | if by_run { BY_RUN } else { 0 },
                    None => RIGHT | if by_run { BY_RUN } else { 0 },
                };
                found.push(name, bits, meta.ino);
                continue;
            }
            match source {
                Some(_) => {}
                None if names::is_temp(name.to_bytes()) && left.is_some() => {}
                None => {
                    if let Err(trouble) = self.delete(&here, name, &mut batch) {
                        dir.set(PROTECTED);
                        if let Err(error) = self.trouble(dir, name.to_bytes(), trouble) {
                            result = Err(Trouble::Stop(error));
                            break;
                        }
                    }
                }
            }
        }
        if self.pass.ledger.keeps {
            self.pass.keep(&path, 0, &batch, false)?;
        }
        result.map(|()| more)
    }

    /// Removes one entry that is not a directory.
    fn delete(&mut self, here: &Here<'_>, name: &CStr, batch: &mut Batch) -> Result<(), Trouble> {
        let Some(to) = here.right else { return Ok(()) };
        let Some(meta) = sys::find_at(to, name).map_err(Trouble::dest("stat"))? else { return Ok(()) };
        if meta.kind == Kind::Dir {
            return Err(Trouble::Refused("delete", "it became a directory meanwhile".into()));
        }
        let ours = self.is_ours(here, name, &meta)?;
        if !ours && self.pass.options.foreign == Foreign::Refuse {
            // Counted as failed by the first walk.
            here.dir.set(PROTECTED);
            return Ok(());
        }
        self.image_dir(here)?;
        here.dir.set(TOUCHED);
        let kept = if ours { None } else { self.set_aside(here, name, &meta, false)? };
        if kept.is_none() {
            let held = self.hold(here, name, &meta)?;
            match sys::unlink(to, name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Trouble::Dest("delete", errno)),
            }
            self.note_inode(held, batch);
        }
        self.tally.deleted += 1;
        self.advance(1, 0);
        Ok(())
    }

    /// Removes a directory after everything in it, and makes what had to wait for that.
    fn finish_delete(&mut self, dir: &Arc<Dir>) -> Result<(), Error> {
        let Some(parent) = dir.parent.clone() else { return Ok(()) };
        let waiting = dir.is(IN_THE_WAY);
        if dir.is(PROTECTED) {
            if parent.left.is_none() {
                parent.set(PROTECTED);
            }
            if waiting {
                let reason = "the directory that has its name holds entries that stay";
                self.fail(&parent, dir.name.to_bytes(), "make", reason.into());
                self.settle(Outcome::Failed);
            }
            return Ok(());
        }
        let outcome = match self.remove_and_make(&parent, dir, waiting) {
            Ok(outcome) => outcome,
            Err(trouble) => {
                parent.set(PROTECTED);
                self.trouble(&parent, dir.name.to_bytes(), trouble)?
            }
        };
        if waiting {
            self.settle(outcome);
        }
        Ok(())
    }

    fn remove_and_make(&mut self, parent: &Arc<Dir>, dir: &Dir, waiting: bool) -> Result<Outcome, Trouble> {
        let pair = parent.pair().map_err(Trouble::dest("open its directory"))?;
        let (Some(right), Some(meta)) = (pair.right(), &dir.right) else { return Err(Trouble::Vanished) };
        let name: &CString = &dir.name;
        let path = parent.path();
        let mut records = Records::default();
        if dir.is(OURS) {
            let made = super::ledger::Made { kind: Kind::Dir, ino: meta.ino, ctime: meta.ctime, source: meta.ctime };
            records.made.insert(name.to_bytes().to_vec(), made);
        }
        let left = pair.left().unwrap_or(End::Here(right));
        let inherits = &Inherits::default();
        let here = Here {
            dir: parent,
            left,
            right: Some(right),
            path: &path,
            records: &records,
            inherits,
            no_temps: NoTemps::default(),
        };
        if !self.is_ours(&here, name, meta)? && self.pass.options.foreign == Foreign::Refuse {
            parent.set(PROTECTED);
            if waiting {
                return Err(Trouble::Refused("make", "a directory that this run did not make has its name".into()));
            }
            return Ok(Outcome::Unchanged);
        }
        self.remove_dir(&here, name, meta)?;
        self.tally.deleted += 1;
        self.advance(1, 0);
        if !waiting {
            return Ok(Outcome::Updated);
        }
        let source = left.stat(name).map_err(Trouble::source("stat"))?;
        if source.kind == Kind::Dir {
            return Err(Trouble::Refused("make", "it became a directory meanwhile".into()));
        }
        self.make_waiting(&here, name, &source)
    }

    fn make_waiting(&mut self, here: &Here<'_>, name: &CStr, source: &Meta) -> Result<Outcome, Trouble> {
        let keeps = self.pass.ledger.keeps;
        let mut chunk = 0;
        if keeps {
            // Several workers may do this in one directory at once.
            let _alone = self.pass.numbering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            chunk = self.pass.ledger.load(here.path, |_| false)?.next;
            self.pass.ledger.intend(here.path, chunk, &[name.to_bytes()])?;
        }
        let mut batch = Batch::default();
        let outcome = self.entry(here, name, source, None, &mut batch)?;
        if keeps {
            self.pass.keep(here.path, chunk, &batch, true)?;
        }
        Ok(if matches!(outcome, Outcome::Created(_)) { Outcome::Updated } else { outcome })
    }
}
