//! A batch of a directory's entries in the copying walk: looked at on both sides, recorded as intended, made, and
//! recorded as made.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

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
use super::sys::xattr::{self, ACL_DEFAULT};
use super::sys::{self, Kind, Meta, Target};
use super::trouble::Trouble;

/// So many entries are looked at, recorded as intended, made, and recorded as made.
const BATCH: usize = 512;

/// An entry of a batch, as far as it was looked at.
struct Looked {
    /// Its place in the listing.
    at: u32,
    /// `None`: a file that is looked at when it is opened.
    left: Option<Meta>,
    right: Option<Meta>,
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
        let end = (cursor.next + BATCH).min(cursor.order.len());
        let dry = self.pass.options.dry_run;
        let mut items: Vec<Looked> = Vec::with_capacity(end - cursor.next);
        for place in cursor.next..end {
            let at = cursor.order[place];
            let item = &cursor.left.items[at as usize];
            let name = cursor.left.name(item);
            if item.kind == Kind::File && right.is_some() && !dry && is_absent(&cursor.right, name) {
                items.push(Looked { at, left: None, right: None });
                continue;
            }
            let looked = left
                .stat(name)
                .map_err(Trouble::source("stat"))
                .and_then(|meta| Ok((meta, look_right(&mut cursor.right, right, name)?)));
            match looked {
                Ok((meta, right)) => {
                    self.looked();
                    count_kind(&mut self.tally.listed, meta.kind);
                    if right.is_some() && matches!(cursor.right, Right::ByName) {
                        self.tally.dest_entries += 1;
                    }
                    items.push(Looked { at, left: Some(meta), right });
                }
                Err(trouble) => {
                    count_kind(&mut self.tally.listed, item.kind);
                    let outcome = self.trouble(dir, name.to_bytes(), trouble).map_err(Trouble::Stop)?;
                    self.settle(outcome);
                }
            }
        }
        cursor.next = end;
        let keeps = self.pass.ledger.keeps && !self.pass.options.dry_run;
        let path = if keeps || self.pass.backup.is_some() { dir.path() } else { Vec::new() };
        let chunk = cursor.chunk;
        let mut intended = false;
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
                self.pass.ledger.intend(&path, chunk, &new)?;
                intended = true;
            }
        }
        let here = Here { dir, left, right, path: &path, records: &cursor.records, inherits: &cursor.inherits };
        let mut batch = Batch::default();
        let mut result = Ok(());
        let mut ahead = Ahead::default();
        let far = matches!(left, End::Far(_)) && !dry;
        for (place, Looked { at, left: meta, right: right_meta }) in items.iter().enumerate() {
            let name = cursor.left.name(&cursor.left.items[*at as usize]);
            // What is at another place is asked for many at once.
            let ask = if far { place % 32 == 0 } else { meta.is_none() && self.mover.is_cold() };
            if ask {
                let coming = items[place..].iter().filter(|looked| looked.needs(far, &self.pass.rules));
                let named = |item: &Looked| (item.at, cursor.left.name(&cursor.left.items[item.at as usize]));
                ahead.fill(left, coming.map(named));
            }
            let handled = self.pass.work.cancel.check().map_err(Error::from).and_then(|()| match meta {
                None => {
                    let opened = ahead.take(*at).unwrap_or_else(|| Self::open_file(left, name));
                    self.fresh(&here, name, opened, &mut batch, found)
                }
                Some(meta) => self.known(&here, name, meta, right_meta.as_ref(), &mut batch, found),
            });
            if let Err(error) = handled {
                result = Err(Trouble::Stop(error));
                break;
            }
        }
        if keeps {
            // What was made is recorded even if the pass ends here.
            self.pass.keep(&path, chunk, &batch, intended && result.is_ok())?;
            cursor.chunk += u32::from(intended || !batch.made.is_empty());
        }
        result
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
        Right::ByName => false,
    }
}

/// What the destination has under a name.
fn look_right(right: &mut Right, fd: Option<BorrowedFd<'_>>, name: &CStr) -> Result<Option<Meta>, Trouble> {
    let Some(fd) = fd else { return Ok(None) };
    match right {
        Right::Empty => Ok(None),
        Right::ByName => sys::find_at(fd, name).map_err(Trouble::dest("stat")),
        Right::Listed(listing, order, met) => match listing.find(order, name.to_bytes()) {
            None => Ok(None),
            Some(place) => {
                met[place] = true;
                sys::find_at(fd, name).map_err(Trouble::dest("stat"))
            }
        },
    }
}
