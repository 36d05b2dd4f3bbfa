//! The cluster itself: its volumes, its faults, and that nothing of it stays.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::kubectl::until;
use super::own::scripts;
use super::traces::Traces;
use super::{Cluster, Driver, Namespace, Node, Piece};

const MINUTE: Duration = Duration::from_secs(60);

/// A claim of a class.
fn claim(name: &str, class: &str, size: &str) -> String {
    claim_as(name, class, size, "ReadWriteOnce", "Filesystem")
}

fn claim_as(name: &str, class: &str, size: &str, access: &str, mode: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  storageClassName: {class}\n  \
         accessModes: [{access}]\n  volumeMode: {mode}\n  resources: {{requests: {{storage: {size}}}}}\n"
    )
}

/// A pod that sleeps, with claims at `/NAME`, or at `/dev/NAME` for those of devices; on a node if one is named.
fn pod(name: &str, claims: &[&str], devices: &[&str], node: Option<Node>) -> String {
    let mut text = format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n");
    text += "  terminationGracePeriodSeconds: 0\n";
    if let Some(node) = node {
        text += &format!("  nodeSelector: {{kubernetes.io/hostname: {}}}\n", node.name());
    }
    let each = |claims: &[&str], line: fn(&str) -> String| claims.iter().map(|name| line(name)).collect::<String>();
    text += "  volumes:\n";
    text += &each(&[claims, devices].concat(), |name| {
        format!("  - {{name: {name}, persistentVolumeClaim: {{claimName: {name}}}}}\n")
    });
    text += "  containers:\n  - name: main\n    image: decamp.test/busybox:1\n";
    text += "    command: [sh, -c, \"trap exit TERM; while :; do sleep 1; done\"]\n    volumeMounts:\n";
    text += &each(claims, |name| format!("    - {{name: {name}, mountPath: /{name}}}\n"));
    text += "    volumeDevices:\n";
    text += &each(devices, |name| format!("    - {{name: {name}, devicePath: /dev/{name}}}\n"));
    text
}

/// The volume of a claim.
fn volume(namespace: &Namespace<'_>, claim: &str) -> String {
    namespace.kubectl(&["get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}"])
}

fn images(cluster: &Cluster) -> String {
    let mut names = String::new();
    for dir in ["local", "net"] {
        for item in fs::read_dir(cluster.own().dir().join("volumes").join(dir)).into_iter().flatten().flatten() {
            names += &item.file_name().to_string_lossy();
            names.push('\n');
        }
    }
    names
}

#[test]
fn a_pod_writes_to_volumes_of_every_class_which_go_with_their_claims() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let claims = ["wait", "now", "xfs", "net", "kept", "shared"];
    space.apply(
        &[
            claim("wait", "local-wait", "64Mi"),
            claim_as("raw", "local-wait", "64Mi", "ReadWriteOnce", "Block"),
            claim_as("netraw", "net-now", "32Mi", "ReadWriteOnce", "Block"),
            claim("xfs", "local-xfs", "300Mi"),
            claim("net", "net-now", "64Mi"),
            claim("kept", "net-wait", "16Mi"),
            claim_as("shared", "host-now", "16Mi", "ReadWriteMany", "Filesystem"),
        ]
        .concat(),
    );
    // An immediate volume that is bound to a node decides where the pod runs.
    space.apply(&claim("now", "local-now", "16Mi"));
    space.apply(&pod("writer", &claims, &["raw", "netraw"], None));
    space.ready("writer");

    for name in claims {
        space.sh("writer", &format!("echo hello >/{name}/file && sync && grep -q hello /{name}/file"));
    }
    let kinds = space.sh("writer", "grep -E ' /(wait|xfs|net) ' /proc/mounts | cut -d ' ' -f 2,3 | sort");
    assert_eq!(kinds, "/net ext4\n/wait ext4\n/xfs xfs\n");
    // Sizes are enforced.
    let full =
        space.try_kubectl(&["exec", "writer", "--", "dd", "if=/dev/zero", "of=/wait/full", "bs=1M", "count=100"]);
    assert!(!full.done && full.text.contains("No space left on device"), "{}", full.text);
    assert_eq!(
        space.sh("writer", "blockdev --getsize64 /dev/raw; blockdev --getsize64 /dev/netraw"),
        "67108864\n33554432\n"
    );
    space.sh("writer", "echo raw | dd of=/dev/raw conv=fsync 2>/dev/null; head -c 3 /dev/raw | grep -q raw");

    let volumes: Vec<_> = ["wait", "xfs", "net", "shared", "raw", "netraw"].map(|name| volume(&space, name)).into();
    let retained: Vec<_> = ["now", "kept"].map(|name| volume(&space, name)).into();
    space.kubectl(&["delete", "pod", "writer"]);
    space.kubectl(&["delete", "pvc", "--all"]);
    until("volume left", MINUTE, || {
        let left = cluster.kubectl(&["get", "pv", "-o", "name"]);
        !volumes.iter().any(|name| left.contains(name))
    });
    for name in &volumes {
        assert!(!images(&cluster).contains(name), "{name} is there yet");
    }
    for name in &retained {
        assert_eq!(cluster.kubectl(&["get", "pv", name, "-o", "jsonpath={.status.phase}"]), "Released");
        assert!(images(&cluster).contains(name), "{name} was to be kept");
        cluster.kubectl(&["delete", "pv", name]);
    }
}

