//! Which entries are left out: rsync's pattern rules, on bytes, without merge files.
//!
//! * `name` matches at any depth; `/name` at the root of the tree only; `name/` directories only.
//! * `*` stands for anything but `/`, `**` for anything, `?` for one byte but `/`, `[a-z]`, `[!a-z]`, `[^a-z]` and
//!   `[[:digit:]]` for one byte of a class; in a pattern with any of these, `\` takes the next byte as it is.
//! * A pattern with a `/` inside, or with `**`, is matched against the end of the whole path, any other against the
//!   name alone.
//! * `dir/***` matches the directory and everything in it.
//! * `+ pattern` keeps, `- pattern` or a bare pattern leaves out. The first pattern that matches decides.
//!
//! What is below a directory that is left out is never looked at.

use std::borrow::Cow;

use super::error::Error;

/// A list of patterns; the first that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    rules: Vec<Rule>,
    texts: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    keep: bool,
    dirs_only: bool,
    /// `dir/***`: the pattern without its last `/` and stars matches the directory itself, too.
    also_dir: Option<Vec<u8>>,
    anchored: bool,
    /// Matched against the path, not the name.
    whole_path: bool,
    pattern: Vec<u8>,
}

impl Exclude {
    /// Reads patterns as rsync's `--exclude` and `--filter` take them. A pattern is matched byte for byte; `\xNN` has no
    /// meaning of its own.
    ///
    /// # Errors
    /// [`Error::BadPattern`] for an empty pattern, one with a zero byte, and one that ends in a lone backslash.
    pub fn parse(patterns: &[String]) -> Result<Self, Error> {
        let rules = patterns.iter().map(|text| Rule::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { rules, texts: patterns.to_vec() })
    }

