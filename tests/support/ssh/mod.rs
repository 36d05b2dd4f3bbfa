//! Real SSH servers: each a process tree of its own, with its own keys, users and port.
//!
//! A server lives in namespaces of its own: of mounts, where it sees the users of the test in place of the machine's; of
//! processes, so that nothing of it outlives it; and, as a *cloud*, of the network, so that it can be cut off. The kernel
//! ends all of it when the test process dies.

mod cloud;
mod delay;
mod selftest;
mod users;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::skip::{needs_root, skipped};

pub(crate) use delay::{Delay, GIGABIT};
pub(crate) use users::{PASSWORD, USERS};

/// No test waits longer than this for a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Further lines of its configuration.
    pub(crate) lines: Vec<String>,
    /// In a network of its own.
    pub(crate) cloud: bool,
    /// Lines of a shell that run in its mount namespace before it starts.
    pub(crate) mounts: Vec<&'static str>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Sshd {
    dir: tempfile::TempDir,
    child: Child,
    port: u16,
    address: String,
    delay: Option<Delay>,
    setup: Setup,
}

impl Sshd {
    /// A server on the loopback interface. `None`, and *skipped* said, without the right or the means.
    pub(crate) fn start() -> Option<Self> {
        Self::with(Setup::default())
    }

    /// A server in a network of its own, reached over a link that can be cut.
    pub(crate) fn cloud() -> Option<Self> {
        Self::with(Setup { cloud: true, ..Setup::default() })
    }

    pub(crate) fn with(setup: Setup) -> Option<Self> {
        if !needs_root("a server with users of its own") {
            return None;
        }
        if !Path::new("/usr/sbin/sshd").exists() {
            skipped("there is no /usr/sbin/sshd");
            return None;
        }
        // Short: the sockets of connections may be below it.
        let dir = tempfile::Builder::new().prefix("decamp-sshd-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for key in ["host", "key"] {
            keygen(&dir.path().join(key));
        }
        users::write(dir.path());
        let address = if setup.cloud { cloud::ADDRESS.to_owned() } else { "127.0.0.1".to_owned() };
        let port = if setup.cloud { 22 } else { free_port() };
        let child = begin(dir.path(), port, &setup);
        let mut server = Self { dir, child, port, address, delay: None, setup };
        if server.setup.cloud {
            server.address = cloud::connect(server.inside());
        }
        server.write_client();
        server.wait();
        Some(server)
    }

    /// The directory of the server.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A configuration for `ssh -F` that knows the server as `peer`, and who may log in as `USER-peer`.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir().join("ssh_config")
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The private key that lets everybody in.
    pub(crate) fn key(&self) -> PathBuf {
        self.dir().join("key")
    }

