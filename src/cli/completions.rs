//! `decamp completions`: what a shell needs to complete this command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::ctx::Ctx;
use crate::error::{Error, Exit};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  decamp completions bash > /etc/bash_completion.d/decamp")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The whole command line, with `run` as far as it is known without a script.
fn complete() -> clap::Command {
    super::Cli::command().mut_subcommand("run", |_| super::run::general())
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut complete(), "decamp", &mut text);
    ctx.raw(&String::from_utf8_lossy(&text));
    Ok(Exit::Success)
}
