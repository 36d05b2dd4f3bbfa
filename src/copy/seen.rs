//! A set of hashes that outlives the process: one file for each pair of trees, read whole, written anew by each pass.
//!
//! | bytes | are |
//! |---|---|
//! | 16 | [`MAGIC`], with the version |
//! | 32 | what the set is about; a file about anything else is foreign |
//! | 16 each | hashes, little-endian, ascending |
//! | 32 | BLAKE3 of everything before |
//!
//! The file is believed only if the sum holds, and only if nobody but its reader can have written it: so it need not be
//! synced, and what a power cut leaves of it is noticed. It takes the place of the old one by a rename. In memory a
//! hash takes 16 bytes, and one that was there before a bit more; [`MOST`] is the limit whatever the tree.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

pub(super) const MAGIC: &[u8; 16] = b"decamp seen 1\0\0\n";

/// The ending of the files.
const ENDING: &str = "seen";

/// More hashes than this are neither kept nor read.
const MOST: usize = 4 << 20;

/// Hashes are kept in pieces of so many, sorted each by itself: nothing has to be moved in order to grow.
const PIECE: usize = 64 << 10;

/// So many files are kept, and none that was not written for so long.
const FILES: usize = 64;
const AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A process that writes for longer is gone.
const UNFINISHED: Duration = Duration::from_secs(24 * 60 * 60);

const HEAD: u64 = 16 + 32;
const SUM: u64 = 32;
const BUFFER: usize = 64 << 10;

/// Why there is no former set.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("there is none")]
    Absent,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Bad(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Absent } else { Self::Io(error) }
    }
}

/// The hashes of the former pass, and which of them still hold.
#[derive(Debug, Default)]
pub(super) struct Former {
    hashes: Vec<u128>,
    /// Where the hashes begin that have the same first [`Former::bits`]: a search in all of them would wait for memory
    /// at every step.
    starts: Vec<u32>,
    /// A bit for each.
    held: Vec<AtomicU64>,
}

impl Former {
    /// Reads the file at `path`, which must be about `about`.
    pub(super) fn read(path: &Path, about: &[u8; 32]) -> Result<Self, Unread> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return Err(Unread::Bad("others could have written it"));
        }
        let body = meta.len().checked_sub(HEAD + SUM).filter(|body| body % 16 == 0);
        let count = body.and_then(|body| usize::try_from(body / 16).ok()).filter(|count| *count <= MOST);
        let Some(count) = count else { return Err(Unread::Bad("it is damaged")) };
        let mut hasher = blake3::Hasher::new();
        let mut head = [0; HEAD as usize];
        file.read_exact(&mut head)?;
        hasher.update(&head);
        if head[..16] != MAGIC[..] || head[16..] != about[..] {
            return Err(Unread::Bad("it is about something else"));
        }
        let mut hashes = Vec::with_capacity(count);
        let mut buffer = vec![0; BUFFER];
        while hashes.len() < count {
            let length = (16 * (count - hashes.len())).min(BUFFER);
            let part = &mut buffer[..length];
            file.read_exact(part)?;
            hasher.update(part);
            hashes.extend(part.as_chunks().0.iter().copied().map(u128::from_le_bytes));
        }
        let mut sum = [0; SUM as usize];
        file.read_exact(&mut sum)?;
        if hasher.finalize() != sum {
            return Err(Unread::Bad("it is damaged"));
        }
        Ok(Self::of(hashes))
    }

    /// The set of these, which are in order.
    fn of(hashes: Vec<u128>) -> Self {
        let held = (0..hashes.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let mut former = Self { hashes, starts: Vec::new(), held };
        // No more than `MOST`, which an u32 holds.
        former.starts = vec![0; (1 << former.bits()) + 1];
        for at in 0..former.hashes.len() {
            let part = former.part(former.hashes[at]);
            former.starts[part + 1] = at as u32 + 1;
        }
        let mut last = 0;
        for start in &mut former.starts {
            last = last.max(*start);
            *start = last;
        }
        former
    }

    /// As many bits as leave a few hashes to each part.
    fn bits(&self) -> u32 {
        (self.hashes.len() / 4).checked_ilog2().unwrap_or(0)
    }

    fn part(&self, hash: u128) -> usize {
        hash.checked_shr(u128::BITS - self.bits()).unwrap_or(0) as usize
    }

    /// Whether the hash is in the set; if so, it is so in the next one.
    pub(super) fn has(&self, hash: u128) -> bool {
        let part = self.part(hash);
        let Some(&[start, end]) = self.starts.get(part..).and_then(<[u32]>::first_chunk) else { return false };
        let (start, end) = (start as usize, end as usize);
        let Some(at) = self.hashes[start..end].iter().position(|known| *known == hash) else { return false };
        let at = start + at;
        self.held[at / 64].fetch_or(1 << (at % 64), Ordering::Relaxed);
        true
    }

    /// Whether all of it still holds.
    fn is_whole(&self) -> bool {
        let held: u32 = self.held.iter().map(|bits| bits.load(Ordering::Relaxed).count_ones()).sum();
        held as usize == self.hashes.len()
    }

    fn held(&self) -> impl Iterator<Item = u128> {
        let is_held = |at: usize| self.held[at / 64].load(Ordering::Relaxed) & (1 << (at % 64)) != 0;
        self.hashes.iter().enumerate().filter(move |(at, _)| is_held(*at)).map(|(_, hash)| *hash)
    }
}

