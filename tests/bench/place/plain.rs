//! A directory where it is.

use std::fs;
use std::path::{Path, PathBuf};

use super::Side;
use crate::bench::{About, Outcome};

pub(super) struct Plain(PathBuf);

impl Plain {
    pub(super) fn new(dir: PathBuf) -> Outcome<Self> {
        let side = Self(dir.join("mount"));
        fs::create_dir(&side.0).at(&side.0)?;
        Ok(side)
    }

    /// A side that is not there.
    pub(super) fn nowhere() -> Self {
        Self(PathBuf::new())
    }
}

impl Side for Plain {
    fn path(&self) -> &Path {
        &self.0
    }

    fn renew(&mut self) -> Outcome<()> {
        fs::remove_dir_all(&self.0).at(&self.0)?;
        fs::create_dir(&self.0).at(&self.0)
    }

    fn forget(&mut self) -> Outcome<()> {
        Ok(())
    }
}
