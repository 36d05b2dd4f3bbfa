//! What could come next: commands, names, keys of values, options of the function being called, files, runs.
//!
//! `place` finds out what is being typed, from the text alone; here is what fits there.

mod options;
mod place;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use reedline::{Completer, CompletionResult, Span, Suggestion};

use self::place::Place;
use super::command::{self, Takes};
use crate::script::docs::Doc;
use crate::script::session::{self, Imported, Outline, Session};

pub(super) use options::parameters;

/// Words of the language worth offering.
const KEYWORDS: [&str; 17] = [
    "let", "const", "if", "else", "for", "in", "while", "loop", "break", "continue", "return", "throw", "try", "catch",
    "switch", "import", "true",
];

/// Namespaces' separators in names of functions.
const SPACE: &str = "::";

/// What there is to offer.
pub(super) struct World {
    variables: Vec<(String, Outline)>,
    functions: Vec<(String, String)>,
    imported: Vec<Imported>,
    docs: Vec<Doc>,
    runs: Vec<(String, String, String)>,
}

/// One offer: what replaces the text from `from` on, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) from: usize,
    pub(super) text: String,
    pub(super) about: String,
}

impl World {
    /// What a session knows by now.
    pub(super) fn of(session: &Session, runs: Vec<(String, String, String)>) -> Self {
        Self {
            variables: session.variables(),
            functions: session.functions(),
            imported: session.imported(),
            docs: session.docs().to_vec(),
            runs,
        }
    }

    /// What could stand at the end of `line`, which is everything before the cursor.
    pub(super) fn offers(&self, line: &str) -> Vec<Offer> {
        let lead = line.len() - line.trim_start().len();
        if !line[lead..].starts_with(':') {
            return self.script(line, 0);
        }
        let Some(end) = line[lead..].find(char::is_whitespace).map(|end| lead + end) else {
            let all = command::ALL.iter().map(|command| (format!(":{}", command.name), command.help.to_owned()));
            return fitting(&line[lead..], lead, all);
        };
        let Ok((command, ..)) =
            command::parse(&format!("{} x", &line[lead..end])).or_else(|_| command::parse(&line[lead..end]))
        else {
            return Vec::new();
        };
        let from = end + (line[end..].len() - line[end..].trim_start().len());
        let typed = &line[from..];
        match command.takes {
            Takes::Nothing | Takes::Text => Vec::new(),
            Takes::Line => self.script(&line[from..], from),
            Takes::File => files(typed, from),
            Takes::Run => fitting(
                typed,
                from,
                self.runs.iter().map(|(id, script, state)| (id.clone(), format!("{script}, {state}"))),
            ),
            Takes::Function => {
                fitting(typed, from, self.docs.iter().map(|doc| (doc.name.clone(), doc.summary.clone())))
            }
        }
    }

    fn script(&self, text: &str, base: usize) -> Vec<Offer> {
        let place = place::of(text);
        let mut offers = match &place {
            Place::Nothing => Vec::new(),
            Place::File { typed, from } => files(typed, *from),
            Place::Module { typed, from } => {
                let mut all = fitting(
                    typed,
                    *from,
                    session::modules().into_iter().map(|name| (name, "standard module".to_owned())),
                );
                if typed.starts_with('.') {
                    all.extend(files(typed, *from).into_iter().filter_map(|mut offer| {
                        let script = offer.text.strip_suffix(".rhai").map(str::to_owned);
                        offer.text = script.or_else(|| offer.text.ends_with('/').then(|| offer.text.clone()))?;
                        Some(offer)
                    }));
                }
                all
            }
            Place::Key { path, typed, from } => self.keys(path, typed, *from),
            Place::Member { space, typed, from } => self.members(space, typed, *from),
            Place::Option { function, typed, from, given } => {
                let all = self.documented(function).map(options::of).unwrap_or_default();
                let left = all.into_iter().filter(|(name, _)| !given.contains(name));
                fitting(typed, *from, left.map(|(name, about)| (format!("{name}: "), about)))
            }
            Place::Word { typed, from } => self.words(typed, *from),
        };
        offers.iter_mut().for_each(|offer| offer.from += base);
        offers
    }

    /// The documentation of what is called like that here.
    fn documented(&self, function: &str) -> Option<&Doc> {
        let module = function.split_once(SPACE).and_then(|(alias, rest)| {
            self.imported.iter().find(|module| module.alias == alias).map(|module| format!("{}::{rest}", module.module))
        });
        let full = module.as_deref().unwrap_or(function);
        let method = full.strip_prefix('.');
        self.docs.iter().find(|doc| match method {
            Some(method) => doc.name.split_once('.').is_some_and(|(_, own)| own == method),
            None => doc.name == full,
        })
    }

