//! "Did you mean": the nearest of a list of names.

use std::collections::BTreeSet;

/// The names nearest to `name`, best first, at most three; none if nothing is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(score, other)| *score > 0.8 || strsim::damerau_levenshtein(name, other) <= 2.min(name.len() / 2))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    // Beside a name that is clearly meant, others only distract.
    scored.into_iter().filter(|(score, _)| *score >= best - 0.05).take(3).map(|(_, other)| other).collect()
}

/// A sentence that names the nearest names, or every known one where there are few and none is near.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    let mut seen = BTreeSet::new();
    known.retain(|name| seen.insert(*name));
    let near = nearest(name, known.iter().copied());
    if !near.is_empty() {
        return Some(format!("did you mean {}?", list(&near, "or")));
    }
    (!known.is_empty() && known.len() <= 12).then(|| format!("known: {}", known.join(", ")))
}

/// `` `a`, `b` or `c` ``
pub(crate) fn list(names: &[&str], last: &str) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [head @ .., tail] => {
            let head: Vec<_> = head.iter().map(|name| format!("`{name}`")).collect();
            format!("{} {last} `{tail}`", head.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        assert_eq!(nearest("retires", ["retries", "key", "undo"]), ["retries"]);
        assert_eq!(nearest("storage-clas", ["move-tree", "storage-class"]), ["storage-class"]);
        assert!(nearest("zzz", ["retries", "key"]).is_empty());
        assert_eq!(hint("zzz", ["a", "b", "a"]).as_deref(), Some("known: a, b"));
    }
}
