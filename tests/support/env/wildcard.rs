//! Loose comparison of output: `…` stands for anything within a line, a line of `…` alone for any lines. Spaces at the
//! ends of lines and at the end of the text do not count.

/// Whether `text` is as `pattern` says.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let [pattern, text] = [pattern, text].map(|all| all.trim_end().lines().map(str::trim_end).collect::<Vec<_>>());
    lines(&pattern, &text)
}

fn lines(pattern: &[&str], text: &[&str]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([first, rest @ ..], _) if first.trim() == "…" => (0..=text.len()).any(|skip| lines(rest, &text[skip..])),
        ([first, rest @ ..], [line, others @ ..]) => one(first, line) && lines(rest, others),
        _ => false,
    }
}

fn one(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return pattern == line };
    let Some(mut line) = line.strip_prefix(start) else { return false };
    let mut parts: Vec<_> = rest.split('…').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
    }
    line.ends_with(end)
}

#[test]
fn dots_stand_for_anything() {
    let text = "copied 12 files in 0.4 s\nfirst\nsecond\ndone\n";
    for good in [
        text,
        "copied … files in … s\nfirst\nsecond\ndone",
        "copied …\n…\ndone\n",
        "…",
        "…\nsecond\n…",
        "…12…\nfirst\n…\nsecond\ndone",
        "copied 12 files in 0.4 s\n…\nfirst\nsecond\ndone\n…",
    ] {
        assert!(matches(good, text), "{good}");
    }
    for bad in ["copied … dirs…\n…", "copied …\ndone", "…\nthird\n…", "copied …", "", "… s …\n…", "…\ndone\nmore"]
    {
        assert!(!matches(bad, text), "{bad}");
    }
}
