//! Commands on this machine: an argument vector, never a shell.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};

use super::Error;
use super::process::MARK;
use crate::cancel::Cancel;

/// How much of each output is kept; of more, the end is kept, where the reason of a failure stands.
pub const KEPT_BYTES: usize = 1 << 20;

/// How much more than that comes back, so that the caller sees the whole of what begins before the part that is kept.
pub const MARGIN_BYTES: usize = 128 << 10;

/// How long a command that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long the outputs may stay open after the command itself has ended: a service it started may hold them for ever.
const LEFT_OPEN: Duration = Duration::from_secs(1);

/// What to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory. Default: the caller's.
    pub cwd: Option<String>,
    /// Variables added to the environment.
    pub env: Vec<(String, SecretString)>,
    /// Variables that are left out of the environment it inherits.
    pub without: Vec<String>,
    /// What it reads. Default: nothing.
    pub stdin: SecretString,
    /// How long it may take. Default: as long as it likes.
    pub timeout: Option<Duration>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to standard output (the last [`KEPT_BYTES`] and [`MARGIN_BYTES`]).
    pub stdout: Vec<u8>,
    /// What it wrote to standard error (the last [`KEPT_BYTES`] and [`MARGIN_BYTES`]).
    pub stderr: Vec<u8>,
    /// Wall time.
    pub elapsed: Duration,
}

/// The file that `program` would be started from.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|dir| dir.join(program)).find(runs)
}

/// Runs a command to its end.
///
/// It gets a process group of its own, so that it and what it started can be ended together when `cancel` says so, and
/// so that Ctrl-C on the terminal does not reach it before we have decided.
///
/// # Errors
/// [`Error`]; an exit code other than 0 is none.
pub fn run(invocation: &Invocation, cancel: &Cancel) -> Result<Ended, Error> {
    run_marked(invocation, None, cancel, &|_| ())
}

/// Runs a command like [`run`], with the key of the effect it is in its environment ([`MARK`]), and tells its process as
/// soon as there is one: it lives on if this process dies.
///
/// # Errors
/// As [`run`].
pub fn run_marked(
    invocation: &Invocation,
    mark: Option<&str>,
    cancel: &Cancel,
    started: &dyn Fn(u32),
) -> Result<Ended, Error> {
    let program = invocation.argv.first().filter(|program| !program.is_empty()).ok_or(Error::Empty)?.clone();
    let since = Instant::now();
    let mut command = Command::new(&program);
    command.args(&invocation.argv[1..]);
    for name in &invocation.without {
        command.env_remove(name);
    }
    command.envs(invocation.env.iter().map(|(name, value)| (name, value.expose_secret())));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    if let Some(cwd) = &invocation.cwd {
        command.current_dir(cwd);
    }
    command.envs(mark.map(|key| (MARK, key)));
    let mut child = command.spawn().map_err(|source| Error::Start { program: program.clone(), source })?;
    started(child.id());
    let lost = |source| Error::Lost { program: program.clone(), source };
    feed(&mut child, invocation.stdin.clone());
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let limit = invocation.timeout.map(|limit| (since + limit, limit));
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(lost)? {
            break status;
        }
        if let Err(source) = cancel.check() {
            end(&mut child).map_err(lost)?;
            return Err(Error::Cancelled { program, source });
        }
        if let Some((_, limit)) = limit.filter(|(at, _)| *at <= Instant::now()) {
            end(&mut child).map_err(lost)?;
            return Err(Error::Timeout { program, limit });
        }
        // A cancelled wait comes back at once; the next turn of the loop ends the command.
        cancel.sleep(pause).ok();
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    Ok(Ended {
        code: status.code(),
        signal: status.signal(),
        stdout: collect(stdout).map_err(lost)?,
        stderr: collect(stderr).map_err(lost)?,
        elapsed: since.elapsed(),
    })
}

/// Writes `text` to the child's standard input from a thread of its own: a child that writes before it reads would
/// block both.
fn feed(child: &mut Child, text: SecretString) {
    if let Some(mut stdin) = child.stdin.take() {
        // A child that does not read its input is no failure.
        std::thread::spawn(move || stdin.write_all(text.expose_secret().as_bytes()).ok());
    }
}

