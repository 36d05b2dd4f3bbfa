//! What the containers of a pod have printed.

use super::ask::Ask;
use super::client::Cluster;
use super::error::Error;
use super::name::At;

/// More than this the server is not asked for.
pub(crate) const MOST: usize = 1 << 20;

/// Which part of it.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Of this container; none: of the only one.
    pub container: Option<String>,
    /// Of the one before it was started again.
    pub previous: bool,
    /// The last lines only.
    pub tail: Option<u64>,
    /// Of the last seconds only.
    pub since_s: Option<u64>,
}

impl Cluster {
    /// What a pod has printed: the first megabyte of what is asked for.
    ///
    /// # Errors
    /// [`Error`] if the server does not answer or refuses.
    pub async fn logs(&self, pod: &At, options: &LogOptions) -> Result<Vec<u8>, Error> {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let ask = Ask::get(format!("read the log of `{pod}`"), format!("{}/log", pod.path()))
            .with("container", options.container.clone().unwrap_or_default())
            .with("previous", if options.previous { "true" } else { "" })
            .with("tailLines", number(options.tail))
            .with("sinceSeconds", number(options.since_s))
            .with("limitBytes", MOST.to_string());
        self.session().await?.bytes(&Ask { accept: "*/*", ..ask }).await
    }
}
