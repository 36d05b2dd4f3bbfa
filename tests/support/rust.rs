//! Rust source as tokens, without comments and strings: enough to see what a file names, and where.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, by its path below the repository.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) lines: usize,
    pub(crate) tokens: Vec<Token>,
}

/// An identifier, `::`, or one other character that is not white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Self { path: path.into(), lines: text.lines().count(), tokens: tokens(text) }
    }

    pub(crate) fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Whether the tokens from `at` on are these.
    pub(crate) fn is(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.word(at + offset) == *word)
    }

    /// `path:line` of a token.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.tokens[at].line)
    }

    /// The names of `mod name;` lines.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &str> {
        (0..self.tokens.len())
            .filter(|&at| self.word(at) == "mod" && self.word(at + 2) == ";")
            .map(|at| self.word(at + 1))
    }
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below a directory of the repository.
pub(crate) fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&repository().join(below), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for item in fs::read_dir(dir).into_iter().flatten() {
        let path = item.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source::new(path.strip_prefix(repository()).unwrap(), &text));
        }
    }
}

/// Splits a text; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '/' if next == Some('/') => at = find(&chars, at, |rest| rest[0] == '\n'),
            '/' if next == Some('*') => at = block_comment(&chars, at),
            '"' => at = string(&chars, at),
            '\'' => at = character(&chars, at),
            ':' if next == Some(':') => {
                out.push(Token { line, text: "::".into() });
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                at = find(&chars, at, |rest| !rest[0].is_alphanumeric() && rest[0] != '_');
                let word: String = chars[start..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && chars.get(at + hashes) == Some(&'"') {
                    at = raw_string(&chars, at + hashes, hashes);
                } else {
                    out.push(Token { line, text: word });
                }
            }
            c => {
                if !c.is_whitespace() {
                    out.push(Token { line, text: c.into() });
                }
                at += 1;
            }
        }
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    out
}

/// Where `stop` first holds, from `at` on.
fn find(chars: &[char], at: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (at..chars.len()).find(|&i| stop(&chars[i..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    find(chars, quote + 1, |rest| rest.starts_with(&end)) + end.len()
}

/// A character, or the quote of a lifetime.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => find(chars, at + 3, |rest| rest[0] == '\'') + 1,
        (_, Some('\'')) => at + 3,
        _ => at + 1,
    }
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let text = r####"
        //! rhai in a doc comment
        fn f<'a>(x: &'a str) -> char { /* clap /* nested */ still */
            let s = "rusqlite \" // still a string"; let r = r##"un"#safe"##; let b = b"kube";
            if x == 'x' || x == '\'' || x == '\u{1f}' { 'y' } else { crate::units::path_text(x) }
        }"####;
    let source = Source::new("x.rs", text);
    let words: Vec<_> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    for hidden in ["rhai", "clap", "nested", "still", "rusqlite", "un", "safe", "kube", "y"] {
        assert!(!words.contains(&hidden), "{hidden} in {words:?}");
    }
    let at = words.iter().position(|word| *word == "units").unwrap();
    assert!(source.is(at - 2, &["crate", "::", "units", "::", "path_text", "("]));
    assert_eq!(source.place(at), "x.rs:5");
}
