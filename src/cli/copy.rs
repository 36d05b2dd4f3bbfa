//! `decamp copy`: one pass by hand, without a run: nothing is journalled, nothing can be undone.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::args::{Accept, Walk, max_delete};
use super::ctx::Ctx;
use super::plain::{self, Side};
use super::reach::{Reach, is_far};
use super::signals::stop_on_signals;
use crate::copy::claim::Marker;
use crate::copy::far::Look;
use crate::copy::options::{Equality, Foreign, Loss, MaxDelete, Options, ScanOptions};
use crate::copy::report::{Probe, Report, Shortfall};
use crate::copy::{self, Work};
use crate::error::{BY_HAND, Error, Exit, Kind, cannot_hold, kind_of};
use crate::host::tree::{self, Ours, Root};
use crate::progress::{Event, Forgetful, Progress};
use crate::rate::Rate;
use crate::report::output::tell;
use crate::report::{human, json};
use crate::units::{path_text, show_count};

/// Make one directory hold what another holds, as `rsync -a A/ B/` would, and every other property too
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing of this can be undone: `decamp run move-tree` keeps a journal, checks, and can.\nWhat the \
                        destination cannot hold stops the copy before it starts; --accept names what may be lost.\n\nExamples:\n  \
                        decamp copy /srv/old /srv/new\n  decamp copy /srv/old /srv/new --delete --max-delete 5% --dry-run\n  \
                        decamp copy ~/photos /mnt/stick --accept owner,xattr,acl --exclude '*.tmp'\n  \
                        decamp copy ssh://root@old/srv /srv\n  decamp copy ssh://root@old/srv ssh://root@new:2222/srv"
)]
pub(crate) struct Args {
    /// The source directory, or ssh://[user@]host[:port]/path
    src: PathBuf,

    /// The destination directory, made if only its last part is missing; or ssh://[user@]host[:port]/path
    dst: PathBuf,

    /// Remove what the source does not have
    #[arg(long)]
    delete: bool,

    /// Refuse to delete more than N entries, or N% of the destination [default: 5%]
    #[arg(long, value_name = "N|N%", value_parser = max_delete, requires = "delete")]
    max_delete: Option<MaxDelete>,

    /// Compare content instead of size and time to find what is the same
    #[arg(long, short = 'c')]
    checksum: bool,

    /// Move what would be replaced or deleted here, on the destination's machine and file system
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<PathBuf>,

    /// Say what would be done; change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Look at the attributes and ACLs of every entry, whatever earlier copies have proved
    #[arg(long)]
    no_cache: bool,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    rate: super::rate::RateFlag,

    #[command(flatten)]
    accept: Accept,

    #[command(flatten)]
    walk: Walk,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let max_rate = args.rate.max_rate.and_then(|limit| limit.0);
    let here = !is_far(&args.src) && !is_far(&args.dst);
    let options = Options {
        delete: args.delete,
        max_delete: args.max_delete.unwrap_or_default(),
        exclude: args.walk.patterns()?,
        one_file_system: args.walk.one_file_system,
        equality: if args.checksum { Equality::Content } else { Equality::Meta },
        accept: args.accept.set(),
        jobs: args.walk.jobs,
        foreign: args.backup_dir.map_or(Foreign::Allow, Foreign::Backup),
        dry_run: args.dry_run,
        rate: Rate::new(max_rate),
        recall: if args.no_cache || !here { None } else { cache(ctx) },
        ..Options::default()
    };
    if here {
        // Where one is elsewhere, the engine looks: both may be on that machine.
        copy::check_pair(&args.src, &args.dst)?;
    }
    if let Foreign::Backup(dir) = &options.foreign
        && let (Ok(dir), Ok(src)) = (std::path::absolute(dir), args.src.canonicalize())
        // What does not exist yet is judged by the directory it will be in.
        && dir.ancestors().find_map(|part| part.canonicalize().ok()).is_some_and(|full| full.starts_with(&src))
    {
        let (dir, src) = (path_text(dir.as_os_str().as_encoded_bytes()), path_text(src.as_os_str().as_encoded_bytes()));
        return Err(Error::new(Kind::Invalid, format!("the backup directory `{dir}` lies inside the source `{src}`"))
            .hint("choose one beside the destination"));
    }
    stop_on_signals(&ctx.cancel)?;
    let live = ctx.live();
    let progress = live.progress();
    progress.event(Event::Limit(max_rate.map(|bytes| bytes.0)));
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &ctx.cancel };
    let words = [&*args.src, &*args.dst];
    let mut degraded = None;
    let done = match args.reach.roots(ctx, words, options.dry_run, &*progress) {
        Ok([src, dst]) => pass(&src, &dst, &options, &work),
        Err(why) => args.reach.plain(words, why).and_then(|([src, dst], why)| {
            let (report, name) = plain_pass(&src, &dst, &why, &options, &work)?;
            degraded = Some(name);
            Ok(report)
        }),
    };
    let seen = live.finish();
    let report = done.map_err(|error| {
        let begun = !options.dry_run && seen.phase == "copy" && seen.entries > 0;
        if error.kind == Kind::Cancelled && begun {
            let so_far = human::count(seen.entries, "entry", "entries");
            error.hint(format!("{so_far} were done and stay; the same command goes on from there"))
        } else {
            error
        }
    })?;
    let shown = || {
        let mut shown = json::report(&report);
        if let (Some(name), Some(shown)) = (&degraded, shown.as_object_mut()) {
            shown.insert("degraded".into(), serde_json::json!([name]));
        }
        shown
    };
    ctx.result(|| human::report(&report, ctx.out), shown);
    Ok(verdict(&report))
}

