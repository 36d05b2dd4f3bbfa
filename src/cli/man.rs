//! `decamp man`: manual pages, made from the command line itself and from the shipped scripts, so that they cannot lag
//! behind: one for the program, one a subcommand, one a script.

use std::io::{IsTerminal, Write as _, stdout};
use std::path::PathBuf;
use std::process::Stdio;

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use serde_json::json;

use super::ctx::{Ctx, shell_word};
use super::global::Format;
use super::run;
use crate::error::{Error, Exit, Kind, kind_of};
use crate::script;
use crate::units::path_text;

/// Show or write the manual pages
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  decamp man\n  decamp man run-move-tree\n  decamp man --out /usr/local/share/man/man1"
)]
pub(crate) struct Args {
    /// The page: a subcommand such as resume, or run-SCRIPT; without it, that of the program
    page: Option<String>,

    /// Write every page into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    out: Option<PathBuf>,
}

/// A manual page.
struct Page {
    /// `decamp-run-move-tree`.
    name: String,
    roff: String,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let pages = pages()?;
    if let Some(dir) = args.out {
        return write(ctx, &pages, &dir);
    }
    let wanted = args.page.map_or_else(|| "decamp".to_owned(), |page| full(&page));
    let Some(page) = pages.iter().find(|page| page.name == wanted) else {
        let near = script::near::hint(&wanted, pages.iter().map(|page| page.name.as_str()));
        let error = Error::new(Kind::NotFound, format!("there is no page `{wanted}`")).exit(Exit::Usage);
        return Err(error.hint(near.unwrap_or_else(|| "they are listed at the end of: decamp man".to_owned())));
    };
    if ctx.format() == Format::Text && stdout().is_terminal() && read(&page.roff) {
        return Ok(Exit::Success);
    }
    ctx.result(|| page.roff.clone(), || json!({ "page": page.name, "roff": page.roff }));
    Ok(Exit::Success)
}

fn full(page: &str) -> String {
    if page == "decamp" || page.starts_with("decamp-") { page.to_owned() } else { format!("decamp-{page}") }
}

/// Shows a page through man; false if there is none, or it cannot.
fn read(roff: &str) -> bool {
    let man = std::process::Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(mut man) = man else { return false };
    // Whoever leaves the pager early has read enough.
    man.stdin.take().map(|mut input| input.write_all(roff.as_bytes()));
    man.wait().is_ok_and(|status| status.success())
}

fn write(ctx: &Ctx, pages: &[Page], dir: &std::path::Path) -> Result<Exit, Error> {
    let shown = path_text(dir.as_os_str().as_encoded_bytes());
    let failed = |source: std::io::Error| {
        let kind = rustix::io::Errno::from_io_error(&source).map_or(Kind::Io, kind_of);
        Error::new(kind, format!("cannot write the pages to `{shown}`"))
            .because(source)
            .hint("choose another directory")
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    for page in pages {
        std::fs::write(dir.join(format!("{}.1", page.name)), &page.roff).map_err(failed)?;
    }
    let first = dir.join("decamp.1");
    ctx.result(
        || {
            format!(
                "wrote {} pages to {shown}\nread them with: man -l {}\n",
                pages.len(),
                shell_word(&first.to_string_lossy())
            )
        },
        || json!({ "dir": shown, "pages": pages.iter().map(|page| &page.name).collect::<Vec<_>>() }),
    );
    Ok(Exit::Success)
}

/// Every page.
fn pages() -> Result<Vec<Page>, Error> {
    let mut all = super::Cli::command().mut_subcommand("run", |_| run::general().display_order(0));
    let about = all.find_subcommand("plan").and_then(Command::get_about).cloned();
    all = all.mut_subcommand("plan", |_| run::general().name("plan").display_order(0).about(about.unwrap_or_default()));
    all.build();
    let mut commands = Vec::new();
    gather(&["decamp"], &all, &mut commands);
    for (name, text) in script::shipped() {
        let found = script::find(&name)?;
        let declared = script::params(&found)?;
        let mut command = run::command(&found, &declared).no_binary_name(false).disable_help_flag(false);
        // For the parser they are not: a site file or --set may give them as well.
        for param in declared.iter().filter(|param| param.required) {
            command =
                command.mut_args(|arg| if arg.get_id() == param.name.as_str() { arg.required(true) } else { arg });
        }
        commands.push((format!("decamp run {name}"), command.long_about(script::about(&text))));
    }
    let names: Vec<String> = commands.iter().map(|(spoken, _)| spoken.replace(' ', "-")).collect();
    commands.into_iter().map(|(spoken, command)| page(&spoken, command, &names)).collect()
}

fn gather(words: &[&str], command: &Command, all: &mut Vec<(String, Command)>) {
    // Listed by its own page; what stands below has pages of its own.
    all.push((words.join(" "), command.clone()));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        gather(&[words, &[below.get_name()]].concat(), below, all);
    }
}

