//! Writes a file whole or not at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::{Context, held};
use crate::agent::fault::{Error, Fault};
use crate::agent::files::{WriteOptions, answer};
use crate::agent::link::secret;
use crate::agent::machine::{self, Stat};
use crate::wire::{Broken, Line, Malformed, Take};

/// Permissions of a file that is new, if nothing else is said.
const USUAL: u32 = 0o644;

/// Takes the content from the line, writes it beside `path`, and puts it in its place.
pub(super) fn write(context: &Context, line: &mut Line, path: &[u8], options: &WriteOptions) -> Result<Stat, Error> {
    let failed = |op: &'static str| move |errno: Errno| Fault::io(op, path)(errno.into());
    let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (dir, name) = (&path[..=cut], &path[cut + 1..]);
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Fault::refused("write", path, "it names a directory").into());
    }
    let dir = rustix::fs::open(OsStr::from_bytes(dir), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the directory of"))?;
    let name = OsStr::from_bytes(name);
    let old = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) if options.new => return Err(failed("make")(Errno::EXIST).into()),
        Ok(old) => Some(old),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(failed("stat")(errno).into()),
    };
    if let Some(old) = &old
        && FileType::from_raw_mode(old.st_mode) != FileType::RegularFile
    {
        return Err(Fault::refused("write", path, "what is there is no regular file").into());
    }
    let temp = format!(".decamp-{}", secret()?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(&dir, &temp, flags, Mode::from_raw_mode(0o600)).map_err(failed("make a file beside"))?;
    let done = fill(context, line, path, File::from(file), options, old.as_ref()).and_then(|()| {
        let flags = if options.new { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        let renamed = match rustix::fs::renameat_with(&dir, &temp, &dir, name, flags) {
            // Not every file system knows flags; what is there was looked for above.
            Err(Errno::INVAL) if options.new => rustix::fs::renameat(&dir, &temp, &dir, name),
            other => other,
        };
        Ok(renamed.map_err(failed("rename the new content of"))?)
    });
    if let Err(error) = done {
        // What cannot be removed is named.
        return Err(match rustix::fs::unlinkat(&dir, &temp, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => error,
            Err(errno) => {
                Fault::refused("write", path, format!("{error}; and `{temp}` beside it stays: {errno}")).into()
            }
        });
    }
    sync(&dir).map_err(failed("sync the directory of"))?;
    let stat = machine::lstat(path)?;
    if old.is_none() {
        held(&context.made).insert(path.to_owned(), (stat.dev, stat.ino));
    }
    Ok(stat)
}

fn fill(
    context: &Context,
    line: &mut Line,
    path: &[u8],
    mut file: File,
    options: &WriteOptions,
    old: Option<&rustix::fs::Stat>,
) -> Result<(), Error> {
    let mut message = Vec::new();
    let mut total = 0;
    loop {
        context.cancel.check().map_err(Broken::from)?;
        if !line.inbox.receive(&mut message)? {
            return Err(Broken::Cut.into());
        }
        let mut take = Take(&message);
        match take.byte()? {
            answer::DATA => {
                let data = take.rest();
                file.write_all(data).map_err(Fault::io("write", path))?;
                total += data.len() as u64;
            }
            answer::LAST => {
                let sent = take.number()?;
                take.end()?;
                if sent != total {
                    return Err(Broken::Corrupt(format!("{total} bytes came, {sent} were sent")).into());
                }
                break;
            }
            other => return Err(Malformed::Kind(other).into()),
        }
    }
    let failed = |op: &'static str| move |errno: Errno| Fault::io(op, path)(errno.into());
    let owner = options.owner.or_else(|| old.map(|old| (old.st_uid, old.st_gid)));
    if let Some((uid, gid)) = owner {
        let now = rustix::fs::fstat(&file).map_err(failed("stat"))?;
        if (now.st_uid, now.st_gid) != (uid, gid) {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(failed("give the owner of"))?;
        }
    }
    let mode = options.mode.or_else(|| old.map(|old| old.st_mode & 0o7777)).unwrap_or(USUAL);
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed("set the mode of"))?;
    Ok(file.sync_all().map_err(Fault::io("sync", path))?)
}

/// Syncs a directory, where its file system knows that.
fn sync(dir: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::fsync(dir) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}
