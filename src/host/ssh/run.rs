//! A command on the far side: run to its end, and how it ended known for certain.
//!
//! What the login shell is given is a loop that waits for one line and evaluates it in `sh`. That line wraps the command:
//! it receives all of the standard input before anything starts (an input that was cut would look like a whole one),
//! writes a mark in front of and behind each output, and has a watcher that ends the command and all it started when
//! this side goes away. As in every shell, a death by signal N is told as the exit code 128 + N.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use super::super::local::Ended;
use super::super::process::MARK;
use super::gather::{self, Gathered, Marks, Seen, Which};
use super::quote::{NEWLINE, is_name, octal, word};
use super::session::{Channel, unopened};
use super::{Error, Host};
use crate::cancel::{Cancel, Cancelled};

/// How long a command that was asked to end may take before it is killed, on the far side.
const GRACE: Duration = Duration::from_secs(5);

/// How long its confirmation is waited for after that.
const CONFIRM: Duration = Duration::from_secs(3);

/// How long the outputs may stay open after the command itself has ended: a service it started may hold them for ever.
const LEFT_OPEN: Duration = Duration::from_secs(1);

/// How long small tasks of our own may take.
const SMALL: Duration = Duration::from_secs(60);

/// How often a command is offered to a new connection, or to a session that must become free, before it has begun.
const TRIES: usize = 200;

/// The right to do as another user.
#[derive(Debug, Clone, Default)]
pub struct Sudo {
    /// The password it asks for; none: it must ask for none.
    pub password: Option<SecretString>,
}

/// A command, and how it is run.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory. Default: the home directory.
    pub cwd: Option<String>,
    /// Variables added to the environment.
    pub env: Vec<(String, SecretString)>,
    /// What it reads. Default: nothing.
    pub stdin: SecretString,
    /// How long it may take, from its start. Default: as long as it likes.
    pub timeout: Option<Duration>,
    /// Run it as root.
    pub sudo: Option<Sudo>,
    /// The key of the effect it is, for whoever looks at the processes of the far side.
    pub mark: Option<String>,
}

impl Call {
    pub(super) fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// Shell code in one line that runs it with `in` as its input and leaves its end in `c`: a code, or a word of
    /// [`Host::judge`].
    pub(super) fn code(&self) -> Result<String, Error> {
        let program = self.argv.first().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| Error::Unsendable { what: "the command is empty".into() })?;
        let mut code = String::new();
        if let Some(dir) = &self.cwd {
            code.push_str(&format!("cd {} 2>/dev/null || c=nodir; ", word(dir)?));
        }
        code.push_str(&format!("[ -n \"$c\" ] || command -v {} >/dev/null 2>&1 || c=noprogram; ", word(program)?));
        let mut body = String::new();
        for (name, value) in &self.env {
            if !is_name(name) {
                let what = format!("a shell cannot set a variable of the name `{name}`");
                return Err(Error::Unsendable { what });
            }
            body.push_str(&format!("export {name}={}; ", word(value.expose_secret())?));
        }
        if let Some(mark) = &self.mark {
            body.push_str(&format!("export {MARK}={}; ", word(mark)?));
        }
        body.push_str("exec");
        for argument in &self.argv {
            body.push(' ');
            body.push_str(&word(argument)?);
        }
        let run = if self.stdin.expose_secret().is_empty() {
            format!("( {body} ) 3<&- </dev/null")
        } else {
            format!("printf %b \"$in\" 2>/dev/null | ( {body} ) 3<&-")
        };
        code.push_str(&format!("if [ -z \"$c\" ]; then {run}; c=$?; fi; "));
        Ok(code)
    }
}

/// What shell code reads.
pub(super) enum Input<'c> {
    /// Bytes that it finds in `in`, in the form of [`octal`].
    Held(String),
    /// Bytes on its standard input, which it takes the length of and no more.
    Raw(&'c [u8]),
}

/// Shell code, and what stands around it.
pub(super) struct Task<'c> {
    /// In one line; it leaves a word in `c`.
    pub(super) code: String,
    pub(super) input: Input<'c>,
    pub(super) timeout: Option<Duration>,
    pub(super) sudo: Option<&'c Sudo>,
    /// What it is called in errors.
    pub(super) name: &'c str,
    /// What is done when this side goes away or is done with it, in place of ending the code in the middle.
    pub(super) after: Option<String>,
}

