//! `k8s::`: clusters. What acts on one is a method of its handle.

use std::fmt;
use std::sync::Arc;

use rhai::plugin::*;

use super::cluster::Joined;

/// A Kubernetes cluster.
#[derive(Debug, Clone)]
pub(crate) struct Cluster(pub(super) Arc<Joined>);

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

#[export_module]
#[allow(
    clippy::needless_pass_by_value,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "Rhai hands values over, wants `pub`, and makes the code"
)]
pub(crate) mod k8s {
    use super::super::{changing, cluster, waiting};
    use super::*;
    use crate::script::api::error::{raise, raise_data};
    use rhai::Map;

    type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

    /// A Kubernetes cluster, as a kubeconfig leads to it: with its contexts, plugins that log in, and proxies.
    ///
    /// # Shape
    /// k8s::connect() -> cluster
    /// k8s::connect(opts: map) -> cluster
    /// opts   kubeconfig: path (otherwise $KUBECONFIG, ~/.kube/config, or what a pod has of its own), context: string,
    ///        namespace: string (where none is named; otherwise that of the context), timeout: duration = "30s" (of a
    ///        request with all its attempts)
    ///
    /// Several clusters can be used in one script. Handles of the same options share their connections.
    ///
    /// # Effects
    /// None: nothing is read or reached before it is first used, which is in plans as well.
    ///
    /// # Errors
    /// `invalid` for an option that cannot be used. What is called on the handle throws `not_found` without a kubeconfig or
    /// such a context, `unreachable` or `timeout` if the server does not answer within the time of a request, and `denied`
    /// if it does not know or let whoever asks. A plugin that logs in cannot ask anybody anything.
    ///
    /// # Source
    /// https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/; src/k8s/config.rs
    ///
    /// # Example
    /// ```rhai
    /// let test = k8s::connect(#{ context: "test", namespace: "web" });
    /// assert_eq(`${test}`, "test");
    /// ```
    #[rhai_fn(name = "connect", return_raw, volatile)]
    pub fn connect_plain(context: NativeCallContext) -> Result<Cluster> {
        raise(&context, cluster::connect(&context, Map::new()))
    }

    #[rhai_fn(name = "connect", return_raw, volatile)]
    pub fn connect_with(context: NativeCallContext, opts: Map) -> Result<Cluster> {
        raise(&context, cluster::connect(&context, opts))
    }

    /// Says which cluster it is, and what runs it.
    ///
    /// # Shape
    /// cluster.version() -> map
    /// result #{ server, platform, url, uid }
    ///
    /// `uid` is by what the cluster is known, whatever it is called: that of its namespace `kube-system`; () if that may
    /// not be read.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// As `k8s::connect` says of its handle.
    ///
    /// # Source
    /// src/k8s/client.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let same = |other| k.version().uid == other.version().uid;
    /// ```
    #[rhai_fn(name = "version", global, return_raw, volatile)]
    pub fn version(context: NativeCallContext, cluster: &mut Cluster) -> Result<Dynamic> {
        raise_data(&context, cluster::version(&context, cluster))
    }

    /// Returns an object of any kind.
    ///
    /// # Shape
    /// cluster.get(name: string, [opts: map]) -> map
    /// opts   namespace: string, optional: bool = false
    /// result the object as the server has it, without `metadata.managedFields`; () if there is none and it is `optional`
    ///
    /// `name` is TYPE/NAME as kubectl takes it: `deploy/web`, `pvc/data`, `sc/fast`, `issuers.cert-manager.io/site`.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found` if there is no such object or type, `invalid` for what is no name, `denied`; as `k8s::connect` says of its
    /// handle.
    ///
    /// # Source
    /// src/k8s/objects.rs, src/k8s/kinds.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let size = |claim| k.get(`pvc/${claim}`, #{ namespace: "web" }).status.capacity.storage;
    /// ```
    #[rhai_fn(name = "get", global, return_raw, volatile)]
    pub fn get_plain(context: NativeCallContext, cluster: &mut Cluster, name: &str) -> Result<Dynamic> {
        raise_data(&context, cluster::get(&context, cluster, name, Map::new()))
    }

