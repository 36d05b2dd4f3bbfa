//! Changing objects: each time under a condition, so that what was meant is hit, or nothing.

use std::fmt;

use http::Method;
use serde_json::{Value, json};

use super::ask::Ask;
use super::client::Cluster;
use super::error::Error;
use super::name::At;
use super::objects::{text, tidy};

/// Under which name the server keeps what is applied.
const MANAGER: &str = "decamp";

/// How often something is tried again that others changed at the same moment.
const AGAIN: u32 = 5;

/// The annotation by which an object is known that an effect made.
pub const MADE_BY: &str = "decamp/effect";

/// Whether a change is made, or only tried: a trial is checked like a change, and nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Really,
    Trial,
}

/// What becomes of the objects that an object owns when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// Deleted after it.
    Background,
    /// Deleted before it.
    Foreground,
    /// Left, without an owner.
    Orphan,
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        })
    }
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The server has begun it.
    Begun,
    /// There was no such object any more.
    Gone,
    /// There is another one of its name, which was left alone.
    Another,
}

fn change(what: String, mode: Mode, method: Method, path: String, body: (&'static str, Value)) -> Ask {
    let ask = Ask { method, body: Some(body), reads: mode == Mode::Trial, ..Ask::get(what, path) };
    ask.with("dryRun", if mode == Mode::Trial { "All" } else { "" })
}

impl Cluster {
    /// Where the object in a map is to be; `namespace` where it says none.
    ///
    /// # Errors
    /// [`Error::BadName`] if it does not say what it is, [`Error::NoKind`].
    pub async fn place_of(&self, object: &Value, namespace: Option<&str>) -> Result<At, Error> {
        let bad = |why| Error::BadName { name: text(&object["metadata"]["name"]).to_owned(), why };
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        if version.is_empty() || kind.is_empty() {
            return Err(bad("an object has `apiVersion` and `kind`"));
        }
        let name = text(&object["metadata"]["name"]);
        if name.is_empty() {
            return Err(bad("an object has `metadata.name`"));
        }
        let kind = self.kind_of(version, kind).await?;
        let namespace = self.place(&kind, object["metadata"]["namespace"].as_str().or(namespace)).await?;
        Ok(At { kind, namespace, name: name.to_owned() })
    }

    /// Makes an object.
    ///
    /// # Errors
    /// [`Error::Refused`] with `AlreadyExists` if there is one.
    pub async fn create(&self, at: &At, object: &Value, mode: Mode) -> Result<Value, Error> {
        let path = at.kind.path(at.namespace.as_deref());
        let ask = change(format!("create {at}"), mode, Method::POST, path, ("application/json", object.clone()));
        Ok(tidy(self.session().await?.json(&ask).await?))
    }

    /// Makes an object be as `object` says, as far as that says it; the rest is left to others. With `force` also what
    /// others have claimed.
    ///
    /// # Errors
    /// [`Error::Refused`] with `Conflict` if others have claimed what it says.
    pub async fn apply(&self, at: &At, object: &Value, force: bool, mode: Mode) -> Result<Value, Error> {
        let body = ("application/apply-patch+yaml", object.clone());
        let ask = change(format!("apply {at}"), mode, Method::PATCH, at.path(), body)
            .with("fieldManager", MANAGER)
            .with("force", if force { "true" } else { "" });
        // It says the whole: to say it again is harmless.
        Ok(tidy(self.session().await?.json(&Ask { reads: true, ..ask }).await?))
    }

    /// Changes fields of an object, by a merge patch that says which object it is for: `metadata.uid` is in it.
    ///
    /// # Errors
    /// [`Error::Another`] if there is another one, [`Error::Refused`] with code 404 if there is none.
    pub async fn patch(&self, at: &At, changes: &Value, mode: Mode) -> Result<Value, Error> {
        let body = ("application/merge-patch+json", changes.clone());
        let ask = change(format!("change {at}"), mode, Method::PATCH, at.path(), body).with("fieldManager", MANAGER);
        match self.session().await?.json(&Ask { reads: true, ..ask }).await {
            // The server calls it a change of the UID.
            Err(error @ Error::Refused { code: 409 | 422, .. }) => match self.get(at).await? {
                Some(found) if found["metadata"]["uid"] != changes["metadata"]["uid"] => {
                    Err(Error::Another { what: at.to_string() })
                }
                _ => Err(error),
            },
            patched => Ok(tidy(patched?)),
        }
    }

    /// How many replicas an object is to have, and its UID.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn replicas(&self, at: &At) -> Result<Option<(u64, String)>, Error> {
        Ok(self.scale_of(at).await?.map(|scale| (wanted(&scale), text(&scale["metadata"]["uid"]).to_owned())))
    }

    async fn scale_of(&self, at: &At) -> Result<Option<Value>, Error> {
        let ask = Ask::get(format!("read the scale of {at}"), format!("{}/scale", at.path()));
        match self.session().await?.json(&ask).await {
            Ok(scale) => Ok(Some(scale)),
            Err(Error::Refused { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets how many replicas an object is to have; what it was before, `None` if there is no such object.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn scale(&self, at: &At, replicas: u64, mode: Mode) -> Result<Option<u64>, Error> {
        let mut tries = 0;
        loop {
            let Some(scale) = self.scale_of(at).await? else { return Ok(None) };
            let was = wanted(&scale);
            if was == replicas {
                return Ok(Some(was));
            }
            let meta = &scale["metadata"];
            let body = json!({
                "metadata": { "uid": meta["uid"], "resourceVersion": meta["resourceVersion"] },
                "spec": { "replicas": replicas },
            });
            let body = ("application/merge-patch+json", body);
            let ask = change(format!("scale {at}"), mode, Method::PATCH, format!("{}/scale", at.path()), body)
                .with("fieldManager", MANAGER);
            // As it was seen: whoever sees it again after an answer that was lost sees it done.
            match self.session().await?.json(&ask).await {
                Err(Error::Refused { code: 409, .. }) if tries < AGAIN => tries += 1,
                Err(error) if error.is_passing() && tries < AGAIN => tries += 1,
                done => return done.map(|_| Some(was)),
            }
        }
    }

    /// Deletes the object of this UID, and no other of its name.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn delete(
        &self,
        at: &At,
        uid: &str,
        owned: Option<Owned>,
        grace_s: Option<u64>,
    ) -> Result<Deleted, Error> {
        let mut body = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        if let Some(owned) = owned {
            body["propagationPolicy"] = owned.to_string().into();
        }
        if let Some(grace) = grace_s {
            body["gracePeriodSeconds"] = grace.into();
        }
        let body = ("application/json", body);
        let ask = change(format!("delete {at}"), Mode::Really, Method::DELETE, at.path(), body);
        // To delete this very object again is harmless.
        match self.session().await?.json(&Ask { reads: true, ..ask }).await {
            Ok(_) => Ok(Deleted::Begun),
            Err(Error::Refused { code: 404, .. }) => Ok(Deleted::Gone),
            Err(error @ Error::Refused { code: 409, .. }) => match self.get(at).await? {
                Some(object) if object["metadata"]["uid"] != uid => Ok(Deleted::Another),
                Some(_) => Err(error),
                None => Ok(Deleted::Gone),
            },
            Err(error) => Err(error),
        }
    }
}

fn wanted(scale: &Value) -> u64 {
    scale["spec"]["replicas"].as_u64().unwrap_or(0)
}
