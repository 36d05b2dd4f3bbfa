//! Whether two trees are the same, in every property and in content.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::children::{Child, Children};
use super::claim;
use super::decide::Rules;
use super::differ::differ;
use super::digest::{Fields, Sum};
use super::dir::{Dir, Pair};
use super::end::End;
use super::far::words::LIST;
use super::filter::Filter;
use super::hand::count_kind;
use super::identity::open_root;
use super::listing::{Buffer, Listing};
use super::options::{CompareOptions, Content, Loss};
use super::origin::Origin;
use super::pool::{self, Job};
use super::report::{Comparison, NAMED, Side};
use super::side::{self, More, Reader, Seen, Unread, Voice, look};
use super::sys::{self, Kind, Meta};
use super::{Error, Work, far};
use crate::progress::Event;

const LEFT: u8 = 1;
const RIGHT: u8 = 2;

/// Compares the trees at `left` and `right`; reads only. Properties whose loss is accepted need not agree and are in
/// neither digest.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::BadMarker`], [`Error::Cancelled`], [`Error::Io`].
pub fn compare(left: &Path, right: &Path, options: &CompareOptions, work: &Work) -> Result<Comparison, Error> {
    let fd = open_root(left)?;
    claim::check(&fd, left.as_os_str().as_bytes(), &options.exclude)?;
    compared(&Origin::Here { path: left, fd }, right, options, work)
}

/// As [`compare()`], with a left side at another place: content is digested where it is.
///
/// # Errors
/// As [`compare()`], and [`Error::Apart`].
pub fn compare_from(
    left: &far::Source,
    right: &Path,
    options: &CompareOptions,
    work: &Work,
) -> Result<Comparison, Error> {
    compared(&Origin::Far(left), right, options, work).map_err(|error| left.or_lost(error))
}

fn compared(left: &Origin<'_>, right: &Path, options: &CompareOptions, work: &Work) -> Result<Comparison, Error> {
    let began = Instant::now();
    let right_fd = open_root(right)?;
    claim::check(&right_fd, right.as_os_str().as_bytes(), &options.exclude)?;
    let right_meta = sys::stat_fd(&right_fd).map_err(Error::io("stat", right.as_os_str().as_bytes()))?;
    let left_meta = left.meta()?;
    let done = AtomicU64::new(0);
    let job = Comparing {
        options,
        work,
        roots: [left_meta, right_meta],
        rules: Rules::accepting(&options.accept),
        fields: Fields::without(&options.accept),
        seen: [Seen::default(), Seen::default()],
        groups: Mutex::default(),
        done: &done,
        total: Mutex::default(),
    };
    work.progress.event(Event::Phase("verify"));
    let budget = left.budget();
    let pair = Pair::new(Some(left.open(0)?), Some(right_fd), &budget);
    let first = Dir::new(None, c"".into(), (Some(left_meta), Some(right_meta)), pair, 0);
    pool::run(&job, first, &budget, work, options.jobs, &done)?;
    // What could not be read because the other end is gone is no difference.
    left.far().and_then(far::Source::lost).map_or(Ok(()), Err)?;
    let (mut report, sums) = job.total.into_inner().unwrap_or_else(PoisonError::into_inner);
    [report.left.digest, report.right.digest] = sums.map(Sum::to_hex);
    report.elapsed = began.elapsed();
    Ok(report)
}

/// Device and inode.
type Id = (u64, u64);

/// Hard-link groups that were met, each way; and the digest of what is known to be equal in both.
#[derive(Default)]
struct Groups {
    rights: HashMap<Id, Id>,
    lefts: HashMap<Id, Id>,
    equal: HashMap<(Id, Id), [u8; 32]>,
}

pub(super) struct Comparing<'a> {
    options: &'a CompareOptions,
    work: &'a Work<'a>,
    roots: [Meta; 2],
    pub(super) rules: Rules,
    fields: Fields,
    seen: [Seen; 2],
    groups: Mutex<Groups>,
    done: &'a AtomicU64,
    total: Mutex<(Comparison, [Sum; 2])>,
}

pub(super) struct Comparer<'a> {
    pub(super) report: Comparison,
    sums: [Sum; 2],
    voice: Voice<'a>,
    reader: Reader,
    buffer: Buffer,
    scratch: Vec<u8>,
}

