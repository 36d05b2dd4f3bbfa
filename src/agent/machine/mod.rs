//! What there is on the machine this runs on: file systems, mounts, block devices. Near and far side ask the same.

mod devices;
mod mounts;
mod stat;
mod wire;

pub use devices::{Device, block_devices};
pub use mounts::{Mount, mounts};
pub use stat::{Entry, FileSystem, Stat, list, lstat, stat, statfs};
pub(super) use wire::Wire;
