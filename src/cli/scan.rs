//! `decamp scan`: what a tree holds.

use std::path::PathBuf;

use super::args::Walk;
use super::ctx::Ctx;
use super::reach::Reach;
use super::signals::stop_on_signals;
use crate::copy::Work;
use crate::copy::options::ScanOptions;
use crate::error::{Error, Exit};
use crate::progress::Forgetful;
use crate::report::{human, json};

/// Count, measure and digest a tree; read only
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  decamp scan /srv/data\n  decamp scan /srv/data --content --xattrs --output json")]
pub(crate) struct Args {
    /// The tree: a path, or ssh://[user@]host[:port]/path
    dir: PathBuf,

    /// Read all content and put it into the digest
    #[arg(long)]
    content: bool,

    /// Look at extended attributes, ACLs and capabilities of every entry
    #[arg(long)]
    xattrs: bool,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    walk: Walk,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let options = ScanOptions {
        quick: false,
        content: args.content,
        xattrs: args.xattrs,
        exclude: args.walk.patterns()?,
        one_file_system: args.walk.one_file_system,
        jobs: args.walk.jobs,
    };
    stop_on_signals(&ctx.cancel)?;
    let live = ctx.live();
    let progress = live.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &ctx.cancel };
    let scanned =
        args.reach.roots(ctx, [&args.dir], false, &*progress).and_then(|[dir]| Ok(dir.scan(&options, &work)?));
    live.finish();
    let scanned = scanned?;
    ctx.result(|| human::scan(&scanned, args.xattrs, ctx.out), || json::scan(&scanned));
    Ok(if scanned.failed > 0 { Exit::Incomplete } else { Exit::Success })
}