/// How far a directory has got.
#[derive(Default)]
pub(super) struct Cursor {
    stage: Stage,
    /// The right side's names, their order, and which were met on the left; `None` if it is huge.
    right: Option<(Listing, Vec<u32>, Vec<bool>)>,
    left: Listing,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Start,
    Left,
    Rest,
}

/// One entry's place.
struct Place<'p> {
    dir: &'p Dir,
    name: &'p CStr,
    path: &'p [u8],
}

impl<'a> Job for Comparing<'a> {
    type Worker = Comparer<'a>;
    type Cursor = Cursor;
    type Part = ();

    fn worker(&self) -> Comparer<'a> {
        Comparer {
            report: Comparison::default(),
            sums: [Sum::default(); 2],
            voice: Voice::new(self.work, self.done),
            reader: Reader::default(),
            buffer: Buffer::default(),
            scratch: Vec::new(),
        }
    }

    fn open(&self, worker: &mut Comparer<'a>, parent: &Arc<Dir>, child: Child) -> Result<Option<Arc<Dir>>, Error> {
        let opened = parent.pair().and_then(|pair| {
            let (mut left, mut right) = (None, None);
            if child.bits & LEFT != 0 {
                left = Some(pair.left().ok_or(Errno::STALE)?.dir(&child.name)?);
            }
            if child.bits & RIGHT != 0 {
                right = Some(sys::open_dir(pair.right().ok_or(Errno::STALE)?, &child.name)?);
            }
            let left_meta = left.as_ref().map(|held| held.lend().meta()).transpose()?;
            let metas = (left_meta, right.as_ref().map(sys::stat_fd).transpose()?);
            let fds = Pair::new(left, right, Dir::budget_of(&pair));
            Ok(Dir::new(Some(parent.clone()), child.name.clone(), metas, fds, 0))
        });
        match opened {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::ACCESS | Errno::PERM) if child.bits == LEFT && self.accepts(Loss::Unreadable) => Ok(None),
            Err(errno) => {
                worker.voice.fail(parent, child.name.to_bytes(), "open", errno);
                Ok(None)
            }
        }
    }

    fn step(
        &self,
        worker: &mut Comparer<'a>,
        dir: &Arc<Dir>,
        pair: &Pair,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Error> {
        match cursor.stage {
            Stage::Start => {
                self.directory(worker, dir, pair);
                cursor.stage = Stage::Left;
                if self.is_beyond(dir) {
                    return Ok(false);
                }
                if let Some(right) = pair.right() {
                    let mut listing = Listing::default();
                    if self.list(worker, dir, pair, End::Here(right), &mut listing) {
                        // Huge: names are asked for, and the listing starts again later.
                        if let Err(errno) = rustix::fs::seek(right, SeekFrom::Start(0)) {
                            worker.voice.fail(dir, b"", "list", errno);
                        }
                    } else {
                        let order = listing.by_name();
                        let met = vec![false; order.len()];
                        cursor.right = Some((listing, order, met));
                    }
                }
                Ok(true)
            }
            Stage::Left => {
                let mut more = false;
                if let Some(left) = pair.left() {
                    let mut listing = std::mem::take(&mut cursor.left);
                    more = self.list(worker, dir, pair, left, &mut listing);
                    let result = self.left_piece(worker, dir, pair, cursor, &listing, found);
                    cursor.left = listing;
                    result?;
                }
                if !more {
                    cursor.stage = Stage::Rest;
                }
                Ok(true)
            }
            Stage::Rest => self.rest(worker, dir, pair, cursor, found),
        }
    }

    fn asks(&self, bits: u8) -> Option<u8> {
        (bits & LEFT != 0).then_some(LIST)
    }

    fn finish(&self, _: &mut Comparer<'a>, _: &Arc<Dir>, _: &Pair) -> Result<(), Error> {
        Ok(())
    }

    fn lost(&self, worker: &mut Comparer<'a>, dir: &Arc<Dir>, errno: Errno) -> Result<(), Error> {
        worker.voice.fail(dir, b"", "open again", errno);
        Ok(())
    }

    fn retire(&self, mut worker: Comparer<'a>) {
        worker.voice.tell();
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let (report, sums) = &mut *total;
        for (sum, more) in sums.iter_mut().zip(worker.sums) {
            sum.merge(more);
        }
        let from = worker.report;
        for (into, from) in [(&mut report.left, &from.left), (&mut report.right, &from.right)] {
            into.counts.files += from.counts.files;
            into.counts.dirs += from.counts.dirs;
            into.counts.links += from.counts.links;
            into.counts.specials += from.counts.specials;
            into.bytes += from.bytes;
        }
        report.differences += from.differences;
        report.content_files += from.content_files;
        report.content_bytes += from.content_bytes;
        report.failed += worker.voice.failed;
        let room = NAMED.saturating_sub(report.named.len());
        report.named.extend(from.named.into_iter().take(room));
        side::absorb(&mut report.errors, worker.voice.errors);
    }
}

