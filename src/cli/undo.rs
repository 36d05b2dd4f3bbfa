//! `decamp undo`: a run backwards.

use super::ctx::Ctx;
use super::execute::{Flags, Job, execute};
use super::state;
use crate::error::{Error, Exit};

/// Put back what a run did, newest step first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only what the run itself made and nobody changed since is removed; the rest is listed (exit code \
                        9).\n\nExamples:\n  decamp undo 4f1c09aa --plan\n  decamp undo 4f1c09aa"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (_, run) = state::find(ctx, &args.run)?;
    execute(ctx, &args.flags, &Job::Undo(run.as_str().to_owned()))
}
