//! What `decamp scripts` writes: a directory of scripts of one's own, and definitions for editors in it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::ctx::{Ctx, shell_word};
use crate::error::{Error, Exit, Kind};
use crate::script;
use crate::units::path_text;

/// Editors that have an extension for Rhai.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Editor {
    /// Visual Studio Code, and what takes its extensions
    Vscode,
}

/// The script a directory begins with.
const SCRIPT: &str = r#"//! Copy a tree, and prove it.
//!
//! Changes: only what is below --dest. Undo: removes what the run made and nobody changed since.

import "std/preflight" as preflight;
import "std/verify" as verify;

fn params() { #{
    source: #{ type: "path", required: true, help: "directory to copy" },
    dest: #{ type: "path", required: true, help: "where it goes; made if only the last part is missing" },
    exclude: #{ type: "string", list: true, help: "leave out what matches this pattern (rsync's rules)" },
} }

fn run(p) {
    let opts = #{ exclude: p.exclude, accept: [], jobs: 0 };
    fact("preflight", || preflight::tree(p.source, p.dest, opts));
    step("root", || copy::root(p.dest));
    let report = step("copy", || copy::tree(p.source, p.dest, opts));
    let seen = fact("verify", || if is_plan() { () } else { verify::trees(p.source, p.dest, "full", opts) });
    note("copied", #{ entries: report.created.entries, bytes: report.copied_bytes, verified: seen != () });
}
"#;

/// The extension with completion, hover and signatures, as its market place calls it.
const EXTENSIONS: &str = "{\n  \"recommendations\": [\"mikai233.rhai-analyzer\"]\n}\n";

/// `decamp scripts init`.
pub(super) fn init(ctx: &Ctx, dir: &Path, editor: Option<Editor>) -> Result<(), Error> {
    let mut files: Vec<(PathBuf, String)> = vec![(dir.join("copy-tree.rhai"), SCRIPT.to_owned())];
    let own = |(name, text)| (dir.join("definitions").join(name), text);
    files.extend(script::definitions().into_iter().map(own));
    if editor == Some(Editor::Vscode) {
        files.push((dir.join(".vscode/extensions.json"), EXTENSIONS.to_owned()));
    }
    // All or nothing: what stands in the way is found before the first file is written.
    if let Some((path, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(exists(path));
    }
    for (path, text) in &files {
        make_parent(path)?;
        create(path, text)?;
    }
    let paths: Vec<String> = files.iter().map(|(path, _)| shown(path)).collect();
    let first = shown(&dir.join("copy-tree.rhai"));
    let place = if first.contains('/') { first } else { format!("./{first}") };
    let text = || {
        let word = shell_word(&place);
        format!(
            "wrote {}\ncheck it with: decamp check {word}\nrun it with: decamp run {word} --help",
            paths.join("\nwrote ")
        )
    };
    ctx.result(text, || json!({ "paths": paths }));
    Ok(())
}

/// `decamp scripts definitions`.
pub(super) fn definitions(ctx: &Ctx, dir: &Path) -> Result<(), Error> {
    let files: Vec<(PathBuf, String)> =
        script::definitions().into_iter().map(|(name, text)| (dir.join(name), text)).collect();
    for (path, _) in &files {
        let known = std::fs::read_to_string(path);
        if known.is_ok_and(|text| !script::is_definition(&text)) {
            return Err(exists(path));
        }
    }
    for (path, text) in &files {
        make_parent(path)?;
        replace(path, text)?;
    }
    let paths: Vec<String> = files.iter().map(|(path, _)| shown(path)).collect();
    ctx.result(|| format!("wrote {}", paths.join("\nwrote ")), || json!({ "paths": paths }));
    Ok(())
}

/// Writes a file that must not exist.
pub(super) fn create(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::AlreadyExists => exists(path).because(source),
        ErrorKind::NotFound => Error::new(Kind::NotFound, format!("cannot write `{}`", shown(path)))
            .because(source)
            .hint("make the directory first")
            .exit(Exit::Usage),
        _ => unwritable(path, source),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        // Half a script is worse than none; the failure itself is what is told.
        std::fs::remove_file(path).ok();
        return Err(failed(error));
    }
    Ok(())
}

/// Writes a file in place of another: a reader sees the one or the other.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path)).map_err(|source| {
        std::fs::remove_file(&beside).ok();
        unwritable(path, source)
    })
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|source| {
        Error::new(Kind::Io, format!("cannot make the directory `{}`", shown(parent)))
            .because(source)
            .hint("choose another directory")
            .exit(Exit::Usage)
    })
}

fn exists(path: &Path) -> Error {
    Error::new(Kind::Exists, format!("cannot write `{}`: it is there already", shown(path)))
        .hint("it is not overwritten: move it away, or name another directory")
        .exit(Exit::Usage)
}

fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot write `{}`", shown(path)))
        .because(source)
        .hint("choose another directory")
        .exit(Exit::Usage)
}

fn shown(path: &Path) -> String {
    path_text(path.as_os_str().as_encoded_bytes())
}