/// What is read from one output, by a thread of its own.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<std::io::Result<()>>,
}

fn drain(mut pipe: impl Read + Send + 'static) -> Output {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (tell, ended) = channel();
    let shared = Arc::clone(&kept);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        let read = loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&buffer[..count]);
                    if kept.len() > 2 * KEPT_BYTES {
                        let more = kept.len() - KEPT_BYTES - MARGIN_BYTES;
                        kept.drain(..more);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // Nobody listens any more where the output was left open for too long.
        tell.send(read).ok();
    });
    Output { kept, ended }
}

/// What an output said until it was closed, or until nothing more is waited for.
fn collect(output: Option<Output>) -> std::io::Result<Vec<u8>> {
    let Some(output) = output else { return Ok(Vec::new()) };
    match output.ended.recv_timeout(LEFT_OPEN) {
        Ok(read) => read?,
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => return Err(std::io::Error::other("the reading thread failed")),
    }
    let mut kept = std::mem::take(&mut *output.kept.lock().unwrap_or_else(PoisonError::into_inner));
    let more = kept.len().saturating_sub(KEPT_BYTES + MARGIN_BYTES);
    kept.drain(..more);
    Ok(kept)
}

/// Asks the child's group to end, and kills it if it does not.
fn end(child: &mut Child) -> std::io::Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(group) = group else { return child.kill() };
    // ESRCH: it has just ended by itself.
    kill_process_group(group, Signal::TERM).ok();
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process_group(group, Signal::KILL).ok();
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cancel::Reason;

    fn invocation(argv: &[&str]) -> Invocation {
        Invocation { argv: argv.iter().map(ToString::to_string).collect(), ..Invocation::default() }
    }

    #[test]
    fn output_and_code_come_back() {
        let mut cat = invocation(&["sh", "-c", "cat; echo oops >&2; exit 3"]);
        cat.stdin = "in".into();
        let ended = run(&cat, &Cancel::new()).unwrap();
        assert_eq!((ended.code, ended.stdout, ended.stderr), (Some(3), b"in".to_vec(), b"oops\n".to_vec()));
    }

    #[test]
    fn a_signal_is_not_an_exit_code() {
        let ended = run(&invocation(&["sh", "-c", "kill -9 $$"]), &Cancel::new()).unwrap();
        assert_eq!((ended.code, ended.signal), (None, Some(9)));
    }

    #[test]
    fn a_command_that_is_too_slow_is_ended_with_what_it_started() {
        let mut slow = invocation(&["sh", "-c", "sleep 300 & wait"]);
        slow.timeout = Some(Duration::from_millis(50));
        assert!(matches!(run(&slow, &Cancel::new()), Err(Error::Timeout { .. })));
    }

    #[test]
    fn stopping_the_run_ends_the_command() {
        let cancel = Cancel::new();
        let token = cancel.clone();
        let thread = std::thread::spawn(move || run(&invocation(&["sleep", "300"]), &token));
        cancel.cancel(Reason::Interrupt);
        assert!(matches!(thread.join().unwrap(), Err(Error::Cancelled { .. })));
    }

    #[test]
    fn a_service_that_keeps_the_output_open_is_not_waited_for() {
        let begun = Instant::now();
        let ended = run(&invocation(&["sh", "-c", "echo started; sleep 30 &"]), &Cancel::new()).unwrap();
        assert_eq!((ended.code, ended.stdout), (Some(0), b"started\n".to_vec()));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let ended = run(&invocation(&["sh", "-c", "yes | head -c 5000000; echo end"]), &Cancel::new()).unwrap();
        assert_eq!(ended.stdout.len(), KEPT_BYTES + MARGIN_BYTES);
        assert!(ended.stdout.ends_with(b"end\n"));
    }

    #[test]
    fn programs_are_found_as_they_would_be_started() {
        assert!(which("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(which("/etc/passwd"), None);
        assert_eq!(which("no-such-program"), None);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&invocation(&["no-such-program"]), &Cancel::new()).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program`");
    }
}
