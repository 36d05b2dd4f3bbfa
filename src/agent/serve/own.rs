//! What an agent has of its own on the machine: its file and its directory, both of which go with it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::agent::fault::Fault;
use crate::agent::link::{hex, secret};

/// The process's own program, whatever it was started by.
const SELF: &str = "/proc/self/exe";

/// See the module.
pub(super) struct Own {
    /// The file it was started from, if it was named.
    file: Option<PathBuf>,
    /// A directory nobody else can look into.
    dir: Option<PathBuf>,
    /// SHA-256 of the file, in hexadecimal.
    pub sum: Option<String>,
    socket: Option<PathBuf>,
    /// The socket, raw bytes, once it listens.
    pub door: Option<Vec<u8>>,
}

impl Own {
    /// Of the program that was started as `program`, in the directory `dir`, which it removes at the end.
    ///
    /// # Errors
    /// In words, if the directory is not its own.
    pub(super) fn new(program: &Path, dir: Option<PathBuf>) -> Result<Self, String> {
        if let Some(dir) = &dir {
            let meta = fs::symlink_metadata(dir).map_err(|error| format!("cannot use {}: {error}", dir.display()))?;
            if !dir.is_absolute() || !meta.is_dir() || meta.uid() != user() || meta.mode() & 0o077 != 0 {
                let dir = dir.display();
                return Err(format!("{dir} must be an absolute path, belong to this user and be closed to others"));
            }
        }
        let file = program.is_absolute().then(|| program.to_owned()).or_else(|| fs::read_link(SELF).ok());
        let bytes = fs::read(SELF).ok().or_else(|| file.as_ref().and_then(|file| fs::read(file).ok()));
        let sum = bytes.map(|bytes| hex(&Sha256::digest(&bytes)));
        Ok(Self { file, dir, sum, socket: None, door: None })
    }

    /// Nothing at all: for an end within a process that is no agent.
    pub(super) fn none() -> Self {
        Self { file: None, dir: None, sum: None, socket: None, door: None }
    }

    /// Removes the program's file, if it is still the one that runs.
    pub(super) fn unlink(&mut self) -> Result<(), Fault> {
        let Some(file) = self.file.take() else {
            return Err(Fault::refused("remove", b"decamp-agent", "its place is not known"));
        };
        let path = file.as_os_str().as_bytes();
        let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let named = fs::symlink_metadata(&file).map(id).map_err(Fault::io("remove", path))?;
        if fs::metadata(SELF).map(id).is_ok_and(|running| running != named) {
            return Err(Fault::refused("remove", path, "it is not the program that runs"));
        }
        fs::remove_file(&file).map_err(Fault::io("remove", path))
    }

    /// A path for a socket, in a directory nobody else can look into; `None` where there is none.
    pub(super) fn socket(&mut self) -> Option<PathBuf> {
        if self.dir.is_none() {
            self.dir = private_dir();
        }
        let path = self.dir.as_ref()?.join("door");
        // The kernel takes no longer names.
        if path.as_os_str().len() > 100 {
            return None;
        }
        self.socket = Some(path.clone());
        Some(path)
    }

    /// Removes everything, as far as it is still there. What somebody else put into the directory stays, and so does
    /// the directory then.
    pub(super) fn clean(&mut self) {
        if let Some(socket) = self.socket.take() {
            fs::remove_file(socket).ok();
        }
        let Some(dir) = self.dir.take() else { return };
        if self.file.as_ref().is_some_and(|file| file.parent() == Some(&dir)) {
            self.unlink().ok();
        }
        fs::remove_dir(dir).ok();
    }
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn private_dir() -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = runtime.into_iter().chain(["/dev/shm", "/tmp", "/var/tmp"].map(PathBuf::from));
    let name = format!("decamp-{}", secret().ok()?);
    places.filter(|place| place.is_absolute()).map(|place| place.join(&name)).find(|dir| {
        // It must be new: what is there already may be somebody's.
        fs::DirBuilder::new().mode(0o700).create(dir).is_ok()
    })
}
