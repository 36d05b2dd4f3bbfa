//! An interactive session: lines that are evaluated one after the other, with the variables, functions and imports of
//! those before.
//!
//! Every line has an engine of its own behind the same natives, so that it can be planned or done, stopped without
//! ending the session, and shown with its own text when it fails. What changes something while the session is live
//! belongs to a run of the journal (`live`): it is made at the first such line, and each is a step of it.

mod answer;
pub mod lex;
mod live;
mod names;
mod outline;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rhai::{AST, Dynamic, Engine, Module, ParseErrorType, Scope, Stmt};
use serde_json::Value;

use super::api::ctx::{Ctx, Frame};
use super::diagnose::{self, Ending};
use super::docs::{self, Doc};
use super::library::{self, Library, MAIN, Text};
use super::outcome::Call;
use super::profile::{Profile, Recorded};
use super::{api, engine, near, run, value};
use crate::error::{Error, Exit, Kind};

pub use answer::{Answer, Good};
pub(super) use live::refuse_resume;
pub use live::{Left, is_session};
pub use outline::Outline;

/// What a line does with what it would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is shown and not done.
    Plan,
    /// It is done and journalled.
    Live,
}

/// Asks before an effect that cannot be repeated or taken back; `false` refuses it.
pub type Word = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A module in reach: its alias, name, and functions with signature and summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What the session calls it.
    pub alias: String,
    /// `std/verify`, `./lib`.
    pub module: String,
    /// Name, signature and summary of its functions.
    pub functions: Vec<(String, String, String)>,
}

struct Before {
    text: String,
    scope: Scope<'static>,
}

/// Lines evaluated one after the other.
pub struct Session {
    scope: Scope<'static>,
    /// Functions of every line so far, the latest of a name.
    functions: AST,
    /// Texts that functions and modules of this session come from, by name.
    texts: BTreeMap<String, Text>,
    /// Alias, name and module of every import.
    imports: BTreeMap<String, (String, rhai::Shared<Module>)>,
    docs: Vec<Doc>,
    reads: reach::Natives,
    good: Vec<Good>,
    lines: usize,
    results: usize,
    before: Option<Before>,
    /// A line has changed something since a plan was taken up.
    touched: bool,
    live: live::Live,
    root: Option<PathBuf>,
    /// Directories that planned lines would have made.
    planned_roots: BTreeSet<PathBuf>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session without variables. Relative imports begin at the working directory.
    #[must_use]
    pub fn new() -> Self {
        let docs = docs::all();
        let reads = reach::Natives::of(&docs);
        Self {
            scope: Scope::new(),
            functions: AST::empty(),
            texts: BTreeMap::new(),
            imports: BTreeMap::new(),
            docs,
            reads,
            good: Vec::new(),
            lines: 0,
            results: 0,
            before: None,
            touched: false,
            live: live::Live::default(),
            root: std::env::current_dir().ok().and_then(|dir| dir.canonicalize().ok()),
            planned_roots: BTreeSet::new(),
        }
    }

    /// Evaluates `text`, called `label` in messages.
    ///
    /// # Errors
    /// As the line failed; the session goes on, and `_err` holds the failure.
    pub fn eval(
        &mut self,
        mode: Mode,
        text: &str,
        label: Option<&str>,
        call: &Call,
        word: Option<Word>,
    ) -> Result<Answer, Error> {
        let before = (mode == Mode::Plan).then(|| Before { text: text.to_owned(), scope: self.scope.clone() });
        self.before = None;
        let answer = run::on_script_thread(|| self.line(mode, text, label, call, word));
        match &answer {
            Ok(answer) => {
                if !answer.plan.is_empty() || answer.stops.is_some() {
                    self.before = before;
                }
            }
            Err(error) => {
                self.scope.set_or_push("_err", Dynamic::from(api::error::payload(error)));
            }
        }
        answer
    }

