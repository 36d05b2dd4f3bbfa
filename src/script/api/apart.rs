//! What may not lie in one another: the roots of a copy, its backup directory, the state directory.

use std::path::{Path, PathBuf};

use super::far::Place;
use super::paths::text;
use super::root::is_missing;
use crate::copy::far::{Ground, Look};
use crate::copy::{self, Work};
use crate::error::{Error, Kind};
use crate::host::tree::Root;

/// Refuses two roots of which one is, or lies inside, the other, as far as it can be seen here: a bind mount on another
/// machine is found by the pass.
///
/// # Errors
/// As [`copy::check_pair`]; `not_found` if the directory above the destination is missing, too.
pub(super) fn pair(from: &Root, to: &Root, work: &Work<'_>) -> Result<(), Error> {
    if let (Root::Here(from), Root::Here(to)) = (from, to) {
        return Ok(copy::check_pair(from, to)?);
    }
    let (left, right) = (Spot::of(from, work)?, Spot::of(to, work)?);
    if !left.exists {
        return Err(copy::Error::NotFound { path: from.to_string() }.into());
    }
    let (src, dst) = (from.to_string(), to.to_string());
    let same = left.same_machine(&right);
    if same && right.exists && left.ground.id == right.ground.id {
        return Err(copy::Error::SameDirectory { src, dst }.into());
    }
    if same && right.full.starts_with(&left.full) {
        return Err(copy::Error::DestInsideSource { src, dst }.into());
    }
    if same && left.full.starts_with(&right.full) {
        return Err(copy::Error::SourceInsideDest { src, dst }.into());
    }
    Ok(())
}

/// Refuses a backup directory beside a destination on another machine that lies in one of the roots, or that entries of the
/// destination cannot be moved to.
pub(super) fn backup_there(dir: &Path, from: &Root, to: &Root, work: &Work<'_>) -> Result<(), Error> {
    let place = to.beside(dir.to_owned());
    let (own, source, dest) = (Spot::of(&place, work)?, Spot::of(from, work)?, Spot::of(to, work)?);
    for (name, root, spot) in [("source", from, &source), ("destination", to, &dest)] {
        if own.same_machine(spot) && own.full.starts_with(&spot.full) {
            let message = format!("the backup directory `{place}` lies inside the {name} `{root}`");
            return Err(Error::new(Kind::Invalid, message).hint("choose the backup directory elsewhere"));
        }
    }
    if own.ground.id.dev != dest.ground.id.dev {
        let message = format!("the backup directory `{place}` is not on the file system of the destination");
        return Err(
            Error::new(Kind::Invalid, message).hint("entries are moved there, which works only within one file system")
        );
    }
    Ok(())
}

/// Where a directory is, or would be.
struct Spot {
    /// Of it, or of the one that would hold it.
    ground: Ground,
    /// Its path without links.
    full: PathBuf,
    exists: bool,
}

impl Spot {
    fn of(root: &Root, work: &Work<'_>) -> Result<Self, Error> {
        let looked = root.look(Look::Id, work);
        if let (true, Some(parent), Some(name)) = (is_missing(&looked), root.path().parent(), root.path().file_name()) {
            // A name alone stands in the working directory.
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let ground = root.beside(parent.to_owned()).look(Look::Id, work)?;
            return Ok(Self { full: ground.full.join(name), ground, exists: false });
        }
        let ground = looked?;
        Ok(Self { full: ground.full.clone(), ground, exists: true })
    }

    fn same_machine(&self, other: &Self) -> bool {
        !self.ground.machine.is_empty() && self.ground.machine == other.ground.machine
    }
}

/// Refuses a directory that lies in one of the roots, or holds one.
pub(super) fn apart(what: &str, dir: &Path, [source, dest]: &[&Place; 2]) -> Result<(), Error> {
    // What does not exist yet is judged by the place it would have.
    let place = |path: &Path| {
        let known = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
        known.map(|(part, full)| full.join(path.strip_prefix(part).unwrap_or(Path::new(""))))
    };
    let Some(own) = place(dir) else { return Ok(()) };
    for (name, root) in [("source", source), ("destination", dest)] {
        // What is elsewhere holds nothing of this machine.
        let Some(root) = root.here() else { continue };
        // The state directory may stand above a root, as a home directory does; a backup above one would be odd, not wrong.
        if place(root).is_some_and(|root| own.starts_with(&root)) {
            let message = format!("{what} `{}` lies inside the {name} `{}`", text(dir), text(root));
            return Err(Error::new(Kind::Invalid, message).hint(format!("choose {what} elsewhere")));
        }
    }
    Ok(())
}

/// Refuses a backup directory that entries of the destination cannot be moved to.
pub(super) fn beside(dir: &Path, dest: &Path) -> Result<(), Error> {
    let device = |path: &Path| path.metadata().map(|meta| std::os::unix::fs::MetadataExt::dev(&meta));
    let there = |path: &Path| device(path).or_else(|_| path.parent().map_or(device(path), device));
    let failed = |error| {
        Error::new(Kind::NotFound, format!("the backup directory `{}` cannot be used", text(dir))).because(error)
    };
    if dir.exists() && !dir.is_dir() {
        return Err(Error::new(Kind::Invalid, format!("the backup directory `{}` is no directory", text(dir))));
    }
    if there(dir).map_err(failed)? != there(dest).map_err(failed)? {
        let message = format!("the backup directory `{}` is not on the file system of the destination", text(dir));
        return Err(
            Error::new(Kind::Invalid, message).hint("entries are moved there, which works only within one file system")
        );
    }
    Ok(())
}
