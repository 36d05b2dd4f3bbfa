//! Two clouds with a volume in the first, and the script that moves it.

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use crate::support::env::{Decamp, Ran};
use crate::support::openstack::{Client, Cloud, Metal, same_content};
use crate::support::rust::repository;

/// Bytes of what is called a GiB: all of a volume is read and written several times.
pub(super) const UNIT: u64 = 1 << 20;
/// How many of them the volume has.
pub(super) const GIB: u64 = 8;

pub(super) struct World {
    pub(super) src: Cloud,
    pub(super) dst: Cloud,
    pub(super) metal: Arc<Metal>,
    pub(super) client: Client,
    pub(super) call: Decamp,
    /// Id of the volume that moves.
    pub(super) volume: String,
}

impl World {
    /// `None`, and *skipped* said, where servers and devices cannot be made or no client is installed.
    pub(super) fn new() -> Option<Self> {
        let metal = Arc::new(Metal::new(UNIT)?);
        let [src, dst] = ["iad1", "iad2"].map(|name| Cloud::start(name, Arc::<Metal>::clone(&metal)));
        let client = Client::new(&[&src, &dst])?;
        let volume = src.plant("data", GIB);
        fill(&metal, &volume);
        // The script as it is shipped, but for the size of a GiB.
        let text = fs::read_to_string(repository().join("scripts/openstack-volume.rhai")).unwrap();
        assert!(text.contains("1073741824"));
        let call = Decamp::new().file("openstack-volume.rhai", text.replace("1073741824", &UNIT.to_string()));
        let call = client.env().into_iter().fold(call, |call, (name, value)| call.env(name, value));
        Some(Self { src, dst, metal, client, call, volume })
    }

    /// `decamp run openstack-volume` with everything it needs.
    pub(super) fn start(&self) -> Decamp {
        let args = [
            "run",
            "./openstack-volume.rhai",
            "--src-cloud",
            "iad1",
            "--dst-cloud",
            "iad2",
            "--flavor",
            "small",
            "--image",
            "linux",
            "--network",
            "net",
            "--security-group",
            "ssh",
            "--poll",
            "20ms",
            "--volume",
        ];
        self.call.again().args(args.into_iter().map(OsString::from)).arg(&self.volume)
    }

    /// The same, where nothing is waited for longer than it takes on a machine that has much to do.
    pub(super) fn start_in_haste(&self) -> Decamp {
        self.start().args(["--timeout", "15s"])
    }

    /// What is wrong after a run that has moved the volume.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = self.leftovers();
        let made: Vec<String> = self.dst.state().volumes.keys().cloned().collect();
        match made.as_slice() {
            [made] => {
                if !same_content(&self.metal.image(&self.volume), &self.metal.image(made), GIB * UNIT) {
                    wrong.push("the volumes differ".into());
                }
                if self.dst.state().volumes[made].status.now != "available" {
                    wrong.push(format!("the new volume is {}", self.dst.state().volumes[made].status.now));
                }
            }
            other => wrong.push(format!("{} volumes in the destination's cloud", other.len())),
        }
        wrong
    }

    /// What is wrong after a run that was undone.
    pub(super) fn not_undone(&self) -> Vec<String> {
        let mut wrong = self.leftovers();
        if !self.dst.state().volumes.is_empty() {
            wrong.push("the new volume is still there".into());
        }
        wrong
    }

    /// What neither may leave.
    fn leftovers(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for cloud in [&self.src, &self.dst] {
            let state = cloud.state();
            let made = state.servers.values().filter(|server| server.name.starts_with("decamp-"));
            wrong.extend(made.map(|server| format!("server {} is left", server.name)));
            wrong.extend(state.key_pairs.keys().map(|name| format!("key pair {name} is left")));
        }
        let state = self.src.state();
        let volume = &state.volumes[&self.volume];
        if volume.read_only {
            wrong.push("the source is read-only".into());
        }
        if volume.status.now != "available"
            && volume.attachments.iter().any(|at| state.servers[&at.server].name.starts_with("decamp-"))
        {
            wrong.push(format!("the source is {}", volume.status.now));
        }
        // The source is what it was.
        if !same_content(
            &self.metal.image(&self.volume),
            &self.metal.image(&self.volume).with_extension("was"),
            GIB * UNIT,
        ) {
            wrong.push("the source was written to".into());
        }
        wrong
    }
}

/// A file system with something in it.
fn fill(metal: &Metal, volume: &str) {
    let image = metal.image(volume);
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("report"), "figures\n".repeat(5_000)).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(tree.path()).arg(&image).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::copy(&image, image.with_extension("was")).unwrap();
}

/// Runs it to its end, whatever that is.
pub(super) fn ended(call: Decamp) -> Ran {
    call.spawn().wait()
}