impl<'a> Comparing<'a> {
    pub(super) fn accepts(&self, loss: Loss) -> bool {
        self.options.accept.contains(&loss)
    }

    fn is_beyond(&self, dir: &Dir) -> bool {
        let beyond = |meta: &Option<Meta>, root: &Meta| {
            meta.as_ref().is_some_and(|meta| meta.mount != root.mount || meta.dev != root.dev)
        };
        // What is there on both sides is left out only where the left one is mounted: the right one may just be covered.
        let right = dir.left.is_none() && beyond(&dir.right, &self.roots[1]);
        self.options.one_file_system && (beyond(&dir.left, &self.roots[0]) || right)
    }

    /// Whether an entry is of a sort that a copy was allowed to leave out.
    fn is_left_out(&self, kind: Kind) -> bool {
        self.accepts(Loss::Special) && (kind == Kind::Socket || kind.is_device())
    }

    fn list(&self, worker: &mut Comparer<'a>, dir: &Dir, pair: &Pair, end: End<'_>, listing: &mut Listing) -> bool {
        let mut filter = Filter::new(&self.options.exclude, dir, pair.left(), pair.right());
        let keep = |name: &CStr, kind| filter.keeps(name, kind) && !self.is_left_out(kind);
        end.list(listing, &mut worker.buffer, keep).unwrap_or_else(|errno| {
            worker.voice.fail(dir, b"", "list", errno);
            false
        })
    }

    fn left_piece(
        &self,
        worker: &mut Comparer<'a>,
        dir: &Arc<Dir>,
        pair: &Pair,
        cursor: &mut Cursor,
        listing: &Listing,
        found: &mut Children,
    ) -> Result<(), Error> {
        let Some(left) = pair.left() else { return Ok(()) };
        let mut path = prefix(dir);
        let base = path.len();
        for item in &listing.items {
            worker.voice.check()?;
            let name = listing.name(item);
            path.truncate(base);
            path.extend_from_slice(name.to_bytes());
            let place = Place { dir, name, path: &path };
            let met = match (&mut cursor.right, pair.right()) {
                (_, None) => None,
                (Some((names, order, met)), Some(_)) => names.find(order, name.to_bytes()).map(|at| {
                    met[at] = true;
                    names.items[order[at] as usize].kind
                }),
                (None, Some(right)) => match sys::find_at(right, name) {
                    Ok(meta) => meta.map(|meta| meta.kind),
                    Err(errno) => {
                        worker.voice.fail(dir, name.to_bytes(), "stat", errno);
                        continue;
                    }
                },
            };
            match (item.kind, met) {
                (Kind::Dir, Some(Kind::Dir)) => found.push(name, LEFT | RIGHT, 0),
                (Kind::Dir, None) => found.push(name, LEFT, 0),
                (kind, Some(other)) if kind != other => {
                    let detail = format!("{} | {}", kind.word(), other.word());
                    differ(worker, &path, "type", detail);
                    for (kind, bit, index) in [(kind, LEFT, 0), (other, RIGHT, 1)] {
                        if kind == Kind::Dir {
                            found.push(name, bit, 0);
                        } else {
                            self.alone(worker, &place, pair, index, true)?;
                        }
                    }
                }
                (_, Some(_)) => {
                    if let Some(right) = pair.right() {
                        self.both(worker, &place, left, right)?;
                    }
                }
                (_, None) => self.alone(worker, &place, pair, 0, false)?,
            }
        }
        Ok(())
    }