#[test]
fn volumes_stay_on_their_node_or_move_one_node_at_a_time() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&[claim("local", "local-wait", "16Mi"), claim("net", "net-now", "16Mi")].concat());
    space.apply(&pod("first", &["local", "net"], &[], Some(Node::A)));
    space.ready("first");
    space.sh("first", "echo moved >/net/file; sync");
    let local = volume(&space, "local");
    let affinity = cluster.kubectl(&["get", "pv", &local, "-o", "jsonpath={.spec.nodeAffinity.required}"]);
    assert!(affinity.contains("node-a"), "{affinity}");
    // The node of the local volume is the only one; the attached one lets go of the first node first.
    space.apply(&pod("second", &["net"], &[], Some(Node::B)));
    space.apply(&pod("third", &["local"], &[], Some(Node::B)));
    until("word of the other node", MINUTE, || {
        space.kubectl(&["get", "events"]).contains("Multi-Attach error for volume")
    });
    until("word of the affinity", MINUTE, || {
        space.kubectl(&["get", "events"]).contains("didn't match PersistentVolume's node affinity")
    });
    space.kubectl(&["delete", "pod", "first"]);
    space.ready("second");
    assert_eq!(space.sh("second", "cat /net/file"), "moved\n");
}

#[test]
fn claims_that_cannot_be_met_say_why() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&claim_as("many", "net-now", "16Mi", "ReadWriteMany", "Filesystem"));
    space.apply(&claim("big", "local-now", "30Gi"));
    for words in ["a volume is used on one node at a time", "32212254720 bytes asked"] {
        until(words, MINUTE, || space.kubectl(&["get", "events"]).contains(words));
    }
}

/// A pod with a volume of each driver on a node, and the number of its first process out here.
fn running(space: &Namespace<'_>, node: Node) {
    space.apply(&[claim("local", "local-wait", "16Mi"), claim("net", "net-now", "16Mi")].concat());
    space.apply(&pod("main", &["local", "net"], &[], Some(node)));
    space.ready("main");
    space.sh("main", "echo before >/local/file; echo before >/net/file; sync");
}

fn container(space: &Namespace<'_>) -> String {
    space.kubectl(&["get", "pod", "main", "-o", "jsonpath={.status.containerStatuses[0].containerID}"])
}

/// The pod does what it is told again, soon.
fn answers(space: &Namespace<'_>) {
    let line = ["exec", "main", "--", "grep", "-q", "before", "/local/file", "/net/file"];
    until("answer of the pod", MINUTE, || space.try_kubectl(&line).done);
}

