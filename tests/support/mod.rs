//! What the tests stand on: generated trees, an independent checker, real volumes, a file system that misbehaves, a
//! cloud that does.
//!
//! Nothing in here may call the engines of decamp: what checks them must not share their mistakes.
#![allow(dead_code, reason = "each room of the tests uses the part it needs")]

pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod dress;
pub(crate) mod env;
pub(crate) mod faults;
mod fuse;
pub(crate) mod latency;
pub(crate) mod openstack;
pub(crate) mod pty;
pub(crate) mod rng;
pub(crate) mod rust;
pub(crate) mod skip;
pub(crate) mod ssh;
pub(crate) mod tree;
pub(crate) mod volume;
