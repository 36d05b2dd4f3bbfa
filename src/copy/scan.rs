//! What a tree holds: counts, sizes, what is special about it, and its digest.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::io::Errno;

use super::children::{Child, Children};
use super::claim;
use super::digest::{Fields, Sum};
use super::dir::{Budget, Dir, Pair};
use super::end::{End, EndDir};
use super::far::words::LIST;
use super::filter::Filter;
use super::hand::count_kind;
use super::identity::open_root;
use super::listing::{Buffer, Listing};
use super::options::{Loss, ScanOptions};
use super::pool::{self, Job};
use super::report::Scan;
use super::side::{self, Reader, Seen, Unread, Voice, look};
use super::sys::xattr::{self, Xattrs};
use super::sys::{self, Kind, Meta};
use super::{Error, Work};
use crate::progress::Event;

/// So many entries a quick scan looks at: it is about those trees that have no more that their bytes tell best how far
/// a copy has got.
pub const QUICK: u64 = 10_000;

/// Counts and digests the tree at `root`; reads only. Access times stay where the user may ask for that.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::BadMarker`], [`Error::Cancelled`], [`Error::Io`].
pub fn scan(root: &Path, options: &ScanOptions, work: &Work) -> Result<Scan, Error> {
    let began = Instant::now();
    let bytes = root.as_os_str().as_bytes();
    let fd = open_root(root)?;
    claim::check(&fd, bytes, &options.exclude)?;
    let meta = sys::stat_fd(&fd).map_err(Error::io("stat", bytes))?;
    let mut groups = rustix::process::getgroups().map_err(Error::io("ask for the groups of the user for", bytes))?;
    groups.push(rustix::process::getegid());
    let done = AtomicU64::new(0);
    let job = Scanning {
        options,
        work,
        root: meta,
        user: rustix::process::geteuid().as_raw(),
        groups: groups.iter().map(|group| group.as_raw()).collect(),
        fields: Fields::without(&std::collections::BTreeSet::new()),
        seen: Seen::default(),
        looked: AtomicU64::new(0),
        done: &done,
        total: Mutex::default(),
    };
    work.progress.event(Event::Phase("scan"));
    let budget = Budget::of_process();
    let first = Dir::new(None, c"".into(), (Some(meta), None), Pair::new(Some(EndDir::Here(fd)), None, &budget), 0);
    pool::run(&job, first, &budget, work, options.jobs, &done)?;
    let (mut scan, sum) = job.total.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !options.quick {
        scan.digest = sum.to_hex();
    }
    scan.elapsed = began.elapsed();
    Ok(scan)
}

struct Scanning<'a> {
    options: &'a ScanOptions,
    work: &'a Work<'a>,
    root: Meta,
    user: u32,
    groups: Vec<u32>,
    fields: Fields,
    seen: Seen,
    looked: AtomicU64,
    done: &'a AtomicU64,
    total: Mutex<(Scan, Sum)>,
}

struct Scanner<'a> {
    scan: Scan,
    sum: Sum,
    voice: Voice<'a>,
    reader: Reader,
    buffer: Buffer,
    listing: Listing,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Cursor {
    begun: bool,
}

impl<'a> Job for Scanning<'a> {
    type Worker = Scanner<'a>;
    type Cursor = Cursor;
    type Part = ();

