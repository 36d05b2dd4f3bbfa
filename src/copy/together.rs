//! A batch of a directory that several workers look at, and then make, together.
//!
//! What is done with an entry is what one worker alone does (`batch`). The owner of the directory alone lists it, tells
//! the ledger what is intended before anything is made, and what was made when all have finished.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::{Intent, Looked};
use super::children::Children;
use super::copying::{Cursor, Right, Stage};
use super::dir::{Dir, Pair};
use super::end::End;
use super::entry::{Batch, Here, Inherits, NoTemps};
use super::error::Error;
use super::hand::Hand;
use super::ledger::Records;
use super::listing::Listing;
use super::lot::WORTH;
use super::sys::Kind;
use super::trouble::Trouble;

/// The batch.
pub(super) struct Shared {
    dir: Arc<Dir>,
    pair: Arc<Pair>,
    names: Arc<Listing>,
    part: Part,
    done: Mutex<Done>,
}

enum Part {
    /// Places in the listing.
    Look(Vec<u32>, Arc<Right>),
    Make {
        items: Vec<Looked>,
        intent: Intent,
        records: Arc<Records>,
        inherits: Arc<Inherits>,
        no_temps: NoTemps,
    },
}

/// What all of them have done.
#[derive(Default)]
struct Done {
    looked: Vec<Looked>,
    batch: Batch,
    found: Children,
    error: Option<Error>,
}

impl Shared {
    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its two sides. A directory without a source has no batches.
    fn sides(&self) -> Option<(End<'_>, Option<BorrowedFd<'_>>)> {
        Some((self.pair.left()?, self.pair.right()))
    }
}

impl Hand<'_> {
    /// The next batch, if it is worth sharing, and how large it is.
    pub(super) fn share(
        &mut self,
        dir: &Arc<Dir>,
        pair: &Arc<Pair>,
        cursor: &mut Cursor,
    ) -> Result<Option<(Shared, usize)>, Trouble> {
        if cursor.stage != Stage::Entries || pair.left().is_none() {
            return Ok(None);
        }
        let part = if cursor.looked.as_ref().is_some_and(|items| items.len() >= WORTH) {
            let intent = self.intend(dir, pair.right(), cursor, cursor.looked.as_deref().unwrap_or_default())?;
            let items = cursor.looked.take().unwrap_or_default();
            let (records, inherits) = (cursor.records.clone(), cursor.inherits.clone());
            Part::Make { items, intent, records, inherits, no_temps: cursor.no_temps }
        } else {
            // Subdirectories come first, and are made at once: others can begin with them.
            let next = cursor.order.get(cursor.next).map(|&at| cursor.left.items[at as usize].kind);
            let few = cursor.order.len() - cursor.next < WORTH;
            if cursor.looked.is_some() || few || next == Some(Kind::Dir) {
                return Ok(None);
            }
            Part::Look(cursor.cut(), cursor.right.clone())
        };
        let size = match &part {
            Part::Look(cut, _) => cut.len(),
            Part::Make { items, .. } => items.len(),
        };
        let (names, done) = (cursor.left.clone(), Mutex::default());
        Ok(Some((Shared { dir: dir.clone(), pair: pair.clone(), names, part, done }, size)))
    }

    /// Does a piece of a batch. `false`: something went wrong, and no more is to be done.
    pub(super) fn help(&mut self, shared: &Shared, piece: Range<usize>) -> bool {
        let Some((left, right)) = shared.sides() else { return false };
        let mut did = Done::default();
        let result = match &shared.part {
            Part::Look(cut, there) => cut[piece].iter().try_for_each(|&at| {
                self.pass.work.cancel.check()?;
                did.looked.extend(self.look(&shared.dir, (left, right), &shared.names, there, at)?);
                Ok(())
            }),
            Part::Make { items, intent, records, inherits, no_temps } => {
                let (dir, path, no_temps) = (&shared.dir, &intent.path, *no_temps);
                let here = Here { dir, left, right, path, records, inherits, no_temps };
                self.make_all(&here, &shared.names, (items, piece), &mut did.batch, &mut did.found)
            }
        };
        let mut done = shared.done();
        done.looked.append(&mut did.looked);
        done.batch.append(did.batch);
        done.found.append(&mut did.found);
        if let Err(error) = result {
            done.error.get_or_insert(error);
        }
        done.error.is_none()
    }

    /// Takes what all have done to a batch; `whole`: all of it was.
    pub(super) fn close(
        &mut self,
        cursor: &mut Cursor,
        shared: &Shared,
        whole: bool,
        found: &mut Children,
    ) -> Result<(), Error> {
        let mut done = std::mem::take(&mut *shared.done());
        found.append(&mut done.found);
        match &shared.part {
            Part::Look(..) => {
                // In the order of work again.
                let items = &shared.names.items;
                done.looked.sort_unstable_by_key(|looked| items[looked.at as usize].ino);
                cursor.looked = Some(done.looked);
            }
            Part::Make { intent, .. } => self.record(cursor, intent, &done.batch, whole && done.error.is_none())?,
        }
        done.error.map_or(Ok(()), Err)
    }
}
