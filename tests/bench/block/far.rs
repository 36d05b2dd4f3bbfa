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
use crate::{Way, copy, local, shell};

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

/// Ways from there to here. The first is the document's command with what it lacks, the next are what else is usual.
pub(crate) fn ways(server: &Rc<Server>) -> Vec<Way> {
    let with = |act: fn(&Server, &Path, &Path, &Path) -> bool| {
        let server = Rc::clone(server);
        move |source: &Path, target: &Path, digests: &Path| act(&server, source, target, digests)
    };
    let document = with(|server, source, target, _| {
        let (source, target) = (source.display(), target.display());
        server.pipe(&format!("dd if={source} | gzip -1 -"), &format!("gzip -d | dd of={target} conv=fsync"))
    });
    let zstd = with(|server, source, target, _| {
        let (source, target) = (source.display(), target.display());
        let here = format!("zstd -dc | dd of={target} bs=1M iflag=fullblock conv=fsync");
        server.pipe(&format!("dd if={source} bs=1M | zstd -1 -c"), &here)
    });
    let bdsync: fn(&Server, &Path, &Path, &Path) -> bool = |server, source, target, _| {
        let ssh = format!("ssh -F {} peer bdsync --server", server.config.display());
        let (source, target) = (source.display(), target.display());
        // Its client runs where the target is, and has to be told that the data is at the server.
        let script = format!("set -o pipefail; bdsync --remdata '{ssh}' {target} {source} | bdsync --patch={target}");
        quiet(Command::new("bash").args(["-c", &script]))
    };
    let fast: fn(&Server, &Path, &Path, &Path) -> bool = |server, source, target, digests| {
        let (source, target, digests) = (source.display(), target.display(), fast_digests(digests));
        let there = format!("blocksync-fast --make-delta --silent -s {source} -f {}", digests.display());
        let done = server.pipe(&there, &format!("blocksync-fast --apply-delta --silent -d {target}"));
        std::fs::remove_file(digests).ok();
        done
    };
    vec![
        Way::first("document", document).needs(&["gzip"]),
        Way::first("zstd -1", zstd).needs(&["zstd"]),
        Way::first("nbdcopy", with(|server, source, target, _| server.nbd(source, target)))
            .needs(&["nbdcopy", "nbdkit"]),
        Way::first("bdsync", with(bdsync)).needs(&["bdsync"]),
        Way::first("blocksync-fast", with(fast)).needs(&["blocksync-fast"]),
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
        Way::second("bdsync, 1 %", with(bdsync)).needs(&["bdsync"]),
        Way::second("blocksync-fast, 1 %", with(fast)).needs(&["blocksync-fast"]).keeps(|source, _, digests| {
            let (source, digests) = (source.display().to_string(), fast_digests(digests).display().to_string());
            shell("blocksync-fast", &["--make-digest", "--silent", "-s", &source, "-f", &digests])
        }),
        Way::second(
            "decamp, 1 %",
            with(|server, source, target, digests| server.copy(source, target, 1, Verify::Written, Some(digests))),
        ),
    ]
}

/// Where blocksync-fast keeps digests of its own kind.
fn fast_digests(digests: &Path) -> PathBuf {
    digests.with_extension("fast")
}
