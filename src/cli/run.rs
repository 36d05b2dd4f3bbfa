//! `decamp run`: the flags come from the script, so the line is parsed twice: once as a whole, where everything after
//! `run` is left as it is, and once more when the script is known.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches, ValueHint};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use serde_json::Value;

use super::execute::{Flags, Job};
use super::global::Global;
use crate::copy::options::Loss;
use crate::error::{Error, Exit, Kind};
use crate::report::output::tell;
use crate::script::params::{self, Given, Origin, Param, ParamKind, Settled, What, settle};
use crate::script::site::Site;
use crate::script::{self, Script};
use crate::units::path_text;

/// Everything after `run`, as it was typed.
#[derive(Debug, clap::Args)]
#[command(about = ABOUT, disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    rest: Vec<OsString>,

    /// Called as `decamp plan`.
    #[arg(skip)]
    plan: bool,
}

/// The flags every script has.
#[derive(Debug, clap::Args)]
struct Fixed {
    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    onward: super::onward::Onward,

    #[command(flatten)]
    rate: super::rate::RateFlag,

    #[command(flatten)]
    plan_file: super::plan_file::PlanFile,

    /// Set a parameter by the name it has in the script; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Take values and names of secrets from this file [default: $DECAMP_SITE]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    site: Option<PathBuf>,

    /// Say what every parameter would be and where that comes from; run nothing
    #[arg(long)]
    explain: bool,
}

const ABOUT: &str = "Run a script: everything it does is journalled and can be resumed";

const PLANNED: &str = "Say what a run would do; change nothing: short for decamp run NAME … --plan";

/// A line that has been understood.
pub(crate) enum Ready {
    /// A run that is ready to begin.
    Run { global: Global, flags: Box<Flags>, job: Job },
    /// Where its parameters come from.
    Explain { global: Global, settled: Vec<Settled> },
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
    let name = Arg::new("script")
        .value_name("NAME|FILE")
        .required_unless_present("from_plan")
        .help("Name of a shipped script, or a file");
    // The about comes last: the groups of flags bring theirs along.
    Fixed::augment_args(Command::new("run").arg(name)).about(ABOUT).after_help(after)
}

impl Args {
    /// The same line as a plan.
    pub(crate) fn planned(mut self) -> Self {
        self.plan = true;
        let own = self.rest.iter().position(|word| word == "--").unwrap_or(self.rest.len());
        if !self.rest[..own].iter().any(|word| ["--plan", "-n", "--dry-run"].contains(&&*word.to_string_lossy())) {
            self.rest.insert(0, "--plan".into());
        }
        self
    }

    /// Finds the script, reads its parameters, and reads the rest of the line with them. `color` prepares the command
    /// that words help and errors.
    pub(crate) fn read(self, color: impl Fn(Command) -> Command) -> Result<Ready, Stop> {
        let (verb, about) = if self.plan { ("decamp plan", PLANNED) } else { ("decamp run", ABOUT) };
        let plain = Global::augment_args(general()).about(about).bin_name(verb).no_binary_name(true);
        let Some(at) = position(&plain, &self.rest) else {
            let matches = color(plain).try_get_matches_from(&self.rest).map_err(Stop::Usage)?;
            return kept(&matches);
        };
        let name = text(&self.rest[at])?;
        let script = find(&name)?;
        let declared = script::params(&script)?;
        let mut line = self.rest;
        line.remove(at);
        let command = command(&script, &declared).bin_name(format!("{verb} {}", path_text(script.name.as_bytes())));
        let command = color(command);
        let matches = command.try_get_matches_from(line).map_err(Stop::Usage)?;
        let fixed = Fixed::from_arg_matches(&matches).map_err(Stop::Usage)?;
        let global = Global::from_arg_matches(&matches).map_err(Stop::Usage)?;
        if fixed.plan_file.from_plan.is_some() {
            let error = Error::new(Kind::Invalid, format!("`{name}` is named beside --from-plan"));
            return Err(error.hint("a kept plan brings its script and its parameters along").into());
        }
        let site = site(fixed.site.as_deref(), &script, &declared)?;
        let mut given = given(&declared, &fixed.set, &matches, site.as_ref())?;
        if let Some(site) = &site {
            given.extend(site.given(&script, &declared)?);
        }
        let settled = settle(&declared, &given)?;
        if fixed.explain {
            return Ok(Ready::Explain { global, settled });
        }
        let params = params::values(settled)?;
        let flags = Flags { site: site.map(|site| site.used()), ..fixed.flags()? };
        Ok(Ready::Run { global, flags: Box::new(flags), job: Job::Run(Box::new(script), params) })
    }
}