    /// Does the last line for real, if it was planned: from the variables as they were before it.
    ///
    /// # Errors
    /// `invalid` if the last line planned nothing; else as [`Session::eval`].
    pub fn redo(&mut self, call: &Call, word: Option<Word>) -> Result<Answer, Error> {
        let Some(before) = self.before.take() else {
            return Err(Error::new(Kind::Invalid, "the last line planned nothing that could be done")
                .hint("type the line again, or do one line for real: :live LINE"));
        };
        self.scope = before.scope.clone();
        self.touched = false;
        let planned = self.good.pop();
        let answer = self.eval(Mode::Live, &before.text, None, call, word);
        if let (Err(_), Some(planned)) = (&answer, planned) {
            self.good.push(planned);
        }
        if matches!(&answer, Err(error) if error.kind == Kind::Denied) && !self.touched {
            // Nothing was done: the plan is still there.
            self.before = Some(before);
        }
        answer
    }

    fn line(
        &mut self,
        mode: Mode,
        typed: &str,
        label: Option<&str>,
        call: &Call,
        word: Option<Word>,
    ) -> Result<Answer, Error> {
        let since = Instant::now();
        self.lines += 1;
        let name = format!("line {}", self.lines);
        let label = label.unwrap_or(&name).to_owned();
        let last = (self.results > 0).then_some(self.results);
        let text = names::rewrite(typed);
        let library = self.library(&text, &label)?;
        let own = library.main().clone();
        self.imports_allowed(&own)?;
        let mut program = self.functions.merge(&own.ast);
        program.set_source(MAIN);

        let profile = if mode == Mode::Live { Profile::Live } else { Profile::Plan };
        let acts = mode == Mode::Live && self.scene(library.iter(), &own).nature(&own) == Nature::Changes;
        if acts {
            reach::refuse_hooks(&own)?;
        }
        let step = if acts { Some(self.live.enter(call, self.lines, typed.trim())?) } else { None };
        let shared = if mode == Mode::Live { self.live.run() } else { None };
        let ctx = Arc::new(Ctx::sharing(call.clone(), shared, profile, Recorded::default()));
        if mode == Mode::Plan {
            // What an earlier line would have made is there for a later one.
            ctx.state().planned_roots.clone_from(&self.planned_roots);
        }
        self.live.lend(&ctx, word);
        drop(ctx.library.set(library));
        let mut engine = engine::build(&ctx);
        self.provide(&mut engine);

        let key = live::key(self.lines);
        let frame = Frame::new(step, &key, call.cancel.clone());
        let entered = Ctx::enter(frame);
        let ended = engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, &program);
        let changed = Ctx::with_frame(|frame| frame.changed).unwrap_or(false);
        drop(entered);
        self.touched |= changed;
        self.scope = self.scope.clone_visible();
        let ended = ended.map_err(|error| match ctx.library.get() {
            Some(library) => diagnose::ending(&engine, library, &error),
            None => Ending::Failed(Error::new(Kind::Internal, "the line was not loaded")),
        });
        self.live.take_back(&ctx);
        let mut state = std::mem::take(&mut *ctx.state());
        if mode == Mode::Plan {
            self.planned_roots = std::mem::take(&mut state.planned_roots);
        }
        let mut answer = Answer { changed, plan: state.plan, notes: state.notes, ..Answer::default() };
        if mode == Mode::Live && state.undos.iter().any(|kept| kept.closure.is_some()) {
            answer
                .warnings
                .push("a session keeps no undo closures: `decamp undo` puts back what natives recorded".into());
        }
        let ended = match ended {
            Ok(result) => Ok(Some(result)),
            Err(Ending::PlanEnds(why)) => {
                answer.stops = Some(why);
                Ok(None)
            }
            Err(Ending::Failed(error)) => Err(error),
            Err(Ending::ReplayEnds | Ending::Reached(_)) => {
                Err(Error::new(Kind::Internal, "the line ended like a replay"))
            }
        };
        if let Some(step) = step {
            self.live.leave(step, ended.as_ref().map(Option::as_ref), changed)?;
        }
        let result = ended?;
        if let Some(library) = ctx.library.get() {
            let modules = library.iter().filter(|(text, _)| *text != MAIN);
            self.texts.extend(modules.map(|(text, code)| (text.to_owned(), code.clone())));
        }
        self.keep(&own, &name, &engine);
        answer.elapsed_ms = api::step::elapsed_ms(since);
        if let Some(result) = result {
            self.answer(&mut answer, result, &engine);
        }
        self.good.push(Good { text: typed.trim().to_owned(), number: answer.number, last, data: answer.data });
        Ok(answer)
    }

    /// The texts of a line: itself, those of earlier lines, and everything imported.
    fn library(&self, text: &str, label: &str) -> Result<Library, Error> {
        let bare = engine::bare();
        let mut reader = engine::bare();
        self.provide(&mut reader);
        let compile = |text: &str| {
            reader
                .compile_with_scope(&self.scope, text)
                .map_err(|error| self.near(diagnose::syntax(label, text, &error), &error))
        };
        let mut library = Library::of_line(&bare, text, label, self.root.clone(), &compile)?;
        library.add(&self.texts);
        Ok(library)
    }

    /// Adds the name that may have been meant.
    fn near(&self, mut error: Error, parse: &rhai::ParseError) -> Error {
        if let ParseErrorType::VariableUndefined(name) = parse.err_type() {
            let absent = match name.as_str() {
                names::LAST => Some("no result yet: `_` is the last one".to_owned()),
                "_err" => Some("nothing has failed yet: `_err` is the last failure".to_owned()),
                own if names::own(own) => Some(format!("no result `{}` yet", names::shown(own))),
                _ => None,
            };
            if let Some(absent) = absent {
                error.message = absent;
                return error;
            }
        }
        let hint = match parse.err_type() {
            ParseErrorType::VariableUndefined(name) => {
                let variables = self.scope.iter_raw().map(|(name, ..)| name).filter(|name| !names::own(name));
                near::hint(name, variables).filter(|hint| hint.starts_with("did"))
            }
            ParseErrorType::ModuleUndefined(name) => {
                let known = self.imports.keys().map(String::as_str).chain(api::NAMESPACES);
                near::hint(name, known).map(|hint| format!("{hint} (import \"std/NAME\" as {name}; brings a module)"))
            }
            _ => None,
        };
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Refuses an alias that would hide natives in every later line.
    fn imports_allowed(&self, own: &Text) -> Result<(), Error> {
        match own.imports.iter().find(|(alias, _)| api::NAMESPACES.contains(&alias.as_str())) {
            Some((alias, _)) => Err(Error::new(Kind::Invalid, format!("`{alias}` is the name of a namespace"))
                .hint("import it under another name")),
            None => Ok(()),
        }
    }

    /// Gives an engine what earlier lines imported.
    fn provide(&self, engine: &mut Engine) {
        for (alias, (_, module)) in &self.imports {
            engine.register_static_module(alias, module.clone());
        }
    }

    /// Keeps what a line defined and imported.
    fn keep(&mut self, own: &Text, name: &str, engine: &Engine) {
        if own.ast.has_functions() {
            let defined: Vec<(String, usize)> =
                library::functions(&own.ast).map(|def| (def.name.to_owned(), def.params)).collect();
            for (_, text) in self.texts.iter_mut().filter(|(text, _)| text.starts_with("line ")) {
                text.ast.retain_functions(|_, _, name, params| !defined.iter().any(|(n, p)| n == name && *p == params));
            }
            let mut functions = own.ast.clone_functions_only();
            functions.set_source(name);
            self.functions = self.functions.merge(&functions);
            self.texts.insert(name.to_owned(), Text { ast: functions, ..own.clone() });
        }
        let imported = own.ast.statements().iter().filter_map(|stmt| match stmt {
            Stmt::Import(import, _) => Some(import.1.name.to_string()),
            _ => None,
        });
        for alias in imported {
            let Some((_, target)) = own.imports.iter().find(|(own, _)| *own == alias) else { continue };
            let resolver = engine.module_resolver();
            // It has just been imported: the resolver has it ready.
            if let Ok(module) = resolver.resolve(engine, Some(MAIN), target, rhai::Position::NONE) {
                self.imports.insert(alias, (target.clone(), module));
            }
        }
    }

    fn answer(&mut self, answer: &mut Answer, result: Dynamic, engine: &Engine) {
        answer.kind = engine.map_type_name(result.type_name()).to_owned();
        answer.data = value::encode(&result, "result").is_ok();
        answer.value = value::describe(&result);
        if result.is_unit() {
            answer.kind = "()".to_owned();
            return;
        }
        self.results += 1;
        answer.number = Some(self.results);
        self.scope.set_or_push(names::LAST, result.clone());
        self.scope.set_or_push(names::numbered(self.results), result);
    }

    /// The value of a variable or result, as plain data.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        self.scope.get(&names::rewrite(name)).map(value::describe)
    }

    /// Every variable with its type and the names in it, by name.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, Outline)> {
        let bare = Engine::new_raw();
        let all = self.scope.iter_raw().map(|(name, _, value)| (name, value));
        let mut all: Vec<_> = all.map(|(name, value)| (names::shown(name), outline::of(&bare, value))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The functions defined in this session: name and signature.
    #[must_use]
    pub fn functions(&self) -> Vec<(String, String)> {
        let own = self.functions.iter_functions().filter(|def| !def.name.contains('$'));
        own.map(|def| (def.name.to_owned(), format!("{}({})", def.name, def.params.join(", ")))).collect()
    }

    /// The modules imported so far.
    #[must_use]
    pub fn imported(&self) -> Vec<Imported> {
        let one = |(alias, (module, code)): (&String, &(String, rhai::Shared<Module>))| {
            let functions = code.iter_script_fn_info().filter(|(.., name, _, _)| !name.contains('$'));
            let functions = functions.map(|(_, _, name, _, def)| {
                let signature = format!("{name}({})", def.params.join(", "));
                let doc = self.docs.iter().find(|doc| doc.name == format!("{module}::{name}"));
                (name.to_owned(), signature, doc.map(|doc| doc.summary.clone()).unwrap_or_default())
            });
            Imported { alias: alias.clone(), module: module.clone(), functions: functions.collect() }
        };
        self.imports.iter().map(one).collect()
    }

    /// Documentation of everything that can be called.
    #[must_use]
    pub fn docs(&self) -> &[Doc] {
        &self.docs
    }

    /// The good lines so far.
    #[must_use]
    pub fn good(&self) -> &[Good] {
        &self.good
    }

    /// Whether a line would call something that reads the world, something that changes it, or neither.
    #[must_use]
    pub fn nature(&self, text: &str) -> Nature {
        let text = names::rewrite(text);
        let mut engine = engine::bare();
        engine.set_strict_variables(false);
        self.provide(&mut engine);
        let Ok(ast) = engine.compile(&text) else { return Nature::Pure };
        let own = Text { label: String::new(), text, ast, imports: Vec::new() };
        let texts = self.texts.iter().map(|(name, text)| (name.as_str(), text));
        self.scene(texts, &own).nature(&own)
    }

    fn scene<'a>(&'a self, texts: impl Iterator<Item = (&'a str, &'a Text)>, own: &'a Text) -> reach::Scene<'a> {
        let mut aliases: BTreeMap<&str, &str> =
            self.imports.iter().map(|(alias, (module, _))| (alias.as_str(), module.as_str())).collect();
        aliases.extend(own.imports.iter().map(|(alias, module)| (alias.as_str(), module.as_str())));
        let texts = texts.filter(|(name, _)| *name != MAIN).collect();
        reach::Scene { natives: &self.reads, texts, aliases, scope: &self.scope }
    }

    /// Whether a variable holds plain data.
    #[must_use]
    pub fn is_data(&self, name: &str) -> bool {
        self.scope.get(name).is_none_or(|held| value::encode(held, name).is_ok())
    }

    /// Forgets variables, functions and imports; the run goes on.
    pub fn reset(&mut self) {
        self.scope.clear();
        self.functions = AST::empty();
        self.texts.clear();
        self.imports.clear();
        self.good.clear();
        self.before = None;
        self.results = 0;
    }

    /// The run of the live lines so far.
    #[must_use]
    pub fn run_id(&self) -> Option<String> {
        self.live.run().map(|run| run.id().as_str().to_owned())
    }

    /// Ends the session's run, if there is one; `exit` is how the process ends if all of it is whole.
    ///
    /// # Errors
    /// As the journal or the release of a target failed.
    pub fn finish(&mut self, call: &Call, exit: Exit) -> Result<Option<Left>, Error> {
        self.live.finish(call, exit)
    }
}

