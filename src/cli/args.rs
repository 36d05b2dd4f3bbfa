//! Arguments that several subcommands share, and how their values are read.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::copy::exclude::Exclude;
use crate::copy::options::{Loss, MaxDelete};
use crate::error::Error;
use crate::units::parse_duration;

/// Which entries of a tree are looked at, and by how many workers.
#[derive(Debug, Args)]
pub(crate) struct Walk {
    /// Leave out entries matching this pattern, by rsync's rules; repeatable, the first match decides
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub(crate) exclude: Vec<String>,

    /// Do not enter other file systems mounted below
    #[arg(long, short = 'x')]
    pub(crate) one_file_system: bool,

    /// Work on so many entries at once [default: tuned while running]
    #[arg(long, short = 'j', value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

impl Walk {
    pub(crate) fn patterns(&self) -> Result<Exclude, Error> {
        Ok(Exclude::parse(&self.exclude)?)
    }
}

/// What may be lost.
#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// Accept the loss of these properties, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = losses())]
    accept: Vec<Loss>,
}

impl Accept {
    pub(crate) fn set(&self) -> BTreeSet<Loss> {
        self.accept.iter().copied().collect()
    }
}

fn losses() -> impl TypedValueParser<Value = Loss> {
    PossibleValuesParser::new(Loss::ALL.map(Loss::name)).try_map(|name| Loss::from_name(&name).ok_or("not a property"))
}

/// Reads a span of time.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Reads `100` or `5%`.
pub(crate) fn max_delete(text: &str) -> Result<MaxDelete, String> {
    let bad = || "give a count such as 100, or a share such as 5% (at most 100%)".to_owned();
    match text.strip_suffix('%') {
        Some(share) => share.parse().ok().filter(|share| *share <= 100).map(MaxDelete::Percent).ok_or_else(bad),
        None => text.parse().map(MaxDelete::Count).map_err(|_| bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deletion_guard_takes_counts_and_shares() {
        assert_eq!(max_delete("100"), Ok(MaxDelete::Count(100)));
        assert_eq!(max_delete("5%"), Ok(MaxDelete::Percent(5)));
        for bad in ["", "%", "-1", "101%", "5 %", "many", "1.5%"] {
            assert!(max_delete(bad).is_err(), "{bad}");
        }
    }
}
