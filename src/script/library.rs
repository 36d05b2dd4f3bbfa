//! The texts a script is made of: itself and everything it imports, by a name that stays the same on every machine.
//!
//! `std/name` is inside the program; `./name` and `../name` stand beside the importing file and never outside the
//! directory of the main script; nothing else can be imported. Every import is a literal, so that all texts are known
//! (and kept in the journal) before anything runs. On undo the texts come from the journal instead of from files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rhai::{AST, ASTNode, Engine, EvalAltResult, Expr, Module, ModuleResolver, Position, Scope, Shared, Stmt};

type SharedModule = Shared<Module>;

use super::{Script, diagnose, embedded, near};
use crate::error::{Error, Kind};
use crate::journal::Source;

/// Name of the main script among the texts.
pub(super) const MAIN: &str = "main";

/// One text, compiled.
#[derive(Clone)]
pub(super) struct Text {
    /// What it is called in messages: `scripts/move-tree.rhai`, `std/passes`.
    pub(super) label: String,
    /// The source.
    pub(super) text: String,
    /// The program.
    pub(super) ast: AST,
    /// Its imports: alias and name of the text.
    pub(super) imports: Vec<(String, String)>,
}

/// All texts of one script.
pub(crate) struct Library {
    texts: BTreeMap<String, Text>,
    modules: Mutex<BTreeMap<String, SharedModule>>,
}

/// Where texts come from.
pub(super) enum Origin<'a> {
    /// The program and the files beside the script.
    Files,
    /// The journal.
    Recorded(&'a [Source]),
}

/// Compiles the main text.
type Compile<'a> = dyn Fn(&str) -> Result<AST, Error> + 'a;

impl Library {
    /// Loads and compiles `script` and everything it imports.
    ///
    /// Fails with kind `invalid` if something does not compile, an import is no literal, leaves the script's directory
    /// or goes round in a circle; `not_found` if it does not exist.
    pub(super) fn load(engine: &Engine, script: &Script, origin: &Origin<'_>) -> Result<Self, Error> {
        let root = match (&script.path, origin) {
            (Some(path), Origin::Files) => Some(root_of(path)?),
            _ => None,
        };
        let label = script.label();
        let compile = |text: &str| engine.compile(text).map_err(|error| diagnose::syntax(&label, text, &error));
        Self::gather(engine, (&script.text, &label), root, origin, &compile)
    }

    /// Loads one line of a session, compiled by `compile`, and everything it imports.
    pub(super) fn of_line(
        engine: &Engine,
        text: &str,
        label: &str,
        root: Option<PathBuf>,
        compile: &Compile<'_>,
    ) -> Result<Self, Error> {
        Self::gather(engine, (text, label), root, &Origin::Files, compile)
    }

    /// Adds texts that earlier lines of a session brought, unless they are there.
    pub(super) fn add(&mut self, texts: &BTreeMap<String, Text>) {
        for (name, text) in texts {
            self.texts.entry(name.clone()).or_insert_with(|| text.clone());
        }
    }

    fn gather(
        engine: &Engine,
        (main, main_label): (&str, &str),
        root: Option<PathBuf>,
        origin: &Origin<'_>,
        compile: &Compile<'_>,
    ) -> Result<Self, Error> {
        let mut texts = BTreeMap::new();
        let mut open = vec![(MAIN.to_owned(), main.to_owned(), main_label.to_owned())];
        while let Some((name, text, label)) = open.pop() {
            let mut ast = match name.as_str() {
                MAIN => compile(&text)?,
                _ => engine.compile(&text).map_err(|error| diagnose::syntax(&label, &text, &error))?,
            };
            ast.set_source(name.as_str());
            let mut imports = Vec::new();
            for (path, alias, at) in imports_of(&ast).map_err(|at| {
                let error =
                    Error::new(Kind::Invalid, "an import must name its module as a plain text, such as \"std/passes\"");
                diagnose::at(error, &label, &text, at)
            })? {
                let located = |error: Error| diagnose::at(error, &label, &text, at);
                let target = canonical(&name, &path).map_err(located)?;
                if !texts.contains_key(&target) && target != name && !open.iter().any(|(other, ..)| *other == target) {
                    let text = match origin {
                        Origin::Recorded(sources) => recorded(sources, &target),
                        Origin::Files => fetch(&target, root.as_deref()),
                    };
                    open.push((target.clone(), text.map_err(located)?, label_of(&target, root.as_deref())));
                }
                imports.push((alias, target));
            }
            texts.insert(name, Text { label, text, ast, imports });
        }
        if let Some(circle) = circle(&texts) {
            return Err(Error::new(Kind::Invalid, format!("imports go round in a circle: {}", circle.join(" → "))));
        }
        Ok(Self { texts, modules: Mutex::default() })
    }

