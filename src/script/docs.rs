//! Documentation of everything a script can call, taken from the functions' own doc comments.

use rhai::{AST, Engine};

use super::{api, embedded, engine};

/// One documented function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// Full name: `copy::tree`, `step`, `host.exec`, `std/passes::until_small`.
    pub name: String,
    /// Every way to call it.
    pub signatures: Vec<String>,
    /// The first sentence.
    pub summary: String,
    /// Sections in order: heading (`Shape`, `Units`, `Effects`, `Errors`, `Source`, `Example`) and text.
    pub sections: Vec<(String, String)>,
}

impl Doc {
    /// Text of the section `heading`.
    #[must_use]
    pub fn section(&self, heading: &str) -> Option<&str> {
        self.sections.iter().find(|(name, _)| name == heading).map(|(_, text)| text.as_str())
    }
}

/// Every native and every function of the standard modules.
pub(super) fn all() -> Vec<Doc> {
    let engine = engine::bare();
    let mut docs = natives(&engine);
    for module in embedded::module_names() {
        let text = embedded::module(&module).unwrap_or_default();
        // A module that does not compile is found by the tests and by `check`; here it has nothing to say.
        if let Ok(ast) = engine.compile(&text) {
            docs.extend(of_module(&format!("std/{module}"), &ast));
        }
    }
    docs
}

/// The natives registered in `engine`, by name.
pub(super) fn natives(engine: &Engine) -> Vec<Doc> {
    let mut docs: Vec<Doc> = engine.collect_fn_metadata(
        None,
        |info| {
            let comments: String = info.metadata.comments.iter().map(|line| format!("{line}\n")).collect();
            // Of several overloads one carries the documentation.
            (!comments.is_empty() && info.script.is_none())
                .then(|| parse(&full_name(&info.namespace, &info.metadata.name), &comments))
        },
        false,
    );
    docs.sort_by(|a, b| a.name.contains("::").cmp(&b.name.contains("::")).then_with(|| a.name.cmp(&b.name)));
    docs.dedup_by(|a, b| a.name == b.name);
    docs
}

fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

/// The documented functions of a script module.
fn of_module(module: &str, ast: &AST) -> Vec<Doc> {
    let mut docs: Vec<Doc> = ast
        .iter_functions()
        .filter(|def| !def.name.contains('$') && def.access == rhai::FnAccess::Public)
        .map(|def| {
            let mut doc = parse(&format!("{module}::{}", def.name), &def.comments.join("\n"));
            if doc.signatures.is_empty() {
                doc.signatures.push(format!("{}({})", def.name, def.params.join(", ")));
            }
            doc
        })
        .collect();
    docs.sort_by(|a, b| a.name.cmp(&b.name));
    docs
}

/// Every name with the numbers of parameters it takes, natives and Rhai's own functions alike.
pub(super) fn arities(engine: &Engine) -> std::collections::BTreeMap<String, std::collections::BTreeSet<usize>> {
    let mut known: std::collections::BTreeMap<String, std::collections::BTreeSet<usize>> = Default::default();
    let all = engine.collect_fn_metadata(
        None,
        |info| {
            let spaced = api::NAMESPACES.contains(&info.namespace.as_str());
            let name = full_name(if spaced { &info.namespace } else { "" }, &info.metadata.name);
            Some((name, info.metadata.name.to_string(), info.metadata.num_params))
        },
        true,
    );
    for (name, bare, params) in all {
        known.entry(name).or_default().insert(params);
        // Methods of handles are called without their namespace.
        known.entry(format!(".{bare}")).or_default().insert(params);
    }
    known
}

