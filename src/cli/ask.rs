//! Questions to a person: plain, with no as the default, and only where somebody can answer.

use std::io::{BufRead, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cancel::Cancel;
use crate::report::live::Live;
use crate::report::output::tell;
use crate::script::outcome::{Ask, Question};

/// How often a waiting question looks whether the work was stopped, or the question settled elsewhere.
const LOOK: Duration = Duration::from_millis(200);

/// Asks on the terminal, with the progress bar out of the way; one question at a time.
pub(crate) struct Terminal {
    pub(crate) live: Arc<Live>,
    pub(crate) cancel: Cancel,
    pub(crate) turn: Mutex<()>,
}

impl Ask for Terminal {
    fn ask(&self, question: &Question, elsewhere: &dyn Fn() -> bool) -> Option<bool> {
        let _turn = loop {
            match self.turn.try_lock() {
                Ok(turn) => break turn,
                Err(TryLockError::Poisoned(turn)) => break turn.into_inner(),
                Err(TryLockError::WouldBlock) if elsewhere() => return None,
                Err(TryLockError::WouldBlock) => self.cancel.sleep(LOOK).ok()?,
            }
        };
        self.live.suspend(|| {
            tell(&format!("\n`{}`: {}", question.name, question.summary));
            for line in &question.details {
                tell(&format!("  {line}"));
            }
            if !question.dangerous {
                return answer("Go on? [y/N]", &self.cancel, elsewhere).map(|line| yes(&line));
            }
            let prompt = format!("This is dangerous. To go on, type its name ({}):", question.name);
            answer(&prompt, &self.cancel, elsewhere).map(|line| line == question.name)
        })
    }
}

/// Asks `text` and reads `y` or `yes`; everything else is no. `None` if the input ended or the work was stopped.
pub(crate) fn confirm(text: &str, cancel: &Cancel) -> Option<bool> {
    answer(&format!("{text} [y/N]"), cancel, &|| false).map(|line| yes(&line))
}

fn yes(line: &str) -> bool {
    matches!(line.to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Reads one line. `None` if the input ended, the work was stopped, or the question is settled elsewhere.
fn answer(prompt: &str, cancel: &Cancel, elsewhere: &dyn Fn() -> bool) -> Option<String> {
    let mut out = stderr().lock();
    out.write_all(format!("{prompt} ").as_bytes()).and_then(|()| out.flush()).ok()?;
    drop(out);
    let input = stdin();
    loop {
        cancel.check().ok()?;
        if elsewhere() {
            tell("(settled elsewhere)");
            return None;
        }
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
        Ok(_) => Some(line.trim().to_owned()),
    }
}
