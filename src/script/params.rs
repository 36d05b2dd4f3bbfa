//! A script's parameters: what `params()` declares, and what the user gave for them.

use std::fmt;
use std::path::{Path, PathBuf};

use rhai::{Dynamic, Engine, Map, Scope};
use serde_json::{Value, json};

use super::library::{Library, functions};
use super::secret::Reference;
use super::{api, diagnose, near, value};
use crate::error::{Error, Exit, Kind};
use crate::units::{self, Bytes};

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Any text.
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A switch: `--flag`, `--flag=false`.
    Bool,
    /// Bytes: `64MiB`.
    Size,
    /// A span of time: `90s`; the script gets seconds.
    Duration,
    /// A path on this machine, made absolute.
    Path,
    /// A path with an optional host.
    Endpoint,
    /// A command, split by shell words and run without a shell.
    Argv,
    /// A reference to a secret: `env:NAME`, `file:PATH`, `command:WORDS`.
    Secret,
}

impl ParamKind {
    const NAMES: [(&'static str, Self); 10] = [
        ("string", Self::String),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("size", Self::Size),
        ("duration", Self::Duration),
        ("path", Self::Path),
        ("endpoint", Self::Endpoint),
        ("argv", Self::Argv),
        ("secret", Self::Secret),
    ];

    /// The word scripts declare it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The value of a text given for it; a relative path is below `base`, or below the working directory without one.
    fn parse(self, text: &str, base: Option<&Path>) -> Result<Value, String> {
        let wrong = |expected: &str| Err(format!("`{text}` is not {expected}"));
        Ok(match self {
            Self::String => text.into(),
            Self::Int => match text.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => return wrong("a whole number"),
            },
            Self::Float => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => number.into(),
                _ => return wrong("a number"),
            },
            Self::Bool => match text {
                "true" | "yes" | "on" | "1" => true.into(),
                "false" | "no" | "off" | "0" => false.into(),
                _ => return wrong("true or false"),
            },
            Self::Size => Bytes::parse(text).map_err(|error| error.to_string())?.0.into(),
            Self::Duration => {
                let span = units::parse_duration(text).map_err(|error| error.to_string())?;
                if span.subsec_nanos() == 0 { span.as_secs().into() } else { span.as_secs_f64().into() }
            }
            Self::Endpoint if text.contains("://") => text.into(),
            Self::Path | Self::Endpoint => {
                let path = units::path_bytes(text).map_err(|error| error.to_string())?;
                if path.is_empty() {
                    return Err("a path is empty".into());
                }
                let path: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(path);
                let path = base.map_or_else(|| PathBuf::from(&path), |base| base.join(&path));
                let path = std::path::absolute(path).map_err(|error| error.to_string())?;
                api::paths::text(&path).into()
            }
            Self::Argv => match shlex::split(text) {
                Some(words) => words.into(),
                None => return wrong("a command: a quotation mark is open"),
            },
            Self::Secret => Reference::parse(text, base)?.text.into(),
        })
    }

    /// The value of a default that is no text.
    fn accept(self, default: &Value) -> Option<Value> {
        let fits = match self {
            Self::String | Self::Path | Self::Endpoint | Self::Secret => false,
            Self::Int => default.is_i64(),
            Self::Size | Self::Duration => default.is_u64(),
            Self::Float => default.is_number(),
            Self::Bool => default.is_boolean(),
            Self::Argv => default.as_array().is_some_and(|words| words.iter().all(Value::is_string)),
        };
        fits.then(|| default.clone())
    }
}

/// One declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name in the script, `source_sc`.
    pub name: String,
    /// Its type.
    pub kind: ParamKind,
    /// Must be given.
    pub required: bool,
    /// Value if not given, in its given form.
    pub default: Option<Value>,
    /// One line for `--help`.
    pub help: String,
    /// May be given several times.
    pub list: bool,
    /// The only values allowed, if limited.
    pub values: Vec<String>,
}

