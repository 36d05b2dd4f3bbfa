//! What a shell asks while a line is typed: the program itself answers, because only it knows the flags of a script, and
//! which runs a command fits.
//!
//! It reads and never writes, and what it cannot find out it leaves away: whoever presses TAB wants no message.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::{Arg, Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::ctx::Ctx;
use super::global::Global;
use super::when::minute;
use super::{run, show, state};
use crate::error::Exit;
use crate::journal::{RunDetail, RunStatus, RunSummary, SignalState};
use crate::script;

/// Answers a shell that completes a line, or wants to know how to ask; `None`: this is no such call.
pub(super) fn answer(args: &[OsString]) -> Option<Exit> {
    std::env::var_os("COMPLETE").filter(|shell| !shell.is_empty() && shell != "0")?;
    std::panic::set_hook(Box::new(|_| {}));
    // The other shells quote by themselves.
    let bash = std::env::var("COMPLETE").is_ok_and(|shell| shell.ends_with("bash"));
    let words = args.iter().position(|word| word == "--").map_or(&[][..], |at| &args[at + 1..]);
    let here = std::env::current_dir().ok();
    let asked =
        || CompleteEnv::with_factory(|| command(words, bash)).try_complete(args.iter().cloned(), here.as_deref());
    Some(match catch_unwind(AssertUnwindSafe(asked)) {
        Ok(Ok(_)) => Exit::Success,
        Ok(Err(_)) | Err(_) => Exit::Failed,
    })
}

/// The command line as far as `words`, the line so far with the program's name, tell it.
fn command(words: &[OsString], quote: bool) -> Command {
    let line = Line::of(words);
    let mut all = super::Cli::command();
    for name in ["run", "plan"] {
        let about = all.find_subcommand(name).and_then(Command::get_about).cloned().unwrap_or_default();
        let rest = if line.subcommand.as_deref() == Some(name) { &line.rest[..] } else { &[] };
        all = all.mut_subcommand(name, |_| run::completing(rest).name(name).about(about));
    }
    for (name, fits) in FITTING {
        let ctx = line.ctx();
        all = with(all, name, "run", move || runs(&ctx, fits));
    }
    for (name, arg, what) in OF_RUN {
        let (line, what) = (line.clone(), *what);
        all = with(all, name, arg, move || of_run(&line, what, quote));
    }
    let natives = || script::docs().into_iter().map(|doc| candidate(&doc.name, doc.summary)).collect();
    all = with(all, "docs", "name", natives);
    all.mut_subcommand("scripts", |scripts| with(with(scripts, "show", "name", shipped), "eject", "name", shipped))
}

/// What a run must be for a subcommand to make sense of it.
type Fit = fn(&RunSummary, &dyn Fn() -> Option<RunDetail>) -> bool;

const FITTING: &[(&str, Fit)] = &[
    ("resume", |run, _| idle(run) && !matches!(run.status, RunStatus::Undoing | RunStatus::UndoFailed)),
    ("undo", |run, _| {
        let over = matches!(run.status, RunStatus::Undone | RunStatus::Abandoned);
        !run.live && !over && run.pivot.is_none()
    }),
    ("abandon", |run, _| idle(run)),
    ("decide", |run, detail| idle(run) && detail().is_some_and(|found| show::in_doubt(&found).next().is_some())),
    ("approve", |run, detail| !run.status.finished() && detail().is_some_and(|found| !asked(&found).is_empty())),
    ("rate", |run, _| !run.status.finished()),
    ("show", |_, _| true),
    ("log", |_, _| true),
    ("export", |_, _| true),
];

fn idle(run: &RunSummary) -> bool {
    !run.live && !run.status.finished()
}

/// Names of approvals that are waited for.
fn asked(found: &RunDetail) -> Vec<String> {
    let asked = found.signals.iter().filter(|signal| signal.state == SignalState::Asked);
    asked.map(|signal| signal.name.clone()).collect()
}

/// Values that stand in a run.
type Values = fn(&RunDetail) -> Vec<String>;

/// Arguments whose values stand in the run that the line names.
const OF_RUN: &[(&str, &str, Values)] = &[
    ("decide", "step", |found| show::in_doubt(found).map(|step| step.key.clone()).collect()),
    ("approve", "name", asked),
    ("resume", "approve", asked),
    ("log", "step", |found| found.steps.iter().map(|step| step.key.clone()).collect()),
];

