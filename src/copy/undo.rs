//! Taking back what a run did, from its ledger: first what it had only begun, then what it made, children before
//! parents; then what it moved away comes back, and former metadata last.
//!
//! Only what is as the run left it is touched: the same inode with the same time of change. Everything else is left
//! and named. Every step looks at what is there before it acts, so that undo can be repeated after a crash.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use super::apply::{Known, Setter};
use super::data::Mover;
use super::decide::Rules;
use super::end::EndDir;
use super::error::EntryError;
use super::far::words::LIST;
use super::identity::{self, RootId, open_root};
use super::ledger::{self, BACKUP, IMAGE, INTENT, Image, Ledger, MADE, Made, REPLACING};
use super::listing::Buffer;
use super::names::{join, split, walk};
use super::report::{NAMED, Undone};
use super::sys::{self, Kind, Meta, Target};
use super::trouble::{Trouble, say};
use super::{Error, Work, far};
use crate::progress::Event;

/// Removes from `dst` what the run made and nobody changed since, brings back what it moved to `backup` and the
/// former metadata of what it changed. The ledger comes from the checkpoint of `work`. `src` helps to recognise what
/// the run had begun when it died; it need not exist.
///
/// # Errors
/// [`Error::RootChanged`] if `dst` is not the directory of `expect`; [`Error::NotFound`], [`Error::NotDirectory`],
/// [`Error::Cancelled`], [`Error::Checkpoint`], [`Error::BadRecord`], [`Error::Io`].
pub fn undo(
    dst: &Path,
    src: &Path,
    backup: Option<&Path>,
    expect: Option<&RootId>,
    work: &Work,
) -> Result<Undone, Error> {
    let source = optional(Some(src))?.map(EndDir::Here);
    undone(source, dst, backup, expect, work)
}

/// As [`undo()`], with a source at another place, if it can be reached.
///
/// # Errors
/// As [`undo()`], and [`Error::Apart`].
pub fn undo_from(
    src: Option<&far::Source>,
    dst: &Path,
    backup: Option<&Path>,
    expect: Option<&RootId>,
    work: &Work,
) -> Result<Undone, Error> {
    let source = src.map(|source| source.root(LIST)).transpose()?;
    undone(source, dst, backup, expect, work)
}

/// A directory that need not be there.
fn optional(path: Option<&Path>) -> Result<Option<OwnedFd>, Error> {
    match path.map(open_root) {
        None | Some(Err(Error::NotFound { .. } | Error::NotDirectory { .. })) => Ok(None),
        Some(other) => other.map(Some),
    }
}

fn undone(
    source: Option<EndDir>,
    dst: &Path,
    backup: Option<&Path>,
    expect: Option<&RootId>,
    work: &Work,
) -> Result<Undone, Error> {
    let path = dst.as_os_str().as_bytes();
    let root = open_root(dst)?;
    if let Some(expect) = expect {
        identity::check(dst, &root, expect)?;
    }
    let meta = sys::stat_fd(&root).map_err(Error::io("stat", path))?;
    let mut undoing = Undoing {
        work,
        ledger: Ledger::new(work.checkpoint),
        source,
        backup: optional(backup)?,
        root,
        dev: meta.dev,
        at: None,
        left: HashSet::new(),
        lost: HashSet::new(),
        counted: HashSet::new(),
        held: HashSet::new(),
        report: Undone::default(),
        mover: Mover::default(),
        buffer: Buffer::default(),
        scratch: Vec::new(),
    };
    work.progress.event(Event::Phase("undo"));
    undoing.each(BACKUP, false, Undoing::look_for_backup)?;
    undoing.each(INTENT, true, Undoing::begun)?;
    undoing.each(REPLACING, true, Undoing::replaced)?;
    undoing.each(MADE, true, Undoing::made)?;
    undoing.each(BACKUP, false, Undoing::restore)?;
    undoing.each(BACKUP, true, Undoing::tidy)?;
    undoing.each(IMAGE, true, Undoing::image)?;
    undoing.unrecorded()?;
    rustix::fs::syncfs(&undoing.root).map_err(Error::io("sync", path))?;
    work.checkpoint.sync()?;
    Ok(undoing.report)
}

/// Handles the key and value of one record.
type Handler<T> = fn(&mut T, &[u8], &[u8]) -> Result<(), Error>;

