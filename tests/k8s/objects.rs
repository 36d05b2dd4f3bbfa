//! Objects, their logs and events, and what is allowed.

use serde_json::json;

use super::support::{claim, failing, other, pod, result, script, sleeper, user, with, workload};
use crate::support::cluster::Cluster;

#[test]
fn an_object_is_found_by_every_name_that_kubectl_takes() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&workload("Deployment", "web", 0, &[]));
    let names = ["deploy/web", "deployments/web", "Deployment/web", "deployments.apps/web", "deploy.v1.apps/web"];
    let uid = space.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.metadata.uid}"]);
    for name in names {
        let body = format!(
            r#"let o = k.get("{name}"); [o.metadata.uid, o.apiVersion, o.kind, o.metadata.get("managedFields")]"#
        );
        assert_eq!(result(&script(&cluster, &space, &body)), json!([uid, "apps/v1", "Deployment", null]), "{name}");
    }
    // What is in no namespace, and a namespace that is named.
    let body = format!(
        r#"[k.get("sc/net-now", #{{ namespace: "x" }}).provisioner, k.get("deploy/web", #{{ namespace: "{}" }}).kind,
            k.get("deploy/none", #{{ optional: true }}), k.get("deploy/web", #{{ namespace: "kube-system", optional: true }})]"#,
        space.name()
    );
    assert_eq!(result(&script(&cluster, &space, &body)), json!(["net.decamp.test", "Deployment", null, null]));
    // A type that comes while the script runs.
    let body = r#"let none = attempt.call(|| k.get("gadgets/x"));
        step("crd", || host::local().exec(["kubectl", "apply", "-f", "crd.yaml"]));
        k.wait("crd/gadgets.decamp.test", "condition=Established", #{ timeout: "30s" });
        wait_until("served", #{ timeout: "30s", every: "200ms" }, || attempt.call(|| k.list("gadgets")) == "nothing");
        [none, k.get("gd/x", #{ optional: true })]"#;
    let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: gadgets.decamp.test}\nspec: {group: decamp.test, \
               scope: Namespaced, names: {plural: gadgets, singular: gadget, kind: Gadget, shortNames: [gd]}, versions: \
               [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}\n";
    let kubectl = cluster.program();
    let path = format!("{}:{}", kubectl.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let call =
        script(&cluster, &space, body).file("crd.yaml", crd).env("PATH", path).env("KUBECONFIG", cluster.kubeconfig());
    let seen = result(&call);
    cluster.kubectl(&["delete", "crd", "gadgets.decamp.test"]);
    assert!(seen[0].as_str().unwrap().contains("has no resource type `gadgets`"), "{seen}");
    assert!(seen[1].is_null());
}

#[test]
fn what_is_not_there_is_named() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let cases = [
        (r#"k.get("deploy/none")"#, "not_found: there is no deployments.apps/none of namespace decamp-test-"),
        (r#"k.get("deploymant/x")"#, "did you mean `deployment"),
        (r#"k.get("web")"#, "invalid: `web` does not name an object"),
        (r#"k.list("pods/x")"#, "cluster.get gives one object"),
        (r#"k.list("pods", #{ labels: "((" })"#, "invalid: cannot list `pods` of namespace"),
        (r#"k.logs("deploy/x")"#, "invalid: `deployments.apps/x` is not a pod"),
        (r#"k.logs("pod/x")"#, "not_found: cannot read the log of `pods/x"),
        (r#"k.holders("pod/x")"#, "invalid: `pods/x` is not a claim"),
        (r#"k.holders("pvc/x")"#, "not_found: there is no persistentvolumeclaims/x"),
        (r#"k.owner("pod/x")"#, "not_found: there is no pods/x"),
        (r#"k.can_i("get", "nothings")"#, "not_found: the cluster at https://"),
    ];
    let body: Vec<_> = cases.iter().map(|(call, _)| failing(call)).collect();
    let seen = result(&script(&cluster, &space, &format!("[{}]", body.join(",\n"))));
    for (at, (call, words)) in cases.iter().enumerate() {
        let text = seen[at].as_str().unwrap();
        assert!(text.contains(words), "{call}: {text}");
    }
}

#[test]
fn a_list_is_of_one_namespace_or_of_all_and_may_be_narrowed() {
    let Some(cluster) = Cluster::ours() else { return };
    let (space, beside) = (cluster.namespace(), cluster.namespace());
    let map = |name: &str, tier: &str| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{tier: {tier}}}}}\n")
    };
    space.apply(&[map("a", "web"), map("b", "db")].concat());
    // More than a server gives at once.
    let many: String = (0..520).map(|number| map(&format!("m{number}"), "many")).collect();
    beside.apply(&many);
    let body = r#"let names = |list| list.map(|o| o.metadata.name);
        [names.call(k.list("cm", #{ labels: "tier in (web,db)" })), names.call(k.list("cm", #{ fields: "metadata.name=b" })),
         k.list("configmaps", #{ all: true, labels: "tier=many" }).len(), k.list("cm", #{ namespace: "OTHER" }).len() > 519,
         k.list("cm", #{ labels: "tier=web" })[0].kind, k.list("cm", #{ labels: "tier=none" })]"#;
    let seen = result(&script(&cluster, &space, &body.replace("OTHER", beside.name())));
    assert_eq!(seen, json!([["a", "b"], ["b"], 520, true, "ConfigMap", []]));
}

#[test]
fn logs_and_events_are_of_the_pod_that_is_named() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&[pod("talks", "echo one; echo two; echo three", &[]), sleeper("silent", &[])].concat());
    let body = r#"k.wait("pod/talks", |pod| pod.status.phase == "Succeeded", #{ timeout: "1m" });
        k.wait("pod/silent", "ready", #{ timeout: "1m" });
        let events = k.events("pod/talks");
        [k.logs("pod/talks"), k.logs("pod/talks", #{ tail: 1, container: "main" }), k.logs("pod/silent"),
         events.map(|event| event.reason), events[0].keys(), events[0].type, k.events("pod/nobody")]"#;
    let seen = result(&script(&cluster, &space, body));
    assert_eq!((&seen[0], &seen[1], &seen[2]), (&json!("one\ntwo\nthree\n"), &json!("three\n"), &json!("")));
    let reasons = seen[3].as_array().unwrap();
    assert_eq!(reasons[0], "Scheduled");
    assert!(reasons.contains(&json!("Started")), "{seen}");
    let mut keys: Vec<_> = seen[4].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["count", "from", "last_at", "message", "reason", "type"]);
    assert_eq!((&seen[5], &seen[6]), (&json!("Normal"), &json!([])));
}

#[test]
fn who_may_less_is_told_so_and_can_ask_before() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&claim("data", "net-now"));
    space.kubectl(&["create", "serviceaccount", "reader"]);
    space.kubectl(&["create", "role", "reads", "--verb=get,list", "--resource=pods"]);
    let account = format!("--serviceaccount={}:reader", space.name());
    space.kubectl(&["create", "rolebinding", "reads", "--role=reads", &account]);
    let token = space.kubectl(&["create", "token", "reader"]);
    let dir = tempfile::tempdir().unwrap();
    let config = other(&cluster, dir.path(), &[(&user(&cluster), &format!("    token: {token}\n"))]);
    let body = format!(
        r#"[k.can_i("get", "pods"), k.can_i("get", "pod/x"), k.can_i("delete", "pods"), k.can_i("get", "pods", #{{ all: true }}),
            k.can_i("get", "pods", #{{ namespace: "default" }}), k.can_i("create", "pods", #{{ subresource: "exec" }}),
            k.list("pods"), k.version().uid, {}]"#,
        failing(r#"k.get("pvc/data")"#)
    );
    let opts = format!(r#"kubeconfig: "{}", namespace: "{}""#, config.display(), space.name());
    let seen = result(&with(&opts, &body));
    let expected = json!([true, true, false, false, false, false, [], null]);
    assert_eq!(seen.as_array().unwrap()[..8], expected.as_array().unwrap()[..]);
    let refused = seen[8].as_str().unwrap();
    for words in
        ["denied: cannot get `persistentvolumeclaims/data of namespace", ":reader\\\" cannot get", "can-i --list"]
    {
        assert!(refused.contains(words), "{words}: {refused}");
    }
}
