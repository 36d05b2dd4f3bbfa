//! Holds the house together: which room may use which, which names may stand where, no forgotten file, nothing new at
//! the top. Every rule is a function from sources to complaints, and is shown to complain about a planted offence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::rust::{Source, repository, sources};

/// A room, and those it may use directly; what those may use it may use as well.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["repl", "script"]),
    ("repl", &["script"]),
    ("script", &["host", "edit", "journal", "report", "error"]),
    // Words the errors of every room below the scripts, so it knows them all.
    ("error", &["host", "edit", "journal"]),
    ("report", &["copy", "block", "error"]),
    // Every place where something is shown or kept takes the values of secrets out.
    ("redact", &["units"]),
    ("journal", &["units", "cancel", "progress", "redact"]),
    ("edit", &["units", "cancel", "progress"]),
    ("host", &["agent", "k8s"]),
    ("k8s", &["units", "cancel", "progress"]),
    ("agent", &["copy", "block"]),
    ("copy", &["units", "cancel", "progress", "rate", "wire"]),
    ("block", &["units", "cancel", "progress", "rate", "wire"]),
    ("wire", &["cancel"]),
    ("rate", &["units", "cancel"]),
    ("units", &[]),
    ("cancel", &[]),
    ("progress", &[]),
];

/// The far side and what it is made of: no scripts, no database, no command line, no other runtime than threads.
pub(crate) const ENGINES: &[&str] = &["units", "cancel", "progress", "rate", "wire", "copy", "block", "agent"];

/// Names, and the only places (below `src/`) they may stand in.
const PLACES: &[(&str, &[&str])] = &[
    ("rhai", &["script", "repl"]),
    ("clap", &["cli", "main.rs"]),
    ("reedline", &["repl"]),
    ("rusqlite", &["journal"]),
    ("rusqlite_migration", &["journal"]),
    ("kube", &["k8s"]),
    ("k8s_openapi", &["k8s"]),
    ("openssh", &["host"]),
    ("unsafe", &["copy/sys", "block/device.rs"]),
    ("block_on", &["script/api/ctx.rs"]),
    ("block_in_place", &["script/api/ctx.rs"]),
    ("println!", &["cli", "repl", "report"]),
    ("eprintln!", &["cli", "repl", "report"]),
    ("print!", &["cli", "repl", "report"]),
    ("eprint!", &["cli", "repl", "report"]),
    ("process::exit", &["main.rs"]),
];

/// Names the engines may not use at all.
const NOT_IN_ENGINES: &[&str] = &["tokio", "serde", "serde_json", "rhai", "clap", "rusqlite"];

/// What may stand at the top of the repository beside dot-files.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "build.rs",
    "src",
    "scripts",
    "stdlib",
    "tests",
    // What cargo builds, and git ignores.
    "target",
];

/// A file above this has a second noun in it.
const LINES: usize = 600;

/// The room a file is in, and its module path below that room's parent.
fn module_of(path: &Path) -> Vec<String> {
    let below = path.strip_prefix("src").unwrap_or(path).with_extension("");
    let mut parts: Vec<_> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn room_of(path: &Path) -> String {
    module_of(path).swap_remove(0)
}

/// Every room a room may use.
fn reach(room: &str) -> BTreeSet<&'static str> {
    let direct = |room: &str| ARROWS.iter().find(|(from, _)| *from == room).map_or(&[][..], |(_, to)| to);
    let mut all = BTreeSet::new();
    let mut open = direct(room).to_vec();
    while let Some(next) = open.pop() {
        if all.insert(next) {
            open.extend(direct(next));
        }
    }
    all
}

