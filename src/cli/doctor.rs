//! `decamp doctor`: whether the journal can be trusted, and making it anew where it cannot.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ask::confirm;
use super::ctx::Ctx;
use crate::copy::claim;
use crate::error::{Error, Exit, Kind};
use crate::journal::doctor::{self, Checkup, Finding, Rebuilt, Severity};
use crate::journal::{Journal, LeaseMode};
use crate::report::human::count;
use crate::report::notes::table;
use crate::report::output::tell;
use crate::units::path_text;

/// Check the journal and everything beside it, and change nothing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --rebuild a journal that cannot be trusted is put aside, and a new one is made of its newest good \
                        copy and of the event files of the runs.\n\nExamples:\n  decamp doctor\n  decamp doctor --output \
                        json\n  decamp doctor --rebuild"
)]
pub(crate) struct Args {
    /// Make the journal anew if it cannot be trusted
    #[arg(long)]
    rebuild: bool,

    /// Do not ask
    #[arg(long, short = 'y', requires = "rebuild")]
    yes: bool,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let dir = ctx.state_dir()?;
    if !dir.try_exists().unwrap_or(true) {
        let message = format!("there is no journal in {}", shown(&dir));
        return Err(Error::new(Kind::NotFound, message)
            .hint("name the state directory you mean with --state-dir, or DECAMP_STATE_DIR")
            .exit(Exit::Usage));
    }
    let mut checkup = doctor::check(&dir)?;
    checkup.findings.extend(markers(&dir));
    if args.rebuild {
        return rebuild(ctx, &dir, &checkup, args.yes);
    }
    ctx.result(|| text(&checkup, &dir, ctx), || data(&checkup));
    Ok(if checkup.trusted() { Exit::Success } else { Exit::Journal })
}

fn rebuild(ctx: &Ctx, dir: &Path, checkup: &Checkup, yes: bool) -> Result<Exit, Error> {
    if checkup.trusted() {
        ctx.result(
            || format!("the journal in {} can be trusted: there is nothing to make anew\n", shown(dir)),
            || json!({ "trusted": true, "rebuilt": null }),
        );
        return Ok(Exit::Success);
    }
    if !yes {
        if !ctx.interactive() {
            return Err(Error::new(Kind::Invalid, "a journal is not made anew without being asked to twice")
                .hint(format!("see what is wrong: decamp doctor{}", ctx.state_flag()))
                .hint(format!("decamp doctor --rebuild --yes{}", ctx.state_flag())));
        }
        tell(&text(checkup, dir, ctx));
        if confirm("Put the journal aside and make it anew?", &ctx.cancel) != Some(true) {
            tell("nothing was done");
            return Ok(Exit::Failed);
        }
    }
    let done = doctor::rebuild(dir)?;
    // The first to open it completes the event files.
    if let Err(error) = Journal::open(dir) {
        let aside = done.aside.as_deref().map_or_else(|| "there was none".to_owned(), shown);
        let message = format!("the journal was made anew (the old one: {aside}), and cannot be opened");
        return Err(Error::new(Kind::Io, message)
            .because(error)
            .hint(format!("see what is wrong: decamp doctor{}", ctx.state_flag()))
            .exit(Exit::Journal));
    }
    ctx.result(|| told(&done, ctx), || json!({ "trusted": done.lost.is_empty(), "rebuilt": rebuilt(&done) }));
    Ok(if done.lost.is_empty() { Exit::Success } else { Exit::Journal })
}

/// Marks on targets whose run is over, or is none of this journal.
fn markers(dir: &Path) -> Vec<Finding> {
    // A journal that cannot be read is a finding already.
    let Ok(Some(reader)) = Journal::read(dir) else { return Vec::new() };
    let Ok(runs) = reader.runs() else { return Vec::new() };
    let mut found: Vec<Finding> = Vec::new();
    let targets = runs.iter().filter_map(|run| reader.run(&run.id).ok()).flat_map(|detail| detail.leases);
    for lease in targets.filter(|lease| lease.target.mode == LeaseMode::Exclusive) {
        let root = PathBuf::from(std::ffi::OsString::from_vec(lease.target.path));
        let Ok(Some(marker)) = claim::read(&root) else { continue };
        let path = root.join(claim::NAME);
        let known = runs.iter().find(|run| run.id.as_str() == marker.run);
        let (what, advice) = match known {
            Some(run) if !run.status.finished() => continue,
            Some(run) => {
                let what = format!("it bears the mark of run {}, which is over ({})", marker.run, run.status);
                (what, format!("make sure that nobody works on it, then: rm {}", shown(&path)))
            }
            None if marker.run == claim::BY_HAND => continue,
            None => {
                let what = format!("it bears the mark of {marker}, which is not in this journal");
                (what, "see to that run where it was started".to_owned())
            }
        };
        if !found.iter().any(|other| other.path == path) {
            found.push(Finding { severity: Severity::Warning, what, path, advice });
        }
    }
    found
}

fn text(checkup: &Checkup, dir: &Path, ctx: &Ctx) -> String {
    let mut out = String::new();
    if !checkup.findings.is_empty() {
        let rows: Vec<Vec<String>> = checkup
            .findings
            .iter()
            .map(|finding| {
                let place = finding.path.strip_prefix(dir).ok().filter(|rest| !rest.as_os_str().is_empty());
                let place = shown(place.unwrap_or(&finding.path));
                [finding.severity.name(), &finding.what, &place, &finding.advice].map(str::to_owned).to_vec()
            })
            .collect();
        out.push_str(&table(&["severity", "what", "where", "what to do"].map(str::to_owned), &rows));
    }
    let runs = count(u64::try_from(checkup.runs).unwrap_or_default(), "run", "runs");
    let verdict = if checkup.trusted() {
        ctx.out.good("can be trusted")
    } else {
        ctx.out.bad("cannot be trusted: decamp doctor --rebuild makes it anew")
    };
    writeln!(out, "the journal in {} ({runs}) {verdict}", shown(dir)).ok();
    out
}

fn data(checkup: &Checkup) -> Value {
    let findings: Value = checkup
        .findings
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.name(),
                "what": finding.what,
                "path": shown(&finding.path),
                "advice": finding.advice,
            })
        })
        .collect();
    json!({ "trusted": checkup.trusted(), "runs": checkup.runs, "findings": findings })
}

fn told(done: &Rebuilt, ctx: &Ctx) -> String {
    let mut out = String::new();
    let base = done.base.as_ref().map_or_else(|| "the event files alone".to_owned(), |base| shown(base));
    writeln!(out, "made from   {base}").ok();
    let [runs, events] = [done.runs, done.events].map(|number| u64::try_from(number).unwrap_or_default());
    writeln!(
        out,
        "it holds    {}, {} of them newer than that",
        count(runs, "run", "runs"),
        count(events, "event", "events")
    )
    .ok();
    if let Some(aside) = &done.aside {
        writeln!(out, "put aside   {}", shown(aside)).ok();
    }
    for line in &done.lost {
        writeln!(out, "{}    {line}", ctx.out.bad("not there")).ok();
    }
    writeln!(out, "go on with  decamp runs{}", ctx.state_flag()).ok();
    out
}

fn rebuilt(done: &Rebuilt) -> Value {
    json!({
        "base": done.base.as_deref().map(shown),
        "aside": done.aside.as_deref().map(shown),
        "runs": done.runs,
        "events": done.events,
        "lost": done.lost,
    })
}

fn shown(path: &Path) -> String {
    path_text(path.as_os_str().as_encoded_bytes())
}
