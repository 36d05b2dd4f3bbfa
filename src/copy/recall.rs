//! What earlier passes over the same two roots have proved: so that a pass over trees in which nothing has changed need
//! not list the attributes and ACLs of every entry on both sides.
//!
//! A pass that has found or made the attributes of an entry equal on both sides remembers one hash: of inode, time of
//! inode change and type of the source's entry and of the destination's. Whatever changes an inode (content, owner,
//! mode, an attribute, an ACL, a name of it) sets its time of change, so a pair whose hash is known is the pair that
//! was proved, and neither side was changed since. Two times are never compared with each other: each is its own file
//! system's, and need only be another one after a change.
//!
//! **Racy pairs are left out.** A clock goes in ticks, and a change in the tick of the last one leaves the time as it
//! is.
//!
//! - An entry that was looked at counts only if its time lies [`SETTLED`] before the pass began: the tick was over
//!   before anything of it was read, so a change after that got a later time. (A server whose clock is behind ours by
//!   more than that, and a file on it changed twice in one tick, before and after we looked, is what this cannot see.)
//!   The metadata that is hashed was always read before the attributes were.
//! - An entry of the destination that this process has just made or changed bears a time of now. It counts, because the
//!   pass does not end before [`TICK`] has gone by since: who changes it after the pass gives it a later time. Nobody
//!   else is expected to write there *during* the pass (`claim`); who does so all the same, while an entry is finished
//!   or in the very tick of it, is not noticed, and could not be told from one who did so before that.
//!   A time of whole seconds says that the file system may know no smaller step, and one equal to the time of change
//!   of content, which we have just set, that it may keep no time of its own: such entries are left to the next pass.
//! - A further name of a file changes its inode: hard links made by a pass are left to the next one.
//!
//! **Names.** The same is remembered of a directory's names: that the destination has none that the source has not. A name
//! more or less changes the time of a directory, so while both are the ones of the pair, the destination need not be
//! listed. That is done only where a look-up by name costs no way to a server: elsewhere a listing answers many at once.
//!
//! **What a set is about** is in its name and in its head: both paths, both roots, the accepted losses that touch
//! attributes, who looks (user, capabilities, user namespace) and what both mounts say when asked for each sort of
//! attribute. A mount that answers that it has none has made it true that both sides are equal; mounted with them it is
//! another matter. So only entries on the roots' own devices count. The device number itself is left out, as it may
//! change with a reboot.
//!
//! Sets are written at the end of a pass and not synced (`seen`): a pass that was killed leaves the former set, of which
//! everything still holds or no longer fits. None is kept where it would lie inside one of the roots: it would change
//! what is copied.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use super::dir::Dir;
use super::hand::Hand;
use super::options::{Loss, Options};
use super::seen::{self, Former, Fresh, Unread};
use super::sys::xattr::{self, ACL_ACCESS, ACL_DEFAULT, CAPABILITY};
use super::sys::{Kind, Meta, Target};
use super::{Work, identity};
use crate::progress::Event;
use crate::units::{Stamp, path_text};

/// An entry that was not changed for so long will bear another time when it is changed: more than a tick of any clock
/// and of any file system that keeps whole seconds or every other.
const SETTLED: Duration = Duration::from_secs(2);

/// More than a tick of any clock (1 to 16 ms).
const TICK: Duration = Duration::from_millis(20);

/// A worker hands over what it has learned in pieces of so many.
const PIECE: usize = 512;

/// `f_type` of file systems on a disk or in the memory of this machine: ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, ZFS.
const LOCAL: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1];

/// `f_type` of file systems that keep one time alone of an entry, which tells nothing of its attributes: SquashFS, EROFS,
/// ISO 9660, cramfs, romfs, FAT, exFAT.
const ONE_TIME: [u64; 7] = [0x7371_7368, 0xe0f5_e1e2, 0x9660, 0x28cd_3d45, 0x7275, 0x4d44, 0x2011_bab0];

/// What a pair of directories is remembered for, in place of the type of the destination's entry.
const NAMES: u8 = b'n';

