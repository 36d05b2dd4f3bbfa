//! What the server lets us do.

use http::Method;
use serde_json::json;

use super::ask::Ask;
use super::client::Cluster;
use super::error::Error;

/// What may be allowed.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// Of the API: `delete`.
    pub verb: &'q str,
    /// A resource type as kubectl takes it.
    pub kind: &'q str,
    /// One object alone; empty: any.
    pub name: &'q str,
    /// A part of it, such as `scale`; empty: the object itself.
    pub sub: &'q str,
    /// None: the one that is meant where none is named.
    pub namespace: Option<&'q str>,
    /// In all namespaces.
    pub everywhere: bool,
}

impl Cluster {
    /// Whether whoever asks may do that.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer, or has no such type.
    pub async fn can_i(&self, question: &Question<'_>) -> Result<bool, Error> {
        let kind = self.kind(question.kind).await?;
        let namespace = if question.everywhere { None } else { self.place(&kind, question.namespace).await? };
        let what = format!("ask whether `{}` of `{}` is allowed", question.verb, kind.full());
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace.unwrap_or_default(), "verb": question.verb, "group": kind.group,
                "resource": kind.plural, "subresource": question.sub, "name": question.name,
            } },
        });
        // Nothing is made of it.
        let ask = Ask {
            method: Method::POST,
            body: Some(("application/json", review)),
            ..Ask::get(what, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        };
        Ok(self.session().await?.json(&ask).await?["status"]["allowed"] == true)
    }
}
