//! A real Kubernetes cluster: `tests/cluster/` builds it and brings it up, once for a test process; it ends with the process.
//!
//! Tests that only use it share it, each in a namespace of its own ([`Cluster::shared`]); one that breaks a piece of it has
//! it alone meanwhile ([`Cluster::alone`]), and leaves it whole. With `DECAMP_TEST_KUBECONFIG` it is another cluster, of
//! which no piece can be broken, and which has classes of other names.

mod faults;
mod kubectl;
mod own;
mod selftest;
mod traces;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::skip::skipped;

pub(crate) use faults::{Driver, Node, Piece};
pub(crate) use kubectl::{Namespace, until};
use own::{Failure, Own};

/// A cluster that runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// `None` for one that others brought up.
    own: Option<Own>,
}

/// Who uses it now, and how.
static USE: RwLock<()> = RwLock::new(());

impl Cluster {
    /// The cluster that the tests of this process share. `None`, and *skipped* said, where there can be none.
    pub(crate) fn shared() -> Option<Shared> {
        let guard = USE.read().unwrap_or_else(PoisonError::into_inner);
        Some(Shared { cluster: Self::of_this_process()?, _guard: guard })
    }

    /// The same, if it is one of `tests/cluster/`, with its classes and nodes.
    pub(crate) fn ours() -> Option<Shared> {
        let cluster = Self::shared()?;
        if !cluster.is_ours() {
            skipped("the cluster of DECAMP_TEST_KUBECONFIG has other classes and nodes");
            return None;
        }
        Some(cluster)
    }

    /// The same cluster, which no other test uses meanwhile; its pieces can be broken. Before it is given back they must
    /// run again.
    pub(crate) fn alone() -> Option<Alone> {
        let guard = USE.write().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self::of_this_process()?;
        if !cluster.is_ours() {
            skipped("no piece of the cluster of DECAMP_TEST_KUBECONFIG can be broken");
            return None;
        }
        Some(Alone { cluster, _guard: guard })
    }

    /// Another cluster beside the shared one; it ends when dropped. `None`, and *skipped* said, where there can be none.
    pub(crate) fn another() -> Option<Self> {
        Own::start().map(Self::of).inspect_err(Failure::tell).ok()
    }

    fn of_this_process() -> Option<&'static Self> {
        static ONE: OnceLock<Result<Cluster, Failure>> = OnceLock::new();
        let found = ONE.get_or_init(|| match std::env::var_os("DECAMP_TEST_KUBECONFIG") {
            Some(path) => Ok(Self { kubeconfig: path.into(), kubectl: own::kubectl(), own: None }),
            None => Own::start().map(Self::of),
        });
        found.as_ref().inspect_err(|failure| failure.tell()).ok()
    }

    fn of(own: Own) -> Self {
        Self { kubeconfig: own.dir().join("kubeconfig"), kubectl: own::kubectl(), own: Some(own) }
    }

    /// Whether it is one of `tests/cluster/`, with its classes and nodes.
    pub(crate) fn is_ours(&self) -> bool {
        self.own.is_some()
    }

    /// The file with which it is reached as an administrator.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubectl that fits it.
    pub(crate) fn program(&self) -> &Path {
        &self.kubectl
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("a cluster of this process")
    }
}

/// The shared cluster, in use.
#[derive(Debug)]
pub(crate) struct Shared {
    cluster: &'static Cluster,
    _guard: RwLockReadGuard<'static, ()>,
}

/// The shared cluster, in use by nobody else.
#[derive(Debug)]
pub(crate) struct Alone {
    cluster: &'static Cluster,
    _guard: RwLockWriteGuard<'static, ()>,
}

impl Deref for Shared {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Deref for Alone {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.cluster
    }
}
