//! A command that goes on without us: started once under a key, and found again by it.
//!
//! A small `sh` looks after it on the far side, in a session of its own: it keeps who it is, both outputs and the exit
//! code in a private directory of the login's home. Whoever asks for the same key again waits for that command in place
//! of starting another, and gets what it wrote from its start. The directory stays until [`Host::forget_job`].

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::super::local::{Ended, KEPT_BYTES, MARGIN_BYTES};
use super::quote::{octal, word};
use super::run::{Input, Task};
use super::{Call, Error, Host};
use crate::cancel::Cancel;

/// What is known of a command that was asked for under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// It was never started.
    Never,
    /// It runs.
    Running,
    /// It has ended, and its end is known.
    Ended,
    /// It was started and is gone, and nobody knows how it ended.
    Lost,
}

/// Below the login's home directory.
const PLACE: &str = ".local/state/decamp/jobs";

/// Directories that nobody came back for go after so many days.
const DAYS: u32 = 60;

/// How long a connection that was lost is made again before the wait is given up; the command goes on.
const RETRY: Duration = Duration::from_secs(300);

impl Host {
    /// Runs a command under a key: starts it, or waits for the one that was started under it, also over several
    /// connections. `key` has letters, digits, `-` and `_` only. The command is not ended when the wait is.
    ///
    /// # Errors
    /// [`Error::JobLost`] if it is gone without an end; [`Error::Lost`] if no connection could be made again. With
    /// [`Error::Timeout`] the command was ended.
    pub fn exec_job(&self, key: &str, call: &Call, cancel: &Cancel) -> Result<Ended, Error> {
        let since = Instant::now();
        let inner = supervisor(call)?;
        let code = format!("{}{}{}", place(key)?, start(&inner)?, attach());
        let task = |limit: Option<Duration>| Task {
            code: code.clone(),
            input: Input::Held(octal(call.stdin.expose_secret().as_bytes())),
            timeout: limit,
            sudo: call.sudo.as_ref(),
            name: call.program(),
            after: None,
        };
        let mut lost: Option<Instant> = None;
        loop {
            let left = call.timeout.map(|limit| limit.saturating_sub(since.elapsed()).max(Duration::from_millis(1)));
            let error = match self.task(&task(left), cancel) {
                Ok((how, ..)) if how == "lost" => return Err(self.job_lost(key)),
                Ok((how, ended, _)) if how == "nostart" => return Err(self.failed("start a command", &ended)),
                Ok((how, ended, _)) => return self.judge(call, &how, Ended { elapsed: since.elapsed(), ..ended }),
                Err(error) => error,
            };
            match error {
                Error::Timeout { host, program, .. } => {
                    let limit = call.timeout.unwrap_or_default();
                    let ended = self.end_job(key, call, cancel).is_ok();
                    return Err(Error::Timeout { host, program, limit, ended });
                }
                Error::Lost { .. } | Error::Unreachable { .. } | Error::ConnectTimeout { .. } => {
                    if lost.get_or_insert_with(Instant::now).elapsed() > RETRY {
                        return Err(error);
                    }
                }
                other => return Err(other),
            }
            let pause = Duration::from_secs(1);
            cancel.sleep(pause).map_err(|source| Error::Cancelled {
                host: self.name(),
                program: call.program().to_owned(),
                source,
            })?;
            // A connection that came back begins the wait for the next anew.
            if self.connect(cancel).is_ok() {
                lost = None;
            }
        }
    }

    /// What became of a command that may have been started under a key. Changes nothing.
    ///
    /// # Errors
    /// As [`Host::exec`].
    pub fn probe_job(&self, key: &str, call: &Call, cancel: &Cancel) -> Result<Job, Error> {
        let code = format!(
            "{}if [ ! -e \"$d/pid\" ]; then c=never; elif [ -e \"$d/code\" ]; then c=ended; else {}c=running; \
             lives || {{ c=lost; [ ! -e \"$d/code\" ] || c=ended; }}; fi; ",
            place(key)?,
            LIVES
        );
        let how = self.small("look for a command", &code, call.sudo.as_ref(), cancel)?.0;
        match how.as_str() {
            "never" => Ok(Job::Never),
            "running" => Ok(Job::Running),
            "ended" => Ok(Job::Ended),
            "lost" => Ok(Job::Lost),
            _ => Err(Error::Answer { host: self.name(), what: "a question for a command", said: how }),
        }
    }

