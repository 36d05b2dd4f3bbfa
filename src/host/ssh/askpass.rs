//! Answering what ssh asks for.
//!
//! ssh asks through a program, which is this one under another name: a link in the connection's private directory. It
//! hands the question to the process that connects, over a socket beside the link, and prints the answer. The secret is
//! never an argument and never in an environment. Only the password of the very host is answered, once; a question about
//! a host's key never is.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::Error;
use super::config::Resolved;
use super::control::Control;

/// The name under which this program answers.
pub const NAME: &str = "decamp-askpass";
const SOCKET: &str = "ask";

/// The longest question that is looked at.
const LONGEST: u64 = 4096;

/// Answers for one connection, as long as it lives.
#[derive(Debug)]
pub(super) struct Askpass {
    program: PathBuf,
    socket: PathBuf,
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

/// What was asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The password was handed out.
    pub(super) offered: bool,
    /// The first question that was not answered.
    pub(super) unanswered: Option<String>,
}

impl Askpass {
    /// Begins to answer with `password`, with `program` as the one that asks.
    pub(super) fn serve(
        control: &Control,
        program: &Path,
        password: SecretString,
        resolved: &Resolved,
    ) -> Result<Self, Error> {
        let link = control.file(NAME);
        let socket = control.file(SOCKET);
        let failed = |op, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { op, path, source }
        };
        std::os::unix::fs::symlink(program, &link).map_err(failed("make", &link))?;
        let listener = UnixListener::bind(&socket).map_err(failed("listen on", &socket))?;
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Seen>>::default());
        let (ended, told) = (Arc::clone(&over), Arc::clone(&seen));
        let (user, host) = (resolved.user.clone(), resolved.host.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // One that hangs up in the middle has asked nothing.
                if let Ok(stream) = stream {
                    one(stream, &user, &host, &password, &told).ok();
                }
            }
        });
        Ok(Self { program: link, socket, over, seen, thread: Some(thread) })
    }

    /// What `SSH_ASKPASS` is set to.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Ends it, and says what was asked.
    pub(super) fn end(mut self) -> Seen {
        self.stop();
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // It waits for a caller.
        UnixStream::connect(&self.socket).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        std::fs::remove_file(&self.socket).ok();
    }
}

impl Drop for Askpass {
    fn drop(&mut self) {
        self.stop();
    }
}

fn one(
    mut stream: UnixStream,
    user: &str,
    host: &str,
    password: &SecretString,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut prompt = Vec::new();
    (&mut stream).take(LONGEST).read_to_end(&mut prompt)?;
    let prompt = String::from_utf8_lossy(&prompt);
    if prompt.is_empty() {
        return Ok(());
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if asks_password(&prompt, user, host) && !seen.offered {
        seen.offered = true;
        return stream.write_all(password.expose_secret().as_bytes());
    }
    let line: String = prompt.trim().chars().take(200).collect();
    seen.unanswered.get_or_insert(line);
    Ok(())
}

/// Whether a question is for the password of `user` on `host`.
fn asks_password(prompt: &str, user: &str, host: &str) -> bool {
    let prompt = prompt.trim().to_lowercase();
    let (user, host) = (user.to_lowercase(), host.to_lowercase());
    // Of the password itself, and asked by the login service of the host.
    let keyboard = prompt.strip_prefix(&format!("({user}@{host})")).map(str::trim);
    prompt == format!("{user}@{host}'s password:")
        || keyboard.is_some_and(|asked| asked == "password:" || asked == format!("password for {user}@{host}:"))
}

/// Whether the program was started under the name that asks.
#[must_use]
pub fn is_called(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == NAME)
}

/// Asks the process that connects `prompt`, and gives its answer; `None` if it has none.
///
/// # Errors
/// If nobody listens beside `program`.
pub fn ask(program: &Path, prompt: &str) -> std::io::Result<Option<SecretString>> {
    let socket = program.parent().unwrap_or(Path::new(".")).join(SOCKET);
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(prompt.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = secrecy::zeroize::Zeroizing::new(String::new());
    stream.read_to_string(&mut answer)?;
    Ok(Some(answer.as_str()).filter(|answer| !answer.is_empty()).map(SecretString::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_password_of_the_host_is_told_and_only_once() {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let control = Control::new(&home.path().join("b")).unwrap();
        let resolved = Resolved { user: "Ada".into(), host: "db1".into(), ..Resolved::default() };
        let askpass = Askpass::serve(&control, Path::new("/bin/true"), "s3cret".into(), &resolved).unwrap();
        let asked =
            |prompt: &str| ask(askpass.program(), prompt).unwrap().map(|answer| answer.expose_secret().to_owned());
        for other in [
            "The authenticity of host 'db1' can't be established.\nAre you sure you want to continue connecting (yes/no/[fingerprint])? ",
            "Enter passphrase for key '/root/.ssh/id_ed25519': ",
            "ada@bastion's password: ",
            "root@db1's password: ",
            "(Ada@db1) Verification code: ",
        ] {
            assert_eq!(asked(other), None, "{other}");
        }
        assert_eq!(asked("Ada@db1's password: ").as_deref(), Some("s3cret"));
        assert_eq!(asked("Ada@db1's password: "), None);
        let seen = askpass.end();
        assert!(seen.offered && seen.unanswered.unwrap().starts_with("The authenticity"));
        assert!(asks_password("(Ada@db1) Password: ", "Ada", "db1"));
    }
}
