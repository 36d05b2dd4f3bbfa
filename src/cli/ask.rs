//! Questions to a person: plain, with no as the default, and only where somebody can answer.

use std::io::{BufRead, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cancel::Cancel;
use crate::report::live::Live;
use crate::report::output::tell;
use crate::script::outcome::{Ask, Question};

/// How often a waiting question looks whether the work was stopped.
const LOOK: Duration = Duration::from_millis(200);

/// Asks on the terminal, with the progress bar out of the way.
pub(crate) struct Terminal {
    pub(crate) live: Arc<Live>,
    pub(crate) cancel: Cancel,
}

impl Ask for Terminal {
    fn ask(&self, question: &Question) -> Option<bool> {
        self.live.suspend(|| {
            tell(&format!("\napproval `{}`: {}", question.name, question.summary));
            for line in &question.details {
                tell(&format!("  {line}"));
            }
            confirm("Go on?", &self.cancel)
        })
    }
}

/// Asks `text` and reads `y` or `yes`; everything else is no. `None` if the input ended or the work was stopped.
pub(crate) fn confirm(text: &str, cancel: &Cancel) -> Option<bool> {
    let mut out = stderr().lock();
    out.write_all(format!("{text} [y/N] ").as_bytes()).and_then(|()| out.flush()).ok()?;
    drop(out);
    let input = stdin();
    loop {
        cancel.check().ok()?;
        let look = Timespec::try_from(LOOK).ok()?;
        match poll(&mut [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)], Some(&look)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(_) => return None,
        }
    }
    let mut line = String::new();
    match input.lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")),
    }
}
