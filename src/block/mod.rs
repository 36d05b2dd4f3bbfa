//! Devices and images: copied, compared, listed.
//!
//! What leads the work ([`copy`]) and the two ends are apart. An end opens a device and answers requests about single
//! extents: what it holds, what is to be written; it keeps no state but the open device. Ends run in this process or
//! behind lines ([`serve_source`], [`serve_target`]), by the same code. Whoever leads asks the source for what the target
//! does not have, hands on what comes, and keeps the books (`book`): which extents are durable on the target, and with
//! which digests. So a cut costs nothing but what was on its way, and a later pass needs to read one side only.

mod book;
mod buffer;
mod codec;
pub mod compare;
pub mod copy;
mod device;
mod devices;
mod digest;
mod end;
mod ends;
pub mod error;
mod ext4;
pub mod facts;
mod geometry;
mod handle;
mod listing;
mod load;
mod message;
pub mod options;
mod pass;
mod port;
mod ranged;
mod refuse;
pub mod report;
mod serve;
pub mod signature;
mod sysfs;

pub use codec::Compress;
pub use compare::compare;
pub use copy::{begun, copy, preview};
pub use devices::{Device, devices, look};
pub use ends::look_at;
pub use error::{Error, Lost};
pub use facts::{Facts, Identity};
pub use geometry::{EXTENT, GRAIN};
pub use handle::Kind;
pub use listing::{devices_of, serve_devices};
pub use options::{CompareOptions, Content, OnReadError, Options, Verify};
pub use port::Endpoint;
pub use ranged::{Ranged, Seen};
pub use report::{Comparison, Preview, Report};
pub use serve::{serve_source, serve_target};
pub use signature::Signature;

use crate::cancel::Cancel;
use crate::progress::{Checkpoint, Progress};

/// What every piece of work is given: where to tell, where to remember, and when to stop.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Hears what happens.
    pub progress: &'a dyn Progress,
    /// Keeps what a later pass or a resume needs.
    pub checkpoint: &'a dyn Checkpoint,
    /// Says when to stop.
    pub cancel: &'a Cancel,
}
