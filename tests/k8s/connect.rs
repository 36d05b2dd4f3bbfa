//! The ways to a cluster.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::support::{failing, other, result, run, script, server, user, with};
use crate::support::cluster::Cluster;
use crate::support::skip::needs_root;

#[test]
fn a_cluster_says_which_it_is_and_the_run_keeps_it() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let uid = cluster.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]);
    let body = r#"let v = k.version(); let keys = v.keys(); keys.sort(); [v.server, v.uid, v.url, keys, `${k}`]"#;
    let call = script(&cluster, &space, body);
    let expected = json!(["v1.34.4", uid, server(&cluster), ["platform", "server", "uid", "url"], "current context"]);
    let ran = run(&call).run().json();
    assert_eq!(ran["result"], expected);
    let log = call.again().args(["log", ran["run"].as_str().unwrap(), "--output", "ndjson"]).run();
    let told: Vec<_> =
        log.stdout.lines().filter(|line| line.contains("cluster.connected")).map(str::to_owned).collect();
    assert!(told.len() == 1 && told[0].contains(&uid), "{told:?}");
}

#[test]
fn contexts_mean_several_clusters_in_one_script() {
    let Some(cluster) = Cluster::ours() else { return };
    let (space, beside) = (cluster.namespace(), cluster.namespace());
    let dir = tempfile::tempdir().unwrap();
    let context = |name: &str, space: &str| {
        format!("- name: {name}\n  context: {{cluster: decamp-test, user: admin, namespace: {space}}}\n")
    };
    let both = format!("contexts:\n{}{}", context("one", space.name()), context("two", beside.name()));
    let config = other(
        &cluster,
        dir.path(),
        &[("contexts:\n", &both), ("current-context: decamp-test", "current-context: one")],
    );
    for (space, name) in [(&space, "here"), (&beside, "there")] {
        space.kubectl(&["create", "configmap", "which", &format!("--from-literal=name={name}")]);
    }
    let body = r#"let two = k8s::connect(#{ context: "two" });
        let named = k8s::connect(#{ context: "two", namespace: "HERE" });
        [k.get("cm/which").data.name, two.get("cm/which").data.name, named.get("cm/which").data.name, `${two}`,
         FAILS]"#;
    let fails = failing(r#"k8s::connect(#{ context: "three" }).version()"#);
    let body = body.replace("HERE", space.name()).replace("FAILS", &fails);
    // As kubectl does, of several files those that are there.
    let list = format!("/nowhere/kubeconfig:{}", config.display());
    let seen = result(&with("", &body).env("KUBECONFIG", list));
    assert_eq!(seen.as_array().unwrap()[..4], json!(["here", "there", "here", "two"]).as_array().unwrap()[..]);
    for words in ["not_found: the kubeconfig of $KUBECONFIG", "has no context `three`", "it has: one, two, decamp-test"]
    {
        assert!(seen[4].as_str().unwrap().contains(words), "{words}: {}", seen[4]);
    }
    // In the home directory.
    let call = with("", r#"k.get("cm/which").data.name"#);
    let home = call.dir().parent().unwrap().join("home/.kube");
    fs::create_dir_all(&home).unwrap();
    fs::copy(&config, home.join("config")).unwrap();
    assert_eq!(result(&call), "here");
}

#[test]
fn without_a_usable_kubeconfig_it_says_so() {
    let seen = result(&with("", &failing("k.version()")));
    assert!(seen.as_str().unwrap().starts_with("not_found: there is no kubeconfig"), "{seen}");
    let missing = result(&with(r#"kubeconfig: "/nowhere/config""#, &failing("k.version()")));
    let words = "invalid: the kubeconfig `/nowhere/config` cannot be used";
    assert!(missing.as_str().unwrap().starts_with(words), "{missing}");
    let call = with(r#"kubeconfig: "broken""#, &failing("k.version()")).file("broken", "contexts: [");
    let broken = result(&call);
    assert!(broken.as_str().unwrap().starts_with("invalid: the kubeconfig `"), "{broken}");
}

#[test]
fn a_server_with_another_certificate_is_not_believed() {
    let Some(cluster) = Cluster::ours() else { return };
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let own = text.lines().find(|line| line.contains("certificate-authority-data")).unwrap();
    // The authority of somebody else, which is one as well.
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=other",
            "-keyout",
            "/dev/null",
        ])
        .output()
        .unwrap();
    fs::write(dir.path().join("ca"), made.stdout).unwrap();
    let path = format!("    certificate-authority: {}", dir.path().join("ca").display());
    let config = other(&cluster, dir.path(), &[(own, &path)]);
    let seen = result(&with(&format!(r#"kubeconfig: "{}""#, config.display()), &failing("k.version()")));
    let text = seen.as_str().unwrap();
    assert!(text.starts_with("denied: the cluster at https://") && text.contains("cannot be trusted"), "{text}");
}

#[test]
fn a_plugin_logs_in_and_takes_nothing_of_what_is_typed() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.kubectl(&["create", "serviceaccount", "plugin"]);
    let token = space.kubectl(&["create", "token", "plugin"]);
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("plugin");
    let said = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token } });
    fs::write(&plugin, format!("#!/bin/sh\ncat >\"$TAKEN\"\ncat <<'END'\n{said}\nEND\n")).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let taken = dir.path().join("taken");
    let exec = |command: &str| {
        format!(
            "    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: {command}\n      interactiveMode: IfAvailable\n      \
             env: [{{name: TAKEN, value: {}}}]\n",
            taken.display()
        )
    };
    let config = other(&cluster, dir.path(), &[(&user(&cluster), &exec(&plugin.display().to_string()))]);
    let opts = format!(r#"kubeconfig: "{}", namespace: "{}""#, config.display(), space.name());
    let call = with(
        &opts,
        &format!(
            r#"[k.can_i("create", "selfsubjectaccessreviews.authorization.k8s.io"), {}]"#,
            failing(r#"k.get("cm/x")"#)
        ),
    );
    let ran = run(&call).stdin("typed").run().json();
    assert_eq!(ran["result"][0], true);
    assert!(ran["result"][1].as_str().unwrap().contains(":plugin"), "{}", ran["result"]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "");
    let config = other(&cluster, dir.path(), &[(&user(&cluster), &exec("/nowhere/plugin"))]);
    let seen = result(&with(&format!(r#"kubeconfig: "{}""#, config.display()), &failing("k.version()")));
    assert!(seen.as_str().unwrap().starts_with("denied: cannot log in to the cluster at https://"), "{seen}");
    assert!(seen.as_str().unwrap().contains("/nowhere/plugin"), "{seen}");
}

/// A proxy that counts whom it lets through.
fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut lines = BufReader::new(client.try_clone().unwrap());
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                let target = line.split(' ').nth(1).unwrap().to_owned();
                while line.trim() != "" {
                    line.clear();
                    lines.read_line(&mut line).unwrap();
                }
                let far = TcpStream::connect(target).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut up, mut down) = (far.try_clone().unwrap(), client.try_clone().unwrap());
                let back = std::thread::spawn(move || {
                    std::io::copy(&mut &far, &mut down).ok();
                    down.shutdown(Shutdown::Both).ok();
                });
                std::io::copy(&mut lines, &mut up).ok();
                up.shutdown(Shutdown::Both).ok();
                back.join().ok();
            });
        }
    });
    (format!("http://{address}"), count)
}

#[test]
fn a_proxy_of_the_kubeconfig_is_gone_through() {
    let Some(cluster) = Cluster::ours() else { return };
    let (proxy, count) = proxy();
    let dir = tempfile::tempdir().unwrap();
    let line = format!("    server: {}\n", server(&cluster));
    let config = other(&cluster, dir.path(), &[(&line, &format!("{line}    proxy-url: {proxy}\n"))]);
    let opts = format!(r#"kubeconfig: "{}""#, config.display());
    assert_eq!(result(&with(&opts, "k.version().server")), "v1.34.4");
    assert!(count.load(Ordering::SeqCst) > 0);
}

#[test]
fn in_a_pod_its_own_account_is_used() {
    let Some(cluster) = Cluster::ours() else { return };
    if !needs_root("a directory of its own at /run") {
        return;
    }
    let space = cluster.namespace();
    let dir = tempfile::tempdir().unwrap();
    let token = space.kubectl(&["create", "token", "default"]);
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let data = text.lines().find_map(|line| line.trim().strip_prefix("certificate-authority-data: ")).unwrap();
    let call = with("", &format!(r#"[k.version().server, {}]"#, failing(r#"k.get("cm/x")"#)))
        .file("account/token", token)
        .file("account/namespace", space.name())
        .file("account/ca.base64", data);
    drop(dir);
    let address = server(&cluster).strip_prefix("https://").unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let line = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io && cp -r account /run/secrets/kubernetes.io/serviceaccount && \
                base64 -d account/ca.base64 >/run/secrets/kubernetes.io/serviceaccount/ca.crt && exec \"$0\" run ./s.rhai --output json";
    let inside = call
        .again()
        .program("unshare")
        .args(["--mount", "sh", "-ec", line])
        .arg(crate::support::env::program())
        .env("KUBERNETES_SERVICE_HOST", host)
        .env("KUBERNETES_SERVICE_PORT", port);
    let seen = inside.run().json()["result"].clone();
    assert_eq!(seen[0], "v1.34.4");
    let words = format!("system:serviceaccount:{}:default", space.name());
    assert!(seen[1].as_str().unwrap().contains(&words), "{seen}");
}
