//! Copies a regular file: content, then metadata; again if it changed meanwhile; and a big one so that a later pass can
//! go on with it.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::apply::{Known, Setter};
use super::data::Fault;
use super::dir::{NEW, TOUCHED};
use super::end::{End, EndFile};
use super::entry::{Batch, Here};
use super::error::Error;
use super::hand::Hand;
use super::ledger::Big;
use super::names;
use super::sys::xattr::Xattrs;
use super::sys::{self, Kind, Meta, Target};
use super::trouble::Trouble;
use crate::progress::Event;

/// How often a file that changes while it is copied is copied again.
const RETRIES: u32 = 2;
/// A file up to this size is read by one call.
const ONE_READ: u64 = super::data::BUFFER as u64;
/// Before going on with a big file, so much of what is there is read again.
const REREAD: u64 = 1 << 20;

/// A file of the source that is open, and how it was then.
pub(super) type Opened = (EndFile, Meta);

/// A file of the destination that is being written.
struct Filling<'f> {
    from: &'f EndFile,
    to: &'f OwnedFd,
    /// The source as it was when it was opened.
    before: Meta,
    /// Its progress is recorded.
    big: bool,
    /// It has a temporary name.
    temp: bool,
    /// What lies before is there already.
    start: u64,
    /// The source's attributes, read before its content: what changes them later is seen by its time.
    xattrs: Xattrs,
    /// Mode, if it was made with its final owner and with this one.
    ready: Option<u32>,
}

