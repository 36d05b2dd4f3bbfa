//! Where a cluster is and who asks: a kubeconfig with its contexts, plugins and proxies, or the pod decamp runs in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Config;
use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::error::Error;

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The kubeconfig; none: as kubectl finds it, and else that of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context; none: the current one.
    pub context: Option<String>,
    /// The namespace where none is named; none: that of the context.
    pub namespace: Option<String>,
    /// How long a request may take, with all its attempts.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { kubeconfig: None, context: None, namespace: None, timeout: Duration::from_secs(30) }
    }
}

impl Options {
    /// The configuration of the client. Reads files, and starts nothing.
    pub(super) async fn load(&self) -> Result<Config, Error> {
        let mut config = match self.file()? {
            Some((file, from)) => self.of_file(file, &from).await?,
            None => self.of_pod()?,
        };
        if let Some(namespace) = &self.namespace {
            config.default_namespace.clone_from(namespace);
        }
        // See `ask`.
        (config.connect_timeout, config.default_retry) = (None, false);
        if let Some(exec) = &mut config.auth_info.exec {
            // Else it would take what is typed at a prompt of ours.
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        Ok(config)
    }

    /// The kubeconfig with its name in messages, if there is one.
    fn file(&self) -> Result<Option<(Kubeconfig, String)>, Error> {
        let failed =
            |from: &str, source: KubeconfigError| Error::Config { from: from.to_owned(), source: source.into() };
        if let Some(path) = &self.kubeconfig {
            let from = named(path);
            return Ok(Some((Kubeconfig::read_from(path).map_err(|error| failed(&from, error))?, from)));
        }
        if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            let from = format!("of $KUBECONFIG ({})", list.display());
            // As kubectl does it: of several those that are there.
            let there: Vec<_> = std::env::split_paths(&list).filter(|path| path.exists()).collect();
            if there.is_empty() {
                return Err(failed(&from, KubeconfigError::FindPath));
            }
            let merged =
                there.iter().try_fold(Kubeconfig::default(), |merged, path| merged.merge(Kubeconfig::read_from(path)?));
            return Ok(Some((merged.map_err(|error| failed(&from, error))?, from)));
        }
        let Some(path) = std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists()) else {
            return Ok(None);
        };
        let from = named(&path);
        Ok(Some((Kubeconfig::read_from(&path).map_err(|error| failed(&from, error))?, from)))
    }

    async fn of_file(&self, file: Kubeconfig, from: &str) -> Result<Config, Error> {
        if let Some(context) = &self.context {
            let known: Vec<_> = file.contexts.iter().map(|context| context.name.clone()).collect();
            if !known.contains(context) {
                return Err(Error::NoContext { from: from.to_owned(), context: context.clone(), known });
            }
        }
        let wanted = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(file, &wanted).await;
        config.map_err(|source| Error::Config { from: from.to_owned(), source: source.into() })
    }

    fn of_pod(&self) -> Result<Config, Error> {
        if self.context.is_some() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
            return Err(Error::NoConfig);
        }
        Config::incluster().map_err(|source| Error::Config { from: "of this pod".to_owned(), source: source.into() })
    }
}

fn named(path: &Path) -> String {
    format!("`{}`", path.display())
}
