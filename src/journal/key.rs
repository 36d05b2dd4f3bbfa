//! What the key of a step tells: its path of groups and branches, and whether two steps can run at the same time.
//!
//! A key is segments joined by `/`; a segment may end in `[item]`, in which `/` has no meaning.

use super::model::StepKind;

/// The segments of a key.
fn segments(key: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, byte) in key.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b'/' if depth == 0 => {
                parts.push(&key[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&key[start..]);
    parts
}

/// Whether two steps stand in different branches of one `parallel`, so that neither comes after the other.
///
/// Only then does the start of one say nothing about whether a failure of the other was handled.
pub(crate) fn side_by_side(one: &str, other: &str) -> bool {
    let (one, other) = (segments(one), segments(other));
    let paths = one[..one.len() - 1].iter().zip(&other[..other.len() - 1]);
    let group = |segment: &str| segment.split_once('[').map(|(name, _)| name.to_owned());
    match paths.into_iter().find(|(a, b)| a != b) {
        Some((a, b)) => matches!((group(a), group(b)), (Some(a), Some(b)) if a == b),
        None => false,
    }
}

/// The key of a step as the place it is at: a branch is on its own path, not at the end of the path to it.
pub(super) fn place(key: &str, kind: StepKind) -> String {
    if kind == StepKind::Branch { format!("{key}/") } else { key.to_owned() }
}

/// Whether a step runs because the run stops or goes back, and not in the course of the script.
pub(super) fn is_hook(key: &str) -> bool {
    key.starts_with("release:") || key.starts_with("undo:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_branches_of_one_parallel_are_side_by_side() {
        for (one, other) in
            [("move[a]/copy", "move[b]/copy"), ("g/move[a]/x/y", "g/move[b]/z"), ("m[/a/b]/x", "m[/a/c]/x")]
        {
            assert!(side_by_side(one, other), "{one} {other}");
            assert!(side_by_side(other, one), "{other} {one}");
        }
        let branch = |key| place(key, StepKind::Branch);
        assert!(side_by_side(&branch("swap/move[a]"), &branch("swap/move[b]")));
        assert!(side_by_side(&branch("swap/move[a]"), "swap/move[b]/copy"));
        for (one, other) in [
            ("copy", "verify"),
            ("swap[a]", "swap[b]"),
            ("move[a]/copy", "move[a]/verify"),
            ("move[a]/copy", "after"),
            ("copy", "move[a]/copy"),
            ("first[a]/x", "second[b]/x"),
            ("", ""),
        ] {
            assert!(!side_by_side(one, other), "{one} {other}");
        }
    }
}
