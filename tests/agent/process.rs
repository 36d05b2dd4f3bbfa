//! The agent as a process, over real pipes: what it does for the near side, and how it ends.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use decamp::agent::{Client, Options, Ticket, WriteOptions};
use decamp::wire::Broken;
use rustix::process::{Pid, Signal, kill_process};

use super::file::installed;
use crate::support::skip::needs_root;

/// An agent that runs, in a directory of its own.
pub(super) struct Agent {
    pub(super) home: tempfile::TempDir,
    pub(super) child: Child,
}

/// The place of an agent: its directory, closed to others, with its file.
fn place() -> (tempfile::TempDir, PathBuf) {
    let (home, path) = installed();
    let own = home.path().join("own");
    std::fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
    std::fs::rename(path, own.join("agent")).unwrap();
    (home, own)
}

fn start(mut command: Command, home: tempfile::TempDir) -> Agent {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Agent { home, child }
}

impl Agent {
    pub(super) fn new(options: &[&str]) -> Self {
        let (home, own) = place();
        let mut command = Command::new(own.join("agent"));
        command.arg("serve").arg("--dir").arg(&own).args(options);
        start(command, home)
    }

    fn own(&self) -> PathBuf {
        self.home.path().join("own")
    }

    pub(super) fn client(&mut self, silent: u64) -> Result<Client, Broken> {
        self.client_over(silent, |to| to)
    }

    /// The same with something between this side and the agent.
    pub(super) fn client_over(
        &mut self,
        silent: u64,
        over: impl FnOnce(Box<dyn Write + Send>) -> Box<dyn Write + Send>,
    ) -> Result<Client, Broken> {
        let pid = Pid::from_child(&self.child);
        let options = Options {
            silent: Duration::from_millis(silent),
            // As a connection does that is given up.
            shut: Some(Box::new(move || {
                kill_process(pid, Signal::KILL).ok();
            })),
            ..Options::default()
        };
        let (from, to) = (self.child.stdout.take().unwrap(), self.child.stdin.take().unwrap());
        Client::connect(Box::new(from), over(Box::new(to)), None, options)
    }

    /// Its exit code, within a while.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the agent does not end");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[test]
fn files_are_seen_read_and_written() {
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let files = client.files();
    let dir = agent.home.path().join("data");
    let made = files.make_dir(bytes(&dir), 0o750).unwrap();
    assert_eq!((made.letter, made.mode & 0o700), (b'd', 0o700));
    let odd = [bytes(&dir), b"/od\xffd\n"].concat();
    let content: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    let stat = files.write(&odd, &mut &content[..], &WriteOptions::default()).unwrap();
    assert_eq!((stat.size, stat.mode, stat.letter), (1_000_000, 0o644, b'f'));
    let mut back = Vec::new();
    assert_eq!(files.read(&odd, 0, None, &mut back).unwrap(), 1_000_000);
    assert!(back == content);
    back.clear();
    files.read(&odd, 999_000, Some(10), &mut back).unwrap();
    assert_eq!(back, content[999_000..999_010]);
    // Replaced: mode and owner stay, another inode.
    let path = Path::new(OsStr::from_bytes(&odd));
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    let again = files.write(&odd, &mut &b"new"[..], &WriteOptions::default()).unwrap();
    assert!(again.ino != stat.ino && again.mode == 0o600 && again.size == 3);
    let told = files.write(&odd, &mut &b"x"[..], &WriteOptions { new: true, ..WriteOptions::default() }).unwrap_err();
    assert!(told.to_string().contains("File exists"), "{told}");
    std::os::unix::fs::symlink("elsewhere", dir.join("link")).unwrap();
    let link = [bytes(&dir), b"/link"].concat();
    assert_eq!(files.lstat(&link).unwrap().target.as_deref(), Some(&b"elsewhere"[..]));
    let told = files.write(&link, &mut &b"x"[..], &WriteOptions::default()).unwrap_err();
    assert!(told.to_string().contains("no regular file"), "{told}");
    let mut names: Vec<_> = files.list(bytes(&dir)).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, [b"link".to_vec(), b"od\xffd\n".to_vec()]);
    // It removes what it made, and nothing else.
    assert!(files.remove(&link).unwrap_err().to_string().contains("did not make"));
    std::fs::remove_file(dir.join("link")).unwrap();
    files.remove(&odd).unwrap_err();
    assert!(files.statfs(bytes(&dir)).unwrap().total > 0);
    assert!(files.mounts().unwrap().iter().any(|mount| mount.fs_type == "proc"));
    files.block_devices().unwrap();
    let told = files.stat(b"/no/such").unwrap_err();
    assert!(matches!(&told, decamp::agent::Error::Fault(fault) if fault.errno == Some(2)), "{told:?}");
    assert!(files.stat(b"relative").unwrap_err().to_string().contains("absolute"));
    client.close().unwrap();
    assert_eq!(agent.ended(), Some(0));
}

