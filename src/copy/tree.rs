//! One pass over a pair of trees: checks before, the copying walk, the guard, the deleting walk, and the books after.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::Mode;

use super::apply::Setter;
use super::backup::Backup;
use super::bare::is_bare;
use super::chunks::{Streams, WORTH};
use super::claim;
use super::copying::Copying;
use super::decide::Rules;
use super::deleting::Deleting;
use super::dir::{Budget, Dir, IMAGED, NEW, Pair};
use super::end::End;
use super::entry::Batch;
use super::far::words::{CONTENT, NAMES};
use super::hand::absorb;
use super::identity::{self, RootId, open_root};
use super::ledger::Ledger;
use super::links::Links;
use super::options::{Foreign, Loss, Options};
use super::origin::Origin;
use super::recall::{Recall, Root};
use super::report::{Effort, Report};
use super::sys::{self, Meta};
use super::writeback::Writeback;
use super::{Error, Work, check_pair, far, pool};
use crate::progress::Event;
use crate::units::{Stamp, path_text};

/// A file of this size is resumed inside, and so often its progress is recorded.
const BIG_FILE: u64 = 64 << 20;

/// Everything a pass has and its workers share.
pub(super) struct Pass<'a> {
    /// The source, if it is at another place.
    pub far: Option<&'a far::Source>,
    pub options: &'a Options,
    pub work: &'a Work<'a>,
    pub rules: Rules,
    pub setter: Setter<'a>,
    pub links: Links,
    pub ledger: Ledger<'a>,
    /// Earlier passes have left records.
    pub history: bool,
    /// The destination's root was empty when the run began.
    pub began_empty: bool,
    /// What was proved of these two trees.
    pub recall: Option<Recall>,
    pub backup: Option<Backup>,
    pub big_file: u64,
    /// Threads that may help with big files.
    pub streams: Streams,
    pub left_root: Meta,
    pub right_root: Option<Meta>,
    pub right_fd: Option<OwnedFd>,
    pub dst_path: Vec<u8>,
    /// Held while a chunk number is taken in a directory that another worker may be in, too.
    pub numbering: Mutex<()>,
    /// Inodes of the run's own whose number of names is being changed, and with it their time of change: how many
    /// changes are not recorded yet, and the newest time known.
    pub touched: Mutex<HashMap<(u64, u64), (u32, Stamp)>>,
    /// Operations done, for tuning.
    pub done: AtomicU64,
    /// Entries made, and 64 KiB of content each, for early writing.
    pub written: AtomicU64,
    pub total: Mutex<(Report, u64)>,
}

/// Makes `dst` hold what `src` holds: everything below `src`, and the metadata of `src` itself. `dst` is made if only
/// its parent exists.
///
/// Entries that cannot be handled are counted and named in the report; the others go on. The report is complete:
/// what was listed and what has an outcome are compared before it is given out.
///
/// # Errors
/// Before anything is done: [`Error::NotFound`], [`Error::NotDirectory`], [`Error::SameDirectory`],
/// [`Error::DestInsideSource`], [`Error::SourceInsideDest`], [`Error::RootChanged`], [`Error::EmptySource`],
/// [`Error::BackupElsewhere`], [`Error::BadMarker`] (of the source). While copying, what was copied stays: [`Error::NoSpace`], [`Error::ReadOnly`],
/// [`Error::Checkpoint`], [`Error::BadRecord`], [`Error::Cancelled`], [`Error::Io`]. Before the first deletion:
/// [`Error::TooManyDeletes`], [`Error::RootChanged`]. At the end: [`Error::CountMismatch`].
pub fn tree(src: &Path, dst: &Path, options: &Options, work: &Work) -> Result<Report, Error> {
    check_pair(src, dst)?;
    let fd = open_root(src)?;
    claim::check(&fd, src.as_os_str().as_bytes(), &options.exclude)?;
    pass(&Origin::Here { path: src, fd }, dst, options, work)
}

/// As [`tree()`], from a source at another place.
///
/// # Errors
/// As [`tree()`], and [`Error::Apart`]: the other end cannot be spoken with any more, what was copied stays.
pub fn tree_from(src: &far::Source, dst: &Path, options: &Options, work: &Work) -> Result<Report, Error> {
    // On one machine, and where the path means the same, the one may lie in the other.
    if src.is_here() && identity::root_id(src.path()).is_ok_and(|id| id == *src.root_id()) {
        check_pair(src.path(), dst)?;
    }
    pass(&Origin::Far(src), dst, options, work).map_err(|error| src.or_lost(error))
}

