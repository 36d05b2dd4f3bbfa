//! Moves a file's content: holes stay holes, the cheapest way that works is taken, every short count is checked.
//!
//! The ways are a clone (`FICLONE`), a copy inside the kernel (`copy_file_range`), and reading and writing. An answer
//! "not possible here" falls through to the next way; so does any error whose side is not clear, because reading
//! and writing then tells which side it was.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};

use super::chunks::Streams;
use super::error::Error;
use super::extents::{Extents, data_length};
use super::sys::{Meta, retry};
use crate::cancel::Cancel;
use crate::rate::Rate;

/// Up to this much is copied between two looks at whether to stop.
const SLICE: u64 = 8 << 20;
/// Small enough that what was read is still in the processor's cache when it is written.
pub(super) const BUFFER: usize = 64 << 10;
/// Below this size a system call in vain costs more than it saves.
pub(super) const SMALL: u64 = 64 << 10;
/// After a read that had to wait, so many more are expected to.
const COLD: u32 = 64;
/// Zeros are looked for in blocks of this size.
const BLOCK: usize = 4096;

/// Why content could not be moved.
#[derive(Debug)]
pub(super) enum Fault {
    Read(Errno),
    Write(Errno),
    /// The file ended before the size it had when it was opened.
    Shrank,
    /// The whole work must stop.
    Stop(Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Clone,
    InKernel,
    ReadWrite,
}

/// Moves content; one for each worker.
#[derive(Debug, Default)]
pub(super) struct Mover {
    buffer: Vec<u8>,
    second: Vec<u8>,
    /// The best way that is not known to be impossible between two file systems.
    ways: Vec<((u64, u64), Way)>,
    /// So many of the next files are taken to come from a disk and not from memory.
    cold: u32,
    /// Whether the content is in memory cannot be asked here.
    mute: bool,
    /// What is paid for bytes that are moved, and what ends a wait for it.
    rate: Rate,
    cancel: Cancel,
    /// Threads that may help with a big file.
    streams: Streams,
}

/// Called after every slice with the offset reached and the bytes of it; an error stops the copy.
pub(super) type Tick<'t> = dyn FnMut(u64, u64) -> Result<(), Error> + 't;

impl Mover {
    /// One that keeps to a limit. A clone moves nothing and costs nothing; a copy inside the kernel costs its length,
    /// because nobody is told how much of it the file system shared.
    pub(super) fn limited(rate: Rate, cancel: Cancel, streams: Streams) -> Self {
        Self { rate, cancel, streams, ..Self::default() }
    }

    /// Whether the files that were read last were not in memory.
    pub(super) fn is_cold(&self) -> bool {
        self.cold > 0
    }

    /// Reads the beginning of a file, and notices whether that had to wait for a disk.
    fn read_first(&mut self, from: BorrowedFd<'_>, wanted: usize, at: u64) -> Result<usize, Errno> {
        if !self.mute {
            let mut into = [IoSliceMut::new(&mut self.buffer[..wanted])];
            match retry(|| rustix::io::preadv2(from, &mut into, at, ReadWriteFlags::NOWAIT)) {
                Ok(count) if count > 0 => {
                    self.cold = self.cold.saturating_sub(1);
                    return Ok(count);
                }
                Err(Errno::AGAIN) => self.cold = COLD,
                // It says so once for all of its files, and of others it is not worth asking again.
                Err(_) => self.mute = true,
                // The end, or a file system that does not mean it: the other call tells.
                Ok(_) => {}
            }
        }
        self.read(from, wanted, at)
    }

    fn read(&mut self, from: BorrowedFd<'_>, wanted: usize, at: u64) -> Result<usize, Errno> {
        retry(|| rustix::io::pread(from, &mut self.buffer[..wanted], at))
    }

    /// Pays for bytes that were moved.
    pub(super) fn pay(&self, bytes: u64) -> Result<(), Fault> {
        self.rate.pay(bytes, &self.cancel).map_err(|cancelled| Fault::Stop(cancelled.into()))
    }

    fn way(&self, pair: (u64, u64)) -> Way {
        // Two file systems, rarely more.
        self.ways.iter().find(|(of, _)| *of == pair).map_or(Way::Clone, |(_, way)| *way)
    }

    /// Notes that a way is closed, if the error means that it is so for all files of these file systems.
    fn note(&mut self, pair: (u64, u64), errno: Errno, next: Way) {
        if matches!(errno, Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY) {
            self.ways.retain(|(of, _)| *of != pair);
            self.ways.push((pair, next));
        }
    }

