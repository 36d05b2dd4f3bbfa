//! The copiers, and how each is called. Each is used if it is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Outcome;

/// A copier as it is called for one purpose.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What it is called on the command line, in records and by others here.
    pub(crate) name: &'static str,
    /// What it is called in tables.
    pub(crate) label: &'static str,
    /// Programs it needs, each with where it comes from.
    needs: &'static [(&'static str, &'static str)],
    /// `{s}` and `{d}` are the two directories, `{decamp}` is the program under test, `{own}` this one.
    line: &'static [&'static str],
    /// Who made the destination it re-syncs, if not itself.
    pub(crate) made_by: Option<&'static str>,
    /// It copies nothing, so that nothing can be expected of what it leaves.
    pub(crate) only_looks: bool,
}

const RSYNC: (&str, &str) = ("rsync", "apt install rsync");
const OWN: &[(&str, &str)] = &[("{own}", "it is part of `cargo bench`")];

const PLAIN: Peer = Peer { name: "", label: "", needs: &[], line: &[], made_by: None, only_looks: false };

const PEERS: &[Peer] = &[
    Peer { name: "decamp", label: "**decamp copy**", line: &["{decamp}", "copy", "{s}", "{d}"], ..PLAIN },
    Peer {
        name: "decamp-run",
        label: "decamp run move-tree --verify none",
        line: &["{decamp}", "run", "move-tree", "--source", "{s}", "--dest", "{d}", "--verify", "none", "--yes"],
        ..PLAIN
    },
    Peer { name: "cp-a", label: "cp -a", line: &["cp", "-aT", "{s}", "{d}"], ..PLAIN },
    Peer { name: "rsync-a", label: "rsync -a", needs: &[RSYNC], line: &["rsync", "-a", "{s}/", "{d}/"], ..PLAIN },
    Peer {
        name: "rsync-aHAX",
        label: "rsync -aHAX",
        needs: &[RSYNC],
        line: &["rsync", "-aHAX", "{s}/", "{d}/"],
        ..PLAIN
    },
    Peer {
        name: "seed",
        label: "ls | parallel -j4 rsync -ah",
        needs: &[RSYNC, ("parallel", "apt install parallel")],
        line: &["sh", "-c", "cd {s} && ls | parallel -j4 rsync -ah {s}/{}/ {d}/{}/"],
        ..PLAIN
    },
    Peer {
        name: "xcp-w4",
        label: "xcp -w4",
        needs: &[("xcp", "cargo install xcp")],
        line: &["xcp", "-r", "-o", "--no-progress", "-w", "4", "-T", "{s}", "{d}"],
        ..PLAIN
    },
    Peer {
        name: "syq",
        label: "syq rsync -a",
        needs: &[("syq", "cargo install syq")],
        line: &["syq", "rsync", "-a", "{s}/", "{d}/"],
        ..PLAIN
    },
    Peer {
        name: "floor-2x",
        label: "floor, 2 threads, xattrs",
        needs: OWN,
        line: &["{own}", "floor", "copy-xattrs", "2", "{s}", "{d}"],
        ..PLAIN
    },
    Peer {
        name: "floor-4",
        label: "floor, 4 threads",
        needs: OWN,
        line: &["{own}", "floor", "copy", "4", "{s}", "{d}"],
        ..PLAIN
    },
    Peer {
        name: "floor-16",
        label: "floor, 16 threads",
        needs: OWN,
        line: &["{own}", "floor", "copy", "16", "{s}", "{d}"],
        ..PLAIN
    },
    Peer {
        name: "scan-4",
        label: "floor scan, 4 threads",
        needs: OWN,
        line: &["{own}", "floor", "scan", "4", "{s}", "{d}"],
        made_by: Some("floor-4"),
        only_looks: true,
    },
    Peer {
        name: "scan-16",
        label: "floor scan, 16 threads",
        needs: OWN,
        line: &["{own}", "floor", "scan-listed", "16", "{s}", "{d}"],
        made_by: Some("floor-16"),
        only_looks: true,
    },
];

/// The peer of that name.
pub(crate) fn peer(name: &str) -> Outcome<&'static Peer> {
    let names = || PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
    PEERS.iter().find(|peer| peer.name == name).ok_or_else(|| format!("no peer {name:?}; there are {}", names()))
}

/// The programs that are not on the path.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) decamp: PathBuf,
    /// This program, unless it is only borrowed by a test.
    pub(crate) own: Option<PathBuf>,
}

impl Peer {
    /// What it needs and is not here, and how to get it.
    pub(crate) fn missing(&self, tools: &Tools) -> Option<String> {
        let absent = |program: &str| match program {
            "{own}" => tools.own.is_none(),
            _ => find(program).is_none(),
        };
        let (program, get) = self.needs.iter().find(|(program, _)| absent(program))?;
        Some(format!("{program} is not installed: {get}"))
    }

    /// The words of the command.
    pub(crate) fn command(&self, tools: &Tools, src: &Path, dst: &Path) -> Vec<OsString> {
        let own = tools.own.clone().unwrap_or_default();
        let values = [("{s}", src), ("{d}", dst), ("{decamp}", &*tools.decamp), ("{own}", &*own)];
        let fill = |word: &&str| {
            let filled = values.iter().fold((*word).to_owned(), |word, (key, value)| {
                // Places are made by this program and checked to be plain text.
                word.replace(key, &value.to_string_lossy())
            });
            OsString::from(filled)
        };
        let mut words: Vec<_> = self.line.iter().map(fill).collect();
        if let Some(program) = words[0].to_str().and_then(find) {
            words[0] = program.into();
        }
        words
    }
}

/// Where a program is: on the path, or where cargo installs.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let dirs = std::env::split_paths(&path).chain(cargo.or(home).map(|cargo| cargo.join("bin")));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}
