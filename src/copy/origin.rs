//! Where a pass reads from: a root that is held here, or one at another place.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::dir::Budget;
use super::end::EndDir;
use super::error::Error;
use super::far;
use super::far::words::LIST;
use super::identity::{self, RootId};
use super::sys::{self, Meta};
use crate::units::path_text;

/// The root of a source.
pub(super) enum Origin<'a> {
    /// It is here.
    Here { path: &'a Path, fd: OwnedFd },
    /// It is at another place.
    Far(&'a far::Source),
}

impl<'a> Origin<'a> {
    pub(super) fn far(&self) -> Option<&'a far::Source> {
        match self {
            Self::Here { .. } => None,
            Self::Far(source) => Some(source),
        }
    }

    pub(super) fn path(&self) -> &'a [u8] {
        match self {
            Self::Here { path, .. } => path.as_os_str().as_bytes(),
            Self::Far(source) => source.path().as_os_str().as_bytes(),
        }
    }

    pub(super) fn text(&self) -> String {
        path_text(self.path())
    }

    pub(super) fn meta(&self) -> Result<Meta, Error> {
        match self {
            Self::Here { fd, .. } => sys::stat_fd(fd).map_err(Error::io("stat", self.path())),
            Self::Far(source) => Ok(source.meta()),
        }
    }

    pub(super) fn id(&self) -> Result<RootId, Error> {
        match self {
            Self::Here { fd, .. } => identity::of_fd(fd).map_err(Error::io("stat", self.path())),
            Self::Far(source) => Ok(source.root_id().clone()),
        }
    }

    /// How many directories may be open at once.
    pub(super) fn budget(&self) -> Arc<Budget> {
        match self {
            Self::Here { .. } => Budget::of_process(),
            Self::Far(source) => Budget::of_process_and(source.most_open() / 2),
        }
    }

    /// Refuses a root that is not the one expected.
    pub(super) fn check(&self, expected: &RootId) -> Result<(), Error> {
        match self {
            Self::Here { path, fd } => identity::check(path, fd, expected),
            Self::Far(source) => source.check(expected),
        }
    }

    /// The root opened anew, not duplicated: duplicates share the place in the listing. `asked`: what is asked for of
    /// it at another place.
    pub(super) fn open(&self, asked: u8) -> Result<EndDir, Error> {
        match self {
            Self::Here { fd, .. } => sys::open_dir(fd, c".").map(EndDir::Here).map_err(Error::io("open", self.path())),
            Self::Far(source) => source.root(LIST | asked),
        }
    }
}