    fn worker(&self) -> Scanner<'a> {
        Scanner {
            scan: Scan::default(),
            sum: Sum::default(),
            voice: Voice::new(self.work, self.done),
            reader: Reader::default(),
            buffer: Buffer::default(),
            listing: Listing::default(),
            scratch: Vec::new(),
        }
    }

    fn open(&self, worker: &mut Scanner<'a>, parent: &Arc<Dir>, child: Child) -> Result<Option<Arc<Dir>>, Error> {
        let opened = parent.pair().and_then(|pair| {
            let held = pair.left().ok_or(Errno::STALE)?.dir(&child.name)?;
            let meta = held.lend().meta()?;
            Ok((Pair::new(Some(held), None, Dir::budget_of(&pair)), meta))
        });
        match opened {
            Ok((pair, meta)) => Ok(Some(Dir::new(Some(parent.clone()), child.name, (Some(meta), None), pair, 0))),
            Err(errno) => {
                worker.voice.fail(parent, child.name.to_bytes(), "open", errno);
                Ok(None)
            }
        }
    }

    fn step(
        &self,
        worker: &mut Scanner<'a>,
        dir: &Arc<Dir>,
        pair: &Pair,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Error> {
        let (Some(end), Some(meta)) = (pair.left(), &dir.left) else { return Ok(false) };
        if !std::mem::replace(&mut cursor.begun, true) {
            self.directory(worker, dir, end, meta);
        }
        if self.options.one_file_system && (meta.mount != self.root.mount || meta.dev != self.root.dev) {
            return Ok(false);
        }
        let mut listing = std::mem::take(&mut worker.listing);
        let mut filter = Filter::new(&self.options.exclude, dir, Some(end), None);
        let more = match end.list(&mut listing, &mut worker.buffer, |name, kind| filter.keeps(name, kind)) {
            Ok(more) => more,
            Err(errno) => {
                worker.voice.fail(dir, b"", "list", errno);
                false
            }
        };
        let mut path = dir.path();
        if !path.is_empty() {
            path.push(b'/');
        }
        let base = path.len();
        let mut result = Ok(());
        for item in &listing.items {
            let name = listing.name(item);
            if item.kind == Kind::Dir {
                found.push(name, 0, 0);
                continue;
            }
            path.truncate(base);
            path.extend_from_slice(name.to_bytes());
            result = if self.looks() {
                self.entry(worker, dir, end, name, &path)
            } else {
                worker.scan.names_only += 1;
                worker.voice.check().map(|()| self.count_name(worker, &path, item.kind))
            };
            if result.is_err() {
                break;
            }
        }
        worker.listing = listing;
        result.map(|()| more)
    }

    fn asks(&self, bits: u8) -> Option<u8> {
        let _ = bits;
        Some(LIST)
    }

    fn finish(&self, _: &mut Scanner<'a>, _: &Arc<Dir>, _: &Pair) -> Result<(), Error> {
        Ok(())
    }

    fn lost(&self, worker: &mut Scanner<'a>, dir: &Arc<Dir>, errno: Errno) -> Result<(), Error> {
        worker.voice.fail(dir, b"", "open again", errno);
        Ok(())
    }

    fn retire(&self, mut worker: Scanner<'a>) {
        worker.voice.tell();
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.1.merge(worker.sum);
        worker.scan.failed = worker.voice.failed;
        worker.scan.errors = worker.voice.errors;
        add(&mut total.0, worker.scan);
    }
}

impl<'a> Scanning<'a> {
    fn directory(&self, worker: &mut Scanner<'a>, dir: &Dir, end: End<'_>, meta: &Meta) {
        let path = dir.path();
        let xattrs = if self.options.xattrs {
            end.own_xattrs(&mut worker.scratch).unwrap_or_else(|errno| {
                worker.voice.fail(dir, b"", "list the attributes of", errno);
                Xattrs::new()
            })
        } else {
            Xattrs::new()
        };
        worker.scan.mounts += u64::from(meta.mount != self.root.mount);
        self.count(worker, &path, meta, &xattrs);
        worker.sum.add(&self.fields.record(&path, meta, None, &xattrs, None));
    }