    /// What only the right side has.
    fn rest(
        &self,
        worker: &mut Comparer<'a>,
        dir: &Arc<Dir>,
        pair: &Pair,
        cursor: &mut Cursor,
        found: &mut Children,
    ) -> Result<bool, Error> {
        let Some(right) = pair.right() else { return Ok(false) };
        let mut more = false;
        let (listing, order, met) = match cursor.right.take() {
            Some(all) => all,
            None => {
                let mut listing = Listing::default();
                more = self.list(worker, dir, pair, End::Here(right), &mut listing);
                let order: Vec<u32> = (0..listing.items.len() as u32).collect();
                let exists = |at: &u32| {
                    let name = listing.name(&listing.items[*at as usize]);
                    pair.left().is_some_and(|left| !matches!(left.find(name), Ok(None)))
                };
                let met = order.iter().map(exists).collect();
                (listing, order, met)
            }
        };
        let mut path = prefix(dir);
        let base = path.len();
        for (at, _) in order.iter().zip(&met).filter(|(_, met)| !**met) {
            worker.voice.check()?;
            let item = &listing.items[*at as usize];
            let name = listing.name(item);
            if item.kind == Kind::Dir {
                found.push(name, RIGHT, 0);
                continue;
            }
            path.truncate(base);
            path.extend_from_slice(name.to_bytes());
            self.alone(worker, &Place { dir, name, path: &path }, pair, 1, false)?;
        }
        // The next piece has to be listed, not taken from what is at hand.
        Ok(more)
    }

    /// A directory's own properties.
    fn directory(&self, worker: &mut Comparer<'a>, dir: &Dir, pair: &Pair) {
        let path = dir.path();
        let mut sides = [None, None];
        let right = pair.right().map(End::Here);
        for (index, (end, meta)) in [(pair.left(), &dir.left), (right, &dir.right)].into_iter().enumerate() {
            let (Some(end), Some(meta)) = (end, meta) else { continue };
            let xattrs = end.own_xattrs(&mut worker.scratch).unwrap_or_else(|errno| {
                worker.voice.fail(dir, b"", "list the attributes of", errno);
                Vec::new()
            });
            self.record(worker, index, &path, meta, &More { target: None, xattrs: xattrs.clone() }, None);
            sides[index] = Some((meta, More { target: None, xattrs }));
        }
        match &sides {
            [Some((left, a)), Some((right, b))] => self.properties(worker, &path, (left, a), (right, b)),
            [Some(_), None] => differ(worker, &path, "only-left", Kind::Dir.word().into()),
            [None, Some(_)] => differ(worker, &path, "only-right", Kind::Dir.word().into()),
            [None, None] => {}
        }
    }

    /// An entry that has no partner of its type.
    fn alone(
        &self,
        worker: &mut Comparer<'a>,
        place: &Place<'_>,
        pair: &Pair,
        index: usize,
        told: bool,
    ) -> Result<(), Error> {
        let Some(end) = (if index == 0 { pair.left() } else { pair.right().map(End::Here) }) else { return Ok(()) };
        let Some((meta, more)) = self.look(worker, place, end) else { return Ok(()) };
        let mut content = None;
        if meta.kind == Kind::File && self.reads(place.path) {
            match worker.reader.digest(end, place.name, &mut worker.voice) {
                Ok(digest) => content = Some(digest),
                Err(Unread::Stop(error)) => return Err(error),
                Err(Unread::Left(Errno::ACCESS | Errno::PERM)) if index == 0 && self.accepts(Loss::Unreadable) => {
                    return Ok(());
                }
                Err(Unread::Left(errno) | Unread::Right(errno)) => {
                    worker.voice.fail(place.dir, place.name.to_bytes(), "read", errno);
                }
            }
        }
        self.record(worker, index, place.path, &meta, &more, content.as_ref());
        if !told {
            let what = if index == 0 { "only-left" } else { "only-right" };
            differ(worker, place.path, what, meta.kind.word().into());
        }
        Ok(())
    }

