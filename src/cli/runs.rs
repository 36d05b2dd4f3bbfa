//! `decamp runs`: what was run here, newest first.

use serde_json::json;

use super::ctx::Ctx;
use super::state;
use super::when::minute;
use crate::error::{Error, Exit};
use crate::journal::RunSummary;
use crate::report::notes::table;

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  decamp runs\n  decamp runs --unfinished --output json")]
pub(crate) struct Args {
    /// Only runs that are not over
    #[arg(long)]
    unfinished: bool,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let runs = match state::reader(ctx)? {
        None => Vec::new(),
        Some(reader) if args.unfinished => reader.unfinished()?,
        Some(reader) => reader.runs()?,
    };
    ctx.result(|| text(&runs), || json!({ "runs": runs }));
    Ok(Exit::Success)
}

fn text(runs: &[RunSummary]) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let steps = format!("{}/{}", run.steps_done, run.steps);
            let exit = run.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
            let state = run.state().to_owned();
            vec![
                run.id.to_string(),
                run.script.clone(),
                state,
                steps,
                exit,
                minute(run.created_ms),
                run.operator.clone(),
            ]
        })
        .collect();
    table(&["run", "script", "state", "steps", "exit", "started", "by"].map(str::to_owned), &rows)
}
