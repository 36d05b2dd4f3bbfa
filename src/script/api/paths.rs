//! Paths between scripts and the system: one text form, reversible for any bytes.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};
use crate::redact;
use crate::units::{path_bytes, path_text};

/// A path as scripts write it, on this machine; never the value of a secret, since paths are kept and shown.
pub(crate) fn path(text: &str) -> Result<PathBuf, Error> {
    match redact::held(text) {
        Some(label) => Err(Error::new(Kind::Invalid, format!("a path holds the value of {label}"))
            .hint("paths are kept in the journal and shown; a value goes to a command in `stdin` or `env`")),
        None => kept_path(text),
    }
}

/// A path that was kept.
pub(crate) fn kept_path(text: &str) -> Result<PathBuf, Error> {
    if text.is_empty() {
        return Err(Error::new(Kind::Invalid, "a path is empty"));
    }
    if text.contains("://") {
        return Err(Error::new(
            Kind::Unsupported,
            format!("`{text}` is on another host; only paths of this machine can be used"),
        ));
    }
    Ok(std::ffi::OsString::from_vec(path_bytes(text)?).into())
}

pub(crate) fn text(path: &Path) -> String {
    path_text(path.as_os_str().as_bytes())
}
