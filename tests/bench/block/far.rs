//! The source on another machine: a real server in a network namespace, and what copies from it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use decamp::block::{Endpoint, Verify};
use decamp::cancel::Cancel;
use decamp::host::ssh::{Dest, Far, Host, Options};

use crate::support::env::program;
use crate::support::ssh::Sshd;
use crate::{Way, copy, local};

/// How to get to the server: for `ssh` itself, and as decamp does.
pub(crate) struct Server {
    config: PathBuf,
    far: Arc<Far>,
}

impl Server {
    pub(crate) fn new(server: &Sshd) -> Rc<Self> {
        let options = Options {
            config: Some(server.config()),
            base: server.dir().join("b"),
            program: program().to_owned(),
            ..Options::default()
        };
        let host = Arc::new(Host::new(Dest::parse("peer").unwrap(), options));
        let cancel = Cancel::new();
        let far = Arc::new(host.reach(false, None, &cancel, &cancel).unwrap());
        Rc::new(Self { config: server.config(), far })
    }

    /// A pipe from a shell there to a shell here.
    fn pipe(&self, there: &str, here: &str) -> bool {
        let script = format!("set -o pipefail; ssh -F '{}' peer '{there}' | {here}", self.config.display());
        quiet(Command::new("bash").args(["-c", &script]))
    }

    fn copy(&self, source: &Path, target: &Path, streams: usize, verify: Verify, digests: Option<&Path>) -> bool {
        let lines = self.far.lines("block-source", 4, streams, &Cancel::new()).unwrap();
        copy(Endpoint::remote(source, lines), local(target), verify, digests)
    }

    /// Both ends of NBD, and a tunnel for it between them.
    fn nbd(&self, source: &Path, target: &Path) -> bool {
        let home = tempfile::tempdir().unwrap();
        let (here, there) = (home.path().join("here"), home.path().join("there"));
        let forward = format!("{}:{}", here.display(), there.display());
        let serve = format!("exec nbdkit -f --exit-with-parent -U {} file {}", there.display(), source.display());
        let mut tunnel = Command::new("ssh");
        tunnel.arg("-F").arg(&self.config).args(["-L", &forward, "peer", &serve]);
        let mut tunnel = tunnel.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..500 {
            if there.exists() && here.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let uri = format!("nbd+unix:///?socket={}", here.display());
        let done = quiet(Command::new("nbdcopy").args(["--flush", &uri]).arg(target));
        tunnel.kill().unwrap();
        tunnel.wait().unwrap();
        done
    }
}

fn quiet(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|ended| ended.success())
}

/// Ways from there to here. The first is the document's command with what it lacks, the next two are what is usual.
pub(crate) fn ways(server: &Rc<Server>) -> Vec<Way> {
    let with = |act: fn(&Server, &Path, &Path, &Path) -> bool| {
        let server = Rc::clone(server);
        move |source: &Path, target: &Path, digests: &Path| act(&server, source, target, digests)
    };
    vec![
        Way::first(
            "document",
            with(|server, source, target, _| {
                let (source, target) = (source.display(), target.display());
                server.pipe(&format!("dd if={source} | gzip -1 -"), &format!("gzip -d | dd of={target} conv=fsync"))
            }),
        ),
        Way::first(
            "zstd -1",
            with(|server, source, target, _| {
                let (source, target) = (source.display(), target.display());
                let here = format!("zstd -dc | dd of={target} bs=1M iflag=fullblock conv=fsync");
                server.pipe(&format!("dd if={source} bs=1M | zstd -1 -c"), &here)
            }),
        ),
        Way::first("nbdcopy", with(|server, source, target, _| server.nbd(source, target))),
        Way::first("decamp", with(|server, source, target, _| server.copy(source, target, 1, Verify::None, None))),
        Way::first(
            "decamp, 2 streams",
            with(|server, source, target, _| server.copy(source, target, 2, Verify::None, None)),
        ),
        Way::first(
            "decamp, 4 streams",
            with(|server, source, target, _| server.copy(source, target, 4, Verify::None, None)),
        ),
        Way::first(
            "decamp, read back",
            with(|server, source, target, _| server.copy(source, target, 1, Verify::Written, None)),
        ),
        Way::second(
            "bdsync, second pass, 1 %",
            with(|server, source, target, _| {
                let ssh = format!("ssh -F {} peer bdsync --server", server.config.display());
                let (source, target) = (source.display(), target.display());
                // Its client is where what is missing is: it makes a patch of what the server has.
                let script = format!("set -o pipefail; bdsync '{ssh}' {target} {source} | bdsync --patch={target}");
                quiet(Command::new("bash").args(["-c", &script]))
            }),
        ),
        Way::second(
            "decamp, second pass, 1 %",
            with(|server, source, target, digests| server.copy(source, target, 1, Verify::Written, Some(digests))),
        ),
    ]
}
