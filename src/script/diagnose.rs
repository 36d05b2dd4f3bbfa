//! From a failure of Rhai to one for people: which file, which line, a caret, the signatures that exist, near names.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use rhai::{Engine, EvalAltResult, ParseError, ParseErrorType, Position};

use super::api::error::{Stop, Token, from_payload};
use super::library::{Library, MAIN};
use super::near;
use crate::error::{Error, Exit, Kind};

/// How a script ended, other than well.
#[derive(Debug)]
pub(super) enum Ending {
    /// A failure.
    Failed(Error),
    /// A plan cannot look further.
    PlanEnds(String),
    /// Undo has replayed everything that was done.
    ReplayEnds,
    /// The run was to go no further than to this place.
    Reached(String),
}

/// What `error` of a script made of `library` means.
pub(super) fn ending(engine: &Engine, library: &Library, error: &EvalAltResult) -> Ending {
    let (inner, place) = locate(library, error);
    if let EvalAltResult::ErrorTerminated(token, _) = inner {
        let stop = token.clone().try_cast::<Token>();
        let stop = stop.and_then(|token| token.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        return match stop {
            Some(Stop::PlanEnds(why)) => Ending::PlanEnds(why),
            Some(Stop::ReplayEnds) => Ending::ReplayEnds,
            Some(Stop::Reached(place)) => Ending::Reached(place),
            Some(Stop::Paused) => Ending::Failed(Error::new(Kind::Internal, "a branch paused, and no other said why")),
            // A stopped run is no mistake in the script: no line is shown.
            Some(Stop::Error(error)) => Ending::Failed(error),
            None => Ending::Failed(Error::new(Kind::Internal, "the script was ended without a reason")),
        };
    }
    // A condition wants true or false and is given what a plan cannot know.
    if let EvalAltResult::ErrorMismatchDataType(_, found, _) = inner
        && found == "unknown"
    {
        return Ending::PlanEnds("it depends on a result that is known only after the run".into());
    }
    Ending::Failed(place_error(library, explain(engine, library, inner), place))
}

fn place_error(library: &Library, error: Error, place: Option<(String, Position)>) -> Error {
    match place.and_then(|(name, at)| library.get(&name).map(|text| (text, at))) {
        Some((text, position)) => at(error, &text.label, &text.text, position),
        None => error,
    }
}

/// The innermost failure, and the text and position it belongs to.
///
/// Rhai names the wrong file for a closure that an imported module calls, so the text is looked up by the function.
fn locate<'e>(library: &Library, error: &'e EvalAltResult) -> (&'e EvalAltResult, Option<(String, Position)>) {
    let mut name = MAIN.to_owned();
    let mut place = None;
    let mut at = error;
    loop {
        let position = at.position();
        if !position.is_none() {
            place = Some((name.clone(), position));
        }
        match at {
            EvalAltResult::ErrorInFunctionCall(function, source, inner, _) => {
                let line = inner.position().line();
                name = match library.owner(function.split('$').next_back().map_or(function, |_| function), line) {
                    Some((owner, _)) => owner.to_owned(),
                    None if library.get(source).is_some() => source.clone(),
                    None => name,
                };
                at = inner;
            }
            EvalAltResult::ErrorInModule(module, inner, _) => {
                if library.get(module).is_some() {
                    name.clone_from(module);
                }
                at = inner;
            }
            _ => return (at, place),
        }
    }
}

