//! How options and reports are written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::copy::error::EntryError;
use crate::copy::exclude::Exclude;
use crate::copy::far::errors::{text, word};
use crate::copy::far::words::corrupt;
use crate::copy::identity::RootId;
use crate::copy::options::{CompareOptions, Content, Equality, Foreign, Loss, MaxDelete, Options, ScanOptions};
use crate::copy::report::{Comparison, Counts, Difference, Effort, NAMED, Report, Side, Undone};
use crate::progress::Held;
use crate::rate::Rate;
use crate::units::Bytes;
use crate::wire::{Broken, Put, Take};

pub(super) fn put_path(put: &mut Put, path: &Path) {
    put.bytes(path.as_os_str().as_bytes());
}

pub(super) fn path(take: &mut Take<'_>) -> Result<PathBuf, Broken> {
    Ok(PathBuf::from(OsStr::from_bytes(take.bytes()?)))
}

pub(super) fn put_optional<T>(put: &mut Put, value: Option<T>, write: impl FnOnce(&mut Put, T)) {
    put.flag(value.is_some());
    if let Some(value) = value {
        write(put, value);
    }
}

pub(super) fn optional<T>(
    take: &mut Take<'_>,
    read: impl FnOnce(&mut Take<'_>) -> Result<T, Broken>,
) -> Result<Option<T>, Broken> {
    if take.flag()? { read(take).map(Some) } else { Ok(None) }
}

pub(super) fn put_root(put: &mut Put, id: &RootId) {
    put.bytes(id.to_string().as_bytes());
}

pub(super) fn root(take: &mut Take<'_>) -> Result<RootId, Broken> {
    text(take)?.parse().map_err(|_| corrupt("an identity that is none"))
}

fn put_common(put: &mut Put, exclude: &Exclude, one: bool, accept: &BTreeSet<Loss>, jobs: Option<NonZeroUsize>) {
    put.number(exclude.patterns().len() as u64);
    for pattern in exclude.patterns() {
        put.bytes(pattern.as_bytes());
    }
    put.flag(one).number(accept.len() as u64);
    for loss in accept {
        put.bytes(loss.name().as_bytes());
    }
    put.number(jobs.map_or(0, NonZeroUsize::get) as u64);
}

type Common = (Exclude, bool, BTreeSet<Loss>, Option<NonZeroUsize>);

fn common(take: &mut Take<'_>) -> Result<Common, Broken> {
    let mut patterns = Vec::new();
    for _ in 0..take.small::<u16>()? {
        patterns.push(text(take)?);
    }
    let exclude = Exclude::parse(&patterns).map_err(|error| corrupt(error.to_string()))?;
    let one = take.flag()?;
    let mut accept = BTreeSet::new();
    for _ in 0..take.small::<u8>()? {
        accept.insert(Loss::from_name(&text(take)?).ok_or_else(|| corrupt("a loss that is none"))?);
    }
    Ok((exclude, one, accept, NonZeroUsize::new(take.small::<u32>()? as usize)))
}

/// The rate as it is now: when it changes, that is told apart.
pub(super) fn put_options(put: &mut Put, options: &Options) {
    put_common(put, &options.exclude, options.one_file_system, &options.accept, options.jobs);
    put.flag(options.delete).flag(options.more_follow).flag(options.dry_run);
    match options.max_delete {
        MaxDelete::Count(count) => put.byte(0).number(count),
        MaxDelete::Percent(percent) => put.byte(1).number(percent.into()),
    };
    put.flag(options.equality == Equality::Content);
    match &options.foreign {
        Foreign::Refuse => {
            put.byte(0);
        }
        Foreign::Allow => {
            put.byte(1);
        }
        Foreign::Backup(dir) => put_path(put.byte(2), dir),
    }
    put_optional(put, options.expect.as_ref(), |put, (left, right)| {
        put_root(put, left);
        put_root(put, right);
    });
    for size in [options.big_file, options.rate.limit()] {
        put_optional(put, size, |put, Bytes(size)| {
            put.number(size);
        });
    }
}

pub(super) fn options(take: &mut Take<'_>, rate: Rate) -> Result<Options, Broken> {
    let (exclude, one_file_system, accept, jobs) = common(take)?;
    let (delete, more_follow, dry_run) = (take.flag()?, take.flag()?, take.flag()?);
    let max_delete = match (take.byte()?, take.number()?) {
        (0, count) => MaxDelete::Count(count),
        (_, percent) => MaxDelete::Percent(percent.min(100) as u8),
    };
    let equality = if take.flag()? { Equality::Content } else { Equality::Meta };
    let foreign = match take.byte()? {
        0 => Foreign::Refuse,
        1 => Foreign::Allow,
        _ => Foreign::Backup(path(take)?),
    };
    let expect = optional(take, |take| Ok((root(take)?, root(take)?)))?;
    let big_file = optional(take, |take| Ok(Bytes(take.number()?)))?;
    rate.set(optional(take, |take| Ok(Bytes(take.number()?)))?);
    Ok(Options {
        delete,
        max_delete,
        more_follow,
        exclude,
        one_file_system,
        equality,
        accept,
        jobs,
        foreign,
        dry_run,
        expect,
        big_file,
        rate,
        recall: None,
    })
}

pub(super) fn put_compare(put: &mut Put, options: &CompareOptions) {
    put_common(put, &options.exclude, options.one_file_system, &options.accept, options.jobs);
    put.byte(match options.content {
        Content::None => 0,
        Content::Sample(percent) => percent.clamp(1, 100),
        Content::Full => 101,
    });
}

pub(super) fn compare(take: &mut Take<'_>) -> Result<CompareOptions, Broken> {
    let (exclude, one_file_system, accept, jobs) = common(take)?;
    let content = match take.byte()? {
        0 => Content::None,
        percent @ 1..=100 => Content::Sample(percent),
        _ => Content::Full,
    };
    Ok(CompareOptions { content, exclude, one_file_system, accept, jobs })
}

pub(super) fn put_scan(put: &mut Put, options: &ScanOptions) {
    put_common(put, &options.exclude, options.one_file_system, &BTreeSet::new(), options.jobs);
    put.flag(options.content).flag(options.xattrs).flag(options.quick);
}

pub(super) fn scan(take: &mut Take<'_>) -> Result<ScanOptions, Broken> {
    let (exclude, one_file_system, _, jobs) = common(take)?;
    let (content, xattrs, quick) = (take.flag()?, take.flag()?, take.flag()?);
    Ok(ScanOptions { content, xattrs, quick, exclude, one_file_system, jobs })
}

pub(super) fn put_counts(put: &mut Put, counts: &Counts) {
    put.number(counts.files).number(counts.dirs).number(counts.links).number(counts.specials);
}

pub(super) fn counts(take: &mut Take<'_>) -> Result<Counts, Broken> {
    Ok(Counts { files: take.number()?, dirs: take.number()?, links: take.number()?, specials: take.number()? })
}

pub(super) fn put_errors(put: &mut Put, errors: &[EntryError]) {
    // A path may be long; of very long ones not all fit into one message.
    let mut room = 1 << 20;
    let fitting = errors.iter().take(NAMED).take_while(|error| {
        room -= (error.path.len() + error.reason.len() + 200) as i64;
        room > 0
    });
    let fitting: Vec<_> = fitting.collect();
    put.number(fitting.len() as u64);
    for EntryError { path, op, reason } in fitting {
        put.bytes(path).bytes(op.as_bytes()).bytes(reason.as_bytes());
    }
}

pub(super) fn errors(take: &mut Take<'_>) -> Result<Vec<EntryError>, Broken> {
    let mut errors = Vec::new();
    for _ in 0..take.small::<u16>()? {
        errors.push(EntryError { path: take.bytes()?.to_vec(), op: word(&text(take)?), reason: text(take)? });
    }
    Ok(errors)
}

pub(super) fn put_time(put: &mut Put, span: Duration) {
    put.number(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
}

pub(super) fn time(take: &mut Take<'_>) -> Result<Duration, Broken> {
    Ok(Duration::from_micros(take.number()?))
}

const HELD: [Held; 4] = [Held::Given, Held::NoGain, Held::Limit, Held::Idle];

pub(super) fn put_held(put: &mut Put, held: Option<Held>) {
    let number = held.and_then(|held| HELD.iter().position(|other| *other == held));
    put.number(number.map_or(0, |number| number + 1) as u64);
}

pub(super) fn held(take: &mut Take<'_>) -> Result<Option<Held>, Broken> {
    Ok(take.small::<usize>()?.checked_sub(1).and_then(|number| HELD.get(number)).copied())
}

/// The plain numbers of a report, in one order for both ways.
fn numbers(report: &mut Report) -> [&mut u64; 13] {
    [
        &mut report.updated,
        &mut report.meta_updated,
        &mut report.unchanged,
        &mut report.deleted,
        &mut report.backed_up,
        &mut report.foreign,
        &mut report.skipped,
        &mut report.vanished,
        &mut report.changed,
        &mut report.failed,
        &mut report.listed_bytes,
        &mut report.copied_bytes,
        &mut report.dest_entries,
    ]
}

pub(super) fn put_report(put: &mut Put, mut report: Report) {
    put_counts(put, &report.listed);
    put_counts(put, &report.created);
    for number in numbers(&mut report) {
        put.number(*number);
    }
    put_errors(put, &report.errors);
    put_time(put, report.elapsed);
    put.flag(report.planned).number(report.effort.operations);
    put_time(put, report.effort.elapsed);
    put.number(report.effort.workers as u64).number(report.effort.most_workers as u64);
    put_held(put, report.effort.held);
}

pub(super) fn report(take: &mut Take<'_>) -> Result<Report, Broken> {
    let mut report = Report { listed: counts(take)?, created: counts(take)?, ..Report::default() };
    for number in numbers(&mut report) {
        *number = take.number()?;
    }
    report.errors = errors(take)?;
    report.elapsed = time(take)?;
    report.planned = take.flag()?;
    let (operations, elapsed) = (take.number()?, time(take)?);
    let (workers, most_workers) = (take.small::<u32>()? as usize, take.small::<u32>()? as usize);
    report.effort = Effort { operations, elapsed, workers, most_workers, held: held(take)? };
    Ok(report)
}

fn put_side(put: &mut Put, side: &Side) {
    put_counts(put, &side.counts);
    put.number(side.bytes).bytes(side.digest.as_bytes());
}

fn side(take: &mut Take<'_>) -> Result<Side, Broken> {
    Ok(Side { counts: counts(take)?, bytes: take.number()?, digest: text(take)? })
}

pub(super) fn put_comparison(put: &mut Put, found: &Comparison) {
    put_side(put, &found.left);
    put_side(put, &found.right);
    put.number(found.differences).number(found.content_files).number(found.content_bytes).number(found.failed);
    let mut room = 700 << 10;
    let fitting = found.named.iter().take_while(|named| {
        room -= (named.path.len() + named.detail.len() + 40) as i64;
        room > 0
    });
    let fitting: Vec<_> = fitting.collect();
    put.number(fitting.len() as u64);
    for Difference { path, what, detail } in fitting {
        put.bytes(path).bytes(what.as_bytes()).bytes(detail.as_bytes());
    }
    put_errors(put, &found.errors);
    put_time(put, found.elapsed);
}

pub(super) fn comparison(take: &mut Take<'_>) -> Result<Comparison, Broken> {
    let (left, right) = (side(take)?, side(take)?);
    let (differences, content_files) = (take.number()?, take.number()?);
    let (content_bytes, failed) = (take.number()?, take.number()?);
    let mut named = Vec::new();
    for _ in 0..take.small::<u16>()? {
        named.push(Difference { path: take.bytes()?.to_vec(), what: word(&text(take)?), detail: text(take)? });
    }
    let (errors, elapsed) = (errors(take)?, time(take)?);
    Ok(Comparison { left, right, differences, named, content_files, content_bytes, failed, errors, elapsed })
}

pub(super) fn put_undone(put: &mut Put, undone: &Undone) {
    put.number(undone.removed).number(undone.restored).number(undone.meta_restored).number(undone.left);
    put.number(undone.failed);
    let mut room = 700 << 10;
    let fitting = undone.named.iter().take_while(|(path, reason)| {
        room -= (path.len() + reason.len() + 20) as i64;
        room > 0
    });
    let fitting: Vec<_> = fitting.collect();
    put.number(fitting.len() as u64);
    for (path, reason) in fitting {
        put.bytes(path).bytes(reason.as_bytes());
    }
    put_errors(put, &undone.errors);
}

pub(super) fn undone(take: &mut Take<'_>) -> Result<Undone, Broken> {
    let (removed, restored, meta_restored) = (take.number()?, take.number()?, take.number()?);
    let (left, failed) = (take.number()?, take.number()?);
    let mut named = Vec::new();
    for _ in 0..take.small::<u16>()? {
        named.push((take.bytes()?.to_vec(), text(take)?));
    }
    Ok(Undone { removed, restored, meta_restored, left, named, failed, errors: errors(take)? })
}
