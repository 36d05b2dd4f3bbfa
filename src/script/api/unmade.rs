//! Putting back what was changed in a cluster, where it is still as the run left it.

use serde_json::{Value, json};

use super::cluster::joined;
use super::ctx::Ctx;
use super::error::Fail;
use super::k8s::Cluster;
use crate::error::{Error, Kind};
use crate::journal::{EffectRow, EffectStatus, Journal};
use crate::k8s::{self, At, Difference, MADE_BY, Mode, back, text};

/// What the natives that record undo are called.
pub(super) fn is_ours(function: &str) -> bool {
    function.starts_with("cluster.")
}

/// Where an object is, in a form that is kept.
pub(super) struct Place(Value);

impl Place {
    /// The place of an object.
    pub(super) fn of(cluster: &Cluster, at: &At) -> Self {
        let (kind, options) = (&at.kind, cluster.options());
        Self(json!({
            "kubeconfig": options.kubeconfig.as_ref().map(|path| super::paths::text(path)), "context": options.context,
            "cluster": cluster.uid(), "api_version": kind.api_version(), "kind": kind.kind, "namespace": at.namespace,
            "name": at.name,
        }))
    }

    pub(super) fn record(self) -> Value {
        self.0
    }

    /// Whether an object that was deleted is the same again when it is made from its words: what holds data or other
    /// objects, and what runs, is not.
    pub(super) fn comes_back(at: &At) -> bool {
        const NEVER: [&str; 9] = [
            "persistentvolumeclaims",
            "persistentvolumes",
            "namespaces",
            "pods",
            "nodes",
            "jobs.batch",
            "volumeattachments.storage.k8s.io",
            "customresourcedefinitions.apiextensions.k8s.io",
            "volumesnapshots.snapshot.storage.k8s.io",
        ];
        !NEVER.contains(&at.kind.full().as_str())
    }
}

/// Puts back what an effect changed; lines for people about what is left.
pub(super) fn undo(ctx: &Ctx, effect: &EffectRow, recorded: &Value) -> Result<Vec<String>, Fail> {
    let place = &recorded["place"];
    let own = |key: &str| place[key].as_str().map(str::to_owned);
    let cluster = joined(
        ctx,
        k8s::Options {
            kubeconfig: own("kubeconfig").map(|text| super::paths::path(&text)).transpose()?,
            context: own("context"),
            ..k8s::Options::default()
        },
    );
    let found = cluster.ask(ctx, k8s::Cluster::version)?.uid;
    if found.is_some() && own("cluster").is_some() && found != own("cluster") {
        let error = Error::new(Kind::Conflict, format!("{cluster} is not the cluster in which the run changed things"));
        return Err(error.hint("let the kubeconfig lead to it, and undo again").into());
    }
    let kind =
        cluster.ask(ctx, async |engine| engine.kind_of(text(&place["api_version"]), text(&place["kind"])).await)?;
    let at = At { kind, namespace: own("namespace"), name: text(&place["name"]).to_owned() };
    let now = cluster.ask(ctx, async |engine| engine.get(&at).await)?;
    let left = |why: &str| Ok(vec![format!("{at}: left: {why}")]);
    if !recorded["deleted"].is_null() {
        return match now {
            Some(now) if now["metadata"]["uid"] == recorded["deleted"] => Ok(Vec::new()),
            Some(_) => left("there is another one by now"),
            None => again(ctx, &cluster, &at, effect),
        };
    }
    // What is gone has nothing of the run any more.
    let Some(now) = now else { return Ok(Vec::new()) };
    if recorded["made"] == true {
        let made = effect.result.as_ref().map(|result| &result["metadata"]["uid"]).filter(|uid| !uid.is_null());
        let marked = text(&now["metadata"]["annotations"][MADE_BY]) == effect.idem_key;
        if !marked && effect.status == EffectStatus::Failed {
            // It made nothing: there was one already.
            return Ok(Vec::new());
        }
        if !marked && made != Some(&now["metadata"]["uid"]) {
            return left("it is not the one that the run made");
        }
        let uid = text(&now["metadata"]["uid"]);
        cluster.ask(ctx, async |engine| engine.delete(&at, uid, None, None).await)?;
        return Ok(Vec::new());
    }
    if now["metadata"]["uid"] != recorded["uid"] {
        return left("it is another one by now");
    }
    if let Some(replicas) = recorded.get("replicas") {
        let (from, to) = (replicas["from"].as_u64(), replicas["to"].as_u64());
        let found = cluster.ask(ctx, async |engine| engine.replicas(&at).await)?.map(|(found, _)| found);
        return match (found, from) {
            (Some(found), Some(from)) if Some(found) == to => {
                cluster.ask(ctx, async |engine| engine.scale(&at, from, Mode::Really).await)?;
                Ok(Vec::new())
            }
            (found, from) if found == from => Ok(Vec::new()),
            _ => left("somebody else has scaled it"),
        };
    }
    let made: Vec<_> = recorded["changes"].as_array().into_iter().flatten().filter_map(Difference::read).collect();
    let (mut patch, kept) = back(&made, &now);
    if patch.as_object().is_some_and(|fields| !fields.is_empty()) {
        // As it was looked at, or not at all.
        patch["metadata"]["uid"] = now["metadata"]["uid"].clone();
        patch["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
        cluster.ask(ctx, async |engine| engine.patch(&at, &patch, Mode::Really).await)?;
    }
    Ok(kept.iter().map(|field| format!("{at}: {field}: left: it is not what the run made of it")).collect())
}

/// Makes an object again that was deleted.
fn again(ctx: &Ctx, cluster: &Cluster, at: &At, effect: &EffectRow) -> Result<Vec<String>, Fail> {
    let lost = || Error::new(Kind::Internal, format!("the journal has nothing of {at}, which was deleted"));
    let journal = Journal::read(&ctx.call.state).map_err(Error::from)?.ok_or_else(lost)?;
    let image = effect.before.as_deref().map(|name| journal.blob(name)).transpose().map_err(Error::from)?.flatten();
    let mut object: Value = serde_json::from_slice(&image.ok_or_else(lost)?).map_err(|_| lost())?;
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for own in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            meta.remove(own);
        }
    }
    cluster.ask(ctx, async |engine| engine.create(at, &object, Mode::Really).await)?;
    Ok(Vec::new())
}