/// What calling something means for the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nature {
    /// Nothing outside is touched.
    Pure,
    /// The world is read.
    Reads,
    /// The world may be changed.
    Changes,
}

/// Whether `text` is the beginning of something longer: an open bracket, text or comment.
#[must_use]
pub fn incomplete(text: &str) -> bool {
    let text = names::rewrite(text);
    if names::open_comment(&text) {
        return true;
    }
    let Err(error) = Engine::new().compile(&text) else { return false };
    let (line, column) = (error.position().line(), error.position().position());
    let lines: Vec<&str> = text.split('\n').collect();
    let at_end = line.is_none_or(|line| {
        let rest = lines.get(line - 1).map_or("", |text| {
            let skip = column.unwrap_or(1).saturating_sub(1);
            text.char_indices().nth(skip).map_or("", |(at, _)| &text[at..])
        });
        rest.trim().is_empty() && lines[line.min(lines.len())..].iter().all(|line| line.trim().is_empty())
    });
    match error.err_type() {
        ParseErrorType::UnexpectedEOF => true,
        ParseErrorType::MissingToken(..) | ParseErrorType::MissingSymbol(_) => at_end,
        ParseErrorType::BadInput(rhai::LexError::UnterminatedString) => names::open_backtick(&text),
        _ => false,
    }
}

