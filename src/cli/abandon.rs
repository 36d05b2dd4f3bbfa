//! `decamp abandon`: gives a run up, so that its targets are free again.

use std::sync::Arc;

use serde_json::json;

use super::ask::confirm;
use super::ctx::Ctx;
use super::state;
use crate::error::{Error, Exit, Kind};
use crate::report::output::tell;
use crate::script;
use crate::script::outcome::{Call, Say};

/// Give a run up: free its targets and leave everything as it is
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An abandoned run can be neither resumed nor undone. As long as a command of it still runs, it is \
                        not abandoned (exit code 7).\n\nExample:\n  decamp abandon 4f1c09aa"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    let found = reader.run(&id)?;
    if found.summary.status.finished() {
        let message = format!("run {id} is over ({}): there is nothing to abandon", found.summary.state());
        return Err(Error::new(Kind::Invalid, message).hint(format!("see what it did: decamp show {id}")));
    }
    // Its targets would be free while the command still works on them.
    script::at_rest(&reader, &found)
        .map_err(|error| error.hint(format!("or, once it has ended: decamp abandon {id}{}", ctx.state_flag())))?;
    let held = script::held(&reader.events(&id)?);
    let about = format!("run {id} of {} ({})", found.summary.script, found.summary.state());
    if !args.yes {
        if !ctx.interactive() {
            return Err(Error::new(Kind::Invalid, format!("{about} is not abandoned without being asked to twice"))
                .hint(format!("decamp abandon {id} --yes{}", ctx.state_flag())));
        }
        tell(&format!("{about}: what it did stays as it is, and can no longer be resumed or undone by decamp"));
        for step in &held {
            tell(&holds(step));
        }
        for lease in found.leases.iter().filter(|lease| lease.released_ms.is_none()) {
            tell(&format!("  frees {}", crate::units::path_text(&lease.target.path)));
        }
        if confirm("Abandon it?", &ctx.cancel) != Some(true) {
            tell("nothing was done");
            return Ok(Exit::Failed);
        }
    }
    let call = Call {
        yes: args.yes,
        cancel: ctx.cancel.clone(),
        say: Arc::new(|say| {
            if let Say::Line(text) = say {
                tell(text);
            }
        }),
        argv: ctx.argv.clone(),
        ..Call::quiet(ctx.state_dir()?)
    };
    script::abandon(id.as_str(), &call)?;
    ctx.result(
        || {
            let lines = held.iter().map(|step| format!("\n{}", holds(step)));
            format!("abandoned run {id}; its targets are free{}", lines.collect::<String>())
        },
        || json!({ "run": id.as_str(), "status": "abandoned", "held": held }),
    );
    Ok(Exit::Success)
}

/// What nobody will give back any more.
fn holds(step: &str) -> String {
    format!("step `{step}` still holds what it took (it was neither released nor undone): give it back by hand")
}
