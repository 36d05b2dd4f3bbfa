//! Points in time for people, in the time zone of whoever reads.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

fn local(ms: i64) -> Option<Zoned> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_zoned(TimeZone::system()))
}

/// `2026-11-21 02:46`.
pub(crate) fn minute(ms: i64) -> String {
    local(ms).map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

/// `2026-11-21 02:46:07.125`.
pub(crate) fn exact(ms: i64) -> String {
    local(ms).map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}
