//! Our connection lent to a program that starts `ssh` itself.

use std::sync::Arc;

use super::master::Master;

/// A connection that lives as long as this.
#[derive(Debug)]
pub struct Shell {
    words: String,
    _master: Arc<Master>,
}

impl Shell {
    pub(super) fn new(master: Arc<Master>) -> Self {
        // As in a session of ours: without the connection it can make none of its own.
        let socket = master.socket().display().to_string().replace('\'', "''");
        let words = format!(
            "ssh -F /dev/null -T -oBatchMode=yes -oLogLevel=ERROR -oControlMaster=no -oProxyCommand=false '-S{socket}'"
        );
        Self { words, _master: master }
    }

    /// The command line in front of a host's name, as rsync's `-e` takes it: in single quotes, doubled inside. The host
    /// may have any name.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }
}
