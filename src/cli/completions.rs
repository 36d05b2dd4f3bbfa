//! `decamp completions`: what makes a shell ask this program while a line is typed.

use clap_complete::env::Shells;

use super::ctx::Ctx;
use crate::error::{Error, Exit, Kind};

/// Print what makes a shell complete scripts and their flags, runs, steps and paths
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  source <(decamp completions bash)      # in ~/.bashrc\n  source <(decamp completions zsh)       # in ~/.zshrc\n  \
                  decamp completions fish | source       # in ~/.config/fish/config.fish\n  eval (decamp completions elvish | slurp)"
)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
        }
    }
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let mut text = Vec::new();
    let name = args.shell.name();
    let shell = Shells::builtins();
    let shell =
        shell.completer(name).ok_or_else(|| Error::new(Kind::Internal, format!("nothing completes for {name}")))?;
    // The name alone, so that the shell asks whichever decamp is on the path by then.
    shell
        .write_registration("COMPLETE", "decamp", "decamp", "decamp", &mut text)
        .map_err(|source| Error::new(Kind::Internal, format!("nothing completes for {name}")).because(source))?;
    ctx.raw(&String::from_utf8_lossy(&text));
    Ok(Exit::Success)
}