/// The line so far.
#[derive(Clone)]
struct Line {
    words: Vec<OsString>,
    subcommand: Option<String>,
    rest: Vec<OsString>,
}

impl Line {
    fn of(words: &[OsString]) -> Self {
        let behind = words.get(1..).unwrap_or_default();
        let at = run::position(&super::Cli::command(), behind);
        let subcommand = at.and_then(|at| behind[at].to_str().map(str::to_owned));
        let rest = at.map(|at| behind[at + 1..].to_vec()).unwrap_or_default();
        Self { words: words.to_vec(), subcommand, rest }
    }

    fn ctx(&self) -> Ctx {
        Ctx::new(Global::peek(&self.words), &self.words)
    }

    /// The run that the line names.
    fn run(&self) -> Option<String> {
        let all = super::Cli::command();
        let command = all.find_subcommand(self.subcommand.as_deref()?)?;
        self.rest[run::position(command, &self.rest)?..].first()?.to_str().map(str::to_owned)
    }
}

/// The command with candidates for one argument of a subcommand; as it is, where there is no such argument.
fn with<F>(all: Command, name: &str, arg: &str, candidates: F) -> Command
where
    F: Fn() -> Vec<CompletionCandidate> + Send + Sync + 'static,
{
    let has = all.find_subcommand(name).is_some_and(|found| found.get_arguments().any(|own| own.get_id() == arg));
    if !has {
        return all;
    }
    let candidates = ArgValueCandidates::new(candidates);
    // Not `mut_arg`: it puts a positional one behind the others.
    let add = |own: Arg| if own.get_id() == arg { own.add(candidates.clone()) } else { own };
    all.mut_subcommand(name, |command| command.mut_args(add))
}

fn candidate(value: &str, help: String) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.into()))
}

/// Shipped scripts.
pub(super) fn shipped() -> Vec<CompletionCandidate> {
    script::shipped().iter().map(|(name, text)| candidate(name, script::title(text))).collect()
}

/// Runs that fit, newest first, with script and state.
fn runs(ctx: &Ctx, fits: &Fit) -> Vec<CompletionCandidate> {
    let Ok(Some(reader)) = state::reader(ctx) else { return Vec::new() };
    let all = reader.runs().unwrap_or_default();
    let fitting = all.iter().filter(|run| fits(run, &|| reader.run(&run.id).ok()));
    let shown = fitting.enumerate().map(|(at, run)| {
        let help = format!("{}, {}, started {}", run.script, run.state(), minute(run.created_ms));
        candidate(run.id.as_str(), help).display_order(Some(at))
    });
    shown.collect()
}

/// Values that stand in the named run; in any unfinished one, where none is named.
fn of_run(line: &Line, what: Values, quote: bool) -> Vec<CompletionCandidate> {
    let Ok(Some(reader)) = state::reader(&line.ctx()) else { return Vec::new() };
    let ids = match line.run() {
        Some(text) => reader.resolve(&text).into_iter().collect(),
        None => reader.unfinished().unwrap_or_default().into_iter().map(|run| run.id).collect::<Vec<_>>(),
    };
    let found = ids.iter().filter_map(|id| reader.run(id).ok());
    let pairs = found.flat_map(|found| {
        let help = format!("of {}, {}", found.summary.script, found.summary.state());
        let quoted = move |value: String| if quote { escaped(&value) } else { value };
        what(&found).into_iter().map(move |value| candidate(&quoted(value), help.clone()))
    });
    pairs.collect()
}

/// A word as bash takes it when it is put into a line: what has a meaning there stands behind a backslash.
fn escaped(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:,@%+=".contains(c);
    word.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_put_into_a_line_as_bash_reads_them() {
        assert_eq!(escaped("pass[1]"), r"pass\[1\]");
        assert_eq!(escaped("say it"), r"say\ it");
        assert_eq!(escaped("move-tree/a.b"), "move-tree/a.b");
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_sound_wherever_the_line_stands() {
        for line in ["decamp", "decamp run", "decamp run move-tree --", "decamp plan nothing", "decamp resume 0198 --"]
        {
            command(&words(line), true).debug_assert();
        }
    }

    #[test]
    fn the_run_is_found_behind_flags() {
        let run = |line: &str| Line::of(&words(line)).run();
        assert_eq!(run("decamp --output json decide 0198 st"), Some("0198".into()));
        assert_eq!(run("decamp resume --yes 0198 --approve x"), Some("0198".into()));
        assert_eq!(run("decamp resume --approve"), None);
    }
}
