//! Paths between scripts and the system: one text form, reversible for any bytes.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};
use crate::units::{path_bytes, path_text};

/// A path as scripts write it, on this machine.
pub(crate) fn path(text: &str) -> Result<PathBuf, Error> {
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
