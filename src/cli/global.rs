//! The flags every subcommand takes.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::report::live::Mode;
use crate::report::style;

/// Flags of every subcommand. All are optional here, so that flags given before and after `run` can be merged.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    #[arg(long, global = true, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    #[arg(help = "Print results as text, json or ndjson [default: text]")]
    pub(crate) output: Option<Format>,

    #[arg(long, global = true, value_enum, value_name = "HOW", hide_possible_values = true)]
    #[arg(help = "Show progress as bar, plain lines or none [default: auto: a bar on a terminal]")]
    pub(crate) progress: Option<Progress>,

    #[arg(long, global = true, value_name = "DIR")]
    #[arg(help = "Keep the journal here [default: $DECAMP_STATE_DIR, else the XDG state directory]")]
    pub(crate) state_dir: Option<PathBuf>,

    #[arg(long, global = true, value_enum, value_name = "WHEN", hide_possible_values = true)]
    #[arg(help = "Colour auto, always or never [default: auto: NO_COLOR, CLICOLOR_FORCE, terminal]")]
    pub(crate) color: Option<Color>,
}

impl Global {
    /// What was given here, else what `outer` says.
    pub(crate) fn or(self, outer: Self) -> Self {
        Self {
            output: self.output.or(outer.output),
            progress: self.progress.or(outer.progress),
            state_dir: self.state_dir.or(outer.state_dir),
            color: self.color.or(outer.color),
        }
    }

    /// The flags read without looking at anything else: enough to word an error of the command line itself, and
    /// to complete it.
    pub(crate) fn peek(args: &[OsString]) -> Self {
        Self {
            output: value_of(args, "--output").and_then(|v| Format::from_str(v, false).ok()),
            state_dir: value_of(args, "--state-dir").map(PathBuf::from),
            color: value_of(args, "--color").and_then(|v| Color::from_str(v, false).ok()),
            ..Self::default()
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.output.unwrap_or_default()
    }

    pub(crate) fn color(&self) -> style::Color {
        match self.color.unwrap_or_default() {
            Color::Auto => style::Color::Auto,
            Color::Always => style::Color::Always,
            Color::Never => style::Color::Never,
        }
    }

    /// How progress is shown here.
    pub(crate) fn mode(&self) -> Mode {
        let bar = || if style::redraws() { Mode::Bar } else { Mode::Plain };
        match (self.progress.unwrap_or_default(), self.format()) {
            (Progress::None, Format::Ndjson) | (Progress::Auto, Format::Ndjson) => Mode::Events,
            (Progress::None, _) => Mode::None,
            (Progress::Plain, _) => Mode::Plain,
            (Progress::Auto | Progress::Bar, _) => bar(),
        }
    }
}

fn value_of<'a>(args: &'a [OsString], flag: &str) -> Option<&'a str> {
    let mut args = args.iter().map(OsString::as_os_str).map_while(OsStr::to_str).take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == flag {
            return args.next();
        }
        if let Some(value) = arg.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

/// Form of what goes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Text,
    /// One document.
    Json,
    /// One event a line, the result last.
    Ndjson,
}

/// Form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, else plain lines.
    #[default]
    Auto,
    /// A bar, where there is a terminal.
    Bar,
    /// A line now and then.
    Plain,
    /// Nothing.
    None,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// As the environment and the terminal say.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn an_error_of_the_command_line_already_knows_its_form() {
        let seen = Global::peek(&args("decamp cpoy --output json --color=never"));
        assert_eq!((seen.output, seen.color), (Some(Format::Json), Some(Color::Never)));
        assert_eq!(Global::peek(&args("decamp copy -- --output json")).output, None);
        assert_eq!(Global::peek(&args("decamp copy --output yaml")).output, None);
    }

    #[test]
    fn later_flags_win() {
        let outer = Global { output: Some(Format::Json), color: Some(Color::Never), ..Global::default() };
        let inner = Global { output: Some(Format::Text), ..Global::default() };
        let both = inner.or(outer);
        assert_eq!((both.output, both.color), (Some(Format::Text), Some(Color::Never)));
    }

    #[test]
    fn json_lines_bring_their_progress_along() {
        let global = Global { output: Some(Format::Ndjson), ..Global::default() };
        assert_eq!(global.mode(), Mode::Events);
        let plain = Global { progress: Some(Progress::Plain), ..global };
        assert_eq!(plain.mode(), Mode::Plain);
    }
}
