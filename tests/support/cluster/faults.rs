//! Breaking pieces of a cluster: killed, frozen, and running again.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Cluster;
use super::own::{Process, is_over};

/// No process takes longer to end, or to be there.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    A,
    B,
}

impl Node {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "node-a",
            Self::B => "node-b",
        }
    }
}

/// Whose volumes: bound to a node, or attached to one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Local,
    Net,
}

impl Driver {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Net => "net",
        }
    }
}

/// What can be broken. Containers outlive all of them but their node. `Controller`, `Provisioner` and `Attacher` are
/// started again by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Controller(Driver),
    Provisioner(Driver),
    Attacher,
    /// The whole node, with everything that runs on it.
    Node(Node),
    Containerd(Node),
    Kubelet(Node),
    Proxy(Node),
    Volumes(Node, Driver),
}

impl Piece {
    /// The words by which `inside/piece` knows it.
    fn words(self) -> String {
        match self {
            Self::Etcd => "etcd".into(),
            Self::ApiServer => "kube-apiserver".into(),
            Self::ControllerManager => "kube-controller-manager".into(),
            Self::Scheduler => "kube-scheduler".into(),
            Self::Controller(driver) => format!("csi-controller {}", driver.name()),
            Self::Provisioner(driver) => format!("csi-provisioner {}", driver.name()),
            Self::Attacher => "csi-attacher net".into(),
            Self::Node(node) => format!("node {}", node.name()),
            Self::Containerd(node) => format!("containerd {}", node.name()),
            Self::Kubelet(node) => format!("kubelet {}", node.name()),
            Self::Proxy(node) => format!("kube-proxy {}", node.name()),
            Self::Volumes(node, driver) => format!("csi-node-{} {}", driver.name(), node.name()),
        }
    }

    /// The node in whose namespaces it runs.
    fn node(self) -> Option<Node> {
        match self {
            Self::Containerd(node) | Self::Kubelet(node) | Self::Proxy(node) | Self::Volumes(node, _) => Some(node),
            _ => None,
        }
    }

    fn is(self, process: &Process) -> bool {
        match self {
            // The shell that is the first process of the node.
            Self::Node(node) => process.words.iter().skip(1).take(2).eq(["/mnt/inside/node", node.name()]),
            _ => process.words.first() == Some(&self.words()),
        }
    }
}

impl Cluster {
    /// The number of a piece's process; `None` if it does not run.
    pub(crate) fn pid(&self, piece: Piece) -> Option<u32> {
        self.own().processes().into_iter().find(|process| piece.is(process)).map(|process| process.pid)
    }

    /// Kills a piece, and waits until it is gone.
    pub(crate) fn kill(&self, piece: Piece) {
        let pid = self.signal(piece, Signal::KILL);
        let start = Instant::now();
        while !is_over(pid) {
            assert!(start.elapsed() < PATIENCE, "{piece:?} does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops a piece where it is: its connections stay open, and nothing answers.
    pub(crate) fn freeze(&self, piece: Piece) {
        self.signal(piece, Signal::STOP);
    }

    /// Lets a frozen piece go on.
    pub(crate) fn thaw(&self, piece: Piece) {
        self.signal(piece, Signal::CONT);
    }

    /// Starts a killed piece again, and waits until its process is there.
    pub(crate) fn start(&self, piece: Piece) {
        let inside = match piece.node() {
            Some(node) => self.pid(Piece::Node(node)).unwrap_or_else(|| panic!("{} is down", node.name())),
            None => self.own().processes()[0].pid,
        };
        let target = inside.to_string();
        let script = format!("/mnt/inside/piece {} </dev/null >/dev/null 2>&1 &", piece.words());
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--mount", "--net", "--pid", "--uts", "--", "sh", "-c", &script]);
        assert!(command.status().unwrap().success(), "start {piece:?}");
        let start = Instant::now();
        while self.pid(piece).is_none() {
            assert!(start.elapsed() < PATIENCE, "{piece:?} does not start; {}", self.log(piece));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a piece has said so far.
    pub(crate) fn log(&self, piece: Piece) -> String {
        let name = piece.words().replace(' ', "-");
        fs::read_to_string(self.own().dir().join("log").join(name + ".log")).unwrap_or_default()
    }

    fn signal(&self, piece: Piece, signal: Signal) -> u32 {
        let pid = self.pid(piece).unwrap_or_else(|| panic!("{piece:?} does not run; {}", self.log(piece)));
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
        pid
    }
}
