//! `decamp repl`: the functions of scripts, one line at a time.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::Arc;

use clap::Parser;

use super::ctx::Ctx;
use super::global::Format;
use super::{Cli, Command, Fixed, dispatch, execute};
use crate::error::{Error, Exit, Kind};
use crate::repl::{Form, Input, Setup};
use crate::report::json::document;
use crate::report::output::tell;
use crate::report::style::redraws;
use crate::script::session::Mode;

/// Explore: call the functions of scripts one line at a time
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Changes are shown and not done, until :do or :live says so. Without a terminal, standard input is read line \
                        by line, and the first failure ends it.\n\nExamples:\n  decamp repl\n  decamp repl -e 'copy::scan(\"/data\").counts'\n  \
                        decamp repl --live --yes < steps.rhai"
)]
pub(crate) struct Args {
    /// Evaluate this line and leave; repeatable
    #[arg(long = "eval", short = 'e', value_name = "LINE")]
    lines: Vec<String>,

    /// Do what lines change, journalled as a run
    #[arg(long, conflicts_with = "read_only")]
    live: bool,

    /// Refuse to change anything, whatever is typed; commands that a line declares `read_only` still run
    #[arg(long)]
    read_only: bool,

    /// Answer the question before what cannot be taken back with yes
    #[arg(long, short = 'y')]
    yes: bool,

    /// Grant this approval in advance; repeatable
    #[arg(long, value_name = "NAME")]
    approve: Vec<String>,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let terminal = stdin().is_terminal() && stdout().is_terminal() && ctx.format() == Format::Text;
    let input = match (args.lines.is_empty(), terminal) {
        (false, _) => Input::Lines(args.lines),
        (true, true) => Input::Terminal,
        (true, false) => Input::Pipe,
    };
    let setup = Setup {
        state: ctx.state_dir()?,
        input,
        mode: if args.live { Mode::Live } else { Mode::Plan },
        read_only: args.read_only,
        yes: args.yes,
        approve: args.approve,
        argv: ctx.argv.clone(),
        form: match ctx.format() {
            Format::Text => Form::Text,
            Format::Json => Form::Json,
            Format::Ndjson => Form::Ndjson,
        },
        out: ctx.out,
        err: ctx.err,
        redraws: redraws(),
        print: &|text| ctx.raw(text),
        emit: &|value| match ctx.format() {
            Format::Json => ctx.raw(&format!("{:#}", document(value))),
            Format::Text | Format::Ndjson => ctx.raw(&document(value).to_string()),
        },
        tell: &|error| tell(&error.render(ctx.err.on())),
        live: &|| ctx.live(),
        line: execute::line,
        ask: &|live, cancel| execute::ask(ctx, &Arc::clone(live), cancel),
        command: &|words| other(ctx, words),
    };
    crate::repl::run(&setup)
}

/// Another subcommand, as if it had been typed beside the session.
fn other(ctx: &Ctx, words: &[&str]) -> Result<Exit, Error> {
    let line = std::iter::once("decamp").chain(words.iter().copied());
    let cli = Cli::try_parse_from(line).map_err(|error| super::usage::word(&error))?;
    match cli.command {
        Command::Fixed(command)
            if matches!(*command, Fixed::Runs(_) | Fixed::Show(_) | Fixed::Log(_) | Fixed::Docs(_)) =>
        {
            dispatch(ctx, *command)
        }
        _ => Err(Error::new(Kind::Unsupported, format!("`{}` does not run inside a session", words.join(" ")))),
    }
}
