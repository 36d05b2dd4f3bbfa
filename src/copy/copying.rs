//! The first walk of a pass: every directory of the source is listed, compared with the destination's, and what is
//! missing or different is made. Nothing is deleted; what would be is counted.

use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::apply::Known;
use super::batch::Looked;
use super::children::{Child, Children};
use super::dir::{Dir, FAILED, IMAGED, IN_THE_WAY, NEW, OURS, PROTECTED, Pair, TOUCHED, TROUBLED};
use super::end::End;
use super::entry::{Inherits, NoTemps};
use super::error::Error;
use super::far::words::{CONTENT, LIST};
use super::filter::Filter;
use super::hand::{Hand, Outcome};
use super::ledger::Records;
use super::listing::Listing;
use super::pool::Job;
use super::sys::xattr;
use super::sys::{self, Kind, Meta, Target};
use super::together::Shared;
use super::tree::Pass;
use super::trouble::Trouble;

/// Bits of a child.
pub(super) const LEFT: u8 = 1;
pub(super) const RIGHT: u8 = 2;
pub(super) const MADE: u8 = 4;
pub(super) const BY_RUN: u8 = 8;
pub(super) const REPLACED: u8 = 16;
pub(super) const WAY: u8 = 32;

/// A directory took the place of something else in this pass.
const INSTEAD: u16 = 128;

/// The walk.
pub(super) struct Copying<'a>(pub &'a Pass<'a>);

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum Stage {
    #[default]
    Start,
    Entries,
    /// The destination's listing was at hand: what is left of it is extra.
    Rest,
    /// The destination is too large to be at hand: list it in pieces, and ask the source for each name.
    Stream,
}

/// How the destination of a directory is looked up.
#[derive(Debug, Default)]
pub(super) enum Right {
    /// There is nothing, or this pass has just made it.
    #[default]
    Empty,
    /// All its names, their order, and which were met on the source.
    Listed(Listing, Vec<u32>, Vec<AtomicBool>),
    /// It or the source is huge: by asking for each name.
    ByName,
    /// It is known to have no name but those of the source: by asking for each of them.
    NoExtra,
}

/// How far a directory has got.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub stage: Stage,
    pub left: Arc<Listing>,
    /// Items of the piece in the order of work: directories first, so that others can begin with them.
    pub order: Vec<u32>,
    pub next: usize,
    pub left_more: bool,
    /// The next entries, if they were looked at and not made yet.
    pub looked: Option<Vec<Looked>>,
    pub right: Arc<Right>,
    pub records: Arc<Records>,
    pub inherits: Arc<Inherits>,
    pub no_temps: NoTemps,
    pub streaming: bool,
    pub chunk: u32,
}

impl<'a> Job for Copying<'a> {
    type Worker = Hand<'a>;
    type Cursor = Cursor;
    type Part = Shared;

