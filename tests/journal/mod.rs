//! The journal with real files, real processes and real kills.

mod basic;
mod crash;
mod effects;
mod locks;
mod progress;
mod reading;
mod refusals;
mod replay;
mod steps;
mod support;
