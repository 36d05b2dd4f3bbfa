//! The agent's command line: `serve` on standard input and output, `join` another's.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use super::own::Own;
use super::{Context, door};
use crate::agent::VERSION;
use crate::wire::Broken;

const USAGE: &str = "usage: decamp-agent serve [--unlink] [--dir DIR]\n       decamp-agent join SOCKET\n       \
                     decamp-agent --version\n\nIt is started by decamp, and speaks to it on standard input and output.\n";

/// Runs the agent's command line, program name included. Exit codes: 0 it was ended well, 1 it was not, 2 misuse.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = PathBuf::from(args.next().unwrap_or_default());
    let words: Vec<OsString> = args.collect();
    let known: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or("")).collect();
    match known.as_slice() {
        ["serve", ..] => serve(&program, &words[1..]),
        ["join", _] => ended(door::join(&PathBuf::from(&words[1]))),
        ["--version"] => match writeln!(std::io::stdout(), "decamp-agent {VERSION}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => misuse(USAGE),
    }
}

fn misuse(text: &str) -> ExitCode {
    // Nobody is there to be told that nobody can be told.
    std::io::stderr().write_all(text.as_bytes()).ok();
    ExitCode::from(2)
}

fn ended(done: Result<(), Broken>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            writeln!(std::io::stderr(), "decamp-agent: {broken}").ok();
            ExitCode::FAILURE
        }
    }
}

fn serve(program: &std::path::Path, words: &[OsString]) -> ExitCode {
    let (mut unlink, mut dir) = (false, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match (word.to_str(), words.len()) {
            (Some("--unlink"), _) => unlink = true,
            (Some("--dir"), 1..) => dir = words.next().map(PathBuf::from),
            _ => return misuse(USAGE),
        }
    }
    let mut own = match Own::new(program, dir) {
        Ok(own) => own,
        Err(text) => return misuse(&format!("decamp-agent: {text}\n")),
    };
    if unlink && let Err(fault) = own.unlink() {
        // It is removed with its directory, or by whoever put it there.
        writeln!(std::io::stderr(), "decamp-agent: {fault}").ok();
    }
    let context = Context::new(own);
    let done = [std::io::stdin().as_fd(), std::io::stdout().as_fd()].map(stream);
    let done = match done {
        [Ok(from), Ok(to)] => context.stream(Box::new(from), Box::new(to), None),
        [Err(error), _] | [_, Err(error)] => Err(error.into()),
    };
    context.end();
    ended(done)
}

/// A stream of this process, without the buffer the library puts before it.
pub(super) fn stream(fd: BorrowedFd<'_>) -> std::io::Result<File> {
    let file = File::from(fd.try_clone_to_owned()?);
    // Fewer switches between both ends where it is a pipe; elsewhere, and above the user's limit, it stays as it is.
    rustix::pipe::fcntl_setpipe_size(&file, 1 << 20).ok();
    Ok(file)
}
