//! Waiting, and why it came to nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{claim, failing, job, pod, result, run, script, sized, sleeper, workload};
use crate::support::cluster::Cluster;

#[test]
fn what_comes_is_waited_for_and_given() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space
        .apply(&[claim("data", "local-wait"), workload("StatefulSet", "db", 2, &[]), job("once", "true", "")].concat());
    space.apply(&sleeper("web", &["data"]));
    let body = r#"let t = #{ timeout: "2m" };
        let pod = k.wait("pod/web", "condition=Ready", t);
        let bound = k.wait("pvc/data", "ready", t);
        [pod.kind, bound.status.phase, k.wait("sts/db", "ready", t).status.readyReplicas, k.wait("job/once", "ready", t).kind,
         k.wait("pod/web", "exists", t).kind, k.wait("node/node-a", "ready", t).kind, k.wait("pod/none", "gone", t),
         k.wait(`pv/${bound.spec.volumeName}`, |pv| pv.spec.claimRef.name == "data", t).kind]"#;
    let seen = result(&script(&cluster, &space, body));
    assert_eq!(seen, json!(["Pod", "Bound", 2, "Job", "Pod", "Node", null, "PersistentVolume"]));
}

#[test]
fn another_object_of_the_name_does_not_keep_the_first_from_being_gone() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [decamp.test/held]}\n");
    space.kubectl(&["delete", "cm", "held", "--wait=false"]);
    let late = failing(r#"k.wait("cm/held", "gone", #{ timeout: "1s" })"#);
    let seen = result(&script(&cluster, &space, &late));
    assert!(seen.as_str().unwrap().contains("timeout: configmaps/held of namespace"), "{seen}");
    assert!(seen.as_str().unwrap().contains("was not gone within 1.0 s: it is held by decamp.test/held"), "{seen}");
    let call = script(&cluster, &space, r#"k.wait("cm/held", "gone", #{ timeout: "1m" })"#);
    let running = run(&call).spawn();
    // It has seen the first one by then.
    std::thread::sleep(Duration::from_secs(3));
    space.kubectl(&["patch", "cm", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held}\n");
    assert_eq!(running.wait().status, 0);
}

#[test]
fn a_wait_that_came_to_nothing_says_how_it_is_and_what_happened() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let image = sleeper("unpulled", &[]).replace("decamp.test/busybox:1", "decamp.test/none:1");
    let nowhere = sleeper("nowhere", &[]).replace("spec: {", "spec: {nodeSelector: {no: node}, ");
    space.apply(
        &[sized("big", "net-now", "30Gi"), image, nowhere, workload("Deployment", "web", 1, &["none"])].concat(),
    );
    let wait = |name: &str| failing(&format!(r#"k.wait("{name}", "ready", #{{ timeout: "8s" }})"#));
    let body =
        format!("[{}, {}, {}, {}]", wait("pvc/big"), wait("pod/unpulled"), wait("pod/nowhere"), wait("deploy/web"));
    let seen = result(&script(&cluster, &space, &body));
    let words = [
        &[
            "timeout: persistentvolumeclaims/big of namespace",
            "was not ready within 8.0 s: it is Pending",
            "ProvisioningFailed: ",
            "asked",
        ][..],
        &["was not ready within 8.0 s: it is Pending; container main: ", "ImagePull", "event: Warning Failed"],
        &["it is Pending; Unschedulable: 0/2 nodes are available", "event: Warning FailedScheduling"],
        &["availableReplicas is 0 of 1"],
    ];
    for (at, words) in words.iter().enumerate() {
        for word in *words {
            assert!(seen[at].as_str().unwrap().contains(word), "{word}: {}", seen[at]);
        }
    }
}

#[test]
fn what_can_never_come_is_not_waited_for() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(
        &[job("fails", "exit 3", "backoffLimit: 0, "), pod("failed", "exit 4", &[]), pod("ended", "true", &[])]
            .concat(),
    );
    let wait = |name: &str| failing(&format!(r#"k.wait("{name}", "ready", #{{ timeout: "100s" }})"#));
    let start = Instant::now();
    let body = format!("[{}, {}, {}]", wait("job/fails"), wait("pod/failed"), wait("pod/ended"));
    let seen = result(&script(&cluster, &space, &body));
    assert!(start.elapsed() < Duration::from_secs(90));
    let words = [
        "remote_failed: jobs.batch/fails of namespace",
        "will never be ready: it has failed; container main: Error with code 4",
        "will never be ready: it has ended",
    ];
    for (at, word) in words.iter().enumerate() {
        assert!(seen[at].as_str().unwrap().contains(word), "{word}: {}", seen[at]);
    }
    assert!(seen[0].as_str().unwrap().contains("BackoffLimitExceeded"), "{seen}");
}

#[test]
fn a_plan_looks_once() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&claim("data", "local-wait"));
    let body = r#"note("is", k.wait("pvc/data", "exists", #{ timeout: "90s" }).kind);
        note("will", `${k.wait("pvc/data", "ready", #{ timeout: "90s" })}`);"#;
    let call = script(&cluster, &space, body);
    let start = Instant::now();
    call.again().args(["plan", "./s.rhai"]).stdout_has("PersistentVolumeClaim").stdout_has("<known after run>").run();
    assert!(start.elapsed() < Duration::from_secs(60));
}
