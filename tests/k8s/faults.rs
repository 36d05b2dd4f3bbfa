//! A cluster that is away for a while.

use std::time::Duration;

use serde_json::json;

use super::support::{failing, result, run, script, with};
use crate::support::cluster::{Cluster, Piece, until};

#[test]
fn a_read_goes_on_when_the_server_is_back() {
    let Some(cluster) = Cluster::alone() else { return };
    let space = cluster.namespace();
    let call = script(
        &cluster,
        &space,
        r#"k.list("cm"); step("begun", || host::local().write("begun", "")); k.list("cm").len() > 0"#,
    );
    let begun = call.dir().join("begun");
    cluster.kill(Piece::ApiServer);
    let running = run(&call).spawn();
    std::thread::sleep(Duration::from_secs(3));
    assert!(!begun.exists());
    cluster.start(Piece::ApiServer);
    let ran = running.wait();
    assert_eq!((ran.status, &ran.json()["result"]), (0, &json!(true)), "{ran:?}");
    assert!(begun.exists());
}

#[test]
fn a_wait_goes_on_when_the_server_is_back() {
    let Some(cluster) = Cluster::alone() else { return };
    let space = cluster.namespace();
    let opts =
        format!(r#"kubeconfig: "{}", namespace: "{}", timeout: "10s""#, cluster.kubeconfig().display(), space.name());
    let call = with(
        &opts,
        r#"k.get("cm/kube-root-ca.crt"); step("begun", || host::local().write("begun", ""));
           k.wait("cm/late", "exists", #{ timeout: "2m" }).kind"#,
    );
    let begun = call.dir().join("begun");
    let running = run(&call).spawn();
    until("the first read", Duration::from_secs(60), || begun.exists());
    cluster.freeze(Piece::ApiServer);
    // Longer than a request may take.
    std::thread::sleep(Duration::from_secs(15));
    cluster.thaw(Piece::ApiServer);
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\n");
    let ran = running.wait();
    assert_eq!((ran.status, &ran.json()["result"]), (0, &json!("ConfigMap")), "{ran:?}");
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_longer_than_was_said() {
    let Some(cluster) = Cluster::alone() else { return };
    let space = cluster.namespace();
    let opts = format!(r#"kubeconfig: "{}", timeout: "2s""#, cluster.kubeconfig().display());
    let call = with(&opts, &failing(r#"k.get("node/node-a")"#));
    cluster.freeze(Piece::ApiServer);
    let ran = run(&call).spawn().wait();
    // A run that is asked to stop does not wait for the server either.
    let opts = format!(r#"kubeconfig: "{}", timeout: "10m""#, cluster.kubeconfig().display());
    let stops = with(&opts, r#"k.get("node/node-a")"#);
    let running = run(&stops).spawn();
    std::thread::sleep(Duration::from_secs(2));
    running.signal(rustix::process::Signal::INT);
    let start = std::time::Instant::now();
    let stopped = running.wait();
    let took = start.elapsed();
    cluster.thaw(Piece::ApiServer);
    assert!(ran.json()["result"].as_str().unwrap().contains("timeout: the cluster at https://"), "{ran:?}");
    assert!(ran.json()["result"].as_str().unwrap().contains("did not answer within 2.0 s"), "{ran:?}");
    assert_eq!(stopped.status, 130, "{stopped:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(space);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    // A port of this machine that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let opts = format!(r#"kubeconfig: "{}", timeout: "1s""#, path.display());
    let call = with(&opts, r#"k.get("node/x")"#);
    let server = format!("http://127.0.0.1:{port}");
    call.again().args(["run", "./s.rhai"]).status(4).stderr_has(&server).stderr_has("Connection refused").run();
    let seen = result(&with(&opts, &failing(r#"k.version()"#)).again().file("x", ""));
    assert!(
        seen.as_str().unwrap().starts_with(&format!("unreachable: cannot reach the cluster at {server}")),
        "{seen}"
    );
}