    /// Copies bytes `start..size` of a file to the same place; `size` is the size the file had when it was opened.
    /// What lies before `start` is there already. Returns how many bytes were data and not holes.
    pub(super) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        meta: &Meta,
        to_dev: u64,
        start: u64,
        tick: &mut Tick<'_>,
    ) -> Result<u64, Fault> {
        let size = meta.size;
        if size <= start {
            return Ok(0);
        }
        let pair = (meta.dev, to_dev);
        if start == 0 && self.way(pair) == Way::Clone {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => {
                    let data = data_length(from, meta).map_err(Fault::Read)?;
                    // The clone is of the file as it is now, which may be longer or shorter than when it was opened.
                    let cloned = rustix::fs::fstat(to).map_err(Fault::Write)?.st_size as u64;
                    if cloned < size {
                        return Err(Fault::Shrank);
                    }
                    if cloned > size {
                        rustix::fs::ftruncate(to, size).map_err(Fault::Write)?;
                    }
                    tick(size, data).map_err(Fault::Stop)?;
                    return Ok(data);
                }
                Err(errno) if super::sys::is_full(errno) => return Err(Fault::Write(errno)),
                Err(errno) => self.note(pair, errno, Way::InKernel),
            }
        }
        let mut extents = Extents::new(from, meta, start);
        // What its holes leave is what there is to do.
        let threads = self.streams.take(to, (size - start).min(meta.blocks.saturating_mul(512)));
        let (mut data, mut end) = (0, start);
        if let Some(threads) = threads {
            // The last block comes when all the others are there: before that the file is too short to be taken for a
            // whole one, should this process die.
            extents.end_at((size - 1) / BLOCK as u64 * BLOCK as u64);
            (data, end) = super::chunks::copy(self, (from, to), pair, &mut extents, threads.count(), tick)?;
            extents.end_at(size);
        }
        while let Some((first, last)) = extents.next().map_err(Fault::Read)? {
            self.range(from, to, pair, (first, last), extents.maybe_zeros, tick)?;
            data += last - first;
            end = last;
        }
        if end < size || extents.maybe_zeros {
            rustix::fs::ftruncate(to, size).map_err(Fault::Write)?;
        }
        Ok(data)
    }

    /// Another one that keeps to the same limit, for a thread that helps with one file.
    pub(super) fn helper(&self) -> Self {
        Self { ways: self.ways.clone(), ..Self::limited(self.rate.clone(), self.cancel.clone(), Streams::default()) }
    }

    pub(super) fn range(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        pair: (u64, u64),
        (mut at, last): (u64, u64),
        maybe_zeros: bool,
        tick: &mut Tick<'_>,
    ) -> Result<(), Fault> {
        if self.way(pair) <= Way::InKernel && !maybe_zeros && last - at > SMALL {
            while at < last {
                let (mut input, mut output) = (at, at);
                let wanted = (last - at).min(self.rate.piece(SLICE)) as usize;
                match retry(|| rustix::fs::copy_file_range(from, Some(&mut input), to, Some(&mut output), wanted)) {
                    // Some file systems answer so to what they cannot do; reading tells whether it is the end.
                    Ok(0) => break,
                    Ok(count) => {
                        at += count as u64;
                        tick(at, count as u64).map_err(Fault::Stop)?;
                        self.pay(count as u64)?;
                    }
                    Err(errno) if super::sys::is_full(errno) => return Err(Fault::Write(errno)),
                    Err(errno) => {
                        self.note(pair, errno, Way::ReadWrite);
                        break;
                    }
                }
            }
        }
        // A worker that only meets small files does not need a large buffer, and there may be many workers.
        let room = (last - at).min(BUFFER as u64) as usize;
        self.buffer.resize(room.max(self.buffer.len()), 0);
        let mut untold = 0;
        while at < last {
            let wanted = (last - at).min(self.rate.piece(BUFFER as u64)) as usize;
            let count = if at == 0 { self.read_first(from, wanted, at) } else { self.read(from, wanted, at) };
            let count = count.map_err(Fault::Read)?;
            if count == 0 {
                return Err(Fault::Shrank);
            }
            let piece = &self.buffer[..count];
            let mut written = 0;
            if maybe_zeros {
                for (number, block) in piece.chunks(BLOCK).enumerate() {
                    if block.iter().any(|&byte| byte != 0) {
                        write_at(to, block, at + (number * BLOCK) as u64).map_err(Fault::Write)?;
                        written += block.len() as u64;
                    }
                }
            } else {
                write_at(to, piece, at).map_err(Fault::Write)?;
                written = count as u64;
            }
            at += count as u64;
            untold += count as u64;
            if untold >= self.rate.piece(SLICE) || at == last {
                tick(at, untold).map_err(Fault::Stop)?;
                untold = 0;
            }
            self.pay(written)?;
        }
        Ok(())
    }

    /// Whether two files have the same content in `start..end`. The left one must reach that far; a right one that does
    /// not is different.
    pub(super) fn same(
        &mut self,
        left: BorrowedFd<'_>,
        right: BorrowedFd<'_>,
        (start, end): (u64, u64),
        tick: &mut Tick<'_>,
    ) -> Result<bool, Fault> {
        self.buffer.resize(BUFFER, 0);
        self.second.resize(BUFFER, 0);
        let mut at = start;
        while at < end {
            let wanted = (end - at).min(BUFFER as u64) as usize;
            let count = fill(left, &mut self.buffer[..wanted], at).map_err(Fault::Read)?;
            if count < wanted {
                return Err(Fault::Shrank);
            }
            let other = fill(right, &mut self.second[..wanted], at).map_err(Fault::Write)?;
            if other < wanted || self.buffer[..wanted] != self.second[..wanted] {
                return Ok(false);
            }
            at += wanted as u64;
            tick(at, wanted as u64).map_err(Fault::Stop)?;
        }
        Ok(true)
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn fill(fd: impl AsFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match retry(|| rustix::io::pread(fd.as_fd(), &mut buffer[filled..], at + filled as u64))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Writes all bytes at a place of a file.
pub(super) fn write_at(fd: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match retry(|| rustix::io::pwrite(fd, bytes, at))? {
            0 => return Err(Errno::IO),
            count => {
                bytes = &bytes[count..];
                at += count as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::copy::sys;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn copied(make: impl FnOnce(&File)) -> (Vec<u8>, Vec<u8>, u64, u64) {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        make(&File::create(&a).unwrap());
        let from = File::open(&a).unwrap();
        let to = File::options().read(true).write(true).create_new(true).open(&b).unwrap();
        let meta = sys::stat_fd(&from).unwrap();
        let to_dev = sys::stat_fd(&to).unwrap().dev;
        let mut told = 0;
        let mut tick = |_, bytes| {
            told += bytes;
            Ok(())
        };
        let data = Mover::default().copy(from.as_fd(), to.as_fd(), &meta, to_dev, 0, &mut tick).unwrap();
        assert_eq!(told, data);
        (std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), data, sys::stat_fd(&to).unwrap().blocks)
    }

    #[test]
    fn dense_files_arrive() {
        for size in [0, 1, 4096, 300_000, 20 << 20] {
            let content: Vec<u8> = (0..size).map(|at: usize| (at / 7 + 1) as u8 | 1).collect();
            let (a, b, data, _) = copied(|mut file| file.write_all(&content).unwrap());
            assert!(a == b, "{size}");
            assert_eq!(data, size as u64);
        }
    }

    #[test]
    fn holes_stay_holes_at_the_start_between_and_at_the_end() {
        let (a, b, data, blocks) = copied(|file| {
            file.write_all_at(&[7; 4096], 1 << 20).unwrap();
            file.write_all_at(&[8; 5000], 3 << 20).unwrap();
            file.set_len(8 << 20).unwrap();
        });
        assert!(a == b);
        assert!(data < 64 << 10, "{data}");
        assert!(blocks < 256, "{blocks}");
    }

    #[test]
    fn a_file_that_is_all_hole_keeps_its_size() {
        let (a, b, data, _) = copied(|file| file.set_len(1 << 20).unwrap());
        assert!(a == b);
        assert_eq!(data, 0);
    }

    #[test]
    fn a_file_of_many_chunks_is_too_short_until_the_others_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let size = (super::super::chunks::WORTH + (70 << 20)) as usize + 5;
        std::fs::write(&path, vec![7; size]).unwrap();
        let from = File::open(&path).unwrap();
        let to = File::options().read(true).write(true).create_new(true).open(dir.path().join("b")).unwrap();
        let meta = sys::stat_fd(&from).unwrap();
        let mut mover = Mover { streams: Streams::of_pass(None), ..Mover::default() };
        mover.ways = vec![((meta.dev, meta.dev), Way::ReadWrite)];
        let mut looked = 0;
        let mut tick = |reached: u64, _| {
            if reached < (size - 5) as u64 {
                looked += 1;
                assert!((to.metadata().unwrap().len() as usize) < size, "at {reached}");
            }
            Ok(())
        };
        let data = mover.copy(from.as_fd(), to.as_fd(), &meta, meta.dev, 0, &mut tick).unwrap();
        assert_eq!(data as usize, size);
        assert!(looked > 4);
        assert!(std::fs::read(path).unwrap() == std::fs::read(dir.path().join("b")).unwrap());
    }

    #[test]
    fn files_that_come_from_a_disk_are_noticed_and_files_in_memory_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, [7; 8192]).unwrap();
        let from = File::open(&path).unwrap();
        from.sync_all().unwrap();
        let meta = sys::stat_fd(&from).unwrap();
        let mut mover = Mover::default();
        let mut copy = || {
            let to = tempfile::tempfile_in(&dir).unwrap();
            mover.ways = vec![((meta.dev, meta.dev), Way::ReadWrite)];
            mover.copy(from.as_fd(), to.as_fd(), &meta, meta.dev, 0, &mut |_, _| Ok(())).unwrap();
            (mover.is_cold(), mover.mute)
        };
        let (cold, mute) = copy();
        assert!(!cold, "it was just written");
        if mute {
            // Files here are in memory, or nothing can be asked: there is nothing to notice.
            return;
        }
        // It is only advice: on a busy machine the kernel may still hold the pages.
        let dropped = (0..50).any(|_| {
            rustix::fs::fadvise(&from, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            copy() == (true, false)
        });
        assert!(dropped, "nothing of it was in memory");
        for _ in 1..COLD {
            assert_eq!(copy(), (true, false), "the next ones are expected to be like it");
        }
        assert_eq!(copy(), (false, false), "until they were not");
    }
}