fn pass(src: &Origin<'_>, dst: &Path, options: &Options, work: &Work) -> Result<Report, Error> {
    let began = Instant::now();
    let dst_path = dst.as_os_str().as_bytes();
    let found = match open_root(dst) {
        Ok(fd) => Some(fd),
        Err(Error::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some((left, right)) = &options.expect {
        src.check(left)?;
        match &found {
            Some(fd) => identity::check(dst, fd, right)?,
            None => return Err(Error::NotFound { path: path_text(dst_path) }),
        }
    }
    let is_new = found.is_none();
    let right_fd = match found {
        None if !options.dry_run => {
            rustix::fs::mkdir(dst, Mode::from_raw_mode(0o700)).map_err(Error::io("make", dst_path))?;
            Some(open_root(dst)?)
        }
        other => other,
    };
    let meta = |fd: &OwnedFd, path: &[u8]| sys::stat_fd(fd).map_err(Error::io("stat", path));
    let left_root = src.meta()?;
    let right_root = right_fd.as_ref().map(|fd| meta(fd, dst_path)).transpose()?;
    let backup = match (&options.foreign, &right_root) {
        (Foreign::Backup(path), Some(root)) => Backup::open(path, root.dev, options.dry_run)?,
        _ => None,
    };
    let ledger = Ledger::new(work.checkpoint);
    let recall = match (&right_fd, &right_root, src) {
        (Some(fd), Some(meta), Origin::Here { path, fd: left_fd }) if !ledger.keeps => {
            let right = Root { path: dst, fd, meta };
            Recall::open([Root { path, fd: left_fd, meta: &left_root }, right], options, work)
        }
        _ => None,
    };
    let rules = Rules::of(options);
    let creator = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let clone = |fd: &OwnedFd| rustix::io::dup(fd).map_err(Error::io("open", dst_path));
    if right_root.is_some_and(|right| right.id() == left_root.id()) {
        return Err(Error::SameDirectory { src: src.text(), dst: path_text(dst_path) });
    }
    let pass = Pass {
        far: src.far(),
        options,
        work,
        rules,
        setter: Setter { accept: &options.accept, rules, creator },
        links: Links::default(),
        ledger,
        history: ledger.keeps && ledger.has_history()?,
        began_empty: ledger.keeps && ledger.began_empty()?,
        recall,
        backup,
        big_file: options.big_file.map_or(BIG_FILE, |bytes| bytes.0),
        streams: if ledger.keeps && options.big_file.is_some_and(|bytes| bytes.0 > WORTH) {
            // What they leave of a file is only known again where its progress is kept.
            Streams::default()
        } else {
            Streams::of_pass(options.jobs.map(NonZeroUsize::get))
        },
        left_root,
        right_root,
        right_fd: right_fd.as_ref().map(clone).transpose()?,
        dst_path: dst_path.to_vec(),
        numbering: Mutex::new(()),
        touched: Mutex::default(),
        done: AtomicU64::new(0),
        written: AtomicU64::new(0),
        total: Mutex::default(),
    };
    if !options.accept.contains(&Loss::EmptySource)
        && let Some(right) = &right_fd
        && is_bare(src.open(NAMES)?.lend(), src.path(), &options.exclude)?
        && !is_bare(End::Here(right.as_fd()), dst_path, &options.exclude)?
    {
        return Err(Error::EmptySource { src: src.text(), dst: path_text(dst_path) });
    }
    let held = pass.held(src, dst)?;

    if let (Some(right), false) = (&pass.right_fd, options.dry_run) {
        let empty = || is_bare(End::Here(right.as_fd()), dst_path, &options.exclude);
        pass.ledger.begin(|| Ok(is_new || empty()?))?;
    }
    work.progress.event(Event::Phase("copy"));
    let budget = src.budget();
    let root = |flags, asked| -> Result<Arc<Dir>, Error> {
        // Opened anew, not duplicated: duplicates share the place in the listing.
        let open = |fd: &OwnedFd, path: &[u8]| sys::open_dir(fd, c".").map_err(Error::io("open", path));
        let right = pass.right_fd.as_ref().map(|fd| open(fd, dst_path)).transpose()?;
        let pair = Pair::new(Some(src.open(asked)?), right, &budget);
        Ok(Dir::new(None, c"".into(), (Some(pass.left_root), pass.right_root), pair, flags))
    };
    pass.lock().0.listed.dirs = 1;
    let first = root(if is_new { NEW | IMAGED } else { 0 }, if is_new && !options.dry_run { CONTENT } else { 0 })?;
    let effort = pass.copying(first, &budget)?;

    let would = pass.lock().0.deleted;
    let waiting = {
        let total = pass.lock();
        total.0.listed.entries() - total.1
    };
    if options.delete && !options.dry_run && would + waiting > 0 {
        let dest_entries = pass.lock().0.dest_entries;
        let limit = options.max_delete.limit(dest_entries);
        if would > limit {
            return Err(Error::TooManyDeletes { would, limit, dest_entries });
        }
        // Nothing is deleted unless both roots are what they were, held and by path: a source that was unmounted
        // meanwhile looks empty.
        held.check(pass.right_fd.as_ref())?;
        work.progress.event(Event::Phase("delete"));
        pass.lock().0.deleted = 0;
        pool::run(&Deleting(&pass), root(0, NAMES)?, &budget, work, options.jobs, &pass.done)?;
    }
    let made = Instant::now();
    if let (Some(fd), false) = (&pass.right_fd, options.dry_run) {
        work.progress.event(Event::Phase("sync"));
        rustix::fs::syncfs(fd).map_err(|errno| pass.unsynced(errno))?;
        if ledger.keeps {
            work.checkpoint.sync()?;
        }
    }
    let (mut report, settled) = std::mem::take(&mut *pass.lock());
    // Two books: every listed entry came to an outcome, and every outcome is one the report shows.
    let shown = report.accounted();
    if report.listed.entries() != settled || report.listed.entries() > shown {
        return Err(Error::CountMismatch { listed: report.listed.entries(), accounted: settled.min(shown) });
    }
    if let (Some(recall), false) = (&pass.recall, options.dry_run) {
        recall.keep(made, work);
    }
    report.elapsed = began.elapsed();
    report.planned = options.dry_run;
    report.effort = effort;
    Ok(report)
}

/// The roots as they were when the pass began.
struct Held<'a> {
    src: (&'a Origin<'a>, RootId),
    dst: (&'a Path, RootId),
}

impl Held<'_> {
    fn check(&self, right: Option<&OwnedFd>) -> Result<(), Error> {
        self.src.0.check(&self.src.1)?;
        right.map_or(Ok(()), |right| identity::check(self.dst.0, right, &self.dst.1))
    }
}

impl Pass<'_> {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, (Report, u64)> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copying walk, and the early writing beside it.
    fn copying(&self, root: Arc<Dir>, budget: &Budget) -> Result<Effort, Error> {
        let (options, work) = (self.options, self.work);
        std::thread::scope(|scope| {
            let own = |fd: &OwnedFd| sys::open_dir(fd, c".").map_err(Error::io("open", &self.dst_path));
            let early = match &self.right_fd {
                Some(fd) if !options.dry_run => Writeback::start(scope, own(fd)?, &self.written),
                _ => None,
            };
            let done = pool::run(&Copying(self), root, budget, work, options.jobs, &self.done);
            let written = early.map_or(Ok(()), Writeback::end).map_err(|errno| self.unsynced(errno));
            let effort = done?;
            written.map(|()| effort)
        })
    }

    /// The destination could not be synced.
    fn unsynced(&self, errno: rustix::io::Errno) -> Error {
        if sys::is_full(errno) {
            return Error::NoSpace { path: path_text(&self.dst_path) };
        }
        Error::io("sync", &self.dst_path)(errno)
    }

    /// Says that an inode of the run's own is about to have so many names, and so another time of change.
    pub(super) fn touch(&self, meta: &Meta, names: u32) -> Result<(), Error> {
        if self.ledger.keeps {
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.entry(meta.id()).or_insert((0, meta.ctime)).0 += 1;
            drop(touched);
            self.ledger.set_unlinking(meta.id(), names)?;
        }
        Ok(())
    }

    pub(super) fn is_touched(&self, id: (u64, u64)) -> bool {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Records what a batch has made. Of an inode that several workers change at once, the newest time is kept.
    pub(super) fn keep(&self, dir: &[u8], chunk: u32, batch: &Batch, intended: bool) -> Result<(), Error> {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inodes = batch.inodes.clone();
        for (id, ctime) in &mut inodes {
            if let Some((_, newest)) = touched.get_mut(id) {
                *newest = (*newest).max(*ctime);
                *ctime = *newest;
            }
        }
        // Others wait with theirs, so that an older time never comes after a newer one.
        let alone = if inodes.is_empty() {
            drop(touched);
            None
        } else {
            Some(touched)
        };
        self.ledger.made(dir, chunk, &batch.made, &inodes, &batch.replaced, intended)?;
        let Some(mut touched) = alone else { return Ok(()) };
        for (id, _) in &inodes {
            if let Some((pending, _)) = touched.get_mut(id) {
                *pending = pending.saturating_sub(1);
                if *pending == 0 {
                    touched.remove(id);
                }
            }
        }
        Ok(())
    }

    /// Takes a worker's counts.
    pub(super) fn add(&self, mut hand: super::hand::Hand<'_>) {
        hand.tell();
        if let Some(recall) = &self.recall {
            recall.take(&mut hand.learned);
        }
        let mut total = self.lock();
        total.1 += hand.settled;
        absorb(&mut total.0, hand.tally);
    }

    fn held<'p>(&self, src: &'p Origin<'p>, dst: &'p Path) -> Result<Held<'p>, Error> {
        let left = src.id()?;
        let id = |fd: &OwnedFd| identity::of_fd(fd).map_err(Error::io("stat", &self.dst_path));
        // A dry run without a destination deletes nothing, and so never looks at its identity.
        let right = self.right_fd.as_ref().map_or_else(|| Ok(left.clone()), id)?;
        Ok(Held { src: (src, left), dst: (dst, right) })
    }
}
