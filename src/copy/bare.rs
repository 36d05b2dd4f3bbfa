//! Whether a directory holds anything that a copy would look at.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::end::End;
use super::error::Error;
use super::exclude::Exclude;
use super::identity::open_root;
use super::listing::{Buffer, Listing};
use super::{names, sys};

/// Whether the directory `root` holds nothing but what belongs to decamp or to the file system (`.decamp-run`, the
/// `lost+found` of a file system's root).
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::Io`].
pub fn bare(root: &Path) -> Result<bool, Error> {
    is_bare(End::Here(open_root(root)?.as_fd()), root.as_os_str().as_bytes(), &Exclude::default())
}

/// The same of a directory that is open, wherever it is; what is left out does not count.
pub(super) fn is_bare(root: End<'_>, path: &[u8], exclude: &Exclude) -> Result<bool, Error> {
    let meta = root.meta().map_err(Error::io("stat", path))?;
    // A descriptor of its own: the listing must not move the offset of the one the walk uses.
    let dir = root.dir(c".").map_err(Error::io("open", path))?;
    let (mut listing, mut buffer) = (Listing::default(), Buffer::default());
    loop {
        let keep = |name: &CStr, kind| {
            !names::is_special(name, kind, true, &[(root, Some(&meta))])
                && (kind == sys::Kind::Dir || !names::is_temp(name.to_bytes()))
                && !exclude.matches(name.to_bytes(), kind == sys::Kind::Dir)
        };
        let more = dir.lend().list(&mut listing, &mut buffer, keep).map_err(Error::io("list", path))?;
        if !listing.items.is_empty() || !more {
            return Ok(listing.items.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_belongs_to_a_run_is_nothing_and_everything_else_is_something() {
        let dir = tempfile::tempdir().unwrap();
        assert!(bare(dir.path()).unwrap());
        std::fs::write(dir.path().join(super::super::claim::NAME), "x").unwrap();
        assert!(bare(dir.path()).unwrap());
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(!bare(dir.path()).unwrap(), "this is not the root of a file system");
    }
}
