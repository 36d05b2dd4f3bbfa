//! `decamp decide`: a person's answer about an effect whose outcome nobody saw.

use serde_json::json;

use super::ctx::Ctx;
use super::state;
use crate::error::{Error, Exit};
use crate::journal::{Decision, Journal};

/// Say what became of a step whose outcome is unknown
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Look at the target first. Nothing is done until the run is resumed.\n\nExamples:\n  decamp decide 4f1c09aa \
                        cutover happened\n  decamp decide 4f1c09aa cutover retry"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Key of the step, as `decamp show RUN` lists it
    step: String,

    /// It took effect (happened), or it did not and is to be done again (retry)
    #[arg(value_enum)]
    answer: Answer,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Answer {
    Happened,
    Retry,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (_, id) = state::find(ctx, &args.run)?;
    let decision = match args.answer {
        Answer::Happened => Decision::Happened,
        Answer::Retry => Decision::Retry,
    };
    Journal::open(&ctx.state_dir()?)?.decide(&id, &args.step, decision)?;
    ctx.result(
        || format!("recorded: `{}` {}\ngo on with: decamp resume {id}{}", args.step, decision.name(), ctx.state_flag()),
        || json!({ "run": id.as_str(), "step": args.step, "decision": decision.name() }),
    );
    Ok(Exit::Success)
}
