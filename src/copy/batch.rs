//! A batch of a directory's entries in the copying walk: looked at on both sides, recorded as intended, made, and
//! recorded as made.

use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::Mode;

use super::ahead::Ahead;
use super::children::Children;
use super::copying::{BY_RUN, Cursor, LEFT, MADE, REPLACED, RIGHT, Right, WAY};
use super::decide::{Action, Rules, decide};
use super::dir::{Dir, TOUCHED};
use super::end::End;
use super::entry::{Batch, Here};
use super::error::Error;
use super::file::Opened;
use super::hand::{Hand, Outcome, count_kind};
use super::listing::Listing;
use super::sys::xattr::{self, ACL_DEFAULT};
use super::sys::{self, Kind, Meta, Target};
use super::trouble::Trouble;

/// So many entries are looked at, recorded as intended, made, and recorded as made.
const BATCH: usize = 512;

/// Files of another place are asked for as often as so many were made.
const ASK: usize = 32;

/// An entry of a batch, as far as it was looked at.
#[derive(Debug)]
pub(super) struct Looked {
    /// Its place in the listing.
    pub at: u32,
    /// `None`: a file that is looked at when it is opened.
    left: Option<Meta>,
    right: Option<Meta>,
}

/// What the ledger was told of a batch before it is made.
pub(super) struct Intent {
    /// Path of the directory, where anybody wants to know it.
    pub path: Vec<u8>,
    chunk: u32,
    intended: bool,
}

impl Cursor {
    /// Takes the next entries of the listing, by their places in it.
    pub(super) fn cut(&mut self) -> Vec<u32> {
        let end = (self.next + BATCH).min(self.order.len());
        let cut = self.order[self.next..end].to_vec();
        self.next = end;
        cut
    }
}

impl Looked {
    /// Whether the file will be opened, as far as that can be told: where it costs a way to another place, also one
    /// that is there already.
    fn needs(&self, far: bool, rules: &Rules) -> bool {
        match &self.left {
            None => true,
            Some(left) if far && left.kind == Kind::File => {
                let verdict = decide(left, self.right.as_ref(), true, rules, None, false);
                matches!(verdict.action, Action::Create | Action::Replace | Action::Read)
            }
            Some(_) => false,
        }
    }
}

impl<'a> Hand<'a> {
    /// Looks at a batch of entries on both sides, then makes the destination right.
    pub(super) fn batch(
        &mut self,
        dir: &Arc<Dir>,
        left: End<'_>,
        right: Option<BorrowedFd<'_>>,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<(), Trouble> {
        let items = match cursor.looked.take() {
            Some(items) => items,
            None => {
                let cut = cursor.cut();
                let mut items = Vec::with_capacity(cut.len());
                for at in cut {
                    items.extend(self.look(dir, (left, right), &cursor.left, &cursor.right, at)?);
                }
                items
            }
        };
        let intent = self.intend(dir, right, cursor, &items)?;
        let (records, inherits) = (&*cursor.records, &*cursor.inherits);
        let here = Here { dir, left, right, path: &intent.path, records, inherits, no_temps: cursor.no_temps };
        let mut batch = Batch::default();
        let result = self.make_all(&here, &cursor.left, (&items, 0..items.len()), &mut batch, found);
        self.record(cursor, &intent, &batch, result.is_ok())?;
        Ok(result?)
    }

    /// Looks at an entry on both sides. `None`: it could not be, and that is counted.
    pub(super) fn look(
        &mut self,
        dir: &Arc<Dir>,
        (left, right): (End<'_>, Option<BorrowedFd<'_>>),
        names: &Listing,
        there: &Right,
        at: u32,
    ) -> Result<Option<Looked>, Error> {
        let item = &names.items[at as usize];
        let name = names.name(item);
        if item.kind == Kind::File && right.is_some() && !self.dry() && is_absent(there, name) {
            return Ok(Some(Looked { at, left: None, right: None }));
        }
        let looked = left
            .look(name)
            .map_err(Trouble::source("stat"))
            .and_then(|meta| Ok((meta, look_right(there, right, name)?)));
        match looked {
            Ok((meta, found)) => {
                self.looked();
                count_kind(&mut self.tally.listed, meta.kind);
                if right.is_some() && matches!(there, Right::ByName | Right::NoExtra) {
                    self.tally.dest_entries += 1;
                }
                Ok(Some(Looked { at, left: Some(meta), right: found }))
            }
            Err(trouble) => {
                count_kind(&mut self.tally.listed, item.kind);
                let outcome = self.trouble(dir, name.to_bytes(), trouble)?;
                self.settle(outcome);
                Ok(None)
            }
        }
    }

