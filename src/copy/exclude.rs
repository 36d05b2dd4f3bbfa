//! Which entries are left out: rsync's pattern rules, on bytes.

/// A list of patterns; the first that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Exclude;
