//! The trees that are copied: from a seed, the same each time.

mod content;
mod flat;
mod mixed;
mod small;
pub(crate) mod touch;

use std::path::Path;

use super::Outcome;

/// Where a tree's numbers come from; another seed would be another tree.
const SEED: u64 = 7;

/// What a tree is like, and how large.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tree {
    /// Home directories: users of very different sizes, so many files of 1 KiB up to `largest`, links, hard links, xattrs, ACLs.
    Small { files: u64, largest: u64 },
    /// So many files of very different sizes, `bytes` in all, three large ones and four with holes among them.
    Mixed { files: u64, bytes: u64 },
    /// One file.
    Big { bytes: u64 },
    /// One directory with so many files of a few bytes.
    Flat { files: u64 },
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Grown {
    pub(crate) entries: u64,
    /// Bytes of content.
    pub(crate) bytes: u64,
}

impl Tree {
    /// The same at another size.
    #[must_use]
    pub(crate) fn scaled(self, factor: f64) -> Self {
        let scale = |number: u64, least: u64| ((number as f64 * factor).round() as u64).max(least);
        match self {
            Self::Small { files, largest } => Self::Small { files: scale(files, 100), largest },
            Self::Mixed { files, bytes } => Self::Mixed { files: scale(files, 100), bytes: scale(bytes, 4 << 20) },
            Self::Big { bytes } => Self::Big { bytes: scale(bytes, 1 << 20) },
            Self::Flat { files } => Self::Flat { files: scale(files, 100) },
        }
    }

    /// Makes it; `root` must not be there.
    pub(crate) fn grow(self, root: &Path) -> Outcome<Grown> {
        match self {
            Self::Small { files, largest } => small::grow(root, files, largest),
            Self::Mixed { files, bytes } => mixed::grow(root, files, bytes),
            Self::Big { bytes } => mixed::grow_one(root, bytes),
            Self::Flat { files } => flat::grow(root, files),
        }
    }

    /// How many entries it has, about, and how many bytes they take on a file system with blocks of 4 KiB.
    pub(crate) fn room(self) -> (u64, u64) {
        match self {
            Self::Small { files, largest } => (files * 27 / 25 + 500, files * (largest / 2 + 4096)),
            Self::Mixed { files, bytes } => (files + 1000, bytes + bytes / 16 + files * 4096),
            Self::Big { bytes } => (10, bytes),
            Self::Flat { files } => (files + 10, files * 4096),
        }
    }
}