/// A session whose code has said its end, and waits for ours.
#[derive(Debug)]
pub(super) struct Held {
    channel: Channel,
    _feed: Option<Sender<Vec<u8>>>,
}

impl Held {
    /// Says that it stays open as long as an agent is there.
    pub(super) fn keep(&mut self) {
        self.channel.keep();
    }
}

impl Host {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// [`Error`]; an exit code other than 0 is none. [`Error::settled`] tells whether it may have begun, or still run.
    pub fn exec(&self, call: &Call, cancel: &Cancel) -> Result<Ended, Error> {
        let task = Task {
            code: call.code()?,
            input: Input::Held(octal(call.stdin.expose_secret().as_bytes())),
            timeout: call.timeout,
            sudo: call.sudo.as_ref(),
            name: call.program(),
            after: None,
        };
        let (how, ended, _) = self.task(&task, cancel)?;
        self.judge(call, &how, ended)
    }

    /// The end of a command, from the word the wrapper gave for it.
    pub(super) fn judge(&self, call: &Call, how: &str, mut ended: Ended) -> Result<Ended, Error> {
        let host = self.name();
        match how {
            "noprogram" => Err(Error::NoProgram { host, program: call.program().to_owned() }),
            "nodir" => Err(Error::NoDirectory { host, dir: call.cwd.clone().unwrap_or_default() }),
            code => {
                let said = || Error::Answer { host, what: "a command", said: code.to_owned() };
                ended.code = Some(code.parse().map_err(|_| said())?);
                Ok(ended)
            }
        }
    }

    /// Runs shell code; the word it left in `c`, its outputs, and its session.
    pub(super) fn task(&self, task: &Task<'_>, cancel: &Cancel) -> Result<(String, Ended, Held), Error> {
        let mut pause = Duration::from_millis(5);
        for _ in 0..TRIES {
            let nonce = uuid::Uuid::now_v7().simple().to_string();
            let line = line(&nonce, task.sudo);
            let channel = self.open(&line, cancel)?;
            let master = std::sync::Arc::clone(&channel.master);
            match Running::start(self, channel, &nonce, task).end(cancel)? {
                Outcome::Ended(how, ended, held) => {
                    self.slots.opened();
                    return Ok((how, ended, held));
                }
                Outcome::Unopened(why, said) => self.after_unopened(&why, &master, &said)?,
            }
            cancel.sleep(pause).map_err(|source| self.cancelled(task.name, source))?;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
        Err(Error::NoSession { host: self.name(), said: "too many tries".into() })
    }

    /// Runs shell code that is done soon; the word it left in `c`, and what it said.
    pub(super) fn small(
        &self,
        name: &str,
        code: &str,
        sudo: Option<&Sudo>,
        cancel: &Cancel,
    ) -> Result<(String, Ended), Error> {
        let (code, input) = (code.to_owned(), Input::Held(String::new()));
        let task = Task { code, input, timeout: Some(SMALL), sudo, name, after: None };
        self.task(&task, cancel).map(|(how, ended, _)| (how, ended))
    }

    /// What was to be done, and what the shell said in place of doing it.
    pub(super) fn failed(&self, what: &str, ended: &Ended) -> Error {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        Error::Task { host: self.name(), what: what.to_owned(), said }
    }

    pub(super) fn cancelled(&self, program: &str, source: Cancelled) -> Error {
        Error::Cancelled { host: self.name(), program: program.to_owned(), source }
    }
}

/// What the login shell is given.
pub(super) fn line(nonce: &str, sudo: Option<&Sudo>) -> String {
    // `sudo` would take a line that comes too early for a further password.
    let asks = sudo.is_some_and(|sudo| sudo.password.is_some());
    let ready = if asks { format!("echo {nonce} ready >&2; ") } else { String::new() };
    let sh = format!(
        "sh -c '{ready}while IFS= read -r l; do case \"$l\" in {nonce}*) eval \"${{l#{nonce}}}\"; exit;; esac; done'"
    );
    match sudo {
        None => format!("exec {sh}"),
        Some(Sudo { password: None }) => format!("exec sudo -n -- {sh}"),
        // Without a stored right to go without: whether it asks must not depend on what was done before.
        Some(Sudo { password: Some(_) }) => format!("exec sudo -k -S -p \"{nonce} password:\" -- {sh}"),
    }
}

/// The line that wraps the code of a task.
fn wrapped(nonce: &str, task: &Task<'_>) -> String {
    let mark = |what: &str| format!("printf \"\\n%s {what}\\n\" {nonce}; printf \"\\n%s {what}\\n\" {nonce} >&2; ");
    let end = format!("printf \"\\n%s end %s\\n\" {nonce} \"$c\"; printf \"\\n%s end %s\\n\" {nonce} \"$c\" >&2; ");
    let receive = match &task.input {
        Input::Held(text) if !text.is_empty() => {
            let length = text.len();
            format!("in=$(head -c {length}); [ \"${{#in}}\" -eq {length} ] || exit 1; ")
        }
        Input::Held(_) | Input::Raw(_) => "in=; ".to_owned(),
    };
    let begin = mark("begin");
    if let Some(after) = &task.after {
        let code = &task.code;
        return format!(
            "{nonce}{begin}{NEWLINE}c=; {receive}trap : TERM HUP; {code}{end}while IFS= read -r y; do :; done; {after}exit 0\n"
        );
    }
    let grace = GRACE.as_secs();
    format!(
        "{nonce}{begin}{NEWLINE}c=; {receive}exec 3<&0 </dev/null; q=; trap q=1 TERM HUP; \
         ( trap \"\" TERM HUP; while IFS= read -r x <&3; do :; done; kill -TERM 0; sleep {grace}; kill -KILL 0 ) \
         >/dev/null 2>&1 & w=$!; {}{end}kill -KILL $w; exit 0\n",
        task.code
    )
}

enum Outcome {
    Ended(String, Ended, Held),
    Unopened(super::session::Unopened, String),
}

/// A task while it runs.
struct Running<'h> {
    host: &'h Host,
    channel: Channel,
    name: &'h str,
    timeout: Option<Duration>,
    since: Instant,
    /// What is to be written once the wrapper runs: `sudo` would read it as a password before.
    later: Option<Vec<u8>>,
    password: Option<SecretString>,
    offered: bool,
    feed: Option<Sender<Vec<u8>>>,
    seen: Receiver<(Which, Seen)>,
    outputs: [std::sync::Arc<Mutex<Gathered>>; 2],
}

