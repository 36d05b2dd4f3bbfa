//! The real `openstack` client, loaded once for all tests and forked for every command: see `warm.py`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tempfile::TempDir;

use super::super::skip::skipped;
use super::{Cloud, Paper};

const WARM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/openstack/warm.py");
/// What `tests/run` installs.
const VERSION: &str = include_str!("client.txt");

/// The client with a `clouds.yaml`.
pub(crate) struct Client {
    home: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

impl Client {
    /// A client that knows these clouds by their names. `None`, and *skipped* said, where none is installed.
    pub(crate) fn new(clouds: &[&Cloud]) -> Option<Self> {
        let socket = warm()?;
        let home = tempfile::Builder::new().prefix("decamp-openstack-").tempdir().unwrap();
        let program = home.path().join("openstack");
        // Written by a process of its own: a test that starts something at this moment would keep it open for writing.
        let text = format!("#!/bin/sh\nexec {} -ISE {WARM} run {} \"$@\"\n", python().display(), socket.display());
        let mut writer = Command::new("tee").arg(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let client = Self { home };
        std::fs::write(client.config(), yaml(clouds)).unwrap();
        Some(client)
    }

    /// `clouds.yaml`.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("clouds.yaml")
    }

    /// What a program needs in its environment to find the client and the clouds.
    pub(crate) fn env(&self) -> [(&'static str, OsString); 2] {
        let mut path = self.home.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        [("PATH", path), ("OS_CLIENT_CONFIG_FILE", self.config().into())]
    }

    /// Runs one command in a cloud.
    pub(crate) fn run(&self, cloud: &str, words: &str) -> Said {
        said(Command::new(self.home.path().join("openstack")), &self.config(), cloud, words)
    }

    /// The same with the program as it is installed.
    pub(crate) fn run_cold(&self, cloud: &str, words: &str) -> Said {
        said(Command::new(python().with_file_name("openstack")), &self.config(), cloud, words)
    }
}

fn said(mut command: Command, config: &Path, cloud: &str, words: &str) -> Said {
    command.args(["--os-cloud", cloud]).args(words.split_whitespace()).env("OS_CLIENT_CONFIG_FILE", config);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn yaml(clouds: &[&Cloud]) -> String {
    clouds.iter().fold("clouds:\n".to_owned(), |text, cloud| text + &cloud.yaml())
}

/// The interpreter of the environment the client is installed in.
fn python() -> PathBuf {
    let version = VERSION.lines().find_map(|line| line.strip_prefix("python-openstackclient==")).unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"));
    cache.join(format!("decamp-tests/openstack-{version}/bin/python"))
}

/// Starts what keeps the client loaded, once; it ends with this process, which holds its input open.
fn warm() -> Option<&'static Path> {
    static WARMED: OnceLock<Option<(PathBuf, Child)>> = OnceLock::new();
    let started = WARMED.get_or_init(|| {
        if !python().exists() {
            skipped(&format!("no openstack client at {}: tests/run --only clouds installs it", python().display()));
            return None;
        }
        // A path short enough for a socket, gone with the process that serves it.
        let home = tempfile::Builder::new().prefix("decamp-warm-").tempdir().unwrap().keep();
        let cloud = Cloud::start("warm", Arc::new(Paper));
        std::fs::write(home.join("clouds.yaml"), yaml(&[&cloud])).unwrap();
        let socket = home.join("socket");
        let mut child = Command::new(python())
            .arg(WARM)
            .arg("serve")
            .arg(&socket)
            .env("OS_CLIENT_CONFIG_FILE", home.join("clouds.yaml"))
            .env("OS_CLOUD", "warm")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the openstack client does not load");
        Some((socket, child))
    });
    started.as_ref().map(|(socket, _)| socket.as_path())
}