#[test]
fn a_frozen_api_server_answers_nothing_and_goes_on_afterwards() {
    let Some(cluster) = Cluster::alone() else { return };
    let space = cluster.namespace();
    running(&space, Node::A);
    let before = container(&space);
    cluster.freeze(Piece::ApiServer);
    assert!(!cluster.feed(&["get", "nodes"], "", 3).done, "a frozen one answers");
    std::thread::sleep(Duration::from_secs(5));
    cluster.thaw(Piece::ApiServer);
    answers(&space);
    assert_eq!(container(&space), before);
}

#[test]
fn pods_outlive_a_killed_kubelet_runtime_and_etcd() {
    let Some(cluster) = Cluster::alone() else { return };
    let space = cluster.namespace();
    running(&space, Node::B);
    let before = container(&space);
    for piece in [Piece::Kubelet(Node::B), Piece::Containerd(Node::B), Piece::Etcd, Piece::ApiServer] {
        cluster.kill(piece);
        assert_eq!(cluster.pid(piece), None, "{piece:?}");
        let line = ["-n", space.name(), "exec", "main", "--", "true"];
        assert!(!cluster.feed(&line, "", 5).done, "without {piece:?}");
        cluster.start(piece);
        answers(&space);
        assert_eq!(container(&space), before, "after {piece:?}");
    }
}

#[test]
fn volumes_outlive_a_killed_driver_and_node() {
    let Some(cluster) = Cluster::alone() else { return };
    let space = cluster.namespace();
    running(&space, Node::B);
    for piece in [Piece::Volumes(Node::B, Driver::Local), Piece::Volumes(Node::B, Driver::Net)] {
        cluster.kill(piece);
        answers(&space);
        cluster.start(piece);
    }
    for piece in [Piece::Controller(Driver::Net), Piece::Provisioner(Driver::Local), Piece::Attacher] {
        let old = cluster.pid(piece);
        cluster.kill(piece);
        until("new process", MINUTE, || cluster.pid(piece).is_some_and(|new| Some(new) != old));
    }
    cluster.kill(Piece::Node(Node::B));
    until("lost node", MINUTE, || {
        let status = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        cluster.kubectl(&["get", "node", "node-b", "-o", status]) == "Unknown"
    });
    cluster.start(Piece::Node(Node::B));
    answers(&space);
    // All of it works as before.
    space.kubectl(&["delete", "pod", "main"]);
    space.apply(&pod("main", &["local", "net"], &[], Some(Node::B)));
    space.ready("main");
    answers(&space);
}

/// Another cluster beside the shared one, with a file system and a device in use.
fn busy() -> Option<(Cluster, Traces)> {
    let cluster = Cluster::another()?;
    let space = cluster.namespace();
    space.apply(&[claim("local", "local-wait", "16Mi"), claim("net", "net-now", "16Mi")].concat());
    space.apply(&claim_as("raw", "local-wait", "16Mi", "ReadWriteOnce", "Block"));
    space.apply(&pod("main", &["local", "net"], &["raw"], None));
    space.ready("main");
    let traces = Traces::of(&cluster);
    traces.assert_there();
    // Its namespace is to be there when the cluster ends.
    std::mem::forget(space);
    Some((cluster, traces))
}

#[test]
fn nothing_is_left_of_a_cluster() {
    let Some((cluster, traces)) = busy() else { return };
    // What happens when a test process is killed, too: the input of the holder ends.
    drop(cluster);
    traces.assert_gone();
}

#[test]
fn nothing_is_left_of_a_cluster_whose_holder_was_killed() {
    let Some((mut cluster, traces)) = busy() else { return };
    let holder = cluster.own.as_mut().unwrap().holder();
    holder.kill().unwrap();
    holder.wait().unwrap();
    until("end of its processes", MINUTE, || traces.running().is_empty());
    let down = Command::new(scripts().join("down")).arg(&traces.dir).output().unwrap();
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    traces.assert_gone();
}