/// Words for a failure of Rhai itself, or the failure a native threw.
fn explain(engine: &Engine, library: &Library, error: &EvalAltResult) -> Error {
    let invalid = |message: String| Error::new(Kind::Invalid, message).exit(Exit::Failed);
    match error {
        EvalAltResult::ErrorRuntime(thrown, _) => from_payload(thrown),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => unknown_function(engine, library, signature),
        EvalAltResult::ErrorPropertyNotFound(name, _) => invalid(format!("there is no property `{name}`"))
            .hint("use x.get(\"name\") for one that may be missing; () means it is"),
        EvalAltResult::ErrorModuleNotFound(name, _) => invalid(format!("no module `{name}`")),
        EvalAltResult::ErrorDataRace(name, _) => invalid(format!("`{name}` is used by two closures at once"))
            .hint("return a value from the closure instead of changing a captured variable"),
        EvalAltResult::ErrorStackOverflow(_) => invalid("functions call each other too deeply".to_owned()),
        EvalAltResult::ErrorParsing(problem, _) => invalid(problem.to_string()).exit(Exit::Usage),
        other => invalid(words(other)),
    }
}

/// Rhai's own words for a failure, as we write them: small first letter, no full stop, no position.
pub(super) fn words(error: &EvalAltResult) -> String {
    let mut words = error.to_string();
    if let Some(cut) = words.rfind(" (line ") {
        words.truncate(cut);
    }
    lower_first(words.trim_end_matches('.'))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Words for a call that fits no function: the ways to call it if the name exists, else near names.
fn unknown_function(engine: &Engine, library: &Library, signature: &str) -> Error {
    let name = signature.split(" (").next().unwrap_or(signature).trim();
    if name.contains("anon$") {
        return Error::new(Kind::Invalid, "a closure is called with another number of parameters than it takes")
            .hint("the body of a step takes none: step(\"name\", || { … }); an undo closure takes the step's result: |r| …")
            .exit(Exit::Failed);
    }
    let known = signatures(engine, library);
    let given = signature.strip_prefix(name).unwrap_or_default().trim();
    let same: Vec<&str> = known.iter().filter(|(other, _)| other == name).map(|(_, how)| how.as_str()).collect();
    if same.is_empty() {
        let error = Error::new(Kind::Invalid, format!("there is no function `{name}`")).exit(Exit::Failed);
        let names = || known.iter().map(|(other, _)| other.as_str());
        // The right name without its namespace is far from the whole one.
        let spaced: Vec<&str> = names().filter(|other| other.rsplit("::").next() == Some(name)).collect();
        if !spaced.is_empty() {
            return error.hint(format!("did you mean {}?", near::list(&spaced, "or")));
        }
        return match near::hint(name, names()) {
            Some(hint) => error.hint(hint),
            None => error.hint("list them all: decamp docs"),
        };
    }
    let given = given.replace("immutable_string", "string").replace("&str | ImmutableString | String", "string");
    Error::new(Kind::Invalid, format!("`{name}` cannot be called with {given}"))
        .hint(format!("it is called as {}", near::list(&same, "or")))
        .exit(Exit::Failed)
}

/// Name and signature of every function a script can see.
fn signatures(engine: &Engine, library: &Library) -> Vec<(String, String)> {
    let mut known: Vec<_> = super::docs::natives(engine)
        .into_iter()
        .flat_map(|doc| doc.signatures.into_iter().map(move |how| (doc.name.clone(), how)))
        .collect();
    for (module, text) in library.iter() {
        for def in text.ast.iter_functions().filter(|def| !def.name.contains('$')) {
            let how = format!("{}({})", def.name, def.params.join(", "));
            let aliases = library.main().imports.iter().filter(|(_, target)| target == module);
            known.extend(aliases.map(|(alias, _)| (format!("{alias}::{}", def.name), format!("{alias}::{how}"))));
            known.push((def.name.to_owned(), how.clone()));
        }
    }
    known
}

/// The failure of a text that does not compile.
pub(super) fn syntax(label: &str, text: &str, error: &ParseError) -> Error {
    let failure = Error::new(
        Kind::Invalid,
        format!("`{label}` does not compile: {}", lower_first(&error.err_type().to_string())),
    );
    let failure = match error.err_type() {
        ParseErrorType::Reserved(word) => failure.hint(reserved(text, error.position(), word)),
        _ => failure,
    };
    at(failure, label, text, error.position())
}

/// What to write in place of a word that Rhai keeps for itself.
fn reserved(text: &str, at: Position, word: &str) -> String {
    let start = offset(text, at).unwrap_or(0);
    let (before, behind) = (text[..start].trim_end(), text[start..].trim_start_matches(word).trim_start());
    if before.ends_with('.') {
        format!("Rhai keeps the word `{word}` for itself: write x[\"{word}\"]")
    } else if behind.starts_with(':') {
        format!("Rhai keeps the word `{word}` for itself: write #{{ \"{word}\": … }}")
    } else {
        format!("Rhai keeps the word `{word}` for itself: choose another name")
    }
}

/// `error` with the line of `text` it belongs to.
pub(super) fn at(mut error: Error, label: &str, text: &str, at: Position) -> Error {
    if error.snippet.is_none() {
        error.snippet = Some(snippet(label, text, at));
    }
    error
}

/// The line of `text` at `at` with a caret, without colour.
pub(super) fn snippet(label: &str, text: &str, at: Position) -> String {
    let Some(start) = offset(text, at) else { return format!("  in {label}") };
    let length = word(&text[start..]).len();
    let shown = Snippet { source: NamedSource::new(label, text.to_owned()), start, length };
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_context_lines(1);
    if handler.render_report(&mut out, &shown).is_err() {
        out.clear();
    }
    // Above the frame stands the message, which the caller shows in its own way; the place in the frame's head counts
    // bytes, and people count characters.
    let lines = out.lines().skip_while(|line| !line.contains("╭─["));
    let shown: Vec<String> = lines
        .enumerate()
        .map(|(number, line)| match line.split_once("╭─[") {
            Some((margin, _)) if number == 0 => {
                format!("{margin}╭─[{label}:{}:{}]", at.line().unwrap_or(0), at.position().unwrap_or(0))
            }
            _ => line.trim_end().to_owned(),
        })
        .collect();
    if shown.is_empty() { format!("  in {label}") } else { shown.join("\n") }
}

/// How many characters the word at `at` has.
pub(super) fn width(text: &str, at: Position) -> usize {
    offset(text, at).map_or(1, |start| word(&text[start..]).chars().count().max(1))
}

/// The name at the beginning of `rest`, or its first character.
fn word(rest: &str) -> &str {
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len()).max(1);
    let length = rest.char_indices().map(|(at, c)| at + c.len_utf8()).find(|end| *end >= length).unwrap_or(0);
    &rest[..length]
}

