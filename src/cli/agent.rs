//! `decamp agent`: the far side's program, for machines that cannot be sent one: images of containers, installs by hand.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::ctx::{Ctx, shell_word};
use crate::error::{Error, Exit, Kind, kind_of};
use crate::units::{Bytes, path_text};

/// Write the program of the far side to a file
///
/// It is one static file that runs on any Linux of the architecture this decamp was built for. Where decamp can log in it
/// sends it by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  decamp agent\n  decamp agent --out image/decamp-agent")]
pub(crate) struct Args {
    /// Write it into this file, which must not exist; without it, say what would be written
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let sum: String = Sha256::digest(crate::AGENT).iter().map(|byte| format!("{byte:02x}")).collect();
    let size = crate::AGENT.len() as u64;
    let shown = args.out.as_ref().map(|out| path_text(out.as_os_str().as_encoded_bytes()));
    if let (Some(out), Some(shown)) = (&args.out, &shown) {
        write(out).map_err(|source| {
            let kind = rustix::io::Errno::from_io_error(&source).map_or(Kind::Io, kind_of);
            Error::new(kind, format!("cannot write the agent to `{shown}`"))
                .because(source)
                .hint("name a file that does not exist, in a directory that does")
        })?;
    }
    ctx.result(
        || {
            let facts = format!("decamp-agent {}, {}, sha256 {sum}\n", env!("CARGO_PKG_VERSION"), Bytes(size));
            match (&args.out, &shown) {
                (Some(out), Some(shown)) => {
                    let place = if out.parent().is_some_and(|dir| dir.as_os_str().is_empty()) { "./" } else { "" };
                    let start = shell_word(&format!("{place}{}", out.display()));
                    format!("wrote {shown}: {facts}see that it runs: {start} --version\n")
                }
                _ => facts,
            }
        },
        || json!({ "file": shown, "version": env!("CARGO_PKG_VERSION"), "bytes": size, "sha256": sum }),
    );
    Ok(Exit::Success)
}

/// Writes it whole or not at all.
fn write(out: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o755).open(out)?;
    let done = file.write_all(crate::AGENT).and_then(|()| file.sync_all());
    if done.is_err() {
        // It was made by the line above.
        std::fs::remove_file(out).ok();
    }
    done
}