/// Two trees and what is known of them.
pub(super) struct Recall {
    dir: PathBuf,
    about: [u8; 32],
    devices: (u64, u64),
    /// The destination is asked for names faster than it is listed.
    local: bool,
    /// What was changed later than this may change again without another time.
    settled: Stamp,
    former: Former,
    fresh: Fresh,
    /// This process has made or changed something that is remembered.
    made: AtomicBool,
}

/// One of the two roots.
#[derive(Clone, Copy)]
pub(super) struct Root<'a> {
    pub path: &'a Path,
    pub fd: &'a OwnedFd,
    pub meta: &'a Meta,
}

impl Recall {
    /// Reads what was remembered, if it is wished for and can be: without it a pass is slower and nothing else.
    pub(super) fn open(sides: [Root<'_>; 2], options: &Options, work: &Work<'_>) -> Option<Self> {
        let dir = options.recall.as_deref()?;
        let settled = before_now(SETTLED);
        let paths = sides.map(|side| side.path.canonicalize());
        let [Ok(left), Ok(right)] = &paths else { return None };
        // What is not there yet is judged by the directory it will be in.
        let place = dir.ancestors().find_map(|part| part.canonicalize().ok())?;
        if place.starts_with(left) || place.starts_with(right) {
            return None;
        }
        let about = about([(left, sides[0].fd), (right, sides[1].fd)], options).ok()?;
        let [left_type, right_type] = sides.map(|side| identity::of_fd(side.fd).map(|id| id.fs_type));
        let (left_type, right_type) = (left_type.ok()?, right_type.ok()?);
        if ONE_TIME.contains(&left_type) || ONE_TIME.contains(&right_type) {
            return None;
        }
        let local = LOCAL.contains(&right_type);
        let path = dir.join(seen::name(&about));
        let former = Former::read(&path, &about).unwrap_or_else(|why| {
            if !matches!(why, Unread::Absent) {
                let path = path_text(path.as_os_str().as_bytes());
                tell(
                    work,
                    &format!("what the last copy proved is not believed ({path}: {why}): everything is looked at"),
                );
            }
            Former::default()
        });
        Some(Self {
            dir: dir.to_owned(),
            about,
            devices: (sides[0].meta.dev, sides[1].meta.dev),
            local,
            settled,
            former,
            fresh: Fresh::default(),
            made: AtomicBool::new(false),
        })
    }

    /// The hash of a pair, if it can be remembered at all.
    fn hash(&self, left: &Meta, right: &Meta) -> Option<u128> {
        self.fits(left, right).then(|| pair(left, right, right.kind.letter()))
    }

    /// The same of what a pair of directories says of names.
    fn names_hash(&self, left: &Meta, right: &Meta) -> Option<u128> {
        (self.local && left.kind == Kind::Dir && self.fits(left, right)).then(|| pair(left, right, NAMES))
    }

    fn fits(&self, left: &Meta, right: &Meta) -> bool {
        (left.dev, right.dev) == self.devices && left.kind == right.kind
    }

    fn is_settled(&self, meta: &Meta) -> bool {
        meta.ctime < self.settled
    }

    /// Takes what a worker has learned.
    pub(super) fn take(&self, learned: &mut Vec<u128>) {
        self.fresh.take(learned);
    }

    /// Keeps what was proved for the next pass; `since`: when the last entry was made.
    pub(super) fn keep(&self, since: Instant, work: &Work<'_>) {
        if self.made.load(Ordering::Relaxed) {
            std::thread::sleep(TICK.saturating_sub(since.elapsed()));
        }
        let written = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).and_then(|()| {
            seen::write(&self.dir.join(seen::name(&self.about)), &self.about, &self.former, &self.fresh)?;
            seen::tidy(&self.dir)
        });
        match written {
            Ok(()) => {}
            // Nobody promised a place to write.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {}
            Err(error) => {
                let dir = path_text(self.dir.as_os_str().as_bytes());
                tell(work, &format!("what was proved is not kept for the next copy ({dir}: {error})"));
            }
        }
    }
}