impl<'h> Running<'h> {
    fn start(host: &'h Host, mut channel: Channel, nonce: &str, task: &Task<'h>) -> Self {
        let (tell, seen) = mpsc::channel();
        let marks = Marks::of(nonce);
        let stdout = channel.stdout.take().map(|pipe| gather::gather(pipe, Which::Stdout, marks.clone(), tell.clone()));
        let stderr = channel.stderr.take().map(|pipe| gather::gather(pipe, Which::Stderr, marks, tell));
        let feed = channel.stdin.take().map(feed);
        let mut text = wrapped(nonce, task).into_bytes();
        text.extend_from_slice(match &task.input {
            Input::Held(held) => held.as_bytes(),
            Input::Raw(bytes) => bytes,
        });
        let password = task.sudo.and_then(|sudo| sudo.password.clone());
        let mut running = Self {
            host,
            channel,
            name: task.name,
            timeout: task.timeout,
            since: Instant::now(),
            later: None,
            password,
            offered: false,
            feed,
            seen,
            outputs: [stdout.unwrap_or_default(), stderr.unwrap_or_default()],
        };
        if running.password.is_some() {
            running.later = Some(text);
        } else {
            running.write(text);
        }
        running
    }

    fn write(&self, text: Vec<u8>) {
        // A thread that has gone met a closed pipe, and the outputs tell why.
        self.feed.as_ref().map(|feed| feed.send(text));
    }

