//! Help, and the wording of a command line that cannot be understood.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, Command};

use super::ctx::Ctx;
use super::global::Format;
use crate::error::{Error, Exit, Kind};

/// What stands below the help of the program: the exit codes.
pub(crate) fn after_help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning) in Exit::TABLE {
        text.push_str(&format!("  {:>3}  {meaning}\n", exit.code()));
    }
    text.push_str("\nResults go to standard output, everything else to standard error.");
    text
}

/// The command with colours as asked for.
pub(crate) fn colored(command: Command, ctx: &Ctx) -> Command {
    command.color(if ctx.out.on() { ColorChoice::Always } else { ColorChoice::Never })
}

/// Prints help or version where that was asked for, else says what is wrong with the command line.
pub(crate) fn report(error: &clap::Error, ctx: &Ctx) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render();
            ctx.raw(&if ctx.out.on() { text.ansi().to_string() } else { text.to_string() });
            Exit::Success
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let text = error.render();
            crate::report::output::tell(&if ctx.err.on() { text.ansi().to_string() } else { text.to_string() });
            if ctx.format() != Format::Text {
                ctx.failure(&Error::new(Kind::Invalid, "no subcommand was given"));
            }
            Exit::Usage
        }
        _ => {
            let error = word(error);
            ctx.failure(&error);
            error.exit_code()
        }
    }
}

/// The same failure in this program's own form: message, near name as a hint, usage as a hint.
pub(crate) fn word(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ").trim_end();
    let message = message.replace('\'', "`");
    let mut hints = Vec::new();
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue] {
        let near = match error.get(kind) {
            Some(ContextValue::String(near)) => near.clone(),
            Some(ContextValue::Strings(all)) if !all.is_empty() => all.join("` or `"),
            _ => continue,
        };
        hints.push(format!("did you mean `{near}`?"));
    }
    if let Some(usage) = text.split("\n\n").find_map(|part| part.trim_start().strip_prefix("Usage: ")) {
        hints.push(format!("usage: {}", usage.trim()));
    }
    Error::new(Kind::Invalid, message).hints(hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_exit_codes_is_complete() {
        let help = after_help();
        for (exit, meaning) in Exit::TABLE {
            assert!(help.contains(&format!("{:>3}  {meaning}", exit.code())), "{help}");
        }
    }
}