    /// Records what is about to be made.
    pub(super) fn intend(
        &mut self,
        dir: &Arc<Dir>,
        right: Option<BorrowedFd<'_>>,
        cursor: &Cursor,
        items: &[Looked],
    ) -> Result<Intent, Trouble> {
        let keeps = self.pass.ledger.keeps && !self.dry();
        let path = if keeps || self.pass.backup.is_some() { dir.path() } else { Vec::new() };
        let mut intent = Intent { path, chunk: cursor.chunk, intended: false };
        if keeps {
            // A name that is free, or will be: nothing that has it now can be taken for what is made under it.
            let free = |looked: &&Looked| {
                let kind = looked.left.map_or(Kind::File, |left| left.kind);
                let free = looked.right.is_none_or(|right| (right.kind == Kind::Dir) != (kind == Kind::Dir));
                free && kind != Kind::Socket
            };
            let new = items.iter().filter(free);
            let new: Vec<&[u8]> = new.map(|item| cursor.left.bytes(&cursor.left.items[item.at as usize])).collect();
            if let (false, Some(right)) = (new.is_empty(), right) {
                self.image(dir, right)?;
                self.pass.ledger.intend(&intent.path, intent.chunk, &new)?;
                intent.intended = true;
            }
        }
        Ok(intent)
    }

    /// Makes a piece of the entries that were looked at, in their order.
    pub(super) fn make_all(
        &mut self,
        here: &Here<'_>,
        names: &Listing,
        (items, piece): (&[Looked], Range<usize>),
        batch: &mut Batch,
        found: &mut Children,
    ) -> Result<(), Error> {
        let mut ahead = Ahead::default();
        let far = matches!(here.left, End::Far(_)) && !self.dry();
        for place in piece.clone() {
            let Looked { at, left: meta, right } = &items[place];
            let name = names.name(&names.items[*at as usize]);
            self.pass.work.cancel.check()?;
            let named = |item: &Looked| (item.at, names.name(&names.items[item.at as usize]));
            if far && (place - piece.start) % ASK == 0 {
                // What is at another place is asked for many at once, also what others will make.
                let rules = &self.pass.rules;
                ahead.fill(here.left, items[place..].iter().filter(|looked| looked.needs(true, rules)).map(named));
            }
            match meta {
                None => {
                    if !far && self.mover.is_cold() {
                        let coming = items[place..piece.end].iter().filter(|looked| looked.left.is_none());
                        ahead.fill(here.left, coming.map(named));
                    }
                    let opened = ahead.take(*at).unwrap_or_else(|| Self::open_file(here.left, name));
                    self.fresh(here, name, opened, batch, found)?;
                }
                Some(meta) => self.known(here, name, meta, right.as_ref(), batch, found)?,
            }
        }
        Ok(())
    }

    /// Records what was made, even if the pass ends here; `whole`: it is all that was intended.
    pub(super) fn record(
        &mut self,
        cursor: &mut Cursor,
        intent: &Intent,
        batch: &Batch,
        whole: bool,
    ) -> Result<(), Error> {
        if self.pass.ledger.keeps && !self.dry() {
            self.pass.keep(&intent.path, intent.chunk, batch, intent.intended && whole)?;
            cursor.chunk += u32::from(intent.intended || !batch.made.is_empty());
        }
        Ok(())
    }

    /// Handles an entry that was looked at.
    fn known(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
        found: &mut Children,
    ) -> Result<(), Error> {
        if left.kind == Kind::Dir {
            return self.directory(here, name, left, right, batch, found);
        }
        let outcome = self.entry(here, name, left, right, batch)?;
        if outcome == Outcome::Deferred || outcome == Outcome::Updated {
            self.count_way(name, right, found);
        }
        self.settle(outcome);
        Ok(())
    }

