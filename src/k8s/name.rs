//! Names of objects as kubectl takes them: `deploy/web`, `pvc/data`, `certificates.cert-manager.io/site`.

use std::fmt;
use std::sync::Arc;

use super::error::Error;
use super::kinds::Kind;

/// Where an object is.
#[derive(Debug, Clone)]
pub struct At {
    /// What it is.
    pub kind: Arc<Kind>,
    /// Its namespace; none for what is in none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl At {
    /// `deployments.apps/web`: how kubectl prints and takes it.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}/{}", self.kind.full(), self.name)
    }

    /// Where the server has it.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.kind.path(self.namespace.as_deref()), encoded(&self.name))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} of namespace {namespace}", self.full()),
            None => f.write_str(&self.full()),
        }
    }
}

/// The type and the name in `TYPE/NAME`.
pub(super) fn split(text: &str) -> Result<(&str, &str), Error> {
    let bad = |why| Error::BadName { name: text.to_owned(), why };
    let (kind, name) = text.split_once('/').ok_or_else(|| bad("it is written TYPE/NAME"))?;
    if kind.is_empty() || name.is_empty() {
        return Err(bad("it is written TYPE/NAME"));
    }
    if name.contains(['/', '%']) || name == "." || name == ".." || name.chars().any(|c| c.is_control() || c == ' ') {
        return Err(bad("its name has characters that no name has"));
    }
    Ok((kind, name))
}

/// A text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_a_type_and_a_name() {
        assert_eq!(split("deploy/web").unwrap(), ("deploy", "web"));
        // Names of RBAC objects have colons.
        assert_eq!(split("clusterrole/system:node").unwrap(), ("clusterrole", "system:node"));
        for bad in ["web", "deploy/", "/web", "a/b/c", "a/..", "a/%2e", "a/b c", "a/b\n"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_means_something_in_an_address_is_encoded() {
        assert_eq!(encoded("app=web,tier in (a)"), "app%3Dweb%2Ctier%20in%20%28a%29");
        assert_eq!(encoded("web-0.x_y~z"), "web-0.x_y~z");
    }
}
