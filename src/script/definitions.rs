//! Definitions for editors: what scripts can call, in the form of Rhai's language servers (`.d.rhai`).
//!
//! Written from the documentation of the functions, not by Rhai's own generator: that gives Rust's types away, and text
//! for functions without a result that no server can read.

use super::docs::{self, Doc};
use super::shape::{self, Signature, Type};

/// First line of every file, by which a later call knows its own.
pub(super) const HEAD: &str = "// Made by `decamp scripts definitions`; what is changed here is lost.";

/// Every file: its name and its text.
pub(super) fn files() -> Vec<(String, String)> {
    let mut files: Vec<(String, String, Vec<Doc>)> = Vec::new();
    for doc in docs::all() {
        let (file, module) = match doc.name.rsplit_once("::") {
            Some((module, _)) if module.starts_with("std/") => (module.to_owned(), format!("\"{module}\"")),
            Some((namespace, _)) => (namespace.to_owned(), namespace.to_owned()),
            None => ("decamp".to_owned(), "static".to_owned()),
        };
        match files.iter_mut().find(|(known, ..)| *known == file) {
            Some((.., docs)) => docs.push(doc),
            None => files.push((file, module, vec![doc])),
        }
    }
    let text = |module: &str, docs: &[Doc]| {
        let functions: Vec<String> = docs.iter().map(function).collect();
        format!("{HEAD}\nmodule {module};\n\n{}", functions.join("\n"))
    };
    files.iter().map(|(file, module, docs)| (format!("{file}.d.rhai"), text(module, docs))).collect()
}

/// One function: its documentation, and every way to call it.
fn function(doc: &Doc) -> String {
    let mut out = format!("/// {}\n", doc.summary);
    for (heading, text) in &doc.sections {
        out.push_str(&format!("///\n/// # {heading}\n"));
        // Shape and options are no Markdown: as code they keep their columns.
        let shape = heading == "Shape";
        let fence = if shape { "/// ```text\n" } else { "" };
        out.push_str(fence);
        for line in text.lines() {
            out.push_str(format!("/// {line}").trim_end());
            out.push('\n');
        }
        if shape {
            out.push_str("/// ```\n");
        }
    }
    let name = doc.name.rsplit([':', '.']).next().unwrap_or(&doc.name);
    for signature in doc.signatures.iter().map(|line| shape::signature(line)) {
        let optional = signature.args.iter().filter(|arg| arg.optional).count();
        if optional > 0 {
            out.push_str(&line(name, &signature, false));
        }
        out.push_str(&line(name, &signature, true));
    }
    out
}

/// `fn tree(src: String, dst: String, opts: Map) -> Map;`
fn line(name: &str, signature: &Signature, all: bool) -> String {
    let handle = signature.handle.iter().map(|handle| format!("{handle}: {handle}"));
    let args = signature.args.iter().filter(|arg| all || !arg.optional);
    let args = args.map(|arg| format!("{}: {}", arg.name, word(&arg.kind)));
    let args: Vec<String> = handle.chain(args).collect();
    let result = signature.result.as_ref().map(|kind| format!(" -> {}", word(kind))).unwrap_or_default();
    format!("fn {name}({}){result};\n", args.join(", "))
}

/// A type in Rhai's words; `?` is any.
fn word(kind: &Type) -> &str {
    match kind {
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Float => "float",
        Type::Text | Type::Words(_) => "String",
        Type::List(_) => "Array",
        Type::Map => "Map",
        Type::Closure(_) => "FnPtr",
        Type::Handle(name) => name,
        Type::Duration | Type::Size | Type::Data | Type::Secret | Type::Either(_) => "?",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::script::engine;

    /// A line of code of a definition as the language server's grammar has it: name, and parameters with their types.
    fn read(line: &str) -> (String, Vec<(String, String)>, Option<String>) {
        let rest = line.strip_prefix("fn ").unwrap().strip_suffix(';').unwrap();
        let (name, rest) = rest.split_once('(').unwrap();
        let (args, result) = rest.split_once(')').unwrap();
        let args = args.split(", ").filter(|arg| !arg.is_empty()).map(|arg| {
            let (name, kind) = arg.split_once(": ").unwrap();
            (name.to_owned(), kind.to_owned())
        });
        let result = (!result.is_empty()).then(|| result.strip_prefix(" -> ").unwrap().to_owned());
        (name.to_owned(), args.collect(), result)
    }

    #[test]
    fn every_line_can_be_read_back_and_names_what_rhai_can_call() {
        let engine = engine::bare();
        let files = files();
        assert!(files.iter().any(|(name, _)| name == "decamp.d.rhai"), "{files:?}");
        let handles = ["host"];
        let types = ["bool", "int", "float", "String", "Array", "Map", "FnPtr", "?"];
        for (file, text) in &files {
            let mut code = text.lines().filter(|line| !line.starts_with("//") && !line.is_empty());
            let module = code.next().unwrap();
            assert!(module.starts_with("module ") && module.ends_with(';'), "{file}: {module}");
            for line in code {
                let (name, args, result) = read(line);
                for kind in args.iter().map(|(_, kind)| kind).chain(&result) {
                    let known = types.contains(&kind.as_str()) || handles.contains(&kind.as_str());
                    assert!(known || kind.chars().all(|c| c.is_ascii_lowercase()), "{file}: {line}: {kind}");
                }
                // Reserved words and odd names do not compile.
                let names: Vec<&str> = args.iter().map(|(name, _)| name.as_str()).collect();
                let script = format!("fn {name}({}) {{}}", names.join(", "));
                engine.compile(&script).unwrap_or_else(|error| panic!("{file}: {script}: {error}"));
            }
        }
    }

    #[test]
    fn every_native_and_every_standard_function_is_defined_once() {
        let files = files();
        for doc in docs::all() {
            let name = doc.name.rsplit([':', '.']).next().unwrap();
            let summary = format!("/// {}\n", doc.summary);
            let found: Vec<&str> =
                files.iter().filter(|(_, text)| text.contains(&summary)).map(|(f, _)| f.as_str()).collect();
            assert_eq!(found.len(), 1, "{}: {found:?}", doc.name);
            assert!(files.iter().any(|(_, text)| text.contains(&format!("\nfn {name}("))), "{name}");
        }
        let copy = &files.iter().find(|(name, _)| name == "copy.d.rhai").unwrap().1;
        assert!(copy.contains(
            "fn tree(src: String, dst: String) -> Map;\nfn tree(src: String, dst: String, opts: Map) -> Map;\n"
        ));
        assert!(copy.contains("/// opts   delete: bool = false"), "options are documented");
        let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
        for leak in ["Result<", "&str", "&mut", "Dynamic", "ImmutableString", "-> ;"] {
            assert!(!all.contains(leak), "{leak}");
        }
    }
}
