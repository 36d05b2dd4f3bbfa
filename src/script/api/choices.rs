//! Options that several functions of `copy::` share.

use super::options::Options;
use crate::copy::options::{Loss, MaxDelete};
use crate::error::{Error, Kind};
use crate::rate::MaxRate;
use crate::script::near;

/// The losses of those names.
pub(super) fn losses(names: &[String]) -> Result<std::collections::BTreeSet<Loss>, Error> {
    names
        .iter()
        .map(|name| {
            Loss::from_name(name).ok_or_else(|| {
                let error = Error::new(Kind::Invalid, format!("`{name}` cannot be accepted"));
                error.hint(
                    near::hint(name, Loss::ALL.map(Loss::name))
                        .unwrap_or_else(|| format!("known: {}", Loss::ALL.map(Loss::name).join(", "))),
                )
            })
        })
        .collect()
}

pub(super) fn max_delete(text: &str) -> Result<MaxDelete, Error> {
    let parsed = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse().ok().filter(|percent| *percent <= 100).map(MaxDelete::Percent),
        None => text.trim().parse().ok().map(MaxDelete::Count),
    };
    parsed.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`{text}` is no limit for deletions"))
            .hint("write a count such as 100, or a share such as 5%")
    })
}

pub(super) fn jobs(options: &mut Options<'_>) -> Result<Option<std::num::NonZeroUsize>, Error> {
    let jobs = options.count("jobs")?.unwrap_or(0);
    let jobs = usize::try_from(jobs).ok().filter(|jobs| *jobs <= 1024);
    let jobs = jobs.ok_or_else(|| Error::new(Kind::Invalid, "`jobs` is at most 1024"))?;
    Ok(std::num::NonZeroUsize::new(jobs))
}

/// A limit on bytes a second: `"50MiB"`, `"none"`, or a number.
pub(super) fn max_rate(options: &mut Options<'_>) -> Result<MaxRate, Error> {
    let Some(given) = options.any("max_rate") else { return Ok(MaxRate::default()) };
    MaxRate::parse(&given.to_string()).map_err(|error| {
        Error::new(Kind::Invalid, format!("option `max_rate`: {error}")).hint("write max_rate: \"50MiB\"")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_of_deletion_are_counts_or_shares() {
        assert_eq!(max_delete("100").unwrap(), MaxDelete::Count(100));
        assert_eq!(max_delete("5%").unwrap(), MaxDelete::Percent(5));
        for wrong in ["", "101%", "-1", "many"] {
            assert!(max_delete(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_loss_that_does_not_exist_names_the_nearest() {
        let error = losses(&["ownr".into()]).unwrap_err();
        assert_eq!(error.hints, ["did you mean `owner`?"]);
    }
}