    /// An entry, not a directory, that both sides have.
    fn both(
        &self,
        worker: &mut Comparer<'a>,
        place: &Place<'_>,
        left: End<'_>,
        right: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let (Some((a, a_more)), Some((b, b_more))) =
            (self.look(worker, place, left), self.look(worker, place, End::Here(right)))
        else {
            return Ok(());
        };
        self.properties(worker, place.path, (&a, &a_more), (&b, &b_more));
        self.group(worker, place.path, &a, &b);
        let mut content = [None, None];
        if a.kind == Kind::File && b.kind == Kind::File && self.reads(place.path) {
            let key = (a.id(), b.id());
            let known = (a.nlink > 1).then(|| self.groups().equal.get(&key).copied()).flatten();
            match known
                .map_or_else(|| worker.reader.both(left, right, place.name, &mut worker.voice), |d| Ok((d, d, 0)))
            {
                Ok((one, two, bytes)) => {
                    worker.report.content_files += 1;
                    worker.report.content_bytes += bytes;
                    if one != two && a.size == b.size {
                        differ(worker, place.path, "content", format!("{} | {}", short(&one), short(&two)));
                    }
                    if one == two && a.nlink > 1 {
                        self.groups().equal.insert(key, one);
                    }
                    content = [Some(one), Some(two)];
                }
                Err(Unread::Stop(error)) => return Err(error),
                Err(Unread::Left(errno) | Unread::Right(errno)) => {
                    worker.voice.fail(place.dir, place.name.to_bytes(), "read", errno);
                }
            }
        }
        self.record(worker, 0, place.path, &a, &a_more, content[0].as_ref());
        self.record(worker, 1, place.path, &b, &b_more, content[1].as_ref());
        Ok(())
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of one inode must be names of one inode on the other side, too, and the other way round.
    fn group(&self, worker: &mut Comparer<'a>, path: &[u8], a: &Meta, b: &Meta) {
        if self.accepts(Loss::Hardlink) || a.nlink < 2 && b.nlink < 2 {
            return;
        }
        let mut groups = self.groups();
        let right = *groups.rights.entry(a.id()).or_insert(b.id());
        let left = *groups.lefts.entry(b.id()).or_insert(a.id());
        drop(groups);
        if right != b.id() {
            differ(worker, path, "hardlink", "one file with others | a file of its own".into());
        } else if left != a.id() {
            differ(worker, path, "hardlink", "a file of its own | one file with others".into());
        }
    }

    fn look(&self, worker: &mut Comparer<'a>, place: &Place<'_>, end: End<'_>) -> Option<(Meta, More)> {
        let looked = end
            .stat(place.name)
            .map_err(|errno| ("stat", errno))
            .and_then(|meta| Ok((meta, look(end, place.name, meta.kind, true, &mut worker.scratch)?)));
        looked.map_err(|(op, errno)| worker.voice.fail(place.dir, place.name.to_bytes(), op, errno)).ok()
    }

    /// Counts an entry of one side and adds it to that side's digest.
    fn record(
        &self,
        worker: &mut Comparer<'a>,
        index: usize,
        path: &[u8],
        meta: &Meta,
        more: &More,
        content: Option<&[u8; 32]>,
    ) {
        let side: &mut Side = if index == 0 { &mut worker.report.left } else { &mut worker.report.right };
        count_kind(&mut side.counts, meta.kind);
        if meta.kind == Kind::File && self.seen[index].is_first(meta) {
            side.bytes += meta.size;
        }
        let target = more.target.as_ref().map(|target| target.to_bytes());
        worker.sums[index].add(&self.fields.record(path, meta, target, &more.xattrs, content));
        if index == 0 {
            worker.voice.advance(1, 0);
        } else {
            worker.voice.looked();
        }
    }

    /// Whether the content of the file at `path` is read.
    fn reads(&self, path: &[u8]) -> bool {
        match self.options.content {
            Content::None => false,
            Content::Full => true,
            Content::Sample(percent) => {
                let hash = blake3::hash(path);
                let (bytes, _) = hash.as_bytes().split_at(8);
                let number = bytes.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
                number % 100 < u64::from(percent)
            }
        }
    }
}

fn prefix(dir: &Dir) -> Vec<u8> {
    let mut path = dir.path();
    if !path.is_empty() {
        path.push(b'/');
    }
    path
}

fn short(digest: &[u8; 32]) -> String {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
