//! `decamp run`: the flags come from the script, so the line is parsed twice: once as a whole, where everything after
//! `run` is left as it is, and once more when the script is known.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches};
use serde_json::Value;

use super::execute::{Flags, Job};
use super::global::Global;
use crate::error::{Error, Exit, Kind};
use crate::script::params::{Param, ParamKind, resolve};
use crate::script::{self, Script};
use crate::units::path_text;

/// Everything after `run`, as it was typed.
#[derive(Debug, clap::Args)]
#[command(about = ABOUT, disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    rest: Vec<OsString>,
}

/// The flags every script has.
#[derive(Debug, clap::Args)]
struct Fixed {
    #[command(flatten)]
    flags: Flags,

    /// Set a parameter by the name it has in the script; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

const ABOUT: &str = "Run a script: everything it does is journalled and can be resumed";

/// A run that is ready to begin.
pub(crate) struct Ready {
    pub(crate) global: Global,
    pub(crate) flags: Flags,
    pub(crate) job: Job,
}

/// Why there is nothing to begin.
pub(crate) enum Stop {
    /// Help was asked for, or the line cannot be understood.
    Usage(clap::Error),
    /// The script or its parameters are at fault.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// `run` as help and completions show it while no script is known.
pub(crate) fn general() -> Command {
    let names: Vec<String> = script::shipped().into_iter().map(|(name, _)| name).collect();
    let scripts = if names.is_empty() { String::new() } else { format!("Shipped scripts: {}\n\n", names.join(", ")) };
    let after = format!(
        "{scripts}A script's own flags: decamp run NAME --help\n\nExamples:\n  decamp run move-tree --source /srv/old --dest \
         /srv/new --plan\n  decamp run ./my-move.rhai --set source=/srv/old --set dest=/srv/new"
    );
    let name = Arg::new("script").value_name("NAME|FILE").required(true).help("Name of a shipped script, or a file");
    // The about comes last: the groups of flags bring theirs along.
    Fixed::augment_args(Command::new("run").arg(name)).about(ABOUT).after_help(after)
}

impl Args {
    /// Finds the script, reads its parameters, and reads the rest of the line with them. `color` prepares the command
    /// that words help and errors.
    pub(crate) fn read(self, color: impl Fn(Command) -> Command) -> Result<Ready, Stop> {
        let plain = Global::augment_args(general()).about(ABOUT).bin_name("decamp run").no_binary_name(true);
        let Some(at) = position(&plain, &self.rest) else {
            return Err(match color(plain).try_get_matches_from(&self.rest) {
                Err(error) => Stop::Usage(error),
                Ok(_) => Stop::Error(Error::new(Kind::Invalid, "no script was named")),
            });
        };
        let name = text(&self.rest[at])?;
        let script = find(&name)?;
        let declared = script::params(&script)?;
        let mut line = self.rest;
        line.remove(at);
        let command = color(command(&script, &declared));
        let matches = command.try_get_matches_from(line).map_err(Stop::Usage)?;
        let fixed = Fixed::from_arg_matches(&matches).map_err(Stop::Usage)?;
        let global = Global::from_arg_matches(&matches).map_err(Stop::Usage)?;
        let params = values(&declared, &fixed.set, &matches)?;
        Ok(Ready { global, flags: fixed.flags, job: Job::Run(Box::new(script), params) })
    }
}

/// Finds a script by name or file.
pub(super) fn find(name: &str) -> Result<Script, Error> {
    script::find(name).map_err(|error| {
        let exit = error.exit.unwrap_or(if error.kind == Kind::NotFound { Exit::Usage } else { error.exit_code() });
        error.hint("list the scripts: decamp scripts list").exit(exit)
    })
}

/// Where the script's name stands: the first word that is neither a flag nor the value of one.
fn position(command: &Command, rest: &[OsString]) -> Option<usize> {
    let takes_value = |flag: &str| {
        let name = flag.trim_start_matches('-');
        command.get_arguments().any(|arg| arg.get_long() == Some(name) && arg.get_action().takes_values())
    };
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        let word = word.to_string_lossy();
        if !word.starts_with('-') || word == "-" {
            return Some(at);
        }
        at += if takes_value(&word) { 2 } else { 1 };
    }
    None
}

/// The command for one script: the fixed flags, the script's parameters, and the flags of every subcommand.
fn command(script: &Script, declared: &[Param]) -> Command {
    let name = path_text(script.name.as_bytes());
    let plain = Command::new("run").bin_name(format!("decamp run {name}")).no_binary_name(true).max_term_width(100);
    let fixed = Fixed::augment_args(plain);
    let all = Global::augment_args(fixed.clone());
    let taken = |param: &Param| {
        let flag = param.flag();
        ["help", "dry-run"].contains(&&*flag) || all.get_arguments().any(|arg| arg.get_long() == Some(&*flag))
    };
    let (hidden, mut shown): (Vec<&Param>, Vec<&Param>) = declared.iter().partition(|param| taken(param));
    shown.sort_by_key(|param| !param.required);
    let heading = format!("Parameters of {name}");
    let args = shown.into_iter().map(|param| flag(param).help_heading(heading.clone()));
    // The script's own parameters stand before the flags that every subcommand has.
    let command = Global::augment_args(fixed.args(args)).args_override_self(true).about(script::title(&script.text));
    if hidden.is_empty() {
        return command;
    }
    let names: Vec<String> = hidden.iter().map(|param| format!("--set {}=VALUE", param.name)).collect();
    command.after_help(format!("Named like a flag of decamp, so given as: {}", names.join(", ")))
}

fn flag(param: &Param) -> Arg {
    let arg = Arg::new(param.name.clone()).long(param.flag()).help(help(param));
    let arg = arg.value_parser(ValueParser::os_string()).value_name(value_name(param.kind));
    let arg = match param.kind {
        ParamKind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        ParamKind::Int | ParamKind::Float => arg.allow_negative_numbers(true),
        // Patterns such as `- *.tmp` begin with a hyphen.
        ParamKind::String if param.list => arg.allow_hyphen_values(true),
        _ => arg,
    };
    // All are gathered, so that one given twice can be refused instead of the last one winning in silence.
    arg.action(ArgAction::Append)
}

fn value_name(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::String => "TEXT",
        ParamKind::Int | ParamKind::Float => "N",
        ParamKind::Bool => "true|false",
        ParamKind::Size => "SIZE",
        ParamKind::Duration => "TIME",
        ParamKind::Path => "PATH",
        ParamKind::Endpoint => "[HOST:]PATH",
        ParamKind::Argv => "COMMAND",
        ParamKind::Secret => "env:NAME|file:PATH",
    }
}

