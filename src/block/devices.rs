//! The block devices of this machine.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::facts::{self, Facts};
use super::sysfs;

/// One block device.
#[derive(Debug, Clone)]
pub struct Device {
    /// `sda1`.
    pub name: String,
    /// `/dev/sda1`.
    pub path: PathBuf,
    /// The disk it is a partition of.
    pub part_of: Option<String>,
    /// Bytes a logical sector has.
    pub sector_bytes: u64,
    /// Serial number.
    pub serial: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Names in `/dev/disk/by-id` and its neighbours that lead to it.
    pub links: Vec<PathBuf>,
    /// What it is, if it can be opened.
    pub facts: Option<Facts>,
    /// Why it cannot.
    pub error: Option<String>,
}

/// Looks at one device or image of this machine; nothing is held.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotBlock`], or [`Error::Io`] if it cannot be opened or asked.
pub fn look(path: &Path) -> Result<Facts, Error> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    let bytes = path.as_os_str().as_encoded_bytes();
    let text = crate::units::path_text(bytes);
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
    match fd.and_then(|fd| facts::of(&fd, bytes)) {
        Ok(facts) => Ok(facts),
        Err(Errno::NOENT) => Err(Error::NotFound { path: text }),
        Err(Errno::NOTBLK) => Err(Error::NotBlock { path: text }),
        Err(errno) => Err(Error::io("open", &text)(errno)),
    }
}

/// All block devices that have a size, in the order of their names.
///
/// # Errors
/// [`Error::Io`] if the kernel does not list them. A device that cannot be opened is listed with the reason.
pub fn devices() -> Result<Vec<Device>, Error> {
    let class = Path::new("/sys/class/block");
    std::fs::read_dir(class).map_err(|error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        Error::io("list", "/sys/class/block")(errno)
    })?;
    let links = links();
    let mut all = Vec::new();
    for name in sysfs::names(class) {
        let Ok(directory) = class.join(&name).canonicalize() else { continue };
        if sysfs::number(&directory, "size").unwrap_or(0) == 0 {
            continue;
        }
        let disk = sysfs::whole(&directory);
        let of = disk.as_deref().unwrap_or(&directory);
        // The kernel writes a slash in a name as an exclamation mark.
        let path = Path::new("/dev").join(name.replace('!', "/"));
        let looked = std::fs::File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| facts::of(&file, path.as_os_str().as_encoded_bytes()).map_err(|errno| errno.to_string()));
        let (facts, error) = match looked {
            Ok(facts) => (Some(facts), None),
            Err(error) => (None, Some(error)),
        };
        all.push(Device {
            part_of: disk.as_ref().and_then(|disk| Some(disk.file_name()?.to_string_lossy().into_owned())),
            sector_bytes: sysfs::number(of, "queue/logical_block_size").unwrap_or(512),
            serial: ["serial", "device/serial"].iter().find_map(|file| sysfs::text(of, file)),
            model: sysfs::text(of, "device/model"),
            links: links.iter().filter(|(_, node)| *node == path).map(|(link, _)| link.clone()).collect(),
            name,
            path,
            facts,
            error,
        });
    }
    Ok(all)
}

/// Every link below `/dev/disk`, and the node it leads to.
fn links() -> Vec<(PathBuf, PathBuf)> {
    let mut links = Vec::new();
    for kind in sysfs::names(Path::new("/dev/disk")) {
        let directory = Path::new("/dev/disk").join(kind);
        for name in sysfs::names(&directory) {
            let link = directory.join(name);
            links.extend(link.canonicalize().ok().map(|node| (link, node)));
        }
    }
    links
}