pub(super) struct Undoing<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) ledger: Ledger<'a>,
    pub(super) root: OwnedFd,
    pub(super) dev: u64,
    pub(super) source: Option<EndDir>,
    pub(super) backup: Option<OwnedFd>,
    /// The directory last worked in, and its descriptor if it exists.
    pub(super) at: Option<(Vec<u8>, Option<OwnedFd>)>,
    /// Names in it that stay.
    left: HashSet<Vec<u8>>,
    /// Paths whose former entry is neither in its place nor in the backup directory: what the run made there stays.
    lost: HashSet<Vec<u8>>,
    /// What is among the numbers of the report.
    pub(super) counted: HashSet<Vec<u8>>,
    /// Directories the run made that were not empty.
    pub(super) held: HashSet<Vec<u8>>,
    pub(super) report: Undone,
    pub(super) mover: Mover,
    pub(super) buffer: Buffer,
    scratch: Vec<u8>,
}

/// Whether an entry is the one of a BACKUP record. A directory is kept, and comes back, as another inode.
fn is_kept(meta: &Meta, image: &Image) -> bool {
    meta.kind == image.kind && (meta.ino == image.ino || meta.kind == Kind::Dir)
}

fn c_name(name: &[u8]) -> Result<CString, Error> {
    CString::new(name).map_err(|_| Error::BadRecord { what: "name" })
}

