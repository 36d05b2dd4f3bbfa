//! What is measured: a tree, where it is, what is done with it, by whom, and what decamp must reach.

use super::place::Kind;
use super::tree::Tree;
use super::verdict::Must::{self, Memory, PerEntry, Ratio};
use super::{Outcome, peers};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Into an empty destination on a new file system.
    First,
    /// Again into the destination each made itself; nothing was changed.
    NoChange,
    /// The same; one file of a hundred was changed.
    Changed,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is called in tables, where size and number of what was copied stand beside it.
    pub(crate) title: &'static str,
    pub(crate) tree: Tree,
    /// The factors by which the tree is measured; more than one shows how time and memory grow.
    pub(crate) sizes: &'static [f64],
    pub(crate) place: Kind,
    pub(crate) phase: Phase,
    pub(crate) peers: &'static [&'static str],
    pub(crate) musts: &'static [Must],
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const SMALL: Tree = Tree::Small { files: 200_000, largest: 8 * KIB };
/// As behind a slow network there are fewer files: the slowest peer needs four minutes for these.
const FEW: Tree = Tree::Small { files: 18_000, largest: 8 * KIB };
/// Each file fills one block: the number of entries counts, not their size.
const MANY: Tree = Tree::Small { files: 1_850_000, largest: 2 * KIB };

const ONE: &[f64] = &[1.0];
const TENTH: &[f64] = &[0.1, 1.0];
const MILLISECOND: Kind = Kind::Latency(1000);

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "tmpfs-first",
        title: "tmpfs, small files, first copy",
        tree: SMALL,
        sizes: ONE,
        place: Kind::Tmpfs,
        phase: Phase::First,
        peers: &["decamp", "decamp-run", "floor-2x", "xcp-w4", "seed", "rsync-a", "cp-a", "rsync-aHAX", "syq"],
        musts: &[Ratio("cp-a", 0.33), Ratio("rsync-aHAX", 0.30), Ratio("floor-2x", 1.3)],
    },
    Scenario {
        name: "ext4-first",
        title: "ext4 cold, small files, first copy",
        tree: SMALL,
        sizes: ONE,
        place: Kind::Ext4,
        phase: Phase::First,
        peers: &["decamp", "floor-4", "xcp-w4", "syq", "seed", "rsync-a", "rsync-aHAX", "cp-a"],
        musts: &[Ratio("xcp-w4", 0.95), Ratio("rsync-a", 0.5)],
    },
    Scenario {
        name: "ext4-same",
        title: "ext4 cold, small files, nothing changed",
        tree: SMALL,
        sizes: ONE,
        place: Kind::Ext4,
        phase: Phase::NoChange,
        peers: &["decamp", "scan-4", "seed", "rsync-a", "rsync-aHAX"],
        musts: &[Ratio("seed", 0.60), Ratio("scan-4", 1.15)],
    },
    Scenario {
        name: "ext4-changed",
        title: "ext4 cold, small files, 1 % changed",
        tree: SMALL,
        sizes: ONE,
        place: Kind::Ext4,
        phase: Phase::Changed,
        peers: &["decamp", "seed", "rsync-a", "rsync-aHAX"],
        musts: &[Ratio("rsync-a", 0.65)],
    },
    Scenario {
        name: "latency-first",
        title: "1 ms per request, small files, first copy",
        tree: FEW,
        sizes: ONE,
        place: MILLISECOND,
        phase: Phase::First,
        peers: &["decamp", "floor-16", "syq", "xcp-w4", "seed"],
        musts: &[Ratio("seed", 0.18), Ratio("syq", 0.65), Ratio("floor-16", 1.1)],
    },
    Scenario {
        name: "latency-same",
        title: "1 ms per request, small files, nothing changed",
        tree: FEW,
        sizes: ONE,
        place: MILLISECOND,
        phase: Phase::NoChange,
        peers: &["decamp", "scan-16", "seed", "rsync-a"],
        musts: &[Ratio("seed", 0.12), Ratio("rsync-a", 0.05)],
    },
    Scenario {
        name: "mixed",
        title: "ext4 cold, files of all sizes, holes, first copy",
        tree: Tree::Mixed { files: 20_000, bytes: 4 * GIB },
        sizes: ONE,
        place: Kind::Ext4,
        phase: Phase::First,
        peers: &["decamp", "xcp-w4", "cp-a", "seed"],
        musts: &[Ratio("cp-a", 0.70), Ratio("xcp-w4", 0.95)],
    },
    Scenario {
        name: "big",
        title: "ext4 cold, one large file, first copy",
        tree: Tree::Big { bytes: 8 * GIB },
        sizes: ONE,
        place: Kind::Ext4,
        phase: Phase::First,
        peers: &["decamp", "cp-a", "xcp-w4", "rsync-a"],
        musts: &[Ratio("cp-a", 1.05), Ratio("xcp-w4", 0.65)],
    },
    Scenario {
        name: "many-first",
        title: "ext4 cold, very many files, first copy",
        tree: MANY,
        sizes: TENTH,
        place: Kind::Ext4,
        phase: Phase::First,
        peers: &["decamp"],
        musts: &[Memory(150 * MIB), PerEntry(1.2)],
    },
    Scenario {
        name: "many-same",
        title: "ext4 cold, very many files, nothing changed",
        tree: MANY,
        sizes: TENTH,
        place: Kind::Ext4,
        phase: Phase::NoChange,
        peers: &["decamp"],
        musts: &[Memory(150 * MIB), PerEntry(1.2)],
    },
    Scenario {
        name: "flat-first",
        title: "tmpfs, all files in one directory, first copy",
        tree: Tree::Flat { files: 500_000 },
        sizes: TENTH,
        place: Kind::Tmpfs,
        phase: Phase::First,
        peers: &["decamp", "cp-a", "rsync-aHAX"],
        musts: &[Memory(150 * MIB), PerEntry(1.2)],
    },
    Scenario {
        name: "flat-same",
        title: "tmpfs, all files in one directory, nothing changed",
        tree: Tree::Flat { files: 500_000 },
        sizes: TENTH,
        place: Kind::Tmpfs,
        phase: Phase::NoChange,
        peers: &["decamp", "rsync-aHAX"],
        musts: &[Memory(150 * MIB), PerEntry(1.2)],
    },
];

/// Those of these names, in the order above; all if none is named. The beginning of a name stands for all that begin so.
pub(crate) fn chosen(names: &[String]) -> Outcome<Vec<Scenario>> {
    for name in names {
        if !ALL.iter().any(|scenario| scenario.name.starts_with(&**name)) {
            return Err(format!("no scenario {name:?}; --list shows them"));
        }
    }
    let wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| scenario.name.starts_with(&**name));
    Ok(ALL.iter().filter(wanted).cloned().collect())
}

/// All of them with who takes part, for `--list`.
pub(crate) fn list() -> Outcome<String> {
    let mut text = String::new();
    for scenario in ALL {
        text.push_str(&format!("{:<14} {}\n", scenario.name, scenario.title));
        let labels = scenario.peers.iter().map(|name| peers::peer(name).map(|peer| format!("{name} ({})", peer.label)));
        text.push_str(&format!("{:<14} {}\n", "", labels.collect::<Outcome<Vec<_>>>()?.join(", ")));
    }
    Ok(text)
}
