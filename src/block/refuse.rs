//! What is refused before anything is written. Each refusal says what would have gone wrong.

use super::error::Error;
use super::facts::{Facts, Identity};
use super::handle::Kind;
use super::options::Options;

/// Looks at both ends as they were found. The signatures of the target are another matter: they may be our own.
///
/// # Errors
/// The first thing that forbids to copy.
pub(super) fn refuse(source: &Facts, target: &Facts, options: &Options) -> Result<(), Error> {
    if let Some((source_was, target_was)) = &options.expect {
        expected(source, target, source_was, target_was)?;
    }
    if let Some(how) = source.shared_with(target) {
        return Err(Error::Same { source_path: source.path.clone(), target: target.path.clone(), how });
    }
    if target.kind == Kind::Missing && !options.create {
        return Err(Error::NotFound { path: target.path.clone() });
    }
    if target.kind != Kind::Missing && target.size < source.size {
        let (path, target, source_size) = (target.path.clone(), target.size, source.size);
        return Err(Error::Smaller { path, target, source_size });
    }
    if !target.uses.is_empty() {
        return Err(Error::InUse { path: target.path.clone(), by: target.uses.clone() });
    }
    if target.read_only {
        return Err(Error::ReadOnly { path: target.path.clone() });
    }
    if !source.writers.is_empty() && !options.live {
        return Err(Error::InUse { path: source.path.clone(), by: source.writers.clone() });
    }
    Ok(())
}

/// Compares both ends with what they were.
///
/// # Errors
/// [`Error::Swapped`], [`Error::Other`].
pub(super) fn expected(
    source: &Facts,
    target: &Facts,
    source_was: &Identity,
    target_was: &Identity,
) -> Result<(), Error> {
    let made = target.kind == Kind::Missing;
    if source.identity == *target_was && !target_was.0.is_empty() {
        return Err(Error::Swapped { path: source.path.clone(), was: "target" });
    }
    if target.identity == *source_was && !made {
        return Err(Error::Swapped { path: target.path.clone(), was: "source" });
    }
    let other = |facts: &Facts, role, was: &Identity| Error::Other {
        path: facts.path.clone(),
        role,
        expected: was.clone(),
        found: facts.identity.clone(),
    };
    if source.identity != *source_was {
        return Err(other(source, "source", source_was));
    }
    // An image that was to be made has no identity before.
    if target.identity != *target_was && !target_was.0.is_empty() {
        return Err(other(target, "target", target_was));
    }
    Ok(())
}