impl Undoing<'_> {
    /// Handles every record of a kind.
    fn each(&mut self, kind: u8, reverse: bool, handle: Handler<Self>) -> Result<(), Error> {
        let store = self.ledger.store();
        let mut result = Ok(());
        self.at = None;
        store.visit(kind, b"", reverse, &mut |key, value| {
            result = self.work.cancel.check().map_err(Error::from).and_then(|()| handle(self, key, value));
            result.is_ok()
        })?;
        result
    }

    pub(super) fn fail(&mut self, path: Vec<u8>, op: &'static str, errno: Errno) {
        let reason = say(errno);
        self.work.progress.event(Event::Failed { path: &path, error: &format!("cannot {op} it: {reason}") });
        self.report.failed += 1;
        self.counted.insert(path.clone());
        if self.report.errors.len() < NAMED {
            self.report.errors.push(EntryError { path, op, reason });
        }
    }

    pub(super) fn leave(&mut self, path: Vec<u8>, reason: &str) {
        self.work.progress.event(Event::Notice { path: &path, text: reason });
        self.report.left += 1;
        self.counted.insert(path.clone());
        if self.report.named.len() < NAMED {
            self.report.named.push((path, reason.to_owned()));
        }
    }

    /// Goes to a directory of the destination. Returns whether it exists; removes temporary files there on arrival.
    fn go(&mut self, dir: &[u8]) -> bool {
        if self.at.as_ref().is_some_and(|(path, _)| path == dir) {
            return self.at.as_ref().is_some_and(|(_, fd)| fd.is_some());
        }
        let fd = match walk(&self.root, dir) {
            Ok(fd) => fd,
            Err(errno) => {
                self.fail(dir.to_vec(), "open", errno);
                None
            }
        };
        let exists = fd.is_some();
        self.at = Some((dir.to_vec(), fd));
        self.left.clear();
        if exists {
            self.sweep(dir);
        }
        exists
    }

    pub(super) fn here(&self) -> Option<BorrowedFd<'_>> {
        self.at.as_ref().and_then(|(_, fd)| fd.as_ref()).map(AsFd::as_fd)
    }

    fn find(&self, name: &CStr) -> Result<Option<Meta>, Errno> {
        self.here().map_or(Ok(None), |fd| sys::find_at(fd, name))
    }

    /// The source's directory of the same path.
    pub(super) fn source_dir(&self, dir: &[u8]) -> Option<EndDir> {
        self.source.as_ref().and_then(|root| root.lend().walk(dir).ok().flatten())
    }

    /// Nothing may be removed for a former entry that cannot be brought back.
    fn look_for_backup(&mut self, path: &[u8], value: &[u8]) -> Result<(), Error> {
        let image = Image::decode(value)?;
        let (dir, bytes) = split(path);
        let name = c_name(bytes)?;
        if self.go(dir) {
            match self.find(&name) {
                // It was never moved, or it came back already. A directory comes back as a new one.
                Ok(Some(meta)) if is_kept(&meta, &image) => return Ok(()),
                Ok(_) => {}
                Err(errno) => {
                    self.lost.insert(path.to_vec());
                    self.fail(path.to_vec(), "stat", errno);
                    return Ok(());
                }
            }
        }
        let reason = match &self.backup {
            None => "it was moved to the backup directory, which is not there",
            Some(backup) => match walk(backup, dir).and_then(|fd| fd.map_or(Ok(None), |fd| sys::find_at(&fd, &name))) {
                Ok(Some(meta)) if is_kept(&meta, &image) => return Ok(()),
                Ok(Some(_)) => "its backup is gone: something else has its name in the backup directory",
                Ok(None) => "its backup is gone",
                Err(errno) => {
                    self.lost.insert(path.to_vec());
                    self.fail(path.to_vec(), "look for the backup of", errno);
                    return Ok(());
                }
            },
        };
        self.lost.insert(path.to_vec());
        self.leave(path.to_vec(), reason);
        Ok(())
    }

    /// Whether the former entry of this name, or of a directory above, is lost.
    pub(super) fn is_lost(&self, path: &[u8]) -> bool {
        let mut at = path;
        while !self.lost.is_empty() && !at.is_empty() {
            if self.lost.contains(at) {
                return true;
            }
            at = split(at).0;
        }
        false
    }

    /// Names that were about to be made and never recorded as made.
    fn begun(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (dir, _) = ledger::split_key(key)?;
        if !self.go(dir) {
            return Ok(());
        }
        let mut names = Vec::new();
        ledger::decode_intents(value, &mut |name| names.push(name.to_vec()))?;
        let wanted: HashSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let records = self.ledger.load(dir, |name| wanted.contains(name))?;
        let vouched = self.vouches(dir)?;
        for bytes in &names {
            let name = c_name(bytes)?;
            let path = join(dir, bytes);
            let meta = match self.find(&name) {
                Ok(Some(meta)) => meta,
                Ok(None) => continue,
                Err(errno) => {
                    self.fail(path, "stat", errno);
                    continue;
                }
            };
            if records.made.get(bytes).is_some_and(|made| made.ino == meta.ino)
                || self.is_lost(&path)
                || self.is_former(&path, &meta)?
            {
                continue;
            }
            if meta.kind == Kind::Dir {
                // A directory where the source has something else was there before the run.
                let source = self.source_dir(dir).and_then(|from| from.lend().find(&name).ok().flatten());
                if source.is_none_or(|source| source.kind == Kind::Dir) {
                    self.remove_dir(&name, path);
                }
                continue;
            }
            if vouched || self.is_begun(dir, &name, &meta, &path)? {
                self.remove(&name, &meta, path)?;
            } else {
                self.leave(path, "it has a name that the run was about to use, and other content");
            }
        }
        Ok(())
    }

    /// What took the place of something else and was never recorded as made.
    fn replaced(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (dir, bytes, ino) = ledger::decode_replacing(key, value)?;
        if !self.go(dir) {
            return Ok(());
        }
        let name = c_name(bytes)?;
        let path = join(dir, bytes);
        match self.find(&name) {
            Ok(Some(meta)) if meta.ino == ino && meta.kind != Kind::Dir => {
                let records = self.ledger.load(dir, |found| found == bytes)?;
                let recorded = records.made.get(bytes).is_some_and(|made| made.ino == ino);
                if !recorded
                    && !self.is_lost(&path)
                    && (self.vouches(dir)? || self.is_begun(dir, &name, &meta, &path)?)
                {
                    self.remove(&name, &meta, path)?;
                }
            }
            // Not there yet, or not any more.
            Ok(_) => {}
            Err(errno) => self.fail(path, "stat", errno),
        }
        Ok(())
    }

    /// What the run made.
    fn made(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (dir, _) = ledger::split_key(key)?;
        if !self.go(dir) {
            return Ok(());
        }
        let mut entries: Vec<(Vec<u8>, Made)> = Vec::new();
        ledger::decode_made(value, &mut |name, made| entries.push((name.to_vec(), made)))?;
        for (bytes, made) in entries {
            if self.left.contains(&bytes) {
                continue;
            }
            let name = c_name(&bytes)?;
            let path = join(dir, &bytes);
            if self.is_lost(&path) {
                continue;
            }
            match self.find(&name) {
                Ok(None) => {}
                // Brought back already, by an undo before this one.
                Ok(Some(meta)) if (made.kind, made.ino) != (Kind::Dir, meta.ino) && self.is_former(&path, &meta)? => {}
                Ok(Some(meta)) if meta.ino != made.ino || meta.kind != made.kind => {
                    self.left.insert(bytes);
                    self.leave(path, "it was replaced since the run made it");
                }
                Ok(Some(meta)) if meta.kind == Kind::Dir => {
                    if !self.remove_dir(&name, path) {
                        self.left.insert(bytes);
                    }
                }
                Ok(Some(meta)) if self.ledger.is_untouched((self.dev, meta.ino), &meta, &made)? => {
                    self.remove(&name, &meta, path)?
                }
                Ok(Some(_)) => {
                    self.left.insert(bytes);
                    self.leave(path, "it was changed since the run made it");
                }
                Err(errno) => self.fail(path, "stat", errno),
            }
        }
        Ok(())
    }

    /// Whether an entry is the one that had the name before the run.
    fn is_former(&self, path: &[u8], meta: &Meta) -> Result<bool, Error> {
        let kept = self.ledger.store().get(BACKUP, path)?.map(|value| Image::decode(&value)).transpose()?;
        Ok(kept.is_some_and(|kept| is_kept(meta, &kept)))
    }

    fn remove(&mut self, name: &CStr, meta: &Meta, path: Vec<u8>) -> Result<(), Error> {
        let Some(here) = self.here() else { return Ok(()) };
        let id = (self.dev, meta.ino);
        let mut held = None;
        if meta.nlink > 1 {
            held = sys::open_path(here, name).ok();
            self.ledger.set_unlinking_from(id, meta.ctime, meta.nlink - 1)?;
        }
        match sys::unlink(here, name) {
            Ok(()) => self.report.removed += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => {
                self.fail(path, "remove", errno);
                return Ok(());
            }
        }
        if let Some(now) = held.and_then(|fd| sys::stat_fd(fd).ok()) {
            self.ledger.set_inode(id, now.ctime)?;
        }
        self.work.progress.event(Event::Advance { entries: 1, bytes: 0 });
        Ok(())
    }

    /// Removes a directory if it is empty; returns whether it is gone.
    fn remove_dir(&mut self, name: &CStr, path: Vec<u8>) -> bool {
        let Some(here) = self.here() else { return true };
        match sys::rmdir(here, name) {
            Ok(()) => {
                self.report.removed += 1;
                true
            }
            Err(Errno::NOENT) => true,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                self.held.insert(path.clone());
                self.leave(path, "it holds entries that stay");
                false
            }
            Err(errno) => {
                self.fail(path, "remove", errno);
                false
            }
        }
    }

    /// What was moved to the backup directory comes back; parents before children.
    fn restore(&mut self, path: &[u8], value: &[u8]) -> Result<(), Error> {
        let image = Image::decode(value)?;
        let kind = image.kind;
        let (dir, bytes) = split(path);
        let name = c_name(bytes)?;
        // What is lost is named already.
        let (Some(backup), false) = (&self.backup, self.lost.contains(path)) else { return Ok(()) };
        let result = walk(backup, dir).and_then(|from| match from {
            Some(fd) => sys::find_at(&fd, &name).map(|meta| meta.map(|meta| (fd, meta))),
            None => Ok(None),
        });
        let (from, kept) = match result {
            Ok(Some(found)) => found,
            // Restored already, or never moved.
            Ok(None) => return Ok(()),
            Err(errno) => {
                self.fail(path.to_vec(), "look for the backup of", errno);
                return Ok(());
            }
        };
        if !self.go(dir) {
            self.leave(path.to_vec(), "its backup stays: the directory it was in does not exist");
            return Ok(());
        }
        let Some(here) = self.here() else { return Ok(()) };
        let done = match sys::find_at(here, &name) {
            Ok(Some(meta)) if kind == Kind::Dir && meta.kind == Kind::Dir => return Ok(()),
            Ok(Some(meta)) if meta.id() == kept.id() => sys::unlink(&from, &name).map(|()| false),
            Ok(Some(_)) => {
                self.leave(path.to_vec(), "its backup stays: its name is taken");
                return Ok(());
            }
            Ok(None) if kind == Kind::Dir => {
                rustix::fs::mkdirat(here, &name, rustix::fs::Mode::from_raw_mode(0o700)).map(|()| true)
            }
            Ok(None) => rustix::fs::renameat_with(&from, &name, here, &name, rustix::fs::RenameFlags::NOREPLACE)
                .or_else(|errno| match errno {
                    Errno::INVAL | Errno::NOSYS => rustix::fs::renameat(&from, &name, here, &name),
                    other => Err(other),
                })
                .map(|()| true),
            Err(errno) => Err(errno),
        };
        match done {
            Ok(restored) => {
                self.report.restored += u64::from(restored);
                if restored && kind != Kind::Dir && kept.mtime != image.mtime {
                    self.leave(path.to_vec(), "it was changed in the backup directory; it was put back as it is");
                }
            }
            Err(errno) => self.fail(path.to_vec(), "bring back", errno),
        }
        Ok(())
    }

    /// Directories that came back get their metadata once their entries are there; the backup's empty ones go.
    fn tidy(&mut self, path: &[u8], value: &[u8]) -> Result<(), Error> {
        let image = Image::decode(value)?;
        let kind = image.kind;
        let Some(backup) = &self.backup else { return Ok(()) };
        let open = |root, path| walk(root, path).ok().flatten();
        if kind == Kind::Dir
            && let (Some(_), Some(back)) = (open(backup, path), open(&self.root, path))
        {
            let set = sys::stat_fd(&back)
                .and_then(|now| super::backup::dress(Target::Fd(back.as_fd()), &image.over(&now), &image.xattrs));
            if let Err(errno) = set {
                self.fail(path.to_vec(), "set the metadata of", errno);
                return Ok(());
            }
        }
        // Of the directories above, those that hold nothing any more.
        let mut at = if kind == Kind::Dir { path } else { split(path).0 };
        while let (Some(backup), false) = (&self.backup, at.is_empty()) {
            // It has a record of its own, and metadata to give back first.
            if at != path && self.ledger.store().get(BACKUP, at)?.is_some() {
                break;
            }
            let (dir, bytes) = split(at);
            let name = c_name(bytes)?;
            match open(backup, dir).map(|fd| sys::rmdir(fd, &name)) {
                Some(Ok(()) | Err(Errno::NOENT)) | None => at = dir,
                // Something stays in it; or it is not ours to judge.
                Some(Err(_)) => break,
            }
        }
        Ok(())
    }

    /// Former metadata.
    fn image(&mut self, path: &[u8], value: &[u8]) -> Result<(), Error> {
        let image = Image::decode(value)?;
        let (dir, bytes) = split(path);
        let name = if path.is_empty() { c".".to_owned() } else { c_name(bytes)? };
        if image.kind == Kind::Dir {
            // Temporary files, and nothing else that the ledger has no record of.
            self.go(path);
        }
        if !self.go(dir) {
            return Ok(());
        }
        // What was moved away came back with all its metadata.
        if self.ledger.store().get(BACKUP, path)?.is_some() {
            return Ok(());
        }
        let result = self.restore_image(&name, &image);
        match result {
            Ok(None) => {}
            Ok(Some(Ok(()))) => self.report.meta_restored += 1,
            Ok(Some(Err(reason))) => self.leave(path.to_vec(), reason),
            Err(Trouble::Stop(error)) => return Err(error),
            Err(Trouble::Source(op, errno) | Trouble::Dest(op, errno)) => self.fail(path.to_vec(), op, errno),
            Err(Trouble::Refused(_, reason)) => self.leave(path.to_vec(), &reason),
            Err(Trouble::Vanished) => {}
        }
        Ok(())
    }

    /// `None`: nothing to do. The inner error says why the entry is left as it is.
    fn restore_image(&mut self, name: &CStr, image: &Image) -> Result<Option<Result<(), &'static str>>, Trouble> {
        let Some((_, Some(here))) = &self.at else { return Ok(None) };
        let Some(now) = sys::find_at(here, name).map_err(Trouble::dest("stat"))? else { return Ok(None) };
        if (now.ino, now.kind) != (image.ino, image.kind) {
            return Ok(Some(Err("its metadata stays: it was replaced since")));
        }
        let seen = (now.mode, (now.uid, now.gid));
        if seen != (image.mode, image.owner) && seen != (image.set_mode, image.set_owner) {
            return Ok(Some(Err("its metadata stays: it was changed since")));
        }
        let held = match image.kind {
            Kind::Dir => sys::open_dir(here, name),
            _ => sys::open_path(here, name),
        };
        let held = held.map_err(Trouble::dest("open"))?;
        let target = match image.kind {
            Kind::Dir => Target::Fd(held.as_fd()),
            Kind::Link => Target::Name(here.as_fd(), name),
            _ => Target::Held(held.as_fd()),
        };
        let wanted = image.over(&now);
        let present = sys::xattr::read(target, &mut self.scratch).map_err(Trouble::dest("list the attributes of"))?;
        let rules = Rules::default();
        if rules.same_meta(&wanted, &now) && present == image.xattrs {
            return Ok(None);
        }
        let accept = std::collections::BTreeSet::new();
        let setter = Setter { accept: &accept, rules, creator: (now.uid, now.gid) };
        setter.apply(target, &wanted, Some(&image.xattrs), Known::Is(&now), &mut self.scratch)?;
        Ok(Some(Ok(())))
    }
}
