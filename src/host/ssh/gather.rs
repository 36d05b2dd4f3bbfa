//! One output of a command: what it wrote between the two marks that the wrapper around it writes.
//!
//! In front of the first stands what the login shell had to say. Without the second nobody knows how the command ended,
//! however clean the end of the stream looks.

use std::io::Read;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::local::{KEPT_BYTES, MARGIN_BYTES};

/// How much of what stands in front of the first mark is kept.
const NOISE_BYTES: usize = 64 << 10;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Stdout,
    Stderr,
}

/// What was seen in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// The wrapper runs.
    Begun,
    /// `sudo` asks for a password.
    Prompt,
    /// `sudo` has let the wrapper's shell begin, which waits for its line now.
    Ready,
    /// The wrapper says how the command ended.
    Ended(String),
    /// The stream ended.
    Closed,
}

/// The output as it gathers.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// In front of the first mark.
    pub(super) noise: Vec<u8>,
    /// Between the marks; of more than [`KEPT_BYTES`] the end.
    pub(super) kept: Vec<u8>,
}

/// The marks of one command.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    begin: String,
    end: String,
    prompt: String,
    ready: String,
}

impl Marks {
    pub(super) fn of(nonce: &str) -> Self {
        Self {
            begin: format!("\n{nonce} begin\n"),
            end: format!("\n{nonce} end "),
            prompt: format!("{nonce} password:"),
            ready: format!("{nonce} ready\n"),
        }
    }
}

/// Reads `pipe` on a thread of its own and tells what it sees.
pub(super) fn gather(
    mut pipe: impl Read + Send + 'static,
    which: Which,
    marks: Marks,
    tell: Sender<(Which, Seen)>,
) -> Arc<Mutex<Gathered>> {
    let gathered = Arc::<Mutex<Gathered>>::default();
    let shared = Arc::clone(&gathered);
    std::thread::spawn(move || {
        let mut parser = Parser { marks, state: State::Before, prompts: 0, ready: false };
        let mut buffer = [0; 16 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Whether it is an error or an end makes no difference: only the mark counts.
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let mut held = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    for seen in parser.take(&buffer[..count], &mut held) {
                        // Nobody listens any more where the output was left open for too long.
                        tell.send((which, seen)).ok();
                    }
                }
            }
        }
        tell.send((which, Seen::Closed)).ok();
    });
    gathered
}

struct Parser {
    marks: Marks,
    state: State,
    prompts: usize,
    ready: bool,
}

#[derive(PartialEq, Eq)]
enum State {
    Before,
    Between,
    Behind,
}

impl Parser {
    fn take(&mut self, bytes: &[u8], into: &mut Gathered) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut bytes = bytes.to_vec();
        if self.state == State::Before {
            into.noise.append(&mut bytes);
            let Some(at) = find(&into.noise, self.marks.begin.as_bytes()) else {
                let asked = count(&into.noise, self.marks.prompt.as_bytes());
                seen.extend((self.prompts..asked).map(|_| Seen::Prompt));
                self.prompts = asked.max(self.prompts);
                if !self.ready && find(&into.noise, self.marks.ready.as_bytes()).is_some() {
                    self.ready = true;
                    seen.push(Seen::Ready);
                }
                let more = into.noise.len().saturating_sub(NOISE_BYTES);
                into.noise.drain(..more);
                return seen;
            };
            bytes = into.noise.split_off(at + self.marks.begin.len());
            into.noise.truncate(at);
            self.state = State::Between;
            seen.push(Seen::Begun);
        }
        // A mark may lie across two pieces; what is behind it comes from what the command left running.
        let from = into.kept.len().saturating_sub(self.marks.end.len() + 16);
        into.kept.append(&mut bytes);
        if self.state == State::Between
            && let Some(at) = find(&into.kept[from..], self.marks.end.as_bytes()).map(|at| at + from)
        {
            let word = at + self.marks.end.len();
            if let Some(end) = find(&into.kept[word..], b"\n") {
                let how = String::from_utf8_lossy(&into.kept[word..word + end]).into_owned();
                into.kept.drain(at..=word + end);
                self.state = State::Behind;
                seen.push(Seen::Ended(how));
            }
        }
        if into.kept.len() > 2 * KEPT_BYTES {
            let more = into.kept.len() - KEPT_BYTES - MARGIN_BYTES;
            into.kept.drain(..more);
        }
        seen
    }
}

/// What is kept, cut to what a command may give back.
pub(super) fn finish(gathered: &Mutex<Gathered>) -> Vec<u8> {
    let mut kept = std::mem::take(&mut gathered.lock().unwrap_or_else(PoisonError::into_inner).kept);
    let more = kept.len().saturating_sub(KEPT_BYTES + MARGIN_BYTES);
    kept.drain(..more);
    kept
}

/// What stands in front of the first mark, as text.
pub(super) fn noise(gathered: &Mutex<Gathered>) -> String {
    let held = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&held.noise);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_the_pieces_are_cut() {
        let whole = b"Welcome!\nn0 password:\nn0 begin\nout\nput\nn0 end 3\nlate";
        for size in 1..whole.len() {
            let mut parser = Parser { marks: Marks::of("n0"), state: State::Before, prompts: 0, ready: false };
            let mut into = Gathered::default();
            let mut seen = Vec::new();
            for piece in whole.chunks(size) {
                seen.extend(parser.take(piece, &mut into));
            }
            // A piece that holds the first mark as well asks for nothing any more.
            seen.retain(|seen| *seen != Seen::Prompt);
            assert_eq!(seen, [Seen::Begun, Seen::Ended("3".into())], "{size}");
            assert_eq!(into.kept, b"out\nputlate");
            assert!(into.noise.starts_with(b"Welcome!\n"));
        }
    }

    #[test]
    fn without_an_end_mark_nothing_has_ended() {
        let mut parser = Parser { marks: Marks::of("n0"), state: State::Before, prompts: 0, ready: false };
        let mut into = Gathered::default();
        assert_eq!(parser.take(b"\nn0 begin\nall\nn0 end 0", &mut into), [Seen::Begun]);
    }
}