    fn entry(&self, worker: &mut Scanner<'a>, dir: &Dir, end: End<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        worker.voice.check()?;
        let looked = end
            .stat(name)
            .map_err(|errno| ("stat", errno))
            .and_then(|meta| Ok((meta, look(end, name, meta.kind, self.options.xattrs, &mut worker.scratch)?)));
        let (meta, more) = match looked {
            Ok(both) => both,
            Err((op, errno)) => {
                worker.voice.fail(dir, name.to_bytes(), op, errno);
                return Ok(());
            }
        };
        self.count(worker, path, &meta, &more.xattrs);
        let mut content = None;
        if meta.kind == Kind::File && self.options.content {
            match worker.reader.digest(end, name, &mut worker.voice) {
                Ok(digest) => content = Some(digest),
                Err(Unread::Stop(error)) => return Err(error),
                Err(Unread::Left(errno) | Unread::Right(errno)) => {
                    worker.voice.fail(dir, name.to_bytes(), "read", errno);
                }
            }
        }
        let target = more.target.as_ref().map(|target| target.to_bytes());
        worker.sum.add(&self.fields.record(path, &meta, target, &more.xattrs, content.as_ref()));
        Ok(())
    }

    /// Whether the next entry is looked at.
    fn looks(&self) -> bool {
        !self.options.quick || self.looked.fetch_add(1, Ordering::Relaxed) < QUICK
    }

    /// Counts what a name and a type tell.
    fn count_name(&self, worker: &mut Scanner<'a>, path: &[u8], kind: Kind) {
        let scan = &mut worker.scan;
        count_kind(&mut scan.counts, kind);
        scan.sockets += u64::from(kind == Kind::Socket);
        scan.devices += u64::from(kind.is_device());
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        scan.longest_name = scan.longest_name.max(name.len() as u64);
        scan.longest_path = scan.longest_path.max(path.len() as u64);
        scan.odd_names += u64::from(str::from_utf8(name).is_err());
        worker.voice.advance(1, 0);
    }

    fn count(&self, worker: &mut Scanner<'a>, path: &[u8], meta: &Meta, xattrs: &Xattrs) {
        self.count_name(worker, path, meta.kind);
        let scan = &mut worker.scan;
        let first = self.seen.is_first(meta);
        if meta.kind == Kind::File {
            let disk = meta.blocks.saturating_mul(512);
            if first {
                scan.bytes += meta.size;
                scan.disk_bytes += disk;
            }
            scan.sparse += u64::from(disk < meta.size);
            scan.largest_bytes = scan.largest_bytes.max(meta.size);
        }
        scan.hardlinks += u64::from(!first);
        scan.others_owner += u64::from(meta.uid != self.user || !self.groups.contains(&meta.gid));
        scan.subsecond += u64::from(meta.mtime.nsec != 0);
        let has = |loss| u64::from(xattrs.iter().any(|(name, _)| xattr::property(name) == Some(loss)));
        scan.xattrs += has(Loss::Xattr);
        scan.acls += has(Loss::Acl);
        scan.capabilities += has(Loss::Capability);
    }
}

fn add(into: &mut Scan, from: Scan) {
    for (sum, count) in [
        (&mut into.counts.files, from.counts.files),
        (&mut into.counts.dirs, from.counts.dirs),
        (&mut into.counts.links, from.counts.links),
        (&mut into.counts.specials, from.counts.specials),
        (&mut into.bytes, from.bytes),
        (&mut into.disk_bytes, from.disk_bytes),
        (&mut into.hardlinks, from.hardlinks),
        (&mut into.sparse, from.sparse),
        (&mut into.xattrs, from.xattrs),
        (&mut into.acls, from.acls),
        (&mut into.capabilities, from.capabilities),
        (&mut into.sockets, from.sockets),
        (&mut into.devices, from.devices),
        (&mut into.others_owner, from.others_owner),
        (&mut into.subsecond, from.subsecond),
        (&mut into.odd_names, from.odd_names),
        (&mut into.mounts, from.mounts),
        (&mut into.names_only, from.names_only),
        (&mut into.failed, from.failed),
    ] {
        *sum += count;
    }
    for (most, value) in [
        (&mut into.longest_name, from.longest_name),
        (&mut into.longest_path, from.longest_path),
        (&mut into.largest_bytes, from.largest_bytes),
    ] {
        *most = (*most).max(value);
    }
    side::absorb(&mut into.errors, from.errors);
}
