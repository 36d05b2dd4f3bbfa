//! A site file: values for the parameters of scripts, and names for secrets, in TOML.
//!
//! `[params]` is for every script that has such a parameter, `[scripts.NAME]` for one, `[secrets]` gives references names.
//! Everything is checked when the file is read, with the place of the mistake; relative paths are below the directory of
//! the file. What a run needs again later, the references, goes into the journal with the file's path and hash: resuming
//! does not look at the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rhai::Position;
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::params::{Given, Origin, Param, ParamKind, What};
use super::secret::Reference;
use super::{Script, api::paths, diagnose, near};
use crate::error::{Error, Exit, Kind};
use crate::journal::EventRow;

/// The event in which a run keeps what it needs of its site file.
pub(super) const EVENT: &str = "run.site";

/// What a run keeps of its site file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The file, absolute.
    pub path: String,
    /// BLAKE3 of its content.
    pub hash: String,
    /// References to secrets, by the names scripts may use.
    pub secrets: BTreeMap<String, String>,
}

impl Used {
    pub(super) fn json(&self) -> Value {
        json!({ "path": self.path, "hash": self.hash, "secrets": self.secrets })
    }

    /// What the events of a run tell about its site file.
    #[must_use]
    pub fn recorded(events: &[EventRow]) -> Option<Self> {
        let data = &events.iter().find(|event| event.kind == EVENT)?.data;
        let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
        let secrets = data.get("secrets").and_then(Value::as_object).into_iter().flatten();
        let secrets = secrets.filter_map(|(name, reference)| Some((name.clone(), reference.as_str()?.to_owned())));
        Some(Self { path: text("path")?, hash: text("hash")?, secrets: secrets.collect() })
    }
}

/// One value of the file.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    key: Range<usize>,
    value: Value,
    span: Range<usize>,
}

/// A site file.
#[derive(Debug, Clone)]
pub struct Site {
    label: String,
    path: PathBuf,
    text: String,
    params: Vec<Entry>,
    scripts: Vec<(String, Range<usize>, Vec<Entry>)>,
    secrets: BTreeMap<String, String>,
}

const SECTIONS: [&str; 3] = ["params", "scripts", "secrets"];

