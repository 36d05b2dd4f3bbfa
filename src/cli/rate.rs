//! `decamp rate`: how fast a run may move file content, changed while it goes on; and the flag of the same meaning.

use serde_json::json;

use super::ctx::Ctx;
use super::state;
use crate::error::{Error, Exit, Kind};
use crate::rate::MaxRate;
use crate::script;

/// Change how fast a run may move file content, also while it goes on in another terminal
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A process that works on the run takes the limit up within a second; it also holds when the run is resumed.\n\n\
                  Examples:\n  decamp rate 4f1c09aa 20MiB\n  decamp rate 4f1c09aa none"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Bytes a second, such as 20MiB; none takes the limit away
    #[arg(value_name = "SIZE|none", value_parser = limit)]
    rate: MaxRate,
}

/// The flag of everything that moves file content.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RateFlag {
    /// Move at most so many bytes of file content a second, such as 50MiB; none: as many as can be
    #[arg(long, value_name = "SIZE|none", value_parser = limit)]
    pub(crate) max_rate: Option<MaxRate>,
}

pub(super) fn limit(text: &str) -> Result<MaxRate, String> {
    MaxRate::parse(text).map_err(|error| error.to_string())
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    let summary = reader.run(&id)?.summary;
    if summary.status.finished() {
        return Err(Error::new(Kind::Invalid, format!("run {id} is over: it is {}", summary.status))
            .hint("only a run that goes on, or can be resumed, moves anything")
            .exit(Exit::Usage));
    }
    script::set_rate(&ctx.state_dir()?, &id, args.rate)?;
    let when = if summary.live { "the process that works on it takes it up" } else { "it holds when it is resumed" };
    ctx.result(
        || format!("run {id}: {}; {when}\n", args.rate),
        || json!({ "run": id.as_str(), "max_rate_bytes": args.rate.0.map(|bytes| bytes.0), "live": summary.live }),
    );
    Ok(Exit::Success)
}
