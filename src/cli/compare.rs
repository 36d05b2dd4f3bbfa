//! `decamp compare`: whether two trees are the same.

use std::path::PathBuf;

use super::args::{Accept, Walk};
use super::ctx::Ctx;
use super::reach::Reach;
use super::signals::stop_on_signals;
use crate::copy::Work;
use crate::copy::options::{CompareOptions, Content};
use crate::error::{Error, Exit};
use crate::host::tree;
use crate::progress::Forgetful;
use crate::report::{human, json};
use crate::units::path_text;

/// Compare two trees in every property and in content; read only
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with 12 if the trees differ, 13 if some entries could not be compared.\n\nExamples:\n  decamp compare \
                        /srv/old /srv/new\n  decamp compare /srv/old /srv/new --content sample:5 --accept owner,xattr"
)]
pub(crate) struct Args {
    /// One tree: a path, or ssh://[user@]host[:port]/path
    a: PathBuf,

    /// The other tree
    b: PathBuf,

    /// Read content: none, sample (10 % of the files), sample:PERCENT or full
    #[arg(long, value_name = "HOW", default_value = "full", value_parser = content)]
    content: Content,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    accept: Accept,

    #[command(flatten)]
    walk: Walk,
}

/// Share of the files that `sample` reads.
const SAMPLE: u8 = 10;

fn content(text: &str) -> Result<Content, String> {
    match (text, text.strip_prefix("sample:")) {
        ("none", _) => Ok(Content::None),
        ("full", _) => Ok(Content::Full),
        ("sample", _) => Ok(Content::Sample(SAMPLE)),
        (_, Some(share)) => share
            .trim_end_matches('%')
            .parse()
            .ok()
            .filter(|share| (1..=100).contains(share))
            .map(Content::Sample)
            .ok_or_else(|| "give sample:PERCENT with 1 to 100".to_owned()),
        _ => Err("give none, sample, sample:PERCENT or full".to_owned()),
    }
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let options = CompareOptions {
        content: args.content,
        exclude: args.walk.patterns()?,
        one_file_system: args.walk.one_file_system,
        accept: args.accept.set(),
        jobs: args.walk.jobs,
    };
    stop_on_signals(&ctx.cancel)?;
    let live = ctx.live();
    let progress = live.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &ctx.cancel };
    let compared = args
        .reach
        .roots(ctx, [&args.a, &args.b], false, &*progress)
        .and_then(|[a, b]| Ok(tree::compare(&a, &b, &options, &work)?));
    live.finish();
    let compared = compared?;
    let names = [&args.a, &args.b].map(|path| path_text(path.as_os_str().as_encoded_bytes()));
    ctx.result(|| human::comparison(&compared, (&names[0], &names[1]), ctx.out), || json::comparison(&compared));
    Ok(match (compared.differences, compared.failed) {
        (0, 0) => Exit::Success,
        (0, _) => Exit::Incomplete,
        _ => Exit::Differ,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_as_asked() {
        assert_eq!(content("none"), Ok(Content::None));
        assert_eq!(content("sample"), Ok(Content::Sample(10)));
        assert_eq!(content("sample:5%"), Ok(Content::Sample(5)));
        for bad in ["", "some", "sample:", "sample:0", "sample:101", "sample:-1"] {
            assert!(content(bad).is_err(), "{bad}");
        }
    }
}