impl Hand<'_> {
    /// Opens a regular file of the source.
    pub(super) fn open_file(left: End<'_>, name: &CStr) -> Result<Opened, Trouble> {
        let from = left.file(name).map_err(|errno| match errno {
            Errno::LOOP | Errno::NXIO => Trouble::Refused("open", "it became something else than a file".into()),
            other => Trouble::source("open")(other),
        })?;
        let before = from.meta().map_err(Trouble::source("stat"))?;
        match before.kind {
            Kind::File => Ok((from, before)),
            other => Err(Trouble::Refused("open", format!("it became a {}", other.word()))),
        }
    }

    /// Copies a regular file. Returns the new file's metadata and the source's that was copied.
    pub(super) fn file(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        right: Option<&Meta>,
        batch: &mut Batch,
    ) -> Result<(Meta, Meta), Trouble> {
        let to_dir = here.to()?;
        let (from, before) = match self.opened.take() {
            Some(opened) => opened,
            None => Self::open_file(here.left, name)?,
        };
        let xattrs = self.xattrs_of(&from)?;
        let big = self.pass.ledger.keeps && before.size >= self.pass.big_file;
        let resumed = if big { self.resume(here, name, &from, &before, right)? } else { None };
        let mut ready = None;
        let (to, place, start, right) = match resumed {
            Some((fd, place, start)) => {
                let in_place = place.as_c_str() == name;
                (fd, Cow::Owned(place), start, if in_place { None } else { right })
            }
            None => {
                let place = self.place(here, name, right)?;
                // Nobody else can enter a directory that this pass has made and not finished.
                let fits = here.dir.is(NEW) || Setter::gives_nothing(&before, &xattrs);
                if !big && fits && !here.inherits()? {
                    ready = self.pass.setter.mode_to_make(&before, self.umask);
                }
                let mode = ready.unwrap_or(sys::PRIVATE);
                (sys::create(to_dir, &place, mode).map_err(Trouble::dest("make"))?, place, 0, right)
            }
        };
        if let Some(right) = right.filter(|right| right.kind == Kind::File && start == 0) {
            from.set_base(|| sys::open_read(to_dir, name), right.size);
        }
        let temp = *place != *name;
        let filling = Filling { from: &from, to: &to, before, big, temp, start, xattrs, ready };
        let done = self.fill(here, name, filling).and_then(|(now, source)| {
            self.publish(here, name, &place, right, batch)?;
            if big {
                self.pass.ledger.set_big(&here.dir.path_of(name.to_bytes()), None)?;
            }
            let now = if temp { sys::file_fd(&to).map_err(Trouble::dest("stat"))? } else { now };
            Ok((now, source))
        });
        if big && done.is_err() {
            // What there is of a big file is kept: the next pass goes on from it.
            return done;
        }
        self.or_clean(done, to_dir, &place)
    }

    /// Finds the unfinished copy of a big file, checks that it is what it should be, and cuts it at the last offset
    /// known to be on the disk.
    pub(super) fn resume(
        &mut self,
        here: &Here<'_>,
        name: &CStr,
        from: &EndFile,
        before: &Meta,
        right: Option<&Meta>,
    ) -> Result<Option<(OwnedFd, CString, u64)>, Trouble> {
        let path = here.dir.path_of(name.to_bytes());
        let Some(big) = self.pass.ledger.big(&path)? else { return Ok(None) };
        if (big.src, big.size, big.mtime) != (before.id(), before.size, before.mtime) || big.temp && right.is_none() {
            return Ok(None);
        }
        let place = if big.temp { names::temp_for(name.to_bytes(), 0) } else { name.to_owned() };
        let Ok(fd) = sys::open_write(here.to()?, &place) else { return Ok(None) };
        let found = sys::stat_fd(&fd).map_err(Trouble::dest("stat"))?;
        if found.ino != big.ino || found.kind != Kind::File || found.nlink != 1 || found.size < big.offset {
            return Ok(None);
        }
        let cancel = self.pass.work.cancel;
        let mut tick = |_, _| cancel.check().map_err(Error::from);
        let tail = (big.offset.saturating_sub(REREAD), big.offset);
        match from.same(&mut self.mover, fd.as_fd(), tail, &mut tick) {
            Ok(true) => {}
            Ok(false) | Err(Fault::Shrank) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        }
        rustix::fs::ftruncate(&fd, big.offset).map_err(Trouble::dest("cut"))?;
        here.dir.set(TOUCHED);
        if big.offset > 0 {
            let text = format!("goes on at {}", crate::units::Bytes(big.offset));
            self.pass.work.progress.event(Event::Notice { path: &path, text: &text });
        }
        Ok(Some((fd, place, big.offset)))
    }

    fn xattrs_of(&mut self, from: &EndFile) -> Result<Xattrs, Trouble> {
        from.xattrs(&mut self.scratch).map_err(Trouble::source("list the attributes of"))
    }

    /// Copies content and metadata into a file that is open on both sides.
    fn fill(&mut self, here: &Here<'_>, name: &CStr, filling: Filling<'_>) -> Result<(Meta, Meta), Trouble> {
        let Filling { from, to, mut before, big, mut start, mut xattrs, ready, .. } = filling;
        let target = Target::Fd(to.as_fd());
        if ready.is_some() {
            // Before there is content: what follows then leaves the times and the owner alone, and a network file
            // system need not ask again what they are.
            self.pass.setter.give(target, &before)?;
        }
        let given = (before.uid, before.gid);
        let found = if big { Some(sys::stat_fd(to).map_err(Trouble::dest("stat"))?) } else { None };
        // A file lies where its directory lies.
        let to_dev = found.or(here.dir.right).map_or(0, |meta| meta.dev);
        let ino = found.map_or(0, |meta| meta.ino);
        if big && start == 0 {
            // Before there is content: what several threads leave of it has holes, and only its inode tells whose it is.
            let path = here.dir.path_of(name.to_bytes());
            let temp = filling.temp;
            let begun = Big { src: before.id(), size: before.size, mtime: before.mtime, ino, temp, offset: 0 };
            self.pass.ledger.set_big(&path, Some(&begun)).map_err(Error::from)?;
        }
        let linked = before.nlink > 0;
        let mut changed = false;
        let mut data = 0;
        for attempt in 0.. {
            let mut progress = BigProgress::new(self.pass, here, name, &before, ino, (big, filling.temp, start));
            let mut told = 0;
            let often = self.pass.options.rate.piece(4 << 20);
            let mut tick = |offset, bytes| {
                told += bytes;
                if told >= often {
                    self.pass.done.fetch_add(told >> 16, std::sync::atomic::Ordering::Relaxed);
                    self.pass.work.progress.event(Event::Advance { entries: 0, bytes: told });
                    told = 0;
                }
                self.pass.work.cancel.check()?;
                progress.reached(to.as_fd(), offset)
            };
            let moved = from.copy(&mut self.mover, to.as_fd(), &before, to_dev, start, &mut tick);
            self.advance(0, told);
            let after = from.state(before.size <= ONE_READ).map_err(Trouble::source("stat"))?;
            let shrank = match moved {
                Ok(count) => {
                    data = count;
                    false
                }
                Err(Fault::Shrank) => true,
                Err(fault) => return Err(fault.into()),
            };
            if !shrank && after.same_state(&before) {
                // Its name is gone, or another file's: what was copied is not what the next listing shows. Some file
                // systems in user space tell of no links at all.
                changed = linked && after.nlink == 0;
                break;
            }
            // A big one is not read again and again: the next pass sees that its time has changed.
            if attempt >= RETRIES || big {
                changed = true;
                break;
            }
            rustix::fs::ftruncate(to, 0).map_err(Trouble::dest("cut"))?;
            start = 0;
            before = from.meta().map_err(Trouble::source("stat"))?;
            xattrs = self.xattrs_of(from)?;
        }
        if changed {
            self.tally.changed += 1;
            let path = here.dir.path_of(name.to_bytes());
            let text = "it changed or went while it was read; the next pass looks again";
            self.pass.work.progress.event(Event::Notice { path: &path, text });
        }
        self.tally.copied_bytes += data;
        let former;
        let known = match (found, ready) {
            (Some(found), _) if start > 0 => {
                former = found;
                Known::Is(&former)
            }
            (_, Some(mode)) if given == (before.uid, before.gid) => Known::Ready { mode },
            // Its owner changed while it was read.
            (_, Some(mode)) => {
                former = Meta { uid: given.0, gid: given.1, mode, ..before };
                Known::Is(&former)
            }
            _ if here.inherits()? => Known::Inherited,
            _ => Known::Fresh,
        };
        let now = self.pass.setter.apply(target, &before, Some(&xattrs), known, &mut self.scratch)?;
        if now.size != before.size && !changed {
            return Err(Trouble::Refused("write", format!("{} of {} bytes arrived", now.size, before.size)));
        }
        Ok((now, before))
    }
}

