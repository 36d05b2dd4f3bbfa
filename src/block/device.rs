//! What only an ioctl can say of a block device or do to it. The only `unsafe` of this engine stands here.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::units::ByteRange;

// linux/fs.h and linux/loop.h.
const BLKROGET: Opcode = opcode::none(0x12, 94);
const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);
const BLKZEROOUT: Opcode = opcode::none(0x12, 127);
const LOOP_GET_STATUS64: Opcode = 0x4C05;

/// Size of a block device, bytes.
///
/// # Errors
/// What the kernel says; `ENOTTY` for anything but a block device.
pub(super) fn size(device: impl AsFd) -> Result<u64, Errno> {
    // SAFETY: this request writes one u64 (declared as size_t) to where it is pointed.
    unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }
}

/// Whether the kernel refuses to write to a block device (`blockdev --setro`, a read-only attachment).
///
/// # Errors
/// What the kernel says.
pub(super) fn is_read_only(device: impl AsFd) -> Result<bool, Errno> {
    // SAFETY: this request writes one int to where it is pointed.
    unsafe { ioctl(device, Getter::<BLKROGET, i32>::new()) }.map(|flag| flag != 0)
}

/// Makes a range of a block device read as zeros; the device may free what was there. Both bounds are multiples of 512.
///
/// # Errors
/// What the kernel says; `EINVAL` for bounds that are no multiples of the sector.
pub(super) fn zero_out(device: impl AsFd, range: ByteRange) -> Result<(), Errno> {
    // SAFETY: this request reads two u64, a start and a length, from where it is pointed.
    unsafe { ioctl(device, Setter::<BLKZEROOUT, [u64; 2]>::new([range.start, range.len()])) }
}

/// What a loop device stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backing {
    /// `st_dev` of the file.
    pub(super) dev: u64,
    /// Its inode.
    pub(super) ino: u64,
    /// Where in the file the device begins, bytes.
    pub(super) offset: u64,
}

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    numbers: [u32; 4],
    names: [u8; 160],
    init: [u64; 2],
}

/// What an attached loop device stands on.
///
/// # Errors
/// `ENXIO` if nothing is attached, `ENOTTY` for any other device.
pub(super) fn backing(device: impl AsFd) -> Result<Backing, Errno> {
    // SAFETY: this request writes one loop_info64 to where it is pointed; any bytes are valid in every field of ours.
    let info = unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, LoopInfo>::new()) }?;
    Ok(Backing { dev: info.device, ino: info.inode, offset: info.offset })
}