impl Param {
    /// The flag: `source_sc` becomes `source-sc`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(Kind::Invalid, format!("--{}: {what}", self.flag())).exit(Exit::Usage)
    }

    fn one(&self, text: &str, base: Option<&Path>) -> Result<Value, Error> {
        // What is given for a secret may be the secret itself, by mistake, and is not repeated.
        let limited = !self.values.is_empty() && self.kind != ParamKind::Secret;
        if limited && !self.values.iter().any(|value| value == text) {
            let error = self.wrong(&format!("`{text}` is not one of {}", self.values.join(", ")));
            return Err(match near::nearest(text, self.values.iter().map(String::as_str)).first() {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        self.kind.parse(text, base).map_err(|what| self.wrong(&what))
    }

    fn of_texts(&self, texts: &[String]) -> Result<Value, Error> {
        if self.list {
            return texts.iter().map(|text| self.one(text, None)).collect::<Result<_, _>>().map(Value::Array);
        }
        texts.last().map_or(Ok(Value::Null), |text| self.one(text, None))
    }

    /// The value that typed data from a file below `base` mean.
    pub(super) fn of_data(&self, data: &Value, base: &Path) -> Result<Value, Error> {
        let one = |data: &Value| match data {
            Value::String(text) => self.one(text, Some(base)),
            other => self.kind.accept(other).ok_or_else(|| self.wrong(&format!("expects a {}", self.kind.name()))),
        };
        match data {
            Value::Array(items) if self.list => items.iter().map(one).collect::<Result<_, _>>().map(Value::Array),
            _ if self.list => Err(self.wrong("takes a list of values")),
            data => one(data),
        }
    }

    fn of_default(&self, default: &Value) -> Result<Value, Error> {
        match default {
            Value::Null => Ok(Value::Null),
            // An empty text as default means: not given.
            Value::String(text) if text.is_empty() && self.kind != ParamKind::String => Ok(Value::Null),
            Value::String(text) => self.of_texts(std::slice::from_ref(text)),
            Value::Array(items) if self.list => items
                .iter()
                .map(|item| match item {
                    Value::String(text) => self.one(text, None),
                    other => self.kind.accept(other).ok_or_else(|| self.wrong("its default has another type")),
                })
                .collect::<Result<_, _>>()
                .map(Value::Array),
            other => self.kind.accept(other).ok_or_else(|| self.wrong("its default has another type")),
        }
    }
}

/// Where the value of a parameter comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Its own flag.
    Flag,
    /// `--set`.
    Set,
    /// A site file.
    Site {
        /// The file, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// `params` or `scripts.NAME`.
        section: String,
    },
    /// What the script declares.
    Default,
    /// It was not given and has no default.
    Missing,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Set => f.write_str("--set"),
            Self::Site { file, line, section } => write!(f, "{file}:{line} [{section}]"),
            Self::Default => f.write_str("default"),
            Self::Missing => f.write_str("not given"),
        }
    }
}

/// A value that somebody gave for a parameter.
#[derive(Debug, Clone)]
pub struct Given {
    /// The parameter's name; dashes and underscores are the same.
    pub name: String,
    /// Where.
    pub origin: Origin,
    /// What.
    pub what: What,
}

/// What was given.
#[derive(Debug, Clone)]
pub enum What {
    /// Texts, as on the command line (a switch without a value gives `"true"`).
    Texts(Vec<String>),
    /// A value of the parameter's type.
    Value(Value),
}

/// The value of a parameter, and what it won over.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The parameter.
    pub param: Param,
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
    /// Where else it has one, strongest first.
    pub lost: Vec<(Origin, Value)>,
}

