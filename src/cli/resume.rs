//! `decamp resume`: the rest of a run.

use std::ffi::OsString;

use super::ctx::Ctx;
use super::execute::{Flags, Job, execute};
use super::onward::{OnChangedInputs, Onward};
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

    /// Refused: a run keeps the parameters it was started with.
    #[arg(long, value_name = "FILE", hide = true)]
    site: Option<OsString>,

    #[command(flatten)]
    rate: super::rate::RateFlag,

    /// What to do with a done step whose inputs are others now: ask, keep its result, redo it, or abort [default: ask]
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    on_changed_inputs: Option<OnChangedInputs>,

    #[command(flatten)]
    onward: Onward,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    if args.site.is_some() {
        return Err(Error::new(
            Kind::Invalid,
            "a run is resumed with the parameters it was started with, not with a site file",
        )
        .hint("change one parameter with --set NAME=VALUE; `decamp show RUN` tells them all"));
    }
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
    let flags = Flags {
        max_rate: args.rate.max_rate,
        onward: args.onward,
        changed_inputs: args.on_changed_inputs.unwrap_or_default().into(),
        ..args.flags
    };
    execute(ctx, &flags, &job)
}
