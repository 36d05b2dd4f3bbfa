//! Space that is held back, so that there is room to write down that there is none: a file of 16 MiB in the state
//! directory, given up when the disk is full and made again by the next writer that finds enough space.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::Error;
use super::open;

/// Name of the file in the state directory.
pub(super) const FILE: &str = "ballast";

/// Its size.
pub(super) const SIZE: u64 = 16 << 20;

/// Whether it is there and takes its space.
pub(super) fn whole(dir: &Path) -> bool {
    // Blocks are of 512 bytes, whatever the file system's own are.
    dir.join(FILE).metadata().is_ok_and(|meta| meta.len() >= SIZE && meta.blocks() * 512 >= SIZE)
}

/// Makes it where there is room for it and a run besides.
pub(super) fn keep(dir: &Path) -> Result<(), Error> {
    if whole(dir) || open::free(dir)? < open::SPACE {
        return Ok(());
    }
    let path = dir.join(FILE);
    match fill(&path) {
        Ok(()) => open::sync_dir(dir),
        // Somebody else took the space meanwhile: what is left of it is freed, and nothing is held back.
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => give_up(dir),
        Err(source) => Err(Error::io("hold space back in", &path, source)),
    }
}

/// Frees the space.
pub(super) fn give_up(dir: &Path) -> Result<(), Error> {
    let path = dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, error)),
        _ => Ok(()),
    }
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write(&mut file)?,
        Err(errno) => return Err(errno.into()),
    }
    file.sync_all()
}

/// For file systems that cannot set space aside. The bytes are noise, because some of those pack what they store.
fn write(file: &mut File) -> std::io::Result<()> {
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut block = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        noise.fill(&mut block);
        file.write_all(&block)?;
    }
    Ok(())
}