impl Fixed {
    fn flags(self) -> Result<Flags, Error> {
        let onward = self.onward;
        Ok(Flags { max_rate: self.rate.max_rate, onward, plan_file: self.plan_file.read()?, ..self.flags })
    }
}

/// The run of a kept plan: the line names no script.
fn kept(matches: &ArgMatches) -> Result<Ready, Stop> {
    let fixed = Fixed::from_arg_matches(matches).map_err(Stop::Usage)?;
    let global = Global::from_arg_matches(matches).map_err(Stop::Usage)?;
    if fixed.explain {
        return Err(Error::new(Kind::Invalid, "--explain needs a script: a kept plan has its values already").into());
    }
    // Its parameters are in the plan; what scripts call by a name is not.
    let site = named_site(fixed.site.as_deref()).map(|file| Site::read(&file)).transpose()?;
    let flags = Flags { site: site.map(|site| site.used()), ..fixed.flags()? };
    let Some(kept) = flags.plan_file.kept.clone() else {
        return Err(Error::new(Kind::Invalid, "no script was named").into());
    };
    let script = find(kept.script())?;
    Ok(Ready::Run { global, flags: Box::new(flags), job: Job::Run(Box::new(script), kept.params().clone()) })
}

/// Finds a script by name or file.
pub(super) fn find(name: &str) -> Result<Script, Error> {
    script::find(name).map_err(|error| {
        let exit = error.exit.unwrap_or(if error.kind == Kind::NotFound { Exit::Usage } else { error.exit_code() });
        error.hint("list the scripts: decamp scripts list").exit(exit)
    })
}

/// Where the script's name stands: the first word that is neither a flag nor the value of one.
pub(super) fn position(command: &Command, rest: &[OsString]) -> Option<usize> {
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

/// `run` as a shell completes it: with the flags of the script, once `rest`, what stands behind it, names one.
pub(super) fn completing(rest: &[OsString]) -> Command {
    let plain = Global::augment_args(general());
    let named = position(&plain, rest).and_then(|at| script::find(rest[at].to_str()?).ok());
    let Some((found, declared)) = named.and_then(|found| script::params(&found).ok().map(|declared| (found, declared)))
    else {
        // The only positional one, so that its place does not change.
        return general().mut_arg("script", |arg| arg.add(ArgValueCompleter::new(scripts)));
    };
    let (_, shown) = apart(&plain, &declared);
    let names: Vec<String> = declared.iter().map(|param| format!("{}=", param.name)).collect();
    let approvals = approvals(&found.text);
    general()
        .args(shown.into_iter().map(|param| suggested(param, flag(param))))
        .mut_arg("set", |arg| arg.add(candidates(names)))
        .mut_arg("approve", |arg| arg.add(candidates(approvals)))
}

/// Shipped scripts, and files that may be scripts.
fn scripts(current: &OsStr) -> Vec<CompletionCandidate> {
    let file = |path: &Path| path.extension().is_some_and(|ext| ext == "rhai");
    let mut all = super::complete::shipped();
    all.retain(|one| one.get_value().as_encoded_bytes().starts_with(current.as_encoded_bytes()));
    all.extend(PathCompleter::file().filter(file).complete(current));
    all
}

fn candidates(values: Vec<String>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || values.iter().map(CompletionCandidate::new).collect())
}