/// Splits a doc comment into its summary and sections.
fn parse(name: &str, comments: &str) -> Doc {
    let lines = comments.lines().map(|line| {
        let line = line.trim_start().trim_start_matches("///");
        line.strip_prefix(' ').unwrap_or(line)
    });
    let mut summary = String::new();
    let mut sections: Vec<(String, String)> = Vec::new();
    let mut fenced = false;
    for line in lines {
        fenced ^= line.trim_start().starts_with("```");
        match line.strip_prefix("# ") {
            Some(heading) if !fenced => sections.push((heading.trim().to_owned(), String::new())),
            _ => match sections.last_mut() {
                Some((_, text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
                // What follows the first paragraph is more than a summary.
                None if line.trim().is_empty() && !summary.is_empty() => {
                    sections.push(("Description".to_owned(), String::new()));
                }
                None => {
                    summary.push_str(line.trim());
                    summary.push(' ');
                }
            },
        }
    }
    for (_, text) in &mut sections {
        *text = text.trim_matches('\n').to_owned();
    }
    sections.retain(|(heading, text)| heading != "Description" || !text.is_empty());
    let summary = summary.trim().to_owned();
    let shape = sections.iter().find(|(heading, _)| heading == "Shape").map(|(_, text)| text.as_str());
    let signatures: Vec<String> = shape
        .unwrap_or_default()
        .lines()
        // What follows, such as options, begins with a name and a space.
        .take_while(|line| line.split_once('(').is_some_and(|(called, _)| !called.contains(' ')))
        .map(str::to_owned)
        .collect();
    let dotted = signatures.first().and_then(|line| line.split('(').next()).filter(|called| called.contains('.'));
    Doc { name: dotted.unwrap_or(name).to_owned(), signatures, summary, sections }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_native_is_documented_with_its_errors_and_an_example() {
        let docs = natives(&engine::bare());
        assert!(docs.len() >= 15, "{}", docs.len());
        for doc in &docs {
            assert!(doc.section("Errors").is_some(), "{} has no Errors section", doc.name);
            assert!(doc.section("Example").is_some(), "{} has no Example section", doc.name);
            assert!(!doc.signatures.is_empty(), "{} has no Shape section", doc.name);
            assert!(doc.summary.ends_with('.'), "{}: {}", doc.name, doc.summary);
        }
    }

    /// Every example runs, in a directory `tmp` that holds a tree `a` of three files and an empty directory `b`.
    #[test]
    fn every_example_runs() {
        for doc in all() {
            let Some(example) = doc.section("Example") else { continue };
            let code: String =
                example.lines().filter(|line| !line.starts_with("```")).map(|line| format!("{line}\n")).collect();
            let tmp = tempfile::tempdir().unwrap();
            for name in ["one", "two", "three"] {
                std::fs::create_dir_all(tmp.path().join("a")).unwrap();
                std::fs::write(tmp.path().join("a").join(name), name).unwrap();
            }
            std::fs::create_dir(tmp.path().join("b")).unwrap();
            if let Err(error) = crate::script::run::example(&code, tmp.path()) {
                panic!("the example of {} fails: {} {:?}\n{code}", doc.name, error.message, error.causes());
            }
        }
    }

    #[test]
    fn every_overload_belongs_to_a_documented_function() {
        let engine = engine::bare();
        let documented: Vec<String> =
            natives(&engine).into_iter().map(|doc| doc.name.rsplit(['.', ':']).next().unwrap().to_owned()).collect();
        let all = engine.collect_fn_metadata(None, |info| Some(info.metadata.name.to_string()), false);
        // What makes an unknown value printable, and useless for anything else, is no function to call.
        let own = |name: &str| {
            name.starts_with(|c: char| c.is_alphabetic()) && !name.starts_with("to_") && !name.contains('$')
        };
        for name in all.into_iter().filter(|name| own(name)) {
            assert!(documented.contains(&name), "{name} is not documented");
        }
    }

    #[test]
    fn every_standard_function_is_documented() {
        let docs: Vec<Doc> = all().into_iter().filter(|doc| doc.name.starts_with("std/")).collect();
        for doc in docs {
            assert!(
                !doc.summary.is_empty() && doc.section("Errors").is_some(),
                "{} lacks a summary or Errors",
                doc.name
            );
        }
    }

    /// The fields that `text`, which follows `#{`, documents, as paths: `left`, `left.bytes`.
    fn fields(text: &str) -> Vec<String> {
        let (mut all, mut path, mut word): (Vec<String>, Vec<String>, String) = Default::default();
        for c in text.chars() {
            match c {
                'a'..='z' | '_' => word.push(c),
                '{' => path.push(all.last().cloned().unwrap()),
                ',' | '}' | ':' => {
                    if !word.is_empty() {
                        let name = std::mem::take(&mut word);
                        all.push(path.last().map_or(name.clone(), |above| format!("{above}.{name}")));
                    }
                    if c == '}' && path.pop().is_none() {
                        break;
                    }
                }
                _ => {}
            }
        }
        all
    }

    #[test]
    fn every_documented_result_has_the_fields_it_really_has() {
        let image = r#"({ step("i", || host::local().exec(["cp", "/proc/self/status", tmp + "/i"])); "#;
        let with_image = |call: &str| format!("{image} {call} }})");
        let copied = with_image(r#"step("x", || block::copy(tmp + "/i", tmp + "/j", #{ create: true }))"#);
        let paired = with_image(r#"block::pair(tmp + "/i", tmp + "/j", #{ create: true })"#);
        let compared = with_image(r#"block::compare(tmp + "/i", "/proc/self/exe")"#);
        let calls = [
            ("block::copy", &*copied),
            ("block::pair", &*paired),
            ("block::compare", &*compared),
            ("copy::tree", r#"step("x", || copy::tree(tmp + "/a", tmp + "/b"))"#),
            ("copy::root", r#"step("x", || copy::root(tmp + "/new"))"#),
            ("copy::scan", r#"copy::scan(tmp + "/a")"#),
            ("copy::compare", r#"copy::compare(tmp + "/a", tmp + "/b")"#),
            ("copy::probe", "copy::probe(tmp)"),
            ("copy::shortfalls", r#"copy::shortfalls(tmp + "/a", tmp + "/b")"#),
            ("copy::roots", r#"copy::roots(tmp + "/a", tmp + "/b")"#),
            ("host.exec", r#"host::local().exec(["true"], #{ read_only: true })"#),
            ("host.stat", r#"host::local().stat(tmp + "/a")"#),
            ("host.statfs", "host::local().statfs(tmp)"),
            ("host::keypair", r#"step("x", || host::keypair(tmp + "/key"))"#),
            // Of a real cluster: see tests/k8s/.
            ("cluster.delete", "#{ deleted: (), uid: () }"),
            ("cluster.scale", "#{ replicas: (), was: () }"),
            ("cluster.version", "#{ server: (), platform: (), url: (), uid: () }"),
            (
                "cluster.owner",
                "#{ name: (), kind: (), api_version: (), namespace: (), uid: (), scales: (), chain: () }",
            ),
            // Of a real host: see tests/ssh/script.rs.
            ("host.authorize_key", "#{ line: (), added: (), made: () }"),
            ("host.revoke_key", "#{ removed: (), line: () }"),
            ("host.host_key", "#{ kind: (), fingerprint: (), first_use: () }"),
        ];
        for doc in natives(&engine::bare()) {
            let Some((_, result)) = doc.section("Shape").unwrap().split_once("result #{") else { continue };
            let (_, call) = calls.iter().find(|(name, _)| *name == doc.name).unwrap_or_else(|| panic!("{}", doc.name));
            // Types and lists are no fields of their own.
            let plain =
                result.replace(": bool", "").replace(": string", "").replace("[#{ accept, entries, reason }]", "");
            let documented = fields(&plain);
            assert!(documented.len() > 1, "{}: {documented:?}", doc.name);
            let nested: std::collections::BTreeSet<&str> =
                documented.iter().filter_map(|path| path.rsplit_once('.')).map(|(above, _)| above).collect();
            for above in std::iter::once("").chain(nested) {
                let below = |path: &&String| path.rsplit_once('.').map_or("", |(above, _)| above) == above;
                let mut names: Vec<String> = documented
                    .iter()
                    .filter(below)
                    .map(|path| format!("\"{}\"", path.rsplit('.').next().unwrap()))
                    .collect();
                names.sort();
                let part = if above.is_empty() { String::new() } else { format!(".{above}") };
                let code = format!("let k = ({call}){part}.keys(); k.sort(); assert_eq(k, [{}]);", names.join(", "));
                let tmp = tempfile::tempdir().unwrap();
                std::fs::create_dir(tmp.path().join("a")).unwrap();
                std::fs::create_dir(tmp.path().join("b")).unwrap();
                if let Err(error) = crate::script::run::example(&code, tmp.path()) {
                    panic!("{}{part}: really first, documented second: {}", doc.name, error.message);
                }
            }
        }
    }
}
