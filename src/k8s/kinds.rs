//! The resource types of a cluster, found by the names that kubectl takes.

use std::sync::Arc;

use serde_json::Value;

use super::name::encoded;

/// A resource type of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// Empty for the core of Kubernetes.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `Deployment`.
    pub kind: String,
    /// `deployments`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether it can be scaled.
    pub scales: bool,
    singular: String,
    short: Vec<String>,
}

impl Kind {
    /// `pods`, `deployments.apps`.
    #[must_use]
    pub fn full(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Where the server has its objects.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let space = namespace.map(|name| format!("/namespaces/{}", encoded(name))).unwrap_or_default();
        format!("{root}/{}{space}/{}", self.api_version(), self.plural)
    }
}

/// Every resource type of a cluster, in the order in which a name means them.
#[derive(Debug, Default)]
pub(super) struct Kinds(Vec<Arc<Kind>>);

impl Kinds {
    /// Reads the lists of a server: of the core, and of the groups. `None` if they are not in the form that was asked for.
    pub(super) fn read(lists: &[Value]) -> Option<Self> {
        let mut all = Vec::new();
        for list in lists {
            if list["kind"] != "APIGroupDiscoveryList" {
                return None;
            }
            for group in items(&list["items"]) {
                let name = string(&group["metadata"]["name"]);
                for version in items(&group["versions"]) {
                    let of = |resource: &Value| kind(&name, &string(&version["version"]), resource);
                    all.extend(items(&version["resources"]).iter().map(of).map(Arc::new));
                }
            }
        }
        Some(Self(all))
    }

    /// The type that kubectl would take for `name`: plural, singular, kind or short name, with `.GROUP` or
    /// `.VERSION.GROUP` behind it where that is needed.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Kind>> {
        let name = name.to_lowercase();
        let (word, of) = name.split_once('.').unwrap_or((&name, ""));
        let here = |kind: &&Arc<Kind>| {
            let versioned = || of.strip_prefix(&*kind.version).map(|rest| rest.strip_prefix('.').unwrap_or(rest));
            of.is_empty() || of == kind.group || versioned() == Some(&*kind.group)
        };
        let long = |kind: &&Arc<Kind>| kind.plural == word || kind.singular == word || kind.kind.to_lowercase() == word;
        let short = |kind: &&Arc<Kind>| kind.short.iter().any(|short| short == word);
        let all = || self.0.iter().filter(here);
        all().find(long).or_else(|| all().find(short)).cloned()
    }

    /// The type of an object with these fields.
    pub(super) fn of(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.0.iter().find(|known| known.kind == kind && known.api_version() == api_version).cloned()
    }

    /// Names that may have been meant.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|kind| [&*kind.plural].into_iter().chain(kind.short.iter().map(String::as_str)))
    }
}

fn kind(group: &str, version: &str, resource: &Value) -> Kind {
    // The object may be of another group than the list it is reached by.
    let shown = |key: &str, or: &str| match &resource["responseKind"][key] {
        Value::String(text) if !text.is_empty() => text.clone(),
        _ => or.to_owned(),
    };
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: shown("kind", ""),
        plural: string(&resource["resource"]),
        namespaced: resource["scope"] == "Namespaced",
        scales: items(&resource["subresources"]).iter().any(|sub| sub["subresource"] == "scale"),
        singular: string(&resource["singularResource"]),
        short: items(&resource["shortNames"]).iter().map(string).collect(),
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn kinds() -> Kinds {
        let resource = |plural: &str, kind: &str, short: &[&str], scope: &str| {
            json!({
                "resource": plural, "responseKind": { "group": "", "version": "", "kind": kind }, "scope": scope,
                "singularResource": kind.to_lowercase(), "shortNames": short,
                "subresources": [{ "subresource": "status" }, { "subresource": "scale" }],
            })
        };
        let group = |name: &str, versions: Vec<(&str, Vec<Value>)>| {
            let versions: Vec<_> =
                versions.into_iter().map(|(name, all)| json!({ "version": name, "resources": all })).collect();
            json!({ "metadata": { "name": name }, "versions": versions })
        };
        let core = group(
            "",
            vec![(
                "v1",
                vec![
                    resource("pods", "Pod", &["po"], "Namespaced"),
                    resource("events", "Event", &["ev"], "Namespaced"),
                    resource("nodes", "Node", &["no"], "Cluster"),
                ],
            )],
        );
        let apps = group("apps", vec![("v1", vec![resource("deployments", "Deployment", &["deploy"], "Namespaced")])]);
        let events = group("events.k8s.io", vec![("v1", vec![resource("events", "Event", &["ev"], "Namespaced")])]);
        let new = |version: &'static str| (version, vec![resource("things", "Thing", &["po"], "Namespaced")]);
        let own = group("example.org", vec![new("v2"), new("v1beta1")]);
        let list = |items: Vec<Value>| json!({ "kind": "APIGroupDiscoveryList", "items": items });
        Kinds::read(&[list(vec![core]), list(vec![apps, events, own])]).unwrap()
    }

    #[test]
    fn a_type_is_found_by_every_name_that_kubectl_takes() {
        let kinds = kinds();
        let found = |name: &str| kinds.find(name).map(|kind| format!("{} {}", kind.full(), kind.version));
        for name in ["deploy", "deployment", "deployments", "Deployment", "deployments.apps", "deploy.v1.apps"] {
            assert_eq!(found(name).as_deref(), Some("deployments.apps v1"), "{name}");
        }
        for name in ["po", "pods", "pods.v1", "pods.v1."] {
            assert_eq!(found(name).as_deref(), Some("pods v1"), "{name}");
        }
        assert_eq!(found("events").as_deref(), Some("events v1"));
        assert_eq!(found("events.events.k8s.io").as_deref(), Some("events.events.k8s.io v1"));
        assert_eq!(found("thing").as_deref(), Some("things.example.org v2"));
        assert_eq!(found("things.v1beta1.example.org").as_deref(), Some("things.example.org v1beta1"));
        for name in ["deploys", "pods.apps", "deployments.v2.apps", "", "things.v3.example.org"] {
            assert_eq!(found(name), None, "{name}");
        }
        assert_eq!(kinds.of("example.org/v2", "Thing").unwrap().plural, "things");
        assert!(kinds.of("example.org/v3", "Thing").is_none());
    }

    #[test]
    fn a_type_knows_where_its_objects_are() {
        let kinds = kinds();
        let path = |name: &str, namespace| kinds.find(name).unwrap().path(namespace);
        assert_eq!(path("po", Some("x")), "/api/v1/namespaces/x/pods");
        assert_eq!(path("no", None), "/api/v1/nodes");
        assert_eq!(path("deploy", None), "/apis/apps/v1/deployments");
        assert!(kinds.find("deploy").unwrap().scales && !kinds.find("no").unwrap().namespaced);
    }

    #[test]
    fn a_list_of_an_old_server_is_none() {
        assert!(Kinds::read(&[json!({ "kind": "APIVersions" })]).is_none());
    }
}