    /// Removes what is kept of a command that has ended.
    ///
    /// # Errors
    /// As [`Host::exec`].
    pub fn forget_job(&self, key: &str, call: &Call, cancel: &Cancel) -> Result<(), Error> {
        let code = format!("{}rm -rf \"$d\"; c=$?; ", place(key)?);
        self.small("forget a command", &code, call.sudo.as_ref(), cancel).map(drop)
    }

    /// Ends a command, and what it started.
    fn end_job(&self, key: &str, call: &Call, cancel: &Cancel) -> Result<(), Error> {
        let code = format!(
            "{}{LIVES}if lives; then kill -TERM \"-$p\"; m=0; while lives && [ $m -lt 25 ]; do {NAP}m=$((m+1)); done; \
             kill -KILL \"-$p\" 2>/dev/null; fi; c=0; ",
            place(key)?
        );
        self.small("end a command", &code, call.sudo.as_ref(), cancel).map(drop)
    }

    fn job_lost(&self, key: &str) -> Error {
        Error::JobLost { host: self.name(), key: key.to_owned(), dir: format!("~/{PLACE}/{key}") }
    }
}

/// Sets `b` and `d`, the directories of all commands and of this one.
fn place(key: &str) -> Result<String, Error> {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if key.is_empty() || !plain || key.starts_with('-') {
        return Err(Error::Unsendable { what: format!("`{key}` cannot be the key of a command") });
    }
    Ok(format!("b=$HOME/{PLACE}; d=$b/{key}; "))
}

/// Waits a moment; not every `sleep` knows parts of a second.
const NAP: &str = "sleep 0.2 2>/dev/null || sleep 1; ";

/// A function that tells whether the process that looks after the command lives, and sets `p` to its number. A number
/// alone does not tell: it is used again. A file that is there and empty was made a moment ago.
const LIVES: &str = "lives() { \
    p=; s=; t=; n=0; while [ -z \"$t\" ] && [ $n -lt 10 ]; do read -r p s t <\"$d/pid\"; [ -n \"$t\" ] || sleep 1; n=$((n+1)); done; \
    read -r o </proc/sys/kernel/random/boot_id; [ \"$o\" = \"$t\" ] || return 1; \
    set -- $(cat \"/proc/$p/stat\" 2>/dev/null); [ \"${22}\" = \"$s\" ] && [ \"$3\" != Z ]; }; ";

/// What looks after the command, in one line for a `sh` of its own: whoever makes the file `pid` is the one that starts
/// it. Of the environment and the input nothing is written to a file.
fn supervisor(call: &Call) -> Result<String, Error> {
    let code = call.code()?;
    Ok(format!(
        "{}cd \"$d\" || exit 1; set -C; set -- $(cat /proc/$$/stat); read -r o </proc/sys/kernel/random/boot_id; \
         echo \"$$ ${{22}} $o\" 2>/dev/null >pid || exit 0; set +C; exec >out 2>err 3</dev/null; c=; cd; {code}\
         echo \"$c\" >\"$d/code.new\"; mv \"$d/code.new\" \"$d/code\"",
        super::quote::NEWLINE,
    ))
}

/// Starts it, unless it was started before. `u` is the code of the one who looks after it, which gets the input on the
/// second line.
fn start(inner: &str) -> Result<String, Error> {
    Ok(format!(
        "umask 077; u={}; if [ ! -e \"$d/pid\" ]; then mkdir -p \"$d\" || c=nostart; \
         find \"$b\" -mindepth 1 -maxdepth 1 -mtime +{DAYS} -exec rm -rf {{}} + 2>/dev/null; \
         if [ -z \"$c\" ]; then export d; printf \"%s\\n%s\\n\" \"$u\" \"$in\" | setsid sh -c \"IFS= read -r u; IFS= read -r in; eval \\\"\\$u\\\"\" \
         >/dev/null 2>&1 3<&- & n=0; while [ ! -e \"$d/pid\" ] && [ $n -lt 50 ]; do {NAP}n=$((n+1)); done; \
         [ -e \"$d/pid\" ] || c=nostart; fi; fi; ",
        word(inner)?
    ))
}

/// Waits for its end, and gives its outputs and its code as the ends of this wait.
fn attach() -> String {
    let most = KEPT_BYTES + MARGIN_BYTES;
    format!(
        "{LIVES}while [ -z \"$c$q\" ]; do if [ -e \"$d/code\" ]; then read -r c <\"$d/code\"; \
         tail -c {most} \"$d/out\"; tail -c {most} \"$d/err\" >&2; elif lives; then {NAP}\
         else [ -e \"$d/code\" ] || c=lost; fi; done; "
    )
}
