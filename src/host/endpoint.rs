//! Where data is: a path here, on a host over SSH, or in a pod.

use std::fmt;

use super::ssh::{Dest, Error as SshError};
use crate::units::{path_bytes, path_text};

/// `/path`, `ssh://[user@]host[:port]/path` or `pod://namespace/pod/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// On this machine. The path may be relative to the working directory.
    Local {
        /// Its bytes.
        path: Vec<u8>,
    },
    /// Over SSH.
    Ssh {
        /// Where.
        dest: Dest,
        /// Its bytes, absolute.
        path: Vec<u8>,
    },
    /// In a pod.
    Pod {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// Its bytes, absolute.
        path: Vec<u8>,
    },
}

/// A text that names no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BadEndpoint {
    /// It begins like no endpoint.
    #[error("`{text}` names no place: a place is /path, ssh://[user@]host[:port]/path or pod://namespace/pod/path")]
    Form {
        /// What was given.
        text: String,
    },
    /// The path in it is none.
    #[error("`{text}` names no place")]
    Path {
        /// What was given.
        text: String,
        /// What is wrong.
        #[source]
        source: crate::units::ParseError,
    },
    /// The host in it is none.
    #[error(transparent)]
    Host(#[from] SshError),
}

impl Endpoint {
    /// Reads an endpoint; the path in it has the text form every path has.
    ///
    /// # Errors
    /// [`BadEndpoint`].
    pub fn parse(text: &str) -> Result<Self, BadEndpoint> {
        let form = || BadEndpoint::Form { text: text.to_owned() };
        let bytes = |path: &str| path_bytes(path).map_err(|source| BadEndpoint::Path { text: text.to_owned(), source });
        let absolute = |rest: &str| rest.find('/').map(|at| (rest[..at].to_owned(), rest[at..].to_owned()));
        if let Some(rest) = text.strip_prefix("ssh://") {
            let (host, path) = absolute(rest).ok_or_else(form)?;
            return Ok(Self::Ssh { dest: Dest::parse(&host)?, path: bytes(&path)? });
        }
        if let Some(rest) = text.strip_prefix("pod://") {
            let (namespace, rest) = rest.split_once('/').ok_or_else(form)?;
            let (pod, path) = absolute(rest).ok_or_else(form)?;
            // As Kubernetes has them; so no part of it can be taken for an option either.
            let name = |text: &str| {
                let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                let within = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
                text.len() <= 253
                    && ends(text.chars().next())
                    && ends(text.chars().next_back())
                    && text.chars().all(within)
            };
            if !name(namespace) || !name(&pod) {
                return Err(form());
            }
            return Ok(Self::Pod { namespace: namespace.to_owned(), pod, path: bytes(&path)? });
        }
        if text.is_empty() || text.contains("://") {
            return Err(form());
        }
        Ok(Self::Local { path: bytes(text)? })
    }

    /// The path alone.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Local { path } | Self::Ssh { path, .. } | Self::Pod { path, .. } => path,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = path_text(self.path());
        match self {
            Self::Local { .. } => f.write_str(&path),
            // An address with colons stands in brackets here, also without a port.
            Self::Ssh { dest, .. } if dest.host.contains(':') && dest.port.is_none() => {
                let user = dest.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
                write!(f, "ssh://{user}[{}]{path}", dest.host)
            }
            Self::Ssh { dest, .. } => write!(f, "ssh://{dest}{path}"),
            Self::Pod { namespace, pod, .. } => write!(f, "pod://{namespace}/{pod}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endpoints_are_taken_apart_and_shown_again() {
        for text in [
            "/srv/a",
            "a/b",
            "ssh://root@db1:2222/dev/vdb",
            "ssh://db1/",
            "ssh://[fd00::1]/a\\x0a",
            "pod://apps/web-0/data",
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        let Endpoint::Ssh { dest, path } = Endpoint::parse("ssh://u@h:1/a").unwrap() else { panic!() };
        assert_eq!((dest.user.as_deref(), dest.port, &*path), (Some("u"), Some(1), &b"/a"[..]));
        for text in
            ["", "ssh://h", "ssh:///a", "ssh://-oX/a", "pod://a/b", "pod://A/b/c", "nfs://h/a", "pod://a/-b/c", "a\\x4"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
