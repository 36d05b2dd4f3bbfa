//! What undo finds although no record tells of it: a store that lost its end, as a power cut may leave it, must not make
//! the count of what is left too small.
//!
//! The time when the run began is kept and synced before the first change. Whatever lies in the backup directory and
//! was moved there since, and whatever in the destination was made since and is what the source has, comes from the run.
//! It is named and counted, and touched by nobody.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::ledger::{BACKUP, IMAGE};
use super::listing::Listing;
use super::names::{join, walk};
use super::sys::{self, Kind, Meta};
use super::undo::Undoing;
use super::{Error, claim, names};
use crate::units::Stamp;

/// The clock of file systems goes in ticks and is that much behind at most.
const TICK: Duration = Duration::from_millis(12);

/// A time that everything before it is older than, and no change from here on.
pub(super) fn begin() -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    std::thread::sleep(TICK);
    Stamp { sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nsec: now.subsec_nanos() }
}

/// Whether an entry was made since; where the file system does not tell, whether it was changed.
fn made_since(meta: &Meta, began: Stamp) -> bool {
    match meta.born {
        Some(born) => born >= began,
        None => meta.kind != Kind::Dir && meta.ctime >= began,
    }
}

impl Undoing<'_> {
    /// Counts what is left of the run and was not counted yet.
    pub(super) fn unrecorded(&mut self) -> Result<(), Error> {
        let Some(began) = self.ledger.began()? else { return Ok(()) };
        if let Some(backup) = self.backup.take() {
            self.each_entry(&backup, |undoing, _, path, meta, empty| {
                let stays = match meta.kind {
                    Kind::Dir => empty && meta.born.is_some_and(|born| born >= began),
                    _ => meta.ctime >= began,
                };
                if stays {
                    undoing.once(path, "it is in the backup directory still: put it back by hand");
                }
                Ok(true)
            })?;
            self.backup = Some(backup);
        }
        let root = rustix::io::dup(&self.root).map_err(Error::io("open", b""))?;
        let backup = self.backup.as_ref().and_then(|fd| sys::stat_fd(fd).ok()).map(|meta| meta.id());
        self.each_entry(&root, |undoing, dir, path, meta, _| {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            if meta.dev != undoing.dev || Some(meta.id()) == backup || undoing.is_lost(path) {
                return Ok(false);
            }
            if dir.is_empty() && name == claim::NAME.as_bytes() || meta.kind != Kind::Dir && names::is_temp(name) {
                return Ok(false);
            }
            // Children come after their parents: what an own directory holds is counted with it.
            if undoing.held.contains(dir) {
                if meta.kind == Kind::Dir {
                    undoing.held.insert(path.to_vec());
                }
                undoing.once(path, "it is in a directory that the run made");
            } else if made_since(meta, began) && undoing.is_of_source(dir, name, meta) && !undoing.was_there(path)? {
                undoing.once(path, "the run made it, and its record is lost");
            }
            Ok(true)
        })
    }

    /// Names and counts what is not counted yet.
    fn once(&mut self, path: &[u8], reason: &str) {
        if !self.counted.contains(path) {
            self.leave(path.to_vec(), reason);
        }
    }

    fn was_there(&self, path: &[u8]) -> Result<bool, Error> {
        let store = self.ledger.store();
        Ok(store.get(BACKUP, path)?.is_some() || store.get(IMAGE, path)?.is_some())
    }

    /// Whether the source has it under the same name.
    fn is_of_source(&self, dir: &[u8], name: &[u8], meta: &Meta) -> bool {
        let Ok(name) = std::ffi::CString::new(name) else { return false };
        let found = self.source_dir(dir).and_then(|from| from.lend().find(&name).ok().flatten());
        found.is_some_and(|source| {
            source.kind == meta.kind
                && (meta.kind != Kind::File || (source.size, source.mtime) == (meta.size, meta.mtime))
        })
    }

    /// Calls `each` with directory, path, metadata and whether it is an empty directory, for everything below `root`,
    /// parents first; what it answers says whether to look into a directory.
    fn each_entry(
        &mut self,
        root: &OwnedFd,
        mut each: impl FnMut(&mut Self, &[u8], &[u8], &Meta, bool) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut open: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(dir) = open.pop() {
            self.work.cancel.check()?;
            let fd = match walk(root, &dir) {
                Ok(Some(fd)) => fd,
                Ok(None) => continue,
                Err(errno) => {
                    self.fail(dir, "open", errno);
                    continue;
                }
            };
            let mut listing = Listing::default();
            loop {
                let more = match listing.read(fd.as_fd(), &mut self.buffer, |_, _| true) {
                    Ok(more) => more,
                    Err(errno) => {
                        self.fail(dir.clone(), "list", errno);
                        break;
                    }
                };
                for item in &listing.items {
                    let name = listing.name(item);
                    let path = join(&dir, name.to_bytes());
                    match sys::find_at(&fd, name) {
                        Ok(Some(meta)) => {
                            let empty = meta.kind == Kind::Dir && is_empty(&fd, name);
                            if each(self, &dir, &path, &meta, empty)? && meta.kind == Kind::Dir {
                                open.push(path);
                            }
                        }
                        Ok(None) => {}
                        Err(errno) => self.fail(path, "stat", errno),
                    }
                }
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Whether a directory holds nothing; one that cannot be read does, and is told of when it is opened.
fn is_empty(dir: &OwnedFd, name: &CStr) -> bool {
    let empty = || -> Result<bool, Errno> {
        let fd = sys::open_dir(dir, name)?;
        let mut listing = Listing::default();
        listing.read(fd.as_fd(), &mut super::listing::Buffer::default(), |_, _| true)?;
        Ok(listing.items.is_empty())
    };
    empty().unwrap_or(false)
}
