//! A script text cut into words, tolerant of everything: for colours, completion, and finding names while somebody
//! types. The parser decides what a text means; this only says where its parts are.

/// What a part of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Blanks and line ends.
    Space,
    /// `// …` or `/* … */`.
    Comment,
    /// A name or keyword.
    Word,
    /// A number.
    Number,
    /// A text, quotes included; of one with `${…}` in it, each piece around the inserted code.
    Text,
    /// An operator or bracket.
    Symbol,
}

/// A part and where it stands, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub part: Part,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// It has no end: the text stops inside it.
    pub open: bool,
}

impl Token {
    /// Its text.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Operators of more than one character, longest first.
const SYMBOLS: [&str; 37] = [
    "<<=", ">>=", "**=", "..=", "??=", "===", "!==", "=>", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "&=",
    "|=", "^=", "&&", "||", "??", "?.", "?[", "::", "..", "**", "<<", ">>", "#{", "->", "|>", "!.", "${", "//", "/*",
];

/// The parts of `text`, every byte in one of them.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    // Depth of braces at which each `${` goes back to its text.
    let mut inserted: Vec<usize> = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (part, length, open) = match first {
            c if c.is_whitespace() => (Part::Space, run(rest, char::is_whitespace), false),
            '/' if rest.starts_with("//") => (Part::Comment, rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => comment(rest),
            '"' | '\'' => quoted(rest, first),
            '`' => template(rest, 1, &mut inserted, depth),
            '}' if inserted.last() == Some(&depth) => {
                inserted.pop();
                template(rest, 1, &mut inserted, depth)
            }
            c if c.is_alphabetic() || c == '_' => (Part::Word, run(rest, |c| c.is_alphanumeric() || c == '_'), false),
            c if c.is_ascii_digit() => (Part::Number, number(rest), false),
            c => {
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).map_or(c.len_utf8(), |s| s.len());
                match &rest[..symbol] {
                    "{" | "#{" => depth += 1,
                    "}" => depth = depth.saturating_sub(1),
                    _ => {}
                }
                (Part::Symbol, symbol, false)
            }
        };
        found.push(Token { part, start: at, end: at + length, open });
        at += length;
    }
    // Inside the code of a text that goes on behind it.
    if let (false, Some(last)) = (inserted.is_empty(), found.last_mut()) {
        last.open |= last.part == Part::Text;
    }
    found
}

/// Whether the text stops inside `${…}`.
#[must_use]
pub fn open_insertion(text: &str) -> bool {
    let mut depth = 0_usize;
    for token in tokens(text).iter().filter(|token| token.part == Part::Text) {
        let piece = token.of(text);
        if piece.ends_with("${") {
            depth += usize::from(piece.starts_with('`'));
        } else if piece.starts_with('}') {
            depth = depth.saturating_sub(1);
        }
    }
    depth > 0
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn number(text: &str) -> usize {
    let whole = run(text, |c| c.is_ascii_alphanumeric() || c == '_');
    // `1..3` is a range and `1.max(2)` a call.
    let fraction = text[whole..].strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    whole + fraction.map_or(0, |rest| 1 + run(rest, |c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Comments nest.
fn comment(text: &str) -> (Part, usize, bool) {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return (Part::Comment, at, false);
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    (Part::Comment, text.len(), true)
}

/// A text or character in plain quotes, which ends with its line at the latest.
fn quoted(text: &str, quote: char) -> (Part, usize, bool) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return (Part::Text, at, true),
            c if c == quote => return (Part::Text, at + 1, false),
            _ => {}
        }
    }
    (Part::Text, text.len(), true)
}

/// A piece of a text in backticks, up to its end or to code that is inserted.
fn template(text: &str, skip: usize, inserted: &mut Vec<usize>, depth: usize) -> (Part, usize, bool) {
    let mut at = skip;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("${") {
            inserted.push(depth);
            return (Part::Text, at + 2, false);
        }
        if rest.starts_with("``") {
            at += 2;
        } else if rest.starts_with('`') {
            return (Part::Text, at + 1, false);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    (Part::Text, text.len(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<(Part, &str)> {
        let all = tokens(text);
        assert_eq!(all.iter().map(|token| token.of(text)).collect::<String>(), text);
        all.iter().filter(|token| token.part != Part::Space).map(|token| (token.part, token.of(text))).collect()
    }

    #[test]
    fn every_byte_is_in_one_part() {
        use Part::{Comment, Number, Symbol, Text, Word};
        assert_eq!(
            parts("let x = #{a: 1.5}; // end"),
            [
                (Word, "let"),
                (Word, "x"),
                (Symbol, "="),
                (Symbol, "#{"),
                (Word, "a"),
                (Symbol, ":"),
                (Number, "1.5"),
                (Symbol, "}"),
                (Symbol, ";"),
                (Comment, "// end"),
            ]
        );
        assert_eq!(
            parts("`a${b}c` + \"d\\\"e\""),
            [(Text, "`a${"), (Word, "b"), (Text, "}c`"), (Symbol, "+"), (Text, "\"d\\\"e\""),]
        );
        assert_eq!(parts("1..3"), [(Number, "1"), (Symbol, ".."), (Number, "3")]);
        assert_eq!(parts("/* a /* b */ c */ é"), [(Comment, "/* a /* b */ c */"), (Word, "é")]);
    }

    #[test]
    fn what_has_no_end_says_so() {
        for (text, open) in [("`abc", true), ("\"abc", true), ("/* a", true), ("`abc`", false), ("/**/", false)] {
            assert_eq!(tokens(text).last().is_some_and(|token| token.open), open, "{text}");
        }
        assert!(open_insertion("`a ${ b"));
        assert!(!open_insertion("`a ${b} c`"));
    }
}
