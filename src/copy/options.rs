//! What a caller may ask of the tree engine. Every field says its default.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::exclude::Exclude;
use super::identity::RootId;
use crate::rate::Rate;
use crate::units::Bytes;

/// A property that a destination or the user's rights may be unable to hold; accepted by name with `--accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Owner and group cannot be set (not root, or the server squashes them).
    Owner,
    /// Extended attributes in `user.`, `trusted.` or `security.`, file capabilities apart.
    Xattr,
    /// POSIX access control lists.
    Acl,
    /// File capabilities (`security.capability`).
    Capability,
    /// Several names of one file become several files.
    Hardlink,
    /// Holes are written out as zeros.
    Holes,
    /// Times are rounded by the destination.
    Times,
    /// Sockets, and devices where the right to make them is missing, are left out.
    Special,
    /// Entries of the source that may not be read are left out.
    Unreadable,
    /// The source is empty and the destination is not.
    EmptySource,
}

impl Loss {
    /// Every loss, in the order they are documented.
    pub const ALL: [Self; 10] = [
        Self::Owner,
        Self::Xattr,
        Self::Acl,
        Self::Capability,
        Self::Hardlink,
        Self::Holes,
        Self::Times,
        Self::Special,
        Self::Unreadable,
        Self::EmptySource,
    ];

    /// The word by which a person accepts the loss.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Xattr => "xattr",
            Self::Acl => "acl",
            Self::Capability => "capability",
            Self::Hardlink => "hardlink",
            Self::Holes => "holes",
            Self::Times => "times",
            Self::Special => "special",
            Self::Unreadable => "unreadable",
            Self::EmptySource => "empty-source",
        }
    }

    /// The loss of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|loss| loss.name() == name)
    }
}

/// How much a pass may delete; the whole pass is refused before the first deletion if it would be more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDelete {
    /// So many entries.
    Count(u64),
    /// So many hundredths of the entries the destination holds, rounded up.
    Percent(u8),
}

impl Default for MaxDelete {
    fn default() -> Self {
        Self::Percent(5)
    }
}

impl MaxDelete {
    /// How many of a destination's entries may be deleted.
    #[must_use]
    pub fn limit(self, dest_entries: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                u64::try_from((u128::from(dest_entries) * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX)
            }
        }
    }
}

/// How a re-sync finds out whether a file is the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Equality {
    /// Same size and same time of change to the nanosecond (or to the destination's granularity, if accepted).
    #[default]
    Meta,
    /// Same content, read on both sides.
    Content,
}

/// What happens to entries of the destination that a pass would replace or delete and that this run did not make.
///
/// A change of metadata alone is neither: it is made in place, and the former metadata is recorded for undo.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Foreign {
    /// They are left alone; each is a failed entry of kind `conflict`.
    Refuse,
    /// They are moved to the same place below this directory, which must be on the destination's file system.
    Backup(PathBuf),
    /// They are replaced or deleted for good.
    #[default]
    Allow,
}

/// Options of one pass of [`super::tree`].
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Remove what the source does not have. Default: no.
    pub delete: bool,
    /// The guard of `delete`. Default: 5 % of the destination's entries.
    pub max_delete: MaxDelete,
    /// Another pass, with `delete`, follows: what only that one may remove is skipped instead of failed. Default: no.
    pub more_follow: bool,
    /// Entries left out on both sides: neither copied, compared nor deleted. Default: none.
    pub exclude: Exclude,
    /// Do not descend into other file systems mounted below the source. Default: descend.
    pub one_file_system: bool,
    /// How equality is decided. Default: size and time.
    pub equality: Equality,
    /// Losses the user has accepted by name. Default: none.
    pub accept: BTreeSet<Loss>,
    /// Workers. Default: the engine measures and tunes while running.
    pub jobs: Option<NonZeroUsize>,
    /// What happens to entries this run did not make. Default: they are replaced or deleted.
    pub foreign: Foreign,
    /// Only say what would be done; nothing is written anywhere. Default: no.
    pub dry_run: bool,
    /// The roots as they were found when the run began; a pass over any other pair is refused. Default: any.
    pub expect: Option<(RootId, RootId)>,
    /// From this size on a file is resumed inside, and its progress is recorded each time so much was copied.
    /// Default: 64 MiB.
    pub big_file: Option<Bytes>,
    /// How fast file content may be written; shared with whoever has a clone. Default: no limit.
    pub rate: Rate,
    /// Directory in which it is kept what passes have proved, so that a later one need not look at attributes again;
    /// made when first needed. Not for work with a checkpoint that keeps: that remembers more. Default: none.
    pub recall: Option<PathBuf>,
}

/// How much content [`super::compare`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// None: metadata, link targets, xattrs and ACLs only.
    None,
    /// About so many hundredths of the files, chosen by a hash of their path: the same ones each time.
    Sample(u8),
    /// All of it.
    #[default]
    Full,
}

/// Options of [`super::compare`].
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// How much content is read. Default: all.
    pub content: Content,
    /// Entries left out on both sides. Default: none.
    pub exclude: Exclude,
    /// Do not descend into other file systems. Default: descend.
    pub one_file_system: bool,
    /// Properties that need not agree. Default: all must.
    pub accept: BTreeSet<Loss>,
    /// Workers. Default: tuned.
    pub jobs: Option<NonZeroUsize>,
}

/// Options of [`super::scan`].
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Read all content and put it into the digest. Default: no.
    pub content: bool,
    /// Look at xattrs, ACLs and capabilities of every entry. Default: no.
    pub xattrs: bool,
    /// Look at the first [`QUICK`](super::scan::QUICK) entries only; of all others the name and the type are counted
    /// and nothing else is asked, so that sizes, owners and the like are those of a part. There is no digest.
    /// Default: no.
    pub quick: bool,
    /// Entries left out. Default: none.
    pub exclude: Exclude,
    /// Do not descend into other file systems. Default: descend.
    pub one_file_system: bool,
    /// Workers. Default: tuned.
    pub jobs: Option<NonZeroUsize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_destination_is_rounded_up() {
        assert_eq!(MaxDelete::Percent(5).limit(101), 6);
        assert_eq!(MaxDelete::Percent(5).limit(0), 0);
        assert_eq!(MaxDelete::Percent(100).limit(7), 7);
        assert_eq!(MaxDelete::Count(3).limit(1_000), 3);
    }
}