/// Keeps how far a big file has got, every so many bytes or seconds.
struct BigProgress<'p> {
    pass: &'p super::tree::Pass<'p>,
    path: Vec<u8>,
    big: Option<Big>,
    recorded: u64,
    when: Option<Instant>,
}

impl<'p> BigProgress<'p> {
    fn new(
        pass: &'p super::tree::Pass<'p>,
        here: &Here<'_>,
        name: &CStr,
        before: &Meta,
        ino: u64,
        (big, temp, start): (bool, bool, u64),
    ) -> Self {
        let record = || Big { src: before.id(), size: before.size, mtime: before.mtime, ino, temp, offset: start };
        let path = if big { here.dir.path_of(name.to_bytes()) } else { Vec::new() };
        Self { pass, path, big: big.then(record), recorded: start, when: big.then(Instant::now) }
    }

    /// Everything before `offset` is written: at times, makes it durable and then says so.
    fn reached(&mut self, to: BorrowedFd<'_>, offset: u64) -> Result<(), Error> {
        let Some(big) = &mut self.big else { return Ok(()) };
        let far = offset.saturating_sub(self.recorded) >= self.pass.big_file;
        let long = self.when.is_none_or(|when| when.elapsed() >= Duration::from_secs(2));
        if offset >= big.size || !far && !long {
            return Ok(());
        }
        rustix::fs::fdatasync(to).map_err(Error::io("sync", &self.path))?;
        // A hole before the offset is not in the file's length yet.
        big.offset = offset;
        self.pass.ledger.set_big(&self.path, Some(big))?;
        (self.recorded, self.when) = (offset, Some(Instant::now()));
        Ok(())
    }
}