/// Hashes that this pass adds.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<Vec<Vec<u128>>>);

impl Fresh {
    /// Takes what a worker has collected.
    pub(super) fn take(&self, from: &mut Vec<u128>) {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in from.drain(..) {
            if pieces.last().is_none_or(|piece| piece.len() == PIECE) {
                if pieces.len() * PIECE >= MOST {
                    return;
                }
                pieces.push(Vec::with_capacity(PIECE));
            }
            if let Some(piece) = pieces.last_mut() {
                piece.push(hash);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn sorted(&self) -> Vec<Vec<u128>> {
        let mut pieces = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        pieces.iter_mut().for_each(|piece| piece.sort_unstable());
        pieces
    }
}

/// What is sorted in parts, in order and each once.
struct Merged<'a> {
    parts: Vec<Box<dyn Iterator<Item = u128> + 'a>>,
    next: BinaryHeap<Reverse<(u128, usize)>>,
    last: Option<u128>,
}

impl<'a> Merged<'a> {
    fn new(mut parts: Vec<Box<dyn Iterator<Item = u128> + 'a>>) -> Self {
        let firsts = parts.iter_mut().enumerate();
        let next = firsts.filter_map(|(at, part)| Some(Reverse((part.next()?, at)))).collect();
        Self { parts, next, last: None }
    }
}

impl Iterator for Merged<'_> {
    type Item = u128;

    fn next(&mut self) -> Option<u128> {
        loop {
            let Reverse((hash, at)) = self.next.pop()?;
            self.next.extend(self.parts[at].next().map(|next| Reverse((next, at))));
            if self.last.replace(hash) != Some(hash) {
                return Some(hash);
            }
        }
    }
}

/// Writes what still holds of the former set, and what was added, to `path`.
pub(super) fn write(path: &Path, about: &[u8; 32], former: &Former, fresh: &Fresh) -> io::Result<()> {
    // The file as it is, and its time, by which it is kept. If that cannot be, it is written.
    if fresh.is_empty()
        && former.is_whole()
        && !former.hashes.is_empty()
        && File::open(path).is_ok_and(|file| file.set_modified(SystemTime::now()).is_ok())
    {
        return Ok(());
    }
    let mut parts: Vec<Box<dyn Iterator<Item = u128> + '_>> = vec![Box::new(former.held())];
    for piece in fresh.sorted() {
        parts.push(Box::new(piece.into_iter()));
    }
    // Another process may write the same one, even one of the same number in another container.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let temp = path.with_extension(format!("{:x}-{now:x}.tmp", std::process::id()));
    let written = write_new(&temp, about, Merged::new(parts)).and_then(|()| fs::rename(&temp, path));
    if written.is_err() {
        fs::remove_file(&temp).ok();
    }
    written
}

fn write_new(path: &Path, about: &[u8; 32], hashes: impl Iterator<Item = u128>) -> io::Result<()> {
    let mut out =
        BufWriter::with_capacity(BUFFER, OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?);
    let mut hasher = blake3::Hasher::new();
    let mut put = |out: &mut BufWriter<File>, bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)
    };
    put(&mut out, MAGIC)?;
    put(&mut out, about)?;
    for hash in hashes.take(MOST) {
        put(&mut out, &hash.to_le_bytes())?;
    }
    out.write_all(hasher.finalize().as_bytes())?;
    out.flush()
}

/// The name of the file about `about`.
pub(super) fn name(about: &[u8; 32]) -> String {
    let digits: String = about[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}.{ENDING}")
}

