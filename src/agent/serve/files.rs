//! Answers questions about files and the machine.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Context, held, write};
use crate::agent::fault::{Error, Fault};
use crate::agent::files::{PIECE, WriteOptions, answer, ask};
use crate::agent::machine::{self, Entry, Stat, Wire};
use crate::wire::{Broken, Line, Malformed, Put, Take};

/// What this agent has made: paths, and the device and inode they had.
pub(super) type Made = HashMap<Vec<u8>, (u64, u64)>;

/// Answers one question after the other, until no more come or one has failed in the middle of its answer.
pub(super) fn serve(context: &Context, _: &[u8], mut lines: Vec<Line>) -> Result<(), Broken> {
    let Some(line) = lines.first_mut() else { return Ok(()) };
    let mut request = Vec::new();
    while line.inbox.receive(&mut request)? {
        context.cancel.check()?;
        match answer_to(context, &request, line) {
            Ok(()) => line.outbox.flush()?,
            Err(Error::Fault(fault)) => {
                let mut put = Put::of(answer::FAULT);
                fault.put(&mut put);
                line.outbox.send(&[&put.0])?;
                line.outbox.flush()?;
                // What belongs to a question that was answered early is not to be taken for the next.
                if request.first() == Some(&ask::WRITE) {
                    return Ok(());
                }
            }
            Err(Error::Broken(broken)) => return Err(broken),
            Err(Error::Near(error)) => return Err(error.into()),
        }
    }
    line.outbox.finish()
}

fn answer_to(context: &Context, request: &[u8], line: &mut Line) -> Result<(), Error> {
    let mut take = Take(request);
    let kind = take.byte()?;
    let path = take.bytes()?.to_owned();
    if !path.is_empty() && (path[0] != b'/' || path.contains(&0)) {
        return Err(Fault::refused("use", &path, "it is no absolute path").into());
    }
    let path = path.as_slice();
    match kind {
        ask::STAT => done(line, take, &machine::stat(path)?),
        ask::LSTAT => done(line, take, &machine::lstat(path)?),
        ask::STATFS => done(line, take, &machine::statfs(path)?),
        ask::MOUNTS => done(line, take, &machine::mounts()?),
        ask::DEVICES => done(line, take, &machine::block_devices()?),
        ask::REMOVE => done(line, take, &remove(context, path)?),
        ask::SETTLE => done(line, take, &held(&context.own).unlink()?),
        ask::LIST => list(line, take, path),
        ask::READ => {
            let (offset, length) = (take.number()?, take.number()?);
            take.end()?;
            read(context, line, path, offset, length)
        }
        ask::WRITE => {
            let options = WriteOptions::take(&mut take)?;
            take.end()?;
            let written = write::write(context, line, path, &options)?;
            done(line, Take(b""), &written)
        }
        ask::MAKE_DIR => {
            let mode: u32 = take.small()?;
            done(line, take, &make_dir(context, path, mode)?)
        }
        other => Err(Malformed::Kind(other).into()),
    }
}

fn done<T: Wire>(line: &mut Line, rest: Take<'_>, value: &T) -> Result<(), Error> {
    rest.end()?;
    let mut put = Put::of(answer::DONE);
    value.put(&mut put);
    Ok(line.outbox.send(&[&put.0])?)
}

fn last(line: &mut Line, count: u64) -> Result<(), Error> {
    let mut put = Put::of(answer::LAST);
    put.number(count);
    Ok(line.outbox.send(&[&put.0])?)
}

fn list(line: &mut Line, take: Take<'_>, path: &[u8]) -> Result<(), Error> {
    take.end()?;
    let (mut some, mut count) = (Vec::new(), 0);
    let mut send = |some: &mut Vec<Entry>| {
        let mut put = Put::of(answer::DATA);
        some.put(&mut put);
        some.clear();
        line.outbox.send(&[&put.0])
    };
    machine::list(path, &mut |entry| {
        some.push(entry);
        count += 1;
        if some.len() >= 256 { Ok(send(&mut some)?) } else { Ok::<(), Error>(()) }
    })?;
    send(&mut some)?;
    last(line, count)
}

fn read(context: &Context, line: &mut Line, path: &[u8], mut at: u64, length: u64) -> Result<(), Error> {
    let failed = |op| Fault::io(op, path);
    // A FIFO without a writer must not keep it waiting.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(Path::new(OsStr::from_bytes(path)));
    let file = file.map_err(failed("open"))?;
    if file.metadata().map_err(failed("stat"))?.is_dir() {
        return Err(Fault::refused("read", path, "it is a directory").into());
    }
    let end = at.saturating_add(length);
    let mut piece = vec![0; PIECE];
    let mut count = 0;
    while at < end {
        context.cancel.check().map_err(Broken::from)?;
        let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let got = match file.read_at(&mut piece[..most], at) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read")(error).into()),
        };
        line.outbox.send(&[&[answer::DATA], &piece[..got]])?;
        at += got as u64;
        count += got as u64;
    }
    last(line, count)
}

fn make_dir(context: &Context, path: &[u8], mode: u32) -> Result<Stat, Error> {
    let made = fs::DirBuilder::new().mode(mode).create(Path::new(OsStr::from_bytes(path)));
    made.map_err(Fault::io("make", path))?;
    let stat = machine::lstat(path)?;
    held(&context.made).insert(path.to_owned(), (stat.dev, stat.ino));
    Ok(stat)
}

fn remove(context: &Context, path: &[u8]) -> Result<(), Error> {
    let stat = machine::lstat(path)?;
    let mut made = held(&context.made);
    if made.get(path) != Some(&(stat.dev, stat.ino)) {
        return Err(Fault::refused("remove", path, "this agent did not make what is there").into());
    }
    let name = Path::new(OsStr::from_bytes(path));
    let removed = if stat.letter == b'd' { fs::remove_dir(name) } else { fs::remove_file(name) };
    removed.map_err(Fault::io("remove", path))?;
    made.remove(path);
    Ok(())
}
