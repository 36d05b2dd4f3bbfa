//! Hard links over the whole tree: names of one inode on the source become names of one inode on the destination, and
//! names of different inodes never do.
//!
//! Only inodes with several names are kept, and only until all their names were seen. The first worker that meets
//! such an inode copies it; another one that meets it meanwhile waits, which is short and cannot go in circles: who
//! copies does not wait.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::dir::Dir;
use super::sys::Meta;

type Id = (u64, u64);

/// The name under which an inode was handled first.
#[derive(Debug, Clone)]
pub(super) struct Leader {
    pub dir: Arc<Dir>,
    pub name: CString,
    /// The destination's inode; `None` if a real run would make a new one.
    pub right: Option<Id>,
    /// This run made it, and nobody changed it since.
    pub ours: bool,
}

#[derive(Debug)]
enum State {
    Free,
    Busy,
    Done(Leader),
}

#[derive(Debug)]
struct Group {
    state: State,
    /// Names that have not been handled yet.
    unsettled: u32,
}

/// All groups of one pass.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: Mutex<HashMap<Id, Group>>,
    changed: Condvar,
    /// Which source inode each destination inode with several names stands for.
    owners: Mutex<HashMap<Id, (Id, u32)>>,
}

/// What is to be done with a name of an inode that has several.
#[derive(Debug)]
pub(super) enum Role<'a> {
    /// Handle it, and say so through the guard.
    Lead(Guard<'a>),
    /// It was handled under another name: link to that.
    Follow(Leader),
}

/// Dropped without [`Guard::done`], its name has failed, and another one leads.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    links: &'a Links,
    id: Id,
}

impl Links {
    fn groups(&self) -> MutexGuard<'_, HashMap<Id, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part in the group of `meta`, which has several names.
    pub(super) fn join(&self, meta: &Meta) -> Role<'_> {
        let id = meta.id();
        let mut groups = self.groups();
        loop {
            let group = groups.entry(id).or_insert_with(|| Group { state: State::Free, unsettled: meta.nlink });
            match &group.state {
                State::Free => {
                    group.state = State::Busy;
                    return Role::Lead(Guard { links: self, id });
                }
                State::Done(leader) => return Role::Follow(leader.clone()),
                State::Busy => groups = self.changed.wait(groups).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A name that followed is handled. One that has to wait for something else does not say so, and joins again.
    pub(super) fn leave(&self, id: Id) {
        let mut groups = self.groups();
        if let Some(group) = groups.get_mut(&id) {
            group.unsettled = group.unsettled.saturating_sub(1);
            if group.unsettled == 0 {
                groups.remove(&id);
            }
        }
    }

    /// Claims a destination inode for a source inode. `false`: it stands for another one already, so this name must
    /// get an inode of its own.
    pub(super) fn claim(&self, right: &Meta, left: Id) -> bool {
        if right.nlink < 2 {
            return true;
        }
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let (owner, unseen) = owners.entry(right.id()).or_insert((left, right.nlink));
        let fits = *owner == left;
        *unseen = unseen.saturating_sub(1);
        if *unseen == 0 {
            owners.remove(&right.id());
        }
        fits
    }
}

impl Guard<'_> {
    /// The inode is handled; other names link to this one.
    pub(super) fn done(self, leader: Leader) {
        self.settle(State::Done(leader));
        std::mem::forget(self);
    }

    /// The name has to wait for something else, and joins again later; meanwhile another may lead.
    pub(super) fn wait(self) {
        self.free();
        std::mem::forget(self);
    }

    fn settle(&self, state: State) {
        if let Some(group) = self.links.groups().get_mut(&self.id) {
            group.state = state;
        }
        self.links.leave(self.id);
        self.links.changed.notify_all();
    }

    fn free(&self) {
        if let Some(group) = self.links.groups().get_mut(&self.id) {
            group.state = State::Free;
        }
        self.links.changed.notify_all();
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.settle(State::Free);
    }
}
