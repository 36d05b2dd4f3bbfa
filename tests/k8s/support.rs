//! Scripts that use a cluster, and what runs there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cluster::{Cluster, Namespace};
use crate::support::env::{Decamp, Ran};

/// A call in a fresh directory with `s.rhai`, where `k` is the cluster, with the namespace as the one that is meant.
pub(super) fn script(cluster: &Cluster, space: &Namespace<'_>, body: &str) -> Decamp {
    let opts = format!(r#"kubeconfig: "{}", namespace: "{}""#, cluster.kubeconfig().display(), space.name());
    with(&opts, body)
}

/// The same with other options of `k8s::connect`.
pub(super) fn with(opts: &str, body: &str) -> Decamp {
    let text = format!(
        "//! A test.\nfn params() {{ #{{}} }}\nfn run(p) {{\n{ATTEMPT}\nlet k = k8s::connect(#{{ {opts} }});\n{body}\n}}\n"
    );
    Decamp::new().file("s.rhai", text)
}

pub(super) fn run(call: &Decamp) -> Decamp {
    call.again().args(["run", "./s.rhai", "--output", "json"])
}

/// Runs it; what the script returned.
#[track_caller]
pub(super) fn result(call: &Decamp) -> serde_json::Value {
    let ran: Ran = run(call).run();
    ran.json()["result"].clone()
}

/// The kind and the words of what a closure fails with.
const ATTEMPT: &str = r#"let attempt = |f| {
    let said = "nothing";
    try { f.call(); } catch (e) { said = `${e.kind}: ${e.message}; ${e.causes}; ${e.hint}`; }
    said
};"#;

/// The same of a call.
pub(super) fn failing(call: &str) -> String {
    format!("attempt.call(|| {call})")
}

/// A shell that runs until it is ended.
const SLEEPS: &str = "trap exit TERM; while :; do sleep 1; done";

/// The specification of a pod that runs a line of a shell, with claims at `/NAME`.
fn spec(line: &str, claims: &[&str]) -> String {
    let each = |line: fn(&str) -> String| claims.iter().map(|name| line(name)).collect::<Vec<_>>().join(", ");
    format!(
        "{{terminationGracePeriodSeconds: 0, restartPolicy: RESTART, volumes: [{}], containers: [{{name: main, \
         image: 'decamp.test/busybox:1', command: [sh, -c, '{line}'], volumeMounts: [{}]}}]}}",
        each(|name| format!("{{name: {name}, persistentVolumeClaim: {{claimName: {name}}}}}")),
        each(|name| format!("{{name: {name}, mountPath: /{name}}}")),
    )
}

/// A pod that runs a line of a shell once.
pub(super) fn pod(name: &str, line: &str, claims: &[&str]) -> String {
    let spec = spec(line, claims).replace("RESTART", "Never");
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {spec}\n")
}

/// A pod that runs until it is ended.
pub(super) fn sleeper(name: &str, claims: &[&str]) -> String {
    pod(name, SLEEPS, claims)
}

/// A Deployment or another kind of workload of so many pods that run until they are ended.
pub(super) fn workload(kind: &str, name: &str, replicas: u32, claims: &[&str]) -> String {
    let spec = spec(SLEEPS, claims).replace("RESTART", "Always");
    format!(
        "---\napiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{replicas: {replicas}, selector: \
         {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {spec}}}}}\n"
    )
}

/// A Job that runs a line of a shell; `more` is of its specification.
pub(super) fn job(name: &str, line: &str, more: &str) -> String {
    let spec = spec(line, &[]).replace("RESTART", "Never");
    format!(
        "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec: {{{more}template: {{spec: {spec}}}}}\n"
    )
}

/// A claim of 16 MiB.
pub(super) fn claim(name: &str, class: &str) -> String {
    sized(name, class, "16Mi")
}

pub(super) fn sized(name: &str, class: &str, size: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {{storageClassName: {class}, \
         accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}\n"
    )
}

/// A kubeconfig beside the one of the cluster, of which texts are replaced.
pub(super) fn other(cluster: &Cluster, dir: &Path, replace: &[(&str, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    for (from, to) in replace {
        assert!(text.contains(from), "{from}\n{text}");
        text = text.replace(from, to);
    }
    let path = dir.join("kubeconfig");
    fs::write(&path, text).unwrap();
    path
}

/// The part of the kubeconfig that says who asks.
pub(super) fn user(cluster: &Cluster) -> String {
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    text.split_once("  user:\n").expect("the user of a kubeconfig").1.to_owned()
}

/// The line of the kubeconfig that says where the server is, without its key.
pub(super) fn server(cluster: &Cluster) -> String {
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    text.lines().find_map(|line| line.trim().strip_prefix("server: ")).expect("a server").to_owned()
}
