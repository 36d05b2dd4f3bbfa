//! Changes a few of the files of a tree, always the same ones.
//!
//! Each copier re-syncs a destination of its own in turn. Were others changed each time, what the second one finds
//! to do would depend on how often the first one ran.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SEED;
use crate::bench::{About, Outcome};
use crate::support::rng::Rng;

/// Rewrites about `permille` of a thousand files: half of them keep their size, half grow by a line. `time` makes the
/// content another one than the last time. Returns how many.
pub(crate) fn touch(root: &Path, permille: u64, time: u64) -> Outcome<u64> {
    let mut changed = 0;
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(&dir).at(&dir)? {
            let item = item.at(&dir)?;
            let (path, kind) = (item.path(), item.file_type().at(&dir)?);
            if kind.is_dir() {
                open.push(path);
                continue;
            }
            let below = path.strip_prefix(root).unwrap_or(&path);
            let mut rng = below
                .as_os_str()
                .as_bytes()
                .iter()
                .fold(Rng::new(SEED), |mut rng, byte| Rng::new(rng.next() ^ u64::from(*byte)));
            if !kind.is_file() || rng.below(1000) >= permille {
                continue;
            }
            let long = item.metadata().at(&path)?.len() > 32;
            if long && rng.chance(50) {
                let file = OpenOptions::new().write(true).open(&path).at(&path)?;
                file.write_all_at(format!("CHANGED!{time:08}").as_bytes(), 0).at(&path)?;
            } else {
                let mut file = OpenOptions::new().append(true).open(&path).at(&path)?;
                writeln!(file, "one more line, {time}").at(&path)?;
            }
            changed += 1;
        }
    }
    Ok(changed)
}
