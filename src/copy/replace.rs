//! Takes the place of what is there: whether that is allowed, under which name the new entry is made, and how the old
//! one is kept.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::backup::Kept;
use super::dir::{Dir, IMAGED, TOUCHED};
use super::entry::{Batch, Here};
use super::error::Error;
use super::hand::{Hand, Outcome};
use super::names;
use super::options::Foreign;
use super::sys::xattr::{self, Xattrs};
use super::sys::{self, Kind, Meta, Target};
use super::trouble::Trouble;
use crate::progress::Event;

const TAKEN: &str = "the backup directory holds another entry of its name: move that one away";

impl Hand<'_> {
    /// Asks whether what is there may be replaced.
    pub(super) fn permit(&mut self, here: &Here<'_>, name: &CStr, right: &Meta) -> Result<(), Trouble> {
        self.aside = false;
        if self.is_by_run(here, name, right)? || self.is_remnant(here, name, right)? {
            return Ok(());
        }
        self.tally.foreign += 1;
        match self.pass.options.foreign {
            Foreign::Allow => Ok(()),
            Foreign::Backup(_) => {
                self.tally.backed_up += 1;
                self.aside = true;
                Ok(())
            }
            Foreign::Refuse => Err(Trouble::Refused(
                "replace",
                "this run did not make what is there: give --backup-dir to keep it, or approve its loss".into(),
            )),
        }
    }

    /// Whether what is there was begun by this run, which died before it could say so: its name was about to be made,
    /// and it holds nothing but the beginning of what the source has.
    pub(super) fn is_remnant(&mut self, here: &Here<'_>, name: &CStr, right: &Meta) -> Result<bool, Trouble> {
        if !here.records.intents.contains(name.to_bytes()) {
            return Ok(false);
        }
        if let Some(big) = self.pass.ledger.big(&here.dir.path_of(name.to_bytes()))?
            && big.ino == right.ino
        {
            return Ok(true);
        }
        let mover = &mut self.mover;
        Ok(here.right.is_some_and(|to| super::remnant::is_remnant(mover, here.left, to, name, right)))
    }

    /// The name to make an entry under: its own if that is free, else a temporary one.
    pub(super) fn place<'n>(
        &mut self,
        here: &Here<'_>,
        name: &'n CStr,
        right: Option<&Meta>,
    ) -> Result<Cow<'n, CStr>, Trouble> {
        here.dir.set(TOUCHED);
        if right.is_none() {
            return Ok(Cow::Borrowed(name));
        }
        for salt in 0..=u8::MAX {
            let temp = names::temp_for(name.to_bytes(), salt);
            // The source may have an entry of that very name: a copy of a half-finished destination.
            if !here.no_temps.left && here.left.find(&temp).map_err(Trouble::source("look for"))?.is_some() {
                continue;
            }
            if here.no_temps.right {
                return Ok(Cow::Owned(temp));
            }
            match sys::unlink(here.to()?, &temp) {
                Ok(()) | Err(Errno::NOENT) => return Ok(Cow::Owned(temp)),
                // A directory of that name is nobody's temporary entry.
                Err(Errno::ISDIR | Errno::PERM) if is_dir(here.to()?, &temp) => {}
                Err(errno) => return Err(Trouble::Dest("remove an old temporary file of", errno)),
            }
        }
        Err(Trouble::Refused("replace", "no temporary name is free".into()))
    }

    /// Puts what was made under `place` under its own name, keeping what is replaced if that is wished.
    pub(super) fn publish(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        place: &CStr,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<(), Trouble> {
        let Some(right) = right else { return Ok(()) };
        let to = here.to()?;
        if std::mem::take(&mut self.aside) {
            self.set_aside(here, name, right, true)?;
        }
        if self.pass.ledger.keeps {
            let new = sys::stat_at(to, place).map_err(Trouble::dest("stat"))?;
            self.pass.ledger.replacing(here.path, name.to_bytes(), new.ino)?;
            batch.replaced.push(name.to_bytes().to_vec());
        }
        let held = self.hold(here, name, right)?;
        rustix::fs::renameat(to, place, to, name).map_err(Trouble::dest("rename"))?;
        self.note_inode(held, batch);
        if right.nlink < 2 {
            return Ok(());
        }
        // Renaming a name over another one of the same inode does nothing at all.
        match sys::unlink(to, place) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Trouble::Dest("remove the temporary name of", errno)),
        }
    }

    /// Takes hold of an inode of ours that will lose a name and keep others, so that its new time of change can be
    /// told.
    pub(super) fn hold(&self, here: &Here<'_>, name: &CStr, right: &Meta) -> Result<Option<OwnedFd>, Trouble> {
        let ours = |hand: &Self| {
            // Permitted already, as what the run had begun.
            Ok::<_, Error>(here.records.begun(name.to_bytes(), right.ino) || hand.is_ours(here, name, right)?)
        };
        let wanted = self.pass.ledger.keeps && right.nlink > 1 && ours(self)?;
        let Some(held) = here.right.filter(|_| wanted).and_then(|to| sys::open_path(to, name).ok()) else {
            return Ok(None);
        };
        let now = sys::stat_fd(&held).map_err(Trouble::dest("stat"))?;
        self.pass.touch(&now, now.nlink.saturating_sub(1))?;
        Ok(Some(held))
    }

    /// Tells the ledger the new time of change of an inode that lost a name.
    pub(super) fn note_inode(&self, held: Option<OwnedFd>, batch: &mut Batch) {
        if let Some(now) = held.and_then(|fd| sys::stat_fd(fd).ok()) {
            batch.inodes.push((now.id(), now.ctime));
        }
    }

    /// Moves an entry the run did not make to the backup directory.
    pub(super) fn set_aside(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        right: &Meta,
        link: bool,
    ) -> Result<Option<Kept>, Trouble> {
        let pass = self.pass;
        let Some(backup) = &pass.backup else { return Ok(None) };
        let path = here.dir.path_of(name.to_bytes());
        // The one kept first is the one that undo brings back.
        let there = backup.find(&path).map_err(Trouble::dest("look in the backup directory for"))?;
        if there.is_some_and(|there| there.id() != right.id()) {
            return Err(Trouble::Refused("back up", TAKEN.into()));
        }
        // What is moved as it is keeps its attributes by itself.
        pass.ledger.backup(&path, right, &Xattrs::new())?;
        let kept = backup.keep(here.to()?, here.path, name, right, link);
        kept.map(Some).map_err(Trouble::dest("keep in the backup directory"))
    }

    /// Removes what was begun if it was not finished.
    pub(super) fn or_clean<T>(&self, done: Result<T, Trouble>, to: BorrowedFd<'_>, place: &CStr) -> Result<T, Trouble> {
        if done.is_err() {
            // The first trouble is the one to tell; a name that stays is found and removed by the next pass.
            sys::unlink(to, place).ok();
        }
        done
    }

    /// A directory has the name of something that is no directory.
    pub(super) fn directory_in_the_way(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        batch: &mut Batch,
    ) -> Result<(Outcome, Option<(u64, u64)>), Trouble> {
        if self.pass.options.delete {
            if self.dry() {
                if left.kind == Kind::File {
                    self.tally.copied_bytes += self.data_of(here, name, left)?;
                }
                return Ok((Outcome::Updated, None));
            }
            return Ok((Outcome::Deferred, None));
        }
        let empty = (|| {
            let fd = sys::open_dir(here.to()?, name).map_err(Trouble::dest("open"))?;
            let mut listing = super::listing::Listing::default();
            let more = listing.read(fd.as_fd(), &mut self.buffer, |_, _| true).map_err(Trouble::dest("list"))?;
            Ok::<_, Trouble>(!more && listing.items.is_empty())
        })()?;
        if !empty && self.pass.options.more_follow {
            let path = here.dir.path_of(name.to_bytes());
            let text = "left to the pass that deletes: a directory that is not empty has its name";
            self.pass.work.progress.event(Event::Notice { path: &path, text });
            return Ok((Outcome::Skipped, None));
        }
        if !empty {
            let reason = "a directory that is not empty has its name; only a pass that deletes removes it";
            return Err(Trouble::Refused("make", reason.into()));
        }
        let right = sys::stat_at(here.to()?, name).map_err(Trouble::dest("stat"))?;
        self.permit(here, name, &right)?;
        if !self.dry() {
            self.remove_dir(here, name, &right)?;
        }
        self.make(here, name, left, None, batch).map(|(_, id)| (Outcome::Updated, id))
    }

    /// Removes an empty directory; what the run did not make can be brought back if that is wished.
    pub(super) fn remove_dir(&mut self, here: &Here<'_>, name: &CStr, right: &Meta) -> Result<(), Trouble> {
        self.image_dir(here)?;
        let pass = self.pass;
        if let Some(backup) = &pass.backup
            && !self.is_ours(here, name, right)?
        {
            let path = here.dir.path_of(name.to_bytes());
            let there = backup.find(&path).map_err(Trouble::dest("look in the backup directory for"))?;
            if there.is_some_and(|there| there.kind != Kind::Dir) {
                return Err(Trouble::Refused("back up", TAKEN.into()));
            }
            let xattrs = xattr::read(Target::Name(here.to()?, name), &mut self.scratch)
                .map_err(Trouble::dest("list the attributes of"))?;
            // An earlier pass may have removed entries of it, and so changed its time.
            let former = pass.ledger.former(&path)?.filter(|image| image.ino == right.ino);
            let was = former.map_or(*right, |image| image.over(right));
            pass.ledger.backup(&path, &was, &xattrs)?;
            backup.keep_dir(&path, &was, &xattrs).map_err(Trouble::dest("keep in the backup directory"))?;
        }
        here.dir.set(TOUCHED);
        sys::rmdir(here.to()?, name).map_err(Trouble::dest("remove"))
    }

    /// Keeps the former metadata of a directory that the run did not make, before its entries change.
    pub(super) fn image_dir(&mut self, here: &Here<'_>) -> Result<(), Trouble> {
        let Some(right) = here.right else { return Ok(()) };
        self.image(here.dir, right)
    }

    pub(super) fn image(&mut self, dir: &Dir, right: BorrowedFd<'_>) -> Result<(), Trouble> {
        if !self.pass.ledger.keeps || self.dry() || dir.is(IMAGED) {
            return Ok(());
        }
        if let Some(was) = &dir.right {
            // What goes altogether gets no other metadata first.
            let left = dir.left.as_ref().unwrap_or(was);
            let xattrs = xattr::read(Target::Fd(right), &mut self.scratch).map_err(Trouble::dest("list attributes"))?;
            self.pass.ledger.image(&dir.path(), was, left, &xattrs)?;
        }
        dir.set(IMAGED);
        Ok(())
    }
}

fn is_dir(to: BorrowedFd<'_>, name: &CStr) -> bool {
    matches!(sys::find_at(to, name), Ok(Some(Meta { kind: Kind::Dir, .. })))
}