fn page(spoken: &str, command: Command, names: &[String]) -> Result<Page, Error> {
    let failed = |source: std::io::Error| Error::new(Kind::Internal, "a manual page cannot be made").because(source);
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let name = spoken.replace(' ', "-");
    let command = command.display_name(name.clone()).bin_name(spoken);
    let mut head = Roff::default();
    synopsis(&mut head, spoken, &command);
    let has_subcommands = command.get_subcommands().next().is_some();
    let man = Man::new(command);
    // By hand: the crate drops a date that is empty, and takes what follows for it.
    let mut text = format!(
        ".TH {} 1 \"\" \"decamp {}\" \"decamp\"
",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes();
    man.render_name_section(&mut text).map_err(failed)?;
    head.to_writer(&mut text).map_err(failed)?;
    man.render_description_section(&mut text).map_err(failed)?;
    man.render_options_section(&mut text).map_err(failed)?;
    if has_subcommands {
        man.render_subcommands_section(&mut text).map_err(failed)?;
    }
    let mut rest = Roff::default();
    if name != "decamp" {
        notes(&mut rest, &after);
    }
    exit_status(&mut rest);
    pairs(&mut rest, "ENVIRONMENT", ENVIRONMENT);
    pairs(&mut rest, "FILES", FILES);
    see_also(&mut rest, &name, names);
    rest.to_writer(&mut text).map_err(failed)?;
    Ok(Page { name, roff: ascii(&String::from_utf8_lossy(&text)) })
}

/// How the command is called. By hand: the crate leaves out the values of flags, and lists every flag that need not be
/// given, which OPTIONS does.
fn synopsis(roff: &mut Roff, spoken: &str, command: &Command) {
    let mut line = vec![bold(spoken)];
    let required = |arg: &&Arg| arg.is_required_set() && !arg.is_positional() && !arg.is_hide_set();
    for arg in command.get_arguments().filter(required) {
        let value = arg.get_value_names().unwrap_or_default().join(" ");
        line.extend([roman(" "), bold(format!("--{}", arg.get_long().unwrap_or_default())), roman(" "), italic(value)]);
    }
    line.extend([roman(" ["), italic("options"), roman("]")]);
    for arg in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
        let (open, close) = if arg.is_required_set() { (" ", "") } else { (" [", "]") };
        let name = arg.get_value_names().map_or_else(|| arg.get_id().to_string(), |names| names.join(" "));
        let many = if matches!(arg.get_action(), ArgAction::Append) { " ..." } else { "" };
        line.extend([roman(open), italic(name), roman(many), roman(close)]);
    }
    if command.get_subcommands().next().is_some() {
        line.extend([roman(" "), italic("subcommand")]);
    }
    roff.control("SH", ["SYNOPSIS"]);
    roff.text(line);
}

/// The text with other characters in the form every roff knows.
fn ascii(text: &str) -> String {
    let one = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(one).collect()
}

/// What stands below the help: examples as they are typed, everything else as text.
fn notes(roff: &mut Roff, after: &str) {
    for part in after.split("\n\n").filter(|part| !part.trim().is_empty()) {
        let examples = part.strip_prefix("Examples:\n").or_else(|| part.strip_prefix("Example:\n"));
        roff.control("SH", [if examples.is_some() { "EXAMPLES" } else { "NOTES" }]);
        match examples {
            Some(lines) => {
                roff.control("nf", []);
                lines.lines().for_each(|line| {
                    roff.text([roman(line.trim_start())]);
                });
                roff.control("fi", []);
            }
            None => {
                roff.text([roman(part.replace('\n', " "))]);
            }
        }
    }
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in Exit::TABLE {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]);
        roff.text([roman(meaning)]);
    }
}

const ENVIRONMENT: &[(&str, &str)] = &[
    ("DECAMP_STATE_DIR", "where the journal lives, unless --state-dir says so"),
    ("XDG_STATE_HOME", "where it lives otherwise, in decamp/ below; without it ~/.local/state"),
    ("NO_COLOR, CLICOLOR_FORCE", "never or always colour, unless --color says so"),
    ("TERM", "no bar and no colour on a dumb terminal"),
    ("COMPLETE", "set by shells that complete a line, see decamp-completions(1)"),
];

const FILES: &[(&str, &str)] = &[
    ("journal.db", "in the state directory: runs, steps, effects, approvals and leases"),
    ("runs/ID/events.ndjson", "there: the story of a run, one JSON object a line"),
    ("runs/ID/progress.db", "there: how far the copies of a run have got"),
    ("backup/", "there: copies of the journal"),
    (".decamp-run", "in the root of a destination: which run has it; removed when the run is over"),
];

fn pairs(roff: &mut Roff, heading: &str, pairs: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, what) in pairs {
        roff.control("TP", []);
        roff.text([italic(*name)]);
        roff.text([roman(*what)]);
    }
}

fn see_also(roff: &mut Roff, own: &str, names: &[String]) {
    roff.control("SH", ["SEE ALSO"]);
    let below = format!("{own}-");
    // The program knows all; a page knows the one above it, those below, and its neighbours.
    let above = own.rsplit_once('-').map_or("decamp", |(above, _)| above);
    let near = |name: &&String| {
        own == "decamp"
            || *name == "decamp"
            || name.starts_with(&below)
            || name.starts_with(above) && !name[above.len()..].trim_start_matches('-').contains('-')
    };
    let shown: Vec<String> =
        names.iter().filter(|name| *name != own).filter(near).map(|name| format!("{name}(1)")).collect();
    roff.text([roman(shown.join(", "))]);
}