    /// The same texts, compiled by another engine.
    pub(super) fn compiled_again(&self, engine: &Engine) -> Result<Self, Error> {
        let mut texts = self.texts.clone();
        for (name, text) in &mut texts {
            text.ast = engine.compile(&text.text).map_err(|error| diagnose::syntax(&text.label, &text.text, &error))?;
            text.ast.set_source(name.as_str());
        }
        Ok(Self { texts, modules: Mutex::default() })
    }

    /// The main script.
    pub(super) fn main(&self) -> &Text {
        &self.texts[MAIN]
    }

    /// The text of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Text> {
        self.texts.get(name)
    }

    /// Every text with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.texts.iter().map(|(name, text)| (name.as_str(), text))
    }

    /// All texts as the journal keeps them.
    pub(super) fn sources(&self) -> Vec<Source> {
        self.iter().map(|(name, text)| Source { module: name.to_owned(), text: text.text.clone() }).collect()
    }

    /// The text that holds the function `name`, at `line` of which something happened.
    pub(super) fn owner(&self, function: &str, line: Option<usize>) -> Option<(&str, &Text)> {
        let holds = |text: &Text, check_line: bool| {
            functions(&text.ast).any(|def| def.name == function && (!check_line || def.holds(line)))
        };
        let owners = |check: bool| self.iter().filter(move |(_, text)| holds(text, check)).collect::<Vec<_>>();
        match owners(true).as_slice() {
            [one] => Some(*one),
            _ => match owners(false).as_slice() {
                [one] => Some(*one),
                _ => None,
            },
        }
    }

    /// Source of the body of the function `name`; empty if it is not known.
    pub(super) fn body(&self, function: &str) -> String {
        let Some((_, text)) = self.owner(function, None) else { return String::new() };
        let Some(def) = functions(&text.ast).find(|def| def.name == function) else { return String::new() };
        let offset = |at: Position| diagnose::offset(&text.text, at);
        match (offset(def.start), offset(def.end)) {
            (Some(start), Some(end)) if start <= end => text.text.get(start..end).unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }
}

/// A function of a script: its name and where its body begins and ends.
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) params: usize,
    pub(super) start: Position,
    pub(super) end: Position,
}

impl Function<'_> {
    /// Whether `line` lies in its body.
    pub(super) fn holds(&self, line: Option<usize>) -> bool {
        match (line, self.start.line(), self.end.line()) {
            (Some(line), Some(start), Some(end)) => (start..=end).contains(&line),
            _ => true,
        }
    }
}

/// The functions of a program, closures among them.
pub(super) fn functions(ast: &AST) -> impl Iterator<Item = Function<'_>> {
    ast.shared_lib().iter_script_fn_info().map(|(_, _, name, params, def)| Function {
        name,
        params,
        start: def.body.start_position(),
        end: def.body.end_position(),
    })
}

/// Path, alias and place of every import; the place of one that is no literal as the error.
fn imports_of(ast: &AST) -> Result<Vec<(String, String, Position)>, Position> {
    let mut found = Vec::new();
    let mut wrong = None;
    ast.walk(&mut |nodes: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, at))) = nodes.last() {
            match &import.0 {
                Expr::StringConstant(path, at) => {
                    found.push((path.to_string(), import.1.name.to_string(), *at));
                }
                _ => wrong = Some(*at),
            }
        }
        true
    });
    wrong.map_or(Ok(found), Err)
}

/// The name of the text that `importer` means by `path`.
fn canonical(importer: &str, path: &str) -> Result<String, Error> {
    let wrong = |message: String| Error::new(Kind::Invalid, message);
    if let Some(name) = path.strip_prefix("std/") {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        return if plain {
            Ok(path.to_owned())
        } else {
            Err(wrong(format!("`{path}` is no name of a standard module")))
        };
    }
    if !path.starts_with("./") && !path.starts_with("../") {
        return Err(wrong(format!("cannot import `{path}`"))
            .hint("import \"std/NAME\" for a standard module, \"./NAME\" for a file beside the script"));
    }
    if importer.starts_with("std/") {
        return Err(wrong(format!("a standard module cannot import the file `{path}`")));
    }
    let mut parts: Vec<&str> = importer.strip_prefix("./").map(|own| own.split('/').collect()).unwrap_or_default();
    parts.pop();
    for part in path.trim_end_matches(".rhai").split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| {
                    Error::new(Kind::Denied, format!("`{path}` lies outside the directory of the script"))
                        .hint("put the module beside the script or below it")
                        .exit(crate::error::Exit::Usage)
                })?;
            }
            part => parts.push(part),
        }
    }
    Ok(format!("./{}", parts.join("/")))
}