impl Hand<'_> {
    /// Whether the attributes of both entries were proved equal, and neither was changed since. It is then remembered
    /// further on.
    pub(super) fn recalls(&self, left: &Meta, right: &Meta) -> bool {
        let Some(recall) = &self.pass.recall else { return false };
        recall.hash(left, right).is_some_and(|hash| recall.former.has(hash))
    }

    /// Remembers a pair whose attributes were looked at, after its metadata, and found equal.
    pub(super) fn found_same(&mut self, left: &Meta, right: &Meta) {
        if let Some(recall) = &self.pass.recall
            && recall.is_settled(left)
            && recall.is_settled(right)
        {
            self.learn(recall.hash(left, right));
        }
    }

    /// Remembers a pair of which this process has just made the destination's entry, or has set its attributes; `now`
    /// is how that ended.
    pub(super) fn made_same(&mut self, left: &Meta, now: &Meta) {
        let Some(recall) = &self.pass.recall else { return };
        if recall.is_settled(left) && tells_changes(now) {
            recall.made.store(true, Ordering::Relaxed);
            self.learn(recall.hash(left, now));
        }
    }

    /// Whether the destination's directory had no name but those of the source's, and neither was changed since.
    pub(super) fn recalls_names(&self, dir: &Dir) -> bool {
        let (Some(recall), Some(left), Some(right)) = (&self.pass.recall, &dir.left, &dir.right) else { return false };
        // What is left out by name is in no listing, so that nothing is known of it.
        self.pass.options.exclude.is_empty()
            && recall.names_hash(left, right).is_some_and(|hash| recall.former.has(hash))
    }

    /// Remembers that the destination's directory has no name but those of the source's: it was listed, and nothing was
    /// changed in it.
    pub(super) fn found_no_extra(&mut self, dir: &Dir) {
        let (Some(recall), Some(left), Some(right)) = (&self.pass.recall, &dir.left, &dir.right) else { return };
        if self.pass.options.exclude.is_empty() && recall.is_settled(left) && recall.is_settled(right) {
            self.learn(recall.names_hash(left, right));
        }
    }

    /// Remembers the same of a directory that this process has made, and filled without a failure; `now` is how that
    /// ended.
    pub(super) fn made_no_extra(&mut self, left: &Meta, now: &Meta) {
        let Some(recall) = &self.pass.recall else { return };
        if self.pass.options.exclude.is_empty() && recall.is_settled(left) && tells_changes(now) {
            self.learn(recall.names_hash(left, now));
        }
    }

    fn learn(&mut self, hash: Option<u128>) {
        let Some(recall) = &self.pass.recall else { return };
        self.learned.extend(hash);
        if self.learned.len() >= PIECE {
            recall.take(&mut self.learned);
        }
    }
}

/// Whether the time of change of an entry that was just changed can be taken for one that the next change will move on.
fn tells_changes(now: &Meta) -> bool {
    now.ctime.nsec != 0 && now.ctime != now.mtime
}

/// The hash of a pair; `what` is remembered of it.
fn pair(left: &Meta, right: &Meta, what: u8) -> u128 {
    let mut bytes = [0; 42];
    let (one, two) = bytes.split_at_mut(21);
    for (part, meta, what) in [(one, left, left.kind.letter()), (two, right, what)] {
        part[..8].copy_from_slice(&meta.ino.to_le_bytes());
        part[8..16].copy_from_slice(&meta.ctime.sec.to_le_bytes());
        part[16..20].copy_from_slice(&meta.ctime.nsec.to_le_bytes());
        part[20] = what;
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    u128::from_le_bytes(hash)
}

/// The digest of everything that must be the same for a set to mean anything.
fn about(sides: [(&PathBuf, &OwnedFd); 2], options: &Options) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(seen::MAGIC);
    for (path, fd) in sides {
        field(path.as_os_str().as_bytes());
        let id = identity::of_fd(fd)?;
        for number in [id.ino, id.fsid, id.fs_type] {
            field(&number.to_le_bytes());
        }
        for name in [c"user.decamp", c"trusted.decamp", CAPABILITY, ACL_ACCESS, ACL_DEFAULT] {
            let refusal = xattr::refusal(Target::Fd(fd.as_fd()), name);
            field(&refusal.map_or(0, rustix::io::Errno::raw_os_error).to_le_bytes());
        }
    }
    for loss in [Loss::Xattr, Loss::Acl, Loss::Capability] {
        field(&[u8::from(options.accept.contains(&loss))]);
    }
    field(&rustix::process::geteuid().as_raw().to_le_bytes());
    field(&rustix::thread::capabilities(None)?.effective.bits().to_le_bytes());
    field(fs::read_link("/proc/self/ns/user")?.as_os_str().as_bytes());
    Ok(*hasher.finalize().as_bytes())
}

