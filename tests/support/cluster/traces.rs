//! What there is of a cluster on the machine, and that nothing of it stays.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Cluster;
use super::own::is_over;

/// What a cluster has outside its namespaces while it runs.
pub(super) struct Traces {
    processes: Vec<u32>,
    namespaces: BTreeSet<PathBuf>,
    loops: Vec<Loop>,
    link: String,
    groups: String,
    pub(super) dir: PathBuf,
}

/// A loop device with the device and inode of what is behind it.
type Loop = (String, String, String);

fn loops() -> Vec<Loop> {
    let words = ["--list", "--noheadings", "--output", "NAME,BACK-MAJ:MIN,BACK-INO"];
    let output = Command::new("losetup").args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let fields =
        text.lines().filter_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().try_into().ok());
    fields.map(|[name, on, inode]: [String; 3]| (name, on, inode)).collect()
}

fn namespaces_of(pid: u32) -> Vec<PathBuf> {
    ["mnt", "net", "pid"].iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()).collect()
}

impl Traces {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let own = cluster.own();
        let processes: Vec<_> = own.processes().iter().map(|process| process.pid).collect();
        let here: BTreeSet<_> = namespaces_of(std::process::id()).into_iter().collect();
        let inside = processes.iter().copied().flat_map(namespaces_of);
        let namespaces = inside.filter(|name| !here.contains(name)).collect();
        let find = Command::new("find").arg(own.dir().join("volumes")).args(["-name", "*.img"]).output().unwrap();
        let images = String::from_utf8(find.stdout).unwrap();
        let inodes: Vec<_> = images.lines().map(|path| fs::metadata(path).unwrap().ino().to_string()).collect();
        let all = loops();
        let mut ours: Vec<Loop> = all.iter().filter(|(.., inode)| inodes.contains(inode)).cloned().collect();
        // A kubelet puts its own over a device that it hands out.
        let below: Vec<_> = ours.iter().map(|(name, ..)| fs::metadata(name).unwrap().ino().to_string()).collect();
        ours.extend(all.into_iter().filter(|(_, on, inode)| on.starts_with("0:") && below.contains(inode)));
        let id = fs::read_to_string(own.dir().join("id")).unwrap().trim().to_owned();
        let link = id.replace("decamp-", "dk");
        Self { processes, namespaces, loops: ours, link, groups: id, dir: own.dir().to_owned() }
    }

    fn groups(&self) -> Vec<PathBuf> {
        let all = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        all.map(|hierarchy| hierarchy.path().join(&self.groups)).filter(|path| path.exists()).collect()
    }

    fn has_link(&self) -> bool {
        Path::new("/sys/class/net").join(&self.link).exists()
    }

    pub(super) fn running(&self) -> Vec<u32> {
        let runs = |pid: &u32| !is_over(*pid) && namespaces_of(*pid).iter().any(|name| self.namespaces.contains(name));
        self.processes.iter().copied().filter(runs).collect()
    }

    /// It is as much as it was meant to be; else that nothing of it is left means nothing.
    #[track_caller]
    pub(super) fn assert_there(&self) {
        assert!(self.processes.len() > 20 && self.running().len() > 20, "{:?}", self.processes);
        // Of the cluster and of two nodes.
        assert!(self.namespaces.len() >= 9, "{:?}", self.namespaces);
        assert!(self.loops.len() >= 4, "{:?}", self.loops);
        assert!(self.has_link() && !self.groups().is_empty() && self.dir.exists());
    }

    #[track_caller]
    pub(super) fn assert_gone(&self) {
        assert_eq!(self.running(), Vec::<u32>::new());
        let left: Vec<_> = loops().into_iter().filter(|one| self.loops.contains(one)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.groups(), Vec::<PathBuf>::new());
        assert!(!self.has_link(), "{}", self.link);
        assert!(!self.dir.exists(), "{}", self.dir.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.dir.to_string_lossy()), "{mounts}");
        // Not even somebody who holds a namespace.
        for item in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = item.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if is_over(pid) {
                continue;
            }
            let held: Vec<_> = namespaces_of(pid).into_iter().filter(|name| self.namespaces.contains(name)).collect();
            assert_eq!(held, Vec::<PathBuf>::new(), "process {pid}");
        }
    }
}
