//! The far side of decamp, and the near side's way to it.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// The version both sides must have: what is spoken may change with every one.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the agent's command line, program name included.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = args.into_iter().skip(1).collect();
    let said = match words.first().and_then(|word| word.to_str()) {
        Some("--version") => writeln!(std::io::stdout(), "decamp-agent {VERSION}"),
        _ => writeln!(std::io::stderr(), "usage: decamp-agent --version"),
    };
    if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
