//! Trees at two places: a *sending* end that reads, and a *receiving* end that decides and writes, with messages
//! between them ([`crate::wire`]).
//!
//! The receiving end is the engine itself. What it asks of the source it asks of an `End`, and where that is far away
//! the answers come over the line instead of from a descriptor: the same walk, the same decisions, the same guards, the
//! same ledger, whatever carries the bytes. The sending end ([`serve`]) decides nothing.
//!
//! **No exchange per file.** Directories are asked for as soon as their names are known, many at once, and a worker is
//! given one when its listing has arrived, so that nobody waits for a round trip (`roads`). A listing holds everything
//! that is needed to decide: names, metadata, attributes, targets of links. Where the destination has just made the
//! directory, the content of small files comes with it, unasked. Elsewhere what differs is asked for a batch ahead
//! (`folder`), and large files come as streams with a window of their own (`file`); holes never travel. A changed
//! large file is compared in grains, of which only those that differ are sent.
//!
//! **Neither end is trusted.** The sending end opens names below directories it holds, one component at a time, no link
//! followed, and nothing else. The receiving end takes no name that is not one component, no two equal names in a
//! directory, no data that it has not asked for, none beyond the size that was told, and counts what it has done itself.
//!
//! A connection that breaks ends the pass: what is finished stays, nothing is half-written under its own name, and the
//! next pass lists again and takes only what is missing.

mod errors;
mod file;
mod folder;
mod piece;
mod receiving;
mod roads;
mod sending;
mod source;
pub(super) mod words;

pub(super) use file::File;
pub(super) use folder::Folder;
pub use receiving::{Ground, Held, Look, Near, make_root, receive, relay, remove_root};
pub(super) use roads::Deliver;
pub use sending::serve;
pub use source::Source;

/// Which machine this is, as long as it runs: ends on one machine share their numbers of devices.
fn machine() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Adds so many zeros to a sum.
fn zeros(sum: &mut blake3::Hasher, mut count: u64) {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while count > 0 {
        let piece = count.min(ZEROS.len() as u64);
        sum.update(&ZEROS[..piece as usize]);
        count -= piece;
    }
}