    fn worker(&self) -> Hand<'a> {
        Hand::new(self.0)
    }

    fn retire(&self, hand: Hand<'a>) {
        self.0.add(hand);
    }

    fn open(&self, hand: &mut Hand<'a>, parent: &Arc<Dir>, child: Child) -> Result<Option<Arc<Dir>>, Error> {
        let name = child.name.clone();
        match hand.open_child(parent, child) {
            Ok(dir) => Ok(Some(dir)),
            Err((listed, trouble)) => {
                let outcome = hand.trouble(parent, name.to_bytes(), trouble)?;
                if listed {
                    hand.settle(outcome);
                } else {
                    // What is extra and cannot be looked into is not deleted.
                    parent.set(PROTECTED);
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
        let result = match (pair.left(), pair.right()) {
            (Some(left), right) => hand.step(dir, left, right, cursor, found),
            (None, Some(right)) => hand.count_extra(dir, right, cursor, found),
            (None, None) => Ok(false),
        };
        result.or_else(|trouble| hand.give_up(dir, trouble).map(|()| false))
    }

    fn share(
        &self,
        hand: &mut Hand<'a>,
        dir: &Arc<Dir>,
        pair: &Arc<Pair>,
        cursor: &mut Cursor,
    ) -> Result<Option<(Shared, usize)>, Error> {
        match hand.share(dir, pair, cursor) {
            Err(Trouble::Stop(error)) => Err(error),
            // The next step meets it as well, and tells it.
            Err(_) => Ok(None),
            Ok(shared) => Ok(shared),
        }
    }

    fn help(&self, hand: &mut Hand<'a>, shared: &Shared, piece: Range<usize>) -> bool {
        hand.help(shared, piece)
    }

    fn close(
        &self,
        hand: &mut Hand<'a>,
        cursor: &mut Cursor,
        shared: &Shared,
        whole: bool,
        found: &mut Children,
    ) -> Result<(), Error> {
        hand.close(cursor, shared, whole, found)
    }

    fn asks(&self, bits: u8) -> Option<u8> {
        let content = if bits & MADE != 0 && !self.0.options.dry_run { CONTENT } else { 0 };
        (bits & LEFT != 0).then_some(LIST | content)
    }

    fn finish(&self, hand: &mut Hand<'a>, dir: &Arc<Dir>, pair: &Pair) -> Result<(), Error> {
        let Some(left) = dir.left else {
            hand.finish_extra(dir);
            return Ok(());
        };
        let outcome = match hand.finish_dir(dir, pair, &left) {
            Ok(_) if dir.is(FAILED) => Outcome::Failed,
            Ok(outcome) => outcome,
            Err(trouble) => hand.trouble(dir, b"", trouble)?,
        };
        hand.settle(outcome);
        Ok(())
    }

    fn lost(&self, hand: &mut Hand<'a>, dir: &Arc<Dir>, errno: Errno) -> Result<(), Error> {
        if dir.set(FAILED) {
            return Ok(());
        }
        let outcome = hand.trouble(dir, b"", Trouble::Source("open again", errno))?;
        if dir.left.is_some() {
            hand.settle(outcome);
        }
        Ok(())
    }
}

/// What a child that could not be opened was: listed in the source or extra in the destination.
type Lost = (bool, Trouble);

impl<'a> Hand<'a> {
    /// A directory cannot be worked on further. It is settled as failed at its end, which counts nothing by itself.
    fn give_up(&mut self, dir: &Arc<Dir>, trouble: Trouble) -> Result<(), Error> {
        let known = dir.set(FAILED);
        match self.trouble(dir, b"", trouble)? {
            Outcome::Vanished if !known => self.tally.vanished += 1,
            Outcome::Skipped if !known => self.tally.skipped += 1,
            _ => {}
        }
        Ok(())
    }

    fn open_child(&mut self, parent: &Arc<Dir>, child: Child) -> Result<Arc<Dir>, Lost> {
        let listed = child.bits & LEFT != 0;
        let lost = |trouble| (listed, trouble);
        let pair = parent.pair().map_err(|errno| lost(Trouble::Source("open its directory", errno)))?;
        let mut left = None;
        if listed && let Some(from) = pair.left() {
            let open = from.dir(&child.name).map_err(|errno| match errno {
                Errno::LOOP | Errno::NOTDIR => Trouble::Refused("open", "it is no longer a directory".into()),
                other => Trouble::source("open")(other),
            });
            let held = open.map_err(lost)?;
            let meta = held.lend().meta().map_err(|errno| lost(Trouble::Source("stat", errno)))?;
            if self.pass.right_root.is_some_and(|root| root.id() == meta.id()) {
                return Err(lost(Trouble::Refused("copy", "it leads to the destination itself".into())));
            }
            left = Some((held, meta));
        }
        let mut right = None;
        if child.bits & RIGHT != 0
            && let Some(to) = pair.right()
        {
            let (fd, meta) = self.open_right(to, &child).map_err(lost)?;
            right = Some((fd, meta));
        }
        let mut flags = 0;
        for (bit, flag) in [(MADE, NEW | IMAGED), (BY_RUN, OURS | IMAGED), (REPLACED, INSTEAD), (WAY, IN_THE_WAY)] {
            if child.bits & bit != 0 {
                flags |= flag;
            }
        }
        let metas = (left.as_ref().map(|(_, meta)| *meta), right.as_ref().map(|(_, meta)| *meta));
        let fds = Pair::new(left.map(|(held, _)| held), right.map(|(fd, _)| fd), Dir::budget_of(&pair));
        Ok(Dir::new(Some(parent.clone()), child.name, metas, fds, flags))
    }

    /// Opens a directory of the destination, and makes sure that it is the one that was found there.
    pub(super) fn open_right(&mut self, to: BorrowedFd<'_>, child: &Child) -> Result<(OwnedFd, Meta), Trouble> {
        let fd = match sys::open_dir(to, &child.name) {
            Err(Errno::ACCESS) if !self.pass.options.dry_run => self.open_closed(to, &child.name)?,
            other => other.map_err(Trouble::dest("open"))?,
        };
        let meta = sys::stat_fd(&fd).map_err(Trouble::dest("stat"))?;
        // A mount point has another inode than the name it covers.
        if child.ino != 0 && meta.ino != child.ino && !meta.mount_root {
            return Err(Trouble::Refused("open", "it was replaced meanwhile by somebody else".into()));
        }
        if self.pass.left_root.id() == meta.id() {
            return Err(Trouble::Refused("enter", "it leads to the source itself".into()));
        }
        Ok((fd, meta))
    }

    /// Opens a directory that its owner, who is us, has closed to himself.
    fn open_closed(&mut self, to: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Trouble> {
        let held = sys::open_path(to, name).map_err(Trouble::dest("open"))?;
        let meta = sys::stat_fd(&held).map_err(Trouble::dest("stat"))?;
        if meta.kind != Kind::Dir || meta.uid != self.pass.setter.creator.0 {
            return Err(Trouble::Dest("open", Errno::ACCESS));
        }
        Target::Held(held.as_fd()).chmod(meta.mode | 0o700).map_err(Trouble::dest("change the mode of"))?;
        sys::open_dir(to, name).map_err(Trouble::dest("open"))
    }

    /// Whether a directory lies on another file system than the root, and the user wants those left alone.
    pub(super) fn is_beyond(&self, dir: &Dir) -> bool {
        let crosses = |here: &Option<Meta>, root: &Option<Meta>| {
            here.as_ref()
                .zip(root.as_ref())
                .is_some_and(|(here, root)| here.mount != root.mount || here.dev != root.dev)
        };
        self.pass.options.one_file_system
            && (crosses(&dir.left, &Some(self.pass.left_root)) || crosses(&dir.right, &self.pass.right_root))
    }

    /// Whether a directory of the destination is the backup directory.
    pub(super) fn is_backup(&self, dir: &Dir) -> bool {
        let id = dir.right.as_ref().map(Meta::id);
        self.pass.backup.as_ref().is_some_and(|backup| Some(backup.id) == id)
    }

    fn step(
        &mut self,
        dir: &Arc<Dir>,
        left: End<'_>,
        right: Option<BorrowedFd<'_>>,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Trouble> {
        match cursor.stage {
            Stage::Start => self.start(dir, left, right, cursor),
            Stage::Entries if cursor.looked.is_some() || cursor.next < cursor.order.len() => {
                self.batch(dir, left, right, cursor, found)?;
                Ok(true)
            }
            Stage::Entries if cursor.left_more => {
                self.read_left(dir, left, right, cursor)?;
                self.load_records(dir, cursor)?;
                Ok(true)
            }
            Stage::Entries => {
                cursor.stage = match *cursor.right {
                    Right::Empty | Right::NoExtra => return Ok(false),
                    Right::Listed(..) => Stage::Rest,
                    Right::ByName => {
                        if let Some(right) = right {
                            rustix::fs::seek(right, SeekFrom::Start(0)).map_err(Trouble::dest("list"))?;
                        }
                        Stage::Stream
                    }
                };
                Ok(true)
            }
            Stage::Rest => {
                self.rest(dir, left, right, cursor, found)?;
                Ok(false)
            }
            Stage::Stream => self.stream(dir, left, right, cursor, found),
        }
    }

    fn start(
        &mut self,
        dir: &Arc<Dir>,
        left: End<'_>,
        right: Option<BorrowedFd<'_>>,
        cursor: &mut Cursor,
    ) -> Result<bool, Trouble> {
        if self.is_beyond(dir) {
            if dir
                .left
                .is_some_and(|left| left.mount == self.pass.left_root.mount && left.dev == self.pass.left_root.dev)
            {
                // Only what is mounted in the source is left out; here something would be missing.
                return Err(Trouble::Refused(
                    "copy into",
                    "another file system is mounted there in the destination".into(),
                ));
            }
            return Ok(false);
        }
        if self.is_backup(dir) {
            return Err(Trouble::Refused("copy", "the backup directory has its name".into()));
        }
        self.read_left(dir, left, right, cursor)?;
        cursor.streaming = cursor.left_more;
        if dir.is(NEW) && dir.parent.is_some() {
            cursor.inherits = Arc::new(Inherits::nothing());
        }
        if let Some(right) = right.filter(|_| !dir.is(NEW)) {
            self.open_up(dir, right)?;
            cursor.right = Arc::new(Right::ByName);
            if !cursor.left_more && self.recalls_names(dir) {
                let none = !cursor.left.has_temps();
                cursor.no_temps = NoTemps { left: none, right: none };
                cursor.right = Arc::new(Right::NoExtra);
            } else if !cursor.left_more {
                let mut listing = Listing::default();
                let mut filter = Filter::new(&self.pass.options.exclude, dir, Some(left), Some(right));
                let keep = |name: &CStr, kind| !filter.special(name, kind) && !filter.excluded(name, kind);
                let more = listing.read(right, &mut self.buffer, keep).map_err(Trouble::dest("list"))?;
                if !more {
                    // What is left out by name is not in the listings.
                    let whole = self.pass.options.exclude.is_empty();
                    cursor.no_temps =
                        NoTemps { left: whole && !cursor.left.has_temps(), right: whole && !listing.has_temps() };
                    let order = listing.by_name();
                    let met = order.iter().map(|_| AtomicBool::new(false)).collect();
                    cursor.right = Arc::new(Right::Listed(listing, order, met));
                }
            }
        }
        self.load_records(dir, cursor)?;
        cursor.stage = Stage::Entries;
        Ok(true)
    }

    /// A directory of ours that we may not write to is opened up; its own mode comes at the end.
    fn open_up(&mut self, dir: &Dir, right: BorrowedFd<'_>) -> Result<(), Trouble> {
        let Some(meta) = &dir.right else { return Ok(()) };
        let us = self.pass.setter.creator.0;
        if us == 0 || meta.uid != us || meta.mode & 0o300 == 0o300 || self.pass.options.dry_run {
            return Ok(());
        }
        self.image(dir, right)?;
        dir.set(TOUCHED);
        Target::Fd(right).chmod(meta.mode | 0o700).map_err(Trouble::dest("change the mode of"))
    }

    /// Reads the next piece of the source.
    fn read_left(
        &mut self,
        dir: &Dir,
        left: End<'_>,
        right: Option<BorrowedFd<'_>>,
        cursor: &mut Cursor,
    ) -> Result<(), Trouble> {
        let mut filter = Filter::new(&self.pass.options.exclude, dir, Some(left), right);
        let keep = |name: &CStr, kind| !filter.special(name, kind) && !filter.excluded(name, kind);
        // Nobody else has the piece before any more: then its memory is used again.
        if Arc::get_mut(&mut cursor.left).is_none() {
            cursor.left = Arc::default();
        }
        let piece = Arc::make_mut(&mut cursor.left);
        cursor.left_more = left.list(piece, &mut self.buffer, keep).map_err(Trouble::source("list"))?;
        let items = &cursor.left.items;
        cursor.order = (0..items.len() as u32).collect();
        // Directories first; then by inode, which is near the order on the disk.
        cursor.order.sort_unstable_by_key(|&at| {
            let item = &items[at as usize];
            (item.kind != Kind::Dir, item.ino)
        });
        cursor.next = 0;
        Ok(())
    }

    fn load_records(&mut self, dir: &Dir, cursor: &mut Cursor) -> Result<(), Trouble> {
        if !self.pass.history {
            return Ok(());
        }
        let path = dir.path();
        let records = if cursor.streaming || matches!(*cursor.right, Right::ByName | Right::NoExtra) {
            let order = cursor.left.by_name();
            self.pass.ledger.load(&path, |name| cursor.left.find(&order, name).is_some())?
        } else {
            self.pass.ledger.load(&path, |_| true)?
        };
        cursor.chunk = cursor.chunk.max(records.next);
        cursor.records = Arc::new(records);
        Ok(())
    }

    /// Sets a directory's metadata.
    fn finish_dir(&mut self, dir: &Dir, pair: &Pair, left: &Meta) -> Result<Outcome, Trouble> {
        let dry = self.pass.options.dry_run;
        let new_outcome = if dir.is(INSTEAD) { Outcome::Updated } else { Outcome::Created(Kind::Dir) };
        let (Some(from), Some(was)) = (pair.left(), &dir.right) else { return Ok(new_outcome) };
        let to = pair.right().ok_or_else(|| Trouble::Refused("finish", "its descriptor is closed".into()))?;
        let same_meta = self.pass.rules.same_meta(left, was);
        if same_meta && !dir.is(TOUCHED) && self.recalls(left, was) {
            return Ok(Outcome::Unchanged);
        }
        let wanted = from.own_xattrs(&mut self.scratch).map_err(Trouble::source("list the attributes of"))?;
        let target = Target::Fd(to);
        if dir.is(NEW) {
            if !dry {
                // A root was made in a directory that is none of ours, and may have inherited from it.
                let known = if dir.parent.is_some() { Known::Fresh } else { Known::Inherited };
                let now = self.pass.setter.apply(target, left, Some(&wanted), known, &mut self.scratch)?;
                self.made_same(left, &now);
                if !dir.is(TROUBLED) {
                    self.made_no_extra(left, &now);
                }
            }
            return Ok(new_outcome);
        }
        let present = xattr::read(target, &mut self.scratch).map_err(Trouble::dest("list the attributes of"))?;
        let same = same_meta && self.pass.setter.same_xattrs(&wanted, &present);
        if !dry && (!same || dir.is(TOUCHED)) {
            self.image(dir, to)?;
            let now = sys::stat_fd(to).map_err(Trouble::dest("stat"))?;
            let now = self.pass.setter.apply(target, left, Some(&wanted), Known::Is(&now), &mut self.scratch)?;
            self.made_same(left, &now);
        } else if same {
            self.found_same(left, was);
        }
        Ok(if same { Outcome::Unchanged } else { Outcome::Meta })
    }
}
