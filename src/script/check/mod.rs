//! Finding mistakes in a script without running it.
//!
//! Rhai itself finds unknown variables, never unknown functions: a typo in a branch that runs only when something fails
//! would show at the worst moment. The program is looked at without optimisation, so that dead branches are seen.
//! What a rule must know of the natives (options, types, what changes something) it takes from their documentation.

mod calls;
mod flow;
mod habits;
mod parameters;
mod program;
mod report;
pub mod rules;
mod unused;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rhai::{Engine, OptimizationLevel};

use self::calls::Known;
use self::flow::Flow;
use self::program::Program;
use self::report::Report;
use super::library::{Library, Origin};
use super::shape::{self, Native};
use super::{Script, engine, params};
use crate::error::{Error, Exit, Kind};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, but is probably not meant.
    Warning,
    /// Would fail, or do something else than it says.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File as the user named it.
    pub file: String,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 if unknown.
    pub column: usize,
    /// The column behind the last character it is about; 0 if unknown.
    pub end_column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// Short name of the rule: `syntax`, `unknown-function`, …
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line with a caret, rendered without colour.
    pub snippet: String,
}

impl Finding {
    /// `file:line:column`, as far as they are known.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.file.clone(),
            (line, 0) => format!("{}:{line}", self.file),
            (line, column) => format!("{}:{line}:{column}", self.file),
        }
    }
}

/// What the rules need to know of everything a script can call.
struct Checker {
    engine: Engine,
    natives: Vec<Native>,
    arities: std::collections::BTreeMap<String, BTreeSet<usize>>,
}

impl Checker {
    fn new() -> Self {
        let mut engine = engine::bare();
        engine.set_optimization_level(OptimizationLevel::None);
        let (natives, arities) = (shape::natives(&engine), calls::arities(&engine));
        Self { engine, natives, arities }
    }

    /// The findings of a script that was loaded by this checker's engine.
    fn library(&self, library: &Library) -> Vec<Finding> {
        let program = Program::of(library);
        let mut report = Report::default();
        for module in program.modules.iter().filter(|module| module.own()) {
            let known = Known::of(&self.arities, &program, module);
            calls::unknown(&known, module, &mut report);
            calls::shadowed(&known, &self.natives, module, &mut report);
            unused::variables(module, &mut report);
            unused::functions(&program, module, &mut report);
            unused::imports(module, &mut report);
            unused::unreachable(module, &mut report);
            habits::interpolation(module, &mut report);
            habits::catches(&self.natives, module, &mut report);
            habits::lost(&self.natives, module, &mut report);
        }
        let mut flow = Flow::new(&program, &self.natives, &mut report);
        flow.all();
        let reads = flow.reads;
        if program.is_script() {
            match params::of(&self.engine, library) {
                Ok(declared) => parameters::compare(&program, &declared, &reads, &mut report),
                Err(error) => report.findings.push(from_error(&program.main().label, "params", &error)),
            }
        }
        for module in program.modules.iter().filter(|module| module.own()) {
            report.allow(module);
        }
        sorted(report.findings)
    }

    fn file(&self, path: &Path) -> Vec<Finding> {
        let label = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let mut finding = whole(&label, "unreadable", format!("cannot be read: {error}"));
                if super::embedded::script(&label).is_some() {
                    let hint = format!(
                        "`{label}` is a shipped script; to check one of your own: decamp scripts eject {label}"
                    );
                    finding.hint = Some(hint);
                }
                return vec![finding];
            }
        };
        self.text(path, text)
    }

    fn text(&self, path: &Path, text: String) -> Vec<Finding> {
        let label = path.display().to_string();
        let script = Script { name: label.clone(), path: Some(path.to_owned()), text };
        match Library::load(&self.engine, &script, &Origin::Files) {
            Ok(library) => self.library(&library),
            Err(error) => vec![from_error(&label, "syntax", &error)],
        }
    }
}

/// Checks a text as if it were the file at `path`.
pub(super) fn text(text: &str, path: &Path) -> Vec<Finding> {
    Checker::new().text(path, text.to_owned())
}

/// Checks script files and the modules they import; of a directory all scripts in it and below.
///
/// # Errors
/// `io` if a directory cannot be read, `not_found` if there is no script in it: no findings would look like a clean one.
pub(super) fn files(paths: &[PathBuf]) -> Result<(usize, Vec<Finding>), Error> {
    let checker = Checker::new();
    let mut files = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            below(path, &mut files)?;
            if files.len() == before {
                let message = format!("there is no script in `{}`", path.display());
                return Err(Error::new(Kind::NotFound, message)
                    .hint("scripts end in .rhai; .d.rhai files are definitions for editors")
                    .exit(Exit::Usage));
            }
        } else {
            files.insert(path.clone());
        }
    }
    let found = files.iter().flat_map(|path| checker.file(path)).collect();
    Ok((files.len(), sorted(found)))
}

/// Adds every script below `dir`; hidden directories and definitions are left out.
fn below(dir: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Io, format!("cannot read the directory `{}`", dir.display())).because(error).exit(Exit::Usage)
    };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && !name.starts_with('.') {
            below(&path, files)?;
        } else if !kind.is_dir() && name.ends_with(".rhai") && !name.ends_with(".d.rhai") {
            files.insert(path);
        }
    }
    Ok(())
}

/// What `check` calls an error in a script that is about to run, as the failure that keeps it from running.
///
/// # Errors
/// `invalid` with every error found, the first with its line.
pub(super) fn refuse(library: &Library) -> Result<(), Error> {
    let checker = Checker::new();
    let library = library.compiled_again(&checker.engine)?;
    let errors: Vec<Finding> =
        checker.library(&library).into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    let Some((first, others)) = errors.split_first() else { return Ok(()) };
    let mut error = Error::new(Kind::Invalid, format!("{} [{}]", first.message, first.rule)).exit(Exit::Usage);
    error.snippet = Some(first.snippet.clone()).filter(|snippet| !snippet.is_empty());
    if let Some(hint) = &first.hint {
        error = error.hint(hint.clone());
    }
    for other in others {
        error = error.hint(format!("{}: {} [{}]", other.place(), other.message, other.rule));
    }
    Err(error.hint(format!("nothing was begun; see everything: decamp check {}", library.main().label)))
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| (&a.file, a.line, a.column, a.rule).cmp(&(&b.file, b.line, b.column, b.rule)));
    findings.dedup();
    findings
}

fn whole(file: &str, rule: &'static str, message: String) -> Finding {
    Finding {
        file: file.to_owned(),
        line: 0,
        column: 0,
        end_column: 0,
        severity: Severity::Error,
        rule,
        message,
        hint: None,
        snippet: String::new(),
    }
}

fn from_error(file: &str, rule: &'static str, error: &Error) -> Finding {
    let mut finding = whole(file, rule, error.message.clone());
    finding.hint = error.hints.first().cloned();
    if let Some(snippet) = &error.snippet {
        let place = snippet
            .lines()
            .find_map(|line| line.split_once("╭─["))
            .map(|(_, place)| place.trim_end_matches(']').to_owned());
        if let Some([column, line, file]) = place
            .map(|place| place.rsplitn(3, ':').map(str::to_owned).collect::<Vec<_>>())
            .and_then(|parts| <[String; 3]>::try_from(parts).ok())
        {
            finding.line = line.parse().unwrap_or(0);
            finding.column = column.parse().unwrap_or(0);
            finding.end_column = finding.column + usize::from(finding.column > 0);
            finding.file = file;
        }
        finding.snippet.clone_from(snippet);
    }
    finding
}