/// Removes the files of `dir` that are too many or too old. What cannot be removed stays: it takes room and no more.
pub(super) fn tidy(dir: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // Removed meanwhile by another process that tidies up.
        let Ok(written) = fs::symlink_metadata(&path).and_then(|meta| meta.modified()) else { continue };
        let age = now.duration_since(written).unwrap_or_default();
        let ending = path.extension().unwrap_or_default();
        if ending == ENDING && age < AGE {
            files.push((age, path));
        } else if ending == ENDING || ending == "tmp" && age > UNFINISHED {
            fs::remove_file(&path).ok();
        }
    }
    files.sort();
    for (_, path) in files.iter().skip(FILES) {
        fs::remove_file(path).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ABOUT: [u8; 32] = [7; 32];

    fn fresh(hashes: impl IntoIterator<Item = u128>) -> Fresh {
        let fresh = Fresh::default();
        fresh.take(&mut hashes.into_iter().collect());
        fresh
    }

    /// In no order.
    fn scattered(count: u128) -> impl Iterator<Item = u128> {
        (0..count).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    #[test]
    fn what_holds_and_what_is_new_is_read_back_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        assert!(matches!(Former::read(&path, &ABOUT), Err(Unread::Absent)));
        let many = 2 * PIECE as u128 + 100;
        write(&path, &ABOUT, &Former::default(), &fresh(scattered(many).chain(scattered(many)))).unwrap();
        let former = Former::read(&path, &ABOUT).unwrap();
        assert_eq!(former.hashes.len() as u128, many);
        assert!(former.hashes.is_sorted());
        assert!(scattered(many).step_by(2).all(|hash| former.has(hash)));
        assert!(!former.has(1));
        write(&path, &ABOUT, &former, &fresh([1, 2, 1])).unwrap();
        let former = Former::read(&path, &ABOUT).unwrap();
        assert!(former.has(1) && former.has(2) && scattered(many).step_by(2).all(|hash| former.has(hash)));
        assert_eq!(former.hashes.len() as u128, many.div_ceil(2) + 2, "what was not confirmed is forgotten");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn what_is_found_is_what_is_there() {
        for count in [0, 1, 2, 3, 9, 1_000, 70_000] {
            let mut hashes: Vec<u128> = scattered(count).collect();
            // Some that share their first bits.
            hashes.extend((0..count).map(|number| u128::MAX - number));
            hashes.sort_unstable();
            hashes.dedup();
            let former = Former::of(hashes.clone());
            assert!(hashes.iter().all(|hash| former.has(*hash)), "{count}");
            assert!(former.is_whole(), "{count}");
            let others = hashes.iter().map(|hash| hash ^ 1 << 70).filter(|other| hashes.binary_search(other).is_err());
            assert!(others.chain([7, u128::MAX / 3]).all(|other| !former.has(other)), "{count}");
        }
    }

    #[test]
    fn what_has_not_changed_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        write(&path, &ABOUT, &Former::default(), &fresh(scattered(100))).unwrap();
        let old = SystemTime::now() - AGE;
        File::open(&path).unwrap().set_modified(old).unwrap();
        let before = path.metadata().unwrap();
        let former = Former::read(&path, &ABOUT).unwrap();
        assert!(scattered(100).all(|hash| former.has(hash)));
        write(&path, &ABOUT, &former, &Fresh::default()).unwrap();
        let now = path.metadata().unwrap();
        assert_eq!(now.ino(), before.ino());
        assert!(now.modified().unwrap() > old, "it is in use");
        write(&path, &ABOUT, &former, &fresh([1])).unwrap();
        assert_eq!(Former::read(&path, &ABOUT).unwrap().hashes.len(), 101);
        let former = Former::read(&path, &ABOUT).unwrap();
        assert!(former.has(1));
        write(&path, &ABOUT, &former, &Fresh::default()).unwrap();
        assert_eq!(Former::read(&path, &ABOUT).unwrap().hashes, [1]);
    }

    #[test]
    fn any_changed_bit_and_any_lost_end_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        write(&path, &ABOUT, &Former::default(), &fresh(scattered(20))).unwrap();
        let good = fs::read(&path).unwrap();
        let is_bad = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            matches!(Former::read(&path, &ABOUT), Err(Unread::Bad(_)))
        };
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(is_bad(&bytes), "byte {at}");
            assert!(is_bad(&good[..at]), "{at} bytes");
        }
        assert!(is_bad(&[&good[..], &[0; 16]].concat()));
        assert!(!is_bad(&good));
        assert!(matches!(Former::read(&path, &[8; 32]), Err(Unread::Bad(_))), "about something else");
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        write(&path, &ABOUT, &Former::default(), &fresh([1])).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        for mode in [0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Former::read(&path, &ABOUT), Err(Unread::Bad(_))), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Former::read(&link, &ABOUT), Err(Unread::Io(_))));
        assert!(Former::read(&path, &ABOUT).is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4_321), None).unwrap();
            assert!(matches!(Former::read(&path, &ABOUT), Err(Unread::Bad(_))));
        }
    }

    #[test]
    fn there_is_a_most() {
        let all = Fresh::default();
        for start in 0..(MOST / PIECE) as u128 + 1 {
            all.take(&mut (start * PIECE as u128..(start + 1) * PIECE as u128).collect());
        }
        assert_eq!(all.sorted().iter().map(Vec::len).sum::<usize>(), MOST);
    }
}