/// The time so long ago.
fn before_now(ago: Duration) -> Stamp {
    let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    Stamp { sec: i64::try_from(then.as_secs()).unwrap_or_default(), nsec: then.subsec_nanos() }
}

fn tell(work: &Work<'_>, text: &str) {
    work.progress.event(Event::Notice { path: b"", text });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::sys::sample::meta;

    fn same(left: &Meta, right: &Meta) -> u128 {
        pair(left, right, right.kind.letter())
    }

    #[test]
    fn a_pair_is_another_one_as_soon_as_anything_of_it_is() {
        let (left, right) = (meta(Kind::File), Meta { ino: 3, ..meta(Kind::File) });
        let changes: [fn(&mut Meta); 4] =
            [|m| m.ino += 9, |m| m.ctime.sec -= 1, |m| m.ctime.nsec += 1, |m| m.kind = Kind::Link];
        let mut seen = vec![same(&left, &right), same(&right, &left)];
        for change in changes {
            let (mut one, mut two) = (left, right);
            change(&mut one);
            change(&mut two);
            seen.extend([same(&one, &right), same(&left, &two), same(&one, &two)]);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 14);
        assert!(!seen.contains(&pair(&left, &right, NAMES)));
        // Everything else is compared each time.
        assert_eq!(same(&Meta { mode: 0, uid: 0, dev: 9, ..left }, &right), same(&left, &right));
    }

    #[test]
    fn times_that_tell_no_change_are_not_taken_for_such() {
        let fine = meta(Kind::File);
        assert!(tells_changes(&fine));
        assert!(!tells_changes(&Meta { ctime: Stamp { nsec: 0, ..fine.ctime }, ..fine }), "whole seconds");
        assert!(!tells_changes(&Meta { ctime: fine.mtime, ..fine }), "only one time is kept");
    }

    #[test]
    fn only_pairs_of_the_roots_own_devices_count() {
        let recall = Recall {
            dir: PathBuf::new(),
            about: [0; 32],
            devices: (1, 7),
            local: true,
            settled: Stamp { sec: 3, nsec: 5 },
            former: Former::default(),
            fresh: Fresh::default(),
            made: AtomicBool::new(false),
        };
        let (left, right) = (meta(Kind::File), Meta { dev: 7, ..meta(Kind::File) });
        assert!(recall.hash(&left, &right).is_some());
        assert_eq!(recall.hash(&left, &left), None);
        assert_eq!(recall.hash(&right, &right), None);
        let dirs = [left, right].map(|meta| Meta { kind: Kind::Dir, ..meta });
        assert!(recall.names_hash(&dirs[0], &dirs[1]).is_some());
        assert_eq!(recall.names_hash(&left, &right), None, "files have no names in them");
        assert_eq!(recall.names_hash(&dirs[0], &dirs[0]), None);
        let far = Recall {
            local: false,
            former: Former::default(),
            fresh: Fresh::default(),
            made: AtomicBool::new(false),
            dir: PathBuf::new(),
            ..recall
        };
        assert_eq!(far.names_hash(&dirs[0], &dirs[1]), None, "a listing is faster there");
        assert!(far.hash(&left, &right).is_some());
        let recall = far;
        assert!(!recall.is_settled(&left));
        assert!(recall.is_settled(&Meta { ctime: Stamp { sec: 3, nsec: 4 }, ..left }));
    }
}
