//! Tests of the program itself read like a story: files and arguments in; status, output and files out, all compared at
//! once.
//!
//! ```ignore
//! Decamp::new()
//!     .file("src/a", "one")
//!     .args(["copy", "src", "dst"])
//!     .status(0)
//!     .stderr_has("1 file")
//!     .file_is("dst/a", "one")
//!     .run();
//! ```
//!
//! The program sees an empty home and nothing of the environment of who runs the tests.

mod result;
mod running;
mod selftest;
pub(crate) mod wildcard;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

pub(crate) use result::Ran;
use result::Wish;
pub(crate) use running::Running;

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_decamp"))
}

/// One call of the program, and what is expected of it.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `run` or `spawn`"]
pub(crate) struct Decamp {
    home: Arc<TempDir>,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    terminal: bool,
    user: Option<u32>,
    wishes: Vec<Wish>,
}

impl Decamp {
    /// A call in a fresh directory.
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("decamp-env-").tempdir().unwrap();
        for dir in ["home", "work", "state"] {
            fs::create_dir(home.path().join(dir)).unwrap();
        }
        Self {
            home: Arc::new(home),
            program: program().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            terminal: false,
            user: None,
            wishes: Vec::new(),
        }
    }

    /// Another call in the same directory, with the same state and environment; nothing is expected of it yet.
    pub(crate) fn again(&self) -> Self {
        Self { args: Vec::new(), stdin: Vec::new(), wishes: Vec::new(), terminal: false, ..self.clone() }
    }

    /// Runs another program than `decamp`.
    pub(crate) fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn stdin(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdin = text.as_ref().to_vec();
        self
    }

    /// Runs it on a terminal of its own: standard output and error are one stream then, found in `stdout`.
    pub(crate) fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Runs it as another user and group; the directories of the test are given to that user.
    pub(crate) fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        // Where the program was built may be closed to others.
        let own = self.home.path().join("program");
        copy_program(&self.program, &own);
        self.program = own;
        self
    }

    /// Writes a file below the working directory, with the directories it needs.
    pub(crate) fn file(self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// The working directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// What `DECAMP_STATE_DIR` is set to.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// The exit status must be this; 0 if not said. A death by signal counts as 128 and its number.
    pub(crate) fn status(self, code: i32) -> Self {
        self.wish(Wish::Status(code))
    }

    /// Standard output must be exactly this.
    pub(crate) fn stdout(self, text: impl Into<String>) -> Self {
        self.wish(Wish::Stdout(text.into()))
    }

    /// Standard output must be this, where `…` stands for anything (see [`wildcard`]).
    pub(crate) fn stdout_like(self, pattern: impl Into<String>) -> Self {
        self.wish(Wish::StdoutLike(pattern.into()))
    }

    pub(crate) fn stdout_has(self, text: impl Into<String>) -> Self {
        self.wish(Wish::StdoutHas(text.into()))
    }

    /// Standard error must be exactly this.
    pub(crate) fn stderr(self, text: impl Into<String>) -> Self {
        self.wish(Wish::Stderr(text.into()))
    }

    /// Standard error must be this, where `…` stands for anything.
    pub(crate) fn stderr_like(self, pattern: impl Into<String>) -> Self {
        self.wish(Wish::StderrLike(pattern.into()))
    }

    pub(crate) fn stderr_has(self, text: impl Into<String>) -> Self {
        self.wish(Wish::StderrHas(text.into()))
    }

    /// Neither stream may hold this.
    pub(crate) fn nowhere(self, text: impl Into<String>) -> Self {
        self.wish(Wish::Nowhere(text.into()))
    }

    /// A file below the working directory must hold this afterwards.
    pub(crate) fn file_is(self, path: impl Into<PathBuf>, content: impl AsRef<[u8]>) -> Self {
        self.wish(Wish::File(path.into(), content.as_ref().to_vec()))
    }

    /// Nothing may be there afterwards.
    pub(crate) fn absent(self, path: impl Into<PathBuf>) -> Self {
        self.wish(Wish::Absent(path.into()))
    }

    fn wish(mut self, wish: Wish) -> Self {
        self.wishes.push(wish);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// With everything that is not as expected.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        let running = self.spawn();
        running.wait().check(&self)
    }

    /// Starts it. Nothing is compared: what is left of a program that gets killed is for the test to say.
    #[track_caller]
    pub(crate) fn spawn(&self) -> Running {
        let mut command = self.command();
        let streams = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
        let [stdin, stdout, stderr] = streams;
        // A group of its own: signals of the test reach what it starts, and nothing else.
        command.stdin(stdin).stdout(stdout).stderr(stderr).process_group(0);
        Running::start(command, self.stdin.clone())
    }

    /// The command itself, for a test that starts it in its own way.
    pub(crate) fn command(&self) -> Command {
        let mut words: Vec<&OsStr> = Vec::new();
        let user = self.user.map(|id| [format!("--reuid={id}"), format!("--regid={id}")]);
        if let Some([uid, gid]) = &user {
            give(self.home.path(), self.user.unwrap());
            words.extend([
                OsStr::new("setpriv"),
                OsStr::new(uid),
                OsStr::new(gid),
                OsStr::new("--clear-groups"),
                OsStr::new("--"),
            ]);
        }
        words.push(self.program.as_os_str());
        words.extend(self.args.iter().map(OsString::as_os_str));
        let mut command = if self.terminal {
            let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            let mut command = Command::new("script");
            command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
            command
        } else {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        let home = self.home.path().join("home");
        command.current_dir(self.dir()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &home).env("LC_ALL", "C.UTF-8");
        command.env("DECAMP_STATE_DIR", self.state()).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        for (name, below) in [
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "data"),
        ] {
            command.env(name, home.join(below));
        }
        for name in ["LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
            std::env::var_os(name).map(|value| command.env(name, value));
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A word for `sh`.
fn quoted(word: &OsStr) -> String {
    let text = word.to_str().expect("arguments on a terminal are text");
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Gives everything below a directory to a user.
/// Copies a program by another process: were the copy open for writing here, a test that starts something at that moment
/// would hand the descriptor on, and the copy could not be started (ETXTBSY).
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn give(path: &Path, id: u32) {
    // Giving what is theirs already would change its ctime.
    let own = path.symlink_metadata().unwrap();
    if (std::os::unix::fs::MetadataExt::uid(&own), std::os::unix::fs::MetadataExt::gid(&own)) != (id, id) {
        std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    }
    if path.symlink_metadata().unwrap().is_dir() {
        for item in fs::read_dir(path).unwrap() {
            give(&item.unwrap().path(), id);
        }
    }
}