#[test]
fn it_takes_its_file_and_directory_along() {
    for options in [&["--unlink"][..], &[]] {
        let mut agent = Agent::new(options);
        let client = agent.client(60_000).unwrap();
        client.files().stat(b"/").unwrap();
        assert_eq!(client.sum().unwrap().len(), 64);
        assert_eq!(agent.own().join("agent").exists(), options.is_empty());
        client.tickets(1).unwrap();
        if options.is_empty() {
            client.settle().unwrap();
        }
        assert_eq!(std::fs::read_dir(agent.own()).unwrap().count(), 1, "the socket");
        client.close().unwrap();
        assert_eq!(agent.ended(), Some(0));
        assert!(!agent.own().exists(), "{options:?}");
    }
}

#[test]
fn it_ends_when_its_input_does() {
    let mut agent = Agent::new(&["--unlink"]);
    let (to, mut from) = (agent.child.stdin.take().unwrap(), agent.child.stdout.take().unwrap());
    let mut to = to;
    to.write_all(format!(": decamp-agent abc {} 60000 -\n", env!("CARGO_PKG_VERSION")).as_bytes()).unwrap();
    let mut answer = [0; 8];
    from.read_exact(&mut answer).unwrap();
    drop(to);
    assert_eq!(agent.ended(), Some(1));
    assert!(!agent.own().exists());
}

#[test]
fn it_ends_when_nothing_is_heard() {
    let mut agent = Agent::new(&["--unlink"]);
    let mut to = agent.child.stdin.take().unwrap();
    to.write_all(format!(": decamp-agent abc {} 200 -\n", env!("CARGO_PKG_VERSION")).as_bytes()).unwrap();
    assert_eq!(agent.ended(), Some(1));
    assert!(!agent.own().exists());
    drop(to);
}

#[test]
fn another_version_is_told_and_refused() {
    let mut agent = Agent::new(&[]);
    let mut to = agent.child.stdin.take().unwrap();
    to.write_all(b": decamp-agent abc 99.9 60000 -\n").unwrap();
    assert_eq!(agent.ended(), Some(1));
    let (mut said, mut words) = (String::new(), String::new());
    agent.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    agent.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(
        said.starts_with(&format!("\nabc {} ", env!("CARGO_PKG_VERSION"))) && words.contains("99.9"),
        "{said}{words}"
    );
}

#[test]
fn what_is_no_call_gets_no_answer() {
    let mut agent = Agent::new(&[]);
    agent.child.stdin.take().unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(agent.ended(), Some(1));
    let mut said = Vec::new();
    agent.child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!(said, b"");
}

#[test]
fn a_killed_agent_is_a_cut_and_never_an_end() {
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let pid = Pid::from_child(&agent.child);
    let seen = AtomicU64::new(0);
    struct Counting<'a>(&'a AtomicU64, Pid);
    impl Write for Counting<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed) > 20 << 20 {
                kill_process(self.1, Signal::KILL).ok();
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let told = client.files().read(b"/dev/zero", 0, Some(1 << 34), &mut Counting(&seen, pid)).unwrap_err();
    assert!(matches!(told, decamp::agent::Error::Broken(Broken::Cut)), "{told:?}");
    assert!(seen.load(Ordering::Relaxed) < 1 << 30);
    assert!(matches!(client.close(), Err(Broken::Cut)));
}

#[test]
fn a_frozen_agent_is_silent() {
    let mut agent = Agent::new(&[]);
    // Long enough for a machine that has other things to do.
    let client = agent.client(3_000).unwrap();
    client.files().stat(b"/").unwrap();
    kill_process(Pid::from_child(&agent.child), Signal::STOP).unwrap();
    let told = client.files().stat(b"/").unwrap_err();
    assert!(matches!(told, decamp::agent::Error::Broken(Broken::Silent(_))), "{told:?}");
}