/// A parameter's flag with what may be its value.
fn suggested(param: &Param, flag: Arg) -> Arg {
    if !param.values.is_empty() {
        return flag.add(candidates(param.values.clone()));
    }
    match param.kind {
        ParamKind::Path | ParamKind::Endpoint => flag.value_hint(ValueHint::AnyPath),
        ParamKind::Bool => flag.add(candidates(vec!["true".into(), "false".into()])),
        // By this name every script passes on what `copy::tree` accepts.
        ParamKind::String if param.name == "accept" => {
            flag.value_delimiter(',').add(candidates(Loss::ALL.map(|loss| loss.name().to_owned()).to_vec()))
        }
        _ => flag,
    }
}

/// Names that stand literally in calls of `approve`.
fn approvals(text: &str) -> Vec<String> {
    text.split("approve(\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name.to_owned()).collect()
}

/// Parameters whose flag is taken by decamp itself, and the others.
fn apart<'p>(all: &Command, declared: &'p [Param]) -> (Vec<&'p Param>, Vec<&'p Param>) {
    declared.iter().partition(|param| {
        let flag = param.flag();
        ["help", "dry-run"].contains(&&*flag) || all.get_arguments().any(|arg| arg.get_long() == Some(&*flag))
    })
}

/// The command for one script: the fixed flags, the script's parameters, and the flags of every subcommand.
pub(super) fn command(script: &Script, declared: &[Param]) -> Command {
    let name = path_text(script.name.as_bytes());
    let plain = Command::new("run").bin_name(format!("decamp run {name}")).no_binary_name(true).max_term_width(100);
    let fixed = Fixed::augment_args(plain);
    let all = Global::augment_args(fixed.clone());
    let (hidden, mut shown) = apart(&all, declared);
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
        ParamKind::Endpoint => "[ssh://HOST]PATH",
        ParamKind::Argv => "COMMAND",
        ParamKind::Secret => "REFERENCE",
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

/// The site file that is named, on the line or in the environment.
fn named_site(named: Option<&Path>) -> Option<PathBuf> {
    let set = std::env::var_os("DECAMP_SITE").filter(|file| !file.is_empty()).map(PathBuf::from);
    named.map(Path::to_owned).or(set)
}

/// The site file, if one is named, and what looks wrong in it.
fn site(named: Option<&Path>, script: &Script, declared: &[Param]) -> Result<Option<Site>, Error> {
    let Some(file) = named_site(named) else { return Ok(None) };
    let site = Site::read(&file)?;
    let shipped = script::shipped().into_iter().map(|(name, text)| {
        let params = script::params(&Script { name: name.clone(), path: None, text })?;
        Ok((name, params))
    });
    let shipped = shipped.collect::<Result<Vec<_>, Error>>()?;
    site.doubts(script, declared, &shipped).iter().for_each(|doubt| tell(&format!("warning: {doubt}")));
    Ok(Some(site))
}

/// What the line gives, strongest first: flags over `--set`.
fn given(declared: &[Param], set: &[String], matches: &ArgMatches, site: Option<&Site>) -> Result<Vec<Given>, Error> {
    let mut given: Vec<Given> = Vec::new();
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
        given.push(Given { name: param.name.clone(), origin: Origin::Flag, what: What::Texts(texts) });
    }
    let flags = given.len();
    for pair in set {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Error::new(Kind::Invalid, format!("`--set {pair}` has no `=`")).hint("write --set NAME=VALUE"));
        };
        let name = name.replace('-', "_");
        match given[flags..].iter_mut().find(|given| given.name == name) {
            Some(Given { what: What::Texts(texts), .. }) => texts.push(value.to_owned()),
            _ => given.push(Given { name, origin: Origin::Set, what: What::Texts(vec![value.to_owned()]) }),
        }
    }
    // A secret may be given by the name it has in the site file.
    for given in &mut given {
        let secret = |param: &&Param| param.name == given.name && param.kind == ParamKind::Secret;
        if let (Some(site), Some(_), What::Texts(texts)) = (site, declared.iter().find(secret), &mut given.what) {
            texts.iter_mut().for_each(|text| *text = site.reference(text));
        }
    }
    Ok(given)
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