    #[rhai_fn(name = "get", global, return_raw, volatile)]
    pub fn get_with(context: NativeCallContext, cluster: &mut Cluster, name: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, cluster::get(&context, cluster, name, opts))
    }

    /// Lists the objects of a type.
    ///
    /// # Shape
    /// cluster.list(resource: string, [opts: map]) -> list
    /// opts   namespace: string, all: bool = false (of all namespaces), labels: string, fields: string
    /// result list of objects, as `cluster.get` gives them
    ///
    /// `resource` is a type as kubectl takes it: `pods`, `deploy`, `issuers.cert-manager.io`. `labels` and `fields` are
    /// selectors: `app=web,tier!=db`, `status.phase=Running`. In a loop around a step use `fact("NAME", || …)`.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found` if there is no such type, `invalid` for a selector that is none, `denied`; as `k8s::connect` says of its
    /// handle.
    ///
    /// # Source
    /// src/k8s/objects.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let names = || k.list("pvc", #{ all: true, labels: "app=web" }).map(|claim| claim.metadata.name);
    /// ```
    #[rhai_fn(name = "list", global, return_raw, volatile)]
    pub fn list_plain(context: NativeCallContext, cluster: &mut Cluster, resource: &str) -> Result<Dynamic> {
        raise_data(&context, cluster::list(&context, cluster, resource, Map::new()))
    }

    #[rhai_fn(name = "list", global, return_raw, volatile)]
    pub fn list_with(context: NativeCallContext, cluster: &mut Cluster, resource: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, cluster::list(&context, cluster, resource, opts))
    }

    /// Waits until an object is what it is to be, and returns it.
    ///
    /// # Shape
    /// cluster.wait(name: string, state: string or |object| -> bool, opts: map) -> map
    /// opts   timeout: duration (required), namespace: string, every: duration = "1s", uid: string (of the object that is to
    ///        be gone; otherwise the one that is there first)
    /// result the object; () when it is gone
    ///
    /// `state` is "exists", "gone", "ready", "condition=NAME", "condition=NAME=VALUE", or a closure that is given the object.
    /// "ready" is: of a pod and a node, that it is Ready; of a Deployment, StatefulSet, DaemonSet and ReplicaSet, that all
    /// it is to have is there, as of its last change; of a Job, that it is complete; of a claim, that it is bound; of others,
    /// the condition Ready or Available. A server that is away for a while is waited for. The closure may not use the variable
    /// on which `wait` is called.
    ///
    /// # Effects
    /// Reads only. A plan looks once: what has not come yet is known after the run.
    ///
    /// # Errors
    /// `timeout`, with how the object is and the last events of it; `remote_failed` if it can never come: a Job or a pod that
    /// failed, a claim whose volume is lost; as `cluster.get`.
    ///
    /// # Source
    /// src/k8s/ready.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let web = || k.wait("deploy/web", "ready", #{ timeout: "5m" });
    /// let bound = || k.wait("pv/disk", |pv| pv.spec.claimRef.name == "data", #{ timeout: "1m" });
    /// ```
    #[rhai_fn(name = "wait", global, return_raw, volatile)]
    pub fn wait(
        context: NativeCallContext,
        cluster: &mut Cluster,
        name: &str,
        state: Dynamic,
        opts: Map,
    ) -> Result<Dynamic> {
        raise_data(&context, waiting::wait(&context, cluster, name, state, opts))
    }

    /// Returns what a pod has printed.
    ///
    /// # Shape
    /// cluster.logs(pod: string, [opts: map]) -> string
    /// opts   namespace: string, container: string, previous: bool = false (of the one before it was started again),
    ///        tail: int (lines), since: duration
    ///
    /// `pod` is `pod/NAME`. Of more than 1 MiB the beginning is given. What matters is not read from a log: the server
    /// forgets the older part of it.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found`, `invalid` if it has several containers and none is named or nothing runs yet; as `cluster.get`.
    ///
    /// # Source
    /// src/k8s/logs.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let last = |pod| k.logs(`pod/${pod}`, #{ tail: 10 });
    /// ```
    #[rhai_fn(name = "logs", global, return_raw, volatile)]
    pub fn logs_plain(context: NativeCallContext, cluster: &mut Cluster, pod: &str) -> Result<Dynamic> {
        raise_data(&context, cluster::logs(&context, cluster, pod, Map::new()))
    }

    #[rhai_fn(name = "logs", global, return_raw, volatile)]
    pub fn logs_with(context: NativeCallContext, cluster: &mut Cluster, pod: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, cluster::logs(&context, cluster, pod, opts))
    }

    /// Lists what happened to an object, oldest first.
    ///
    /// # Shape
    /// cluster.events(name: string, [opts: map]) -> list
    /// opts   namespace: string
    /// result list of #{ type, reason, message, count, last_at, from }
    ///
    /// The server forgets events after an hour.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// As `cluster.get`; an object that is gone may have events.
    ///
    /// # Source
    /// src/k8s/events.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let warnings = |claim| k.events(`pvc/${claim}`).filter(|event| event.type == "Warning");
    /// ```
    #[rhai_fn(name = "events", global, return_raw, volatile)]
    pub fn events_plain(context: NativeCallContext, cluster: &mut Cluster, name: &str) -> Result<Dynamic> {
        raise_data(&context, cluster::events(&context, cluster, name, Map::new()))
    }

    #[rhai_fn(name = "events", global, return_raw, volatile)]
    pub fn events_with(context: NativeCallContext, cluster: &mut Cluster, name: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, cluster::events(&context, cluster, name, opts))
    }

    /// Says whether whoever runs the script may do something.
    ///
    /// # Shape
    /// cluster.can_i(verb: string, resource: string, [opts: map]) -> bool
    /// opts   namespace: string, all: bool = false (in all namespaces), subresource: string
    ///
    /// `verb` is one of the API: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`. `resource` is a type, or
    /// TYPE/NAME for one object.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// As `cluster.list`.
    ///
    /// # Source
    /// https://kubernetes.io/docs/reference/access-authn-authz/authorization/; src/k8s/access.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let may = || k.can_i("delete", "pvc", #{ namespace: "web" }) && k.can_i("create", "pods", #{ subresource: "exec" });
    /// ```
    #[rhai_fn(name = "can_i", global, return_raw, volatile)]
    pub fn can_i_plain(
        context: NativeCallContext,
        cluster: &mut Cluster,
        verb: &str,
        resource: &str,
    ) -> Result<Dynamic> {
        raise_data(&context, cluster::can_i(&context, cluster, verb, resource, Map::new()))
    }

    #[rhai_fn(name = "can_i", global, return_raw, volatile)]
    pub fn can_i_with(
        context: NativeCallContext,
        cluster: &mut Cluster,
        verb: &str,
        resource: &str,
        opts: Map,
    ) -> Result<Dynamic> {
        raise_data(&context, cluster::can_i(&context, cluster, verb, resource, opts))
    }

    /// Lists the pods that use a claim.
    ///
    /// # Shape
    /// cluster.holders(claim: string, [opts: map]) -> list
    /// opts   namespace: string
    /// result list of #{ name, uid, phase, node, read_only, deleting, owner }
    ///
    /// `claim` is `pvc/NAME`. Every pod that names it is there, also one that has ended or has no node yet: it holds the
    /// claim until it is deleted. `owner` is the name of the controller at the top of it, () if it has none; see
    /// `cluster.owner`.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found` if there is no such claim, `invalid` for another type of object; as `cluster.get`.
    ///
    /// # Source
    /// src/k8s/holders.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let is_free = |claim| k.holders(`pvc/${claim}`).len == 0;
    /// ```
    #[rhai_fn(name = "holders", global, return_raw, volatile)]
    pub fn holders_plain(context: NativeCallContext, cluster: &mut Cluster, claim: &str) -> Result<Dynamic> {
        raise_data(&context, cluster::holders(&context, cluster, claim, Map::new()))
    }

    #[rhai_fn(name = "holders", global, return_raw, volatile)]
    pub fn holders_with(context: NativeCallContext, cluster: &mut Cluster, claim: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, cluster::holders(&context, cluster, claim, opts))
    }

    /// Finds the controller at the top of an object: of a pod its Deployment, of a Job its CronJob.
    ///
    /// # Shape
    /// cluster.owner(name: string, [opts: map]) -> map
    /// opts   namespace: string
    /// result #{ name, kind, api_version, namespace, uid, scales, chain }; () if it has none
    ///
    /// `chain` has the names from the object's own controller to the one at the top. `scales` says that it has replicas to
    /// be set. Owners that are no controllers only take it with them when they are deleted, and do not count.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// As `cluster.get`.
    ///
    /// # Source
    /// https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/; src/k8s/owner.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let of = |pod| k.owner(`pod/${pod}`).name;
    /// ```
    #[rhai_fn(name = "owner", global, return_raw, volatile)]
    pub fn owner_plain(context: NativeCallContext, cluster: &mut Cluster, name: &str) -> Result<Dynamic> {
        raise_data(&context, cluster::owner(&context, cluster, name, Map::new()))
    }

    #[rhai_fn(name = "owner", global, return_raw, volatile)]
    pub fn owner_with(context: NativeCallContext, cluster: &mut Cluster, name: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, cluster::owner(&context, cluster, name, opts))
    }

    /// Makes an object, and returns it.
    ///
    /// # Shape
    /// cluster.create(object: map, [opts: map]) -> map
    /// opts   namespace: string (where the object names none)
    /// result the object as the server has it
    ///
    /// `object` has `apiVersion`, `kind` and `metadata.name`, as in a manifest. It gets the annotation `decamp/effect`, by
    /// which it is known as the one that this call made.
    ///
    /// # Effects
    /// Converge: after an attempt whose end is not known, the object with that annotation is the one that was to be made.
    /// Undo deletes it. A plan lets the server check it, and keep nothing. Of a Secret nothing is kept in the journal, and
    /// nothing undone.
    ///
    /// # Errors
    /// `exists` if there is another one of its name, `invalid` for what the server does not take, `not_found` without its
    /// namespace or type, `denied`; as `k8s::connect` says of its handle.
    ///
    /// # Source
    /// src/k8s/change.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let map = #{ apiVersion: "v1", kind: "ConfigMap", metadata: #{ name: "site" }, data: #{ color: "blue" } };
    /// let make = || step("make", || k.create(map, #{ namespace: "web" }));
    /// ```
    #[rhai_fn(name = "create", global, return_raw, volatile)]
    pub fn create_plain(context: NativeCallContext, cluster: &mut Cluster, object: Map) -> Result<Dynamic> {
        raise_data(&context, changing::create(&context, cluster, object, Map::new()))
    }

    #[rhai_fn(name = "create", global, return_raw, volatile)]
    pub fn create_with(context: NativeCallContext, cluster: &mut Cluster, object: Map, opts: Map) -> Result<Dynamic> {
        raise_data(&context, changing::create(&context, cluster, object, opts))
    }

    /// Makes an object be as it is said, made or changed as that needs, and returns it.
    ///
    /// # Shape
    /// cluster.apply(object: map, [opts: map]) -> map
    /// opts   namespace: string (where the object names none), force: bool = false (also what others have claimed)
    /// result the object as the server has it
    ///
    /// What `object` says is claimed for the field manager `decamp`; what it does not say is left to others.
    ///
    /// # Effects
    /// Converge. Undo puts back each field that this changed and nobody has changed since, and deletes what it made. A plan
    /// lets the server try it, and says which fields it would change. Of a Secret nothing is kept in the journal, and nothing
    /// undone.
    ///
    /// # Errors
    /// `conflict` if others have claimed what it says, with their names; as `cluster.create`.
    ///
    /// # Source
    /// https://kubernetes.io/docs/reference/using-api/server-side-apply/; src/k8s/change.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let quota = #{ apiVersion: "v1", kind: "ResourceQuota", metadata: #{ name: "q" }, spec: #{ hard: #{ pods: "10" } } };
    /// let limit = || step("limit", || k.apply(quota, #{ namespace: "web" }));
    /// ```
    #[rhai_fn(name = "apply", global, return_raw, volatile)]
    pub fn apply_plain(context: NativeCallContext, cluster: &mut Cluster, object: Map) -> Result<Dynamic> {
        raise_data(&context, changing::apply(&context, cluster, object, Map::new()))
    }

    #[rhai_fn(name = "apply", global, return_raw, volatile)]
    pub fn apply_with(context: NativeCallContext, cluster: &mut Cluster, object: Map, opts: Map) -> Result<Dynamic> {
        raise_data(&context, changing::apply(&context, cluster, object, opts))
    }

    /// Changes fields of an object, and returns it.
    ///
    /// # Shape
    /// cluster.patch(name: string, changes: map, [opts: map]) -> map
    /// opts   namespace: string, uid: string (of the object that is meant), resource_version: string (as it was looked at)
    /// result the object as the server has it
    ///
    /// `changes` is a JSON merge patch: a field replaces the one that is there, () removes it, and a list is one field.
    /// Without `uid` it is for the object that is there when it is called, and for no other that comes under its name.
    ///
    /// # Effects
    /// Converge. Undo puts back each field that this changed and nobody has changed since. A plan lets the server try it, and
    /// says which fields it would change. Of a Secret nothing is kept in the journal, and nothing undone.
    ///
    /// # Errors
    /// `not_found`, `conflict` if it is not the object that is meant or has changed, `invalid` for what the server does not
    /// take, `denied`; as `k8s::connect` says of its handle.
    ///
    /// # Source
    /// RFC 7396; src/k8s/change.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let keep = |pv| k.patch(`pv/${pv}`, #{ spec: #{ persistentVolumeReclaimPolicy: "Retain" } });
    /// let all = |pv| step("retain", #{ key: pv }, || keep.call(pv));
    /// ```
    #[rhai_fn(name = "patch", global, return_raw, volatile)]
    pub fn patch_plain(context: NativeCallContext, cluster: &mut Cluster, name: &str, changes: Map) -> Result<Dynamic> {
        raise_data(&context, changing::patch(&context, cluster, name, changes, Map::new()))
    }

    #[rhai_fn(name = "patch", global, return_raw, volatile)]
    pub fn patch_with(
        context: NativeCallContext,
        cluster: &mut Cluster,
        name: &str,
        changes: Map,
        opts: Map,
    ) -> Result<Dynamic> {
        raise_data(&context, changing::patch(&context, cluster, name, changes, opts))
    }

    /// Sets how many replicas a workload is to have.
    ///
    /// # Shape
    /// cluster.scale(name: string, replicas: int, [opts: map]) -> map
    /// opts   namespace: string
    /// result #{ replicas, was }
    ///
    /// It does not wait: see `cluster.wait`. Pods that are to go are there until they have ended.
    ///
    /// # Effects
    /// Converge. Undo sets what it was, unless somebody else has scaled it since.
    ///
    /// # Errors
    /// `not_found`, `unsupported` for what has no replicas, `denied`; as `k8s::connect` says of its handle.
    ///
    /// # Source
    /// src/k8s/change.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let stop = |name| step("stop", #{ key: name }, || k.scale(name, 0, #{ namespace: "web" }));
    /// ```
    #[rhai_fn(name = "scale", global, return_raw, volatile)]
    pub fn scale_plain(
        context: NativeCallContext,
        cluster: &mut Cluster,
        name: &str,
        replicas: i64,
    ) -> Result<Dynamic> {
        raise_data(&context, changing::scale(&context, cluster, name, replicas, Map::new()))
    }

    #[rhai_fn(name = "scale", global, return_raw, volatile)]
    pub fn scale_with(
        context: NativeCallContext,
        cluster: &mut Cluster,
        name: &str,
        replicas: i64,
        opts: Map,
    ) -> Result<Dynamic> {
        raise_data(&context, changing::scale(&context, cluster, name, replicas, opts))
    }

    /// Deletes the object of a UID, and no other of its name.
    ///
    /// # Shape
    /// cluster.delete(name: string, opts: map) -> map
    /// opts   uid: string (required), namespace: string, owned: "background" | "foreground" | "orphan" (what becomes of what
    ///        it owns; otherwise as the server does it), grace: duration (for a pod to end)
    /// result #{ deleted, uid }
    ///
    /// It does not wait until it is gone: see `cluster.wait`. Take the UID from a fact or the result of a step, so that it
    /// stays the same when the run is resumed. `deleted` is false if it was gone, or is another one by now.
    ///
    /// # Effects
    /// Destroy. The object is kept in the journal, unless it is a Secret. Undo makes it again, but for what is more than its
    /// words: claims, volumes, namespaces, pods, nodes, Jobs and custom resource definitions.
    ///
    /// # Errors
    /// `not_found` if there is no such type, `denied`; as `k8s::connect` says of its handle.
    ///
    /// # Source
    /// src/k8s/change.rs
    ///
    /// # Example
    /// ```rhai
    /// let k = k8s::connect();
    /// let remove = |claim| step("remove", #{ key: claim.metadata.uid }, || {
    ///     k.delete(`pvc/${claim.metadata.name}`, #{ uid: claim.metadata.uid })
    /// });
    /// ```
    #[rhai_fn(name = "delete", global, return_raw, volatile)]
    pub fn delete(context: NativeCallContext, cluster: &mut Cluster, name: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, changing::delete(&context, cluster, name, opts))
    }
}