    /// The known-hosts file of the configuration.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.dir().join("known")
    }

    /// `SHA256:…` of the server's key.
    pub(crate) fn fingerprint(&self) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.dir().join("host.pub")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// The home directory of a user, as it is seen from outside as well.
    pub(crate) fn home(&self, user: &str) -> PathBuf {
        self.dir().join("homes").join(user)
    }

    /// A directory as the server sees it, which has some mounts of its own.
    pub(crate) fn seen(&self, dir: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.inside().as_raw_pid()));
        root.join(dir.strip_prefix("/").unwrap_or(dir))
    }

    /// The process inside all its namespaces that everything else comes from.
    pub(crate) fn inside(&self) -> Pid {
        let start = Instant::now();
        loop {
            if let Some(pid) = children(self.child.id()).first() {
                return Pid::from_raw(pid.cast_signed()).unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "the server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Every process of the server and its sessions, the listening one first.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.inside().as_raw_pid().cast_unsigned()];
        let mut at = 0;
        while at < all.len() {
            all.extend(children(all[at]));
            at += 1;
        }
        all
    }

    /// Sends a signal to every process of its sessions: connections are cut by KILL, frozen by STOP.
    pub(crate) fn signal_sessions(&self, signal: Signal) {
        for pid in &self.processes()[1..] {
            kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).ok();
        }
    }

    /// Sends a signal to the processes that hold connections, and not to what runs in them.
    pub(crate) fn signal_connections(&self, signal: Signal) {
        for pid in &self.processes()[1..] {
            if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sshd") {
                kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).ok();
            }
        }
    }

    /// Whether a process with these words runs in it.
    pub(crate) fn runs(&self, words: &str) -> bool {
        self.processes().iter().any(|pid| command_line(*pid).contains(words))
    }

    /// Ends the server with all its sessions, and starts it again with another key.
    pub(crate) fn change_key(&mut self) {
        self.end();
        fs::remove_file(self.dir().join("host")).unwrap();
        keygen(&self.dir().join("host"));
        self.child = begin(self.dir.path(), self.port, &self.setup);
        self.wait();
    }

    /// Ends the server with all its sessions, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.end();
        self.child = begin(self.dir.path(), self.port, &self.setup);
        self.wait();
    }

    /// Ends the server with all its sessions.
    pub(crate) fn end(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Takes the link down, or up again.
    pub(crate) fn link(&self, up: bool) {
        cloud::link(self.inside(), up);
    }

    /// Makes this cloud reachable from another one alone; the address it has there.
    pub(crate) fn behind(&mut self, other: &Self) {
        assert!(self.setup.cloud && other.setup.cloud);
        self.address = cloud::behind(self.inside(), other.inside());
        self.write_client();
    }

    /// Leads its configuration through a link of 1 Gbit/s with this time of a round trip.
    pub(crate) fn far_away(&mut self, round_trip: Duration) {
        let server = format!("{}:{}", self.address, self.port).parse().unwrap();
        self.delay = Some(Delay::to(server, round_trip, GIGABIT).unwrap());
        self.write_client();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    fn write_client(&self) {
        let path = |name: &str| self.dir().join(name).display().to_string();
        let (address, port) = self.delay.as_ref().map_or((self.address.clone(), self.port), |delay| {
            (delay.address().ip().to_string(), delay.address().port())
        });
        let mut text = String::new();
        for user in std::iter::once("root").chain(USERS.iter().map(|user| user.name)) {
            let alias = if user == "root" { "peer".to_owned() } else { format!("{user}-peer") };
            text.push_str(&format!(
                "Host {alias}\n  HostName {address}\n  Port {port}\n  User {user}\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n",
                path("key"),
                path("known")
            ));
        }
        fs::write(self.config(), text).unwrap();
        let key = fs::read_to_string(path("host.pub")).unwrap();
        let name = if port == 22 { address } else { format!("[{address}]:{port}") };
        fs::write(self.known_hosts(), format!("{name} {key}")).unwrap();
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while !self.log().contains("Server listening") {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "the server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}

fn begin(dir: &Path, port: u16, setup: &Setup) -> Child {
    let path = |name: &str| dir.join(name).display().to_string();
    let mut config = format!(
        "Port {port}\nListenAddress {}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         AuthorizedKeysFile .ssh/authorized_keys {}\nPermitRootLogin prohibit-password\nLogLevel VERBOSE\n\
         PasswordAuthentication yes\nKbdInteractiveAuthentication no\nMaxStartups 200\nUseDNS no\n",
        if setup.cloud { "0.0.0.0" } else { "127.0.0.1" },
        path("host"),
        path("keys")
    );
    for line in &setup.lines {
        config.push_str(line);
        config.push('\n');
    }
    fs::write(dir.join("sshd_config"), config).unwrap();
    fs::copy(dir.join("key.pub"), dir.join("keys")).unwrap();
    fs::remove_file(dir.join("log")).ok();
    let mut script = String::from("mkdir -p /run/sshd && mount -t tmpfs -o mode=755 tmpfs /run/sshd\n");
    for name in users::FILES {
        script.push_str(&format!("mount --bind '{}' /etc/{name}\n", path(name)));
    }
    // Of its own, so that what is sent there goes with the server at the latest.
    script.push_str("mount -t tmpfs -o mode=1777 tmpfs /dev/shm\n");
    for line in &setup.mounts {
        script.push_str(line);
        script.push('\n');
    }
    if setup.cloud {
        script.push_str("ip link set lo up\n");
    }
    script.push_str(&format!("exec /usr/sbin/sshd -D -e -f '{}' 2>'{}'\n", path("sshd_config"), path("log")));
    let mut command = Command::new("setpriv");
    // Should this process be killed, everything goes with it.
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if setup.cloud {
        command.arg("--net");
    }
    command.args(["sh", "-ec", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn keygen(path: &Path) {
    let output = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A port nobody listens on; another may take it before it is used, and then the server does not start.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Processes that a process started.
fn children(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    all
}

/// The words of a process.
pub(crate) fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
