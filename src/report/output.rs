//! Writing to standard output and standard error without ever dying of it.
//!
//! A reader that goes away (`decamp runs | head`) ends the output quietly and nothing else; a full disk behind a
//! redirection is kept and becomes an error when the command ends.

use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::redact;

/// Standard output of one command.
#[derive(Debug, Default)]
pub struct Output {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    failed: Option<io::Error>,
}

impl Output {
    /// Writes `text` and a newline, at once; without the values of secrets.
    pub fn line(&self, text: &str) {
        self.write(&redact::text(text));
    }

    /// Writes JSON and a newline, on one line or laid out for people; without the values of secrets.
    pub fn json(&self, value: Value, laid_out: bool) {
        // What is replaced in JSON that is text already might end a string of it.
        let value = redact::json(value);
        self.write(&if laid_out { format!("{value:#}") } else { value.to_string() });
    }

    fn write(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed || state.failed.is_some() {
            return;
        }
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') { Ok(()) } else { stdout.write_all(b"\n") })
            .and_then(|()| stdout.flush());
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => state.closed = true,
            Err(error) => state.failed = Some(error),
        }
    }

    /// Whether the reader has gone away: nothing more needs to be made for it.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// The first failure to write, other than that the reader has gone away.
    ///
    /// # Errors
    /// That failure.
    pub fn finish(&self) -> io::Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.take().map_or(Ok(()), Err)
    }
}

/// Writes a line for people to standard error. Where nobody can read it (the terminal is gone), it is lost: the work
/// it tells about must not stop for that. Values of secrets are left out.
pub fn tell(text: &str) {
    let text = redact::text(text);
    let mut stderr = io::stderr().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    stderr.write_all(format!("{text}{end}").as_bytes()).ok();
}