impl Site {
    /// Reads a site file.
    ///
    /// # Errors
    /// `not_found` or `io` if it cannot be read; `invalid` with its place for anything in it that has no meaning.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let label = paths::text(file);
        let failed = |source: std::io::Error| {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Io,
            };
            Error::new(kind, format!("cannot read the site file `{label}`"))
                .because(source)
                .hint("it is named with --site FILE, or in DECAMP_SITE")
                .exit(Exit::Usage)
        };
        let path = std::path::absolute(file).map_err(failed)?;
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let mut site = Self { label, path, text, params: Vec::new(), scripts: Vec::new(), secrets: BTreeMap::new() };
        site.fill()?;
        Ok(site)
    }

    fn fill(&mut self) -> Result<(), Error> {
        let text = self.text.clone();
        let table = DeTable::parse(&text).map_err(|error| self.syntax(&error))?;
        for (key, value) in table.get_ref() {
            let span = key.span();
            match key.get_ref().as_ref() {
                "params" => self.params = self.entries(self.table(key, value)?)?,
                "scripts" => {
                    for (name, entries) in self.table(key, value)? {
                        let entries = self.entries(self.table(name, entries)?)?;
                        self.scripts.push((name.get_ref().to_string(), name.span(), entries));
                    }
                }
                "secrets" => self.secrets = self.references(self.table(key, value)?)?,
                other => {
                    let error = self.wrong(format!("`{other}` means nothing in a site file"), &span);
                    let hint = near::hint(other, SECTIONS).unwrap_or_default();
                    return Err(error.hint(format!("{hint} ([params], [scripts.NAME], [secrets])")));
                }
            }
        }
        Ok(())
    }

    fn table<'t, 'i>(
        &self,
        key: &Spanned<std::borrow::Cow<'i, str>>,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Result<&'t DeTable<'i>, Error> {
        value.get_ref().as_table().ok_or_else(|| {
            self.wrong(format!("`{}` is a section of its own", key.get_ref()), &key.span())
                .hint("sections are [params], [scripts.NAME] and [secrets]")
        })
    }

    fn entries(&self, table: &DeTable<'_>) -> Result<Vec<Entry>, Error> {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            let name = key.get_ref().replace('-', "_");
            let data = data(value.get_ref()).map_err(|what| self.wrong(format!("`{name}`: {what}"), &key.span()))?;
            Ok(Entry { name, key: key.span(), value: data, span: value.span() })
        };
        let entries = table.iter().map(entry).collect::<Result<Vec<Entry>, Error>>()?;
        // `a-b` and `a_b` are one parameter, and TOML does not know.
        match entries.iter().enumerate().find(|(at, one)| entries[..*at].iter().any(|other| other.name == one.name)) {
            Some((_, twice)) => Err(self.wrong(format!("`{}` stands here twice", twice.name), &twice.key)),
            None => Ok(entries),
        }
    }

    /// The names of `[secrets]`. What is no reference may be the secret itself, so its line is never shown.
    fn references(&self, table: &DeTable<'_>) -> Result<BTreeMap<String, String>, Error> {
        let mut all = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref();
            if name.contains(':') {
                return Err(self.wrong(format!("`{name}`: a name of a secret has no `:`"), &key.span()));
            }
            let reference = match value.get_ref().as_str() {
                Some(text) => Reference::parse(text, self.path.parent()),
                None => Err("a secret is given as a text: \"env:NAME\"".to_owned()),
            };
            let reference = reference
                .map_err(|what| self.masked(format!("the secret `{name}`: {what}"), &key.span(), &value.span()))?;
            all.insert(name.to_string(), reference.text);
        }
        Ok(all)
    }

    /// The section `[scripts.NAME]` that is for `script`: by its name, or the name of its file.
    fn own(&self, script: &Script) -> impl Iterator<Item = &(String, Range<usize>, Vec<Entry>)> {
        let names = names(script);
        self.scripts.iter().filter(move |(name, ..)| names.contains(name))
    }

    /// What the file gives for the parameters of `script`, strongest first.
    ///
    /// # Errors
    /// `invalid` with its place for a value of another type, and for a name in `[scripts.NAME]` that is no parameter.
    pub fn given(&self, script: &Script, declared: &[Param]) -> Result<Vec<Given>, Error> {
        let mut all = Vec::new();
        for (name, _, entries) in self.own(script) {
            for entry in entries {
                let Some(param) = declared.iter().find(|param| param.name == entry.name) else {
                    let error = self.wrong(format!("`{name}` has no parameter `{}`", entry.name), &entry.key);
                    let hint = near::hint(&entry.name, declared.iter().map(|param| param.name.as_str()));
                    return Err(match hint {
                        Some(hint) => error.hint(hint),
                        None => error,
                    });
                };
                all.push(self.value(entry, param, &format!("scripts.{name}"))?);
            }
        }
        for entry in &self.params {
            if let Some(param) = declared.iter().find(|param| param.name == entry.name) {
                all.push(self.value(entry, param, "params")?);
            }
        }
        Ok(all)
    }

    fn value(&self, entry: &Entry, param: &Param, section: &str) -> Result<Given, Error> {
        let secret = param.kind == ParamKind::Secret;
        let data = match &entry.value {
            Value::String(text) if secret => Value::from(self.reference(text)),
            Value::Array(items) if secret => {
                let one = |item: &Value| item.as_str().map_or(item.clone(), |text| self.reference(text).into());
                items.iter().map(one).collect()
            }
            other => other.clone(),
        };
        let base = self.path.parent().unwrap_or(Path::new("/"));
        let value = param.of_data(&data, base).map_err(|error| {
            let what = error.message.split_once(": ").map_or(error.message.clone(), |(_, what)| what.to_owned());
            let message = format!("`{}`: {what}", entry.name);
            let placed =
                if secret { self.masked(message, &entry.key, &entry.span) } else { self.wrong(message, &entry.key) };
            placed.hints(error.hints)
        })?;
        let line = self.position(entry.key.start).line().unwrap_or(0);
        let origin = Origin::Site { file: self.label.clone(), line, section: section.to_owned() };
        Ok(Given { name: param.name.clone(), origin, what: What::Value(value) })
    }

    /// The reference that `text` is a name of, or `text` itself.
    #[must_use]
    pub fn reference(&self, text: &str) -> String {
        self.secrets.get(text).cloned().unwrap_or_else(|| text.to_owned())
    }

    /// What looks like a mistake and may be none: sections and names that no script known here has.
    #[must_use]
    pub fn doubts(&self, script: &Script, declared: &[Param], others: &[(String, Vec<Param>)]) -> Vec<String> {
        let mut doubts = Vec::new();
        let known: Vec<&str> = declared
            .iter()
            .chain(others.iter().flat_map(|(_, params)| params))
            .map(|param| param.name.as_str())
            .collect();
        let place = |at: &Range<usize>| format!("{}:{}", self.label, self.position(at.start).line().unwrap_or(0));
        let near = |name: &str, known: &[&str]| match near::nearest(name, known.iter().copied()).as_slice() {
            [] => String::new(),
            near => format!("; did you mean {}?", near::list(near, "or")),
        };
        for entry in self.params.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
            let place = place(&entry.key);
            let near = near(&entry.name, &known);
            doubts
                .push(format!("{place}: neither this script nor a shipped one has a parameter `{}`{near}", entry.name));
        }
        let own = names(script);
        let scripts: Vec<&str> =
            others.iter().map(|(name, _)| name.as_str()).chain(own.iter().map(String::as_str)).collect();
        for (name, at, _) in self.scripts.iter().filter(|(name, ..)| !scripts.contains(&name.as_str())) {
            let near = near(name, &scripts);
            if !near.is_empty() {
                doubts.push(format!("{}: [scripts.{name}] is for another script than this one{near}", place(at)));
            }
        }
        doubts
    }

    /// What a run keeps of it.
    #[must_use]
    pub fn used(&self) -> Used {
        let hash = blake3::hash(self.text.as_bytes()).to_hex().to_string();
        Used { path: paths::text(&self.path), hash, secrets: self.secrets.clone() }
    }

    fn position(&self, offset: usize) -> Position {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Position::new(small(line), small(column))
    }

    fn wrong(&self, message: String, at: &Range<usize>) -> Error {
        let error = Error::new(Kind::Invalid, message).exit(Exit::Usage);
        diagnose::at(error, &self.label, &self.text, self.position(at.start))
    }

    /// The same without what stands in `hidden`.
    fn masked(&self, message: String, at: &Range<usize>, hidden: &Range<usize>) -> Error {
        let mask = |(offset, c): (usize, char)| if hidden.contains(&offset) && c != '\n' { '*' } else { c };
        let text: String = self.text.char_indices().map(mask).collect();
        let error = Error::new(Kind::Invalid, message).exit(Exit::Usage);
        diagnose::at(error, &self.label, &text, self.position(at.start))
    }

    fn syntax(&self, error: &toml::de::Error) -> Error {
        let at = error.span().unwrap_or(0..0);
        let message = format!("`{}` is no TOML: {}", self.label, error.message());
        // A secret that was written down by mistake, without quotation marks, must not be shown for it.
        let before = &self.text[..at.start.min(self.text.len())];
        let section = before.lines().rev().map(str::trim).find(|line| line.starts_with('['));
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = &self.text[start..];
        let line = &line[..line.find('\n').unwrap_or(line.len())];
        if section.is_some_and(|section| section.starts_with("[secrets")) {
            let sign = line.find('=').map_or(line.len(), |at| at + 1);
            return self.masked(message, &at, &(start + sign..start + line.len()));
        }
        self.wrong(message, &at)
    }
}

