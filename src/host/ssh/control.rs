//! Where the sockets of connections are: a private directory for each, with a path short enough for a socket.
//!
//! A process that is killed leaves its connections behind. Each directory tells whose it is, and every process, when it
//! makes its first connection, ends those of processes that are no more.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use super::Error;
use crate::host::process::Process;

/// The longest path of a directory in which ssh can still make its socket: it first binds a longer name beside it.
const LONGEST: usize = 108 - "/ctl.0123456789abcdef".len() - 1;

/// The file that tells whose a directory is.
const OWNER: &str = "owner";

/// The directory of one connection; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Control {
    dir: PathBuf,
}

impl Control {
    /// A new directory below `base`; the first of a process sweeps there.
    pub(super) fn new(base: &Path) -> Result<Self, Error> {
        static SWEEP: Once = Once::new();
        private(base)?;
        // Another base than usual belongs to a test, which sweeps itself.
        if base == self::base() {
            SWEEP.call_once(|| {
                sweep(base);
            });
        }
        let name = uuid::Uuid::now_v7().simple().to_string().split_off(22);
        let dir = base.join(&name);
        if dir.as_os_str().len() > LONGEST {
            let why = format!("its path has more than {} bytes", LONGEST - name.len() - 1);
            return Err(Error::Control { path: base.to_owned(), why });
        }
        // It gets its name once it tells whose it is: a sweep must not find it before.
        let fresh = base.join(format!(".{name}"));
        let failed = |op, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { op, path, source }
        };
        DirBuilder::new().mode(0o700).create(&fresh).map_err(failed("make", &fresh))?;
        let owner = Process::of(std::process::id());
        let owner = serde_json::to_vec(&owner).unwrap_or_default();
        fs::write(fresh.join(OWNER), owner).map_err(failed("write", &fresh))?;
        fs::rename(&fresh, &dir).map_err(failed("name", &fresh))?;
        Ok(Self { dir })
    }

    /// A file of that name in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The socket ssh makes.
    pub(super) fn socket(&self) -> PathBuf {
        self.file(SOCKET)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        end(&self.dir);
    }
}

const SOCKET: &str = "ctl";

/// Where the directories of this user are.
#[must_use]
pub fn base() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("decamp-ssh"));
    // Ten characters of a name and the separator are to come.
    let fits = |dir: &PathBuf| dir.is_absolute() && dir.as_os_str().len() + 12 <= LONGEST;
    let there = |dir: &PathBuf| dir.parent().and_then(|dir| dir.metadata().ok()).is_some_and(|meta| meta.uid() == uid);
    runtime.filter(fits).filter(there).unwrap_or_else(|| PathBuf::from(format!("/tmp/decamp-ssh-{uid}")))
}

/// Makes `base`, and refuses one that others could have prepared.
fn private(base: &Path) -> Result<(), Error> {
    let wrong = |why: String| Error::Control { path: base.to_owned(), why };
    match DirBuilder::new().mode(0o700).create(base) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(wrong(error.to_string())),
    }
    let meta = base.symlink_metadata().map_err(|error| wrong(error.to_string()))?;
    if !meta.is_dir() {
        return Err(wrong("it is no directory".into()));
    }
    if meta.uid() != rustix::process::getuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(wrong("it belongs to another user, or others may look into it".into()));
    }
    Ok(())
}

/// Ends the connections below `base` whose process is no more; how many there were.
pub fn sweep(base: &Path) -> usize {
    let dirs = fs::read_dir(base).into_iter().flatten().flatten().map(|item| item.path());
    let orphan = |dir: &PathBuf| {
        let named = dir.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        let owner = || serde_json::from_slice::<Option<Process>>(&fs::read(dir.join(OWNER)).ok()?).ok().flatten();
        named && owner().is_some_and(|owner| !owner.lives())
    };
    dirs.filter(orphan).map(|dir| end(&dir)).count()
}

/// Ends the connection of a directory, and removes the directory.
fn end(dir: &Path) {
    let socket = dir.join(SOCKET);
    if socket.exists() {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-O", "exit", "-S"]).arg(&socket).arg("decamp");
        // One that does not answer has gone already: there is nobody to tell.
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok();
    }
    fs::remove_dir_all(dir).ok();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_what_the_dead_left_is_swept() {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let base = home.path().join("b");
        let own = Control::new(&base).unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let process = Process::of(child.id());
        child.wait().unwrap();
        let dead = base.join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(OWNER), serde_json::to_vec(&process).unwrap()).unwrap();
        fs::create_dir(base.join(".fresh")).unwrap();
        assert_eq!(sweep(&base), 1);
        assert!(!dead.exists() && own.file(OWNER).exists() && base.join(".fresh").exists());
        let dir = own.dir.clone();
        drop(own);
        assert!(!dir.exists());
    }

    #[test]
    fn a_directory_that_others_can_reach_is_refused() {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let base = home.path().join("b");
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Control::new(&base), Err(Error::Control { .. })));
        fs::remove_dir(&base).unwrap();
        std::os::unix::fs::symlink("/tmp", &base).unwrap();
        assert!(matches!(Control::new(&base), Err(Error::Control { .. })));
        let deep = home.path().join("x".repeat(90));
        assert!(matches!(Control::new(&deep), Err(Error::Control { .. })));
    }
}