/// Names of the standard modules, as imports take them.
#[must_use]
pub fn modules() -> Vec<String> {
    super::embedded::module_names().into_iter().map(|name| format!("std/{name}")).collect()
}

/// Runs in the journal below `state`, newest last: id, script and state.
#[must_use]
pub fn runs(state: &Path) -> Vec<(String, String, String)> {
    // A list to choose from: without a journal that can be read there is nothing to choose.
    let Ok(Some(reader)) = crate::journal::Journal::read(state) else { return Vec::new() };
    let all = reader.runs().unwrap_or_default();
    all.into_iter().map(|run| (run.id.as_str().to_owned(), run.script.clone(), run.state().to_owned())).collect()
}

/// The names nearest to `name`, best first.
#[must_use]
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    near::nearest(name, known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn session(lines: &[&str]) -> Session {
        let dir = tempfile::tempdir().unwrap();
        let call = Call::quiet(dir.path().to_owned());
        let mut session = Session::new();
        for line in lines {
            session.eval(Mode::Plan, line, None, &call, None).unwrap();
        }
        session
    }

    #[test]
    fn the_nature_of_a_line_is_that_of_what_it_calls() {
        let session = session(&[
            "fn total(counts) { counts.files + counts.dirs }",
            "fn make(path) { copy::root(path) }",
            "let data = #{ counts: #{ files: 1, dirs: 2 } };",
            "let held = #{ f: |x| copy::scan(x) };",
            "let h = host::local();",
            "import \"std/verify\" as v;",
        ]);
        for (line, nature) in [
            ("1 + 2", Nature::Pure),
            ("data.counts.files", Nature::Pure),
            ("total(data.counts)", Nature::Pure),
            ("[1].map(|x| x + 1)", Nature::Pure),
            ("copy::scan(\"a\")", Nature::Reads),
            ("held.f.call(\"a\")", Nature::Reads),
            ("h.exec([\"ls\"], #{ read_only: true })", Nature::Reads),
            ("v::trees(\"a\", \"b\", \"full\", #{})", Nature::Reads),
            ("h.exec([\"ls\"])", Nature::Changes),
            ("make(\"a\")", Nature::Changes),
            ("[\"a\"].map(make)", Nature::Changes),
            ("if held.len() == 0 { make(\"a\") }", Nature::Changes),
            ("step(\"a\", || 1)", Nature::Changes),
        ] {
            assert_eq!(session.nature(line), nature, "{line}");
        }
    }

    #[test]
    fn what_is_not_over_is_told_from_what_is_wrong() {
        for open in ["f(", "let a = #{", "let x =", "`abc", "`a ${b", "/* a", "fn f(x) {", "if a {", "[1,", "x.map(|y|"]
        {
            assert!(incomplete(open), "{open}");
        }
        for over in ["1", "let a = 1;", "\"abc", "f())", "let let", "a /* b */", "// a", "", "let x = 1 2", "}"] {
            assert!(!incomplete(over), "{over}");
        }
    }
}
