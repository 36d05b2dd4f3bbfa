//! The question before what cannot be repeated or taken back: it takes a word, not a key that is pressed too easily.

use std::io::{BufRead, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::quiet::with_lines;
use crate::cancel::Cancel;
use crate::report::live::Live;
use crate::script::session::Word;

/// What has to be typed.
const WORD: &str = "do it";

/// How often a waiting question looks whether the line was stopped.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Asks on the terminal, with the progress out of the way.
pub(super) fn asker(live: &Arc<Live>, cancel: &Cancel) -> Word {
    let (live, cancel) = (Arc::clone(live), cancel.clone());
    Arc::new(move |question| live.suspend(|| with_lines(|| asked(question, &cancel))))
}

fn asked(question: &str, cancel: &Cancel) -> bool {
    let mut out = stderr().lock();
    let shown = out.write_all(format!("{question}\ntype `{WORD}` to go on: ").as_bytes()).and_then(|()| out.flush());
    drop(out);
    if shown.is_err() {
        return false;
    }
    let input = stdin();
    loop {
        if cancel.check().is_err() {
            return false;
        }
        match poll(&mut [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(_) => return false,
        }
    }
    let mut line = String::new();
    input.lock().read_line(&mut line).is_ok_and(|_| line.trim() == WORD)
}