    /// The patterns as they were given.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.texts
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the entry at `path`, raw bytes below the root and without a leading `/`, is left out.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        self.rules.iter().find(|rule| rule.matches(path, is_dir)).is_some_and(|rule| !rule.keep)
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, Error> {
        let bad = |reason| Error::BadPattern { pattern: text.to_owned(), reason };
        let (keep, body) = match text.as_bytes() {
            [b'+', b' ', rest @ ..] => (true, rest),
            [b'-', b' ', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if body.contains(&0) {
            return Err(bad("it holds a zero byte"));
        }
        let (anchored, body) = match body {
            [b'/', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let also_dir = body.strip_suffix(b"/***").map(<[u8]>::to_vec);
        let (dirs_only, body) = match body {
            [rest @ .., b'/'] => (true, rest),
            rest => (false, rest),
        };
        if body.is_empty() {
            return Err(bad("it is empty"));
        }
        // Without wildcards a backslash is a byte like any other.
        let wild = body.iter().any(|byte| b"*?[".contains(byte));
        if wild && body.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1 {
            return Err(bad("it ends in a lone backslash"));
        }
        let escaped: Vec<u8>;
        let body = if wild {
            body
        } else {
            escaped =
                body.iter().flat_map(|&byte| [b'\\', byte].into_iter().skip(usize::from(byte != b'\\'))).collect();
            &escaped
        };
        let whole_path = anchored || body.contains(&b'/') || body.windows(2).any(|pair| pair == b"**");
        Ok(Self { keep, dirs_only, also_dir, anchored, whole_path, pattern: body.to_vec() })
    }

    fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dirs_only && !is_dir {
            return false;
        }
        if is_dir && self.also_dir.as_ref().is_some_and(|pattern| self.matches_with(pattern, path)) {
            return true;
        }
        self.matches_with(&self.pattern, path)
    }

    fn matches_with(&self, pattern: &[u8], path: &[u8]) -> bool {
        if !self.whole_path {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
            return glob(pattern, name);
        }
        if self.anchored {
            return glob(pattern, path);
        }
        if pattern.windows(2).any(|pair| pair == b"**") {
            // A leading slash lets `**/name` match at the root as well; before `*/name` it would stand for a directory.
            let mut slashed = Vec::with_capacity(path.len() + 1);
            slashed.push(b'/');
            slashed.extend_from_slice(path);
            let mut ends = (0..slashed.len()).filter(|&at| slashed[at] == b'/');
            return pattern.starts_with(b"**") && glob(pattern, &slashed)
                || ends.any(|at| glob(pattern, &slashed[at + 1..]));
        }
        // As many of the last components as the pattern has.
        let slashes = pattern.iter().filter(|&&byte| byte == b'/').count();
        let mut starts = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
        match starts.nth(slashes) {
            Some(start) => glob(pattern, &path[start..]),
            None => glob(pattern, path),
        }
    }
}

/// Matches a whole text. Backtracks to the last star only, and to the last double star where a single one is stuck,
/// so that time is bounded by a polynomial of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if the present attempt fails: pattern after the star, text where its share may end next.
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if let Some((after, is_double)) = star(pattern, p) {
            if is_double {
                (double, single) = (Some((after, t)), None);
            } else {
                single = Some((after, t));
            }
            p = after;
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        let step = text.get(t).and_then(|&byte| one(&pattern[p..], byte));
        if let Some(length) = step {
            p += length;
            t += 1;
            continue;
        }
        match (single, double) {
            (Some((after, at)), _) if at < text.len() && text[at] != b'/' => {
                single = Some((after, at + 1));
                (p, t) = (after, at + 1);
            }
            (_, Some((after, at))) if at < text.len() => {
                (single, double) = (None, Some((after, at + 1)));
                (p, t) = (after, at + 1);
            }
            _ => return false,
        }
    }
}

/// If a run of stars begins at `p`: where it ends, and whether it crosses slashes.
fn star(pattern: &[u8], p: usize) -> Option<(usize, bool)> {
    let run = pattern[p..].iter().take_while(|&&byte| byte == b'*').count();
    (run > 0).then_some((p + run, run > 1))
}

/// Whether the pattern begins with something that matches the byte, and how long that something is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => (byte != b'/').then_some(1),
        b'[' => match class(pattern, byte) {
            Some((length, hit)) => (hit && byte != b'/').then_some(length),
            // A bracket that is never closed matches nothing.
            None => None,
        },
        b'\\' => (*pattern.get(1)? == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// Reads a class; `None` if it is not closed.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let mut hit = false;
    let mut first = true;
    loop {
        let here = *pattern.get(at)?;
        if here == b']' && !first {
            return Some((at + 1, hit != negated));
        }
        first = false;
        if here == b'['
            && pattern.get(at + 1) == Some(&b':')
            && let Some(length) = pattern[at + 2..].windows(2).position(|pair| pair == b":]")
        {
            hit |= named(&pattern[at + 2..at + 2 + length], byte)?;
            at += length + 4;
            continue;
        }
        let (low, next) = member(pattern, at)?;
        at = next;
        if pattern.get(at) == Some(&b'-') && pattern.get(at + 1).is_some_and(|&end| end != b']') {
            let (high, next) = member(pattern, at + 1)?;
            at = next;
            hit |= (low..=high).contains(&byte);
        } else {
            hit |= low == byte;
        }
    }
}

fn member(pattern: &[u8], at: usize) -> Option<(u8, usize)> {
    match *pattern.get(at)? {
        b'\\' => Some((*pattern.get(at + 1)?, at + 2)),
        byte => Some((byte, at + 1)),
    }
}

/// `None` for a name that POSIX does not have: such a class matches nothing.
fn named(name: &[u8], byte: u8) -> Option<bool> {
    Some(match Cow::from(name).as_ref() {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => byte == b' ' || byte == b'\t',
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn out(patterns: &[&str], path: &str) -> bool {
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
        Exclude::parse(&patterns).unwrap().matches(path.as_bytes(), is_dir)
    }

    #[test]
    fn single_patterns() {
        for (pattern, path, hit) in [
            ("foo", "foo", true),
            ("foo", "a/b/foo/", true),
            ("foo", "food", false),
            ("/foo", "foo", true),
            ("/foo", "a/foo", false),
            ("foo/", "foo", false),
            ("foo/", "a/foo/", true),
            ("*.o", "a/b.o", true),
            ("/*.o", "a/b.o", false),
            ("a/*.o", "a/b.o", true),
            ("a/*.o", "x/a/b.o", true),
            ("a/*.o", "xa/b.o", false),
            ("a/*.o", "a/c/b.o", false),
            ("/a/**.o", "a/c/b.o", true),
            ("a/**/z", "q/a/b/c/z", true),
            ("**/z", "z", true),
            ("**z", "a/b/z", true),
            ("/a/*/z", "a/b/z", true),
            ("/a/*/z", "a/b/c/z", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("a?b", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]x", "]x", true),
            ("[a-]", "-", true),
            ("[[:digit:][:upper:]]", "Q", true),
            ("[[:digit:]]", "x", false),
            ("[abc", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("d/***", "d/", true),
            ("d/***", "d", false),
            ("d/***", "d/x/y", true),
            ("d/**", "d/", false),
            ("d/**", "d/x/y", true),
            ("a*b*c", "aXbYbZc", true),
            ("a**b*c", "a/b/bxc", true),
            ("- foo", "foo", true),
            ("+ foo", "foo", false),
        ] {
            assert_eq!(out(&[pattern], path), hit, "{pattern} on {path}");
        }
    }

    #[test]
    fn the_first_match_decides() {
        let list = ["+ keep.o", "*.o", "+ */", "- /x/*"];
        assert!(!out(&list, "a/keep.o"));
        assert!(out(&list, "a/b.o"));
        assert!(!out(&list, "x/d/"));
        assert!(out(&list, "x/f"));
    }

    #[test]
    fn stars_do_not_take_exponential_time() {
        let pattern = "a*".repeat(40) + "b";
        assert!(!out(&[&pattern], &"a".repeat(200)));
    }

    #[test]
    fn impossible_patterns_are_refused() {
        for pattern in ["", "/", "- ", "a*\\"] {
            assert!(Exclude::parse(&[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }
}
