//! The terminal while a line runs: what is typed ahead is neither echoed into the output nor changed, so that the
//! editor reads it afterwards as keys. Ctrl-C still is a signal.

use std::sync::Arc;

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::script::outcome::{Ask, Question};

/// The terminal as it was found. Dropping it puts that back.
pub(super) struct Quiet(Option<Termios>);

impl Quiet {
    /// Makes the terminal quiet; one that cannot be changed is left as it is.
    pub(super) fn terminal() -> Self {
        let Ok(found) = tcgetattr(std::io::stdin()) else { return Self(None) };
        let mut quiet = found.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        quiet.input_modes.remove(InputModes::ICRNL);
        let set = tcsetattr(std::io::stdin(), OptionalActions::Now, &quiet);
        Self(set.is_ok().then_some(found))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(found) = &self.0 {
            // The terminal may be gone.
            tcsetattr(std::io::stdin(), OptionalActions::Now, found).ok();
        }
    }
}

/// Does `work` on a terminal that takes lines and shows what is typed.
pub(super) fn with_lines<T>(work: impl FnOnce() -> T) -> T {
    let Ok(found) = tcgetattr(std::io::stdin()) else { return work() };
    let mut lines = found.clone();
    lines.local_modes.insert(LocalModes::ECHO | LocalModes::ICANON);
    lines.input_modes.insert(InputModes::ICRNL);
    tcsetattr(std::io::stdin(), OptionalActions::Now, &lines).ok();
    let _back = Quiet(Some(found));
    work()
}

/// Asks on a terminal that takes lines.
pub(super) struct Lines(pub(super) Arc<dyn Ask>);

impl Ask for Lines {
    fn ask(&self, question: &Question, elsewhere: &dyn Fn() -> bool) -> Option<bool> {
        with_lines(|| self.0.ask(question, elsewhere))
    }
}