    /// Waits for the end.
    fn end(mut self, cancel: &Cancel) -> Result<Outcome, Error> {
        let (mut begun, mut how): (bool, [Option<String>; 2]) = (false, [None, None]);
        let mut closed = [false; 2];
        let mut left_open = None;
        let outcome = loop {
            match self.seen.recv_timeout(Duration::from_millis(20)) {
                Ok((which, Seen::Ended(word))) => how[which as usize] = Some(word),
                Ok((_, Seen::Closed)) | Err(RecvTimeoutError::Disconnected) if closed == [true; 2] => {}
                Ok((which, Seen::Closed)) => closed[which as usize] = true,
                Ok((Which::Stderr, Seen::Prompt)) => self.prompted(),
                Ok((Which::Stderr, Seen::Ready)) => {
                    let text = self.later.take().unwrap_or_default();
                    self.write(text);
                }
                Ok((which, Seen::Begun)) => {
                    if which == Which::Stdout && !begun {
                        (begun, self.since) = (true, Instant::now());
                    }
                }
                Ok((Which::Stdout, Seen::Prompt | Seen::Ready)) | Err(_) => {}
            }
            if let [Some(word), second] = &how {
                let late = *left_open.get_or_insert_with(Instant::now) + LEFT_OPEN < Instant::now();
                if second.is_some() || closed[1] || late {
                    break word.clone();
                }
            } else if closed == [true; 2] {
                return self.without_end(begun);
            }
            if let Err(source) = cancel.check() {
                self.stop(&mut how);
                return Err(self.host.cancelled(self.name, source));
            }
            if let Some(limit) = self.timeout.filter(|limit| self.since + *limit <= Instant::now()) {
                let ended = self.stop(&mut how);
                let (host, program) = (self.host.name(), self.name.to_owned());
                return Err(Error::Timeout { host, program, limit, ended });
            }
        };
        let [stdout, stderr] = [&self.outputs[0], &self.outputs[1]].map(|output| gather::finish(output));
        let ended = Ended { code: None, signal: None, stdout, stderr, elapsed: self.since.elapsed() };
        Ok(Outcome::Ended(outcome, ended, Held { channel: self.channel, _feed: self.feed }))
    }

    /// `sudo` asks: the password is given once, and a second question is the answer that it was wrong.
    fn prompted(&mut self) {
        match (self.password.clone(), self.offered) {
            (Some(password), false) => {
                self.offered = true;
                self.write(format!("{}\n", password.expose_secret()).into_bytes());
            }
            _ => drop(self.feed.take()),
        }
    }

    /// Both outputs have ended, and neither says how.
    fn without_end(mut self, begun: bool) -> Result<Outcome, Error> {
        self.channel.wait();
        let host = self.host.name();
        let noise = gather::noise(&self.outputs[1]);
        let said =
            if begun { String::from_utf8_lossy(&gather::finish(&self.outputs[1])).trim().to_owned() } else { noise };
        if !begun && let Some(why) = unopened(&said) {
            return Ok(Outcome::Unopened(why, said));
        }
        let master = &self.channel.master;
        if !begun && master.lives() && !said.contains("mux_client") && !said.contains("master") {
            // The connection is well, so the far side itself did not run the wrapper.
            let sudo = said.contains("sudo:") || said.contains("Sorry, try again") || self.password.is_some();
            return Err(if sudo {
                Error::Sudo { host, said, password: self.offered }
            } else {
                Error::NoShell { host, said: format!("{said} {}", gather::noise(&self.outputs[0])).trim().to_owned() }
            });
        }
        let log = master.said();
        self.host.gone(master);
        Err(Error::Lost { host, said: if log.is_empty() { said } else { log }, before: false })
    }

    /// Lets the far side end the command; whether it said that it did.
    fn stop(&mut self, how: &mut [Option<String>; 2]) -> bool {
        self.feed.take();
        let deadline = Instant::now() + GRACE + CONFIRM;
        while how[0].is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok((which, Seen::Ended(word))) => how[which as usize] = Some(word),
                Ok((Which::Stdout, Seen::Closed)) | Err(_) => break,
                Ok(_) => {}
            }
        }
        how[0].is_some()
    }
}

/// Writes what it is sent, on a thread of its own, and closes the pipe when nothing more will be.
fn feed(mut stdin: ChildStdin) -> Sender<Vec<u8>> {
    let (send, texts) = mpsc::channel::<Vec<u8>>();
    std::thread::spawn(move || {
        for text in texts {
            if stdin.write_all(&text).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    send
}
