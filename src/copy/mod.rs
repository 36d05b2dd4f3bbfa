//! Trees: copy, compare, scan, probe, undo.
//!
//! [`tree()`] makes one pass: a copying walk, a guard, a deleting walk. What is done with an entry is decided by a pure
//! function (`decide`) from what both sides' metadata say; listing, reading and writing are apart from it, so that other
//! ends can join. Walks run on a pool of workers over directories (`pool`, `dir`): a directory is worked on by one
//! worker, held by descriptors on both sides, and reached from its parent only, never along a path. Where others would be
//! idle they help with it (`lot`, `together`); a big file has threads of its own (`chunks`). How many work at
//! once is found out while they do (`tune`). What a run did is
//! kept through [`crate::progress::Checkpoint`] (`ledger`), for the next pass and for [`undo()`].

mod ahead;
mod apply;
mod backup;
pub mod bare;
mod batch;
mod board;
mod children;
mod chunks;
pub mod claim;
pub mod compare;
mod copying;
mod data;
mod decide;
mod deleting;
mod differ;
pub mod digest;
mod dir;
mod end;
mod entry;
pub mod error;
pub mod exclude;
mod extents;
mod extra;
pub mod far;
mod file;
mod filter;
mod hand;
pub mod identity;
mod ledger;
mod links;
mod listing;
mod lot;
mod meter;
mod names;
pub mod options;
mod origin;
pub mod overlap;
mod pool;
pub mod probe;
mod recall;
mod remnant;
mod replace;
pub mod report;
pub mod scan;
mod seen;
mod side;
mod sweep;
mod sys;
mod together;
pub mod tree;
mod trouble;
mod tune;
pub mod undo;
mod unrecorded;
pub mod usage;
mod writeback;

pub use bare::bare;
pub use compare::{compare, compare_from};
pub use error::{EntryError, Error};
pub use identity::root_id;
pub use overlap::check_pair;
pub use probe::{probe, shortfalls};
pub use scan::scan;
pub use tree::{tree, tree_from};
pub use undo::{undo, undo_from};
pub use usage::usage;

use crate::cancel::Cancel;
use crate::progress::{Checkpoint, Progress};

/// What every piece of work is given: where to tell, where to remember, and when to stop.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Hears what happens.
    pub progress: &'a dyn Progress,
    /// Keeps what a later pass, a resume or an undo needs.
    pub checkpoint: &'a dyn Checkpoint,
    /// Says when to stop.
    pub cancel: &'a Cancel,
}