/// The pass without an agent. A destination here is made and claimed all the same.
fn plain_pass(
    src: &Side,
    dst: &Side,
    why: &Error,
    options: &Options,
    work: &Work<'_>,
) -> Result<(Report, String), Error> {
    let Side::Here(path) = dst else { return plain::tree(src, dst, why, options, work) };
    let root = Root::Here(path.clone());
    if options.dry_run {
        return plain::tree(src, dst, why, options, work);
    }
    let made = Made::create(&root, work)?;
    let claim = claim_for_now(&root, work)?;
    let done = plain::tree(src, dst, why, options, work);
    let released = claim.release();
    let done = done?;
    released?;
    if let Some(made) = made {
        made.keep();
    }
    Ok(done)
}

/// Where it is kept what copies by hand have proved. One for which there is no place does without.
fn cache(ctx: &Ctx) -> Option<PathBuf> {
    ctx.state_dir().ok().map(|dir| dir.join("copies"))
}

fn verdict(report: &Report) -> Exit {
    if report.changed > 0 && !report.planned {
        tell(&format!(
            "hint: {} changed while being read: run the same command again",
            human::count(report.changed, "file", "files")
        ));
    }
    if report.failed > 0 {
        tell(&format!(
            "hint: {} of {} listed entries are not in the destination; they are named above",
            show_count(report.failed),
            show_count(report.listed.entries())
        ));
    }
    if report.failed > 0 || report.changed > 0 { Exit::Incomplete } else { Exit::Success }
}

fn pass(src: &Root, dst: &Root, options: &Options, work: &Work<'_>) -> Result<Report, Error> {
    if options.dry_run {
        let looked = match dst.look(Look::Unnamed, work) {
            Err(tree::Error::Tree(copy::Error::NotFound { .. })) if !dst.is_here() || !exists(dst.path()) => {
                let parent = dst.beside(parent_of(dst.path()).to_owned()).look(Look::Unnamed, work)?;
                copy::far::Ground { empty: true, ..parent }
            }
            looked => looked?,
        };
        let probe = looked.probe.unwrap_or_default();
        return preflight_and_copy(src, dst, &probe, options, work, looked.empty);
    }
    let made = Made::create(dst, work)?;
    // Claimed before anything else: nothing is even probed in a destination that belongs to another run.
    let claim = claim_for_now(dst, work)?;
    let done = dst.look(Look::Named, work).map_err(Error::from).and_then(|looked| {
        let probe = looked.probe.unwrap_or_default();
        preflight_and_copy(src, dst, &probe, options, work, made.is_some() || looked.empty)
    });
    let released = claim.release();
    let mut report = done?;
    released?;
    if let Some(made) = made {
        made.keep();
        count_root(&mut report);
    }
    Ok(report)
}

/// Counts the root as created: the engine found it, because this command had made it, and a dry run finds none.
fn count_root(report: &mut Report) {
    let found_as = if report.meta_updated > 0 { &mut report.meta_updated } else { &mut report.unchanged };
    if *found_as > 0 {
        *found_as -= 1;
        report.created.dirs += 1;
    }
}

