//! Changing objects, and putting back what was changed.

use serde_json::{Value, json};

use super::support::{claim, failing, run, script, workload};
use crate::support::cluster::{Cluster, Namespace};
use crate::support::env::Decamp;

/// A script whose `map.call(NAME)` is a ConfigMap of one field.
fn changing(cluster: &Cluster, space: &Namespace<'_>, body: &str) -> Decamp {
    let map = r#"let map = |name, value| #{ apiVersion: "v1", kind: "ConfigMap", metadata: #{ name: name }, data: #{ color: value } };"#;
    script(cluster, space, &format!("{map}\n{body}"))
}

/// Runs it; the number of the run, and what the script returned.
#[track_caller]
fn done(call: &Decamp) -> (String, Value) {
    let ran = run(call).run().json();
    (ran["run"].as_str().unwrap().to_owned(), ran["result"].clone())
}

#[track_caller]
fn undo(call: &Decamp, id: &str, status: i32) -> String {
    call.again().args(["undo", id, "--yes"]).status(status).run().stdout
}

fn of(space: &Namespace<'_>, name: &str, path: &str) -> String {
    space.try_kubectl(&["get", name, "-o", &format!("jsonpath={path}")]).text
}

#[test]
fn an_object_is_made_once_and_undone() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let body = r#"let made = step("make", || k.create(map.call("site", "blue")));
        let again = step("again", || FAILS);
        [made.data.color, made.metadata.get("annotations"), again]"#
        .replace("FAILS", &failing(r#"k.create(map.call("site", "red"))"#));
    let call = changing(&cluster, &space, &body);
    call.again().args(["plan", "./s.rhai"]).stdout_has("will be made").run();
    assert!(of(&space, "cm/site", "{.kind}").contains("NotFound"));
    let (id, seen) = done(&call);
    assert_eq!(seen[0], "blue");
    assert!(seen[1]["decamp/effect"].is_string(), "{seen}");
    assert!(seen[2].as_str().unwrap().starts_with("exists: cannot create configmaps/site of namespace"), "{seen}");
    assert_eq!(of(&space, "cm/site", "{.data.color}"), "blue");
    undo(&call, &id, 0);
    assert!(of(&space, "cm/site", "{.kind}").contains("NotFound"));
    // One that somebody else made meanwhile is not the run's.
    let (id, _) = done(&call);
    space.kubectl(&["delete", "cm", "site"]);
    space.kubectl(&["create", "cm", "site", "--from-literal=color=green"]);
    let said = undo(&call, &id, 9);
    assert!(said.contains("left: it is not the one that the run made"), "{said}");
    assert_eq!(of(&space, "cm/site", "{.data.color}"), "green");
}

#[test]
fn what_others_claim_is_not_taken_from_them_and_what_they_changed_is_not_undone() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: site}\ndata: {color: red, other: kept}\n";
    let words = ["-n", space.name(), "apply", "--server-side", "--field-manager=argo", "-f", "-"];
    assert!(cluster.feed(&words, manifest, 60).done);
    let body = r#"let refused = step("try", || FAILS);
        let forced = step("force", || k.apply(map.call("site", "blue"), #{ force: true }));
        let fresh = step("fresh", || k.apply(map.call("new", "blue")));
        let same = step("same", || k.apply(map.call("new", "blue")).data.color);
        [refused, forced.data, fresh.data.color, same]"#
        .replace("FAILS", &failing(r#"k.apply(map.call("site", "blue"))"#));
    let call = changing(&cluster, &space, &body);
    let (id, seen) = done(&call);
    let refused = seen[0].as_str().unwrap();
    assert!(refused.starts_with("conflict: cannot apply") && refused.contains("\\\"argo\\\""), "{refused}");
    assert_eq!(seen[1], json!({ "color": "blue", "other": "kept" }));
    assert_eq!((&seen[2], &seen[3]), (&json!("blue"), &json!("blue")));
    space.kubectl(&["patch", "cm", "site", "--type=merge", "-p", r#"{"data":{"other":"theirs"}}"#]);
    undo(&call, &id, 0);
    assert_eq!(of(&space, "cm/site", "{.data}"), r#"{"color":"red","other":"theirs"}"#);
    assert!(of(&space, "cm/new", "{.kind}").contains("NotFound"));
}

#[test]
fn a_patch_is_for_the_object_that_is_meant() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: site, labels: {app: web}}\ndata: {a: '1', b: '2'}\n");
    let version = of(&space, "cm/site", "{.metadata.resourceVersion}");
    let body = r#"let changed = step("change", || k.patch("cm/site", #{ data: #{ a: "9", b: (), c: "3" }, metadata: #{ labels: #{ app: () } } }));
        let other = step("other", || OTHER);
        let stale = step("stale", || STALE);
        let none = step("none", || NONE);
        let odd = step("odd", || ODD);
        [changed.data, other, stale, none, odd]"#
        .replace("OTHER", &failing(r#"k.patch("cm/site", #{ data: #{ a: "x" } }, #{ uid: "00000000-0000-0000-0000-000000000000" })"#))
        .replace("STALE", &failing(&format!(r#"k.patch("cm/site", #{{ data: #{{ a: "x" }} }}, #{{ resource_version: "{version}" }})"#)))
        .replace("NONE", &failing(r#"k.patch("cm/none", #{ data: #{ a: "x" } })"#))
        .replace("ODD", &failing(r#"k.patch("cm/site", #{ data: #{ a: 5 } })"#));
    let call = changing(&cluster, &space, &body);
    let plan = call.again().args(["plan", "./s.rhai"]).run().stdout;
    assert!(plan.contains(r#"data.a from "1" to "9""#) && plan.contains(r#"data.b from "2" to nothing"#), "{plan}");
    assert_eq!(of(&space, "cm/site", "{.metadata.resourceVersion}"), version);
    let (id, seen) = done(&call);
    assert_eq!(seen[0], json!({ "a": "9", "c": "3" }));
    for (at, words) in
        [(1, "conflict: "), (2, "conflict: "), (3, "not_found: there is no configmaps/none"), (4, "invalid: ")]
    {
        assert!(seen[at].as_str().unwrap().starts_with(words), "{words}: {}", seen[at]);
    }
    undo(&call, &id, 0);
    assert_eq!(of(&space, "cm/site", "{.data} {.metadata.labels}"), r#"{"a":"1","b":"2"} {"app":"web"}"#);
    // What somebody changed since is left, and the rest is put back.
    let (id, _) = done(&call);
    space.kubectl(&["patch", "cm", "site", "--type=merge", "-p", r#"{"data":{"a":"theirs"}}"#]);
    let said = undo(&call, &id, 9);
    assert!(said.contains("data.a: left: it is not what the run made of it"), "{said}");
    assert_eq!(of(&space, "cm/site", "{.data}"), r#"{"a":"theirs","b":"2"}"#);
}

#[test]
fn a_workload_is_scaled_and_has_its_replicas_again_after_undo() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.apply(&[workload("StatefulSet", "db", 2, &[]), workload("Deployment", "web", 1, &[])].concat());
    let body = r#"let stopped = step("stop", || k.scale("sts/db", 0));
        let again = step("again", || k.scale("sts/db", 0));
        let more = step("more", || k.scale("deploy/web", 2));
        k.wait("sts/db", "ready", #{ timeout: "1m" });
        let keys = stopped.keys(); keys.sort();
        [stopped.was, stopped.replicas, again.was, more.was, keys, step("none", || NONE), step("odd", || ODD)]"#
        .replace("NONE", &failing(r#"k.scale("sts/none", 0)"#))
        .replace("ODD", &failing(r#"k.scale("cm/x", 0)"#));
    let call = changing(&cluster, &space, &body);
    call.again().args(["plan", "./s.rhai"]).stdout_has("from 2 to 0 replicas").run();
    let (id, seen) = done(&call);
    assert_eq!(seen.as_array().unwrap()[..5], json!([2, 0, 0, 1, ["replicas", "was"]]).as_array().unwrap()[..]);
    assert!(seen[5].as_str().unwrap().starts_with("not_found: there is no statefulsets.apps/none"), "{seen}");
    assert!(seen[6].as_str().unwrap().starts_with("unsupported: configmaps cannot be scaled"), "{seen}");
    // An operator has its own opinion of one of them.
    space.kubectl(&["scale", "deploy/web", "--replicas=3"]);
    let said = undo(&call, &id, 9);
    assert!(
        said.contains("deployments.apps/web of namespace") && said.contains("somebody else has scaled it"),
        "{said}"
    );
    assert_eq!(
        (of(&space, "sts/db", "{.spec.replicas}"), of(&space, "deploy/web", "{.spec.replicas}")),
        ("2".into(), "3".into())
    );
}

#[test]
fn only_the_object_of_the_uid_is_deleted() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    space.kubectl(&["create", "cm", "site", "--from-literal=color=blue"]);
    space.apply(&claim("data", "net-now"));
    let body = r#"let site = fact("site", || k.get("cm/site").metadata.uid);
        let claim = fact("claim", || k.get("pvc/data").metadata.uid);
        let other = step("other", || k.delete("cm/site", #{ uid: claim }));
        let gone = step("gone", || k.delete("cm/site", #{ uid: site }));
        let twice = step("twice", || k.delete("cm/site", #{ uid: site }));
        let data = step("data", || k.delete("pvc/data", #{ uid: claim, owned: "background" }));
        k.wait("pvc/data", "gone", #{ timeout: "1m", uid: claim });
        [other.deleted, gone.deleted, twice.deleted, data.deleted]"#;
    let call = changing(&cluster, &space, body);
    let plan = call.again().args(["plan", "./s.rhai"]).run().stdout;
    assert!(plan.contains("will be deleted") && plan.contains("is another one by now"), "{plan}");
    assert_eq!(of(&space, "cm/site", "{.data.color}"), "blue");
    let (id, seen) = done(&call);
    assert_eq!(seen, json!([false, true, false, true]));
    let said = undo(&call, &id, 9);
    assert!(
        said.contains("cluster.delete persistentvolumeclaims/data of namespace") && said.contains("has no undo"),
        "{said}"
    );
    assert_eq!(of(&space, "cm/site", "{.data.color}"), "blue");
}

#[test]
fn a_secret_is_made_and_nothing_of_it_kept() {
    let Some(cluster) = Cluster::ours() else { return };
    let space = cluster.namespace();
    let body = r#"let made = #{ apiVersion: "v1", kind: "Secret", metadata: #{ name: "s" }, stringData: #{ word: "in-the-clear" } };
        step("make", || k.create(made).metadata.name);
        step("change", || k.patch("secret/s", #{ stringData: #{ word: "also-clear" } }).kind);"#;
    let call = script(&cluster, &space, body);
    run(&call).run();
    assert_eq!(of(&space, "secret/s", "{.data.word}"), "YWxzby1jbGVhcg==");
    let mut kept = String::new();
    for item in std::fs::read_dir(call.state()).unwrap().flatten().filter(|item| item.path().is_file()) {
        kept += &String::from_utf8_lossy(&std::fs::read(item.path()).unwrap());
    }
    // The script itself is kept, as whoever wrote it wrote it.
    let words = ["aW4tdGhlLWNsZWFy", "YWxzby1jbGVhcg=="];
    assert!(words.iter().all(|word| !kept.contains(word)), "kept");
}

#[test]
fn a_kill_at_any_boundary_leaves_nothing_half_done() {
    let Some(cluster) = Cluster::ours() else { return };
    let setting = || {
        let space = cluster.namespace();
        space.apply(&workload("StatefulSet", "db", 1, &[]));
        space.kubectl(&["create", "cm", "old", "--from-literal=color=grey"]);
        space
    };
    let body = r#"let old = fact("old", || k.get("cm/old").metadata.uid);
        step("make", || k.create(map.call("new", "blue")).kind);
        step("apply", || k.apply(map.call("applied", "blue")).kind);
        step("patch", || k.patch("cm/new", #{ data: #{ size: "1" } }).kind);
        step("stop", || k.scale("sts/db", 0).was);
        step("delete", || k.delete("cm/old", #{ uid: old }));"#;
    let state = |space: &Namespace<'_>| {
        let maps = space.kubectl(&[
            "get",
            "cm",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name}={.data.color}/{.data.size} {end}",
        ]);
        let maps: Vec<_> =
            maps.split(' ').filter(|word| !word.starts_with("kube-root-ca")).map(str::to_owned).collect();
        (maps, of(space, "sts/db", "{.spec.replicas}"))
    };
    let space = setting();
    let call = changing(&cluster, &space, body);
    let names = call.dir().join("../points");
    run(&call).env("DECAMP_CRASH_COUNT", &names).run();
    let expected = state(&space);
    assert_eq!(expected, (vec!["applied=blue/".to_owned(), "new=blue/1".to_owned(), String::new()], "0".to_owned()));
    let points = std::fs::read_to_string(&names).unwrap().lines().count();
    assert!(points > 30, "{points}");
    // Others each time, as far apart as there is time for.
    let stride = points.div_ceil(BOUNDARIES);
    let first = 1 + std::process::id() as usize % stride;
    println!("every {stride}th boundary of {points} from {first}");
    for at in (first..=points).step_by(stride) {
        let space = setting();
        let call = changing(&cluster, &space, body);
        let killed = run(&call).env("DECAMP_CRASH_AT", at.to_string()).spawn().wait();
        assert_eq!(killed.status, 137, "at {at}: {killed:?}");
        let resumed = call.again().args(["resume"]).spawn().wait();
        let runs = call.again().args(["runs", "--output", "json"]).run().stdout;
        match resumed.status {
            0 => {}
            // Before its first record there is no run, and after its last nothing to resume.
            2 if runs.contains("\"runs\": []") => drop(run(&call).run()),
            2 if runs.contains("succeeded") => {}
            code => panic!("at {at}: resume ended with {code}: {}", resumed.stderr),
        }
        assert_eq!(state(&space), expected, "killed at {at}");
    }
}

/// So many boundaries are tried.
const BOUNDARIES: usize = 12;
