//! The command line: what may be typed, one file a subcommand, and nothing of how it is done.
//!
//! A subcommand turns its arguments into a call of an engine or the script host, shows what comes back, and returns
//! how the process ends. `run` alone is parsed twice: a script's flags are known only once the script is found.

mod abandon;
mod agent;
mod approve;
mod args;
mod ask;
mod askpass;
mod check;
mod compare;
mod complete;
mod completions;
mod copy;
mod ctx;
mod decide;
mod docs;
mod doctor;
mod execute;
mod explain;
mod export;
mod global;
mod itemized;
mod log;
mod man;
mod onward;
mod outcome;
mod plain;
mod plan_file;
mod prune;
mod rate;
mod reach;
mod repl;
mod resume;
mod run;
mod runs;
mod scan;
mod scripts;
mod show;
mod signals;
mod site;
mod state;
mod undo;
mod usage;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, Exit};
use ctx::Ctx;
use global::Global;
use run::{Ready, Stop};

/// Moves data and the services around it from one home to another, and survives being interrupted at any instant
#[derive(Debug, Parser)]
#[command(name = "decamp", version, about, max_term_width = 100, disable_help_subcommand = true)]
#[command(subcommand_required = true, arg_required_else_help = true, after_help = usage::after_help())]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    /// Say what a script would do; change nothing: another name of run --plan
    Plan(run::Args),
    #[command(flatten)]
    Fixed(Box<Fixed>),
}

/// Subcommands whose flags are known beforehand.
#[derive(Debug, Subcommand)]
enum Fixed {
    Resume(resume::Args),
    Undo(undo::Args),
    Abandon(abandon::Args),
    Decide(decide::Args),
    Approve(approve::Args),
    Rate(rate::Args),
    Runs(runs::Args),
    Show(show::Args),
    Log(log::Args),
    Doctor(doctor::Args),
    Export(export::Args),
    Scripts(scripts::Args),
    Check(check::Args),
    Docs(docs::Args),
    Repl(repl::Args),
    Copy(copy::Args),
    Compare(compare::Args),
    Scan(scan::Args),
    Completions(completions::Args),
    Man(man::Args),
    Agent(agent::Args),
}

/// Runs the command line `args`, program name included, and returns how the process ends.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit) = askpass::answer(&args).or_else(|| complete::answer(&args)) {
        return ExitCode::from(exit.code());
    }
    ExitCode::from(start(&args).code())
}

fn start(args: &[OsString]) -> Exit {
    let peeked = Ctx::new(Global::peek(args), args);
    let parsed = usage::colored(Cli::command(), &peeked)
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return misused(&error, &peeked),
    };
    let command = match cli.command {
        Command::Plan(line) => Command::Plan(line.planned()),
        other => other,
    };
    let (ctx, done) = match command {
        Command::Run(line) | Command::Plan(line) => match line.read(|command| usage::colored(command, &peeked)) {
            Ok(Ready::Run { global, flags, job }) => {
                let ctx = Ctx::new(global.or(cli.global), args);
                let done = execute::execute(&ctx, &flags, &job);
                (ctx, done)
            }
            Ok(Ready::Explain { global, settled }) => {
                let ctx = Ctx::new(global.or(cli.global), args);
                let done = Ok(explain::run(&ctx, &settled));
                (ctx, done)
            }
            Err(Stop::Usage(error)) => return misused(&error, &peeked),
            Err(Stop::Error(error)) => (peeked, Err(error)),
        },
        Command::Fixed(command) => {
            let ctx = Ctx::new(cli.global, args);
            let done = dispatch(&ctx, *command);
            (ctx, done)
        }
    };
    let exit = done.unwrap_or_else(|error| {
        ctx.failure(&error);
        error.exit_code()
    });
    ctx.finish(exit)
}

fn misused(error: &clap::Error, ctx: &Ctx) -> Exit {
    let exit = usage::report(error, ctx);
    ctx.finish(exit)
}

fn dispatch(ctx: &Ctx, command: Fixed) -> Result<Exit, Error> {
    match command {
        Fixed::Resume(args) => resume::run(ctx, args),
        Fixed::Undo(args) => undo::run(ctx, args),
        Fixed::Abandon(args) => abandon::run(ctx, args),
        Fixed::Decide(args) => decide::run(ctx, args),
        Fixed::Approve(args) => approve::run(ctx, args),
        Fixed::Rate(args) => rate::run(ctx, args),
        Fixed::Runs(args) => runs::run(ctx, args),
        Fixed::Show(args) => show::run(ctx, args),
        Fixed::Log(args) => log::run(ctx, args),
        Fixed::Doctor(args) => doctor::run(ctx, args),
        Fixed::Export(args) => export::run(ctx, args),
        Fixed::Scripts(args) => scripts::run(ctx, args),
        Fixed::Check(args) => check::run(ctx, args),
        Fixed::Docs(args) => docs::run(ctx, args),
        Fixed::Repl(args) => repl::run(ctx, args),
        Fixed::Copy(args) => copy::run(ctx, args),
        Fixed::Compare(args) => compare::run(ctx, args),
        Fixed::Scan(args) => scan::run(ctx, args),
        Fixed::Completions(args) => completions::run(ctx, args),
        Fixed::Man(args) => man::run(ctx, args),
        Fixed::Agent(args) => agent::run(ctx, args),
    }
}
