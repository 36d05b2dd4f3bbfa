//! The journal with real files, real processes and real kills.

mod basic;
mod crash;
mod effects;
mod flips;
mod locks;
mod progress;
mod prune;
mod reading;
mod rebuild;
mod refusals;
mod replay;
mod steps;
mod support;