/// Rooms named through `crate::`, `decamp::` or a chain of `super::` that leaves the room.
fn uses(source: &Source) -> Vec<(String, usize)> {
    let module = module_of(&source.path);
    let mut found = Vec::new();
    // Depths of braces at which an inline module began.
    let (mut depth, mut inline) = (0, Vec::new());
    let mut at = 0;
    while at < source.tokens.len() {
        match source.word(at) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|began| *began < depth);
            }
            "mod" if source.word(at + 2) == "{" => inline.push(depth),
            "crate" | "decamp" if source.word(at + 1) == "::" && source.word(at.wrapping_sub(1)) != "::" => {
                names(source, at + 2, &mut found);
            }
            "super" if source.word(at.wrapping_sub(1)) != "::" => {
                let mut chain = 1;
                while source.is(at + 2 * chain, &["super"]) && source.word(at + 2 * chain - 1) == "::" {
                    chain += 1;
                }
                if chain == module.len() + inline.len() {
                    names(source, at + 2 * chain, &mut found);
                }
                at += 2 * chain - 2;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first name of a path, or of each path of a `{…}` group.
fn names(source: &Source, at: usize, found: &mut Vec<(String, usize)>) {
    if source.word(at) != "{" {
        found.push((source.word(at).to_owned(), at));
        return;
    }
    let (mut depth, mut at) = (1, at + 1);
    let mut first = true;
    while depth > 0 && at < source.tokens.len() {
        match source.word(at) {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => first = true,
            name if first => {
                found.push((name.to_owned(), at));
                first = false;
            }
            _ => {}
        }
        at += 1;
    }
}

fn wrong_arrows(all: &[Source]) -> Vec<String> {
    let known: BTreeSet<_> = ARROWS.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for source in all {
        let room = room_of(&source.path);
        if room == "lib" || source.path.starts_with("src/bin") {
            continue;
        }
        if !known.contains(&*room) {
            wrong.push(format!("{}: room `{room}` has no arrows in tests/architecture.rs", source.path.display()));
        }
        let reach = reach(&room);
        for (used, at) in uses(source) {
            if used != room && known.contains(&*used) && !reach.contains(&*used) {
                wrong.push(format!("{}: {room} may not use {used}", source.place(at)));
            }
        }
    }
    wrong
}

fn misplaced_names(all: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in all {
        let below = source.path.strip_prefix("src").unwrap_or(&source.path);
        let engine = ENGINES.contains(&&*room_of(&source.path));
        for at in 0..source.tokens.len() {
            for (name, places) in PLACES {
                if !places.iter().any(|place| below.starts_with(place)) && names_it(source, at, name) {
                    wrong.push(format!("{}: `{name}` belongs to {}", source.place(at), places.join(", ")));
                }
            }
            if engine && NOT_IN_ENGINES.contains(&source.word(at)) {
                wrong.push(format!("{}: an engine names `{}`", source.place(at), source.word(at)));
            }
        }
    }
    wrong
}

/// `name`, `name!` or `outer::name`.
fn names_it(source: &Source, at: usize, name: &str) -> bool {
    match (name.strip_suffix('!'), name.split_once("::")) {
        (Some(name), _) => source.is(at, &[name, "!"]),
        (_, Some((outer, name))) => source.is(at, &[outer, "::", name]),
        // A field or method of that name is another thing; block_on is a method.
        _ => source.word(at) == name && (name.starts_with("block_") || source.word(at.wrapping_sub(1)) != "."),
    }
}

fn too_long(all: &[Source]) -> Vec<String> {
    let long = all.iter().filter(|source| source.lines > LINES);
    long.map(|source| format!("{}: {} lines, at most {LINES}", source.path.display(), source.lines)).collect()
}

/// Files that no chain of `mod` lines from one of `roots` leads to: they are never compiled, and nobody notices.
fn forgotten(all: &[Source], roots: &[&str]) -> Vec<String> {
    let by_path: BTreeMap<_, _> = all.iter().map(|source| (source.path.as_path(), source)).collect();
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut open: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        let Some(source) = by_path.get(path.as_path()) else { continue };
        if !seen.insert(path.clone()) {
            continue;
        }
        let is_parent = roots.iter().any(|root| path == Path::new(root)) || path.ends_with("mod.rs");
        let dir = if is_parent { path.parent().unwrap().to_owned() } else { path.with_extension("") };
        for module in source.modules() {
            open.extend([dir.join(format!("{module}.rs")), dir.join(module).join("mod.rs")]);
        }
    }
    let lost = all.iter().filter(|source| !seen.contains(&source.path));
    lost.map(|source| format!("{}: no `mod` line leads to it", source.path.display())).collect()
}

fn strangers<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    names
        .filter(|name| !name.starts_with('.') && !TOP.contains(name))
        .map(|name| format!("`{name}` at the top"))
        .collect()
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    none(&wrong_arrows(&sources("src")));
}

#[test]
fn names_stand_where_they_belong() {
    none(&misplaced_names(&sources("src")));
}

#[test]
fn files_are_short() {
    none(&too_long(&sources("src")));
}

#[test]
fn no_file_is_forgotten() {
    let bins: Vec<_> = sources("src/bin").iter().map(|source| source.path.to_string_lossy().into_owned()).collect();
    let mut roots = vec!["src/lib.rs", "src/main.rs"];
    roots.extend(bins.iter().map(String::as_str));
    none(&forgotten(&sources("src"), &roots));
    none(&forgotten(
        &sources("tests"),
        &["tests/main.rs", "tests/bench/main.rs", "tests/bench/block/main.rs", "tests/bench/far/main.rs"],
    ));
}

