//! The tree engine against real file systems, with an eye of its own.

mod budget;
mod deep;
mod effort;
mod engine;
mod exclude;
mod far;
mod faults;
mod fidelity;
mod flat;
mod judges;
pub(crate) mod kit;
mod ledger;
mod limits;
mod memory;
mod passes;
mod rate;
mod recall;