/// Finds every parameter's value among what was given, strongest first, and the defaults.
///
/// # Errors
/// Kind `invalid` for an unknown name (with the nearest one), and a text that is not of the type.
pub fn settle(declared: &[Param], given: &[Given]) -> Result<Vec<Settled>, Error> {
    for given in given {
        let name = given.name.replace('-', "_");
        if !declared.iter().any(|param| param.name == name) {
            let error = Error::new(Kind::Invalid, format!("there is no parameter `{name}`")).exit(Exit::Usage);
            return Err(match near::hint(&name, declared.iter().map(|param| param.name.as_str())) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
    }
    declared.iter().map(|param| param.settle(given)).collect()
}

impl Param {
    fn settle(&self, given: &[Given]) -> Result<Settled, Error> {
        let own = given.iter().filter(|given| given.name.replace('-', "_") == self.name);
        let mut all = own
            .map(|given| match &given.what {
                What::Texts(texts) => Ok((given.origin.clone(), self.of_texts(texts)?)),
                What::Value(value) => Ok((given.origin.clone(), value.clone())),
            })
            .collect::<Result<Vec<_>, Error>>()?;
        match &self.default {
            Some(default) => all.push((Origin::Default, self.of_default(default)?)),
            None if all.is_empty() => {
                let value = match (self.list, self.kind) {
                    (true, _) => json!([]),
                    (false, ParamKind::Bool) => false.into(),
                    (false, _) => Value::Null,
                };
                all.push((if self.required { Origin::Missing } else { Origin::Default }, value));
            }
            None => {}
        }
        let (origin, value) = all.remove(0);
        Ok(Settled { param: self.clone(), value, origin, lost: all })
    }
}

/// The values as the script gets them.
///
/// # Errors
/// Kind `invalid` if a required one is missing.
pub fn values(settled: Vec<Settled>) -> Result<Value, Error> {
    let mut values = serde_json::Map::new();
    for Settled { param, value, origin, .. } in settled {
        if origin == Origin::Missing {
            let usage = format!("--{} {}: {}", param.flag(), param.kind.name(), param.help);
            return Err(param.wrong("is required").hint(usage));
        }
        values.insert(param.name, value);
    }
    Ok(Value::Object(values))
}

/// Turns given texts into the values the script gets, with defaults filled in.
///
/// `given` holds each parameter's name and the texts given for it (a switch without a value gives `"true"`), later
/// ones over earlier ones unless the parameter is a list. Dashes and underscores in names are the same.
///
/// # Errors
/// Kind `invalid` for an unknown name (with the nearest one), a missing required one, and a text that is not of the type.
pub fn resolve(declared: &[Param], given: &[(String, Vec<String>)]) -> Result<Value, Error> {
    let mut gathered: Vec<Given> = Vec::new();
    for (name, texts) in given {
        let name = name.replace('-', "_");
        match gathered.iter_mut().find(|given| given.name == name) {
            Some(Given { what: What::Texts(all), .. }) => all.extend(texts.iter().cloned()),
            _ => gathered.push(Given { name, origin: Origin::Flag, what: What::Texts(texts.clone()) }),
        }
    }
    values(settle(declared, &gathered)?)
}

/// Values for parameters that change on resume: those of `given` alone.
pub(super) fn amended(
    declared: &[Param],
    given: &[(String, Vec<String>)],
) -> Result<serde_json::Map<String, Value>, Error> {
    if given.is_empty() {
        return Ok(serde_json::Map::new());
    }
    let named = |param: &&Param| given.iter().any(|(name, _)| name.replace('-', "_") == param.name);
    let known: Vec<Param> = declared.iter().filter(named).cloned().collect();
    // Of an unknown name the nearest of all is named.
    match resolve(if known.len() < given.len() { declared } else { &known }, given)? {
        Value::Object(values) => Ok(values),
        _ => Ok(serde_json::Map::new()),
    }
}

/// The parameters of a loaded script.
pub(super) fn of(engine: &Engine, library: &Library) -> Result<Vec<Param>, Error> {
    let main = library.main();
    let has = |name: &str, params: usize| functions(&main.ast).any(|def| def.name == name && def.params == params);
    for (name, params, how) in [("params", 0, "fn params() { #{ … } }"), ("run", 1, "fn run(p) { … }")] {
        if !has(name, params) {
            return Err(Error::new(
                Kind::Invalid,
                format!("`{}` has no function `{name}` with {params} parameters", main.label),
            )
            .hint(format!("a script has both `params` and `run`: {how}"))
            .exit(Exit::Usage));
        }
    }
    let options = rhai::CallFnOptions::new().eval_ast(false);
    let declared: Dynamic =
        engine.call_fn_with_options(options, &mut Scope::new(), &main.ast, "params", ()).map_err(|error| {
            let failure =
                Error::new(Kind::Invalid, format!("params() of `{}` failed: {}", main.label, error.unwrap_inner()));
            diagnose::at(failure.exit(Exit::Usage), &main.label, &main.text, error.position())
        })?;
    let Some(map) = declared.try_cast::<Map>() else {
        return Err(
            Error::new(Kind::Invalid, format!("params() of `{}` must give a map", main.label)).exit(Exit::Usage)
        );
    };
    let mut params = map.iter().map(|(name, declared)| declare(name, declared)).collect::<Result<Vec<_>, _>>()?;
    params.sort_by(|a, b| b.required.cmp(&a.required).then_with(|| a.name.cmp(&b.name)));
    Ok(params)
}

fn declare(name: &str, declared: &Dynamic) -> Result<Param, Error> {
    let wrong = |what: String| Error::new(Kind::Invalid, format!("parameter `{name}`: {what}")).exit(Exit::Usage);
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain {
        return Err(wrong("a name has small letters, digits and underscores only".into()));
    }
    let Some(map) = declared.clone().try_cast::<Map>() else {
        return Err(wrong("is declared by a map: #{ type: \"string\", help: \"…\" }".into()));
    };
    let mut options = api::options::Options::new("a parameter", map);
    let kind = options.text("type")?.ok_or_else(|| wrong("has no `type`".into()))?;
    let known = ParamKind::NAMES.map(|(name, _)| name);
    let kind = ParamKind::NAMES.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind).ok_or_else(|| {
        wrong(format!("there is no type `{kind}`"))
            .hint(near::hint(&kind, known).unwrap_or_else(|| format!("known: {}", known.join(", "))))
    })?;
    let param = Param {
        name: name.to_owned(),
        kind,
        required: options.flag("required")?,
        default: options.any("default").map(|default| value::describe(&default)),
        help: options.text("help")?.unwrap_or_default(),
        list: options.flag("list")?,
        values: options.texts("values")?,
    };
    options.done().map_err(|error| error.exit(Exit::Usage))?;
    if param.required && param.default.is_some() {
        return Err(wrong("is required and has a default".into()));
    }
    if let Some(default) = &param.default {
        param.of_default(default)?;
    }
    Ok(param)
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
            help: String::new(),
            list: false,
            values: vec![],
        }
    }

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), vec![(*text).to_owned()])).collect()
    }

    #[test]
    fn texts_become_typed_values() {
        let declared = [
            param("window", ParamKind::Duration),
            param("limit", ParamKind::Size),
            param("freeze", ParamKind::Argv),
            param("source", ParamKind::Path),
        ];
        let texts = given(&[("window", "5m"), ("limit", "1KiB"), ("freeze", "sh -c 'a b'"), ("source", "/a/./b")]);
        let values = resolve(&declared, &texts).unwrap();
        assert_eq!(values, json!({ "window": 300, "limit": 1024, "freeze": ["sh", "-c", "a b"], "source": "/a/b" }));
    }

    #[test]
    fn later_texts_win_and_lists_gather() {
        let mut list = param("exclude", ParamKind::String);
        list.list = true;
        let declared = [param("jobs", ParamKind::Int), list];
        let texts = given(&[("jobs", "1"), ("exclude", "a"), ("jobs", "2"), ("exclude", "b")]);
        assert_eq!(resolve(&declared, &texts).unwrap(), json!({ "jobs": 2, "exclude": ["a", "b"] }));
    }

    #[test]
    fn mistakes_name_the_flag_and_the_nearest_name() {
        let mut verify = param("verify", ParamKind::String);
        verify.values = vec!["none".into(), "full".into()];
        let mut source = param("source_dir", ParamKind::Path);
        source.required = true;
        let declared = [verify, source, param("jobs", ParamKind::Int)];
        let message = |pairs: &[(&str, &str)]| {
            let error = resolve(&declared, &given(pairs)).unwrap_err();
            format!("{} {}", error.message, error.hints.join(" "))
        };
        assert!(message(&[("sorce_dir", "/a")]).contains("did you mean `source_dir`?"));
        assert!(message(&[("source_dir", "/a"), ("verify", "ful")]).contains("did you mean `full`?"));
        assert!(message(&[("source-dir", "/a"), ("jobs", "many")]).contains("--jobs: `many` is not a whole number"));
        assert!(message(&[]).contains("--source-dir: is required"));
    }
}
