//! Trees: copy, compare, scan, probe, undo.

pub mod error;
pub mod exclude;
pub mod identity;
pub mod options;
pub mod report;

pub use error::{EntryError, Error};
