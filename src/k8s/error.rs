//! What goes wrong with a cluster.

use std::time::Duration;

use crate::units::show_duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing that says where a cluster is.
    #[error("there is no kubeconfig, and this is no pod of a cluster")]
    NoConfig,
    /// What says where the cluster is cannot be used.
    #[error("the kubeconfig {from} cannot be used")]
    Config { from: String, source: Source },
    /// The kubeconfig has no such context.
    #[error("the kubeconfig {from} has no context `{context}`")]
    NoContext { from: String, context: String, known: Vec<String> },
    /// The server cannot be reached.
    #[error("cannot reach the cluster at {server}")]
    Unreachable { server: String, source: Source },
    /// The server did not answer in time.
    #[error("the cluster at {server} did not answer within {}", show_duration(*.after))]
    Silent { server: String, after: Duration, last: Option<Source> },
    /// The server's certificate is not that of the cluster.
    #[error("the cluster at {server} cannot be trusted")]
    Untrusted { server: String, source: Source },
    /// Nobody could log in.
    #[error("cannot log in to the cluster at {server}")]
    Login { server: String, source: Source },
    /// The server has no such resource type.
    #[error("the cluster at {server} has no resource type `{name}`")]
    NoKind { server: String, name: String, known: Vec<String> },
    /// A server without the discovery that is needed.
    #[error("the cluster at {server} is older than Kubernetes 1.27")]
    TooOld { server: String },
    /// What was given names no object.
    #[error("`{name}` does not name an object: {why}")]
    BadName { name: String, why: &'static str },
    /// The server refused what was asked.
    #[error("cannot {what}")]
    Refused { what: String, code: u16, reason: String, said: Source },
    /// The name is that of another object by now.
    #[error("{what} is not the object that is meant: another one has its name by now")]
    Another { what: String },
    /// The server said something that is no answer.
    #[error("the cluster at {server} gave no proper answer to `{what}`")]
    Answer { server: String, what: String, source: Source },
}

impl Error {
    /// Whether the server may answer later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused { code, .. } => matches!(code, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// A text that is a cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(pub(super) String);