/// The help of a parameter, with its limits and its default behind it.
fn help(param: &Param) -> String {
    let mut notes = Vec::new();
    if param.required {
        notes.push("required".to_owned());
    }
    if param.list {
        notes.push("repeatable".to_owned());
    }
    if !param.values.is_empty() {
        notes.push(format!("one of: {}", param.values.join(", ")));
    }
    if let Some(default) = param.default.as_ref().map(show).filter(|text| !text.is_empty()) {
        notes.push(format!("default: {default}"));
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" [{}]", notes.join("; ")) };
    format!("{}{notes}", param.help)
}

/// A default as one would type it; a switch that is off and an empty text need no words.
fn show(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(false) => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What was given: flags over `--set`, both over the defaults.
fn values(declared: &[Param], set: &[String], matches: &ArgMatches) -> Result<Value, Error> {
    let mut given: Vec<(String, Vec<String>)> = Vec::new();
    for param in declared {
        let Ok(Some(words)) = matches.try_get_many::<OsString>(&param.name) else { continue };
        let read = |word: &OsString| match param.kind {
            ParamKind::Path | ParamKind::Endpoint => Ok(path_text(word.as_encoded_bytes())),
            _ => text(word),
        };
        let texts: Vec<String> = words.map(read).collect::<Result<_, _>>()?;
        if texts.len() > 1 && !param.list {
            return Err(Error::new(Kind::Invalid, format!("--{} is given {} times", param.flag(), texts.len()))
                .hint("it takes one value"));
        }
        given.push((param.name.clone(), texts));
    }
    let flags = given.len();
    for pair in set {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Error::new(Kind::Invalid, format!("`--set {pair}` has no `=`")).hint("write --set NAME=VALUE"));
        };
        if given[..flags].iter().any(|(flag, _)| flag == name) {
            continue;
        }
        match given.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value.to_owned()),
            None => given.push((name.to_owned(), vec![value.to_owned()])),
        }
    }
    resolve(declared, &given)
}

fn text(word: &OsString) -> Result<String, Error> {
    word.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(Kind::Invalid, format!("`{}` is not UTF-8", path_text(word.as_encoded_bytes()))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn param(name: &str, kind: ParamKind) -> Param {
        Param {
            name: name.into(),
            kind,
            required: false,
            default: None,
            help: "help".into(),
            list: false,
            values: Vec::new(),
        }
    }

    fn script() -> Script {
        Script { name: "demo".into(), path: None, text: String::new() }
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_script_is_found_wherever_it_stands() {
        let plain = Global::augment_args(general());
        for (line, at) in [
            ("move-tree --source a", Some(0)),
            ("--plan move-tree", Some(1)),
            ("--set a=b --yes move-tree --plan", Some(3)),
            ("--output json move-tree", Some(2)),
            ("--output=json move-tree", Some(1)),
            ("--help", None),
            ("", None),
        ] {
            assert_eq!(position(&plain, &words(line)), at, "{line}");
        }
    }

    #[test]
    fn flags_of_a_script_are_typed_and_switches_need_no_value() {
        let mut many = param("exclude", ParamKind::String);
        many.list = true;
        let declared = [many, param("dry", ParamKind::Bool), param("size_min", ParamKind::Int)];
        let line = "--exclude a --dry --exclude b --size-min -5 --plan";
        let matches = command(&script(), &declared).try_get_matches_from(words(line)).unwrap();
        let all = |name: &str| -> Vec<_> { matches.get_many::<OsString>(name).unwrap().cloned().collect() };
        assert_eq!(all("exclude"), ["a", "b"]);
        assert_eq!(all("dry"), ["true"]);
        assert_eq!(all("size_min"), ["-5"]);
        assert!(Fixed::from_arg_matches(&matches).unwrap().flags.plan);
    }

    #[test]
    fn a_parameter_named_like_a_fixed_flag_is_left_to_set() {
        let declared =
            [param("plan", ParamKind::String), param("help", ParamKind::String), param("x", ParamKind::Path)];
        let mut made = command(&script(), &declared);
        let help = made.render_help().to_string();
        assert!(help.contains("--set plan=VALUE, --set help=VALUE"), "{help}");
        assert!(help.contains("--x <PATH>"), "{help}");
    }

    #[test]
    fn a_near_flag_is_named() {
        let declared = [param("source", ParamKind::Path)];
        let error = command(&script(), &declared).try_get_matches_from(words("--sorce a")).unwrap_err();
        let worded = super::super::usage::word(&error);
        assert!(worded.hints.contains(&"did you mean `--source`?".to_owned()), "{worded:?}");
    }
}
