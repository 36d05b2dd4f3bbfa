//! One progress store for many trees: what the tree engine remembers of one destination is kept apart from the others.
//!
//! The engine's keys are paths below the root it writes to, and every tree has an `a/b`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::hold::whole;
use crate::journal::ProgressStore;
use crate::progress::{Checkpoint, CheckpointError, Record, Visit};

/// As long for every destination, so that none is the beginning of another.
const PREFIX: usize = 16;

/// The part of a run's progress store that belongs to one destination.
pub(super) struct Ledger {
    store: ProgressStore,
    prefix: [u8; PREFIX],
}

impl Ledger {
    /// The part for `dest`.
    pub(super) fn of(store: ProgressStore, dest: &Path) -> Self {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&blake3::hash(whole(dest).as_os_str().as_bytes()).as_bytes()[..PREFIX]);
        Self { store, prefix }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }
}

impl Checkpoint for Ledger {
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError> {
        let keys: Vec<Vec<u8>> = records.iter().map(|record| self.key(record.key)).collect();
        let records: Vec<Record<'_>> =
            records.iter().zip(&keys).map(|(record, key)| Record { key, ..*record }).collect();
        self.store.put(&records)
    }

    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.store.get(kind, &self.key(key))
    }

    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        self.store.visit(kind, &self.key(prefix), reverse, &mut |key, value| {
            visit(key.get(PREFIX..).unwrap_or_default(), value)
        })
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        self.store.sync()
    }
}
