//! A program on a pseudo-terminal: typed at, looked at through a terminal emulator, signalled by its keys.
//!
//! The emulator answers what programs ask a terminal (where the cursor is), so that line editors work as on a real one.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::env::Decamp;

/// Nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where is the cursor?
const ASKS_POSITION: &[u8] = b"\x1b[6n";

pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";
pub(crate) const UP: &str = "\x1b[A";
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";
pub(crate) const CTRL_R: &str = "\x12";

/// A program on a terminal of its own. Dropped while it runs, it is killed.
pub(crate) struct Pty {
    child: Child,
    keys: File,
    seen: Arc<Seen>,
    reader: Option<JoinHandle<()>>,
    // Its directory lasts as long as the program.
    _call: Decamp,
}

struct Seen {
    state: Mutex<State>,
    grew: Condvar,
}

struct State {
    parser: vt100::Parser,
    raw: Vec<u8>,
    closed: bool,
    /// The terminal is to be let go.
    left: bool,
}

impl State {
    /// The rows of the screen as one sees them: a long line takes several.
    fn rows(&self) -> String {
        let screen = self.parser.screen();
        let rows: Vec<String> = screen.rows(0, screen.size().1.get()).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n")
    }
}

impl Pty {
    /// Starts what `call` says on a terminal of that size.
    #[track_caller]
    pub(crate) fn start(call: &Decamp, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let end = || {
            let open = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
            Stdio::from(File::from(open.unwrap()))
        };
        let inner = call.command();
        // A session of its own, whose controlling terminal this one is: only then do keys become signals.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(inner.get_current_dir().unwrap()).stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        drop(command);
        let keys = File::from(master);
        let state = State {
            parser: vt100::Parser::new(cells(rows), cells(columns), 10_000),
            raw: Vec::new(),
            closed: false,
            left: false,
        };
        let seen = Arc::new(Seen { state: Mutex::new(state), grew: Condvar::new() });
        let (screen, terminal) = (Arc::clone(&seen), keys.try_clone().unwrap());
        let reader = thread::spawn(move || watch(terminal, &screen));
        Self { child, keys, seen, reader: Some(reader), _call: call.clone() }
    }

    /// Types text or keys.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line.
    pub(crate) fn line(&mut self, text: &str) {
        self.type_keys(text);
        self.type_keys(ENTER);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.seen.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        self.state().rows()
    }

    /// Everything that was ever written, with its control sequences.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.state().raw).into_owned()
    }

    /// Waits until the screen is as wanted.
    ///
    /// # Panics
    /// With what is on it, if it does not come.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            let screen = state.rows();
            if wanted(&screen) {
                return screen;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !state.closed, "{what} is not on the screen:\n{screen}\n---");
            let step = left.min(Duration::from_millis(100));
            state = self.seen.grew.wait_timeout(state, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the screen has `text` anywhere.
    #[track_caller]
    pub(crate) fn has(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits until a line of the screen is `text`, and the prompt behind it is there again.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> String {
        self.wait(text, |screen| {
            let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
            lines
                .iter()
                .position(|line| *line == text)
                .is_some_and(|at| lines[at + 1..].iter().any(|line| line.ends_with('>')))
        })
    }

    /// Waits until the last line that is not empty is `text`.
    #[track_caller]
    pub(crate) fn last(&self, text: &str) -> String {
        self.wait(text, |screen| screen.trim_end().lines().last().is_some_and(|line| line.trim_end() == text))
    }

    /// Whether anything was ever coloured or set in another weight.
    pub(crate) fn colored(&self) -> bool {
        let raw = self.raw();
        raw.match_indices("\x1b[").any(|(at, _)| {
            let rest = &raw[at + 2..];
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(rest.len());
            rest[end..].starts_with('m') && !matches!(&rest[..end], "" | "0" | "00")
        })
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.keys, size(rows, columns)).unwrap();
        self.state().parser.screen_mut().set_size(cells(rows), cells(columns));
    }

    /// The program's process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the program alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Takes the terminal away, as closing its window does, and waits for the program's end.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub(crate) fn hang_up(mut self) -> i32 {
        self.state().left = true;
        self.reader.take().unwrap().join().unwrap();
        // The last that holds the other end.
        self.keys = File::open("/dev/null").unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
            }
            assert!(Instant::now() < end, "the program outlives its terminal");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end; a death by signal counts as 128 and its number.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (i32, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "the program does not end:\n{}", self.screen());
            thread::sleep(Duration::from_millis(5));
        };
        // What it wrote last is still on its way; nobody else has the other end.
        self.reader.take().unwrap().join().unwrap();
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
        (code, self.screen())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Feeds the emulator, and answers for it.
fn watch(mut terminal: File, seen: &Seen) {
    let mut buffer = [0; 4096];
    let mut late: Vec<u8> = Vec::new();
    loop {
        let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let more = poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&wait));
        if seen.state.lock().unwrap_or_else(PoisonError::into_inner).left {
            return;
        }
        if more == Ok(0) {
            continue;
        }
        // The end of the program shows as a failure to read.
        let count = terminal.read(&mut buffer).unwrap_or(0);
        let mut state = seen.state.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            state.closed = true;
            drop(state);
            seen.grew.notify_all();
            return;
        }
        state.raw.extend_from_slice(&buffer[..count]);
        late.extend_from_slice(&buffer[..count]);
        let mut answers = Vec::new();
        while let Some(at) = late.windows(ASKS_POSITION.len()).position(|window| window == ASKS_POSITION) {
            let rest = late.split_off(at + ASKS_POSITION.len());
            state.parser.process(&late);
            let (row, column) = state.parser.screen().cursor_position();
            answers.push(format!("\x1b[{};{}R", row + 1, column + 1));
            late = rest;
        }
        // The beginning of a question may stand at the end of what has come so far.
        let open = (1..ASKS_POSITION.len()).rev().find(|length| late.ends_with(&ASKS_POSITION[..*length])).unwrap_or(0);
        let rest = late.split_off(late.len() - open);
        state.parser.process(&late);
        late = rest;
        drop(state);
        seen.grew.notify_all();
        for answer in answers {
            terminal.write_all(answer.as_bytes()).ok();
        }
    }
}
