//! What a copier lost: an independent comparison of both trees, counted by property.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::check::Check;

/// How many entries differ in each property; none is a faithful copy.
pub(crate) type Lost = BTreeMap<String, u64>;

/// Compares two trees in every property.
pub(crate) fn lost(src: &Path, dst: &Path) -> Lost {
    let mut lost = Lost::new();
    for difference in Check::new().differences(src, dst) {
        *lost.entry(difference.property.to_owned()).or_default() += 1;
    }
    lost
}

/// In words.
pub(crate) fn shown(lost: Option<&Lost>) -> String {
    let Some(lost) = lost else { return "–".into() };
    if lost.is_empty() {
        return "nothing".into();
    }
    lost.iter().map(|(property, entries)| format!("{property} {entries}")).collect::<Vec<_>>().join(", ")
}
