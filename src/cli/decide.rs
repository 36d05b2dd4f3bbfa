//! `decamp decide`: a person's answer about an effect whose outcome nobody saw.

use serde_json::json;

use super::ctx::Ctx;
use super::state;
use crate::error::{Error, Exit};
use crate::journal::{Decision, Journal};
use crate::script;
use crate::script::session::is_session;

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
    let (reader, id) = state::find(ctx, &args.run)?;
    let found = reader.run(&id)?;
    script::at_rest(&reader, &found)?;
    let session = is_session(&found.summary.script, found.summary.script_path.as_deref());
    let decision = match args.answer {
        Answer::Happened => Decision::Happened,
        Answer::Retry => Decision::Retry,
    };
    Journal::open(&ctx.state_dir()?)?.decide(&id, &args.step, decision)?;
    ctx.result(
        || {
            let flag = ctx.state_flag();
            let on = if session {
                format!(
                    "put back what was done: decamp undo {id}{flag}\nor leave it as it is: decamp abandon {id}{flag}"
                )
            } else {
                format!("go on with: decamp resume {id}{flag}")
            };
            format!("recorded: `{}` {}\n{on}", args.step, decision.name())
        },
        || json!({ "run": id.as_str(), "step": args.step, "decision": decision.name() }),
    );
    Ok(Exit::Success)
}