    fn words(&self, typed: &str, from: usize) -> Vec<Offer> {
        let variables = self.variables.iter().map(|(name, outline)| (name.clone(), outline.kind()));
        let functions = self.functions.iter().map(|(name, signature)| (format!("{name}("), signature.clone()));
        let natives = self.docs.iter().filter(|doc| !doc.name.contains([':', '.', '/']));
        let natives = natives.map(|doc| (format!("{}(", doc.name), about(doc)));
        let mut spaces: Vec<(String, String)> = Vec::new();
        for doc in self.docs.iter().filter(|doc| !doc.name.contains('/')) {
            if let Some((space, _)) = doc.name.split_once(SPACE) {
                let space = format!("{space}{SPACE}");
                if !spaces.iter().any(|(known, _)| *known == space) {
                    spaces.push((space, "namespace".to_owned()));
                }
            }
        }
        spaces.extend(self.imported.iter().map(|module| (format!("{}{SPACE}", module.alias), module.module.clone())));
        let keywords = KEYWORDS.iter().map(|word| ((*word).to_owned(), "keyword".to_owned()));
        // Without a beginning the words of the language say nothing.
        let keywords = keywords.filter(|_| !typed.is_empty());
        fitting(typed, from, variables.chain(functions).chain(natives).chain(spaces).chain(keywords))
    }

    fn members(&self, space: &str, typed: &str, from: usize) -> Vec<Offer> {
        let lead = format!("{space}{SPACE}");
        let natives = self
            .docs
            .iter()
            .filter_map(|doc| doc.name.strip_prefix(&lead).map(|name| (format!("{name}("), about(doc))));
        let own = self.imported.iter().filter(|module| module.alias == space).flat_map(|module| &module.functions);
        let own = own.map(|(name, signature, summary)| (format!("{name}("), joined(signature, summary)));
        fitting(typed, from, natives.chain(own))
    }

    /// What stands behind a dot: keys of a map, methods of a handle.
    fn keys(&self, path: &[String], typed: &str, from: usize) -> Vec<Offer> {
        let Some(first) = path.first() else { return Vec::new() };
        let mut at = self.variables.iter().find(|(name, _)| name == first).map(|(_, outline)| outline);
        for part in &path[1..] {
            at = match at {
                Some(Outline::Map(keys)) => keys.iter().find(|(key, _)| key == part).map(|(_, inner)| inner),
                Some(Outline::List(_, Some(item))) if part == "[]" => Some(item),
                _ => None,
            };
        }
        match at {
            Some(Outline::Map(keys)) => {
                // Only names can follow a dot.
                let names = keys.iter().filter(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || c == '_'));
                fitting(typed, from, names.map(|(key, inner)| (key.clone(), inner.kind())))
            }
            Some(Outline::List(length, _)) => {
                let methods =
                    ["len()", "filter(", "map(", "first()", "last()", "contains(", "reduce(", "sort(", "is_empty()"];
                fitting(typed, from, methods.iter().map(|method| ((*method).to_owned(), format!("list of {length}"))))
            }
            found => {
                let kind = found.map(Outline::kind);
                let methods = self.docs.iter().filter_map(|doc| {
                    let (handle, method) = doc.name.split_once('.')?;
                    kind.as_deref().is_none_or(|kind| kind == handle).then(|| (format!("{method}("), about(doc)))
                });
                fitting(typed, from, methods)
            }
        }
    }
}

fn about(doc: &Doc) -> String {
    joined(doc.signatures.first().map_or("", String::as_str), &doc.summary)
}

fn joined(signature: &str, summary: &str) -> String {
    [signature, summary].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("  ")
}

/// Those that begin like what was typed, by name.
fn fitting(typed: &str, from: usize, all: impl Iterator<Item = (String, String)>) -> Vec<Offer> {
    let mut offers: Vec<Offer> =
        all.filter(|(name, _)| name.starts_with(typed)).map(|(text, about)| Offer { from, text, about }).collect();
    offers.sort_by(|a, b| a.text.cmp(&b.text));
    offers.dedup_by(|a, b| a.text == b.text);
    offers
}

/// Files that begin like `typed`; directories with a slash behind.
fn files(typed: &str, from: usize) -> Vec<Offer> {
    let cut = typed.rfind('/').map_or(0, |slash| slash + 1);
    let (dir, name) = typed.split_at(cut);
    let place = if dir.is_empty() { PathBuf::from(".") } else { PathBuf::from(dir) };
    // A directory that cannot be read offers nothing.
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    let entries = entries.filter_map(Result::ok).take(10_000).filter_map(|entry| {
        let own = entry.file_name().into_string().ok()?;
        // Hidden ones are offered to who begins to type them.
        if own.starts_with('.') && !name.starts_with('.') {
            return None;
        }
        let is_dir = entry.path().is_dir();
        let slash = if is_dir { "/" } else { "" };
        Some((format!("{dir}{own}{slash}"), if is_dir { "directory" } else { "file" }.to_owned()))
    });
    fitting(typed, from, entries)
}

