//! Who uses a claim, and who keeps an object as it is.

use serde_json::json;

use super::support::{claim, job, pod, result, script, sleeper, workload};
use crate::support::cluster::Cluster;

#[test]
fn a_claim_is_held_by_every_pod_that_names_it_until_that_is_deleted() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let ends = pod("ended", "true", &["data"]);
    let reads = sleeper("reads", &["data"]).replace("mountPath: /data", "mountPath: /data, readOnly: true");
    // No node has this, so that it never gets one.
    let nowhere = sleeper("nowhere", &["data"]).replace("spec: {", "spec: {nodeSelector: {no: node}, ");
    let own = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: \
               'decamp.test/busybox:1', command: [sleep, '1000']}], volumes: [{name: data, ephemeral: {volumeClaimTemplate: {spec: \
               {storageClassName: host-now, accessModes: [ReadWriteMany], resources: {requests: {storage: 1Mi}}}}}}]}\n";
    space.apply(
        &[claim("data", "host-now"), claim("free", "host-now"), ends, reads, nowhere, sleeper("other", &[])].concat(),
    );
    space.apply(&[workload("Deployment", "web", 1, &["data"]), own.to_owned()].concat());
    let body = r#"k.wait("deploy/web", "ready", #{ timeout: "2m" });
        k.wait("pod/reads", "ready", #{ timeout: "1m" });
        k.wait("pod/ended", |pod| pod.status.phase == "Succeeded", #{ timeout: "1m" });
        let held = k.holders("pvc/data");
        held.sort(|a, b| if a.name < b.name { -1 } else { 1 });
        let keys = held[0].keys(); keys.sort();
        #{ held: held.map(|pod| [pod.name, pod.phase, pod.read_only, pod.owner, pod.deleting, pod.node == ()]), keys: keys,
           free: k.holders("pvc/free"), own: k.holders("pvc/own-data").map(|pod| pod.name) }"#;
    let seen = result(&script(&cluster, &space, body));
    let web = seen["held"][3][0].as_str().unwrap();
    assert!(web.starts_with("pods/web-"), "{web}");
    let expected = json!([
        ["pods/ended", "Succeeded", false, null, false, false],
        ["pods/nowhere", "Pending", false, null, false, true],
        ["pods/reads", "Running", true, null, false, false],
        [web, "Running", false, "deployments.apps/web", false, false],
    ]);
    assert_eq!(seen["held"], expected);
    assert_eq!(seen["keys"], json!(["deleting", "name", "node", "owner", "phase", "read_only", "uid"]));
    assert_eq!((&seen["free"], &seen["own"]), (&json!([]), &json!(["pods/own"])));
}

#[test]
fn the_owner_is_the_controller_at_the_top() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&[workload("Deployment", "web", 1, &[]), sleeper("alone", &[])].concat());
    let cron = job("x", "true", "").replace("---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: ", "");
    space.apply(&format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: nightly}}\nspec: {{schedule: '0 3 * * *', jobTemplate: {{spec: {}}}}}\n",
        cron.trim()
    ));
    space.kubectl(&["create", "job", "tonight", "--from=cronjob/nightly"]);
    // One that names a controller which is not there, and one that has an owner of no other meaning.
    let uid = space.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.metadata.uid}"]);
    let map = |name: &str, uid: &str, controller: bool| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, \
             name: web, uid: {uid}, controller: {controller}}}]}}\n"
        )
    };
    space.apply(&map("goes", &uid, false));
    let body = r#"let web = k.wait("deploy/web", "ready", #{ timeout: "2m" });
        let pod = k.list("pods", #{ labels: "app=web" })[0].metadata.name;
        let of = k.owner(`pod/${pod}`);
        let keys = of.keys(); keys.sort();
        let night = k.owner("job/tonight");
        #{ of: [of.name, of.kind, of.api_version, of.namespace, of.uid == web.metadata.uid, of.scales], chain: of.chain,
           keys: keys, night: [night.name, night.scales, night.chain],
           none: [k.owner("pod/alone"), k.owner("deploy/web"), k.owner("cm/goes")] }"#;
    let seen = result(&script(&cluster, &space, body));
    assert_eq!(seen["of"], json!(["deployments.apps/web", "Deployment", "apps/v1", space.name(), true, true]));
    assert_eq!(seen["chain"].as_array().unwrap().len(), 2);
    assert!(seen["chain"][0].as_str().unwrap().starts_with("replicasets.apps/web-"));
    assert_eq!(seen["keys"], json!(["api_version", "chain", "kind", "name", "namespace", "scales", "uid"]));
    assert_eq!(seen["night"], json!(["cronjobs.batch/nightly", false, ["cronjobs.batch/nightly"]]));
    assert_eq!(seen["none"], json!([null, null, null]));
}
