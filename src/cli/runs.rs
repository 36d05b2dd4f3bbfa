//! `decamp runs`: what was run here, newest first.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::when::minute;
use super::{prune, state};
use crate::error::{Error, Exit};
use crate::journal::{RunStatus, RunSummary};
use crate::report::notes::{one_line, table};
use crate::units::show_duration;

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Examples:\n  decamp runs\n  decamp runs --unfinished --output json\n  decamp runs --status failed,waiting\n  decamp \
                        runs prune --older-than 90d --plan"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,

    /// Only runs that are not over
    #[arg(long)]
    unfinished: bool,

    /// Only runs of these states, separated by commas, as the list shows them
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = states())]
    status: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    Prune(prune::Args),
}

/// The states a run can be shown in.
fn states() -> clap::builder::PossibleValuesParser {
    let stored = RunStatus::ALL.iter().map(|status| status.name());
    clap::builder::PossibleValuesParser::new(stored.chain(["interrupted", "undo interrupted"]))
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    if let Some(What::Prune(args)) = &args.what {
        return prune::run(ctx, args);
    }
    let mut runs = match state::reader(ctx)? {
        None => Vec::new(),
        Some(reader) if args.unfinished => reader.unfinished()?,
        Some(reader) => reader.runs()?,
    };
    if !args.status.is_empty() {
        runs.retain(|run| args.status.iter().any(|status| status == run.state()));
    }
    let reader = state::reader(ctx)?;
    let asks = |run: &RunSummary| -> Result<Vec<String>, Error> {
        let Some(reader) = reader.as_ref().filter(|_| !run.status.finished()) else { return Ok(Vec::new()) };
        let signals = reader.run(&run.id)?.signals;
        Ok(signals.into_iter().filter(|signal| signal.open()).map(|signal| signal.name).collect())
    };
    let runs = runs.into_iter().map(|run| Ok((asks(&run)?, run))).collect::<Result<Vec<Listed>, Error>>()?;
    ctx.result(|| text(&runs), || json!({ "runs": runs.iter().map(data).collect::<Value>() }));
    Ok(Exit::Success)
}

/// The names of the approvals a run asks for, and the run.
type Listed = (Vec<String>, RunSummary);

fn data(listed: &Listed) -> Value {
    let (asks, run) = listed;
    let mut data = json!(run);
    data["state"] = run.state().into();
    data["asks_for"] = json!(asks);
    data["waits_for"] = waits_for(listed).into();
    data
}

/// What has to happen before it can go on, where the journal knows.
fn waits_for((asks, run): &Listed) -> Option<String> {
    if !asks.is_empty() {
        return Some(format!("approval of {}", asks.join(", ")));
    }
    let outcome = run.outcome.as_ref().filter(|_| run.status == RunStatus::Waiting)?;
    Some(one_line("", outcome.get("message").unwrap_or(outcome)))
}

fn age(run: &RunSummary) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = Duration::from_millis(u64::try_from(run.created_ms).unwrap_or_default());
    show_duration(now.saturating_sub(since))
}

fn text(runs: &[Listed]) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let mut heads = ["run", "script", "state", "steps", "exit", "started", "age", "by"].map(str::to_owned).to_vec();
    let waiting = runs.iter().any(|listed| waits_for(listed).is_some());
    if waiting {
        heads.push("waits for".to_owned());
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|listed| {
            let run = &listed.1;
            let exit = run.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
            let mut row = vec![
                run.id.to_string(),
                run.script.clone(),
                run.state().to_owned(),
                format!("{}/{}", run.steps_done, run.steps),
                exit,
                minute(run.created_ms),
                age(run),
                run.operator.clone(),
            ];
            if waiting {
                row.push(waits_for(listed).unwrap_or_default());
            }
            row
        })
        .collect();
    table(&heads, &rows)
}
