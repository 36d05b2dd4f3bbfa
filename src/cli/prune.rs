//! `decamp runs prune`: removes runs that are over and cannot be undone any more.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::duration;
use super::ask::confirm;
use super::ctx::Ctx;
use super::state;
use super::when::minute;
use crate::copy::claim;
use crate::error::{Error, Exit, Kind};
use crate::journal::{Journal, Lease, LeaseMode, Reader, RunId, RunStatus, RunSummary};
use crate::report::human::count;
use crate::report::notes::table;
use crate::report::output::tell;
use crate::script;
use crate::units::{Bytes, path_text};

/// Remove runs that are over and cannot be undone any more
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs that are not over are never removed, nor are those whose targets are not free. A run that succeeded \
                        without a point of no return can still be undone, and is kept without --and-undoable. A copy of \
                        the journal is made before.\n\nExamples:\n  decamp runs prune --older-than 90d --plan\n  decamp \
                        runs prune --older-than 90d --keep 20"
)]
pub(crate) struct Args {
    /// Only runs that ended longer ago than this, such as 90d or 12h
    #[arg(long, value_name = "AGE", value_parser = duration)]
    older_than: Duration,

    /// Keep so many of the newest runs in any case
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep: usize,

    /// Also remove runs that succeeded and could still be undone
    #[arg(long)]
    and_undoable: bool,

    /// Say what would be removed, and change nothing
    #[arg(long, short = 'n')]
    plan: bool,

    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit, Error> {
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    if let Some(reader) = state::reader(ctx)? {
        for (at, run) in reader.runs()?.into_iter().enumerate() {
            match kept(&reader, &run, at, args)? {
                None => going.push(run),
                Some(why) => staying.push((run, why)),
            }
        }
    }
    if args.plan || going.is_empty() {
        ctx.result(|| text(&going, &staying), || data(&going, &staying, args.plan, 0));
        return Ok(Exit::Success);
    }
    if !args.yes {
        if !ctx.interactive() {
            let all = count(u64::try_from(going.len()).unwrap_or_default(), "run is", "runs are");
            return Err(Error::new(Kind::Invalid, format!("{all} not removed without being asked to twice"))
                .hint("see which: add --plan")
                .hint("remove them: add --yes"));
        }
        tell(&text(&going, &staying));
        if confirm("Remove them for good?", &ctx.cancel) != Some(true) {
            tell("nothing was done");
            return Ok(Exit::Failed);
        }
    }
    let ids: Vec<RunId> = going.iter().map(|run| run.id.clone()).collect();
    let freed = Journal::open(&ctx.state_dir()?)?.prune(&ids)?;
    ctx.result(
        || {
            let all = count(u64::try_from(going.len()).unwrap_or_default(), "run", "runs");
            format!("removed {all}; the journal is {} smaller\n", Bytes(freed))
        },
        || data(&going, &staying, false, freed),
    );
    Ok(Exit::Success)
}

/// Why a run stays; none if it goes.
fn kept(reader: &Reader, run: &RunSummary, at: usize, args: &Args) -> Result<Option<String>, Error> {
    if !run.status.finished() {
        return Ok(Some(format!("not over ({})", run.state())));
    }
    let undoable = run.status == RunStatus::Succeeded && run.pivot.is_none();
    if undoable && !args.and_undoable {
        return Ok(Some("can still be undone (--and-undoable)".to_owned()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ended = Duration::from_millis(u64::try_from(run.finished_ms.unwrap_or(run.created_ms)).unwrap_or_default());
    if now.saturating_sub(ended) < args.older_than {
        return Ok(Some("not old enough".to_owned()));
    }
    if at < args.keep {
        return Ok(Some("among the newest (--keep)".to_owned()));
    }
    let found = reader.run(&run.id)?;
    match script::at_rest(reader, &found) {
        Ok(()) => {}
        Err(error) if error.kind == Kind::Conflict => return Ok(Some(error.message)),
        Err(error) => return Err(error),
    }
    let leases = found.leases;
    if leases.iter().any(|lease| lease.released_ms.is_none()) {
        return Ok(Some("it holds a target".to_owned()));
    }
    Ok(leases.iter().find_map(|lease| marked(run, lease)))
}

/// The target that bears the mark of the run.
fn marked(run: &RunSummary, lease: &Lease) -> Option<String> {
    if lease.target.mode != LeaseMode::Exclusive {
        return None;
    }
    let root = PathBuf::from(std::ffi::OsString::from_vec(lease.target.path.clone()));
    match claim::read(&root) {
        Ok(Some(marker)) if marker.run == run.id.as_str() => {
            Some(format!("its mark is still on {}", path_text(&lease.target.path)))
        }
        // A root that is gone has no mark, and somebody else's is not ours.
        Ok(_) | Err(crate::copy::Error::NotFound { .. }) => None,
        Err(error) => Some(format!("it cannot be told whether its mark is on a target: {error}")),
    }
}

fn text(going: &[RunSummary], staying: &[(RunSummary, String)]) -> String {
    let mut out = String::new();
    let row = |run: &RunSummary, what: &str| {
        let ended = run.finished_ms.map_or_else(|| "-".to_owned(), minute);
        [run.id.as_str(), &run.script, run.state(), &ended, what].map(str::to_owned).to_vec()
    };
    let mut rows: Vec<Vec<String>> = going.iter().map(|run| row(run, "goes")).collect();
    rows.extend(staying.iter().map(|(run, why)| row(run, &format!("stays: {why}"))));
    if !rows.is_empty() {
        out.push_str(&table(&["run", "script", "state", "ended", "what becomes of it"].map(str::to_owned), &rows));
    }
    let [go, stay] = [going.len(), staying.len()].map(|number| u64::try_from(number).unwrap_or_default());
    writeln!(out, "{} would go, {} would stay", count(go, "run", "runs"), count(stay, "run", "runs")).ok();
    out
}

fn data(going: &[RunSummary], staying: &[(RunSummary, String)], plan: bool, freed: u64) -> Value {
    let removed: Value = going.iter().map(|run| json!({ "id": run.id, "status": run.status })).collect();
    let kept: Value =
        staying.iter().map(|(run, why)| json!({ "id": run.id, "status": run.status, "why": why })).collect();
    json!({ "plan": plan, "removed": removed, "kept": kept, "freed_bytes": freed })
}