/// Refuses what the destination cannot hold, then copies. The source is counted first where the destination is empty
/// (it must have room for all of it, and the bar knows where it will end) or leaves a doubt about what it can hold. A
/// destination that holds everything, and has more space than the source's whole file system takes, needs no sizes:
/// of a large tree names and types are counted then, and nothing else is asked.
fn preflight_and_copy(
    src: &Root,
    dst: &Root,
    probe: &Probe,
    options: &Options,
    work: &Work<'_>,
    empty: bool,
) -> Result<Report, Error> {
    if !probe.writable && !options.dry_run {
        let reason = probe.read_only_reason.clone().unwrap_or_else(|| "it is read-only".to_owned());
        return Err(Error::new(Kind::Denied, format!("the destination cannot be written to: {reason}")));
    }
    let able = [probe.chown, probe.xattr, probe.acl, probe.capability, probe.hardlink, probe.holes, probe.device];
    let certain = able.iter().all(|able| *able == Some(true)) && probe.squash.is_none() && probe.time_ns == Some(1);
    if certain && !empty {
        return Ok(tree::tree(src, dst, options, work)?);
    }
    let taken = match (certain, src) {
        (false, _) => None,
        (true, Root::Here(src)) => copy::usage(src)?,
        (true, src) => src.look(Look::Id, work)?.usage,
    };
    let roomy = taken.filter(|taken| taken.fits(probe));
    let mut scan = ScanOptions {
        quick: roomy.is_some(),
        content: false,
        xattrs: [probe.xattr, probe.acl, probe.capability].iter().any(|able| *able != Some(true)),
        exclude: options.exclude.clone(),
        one_file_system: options.one_file_system,
        jobs: options.jobs,
    };
    let mut found = src.scan(&scan, work)?;
    if scan.quick && found.names_only > 0 && found.mounts > 0 && !scan.one_file_system {
        // What is mounted there takes space of its own.
        scan.quick = false;
        found = src.scan(&scan, work)?;
    }
    let refused: Vec<Shortfall> = copy::shortfalls(&found, probe)
        .into_iter()
        .filter(|shortfall| match shortfall.loss {
            // Named one by one by the pass, which goes on with the others.
            Some(Loss::Unreadable) => false,
            Some(loss) => !options.accept.contains(&loss),
            // A destination that holds part of it already needs less room than the whole source: the pass will tell.
            None => empty,
        })
        .collect();
    if !refused.is_empty() {
        return Err(cannot_hold(&refused));
    }
    let bytes = match roomy.filter(|_| found.names_only > 0) {
        Some(taken) if taken.whole => taken.bytes,
        // Not known, and not worth asking every file.
        Some(_) => 0,
        None => found.bytes.min(found.disk_bytes),
    };
    let progress = Expecting { to: work.progress, entries: found.counts.entries(), bytes };
    Ok(tree::tree(src, dst, options, &Work { progress: &progress, ..*work })?)
}

/// Tells where the copying will end, as far as the scan before it knows.
struct Expecting<'a> {
    to: &'a dyn Progress,
    entries: u64,
    bytes: u64,
}

impl Progress for Expecting<'_> {
    fn event(&self, event: Event<'_>) {
        self.to.event(event);
        if matches!(event, Event::Phase("copy")) {
            self.to.event(Event::Total { entries: self.entries, bytes: self.bytes });
        }
    }
}

fn claim_for_now(dst: &Root, work: &Work<'_>) -> Result<Ours, Error> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Ok(dst.claim(&Marker { run: BY_HAND.to_owned(), host, at }, None, work)?)
}

/// A destination that this command made: removed again, if still empty, unless the copy succeeds.
struct Made<'a>(Option<(&'a Root, &'a Work<'a>)>);

impl<'a> Made<'a> {
    /// Makes the destination, unless it is there.
    fn create(dst: &'a Root, work: &'a Work<'a>) -> Result<Option<Self>, Error> {
        let made = || Ok(Some(Self(Some((dst, work)))));
        let path = match dst {
            Root::Here(path) => path,
            Root::There { .. } => return if dst.make(BY_HAND, work)? { made() } else { Ok(None) },
        };
        copy::claim::check_above(path, BY_HAND)?;
        match rustix::fs::mkdir(path, rustix::fs::Mode::RWXU) {
            Ok(()) => made(),
            Err(Errno::EXIST) => Ok(None),
            // A read-only file system says so even where the directory exists.
            Err(Errno::ROFS) if exists(path) => Ok(None),
            Err(errno) => {
                let path = path_text(path.as_os_str().as_encoded_bytes());
                let error = Error::new(kind_of(errno), format!("cannot make the destination `{path}`"));
                Err(error.because(std::io::Error::from(errno)))
            }
        }
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if let Some((dst, work)) = self.0 {
            // Refused by the kernel as soon as anything is in it: what was copied stays.
            dst.remove(work).ok();
        }
    }
}

fn exists(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok()
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
