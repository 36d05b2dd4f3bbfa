//! What the destination has and the source has not: looked at and counted by the first walk, deleted only by the second.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::io::Errno;

use super::children::Children;
use super::copying::{BY_RUN, Cursor, RIGHT, Right};
use super::dir::{Dir, FAILED, OURS, PROTECTED, TOUCHED};
use super::end::End;
use super::entry::{Batch, Here, NoTemps};
use super::error::Error;
use super::filter::Filter;
use super::hand::Hand;
use super::ledger::Records;
use super::listing::Listing;
use super::names;
use super::options::Foreign;
use super::sys::{self, Kind, Meta};
use super::trouble::Trouble;

const REFUSED: &str = "this run did not make it: give --backup-dir to keep it, or approve its loss";

impl Hand<'_> {
    /// Looks at what the destination has and the source has not.
    pub(super) fn rest(
        &mut self,
        dir: &Arc<Dir>,
        left: End<'_>,
        right: Option<BorrowedFd<'_>>,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<(), Trouble> {
        let there = std::mem::take(&mut cursor.right);
        let Right::Listed(listing, order, met) = &*there else { return Ok(()) };
        let path = if self.pass.options.delete { dir.path() } else { Vec::new() };
        let here = Here {
            dir,
            left,
            right,
            path: &path,
            records: &cursor.records,
            inherits: &cursor.inherits,
            no_temps: cursor.no_temps,
        };
        if !dir.is(TOUCHED) && met.iter().all(|met| met.load(Ordering::Relaxed)) {
            self.found_no_extra(dir);
        }
        for (place, &at) in order.iter().enumerate() {
            let item = &listing.items[at as usize];
            let name = listing.name(item);
            let met = met[place].load(Ordering::Relaxed);
            if !met && item.kind != Kind::Dir && names::is_temp(name.to_bytes()) {
                self.remove_temp(&here, name)?;
                continue;
            }
            self.tally.dest_entries += 1;
            if !met && self.pass.options.delete {
                self.extra(&here, name, found)?;
            }
        }
        Ok(())
    }

    /// The same for a directory too large to be at hand.
    pub(super) fn stream(
        &mut self,
        dir: &Arc<Dir>,
        left: End<'_>,
        right: Option<BorrowedFd<'_>>,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Trouble> {
        let Some(right) = right else { return Ok(false) };
        let mut listing = Listing::default();
        let mut filter = Filter::new(&self.pass.options.exclude, dir, Some(left), Some(right));
        let keep = |name: &CStr, kind| !filter.special(name, kind) && !filter.excluded(name, kind);
        let more = listing.read(right, &mut self.buffer, keep).map_err(Trouble::dest("list"))?;
        let path = dir.path();
        let records = if self.pass.history && self.pass.options.delete {
            let order = listing.by_name();
            self.pass.ledger.load(&path, |name| listing.find(&order, name).is_some())?
        } else {
            Records::default()
        };
        let here = Here {
            dir,
            left,
            right: Some(right),
            path: &path,
            records: &records,
            inherits: &cursor.inherits,
            no_temps: NoTemps::default(),
        };
        for item in &listing.items {
            let name = listing.name(item);
            let temp = item.kind != Kind::Dir && names::is_temp(name.to_bytes());
            if !temp && !self.pass.options.delete {
                continue;
            }
            if left.kind_of(name).map_err(Trouble::source("stat"))?.is_some() {
                continue;
            }
            if temp {
                self.remove_temp(&here, name)?;
            } else {
                self.tally.dest_entries += 1;
                self.extra(&here, name, found)?;
            }
        }
        Ok(more)
    }

    /// Removes what a crash has left.
    pub(super) fn remove_temp(&mut self, here: &Here<'_>, name: &CStr) -> Result<(), Trouble> {
        let (false, Some(right)) = (self.pass.options.dry_run, here.right) else { return Ok(()) };
        here.dir.set(TOUCHED);
        match sys::unlink(right, name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => {
                let outcome = self.trouble(here.dir, name.to_bytes(), Trouble::Dest("remove", errno));
                outcome.map(|_| ()).map_err(Trouble::Stop)
            }
        }
    }

    /// Counts an entry that would be deleted.
    pub(super) fn extra(&mut self, here: &Here<'_>, name: &CStr, found: &mut Children) -> Result<(), Trouble> {
        let Some(to) = here.right else { return Ok(()) };
        // A listing need not tell the inode that is opened: not that of a subvolume, and in user space none.
        let Some(meta) = sys::find_at(to, name).map_err(Trouble::dest("stat"))? else { return Ok(()) };
        if meta.kind == Kind::Dir {
            let by_run = self.knows(here, name, &meta)?;
            found.push(name, RIGHT | if by_run { BY_RUN } else { 0 }, meta.ino);
            return Ok(());
        }
        let ours = self.knows(here, name, &meta)?;
        self.count_delete(here.dir, name.to_bytes(), ours);
        Ok(())
    }

    /// Whether an entry is the run's own. One that it had only begun is recorded as made, for the walk that deletes: by
    /// then its directory may be open to others.
    fn knows(&mut self, here: &Here<'_>, name: &CStr, meta: &Meta) -> Result<bool, Error> {
        if self.is_ours(here, name, meta)? {
            return Ok(true);
        }
        let begun = self.was_begun(here, name, meta);
        if begun && !self.dry() {
            let _alone = self.pass.numbering.lock().unwrap_or_else(PoisonError::into_inner);
            let chunk = self.pass.ledger.load(here.path, |_| false)?.next;
            let mut batch = Batch::default();
            batch.add(name, meta, meta);
            self.pass.keep(here.path, chunk, &batch, false)?;
        }
        Ok(begun)
    }

    /// Counts one deletion to come.
    pub(super) fn count_delete(&mut self, dir: &Dir, name: &[u8], ours: bool) {
        if !ours {
            self.tally.foreign += 1;
            match self.pass.options.foreign {
                Foreign::Allow => {}
                Foreign::Backup(_) => self.tally.backed_up += 1,
                Foreign::Refuse => {
                    dir.set(PROTECTED);
                    self.fail(dir, name, "delete", REFUSED.into());
                    return;
                }
            }
        }
        self.tally.deleted += 1;
        self.advance(1, 0);
    }

    /// Counts everything in a directory that would be deleted.
    pub(super) fn count_extra(
        &mut self,
        dir: &Arc<Dir>,
        right: BorrowedFd<'_>,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Trouble> {
        if self.is_beyond(dir) || self.is_backup(dir) {
            dir.set(PROTECTED);
            return Ok(false);
        }
        let mut listing = Listing::default();
        let mut left_out = false;
        let mut filter = Filter::new(&self.pass.options.exclude, dir, None, Some(right));
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
        if self.pass.history {
            let order = listing.by_name();
            cursor.records = Arc::new(self.pass.ledger.load(&path, |name| listing.find(&order, name).is_some())?);
        }
        let inherits = &cursor.inherits;
        let here = Here {
            dir,
            left: End::Here(right),
            right: Some(right),
            path: &path,
            records: &cursor.records,
            inherits,
            no_temps: NoTemps::default(),
        };
        for item in &listing.items {
            self.tally.dest_entries += 1;
            self.extra(&here, listing.name(item), found)?;
        }
        Ok(more)
    }

    /// Counts the directory itself, unless something in it stays.
    pub(super) fn finish_extra(&mut self, dir: &Dir) {
        if dir.is(PROTECTED) || dir.is(FAILED) {
            if let Some(parent) = &dir.parent
                && parent.left.is_none()
            {
                parent.set(PROTECTED);
            }
            return;
        }
        if let Some(parent) = &dir.parent {
            let protected = parent.is(PROTECTED);
            self.count_delete(parent, dir.name.to_bytes(), dir.is(OURS));
            // A refusal protects what holds the directory, unless that exists on the source.
            debug_assert!(protected || !parent.is(PROTECTED) || matches!(self.pass.options.foreign, Foreign::Refuse));
        }
    }
}