fn root_of(script: &Path) -> Result<PathBuf, Error> {
    let parent = script.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.canonicalize().map_err(|error| {
        Error::new(Kind::Io, format!("cannot find the directory of `{}`", script.display())).because(error)
    })
}

fn label_of(name: &str, root: Option<&Path>) -> String {
    match (name.strip_prefix("./"), root) {
        (Some(own), Some(root)) => root.join(own).with_extension("rhai").display().to_string(),
        _ => name.to_owned(),
    }
}

fn fetch(name: &str, root: Option<&Path>) -> Result<String, Error> {
    if let Some(module) = name.strip_prefix("std/") {
        return embedded::module(module).ok_or_else(|| {
            let error =
                Error::new(Kind::NotFound, format!("no standard module `{name}`")).exit(crate::error::Exit::Usage);
            let known = embedded::module_names();
            match near::hint(module, known.iter().map(String::as_str)) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        });
    }
    let Some(root) = root else {
        return Err(Error::new(Kind::Invalid, format!("a shipped script cannot import the file `{name}`"))
            .hint("`decamp scripts eject NAME` makes a copy of the script that can"));
    };
    let path = root.join(name.trim_start_matches("./")).with_extension("rhai");
    let failed = |error: std::io::Error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
        Error::new(kind, format!("cannot read the module `{}`", path.display()))
            .because(error)
            .exit(crate::error::Exit::Usage)
    };
    // A symbolic link may point anywhere.
    if !path.canonicalize().map_err(failed)?.starts_with(root) {
        return Err(Error::new(
            Kind::Denied,
            format!("`{}` leads outside the directory of the script", path.display()),
        )
        .exit(crate::error::Exit::Usage));
    }
    std::fs::read_to_string(&path).map_err(failed)
}

fn recorded(sources: &[Source], name: &str) -> Result<String, Error> {
    let source = sources.iter().find(|source| source.module == name);
    source
        .map(|source| source.text.clone())
        .ok_or_else(|| Error::new(Kind::Internal, format!("the journal does not hold the module `{name}`")))
}

/// A circle of imports, if there is one.
fn circle(texts: &BTreeMap<String, Text>) -> Option<Vec<String>> {
    fn visit(texts: &BTreeMap<String, Text>, at: &str, path: &mut Vec<String>, done: &mut Vec<String>) -> bool {
        if let Some(start) = path.iter().position(|name| name == at) {
            path.drain(..start);
            path.push(at.to_owned());
            return true;
        }
        if done.iter().any(|name| name == at) {
            return false;
        }
        path.push(at.to_owned());
        if texts.get(at).is_some_and(|text| text.imports.iter().any(|(_, to)| visit(texts, to, path, done))) {
            return true;
        }
        path.pop();
        done.push(at.to_owned());
        false
    }
    let mut path = Vec::new();
    visit(texts, MAIN, &mut path, &mut Vec::new()).then_some(path)
}

/// Gives Rhai the modules of a [`Library`].
pub(super) struct Resolver(pub(super) std::sync::Arc<std::sync::OnceLock<Library>>);

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        at: Position,
    ) -> Result<SharedModule, Box<EvalAltResult>> {
        let missing = || Box::new(EvalAltResult::ErrorModuleNotFound(path.to_owned(), at));
        let library = self.0.get().ok_or_else(missing)?;
        let name = canonical(source.unwrap_or(MAIN), path).map_err(|_| missing())?;
        let modules = || library.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules().get(&name) {
            return Ok(module.clone());
        }
        let text = library.get(&name).ok_or_else(missing)?;
        let module = Module::eval_ast_as_new(Scope::new(), &text.ast, engine)
            .map_err(|error| Box::new(EvalAltResult::ErrorInModule(name.clone(), error, at)));
        let module = SharedModule::new(module?);
        modules().insert(name, module.clone());
        Ok(module)
    }
}
