//! A directory being worked on: its place in the tree, and open descriptors of it on one or both sides.
//!
//! Descriptors are the only way the engine reaches anything: a name is opened below the held parent, never along a
//! path. They are closed early when too many are open (a tree may be deeper than a process may hold files) and opened
//! again from the nearest ancestor that is still open; what is then found must be the same inode.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

use super::end::{End, EndDir};
use super::sys::{self, Meta};

/// Something went wrong below: the directory's own outcome is `failed`.
pub(super) const FAILED: u16 = 1;
/// Something below must stay, so the directory must too.
pub(super) const PROTECTED: u16 = 2;
/// Entries were made, replaced or removed here: the times must be set again.
pub(super) const TOUCHED: u16 = 4;
/// The former metadata is recorded, or need not be because this run made the directory.
pub(super) const IMAGED: u16 = 8;
/// Made in this pass.
pub(super) const NEW: u16 = 16;
/// Made by this run.
pub(super) const OURS: u16 = 32;
/// To be replaced by something else once it is empty.
pub(super) const IN_THE_WAY: u16 = 64;
/// An entry here could not be handled, and may have left something.
pub(super) const TROUBLED: u16 = 256;

/// Counts open directories; over `limit` they are closed early.
#[derive(Debug)]
pub(super) struct Budget {
    open: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), limit })
    }

    /// A share of what the process may open: one for all copies that go on at once.
    pub(super) fn of_process() -> Arc<Self> {
        static ALL: OnceLock<Arc<Budget>> = OnceLock::new();
        ALL.get_or_init(|| Self::new((sys::file_limit() / 2).saturating_sub(64).clamp(32, 8192))).clone()
    }

    /// The same, and no more than another end may open.
    pub(super) fn of_process_and(limit: usize) -> Arc<Self> {
        let own = Self::of_process();
        if own.limit <= limit { own } else { Self::new(limit) }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.limit
    }
}

/// Open descriptors of one directory on the sides where it exists.
#[derive(Debug)]
pub(super) struct Pair {
    left: Option<EndDir>,
    right: Option<OwnedFd>,
    budget: Arc<Budget>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pair {
    pub(super) fn new(left: Option<EndDir>, right: Option<OwnedFd>, budget: &Arc<Budget>) -> Arc<Self> {
        budget.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { left, right, budget: budget.clone() })
    }

    pub(super) fn left(&self) -> Option<End<'_>> {
        self.left.as_ref().map(EndDir::lend)
    }

    pub(super) fn right(&self) -> Option<BorrowedFd<'_>> {
        self.right.as_ref().map(AsFd::as_fd)
    }
}

/// One directory.
#[derive(Debug)]
pub(super) struct Dir {
    pub parent: Option<Arc<Dir>>,
    pub name: CString,
    /// As it was when first opened.
    pub left: Option<Meta>,
    /// As it was when first opened.
    pub right: Option<Meta>,
    fds: Mutex<Option<Arc<Pair>>>,
    /// Children not finished yet, and one for the directory itself.
    pending: AtomicUsize,
    flags: AtomicU16,
}

impl Dir {
    pub(super) fn new(
        parent: Option<Arc<Self>>,
        name: CString,
        metas: (Option<Meta>, Option<Meta>),
        pair: Arc<Pair>,
        flags: u16,
    ) -> Arc<Self> {
        Arc::new(Self {
            parent,
            name,
            left: metas.0,
            right: metas.1,
            fds: Mutex::new(Some(pair)),
            pending: AtomicUsize::new(1),
            flags: AtomicU16::new(flags),
        })
    }

    pub(super) fn is(&self, flag: u16) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Sets the flag; returns whether it was set before.
    pub(super) fn set(&self, flag: u16) -> bool {
        self.flags.fetch_or(flag, Ordering::AcqRel) & flag != 0
    }

    /// The path below the root, raw bytes; empty for the root.
    pub(super) fn path(&self) -> Vec<u8> {
        self.path_of(b"")
    }

    /// The path of a name in this directory.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut parts = vec![name];
        let mut at = self;
        while let Some(parent) = &at.parent {
            parts.push(at.name.to_bytes());
            at = parent;
        }
        if name.is_empty() {
            parts.remove(0);
        }
        parts.reverse();
        parts.join(&b'/')
    }

    pub(super) fn add_children(&self, count: usize) {
        self.pending.fetch_add(count, Ordering::AcqRel);
    }

    /// One child, or the directory's own listing, is done. Returns whether it was the last.
    pub(super) fn one_done(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn fds(&self) -> MutexGuard<'_, Option<Arc<Pair>>> {
        self.fds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self) -> Option<Arc<Pair>> {
        self.fds().clone()
    }

    /// Closes the descriptors once nobody uses them. A root stays open: it is where everything starts.
    pub(super) fn close(&self) {
        if self.parent.is_some() {
            *self.fds() = None;
        }
    }

    /// The descriptors; opened again if they were closed.
    ///
    /// # Errors
    /// `ESTALE` if the way leads to other inodes than before, or what opening says.
    pub(super) fn pair(&self) -> Result<Arc<Pair>, Errno> {
        if let Some(pair) = self.opened() {
            return Ok(pair);
        }
        let mut closed = vec![self];
        let mut at = self;
        let mut pair = loop {
            let parent = at.parent.as_deref().ok_or(Errno::STALE)?;
            if let Some(pair) = parent.opened() {
                break pair;
            }
            closed.push(parent);
            at = parent;
        };
        for dir in closed.into_iter().rev() {
            pair = dir.reopen(&pair, &dir.name)?;
        }
        *self.fds() = Some(pair.clone());
        Ok(pair)
    }

    /// Opens the directory through `..` of a child that is still open: in a deep tree, one step instead of a walk
    /// from the root. Where that leads elsewhere, nothing happens and the walk decides.
    pub(super) fn reopen_from(&self, child: &Pair) {
        if self.opened().is_none()
            && let Ok(pair) = self.reopen(child, c"..")
        {
            *self.fds() = Some(pair);
        }
    }

    fn reopen(&self, from: &Pair, name: &CStr) -> Result<Arc<Pair>, Errno> {
        let same = |found: Meta, was: &Meta| if found.id() == was.id() { Ok(()) } else { Err(Errno::STALE) };
        let (mut left, mut right) = (None, None);
        if let Some(was) = &self.left {
            let dir = from.left().ok_or(Errno::STALE)?.dir(name)?;
            same(dir.lend().meta()?, was)?;
            left = Some(dir);
        }
        if let Some(was) = &self.right {
            let fd = sys::open_dir(from.right().ok_or(Errno::STALE)?, name)?;
            same(sys::stat_fd(&fd)?, was)?;
            right = Some(fd);
        }
        Ok(Pair::new(left, right, &from.budget))
    }

    /// The budget that this directory's descriptors count against.
    pub(super) fn budget_of(pair: &Pair) -> &Arc<Budget> {
        &pair.budget
    }
}

impl Drop for Dir {
    /// A chain as long as the tree is deep must not be freed by recursion.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut dir| dir.parent.take());
        }
    }
}