#[test]
fn content_that_does_not_come_to_its_end_replaces_nothing() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("the source broke"));
            }
            self.0 -= 1;
            into.fill(7);
            Ok(into.len())
        }
    }
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let dir = agent.home.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("file"), "as it was").unwrap();
    let path = [bytes(&dir), b"/file"].concat();
    let told = client.files().write(&path, &mut Failing(20), &WriteOptions::default()).unwrap_err();
    assert!(told.to_string().contains("the source broke"), "{told}");
    // Another question is answered after that one was given up.
    client.files().stat(&path).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while std::fs::read_dir(&dir).unwrap().count() > 1 {
        assert!(Instant::now() < end, "what was written beside it stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"as it was");
    // What cannot be written is told while content is still being sent.
    let told = client.files().write(b"/no/such/dir/file", &mut Failing(usize::MAX), &WriteOptions::default());
    let told = told.unwrap_err();
    assert!(told.to_string().contains("No such file"), "{told}");
    client.close().unwrap();
}

#[test]
fn what_a_login_prints_before_is_skipped() {
    let (home, own) = place();
    let mut command = Command::new("sh");
    command.args(["-c", "echo Welcome; echo; printf 'no newline'; exec \"$0\" serve"]).arg(own.join("agent"));
    let mut agent = start(command, home);
    let client = agent.client(60_000).unwrap();
    client.files().stat(b"/").unwrap();
    client.close().unwrap();
}

struct Meter(Box<dyn Read + Send>, Arc<AtomicU64>);

impl Read for Meter {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(into)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Another process that joins, and how much came through it.
pub(super) fn join(agent: &Agent, client: &Client, ticket: &Ticket) -> Result<(Child, Arc<AtomicU64>), Broken> {
    let mut child = Command::new(agent.own().join("agent"))
        .arg("join")
        .arg(OsStr::from_bytes(&ticket.socket))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (from, to) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    match client.join(Box::new(Meter(Box::new(from), Arc::clone(&count))), Box::new(to), ticket, None) {
        Ok(()) => Ok((child, count)),
        Err(broken) => {
            // It ends by itself: the agent has closed its streams.
            child.wait().unwrap();
            Err(broken)
        }
    }
}

#[test]
fn several_streams_lead_into_one_process() {
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let tickets = client.tickets(3).unwrap();
    let mut joined: Vec<_> = tickets.iter().map(|ticket| join(&agent, &client, ticket).unwrap()).collect();
    assert_eq!(client.streams(), 4);
    let mode = std::fs::metadata(agent.own()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    client.settle().unwrap();
    // Asked at the same time, each on a stream of its own.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let count = client.files().read(b"/dev/zero", 0, Some(64 << 20), &mut std::io::sink()).unwrap();
                assert_eq!(count, 64 << 20);
            });
        }
    });
    for (_, count) in &joined {
        assert!(count.load(Ordering::Relaxed) > 1 << 20, "{count:?}");
    }
    // One that breaks leaves the others.
    joined[0].0.kill().unwrap();
    client.files().stat(b"/").unwrap();
    client.close().unwrap();
    assert_eq!(agent.ended(), Some(0));
    for (child, _) in &mut joined {
        child.wait().unwrap();
    }
}

#[test]
fn nobody_joins_without_a_token_or_twice() {
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let tickets = client.tickets(1).unwrap();
    let (mut first, _) = join(&agent, &client, &tickets[0]).unwrap();
    let told = join(&agent, &client, &tickets[0]).err().unwrap();
    assert!(matches!(&told, Broken::Refused(text) if text.contains("token")), "{told:?}");
    assert_eq!(client.streams(), 2);
    client.close().unwrap();
    first.wait().unwrap();
}

/// Nothing can be written anywhere, and there is no /proc: one stream does.
#[test]
fn it_works_where_nothing_can_be_written() {
    if !needs_root("a change of root") {
        return;
    }
    let (home, path) = installed();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let mut command = Command::new("chroot");
    command.arg("--userspec=65534:65534").arg(home.path()).args(["/decamp-agent", "serve", "--unlink"]);
    let mut agent = start(command, home);
    let client = agent.client(60_000).unwrap();
    assert!(path.exists(), "it cannot remove itself there");
    let told = client.tickets(1).unwrap_err();
    assert!(matches!(&told, Broken::Refused(text) if text.contains("one stream must do")), "{told:?}");
    assert!(client.sum().is_some());
    let names: Vec<_> = client.files().list(b"/").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [b"decamp-agent".to_vec()]);
    let told = client.files().write(b"/x", &mut &b"x"[..], &WriteOptions::default()).unwrap_err();
    assert!(matches!(&told, decamp::agent::Error::Fault(fault) if fault.errno == Some(13)), "{told:?}");
    client.close().unwrap();
    assert_eq!(agent.ended(), Some(0));
}

#[test]
fn a_directory_others_can_look_into_is_not_its_own() {
    let (home, path) = installed();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let ran = Command::new(path).args(["serve", "--dir"]).arg(home.path()).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("closed to others"), "{ran:?}");
}