#[test]
fn the_top_is_a_closed_list() {
    let names: Vec<_> =
        fs::read_dir(repository()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    none(&strangers(names.iter().map(String::as_str)));
}

#[test]
fn arrows_have_no_cycle() {
    for (room, _) in ARROWS {
        assert!(!reach(room).contains(room), "{room} reaches itself");
    }
    assert!(reach("cli").contains("units") && reach("units").is_empty());
}

#[test]
fn wrong_arrows_are_seen() {
    let planted = [
        ("src/copy/tree.rs", "use crate::journal::Store;"),
        ("src/copy/tree.rs", "fn f() -> crate::error::Error { x }"),
        ("src/copy/tree.rs", "use crate::{units::Bytes, script::{Host, api}};"),
        ("src/copy/mod.rs", "use super::script;"),
        ("src/copy/tree.rs", "mod tests { use super::super::super::cli::Args; }"),
        ("src/units.rs", "use crate::progress::Event;"),
        ("src/journal/store.rs", "use crate::copy::Report;"),
        ("src/attic/mod.rs", "fn new_room() {}"),
    ];
    for (path, text) in planted {
        assert_eq!(wrong_arrows(&[Source::new(path, text)]).len(), 1, "{path}: {text}");
    }
    let fine = [
        ("src/copy/tree.rs", "use crate::units::Bytes; use super::error::Error; // crate::journal\n"),
        ("src/copy/tree.rs", "mod tests { use super::super::error::Error; }"),
        ("src/copy/tree.rs", "mod tests { mod a { use super::x; } } mod b { use super::super::error::Error; }"),
        ("src/cli/mod.rs", "use crate::copy::Options; use crate::{error::Error, journal};"),
        ("src/main.rs", "fn main() { decamp::cli::main() }"),
        ("src/lib.rs", "pub mod cli; use crate::cli::Args;"),
    ];
    for (path, text) in fine {
        none(&wrong_arrows(&[Source::new(path, text)]));
    }
}

#[test]
fn misplaced_names_are_seen() {
    let planted = [
        ("src/journal/mod.rs", "use rhai::Dynamic;"),
        ("src/script/mod.rs", "use clap::Parser;"),
        ("src/copy/file.rs", "fn f() { unsafe { g() } }"),
        ("src/script/mod.rs", "fn f() { println!(\"x\") }"),
        ("src/cli/run.rs", "fn f() { std::process::exit(1) }"),
        ("src/script/api/host.rs", "fn f() { runtime.block_on(future) }"),
        ("src/script/mod.rs", "fn f(c: &rusqlite::Connection) {}"),
        ("src/agent/mod.rs", "use serde::Serialize;"),
        ("src/cancel.rs", "use tokio::sync::Notify;"),
    ];
    for (path, text) in planted {
        assert_eq!(misplaced_names(&[Source::new(path, text)]).len(), 1, "{path}: {text}");
    }
    let fine = [
        ("src/copy/sys/mod.rs", "fn f() { unsafe { g() } }"),
        ("src/script/api/ctx.rs", "fn f() { runtime.block_on(future) }"),
        ("src/report/human.rs", "fn f() { eprintln!(\"x\") }"),
        ("src/main.rs", "fn f() { std::process::exit(1) }"),
        ("src/copy/mod.rs", "// serde and rhai: not here\n"),
        ("src/report/mod.rs", "fn f() { x.clap() }"),
    ];
    for (path, text) in fine {
        none(&misplaced_names(&[Source::new(path, text)]));
    }
}

#[test]
fn long_forgotten_and_strange_files_are_seen() {
    assert_eq!(too_long(&[Source::new("src/x.rs", &"\n".repeat(LINES + 1))]).len(), 1);
    none(&too_long(&[Source::new("src/x.rs", &"\n".repeat(LINES))]));
    let tests = [
        Source::new("tests/main.rs", "mod copy; mod support;"),
        Source::new("tests/copy/mod.rs", "mod engine; // mod lost;"),
        Source::new("tests/copy/engine.rs", "mod inner;"),
        Source::new("tests/copy/engine/inner.rs", ""),
        Source::new("tests/support/mod.rs", ""),
        Source::new("tests/copy/lost.rs", ""),
        Source::new("tests/lost.rs", ""),
    ];
    let lost = forgotten(&tests, &["tests/main.rs"]);
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert_eq!(strangers([".ci", "src", "docs", "Makefile"].into_iter()).len(), 2);
}
