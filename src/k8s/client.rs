//! A cluster: how it is reached, and what is known of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;

use super::ask::Ask;
use super::config::Options;
use super::error::{Error, Said};
use super::kinds::{Kind, Kinds};
use super::name::{At, split};
use super::objects::text;

/// The lists in which a server says what it has; see the Aggregated Discovery of Kubernetes.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A cluster. Nothing is read or reached before the first request.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    session: OnceCell<Session>,
    kinds: Mutex<Option<Arc<Kinds>>>,
}

/// The way to a server.
pub(super) struct Session {
    pub(super) client: kube::Client,
    /// Its address, for people.
    pub(super) server: String,
    /// How long a request may take, with all its attempts.
    pub(super) timeout: Duration,
    namespace: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `v1.34.4`.
    pub server: String,
    /// `linux/amd64`.
    pub platform: String,
    /// Its address.
    pub url: String,
    /// By what the cluster is known, whatever it is called: the UID of the namespace `kube-system`; none if that may not
    /// be read.
    pub uid: Option<String>,
}

impl Cluster {
    /// The cluster that `options` lead to.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, session: OnceCell::new(), kinds: Mutex::default() }
    }

    /// How it is reached.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(super) async fn session(&self) -> Result<&Session, Error> {
        let connect = async || {
            let config = self.options.load().await?;
            let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
            let namespace = config.default_namespace.clone();
            let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
            let failed = |source: kube::Error| {
                let source = match plugin {
                    Some(plugin) => Said(format!("the plugin `{plugin}`: {source}")).into(),
                    None => source.into(),
                };
                Error::Login { server: server.clone(), source }
            };
            let client = kube::Client::try_from(config).map_err(failed)?;
            Ok(Session { client, server, timeout: self.options.timeout, namespace })
        };
        self.session.get_or_try_init(connect).await
    }

    /// The namespace that is meant where none is named.
    ///
    /// # Errors
    /// [`Error`] if the configuration cannot be used.
    pub async fn namespace(&self) -> Result<&str, Error> {
        Ok(&self.session().await?.namespace)
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// [`Error`] if it does not answer.
    pub async fn version(&self) -> Result<Version, Error> {
        let session = self.session().await?;
        let said = session.json(&Ask::get("ask for the version".into(), "/version")).await?;
        let uid = match session
            .json(&Ask::get("get `namespaces/kube-system`".into(), "/api/v1/namespaces/kube-system"))
            .await
        {
            Ok(space) => space["metadata"]["uid"].as_str().map(str::to_owned),
            Err(Error::Refused { code: 403 | 404, .. }) => None,
            Err(error) => return Err(error),
        };
        let string = |key: &str| text(&said[key]).to_owned();
        Ok(Version { server: string("gitVersion"), platform: string("platform"), url: session.server.clone(), uid })
    }

    /// The resource type that kubectl would take for `name`.
    ///
    /// # Errors
    /// [`Error::NoKind`] if there is none.
    pub async fn kind(&self, name: &str) -> Result<Arc<Kind>, Error> {
        self.find(name, |kinds| kinds.find(name)).await
    }

    /// The resource type of an object with these fields.
    ///
    /// # Errors
    /// [`Error::NoKind`] if there is none.
    pub async fn kind_of(&self, api_version: &str, kind: &str) -> Result<Arc<Kind>, Error> {
        self.find(&format!("{kind} of {api_version}"), |kinds| kinds.of(api_version, kind)).await
    }

    /// One that was not there a moment ago may be there now.
    async fn find(&self, name: &str, look: impl Fn(&Kinds) -> Option<Arc<Kind>>) -> Result<Arc<Kind>, Error> {
        let known = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = known.as_deref().and_then(&look) {
            return Ok(found);
        }
        let fresh = Arc::new(self.discover().await?);
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fresh));
        match look(&fresh) {
            Some(found) => Ok(found),
            None => {
                let known = fresh.names().map(str::to_owned).collect();
                Err(Error::NoKind { server: self.session().await?.server.clone(), name: name.to_owned(), known })
            }
        }
    }

    async fn discover(&self) -> Result<Kinds, Error> {
        let session = self.session().await?;
        let mut lists: Vec<Value> = Vec::new();
        for root in ["/api", "/apis"] {
            let ask = Ask { accept: DISCOVERY, ..Ask::get("ask for the resource types".into(), root) };
            lists.push(session.json(&ask).await?);
        }
        Kinds::read(&lists).ok_or_else(|| Error::TooOld { server: session.server.clone() })
    }

    /// The object that `TYPE/NAME` names, in `namespace` or else the one that is meant where none is named.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::NoKind`].
    pub async fn at(&self, name: &str, namespace: Option<&str>) -> Result<At, Error> {
        let (kind, own) = split(name)?;
        let kind = self.kind(kind).await?;
        let namespace = self.place(&kind, namespace).await?;
        Ok(At { kind, namespace, name: own.to_owned() })
    }

    /// The namespace of objects of a type.
    pub(super) async fn place(&self, kind: &Kind, namespace: Option<&str>) -> Result<Option<String>, Error> {
        Ok(match namespace {
            _ if !kind.namespaced => None,
            Some(namespace) => Some(namespace.to_owned()),
            None => Some(self.namespace().await?.to_owned()),
        })
    }
}
