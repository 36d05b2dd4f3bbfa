//! The program under another name: ssh calls it to ask for a password.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use secrecy::ExposeSecret;

use crate::error::Exit;
use crate::host::ssh::askpass;

/// Answers, if it was called for that; how the process ends then.
pub(super) fn answer(args: &[OsString]) -> Option<Exit> {
    let program = Path::new(args.first()?);
    if !askpass::is_called(program) {
        return None;
    }
    let prompt = args.get(1).map(|prompt| prompt.to_string_lossy().into_owned()).unwrap_or_default();
    // Whatever fails, the answer is none, and the login is refused: the process that connects says why.
    let answer = askpass::ask(program, &prompt).ok().flatten();
    let told = answer.is_some_and(|answer| {
        // Straight to ssh: what is printed otherwise has no secret in it.
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", answer.expose_secret()).and_then(|()| stdout.flush()).is_ok()
    });
    Some(if told { Exit::Success } else { Exit::Failed })
}
