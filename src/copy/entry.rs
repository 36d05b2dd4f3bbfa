//! One entry that is not a directory: decides, and makes the destination's entry right.
//!
//! A name that is absent is made directly, exclusively. One that exists is replaced by renaming a finished temporary
//! entry over it, so that it is never half-written under its own name.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::apply::Known;
use super::data::Fault;
use super::decide::{Action, decide};
use super::dir::{Dir, NEW, OURS, TOUCHED};
use super::end::End;
use super::error::Error;
use super::hand::{Hand, Outcome};
use super::ledger::{Made, Records};
use super::links::{Leader, Role};
use super::options::Loss;
use super::remnant::is_ours_alone;
use super::sys::xattr::{self, ACL_DEFAULT, Xattrs};
use super::sys::{self, Kind, Meta, Target};
use super::trouble::Trouble;

/// The directory an entry is in.
pub(super) struct Here<'h> {
    pub dir: &'h Arc<Dir>,
    pub left: End<'h>,
    /// `None` in a dry run where the directory would have to be made first.
    pub right: Option<BorrowedFd<'h>>,
    /// Path of the directory below the root.
    pub path: &'h [u8],
    pub records: &'h Records,
    pub inherits: &'h Inherits,
    pub no_temps: NoTemps,
}

/// That a directory had no name of the shape of a temporary one when it was listed as a whole, on each side. Nobody but
/// this pass makes such names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NoTemps {
    pub left: bool,
    pub right: bool,
}

/// Whether new entries inherit attributes from their directory. Asked for when the first is made.
#[derive(Debug, Default)]
pub(super) struct Inherits(OnceLock<bool>);

impl Inherits {
    /// They do not: this process has made the directory, with no attributes.
    pub(super) fn nothing() -> Self {
        Self(OnceLock::from(false))
    }
}

/// What a batch of entries leaves for the ledger.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub made: Vec<(Vec<u8>, Made)>,
    pub inodes: Vec<((u64, u64), crate::units::Stamp)>,
    /// Names that took the place of something, or got other metadata.
    pub replaced: Vec<Vec<u8>>,
}

impl Batch {
    pub(super) fn add(&mut self, name: &CStr, now: &Meta, left: &Meta) {
        let made = Made { kind: now.kind, ino: now.ino, ctime: now.ctime, source: left.ctime };
        self.made.push((name.to_bytes().to_vec(), made));
    }

    /// Adds what another worker has made.
    pub(super) fn append(&mut self, mut other: Self) {
        self.made.append(&mut other.made);
        self.inodes.append(&mut other.inodes);
        self.replaced.append(&mut other.replaced);
    }
}

impl Here<'_> {
    pub(super) fn to(&self) -> Result<BorrowedFd<'_>, Trouble> {
        self.right.ok_or_else(|| Trouble::Refused("make", "its directory could not be made".into()))
    }

    /// Whether new entries inherit attributes.
    pub(super) fn inherits(&self) -> Result<bool, Trouble> {
        if let Some(known) = self.inherits.0.get() {
            return Ok(*known);
        }
        let found = xattr::has(Target::Fd(self.to()?), ACL_DEFAULT).map_err(Trouble::dest("read the ACL of"))?;
        Ok(*self.inherits.0.get_or_init(|| found))
    }
}