/// The names under which a script may have a section.
fn names(script: &Script) -> Vec<String> {
    let stem = Path::new(&script.name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.into_iter().chain([script.name.clone()]).collect()
}

/// A value of TOML as one of JSON.
fn data(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("`{}` is too large", number.as_str()))?
            .into(),
        DeValue::Float(number) => {
            let parsed: Option<f64> = number.as_str().parse().ok();
            let number = parsed.and_then(serde_json::Number::from_f64);
            Value::Number(number.ok_or("is no number that a parameter can have")?)
        }
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => {
            items.iter().map(|item| data(item.get_ref())).collect::<Result<_, _>>().map(Value::Array)?
        }
        DeValue::Table(_) => return Err("a parameter has no parts".into()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Site, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("site.toml");
        std::fs::write(&file, text).unwrap();
        Site::read(&file)
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        for (text, message, place) in [
            ("[parms]\na = 1\n", "`parms` means nothing", "site.toml:1:2"),
            ("params = 1\n", "`params` is a section", "site.toml:1:1"),
            ("[params]\na = { b = 1 }\n", "`a`: a parameter has no parts", "site.toml:2:1"),
            ("[params]\na-b = 1\na_b = 2\n", "`a_b` stands here twice", "site.toml:3:1"),
            ("[params]\na = = 1\n", "is no TOML", "site.toml:2:"),
            ("[secrets]\n\"env:A\" = \"env:B\"\n", "has no `:`", "site.toml:2:1"),
        ] {
            let error = read(text).unwrap_err();
            let shown = error.render(false);
            assert!(error.message.contains(message) && shown.contains(place), "{text}\n{shown}");
        }
        assert!(read("[parms]").unwrap_err().hints[0].contains("did you mean `params`?"));
    }

    #[test]
    fn a_secret_that_was_written_down_is_refused_and_not_shown() {
        for text in [
            "[secrets]\ntoken = \"Unit-literal-1\"\n",
            "[secrets]\ntoken = [\"Unit-literal-1\"]\n",
            "[secrets]\ntoken = Unit-literal-1\n",
            "[secrets]\ntoken = 'Unit-literal-1\n",
            "[secrets]\ntoken = \"\"\"\nUnit-literal-1\n\"\"\"\n",
        ] {
            let shown = read(text).unwrap_err().render(false);
            assert!(shown.contains("site.toml:2") && !shown.contains("Unit-literal"), "{text}\n{shown}");
        }
    }
}
