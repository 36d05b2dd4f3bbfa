//! Objects: one, and all of a type.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::ask::Ask;
use super::client::Cluster;
use super::error::Error;
use super::name::At;

/// How many objects a server gives at once.
const PAGE: &str = "500";

/// How often a list is begun anew, because the server has forgotten where it was.
const AGAIN: u32 = 3;

/// Which objects of a type.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// Of this namespace; none: the one that is meant where none is named.
    pub namespace: Option<String>,
    /// Of all namespaces.
    pub everywhere: bool,
    /// With these labels: `app=web,tier!=db`.
    pub labels: String,
    /// With these fields: `status.phase=Running`.
    pub fields: String,
}

/// A text of an object; empty if it is not there.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Without what only the server reads.
pub(super) fn tidy(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    object
}

impl Cluster {
    /// An object; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn get(&self, at: &At) -> Result<Option<Value>, Error> {
        match self.session().await?.json(&Ask::get(format!("get `{at}`"), at.path())).await {
            Ok(object) => Ok(Some(tidy(object))),
            Err(Error::Refused { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same within a time that may be shorter than that of a request.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn look(&self, at: &At, within: Duration) -> Result<Option<Value>, Error> {
        match timeout(within, self.get(at)).await {
            Ok(looked) => looked,
            Err(_) => Err(Error::Silent { server: self.session().await?.server.clone(), after: within, last: None }),
        }
    }

    /// Every object of the type `kind` that `select` means, as `apiVersion` and `kind` say it of each.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn list(&self, kind: &str, select: &Select) -> Result<Vec<Value>, Error> {
        let kind = self.kind(kind).await?;
        let namespace = if select.everywhere { None } else { self.place(&kind, select.namespace.as_deref()).await? };
        let place = namespace.as_deref().map(|name| format!(" of namespace {name}")).unwrap_or_default();
        let first = Ask::get(format!("list `{}`{place}", kind.full()), kind.path(namespace.as_deref()))
            .with("labelSelector", &*select.labels)
            .with("fieldSelector", &*select.fields)
            .with("limit", PAGE);
        let session = self.session().await?;
        let mut begun = 0;
        'anew: loop {
            let (mut all, mut from) = (Vec::new(), String::new());
            loop {
                let mut page = match session.json(&first.clone().with("continue", &*from)).await {
                    Err(Error::Refused { code: 410, .. }) if begun < AGAIN => {
                        begun += 1;
                        continue 'anew;
                    }
                    page => page?,
                };
                if let Value::Array(items) = page["items"].take() {
                    all.extend(items.into_iter().map(|mut item| {
                        // A list says it once for all.
                        item["apiVersion"] = kind.api_version().into();
                        item["kind"] = kind.kind.as_str().into();
                        tidy(item)
                    }));
                }
                text(&page["metadata"]["continue"]).clone_into(&mut from);
                if from.is_empty() {
                    return Ok(all);
                }
            }
        }
    }
}