impl Hand<'_> {
    /// Whether the run made this entry of the destination, and nobody changed it since. A directory's time of change
    /// tells nothing: every name made in it changes that.
    pub(super) fn is_ours(&self, here: &Here<'_>, name: &CStr, right: &Meta) -> Result<bool, Error> {
        let Some(made) = here.records.made.get(name.to_bytes()) else { return Ok(false) };
        if (made.kind, made.ino) != (right.kind, right.ino) {
            return Ok(false);
        }
        if right.kind == Kind::Dir || made.ctime == right.ctime || self.pass.is_touched(right.id()) {
            return Ok(true);
        }
        let ledger = &self.pass.ledger;
        if ledger.is_untouched(right.id(), right, made)? {
            return Ok(true);
        }
        // This run died while it changed the number of names: how far that got is not known.
        if right.nlink > 1 && ledger.unlinking(right.id())?.is_some() {
            return Ok(true);
        }
        // Another worker may have changed that number since this name was looked at, or was asked about.
        let now = here.right.map_or(Ok(None), |to| sys::present(sys::look_at(to, name)));
        let now = now.map_err(Error::io("stat", &here.dir.path_of(name.to_bytes())))?;
        let Some(now) = now.filter(|now| now.id() == right.id()) else { return Ok(false) };
        Ok(ledger.is_untouched(now.id(), &now, made)? || self.pass.is_touched(now.id()))
    }

    /// Whether the run made it, or had begun to when it died: as far as that is known without the source.
    pub(super) fn is_by_run(&self, here: &Here<'_>, name: &CStr, right: &Meta) -> Result<bool, Error> {
        Ok(self.is_ours(here, name, right)? || self.was_begun(here, name, right))
    }

    /// Whether it was not there when the run was about to make it, and nobody else can have made it since.
    pub(super) fn was_begun(&self, here: &Here<'_>, name: &CStr, right: &Meta) -> bool {
        here.records.replacing.get(name.to_bytes()) == Some(&right.ino)
            || here.records.intents.contains(name.to_bytes()) && self.vouches(here.dir)
    }

    /// Whether a directory was empty when it came into the hands of the run, and only we may make entries in it.
    fn vouches(&self, dir: &Dir) -> bool {
        let empty = dir.is(NEW | OURS) || dir.parent.is_none() && self.pass.began_empty;
        empty && dir.right.is_some_and(|meta| is_ours_alone(&meta, self.pass.setter.creator.0))
    }

    pub(super) fn dry(&self) -> bool {
        self.pass.options.dry_run
    }

    /// Handles one entry. `in_way`: a directory had its name and was removed for it.
    pub(super) fn entry(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<Outcome, Error> {
        let result = self.try_entry(here, name, left, right, batch);
        result.or_else(|trouble| self.trouble(here.dir, name.to_bytes(), trouble))
    }

    pub(super) fn try_entry(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<Outcome, Trouble> {
        if left.kind == Kind::Socket {
            return match self.pass.options.accept.contains(&Loss::Special) {
                true => Ok(Outcome::Skipped),
                false => Err(Trouble::Refused("copy", "a socket cannot be copied".into())),
            };
        }
        let claimed = right.is_none_or(|right| right.kind == Kind::Dir || self.pass.links.claim(right, left.id()));
        if left.nlink < 2 {
            let result = self.single(here, name, left, right, claimed, batch).map(|(outcome, _)| outcome);
            if !matches!(result, Ok(Outcome::Deferred)) {
                self.count_size(left);
            }
            return result;
        }
        let pass = self.pass;
        match pass.links.join(left) {
            Role::Lead(guard) => {
                let was_ours = right.map_or(Ok(false), |right| self.is_ours(here, name, right))?;
                let (outcome, id) = self.single(here, name, left, right, claimed, batch)?;
                let ours = was_ours || matches!(outcome, Outcome::Created(_) | Outcome::Updated);
                if outcome == Outcome::Deferred {
                    guard.wait();
                } else if outcome == Outcome::Skipped {
                    // Nothing is there to link to: another name leads.
                    drop(guard);
                } else {
                    self.count_size(left);
                    guard.done(Leader { dir: here.dir.clone(), name: name.to_owned(), right: id, ours });
                }
                Ok(outcome)
            }
            Role::Follow(leader) => {
                let result = self.follow(here, name, left, right, &leader, batch);
                if !matches!(result, Ok(Outcome::Deferred)) {
                    pass.links.leave(left.id());
                }
                result
            }
        }
    }

    pub(super) fn count_size(&mut self, left: &Meta) {
        if left.kind == Kind::File {
            self.tally.listed_bytes += left.size;
        }
    }

    /// Handles an entry by itself. Returns the destination's inode, if there is one now.
    pub(super) fn single(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        claimed: bool,
        batch: &mut Batch,
    ) -> Result<(Outcome, Option<(u64, u64)>), Trouble> {
        if right.is_some_and(|right| right.kind == Kind::Dir) {
            return self.directory_in_the_way(here, name, left, batch);
        }
        let proved = right.is_some_and(|right| self.recalls(left, right));
        let same_link = match right {
            Some(right) if left.kind == Kind::Link && right.kind == Kind::Link => {
                proved && !self.pass.rules.content
                    || here.left.read_link(name).map_err(Trouble::source("read the link"))?
                        == sys::read_link(here.to()?, name).map_err(Trouble::dest("read the link"))?
            }
            _ => false,
        };
        let recorded = here.records.made.get(name.to_bytes()).map(|made| made.source);
        let mut verdict = decide(left, right, same_link, &self.pass.rules, recorded, proved);
        if verdict.action == Action::Read {
            let same = match right {
                Some(right) if claimed => self.same_content(here, name, left, right)?,
                _ => false,
            };
            verdict.action = match right {
                Some(right) if same && self.pass.rules.same_meta(left, right) => Action::Keep,
                Some(_) if same => Action::Fix,
                _ => Action::Replace,
            };
        }
        let Some(right) = right else { return self.make(here, name, left, None, batch) };
        if !claimed || verdict.action == Action::Replace {
            return self.make(here, name, left, Some(right), batch);
        }
        let mut xattrs = None;
        if verdict.look {
            let wanted =
                here.left.xattrs(name, &mut self.scratch).map_err(Trouble::source("list the attributes of"))?;
            let present = xattr::read(Target::Name(here.to()?, name), &mut self.scratch)
                .map_err(Trouble::dest("list the attributes of"))?;
            if !self.pass.setter.same_xattrs(&wanted, &present) {
                verdict.action = Action::Fix;
            } else if verdict.action == Action::Keep {
                self.found_same(left, right);
            }
            xattrs = Some((wanted, present));
        }
        if verdict.action == Action::Keep {
            if here.records.begun(name.to_bytes(), right.ino) && !self.is_ours(here, name, right)? {
                // Finished by this run just before it died.
                batch.add(name, right, left);
                batch.replaced.push(name.to_bytes().to_vec());
            }
            return Ok((Outcome::Unchanged, Some(right.id())));
        }
        if right.nlink > 1 {
            // Other names of the inode, perhaps outside the tree, must not change with this one.
            return self.make(here, name, left, Some(right), batch);
        }
        if !self.dry() {
            let ours = self.is_by_run(here, name, right)? || self.is_remnant(here, name, right)?;
            if ours && self.pass.ledger.keeps {
                // Its time of change will be another one: should this process die, it is still known as ours.
                self.pass.ledger.replacing(here.path, name.to_bytes(), right.ino)?;
                batch.replaced.push(name.to_bytes().to_vec());
            }
            let now = self.fix(here, name, left, right, xattrs, ours)?;
            self.made_same(left, &now);
            if ours {
                batch.add(name, &now, left);
            }
        }
        Ok((Outcome::Meta, Some(right.id())))
    }

    pub(super) fn same_content(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: &Meta,
    ) -> Result<bool, Trouble> {
        let from = here.left.file(name).map_err(Trouble::source("open"))?;
        let to = sys::open_read(here.to()?, name).map_err(Trouble::dest("open"))?;
        let now = sys::stat_fd(&to).map_err(Trouble::dest("stat"))?;
        if now.id() != right.id() {
            return Ok(false);
        }
        let cancel = self.pass.work.cancel;
        let mut tick = |_, _| cancel.check().map_err(Error::from);
        match from.same(&mut self.mover, to.as_fd(), (0, left.size), &mut tick) {
            // Cut short meanwhile: it is copied, and found out there.
            Err(Fault::Shrank) => Ok(false),
            other => other.map_err(Trouble::from),
        }
    }

    /// Sets metadata of an entry whose content is right.
    pub(super) fn fix(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: &Meta,
        xattrs: Option<(Xattrs, Xattrs)>,
        ours: bool,
    ) -> Result<Meta, Trouble> {
        let to = here.to()?;
        let held = sys::open_path(to, name).map_err(Trouble::dest("open"))?;
        let found = sys::stat_fd(&held).map_err(Trouble::dest("stat"))?;
        if found.id() != right.id() || found.kind != left.kind {
            return Err(Trouble::Refused("change", "it was replaced meanwhile by somebody else".into()));
        }
        let target = match left.kind {
            Kind::Link => Target::Name(to, name),
            _ => Target::Held(held.as_fd()),
        };
        let (wanted, present) = match xattrs {
            Some(both) => both,
            // What was not looked at is set all the same: the change of owner may drop some of it.
            None => (
                here.left.xattrs(name, &mut self.scratch).map_err(Trouble::source("list the attributes of"))?,
                xattr::read(target, &mut self.scratch).map_err(Trouble::dest("list the attributes of"))?,
            ),
        };
        if self.pass.ledger.keeps && !ours {
            let path = here.dir.path_of(name.to_bytes());
            self.pass.ledger.image(&path, right, left, &present)?;
        }
        // Not done until the time is right: should this process die in between, the next pass sees that by the time.
        let mut mark = left.mtime;
        mark.nsec = if mark.nsec == 0 { 1 } else { mark.nsec - 1 };
        target.set_times(right.atime, mark).map_err(Trouble::dest("set the times of"))?;
        let known = Known::Is(&found);
        self.pass.setter.apply(target, left, Some(&wanted), known, &mut self.scratch)
    }

    /// A further name of an inode that was handled under another one.
    pub(super) fn follow(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        leader: &Leader,
        batch: &mut Batch,
    ) -> Result<Outcome, Trouble> {
        if right.is_some_and(|right| right.kind == Kind::Dir) {
            return self.directory_in_the_way(here, name, left, batch).map(|(outcome, _)| outcome);
        }
        if let Some(right) = right
            && leader.right == Some(right.id())
        {
            if here.records.begun(name.to_bytes(), right.ino) && !self.is_ours(here, name, right)? {
                batch.add(name, right, left);
                batch.replaced.push(name.to_bytes().to_vec());
            }
            return Ok(Outcome::Unchanged);
        }
        if right.is_some() && self.pass.options.accept.contains(&Loss::Hardlink) {
            // It may well be a file of its own, as the destination can hold nothing else.
            return self.single(here, name, left, right, true, batch).map(|(outcome, _)| outcome);
        }
        let outcome = if right.is_some() { Outcome::Updated } else { Outcome::Created(left.kind) };
        if let Some(right) = right {
            self.permit(here, name, right)?;
        }
        if self.dry() {
            return Ok(outcome);
        }
        let from = leader.dir.pair().map_err(Trouble::dest("open the directory of the first name of"))?;
        let from = from.right().ok_or_else(|| Trouble::Refused("link", "its first name is gone".into()))?;
        let place = self.place(here, name, right)?;
        if leader.ours {
            let first = sys::stat_at(from, &leader.name).map_err(Trouble::dest("stat"))?;
            self.pass.touch(&first, first.nlink + 1)?;
        }
        let linked = rustix::fs::linkat(from, &leader.name, here.to()?, &*place, AtFlags::empty());
        match linked {
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV)
                if self.pass.options.accept.contains(&Loss::Hardlink) =>
            {
                return self.make(here, name, left, right, batch).map(|(outcome, _)| outcome);
            }
            other => other.map_err(Trouble::dest("link"))?,
        }
        let now = sys::stat_at(here.to()?, &place).map_err(Trouble::dest("stat"))?;
        if leader.right.is_some_and(|id| id != now.id()) {
            sys::unlink(here.to()?, &place).map_err(Trouble::dest("remove"))?;
            return Err(Trouble::Refused("link", "its first name was replaced meanwhile by somebody else".into()));
        }
        self.publish(here, name, &place, right, batch)?;
        let now = sys::stat_at(here.to()?, name).map_err(Trouble::dest("stat"))?;
        if self.pass.ledger.keeps {
            batch.add(name, &now, left);
            batch.inodes.push((now.id(), now.ctime));
        }
        Ok(outcome)
    }

    /// Makes an entry anew, in the place of `right` if there is one.
    pub(super) fn make(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<(Outcome, Option<(u64, u64)>), Trouble> {
        let outcome = if right.is_some() { Outcome::Updated } else { Outcome::Created(left.kind) };
        if let Some(right) = right {
            self.permit(here, name, right)?;
        }
        if self.dry() {
            if left.kind == Kind::File {
                self.tally.copied_bytes += self.data_of(here, name, left)?;
            } else if left.kind == Kind::Link {
                here.left.read_link(name).map_err(Trouble::source("read the link"))?;
            }
            return Ok((outcome, None));
        }
        here.dir.set(TOUCHED);
        let (now, source) = match left.kind {
            Kind::File => self.file(here, name, right, batch)?,
            Kind::Link => (self.link(here, name, left, right, batch)?, *left),
            _ => match self.special(here, name, left, right, batch) {
                Err(Trouble::Dest("make", Errno::PERM))
                    if left.kind.is_device() && self.pass.options.accept.contains(&Loss::Special) =>
                {
                    return Ok((Outcome::Skipped, None));
                }
                other => (other?, *left),
            },
        };
        self.wrote(now.size);
        self.made_same(&source, &now);
        if self.pass.ledger.keeps {
            batch.add(name, &now, &source);
        }
        Ok((outcome, Some(now.id())))
    }

    /// The bytes that a real run would copy.
    pub(super) fn data_of(&mut self, here: &Here<'_>, name: &CStr, left: &Meta) -> Result<u64, Trouble> {
        let length = here.left.data_length(name, left).map_err(Trouble::source("open"))?;
        self.advance(0, length);
        Ok(length)
    }

    pub(super) fn link(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<Meta, Trouble> {
        let text = here.left.read_link(name).map_err(Trouble::source("read the link"))?;
        let xattrs = here.left.xattrs(name, &mut self.scratch).map_err(Trouble::source("list the attributes of"))?;
        let place = self.place(here, name, right)?;
        let to = here.to()?;
        rustix::fs::symlinkat(&text, to, &*place).map_err(Trouble::dest("make"))?;
        let target = Target::Name(to, &place);
        let done = self
            .pass
            .setter
            .apply(target, left, Some(&xattrs), Known::Fresh, &mut self.scratch)
            .and_then(|_| self.publish(here, name, &place, right, batch))
            .and_then(|()| sys::stat_at(to, name).map_err(Trouble::dest("stat")));
        self.or_clean(done, to, &place)
    }

    pub(super) fn special(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        left: &Meta,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<Meta, Trouble> {
        let kind = match left.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            other => return Err(Trouble::Refused("copy", format!("a {} cannot be copied", other.word()))),
        };
        let xattrs = here.left.xattrs(name, &mut self.scratch).map_err(Trouble::source("list the attributes of"))?;
        let place = self.place(here, name, right)?;
        let to = here.to()?;
        let device = if left.kind.is_device() { left.rdev } else { 0 };
        rustix::fs::mknodat(to, &*place, kind, Mode::from_raw_mode(0o600), device).map_err(Trouble::dest("make"))?;
        let done = (|| {
            let held = sys::open_path(to, &place).map_err(Trouble::dest("open"))?;
            let made = sys::stat_fd(&held).map_err(Trouble::dest("stat"))?;
            if made.kind != left.kind || left.kind.is_device() && made.rdev != left.rdev {
                return Err(Trouble::Refused("make", "the destination made something else".into()));
            }
            let known = if here.inherits()? { Known::Inherited } else { Known::Fresh };
            let target = Target::Held(held.as_fd());
            self.pass.setter.apply(target, left, Some(&xattrs), known, &mut self.scratch)?;
            self.publish(here, name, &place, right, batch)?;
            sys::stat_fd(&held).map_err(Trouble::dest("stat"))
        })();
        self.or_clean(done, to, &place)
    }
}
