//! `decamp scripts`: the shipped scripts, to look at and to make one's own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::ctx::{Ctx, shell_word};
use super::run::find;
use crate::error::{Error, Exit, Kind};
use crate::report::notes::table;
use crate::script;
use crate::units::path_text;

/// List, show or copy out the shipped scripts
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  decamp scripts list\n  decamp scripts eject move-tree\n  decamp run ./move-tree.rhai --help"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the shipped scripts
    List,
    /// Print a script
    Show {
        /// Name of a shipped script, or a file
        name: String,
    },
    /// Write a script to NAME.rhai, to be changed and run from there; never overwrites
    Eject {
        /// Name of a shipped script
        name: String,
        /// Directory to write it into
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    match args.what {
        What::List => list(ctx),
        What::Show { name } => {
            let found = find(&name)?;
            ctx.result(|| found.text.clone(), || json!({ "name": found.name, "text": found.text }));
        }
        What::Eject { name, dir } => eject(ctx, &name, &dir)?,
    }
    Ok(Exit::Success)
}

fn list(ctx: &Ctx) {
    let all: Vec<(String, String)> =
        script::shipped().into_iter().map(|(name, text)| (name, script::title(&text))).collect();
    let rows = || all.iter().map(|(name, title)| vec![name.clone(), title.clone()]).collect::<Vec<_>>();
    let data = || all.iter().map(|(name, title)| json!({ "name": name, "title": title })).collect::<Value>();
    ctx.result(|| table(&[], &rows()), || json!({ "scripts": data() }));
}

fn eject(ctx: &Ctx, name: &str, dir: &Path) -> Result<(), Error> {
    let found = find(name)?;
    if found.path.is_some() {
        return Err(Error::new(Kind::Invalid, format!("`{name}` is a file already")).hint("edit it where it is"));
    }
    let path = dir.join(format!("{}.rhai", found.name));
    let shown = path_text(path.as_os_str().as_encoded_bytes());
    let failed = |source: std::io::Error| {
        let (kind, hint) = match source.kind() {
            ErrorKind::AlreadyExists => {
                (Kind::Exists, "it is not overwritten: move it away, or name another directory")
            }
            ErrorKind::NotFound => (Kind::NotFound, "make the directory first"),
            _ => (Kind::Io, "choose another directory"),
        };
        Error::new(kind, format!("cannot write `{shown}`")).because(source).hint(hint).exit(Exit::Usage)
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    if let Err(error) = file.write_all(found.text.as_bytes()).and_then(|()| file.sync_all()) {
        // Half a script is worse than none; the failure itself is what is told.
        std::fs::remove_file(&path).ok();
        return Err(failed(error));
    }
    let place =
        if dir == Path::new(".") { format!("./{shown}", shown = shown.trim_start_matches("./")) } else { shown };
    ctx.result(
        || format!("wrote {place}\nrun it with: decamp run {}", shell_word(&place)),
        || json!({ "path": place }),
    );
    Ok(())
}