/// [`World`] for the editor.
pub(super) struct Completions(pub(super) Arc<Mutex<World>>);

impl Completer for Completions {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let before = line.get(..pos).unwrap_or(line);
        let offers = self.0.lock().unwrap_or_else(PoisonError::into_inner).offers(before);
        let suggestions: Vec<Suggestion> = offers
            .into_iter()
            .map(|offer| Suggestion {
                value: offer.text,
                description: (!offer.about.is_empty()).then_some(offer.about),
                span: Span::new(offer.from.min(pos), pos),
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::script::outcome::Call;
    use crate::script::session::Mode;

    fn world() -> World {
        let mut session = Session::new();
        let dir = tempfile::tempdir().unwrap();
        let call = Call::quiet(dir.path().to_owned());
        for line in [
            "let data = #{ counts: #{ files: 3, dirs: 1 }, list: [#{ name: \"a\" }] };",
            "let h = host::local();",
            "fn double(x) { x * 2 }",
            "import \"std/verify\" as v;",
        ] {
            session.eval(Mode::Plan, line, None, &call, None).unwrap();
        }
        World::of(&session, vec![("0198-abcd".into(), "move-tree".into(), "failed".into())])
    }

    fn texts(world: &World, line: &str) -> Vec<String> {
        world.offers(line).into_iter().map(|offer| format!("{}{}", &line[..offer.from], offer.text)).collect()
    }

    #[test]
    fn names_keys_members_and_options_are_offered_where_they_fit() {
        let world = world();
        assert_eq!(texts(&world, "dat"), ["data"]);
        assert_eq!(texts(&world, "let x = dou"), ["let x = double("]);
        assert_eq!(texts(&world, "data.cou"), ["data.counts"]);
        assert_eq!(texts(&world, "data.counts."), ["data.counts.dirs", "data.counts.files"]);
        assert_eq!(texts(&world, "data.list[0]."), ["data.list[0].name"]);
        assert_eq!(texts(&world, "h.ex"), ["h.exec("]);
        assert_eq!(texts(&world, "co"), ["const", "continue", "copy::"]);
        assert_eq!(texts(&world, "copy::tr"), ["copy::tree("]);
        assert_eq!(texts(&world, "v::tr"), ["v::trees("]);
        assert_eq!(texts(&world, "copy::tree(\"a\", \"b\", #{ che"), ["copy::tree(\"a\", \"b\", #{ checksum: "]);
        let options = texts(&world, "copy::tree(\"a\", \"b\", #{ checksum: true, d");
        assert_eq!(
            options,
            [
                "copy::tree(\"a\", \"b\", #{ checksum: true, delete: ",
                "copy::tree(\"a\", \"b\", #{ checksum: true, dry_run: "
            ]
        );
        assert_eq!(texts(&world, "h.exec([\"a\"], #{ read"), ["h.exec([\"a\"], #{ read_only: "]);
        assert_eq!(texts(&world, "step(\"x\", #{ ret"), ["step(\"x\", #{ retries: "]);
        assert!(
            texts(&world, "copy::tree(\"a\", \"b\", #{ checksum: dat")
                .ends_with(&["copy::tree(\"a\", \"b\", #{ checksum: data".into()])
        );
    }

    #[test]
    fn signatures_stand_beside_functions() {
        let offers = world().offers("copy::scan");
        assert!(offers[0].about.starts_with("copy::scan(path: endpoint"), "{}", offers[0].about);
    }

    #[test]
    fn commands_modules_and_runs_are_offered() {
        let world = world();
        assert_eq!(texts(&world, ":sa"), [":save"]);
        assert_eq!(texts(&world, ":show 01"), [":show 0198-abcd"]);
        assert_eq!(texts(&world, ":doc copy::tr"), [":doc copy::tree"]);
        assert_eq!(texts(&world, ":live dat"), [":live data"]);
        assert_eq!(texts(&world, "import \"std/ver"), ["import \"std/verify"]);
        assert!(texts(&world, ":nothing ").is_empty() && texts(&world, "// da").is_empty());
    }

    #[test]
    fn files_are_offered_inside_texts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("date"), "").unwrap();
        std::fs::write(dir.path().join(".hidden"), "").unwrap();
        let base = dir.path().display().to_string();
        assert_eq!(
            texts(&world(), &format!("copy::scan(\"{base}/da")),
            [format!("copy::scan(\"{base}/data/"), format!("copy::scan(\"{base}/date"),]
        );
        assert_eq!(texts(&world(), &format!(":load {base}/.h")), [format!(":load {base}/.hidden")]);
    }
}
