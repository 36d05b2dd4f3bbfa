//! `decamp scripts`: the shipped scripts, to look at and to make one's own, and what editors need for it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::ctx::{Ctx, shell_word};
use super::run::find;
use super::site::{self, Editor, create};
use crate::error::{Error, Exit, Kind};
use crate::report::notes::table;
use crate::script;
use crate::units::path_text;

/// List, show or copy out the shipped scripts, and begin scripts of one's own
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  decamp scripts list\n  decamp scripts eject move-tree\n  decamp run ./move-tree.rhai \
                        --help\n  decamp scripts init --editor vscode my-moves"
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
    /// Begin a directory of scripts: one to start from, and definitions for editors; never overwrites
    Init {
        /// Directory; made if it does not exist
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Recommend the extension of this editor, too
        #[arg(long, value_enum, value_name = "EDITOR")]
        editor: Option<Editor>,
    },
    /// Write definitions of everything a script can call, for editors (.d.rhai); replaces its own files only
    Definitions {
        /// Directory; made if it does not exist
        #[arg(default_value = "definitions")]
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
        What::Init { dir, editor } => site::init(ctx, &dir, editor)?,
        What::Definitions { dir } => site::definitions(ctx, &dir)?,
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
    create(&path, &found.text)?;
    let place =
        if dir == Path::new(".") { format!("./{shown}", shown = shown.trim_start_matches("./")) } else { shown };
    ctx.result(
        || format!("wrote {place}\nrun it with: decamp run {}", shell_word(&place)),
        || json!({ "path": place }),
    );
    Ok(())
}
