//! `decamp resume`: the rest of a run.

use super::ctx::Ctx;
use super::execute::{Flags, Job, execute};
use super::state;
use crate::error::{Error, Exit, Kind};

/// Go on with an unfinished run
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without RUN: the only unfinished run, else they are listed. Done steps are not run again.\n\nExamples:\n  \
                        decamp resume\n  decamp resume 4f1c09aa --plan\n  decamp resume 4f1c09aa --approve cutover"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: Option<String>,

    /// Go on although the script was edited since; the change is shown
    #[arg(long)]
    accept_script_change: bool,

    /// Change a parameter from here on, by the name it has in the script; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let run = match &args.run {
        Some(text) => state::find(ctx, text)?.1,
        None => state::only_unfinished(ctx)?,
    };
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), vec![value.to_owned()])),
        None => Err(Error::new(Kind::Invalid, format!("`--set {text}` has no `=`")).hint("write --set NAME=VALUE")),
    };
    let amend = args.set.iter().map(pair).collect::<Result<_, _>>()?;
    let job = Job::Resume { run: run.as_str().to_owned(), accept_script_change: args.accept_script_change, amend };
    execute(ctx, &args.flags, &job)
}