struct Snippet {
    source: NamedSource<String>,
    start: usize,
    length: usize,
}

impl std::fmt::Debug for Snippet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snippet")
    }
}

impl std::fmt::Display for Snippet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("here")
    }
}

impl std::error::Error for Snippet {}

impl Diagnostic for Snippet {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new(None, self.start, self.length))))
    }
}

/// Byte offset of a position of Rhai, which counts lines and characters from 1.
pub(super) fn offset(text: &str, at: Position) -> Option<usize> {
    let line = at.line()?;
    let start = if line == 1 { 0 } else { text.match_indices('\n').nth(line - 2)?.0 + 1 };
    let column = at.position().unwrap_or(1).max(1) - 1;
    let rest = &text[start..];
    Some(start + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_not_bytes() {
        assert_eq!(offset("é = 1;\nlet ö = x;", Position::new(2, 9)), Some(17));
        let shown = snippet("a.rhai", "let a = 1;\nlet ü = hepl();\n", Position::new(2, 9));
        assert!(shown.contains("a.rhai:2:9"), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let code = lines.iter().position(|line| line.contains("hepl")).unwrap_or(0);
        let column = |line: &str, mark: char| line.chars().position(|c| c == mark);
        assert_eq!(column(lines[code], 'h'), column(lines[code + 1], '─').or(column(lines[code + 1], '┬')), "{shown}");
    }
}
