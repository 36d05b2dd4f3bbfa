//! Who uses a claim: every pod that names it, whatever state it is in.

use serde_json::{Value, json};

use super::client::Cluster;
use super::error::Error;
use super::objects::{Select, text};

impl Cluster {
    /// The pods that use the claim `claim` of `namespace`. One that has ended holds it as well, until it is deleted.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn holders(&self, claim: &str, namespace: Option<&str>) -> Result<Vec<Value>, Error> {
        let select = Select { namespace: namespace.map(str::to_owned), ..Select::default() };
        let pods = self.list("pods.v1", &select).await?;
        let mut all = Vec::new();
        for pod in &pods {
            let Some(read_only) = uses(pod, claim) else { continue };
            let (meta, status) = (&pod["metadata"], &pod["status"]);
            let owner = self.owner_of(pod).await?;
            all.push(json!({
                "name": format!("pods/{}", text(&meta["name"])), "uid": meta["uid"], "phase": status["phase"],
                "node": pod["spec"]["nodeName"], "read_only": read_only, "deleting": !meta["deletionTimestamp"].is_null(),
                "owner": owner.map_or(Value::Null, |owner| owner["name"].clone()),
            }));
        }
        Ok(all)
    }
}

/// Whether a pod uses a claim, and if so only to read.
fn uses(pod: &Value, claim: &str) -> Option<bool> {
    let name = text(&pod["metadata"]["name"]);
    let volumes = pod["spec"]["volumes"].as_array()?;
    let found: Vec<_> = volumes
        .iter()
        .filter(|volume| {
            let own = &volume["persistentVolumeClaim"]["claimName"];
            // The claim of an ephemeral volume is named after the pod.
            own == claim || (!volume["ephemeral"].is_null() && format!("{name}-{}", text(&volume["name"])) == claim)
        })
        .collect();
    let reads = |volume: &&Value| {
        let whole = volume["persistentVolumeClaim"]["readOnly"] == true;
        whole || mounts(pod, text(&volume["name"])).all(|mount| mount["readOnly"] == true)
    };
    (!found.is_empty()).then(|| found.iter().all(reads))
}

/// Every place at which containers of a pod have a volume; a device can be written to always.
fn mounts<'p>(pod: &'p Value, volume: &'p str) -> impl Iterator<Item = &'p Value> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let containers = lists.into_iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    let places = containers.flat_map(|container| {
        ["volumeMounts", "volumeDevices"].into_iter().flat_map(|kind| container[kind].as_array().into_iter().flatten())
    });
    places.filter(move |place| place["name"] == volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(volume: Value, mount: Value) -> Value {
        json!({ "metadata": { "name": "web-0" }, "spec": {
            "volumes": [{ "name": "other", "emptyDir": {} }, volume],
            "containers": [{ "volumeMounts": [{ "name": "other" }, mount] }],
        } })
    }

    #[test]
    fn a_pod_uses_claims_that_it_names_and_those_of_its_own() {
        let claim = |extra: Value| json!({ "name": "data", "persistentVolumeClaim": extra });
        let write = || json!({ "name": "data" });
        assert_eq!(uses(&pod(claim(json!({ "claimName": "c" })), write()), "c"), Some(false));
        assert_eq!(uses(&pod(claim(json!({ "claimName": "c" })), write()), "d"), None);
        assert_eq!(uses(&pod(claim(json!({ "claimName": "c", "readOnly": true })), write()), "c"), Some(true));
        let read = json!({ "name": "data", "readOnly": true });
        assert_eq!(uses(&pod(claim(json!({ "claimName": "c" })), read), "c"), Some(true));
        let own = json!({ "name": "data", "ephemeral": { "volumeClaimTemplate": {} } });
        assert_eq!(uses(&pod(own.clone(), write()), "web-0-data"), Some(false));
        assert_eq!(uses(&pod(own, write()), "data"), None);
    }
}
