//! One directory that is far too large.

use std::fs;
use std::path::Path;

use super::content::{Content, past};
use super::{Grown, SEED};
use crate::bench::{About, Outcome};
use crate::support::dress;
use crate::support::rng::Rng;

/// The directory is below the root: a root is often there before the first copy, and treated otherwise.
pub(super) fn grow(root: &Path, files: u64) -> Outcome<Grown> {
    let mut rng = Rng::new(SEED);
    let content = Content::new(&mut rng, 1 << 20);
    let dir = root.join("queue");
    fs::create_dir_all(&dir).at(&dir)?;
    let mut made = Grown { entries: files + 1, bytes: 0 };
    for number in 0..files {
        let path = dir.join(format!("message-{:016x}-{number}", rng.next()));
        let size = rng.index(200);
        fs::write(&path, content.cut(&mut rng, size)).at(&path)?;
        made.bytes += size as u64;
        let (second, nanosecond) = past(&mut rng);
        dress::stamp(&path, second, nanosecond);
    }
    for path in [&*dir, root] {
        let (second, nanosecond) = past(&mut rng);
        dress::stamp(path, second, nanosecond);
    }
    Ok(made)
}