    /// Handles a file that was not looked at: nothing has its name in the destination, so it must be opened anyway.
    fn fresh(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        opened: Result<Opened, Trouble>,
        batch: &mut Batch,
        found: &mut Children,
    ) -> Result<(), Error> {
        let looked = match opened {
            Ok(opened) => {
                let meta = opened.1;
                self.opened = Some(opened);
                Ok(meta)
            }
            // Whatever it is that cannot be opened: it is told as of an entry that was looked at first.
            Err(_) => here.left.stat(name).map_err(Trouble::source("stat")),
        };
        match looked {
            Ok(meta) => {
                count_kind(&mut self.tally.listed, meta.kind);
                let done = self.known(here, name, &meta, None, batch, found);
                self.opened = None;
                done
            }
            Err(trouble) => {
                count_kind(&mut self.tally.listed, Kind::File);
                let outcome = self.trouble(here.dir, name.to_bytes(), trouble)?;
                self.settle(outcome);
                Ok(())
            }
        }
    }

    /// A directory in the way of something else is counted with what would be deleted.
    fn count_way(&mut self, name: &CStr, right: Option<&Meta>, found: &mut Children) {
        if self.pass.options.delete
            && let Some(right) = right
            && right.kind == Kind::Dir
        {
            found.push(name, RIGHT | WAY, right.ino);
        }
    }

    /// A subdirectory of the source: makes it, or finds it, and puts it on offer.
    fn directory(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
        found: &mut Children,
    ) -> Result<(), Error> {
        match self.try_directory(here, name, left, right, batch) {
            Ok((bits, ino)) => found.push(name, bits, ino),
            Err(trouble) => {
                let outcome = self.trouble(here.dir, name.to_bytes(), trouble)?;
                self.settle(outcome);
            }
        }
        Ok(())
    }

    fn try_directory(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<(u8, u64), Trouble> {
        let dry = self.pass.options.dry_run;
        if let Some(right) = right
            && right.kind == Kind::Dir
        {
            let ours = self.is_ours(here, name, right)?;
            let by_run = ours || here.records.begun(name.to_bytes(), right.ino);
            if by_run && !ours {
                batch.add(name, right, left);
            }
            return Ok((LEFT | RIGHT | if by_run { BY_RUN } else { 0 }, right.ino));
        }
        let mut replaced = 0;
        if let Some(right) = right {
            replaced = REPLACED;
            self.permit(here, name, right)?;
            if !dry && let Some(to) = here.right {
                self.image_dir(here)?;
                let aside = std::mem::take(&mut self.aside) && self.set_aside(here, name, right, false)?.is_some();
                if !aside {
                    let held = self.hold(here, name, right)?;
                    sys::unlink(to, name).map_err(Trouble::dest("remove"))?;
                    self.note_inode(held, batch);
                }
            }
        }
        let Some(to) = here.right.filter(|_| !dry) else { return Ok((LEFT | MADE | replaced, 0)) };
        here.dir.set(TOUCHED);
        rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)).map_err(Trouble::dest("make"))?;
        let now = sys::stat_at(to, name).map_err(Trouble::dest("stat"))?;
        if here.inherits()? {
            let fd = sys::open_dir(to, name).map_err(Trouble::dest("open"))?;
            let target = Target::Fd(fd.as_fd());
            for acl in [ACL_DEFAULT, xattr::ACL_ACCESS] {
                xattr::remove(target, acl).map_err(Trouble::dest("remove the inherited ACL of"))?;
            }
            target.chmod(0o700).map_err(Trouble::dest("change the mode of"))?;
        }
        if self.pass.ledger.keeps {
            batch.add(name, &now, left);
        }
        Ok((LEFT | RIGHT | MADE | BY_RUN | replaced, now.ino))
    }
}

/// Whether it is known, without asking, that the destination has nothing under a name.
fn is_absent(right: &Right, name: &CStr) -> bool {
    match right {
        Right::Empty => true,
        Right::Listed(listing, order, _) => listing.find(order, name.to_bytes()).is_none(),
        Right::ByName | Right::NoExtra => false,
    }
}

/// What the destination has under a name.
fn look_right(right: &Right, fd: Option<BorrowedFd<'_>>, name: &CStr) -> Result<Option<Meta>, Trouble> {
    let Some(fd) = fd else { return Ok(None) };
    match right {
        Right::Empty => Ok(None),
        Right::ByName | Right::NoExtra => sys::present(sys::look_at(fd, name)).map_err(Trouble::dest("stat")),
        Right::Listed(listing, order, met) => match listing.find(order, name.to_bytes()) {
            None => Ok(None),
            Some(place) => {
                met[place].store(true, Ordering::Relaxed);
                sys::present(sys::look_at(fd, name)).map_err(Trouble::dest("stat"))
            }
        },
    }
}
