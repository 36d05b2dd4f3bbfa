//! What people and programs get to see: progress while work goes on, and results when it is over.
//!
//! Standard output carries data and results, standard error what is meant for a person watching. Engines reach this
//! room only through [`crate::progress::Progress`]; a [`tally::Tally`] takes their events without ever blocking them,
//! and one thread paints it as a bar, as plain lines or as JSON lines ([`live::Live`]).

pub mod bar;
pub mod block;
pub mod events;
pub mod human;
pub mod json;
mod lanes;
pub mod live;
pub mod notes;
pub mod output;
pub mod plain;
pub mod style;
pub mod tally;
