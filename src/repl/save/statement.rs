//! The good lines cut into statements, and what each of them is.

use super::{FLOW, names_it};
use crate::repl::complete::parameters;
use crate::script::session::lex::{Part, Token, tokens};
use crate::script::session::{Good, Session};

/// What a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Import,
    Function,
    /// `let` or `const`: the name it gives.
    Let(String),
    /// A new value for a variable.
    Assign(String),
    /// `for`, `if` and the like.
    Block,
    Expression,
}

/// One statement, without the `;` behind it.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) kind: Kind,
    /// Its value is plain data.
    pub(super) data: bool,
}

const BLOCKS: [&str; 8] = ["for", "while", "loop", "do", "if", "switch", "try", "{"];

const ASSIGNMENTS: [&str; 13] = ["=", "+=", "-=", "*=", "/=", "%=", "**=", "<<=", ">>=", "&=", "|=", "^=", "??="];

impl Statement {
    fn of(text: &str, data: bool) -> Self {
        let words = words(text);
        let said = |at: usize| words.get(at).map_or("", |token| token.of(text));
        let kind = match said(0) {
            "import" => Kind::Import,
            "fn" => Kind::Function,
            "private" if said(1) == "fn" => Kind::Function,
            "let" | "const" => Kind::Let(said(1).to_owned()),
            block if BLOCKS.contains(&block) => Kind::Block,
            first => match assignment(text, &words) {
                Some(_) => Kind::Assign(first.to_owned()),
                None => Kind::Expression,
            },
        };
        Self { text: text.to_owned(), kind, data }
    }

    /// What stands behind the `=` of a `let` or an assignment; else all of it.
    pub(super) fn value(&self) -> &str {
        let words = words(&self.text);
        match (&self.kind, assignment(&self.text, &words)) {
            (Kind::Let(_) | Kind::Assign(_), Some(at)) => self.text[at..].trim_start(),
            _ => &self.text,
        }
    }

    /// Whether it names a variable, function or module.
    pub(super) fn uses(&self, name: &str) -> bool {
        names_it(&self.text, name)
    }

    /// Name and number of parameters of a function, as text.
    pub(super) fn head(&self) -> String {
        let signature = self.text.split('{').next().unwrap_or_default();
        let name = signature.split('(').next().unwrap_or_default().split_whitespace().next_back().unwrap_or_default();
        format!("{name}/{}", parameters(signature).iter().filter(|name| !name.is_empty()).count())
    }

    /// Variables and functions it makes, or may change: by assigning, or by calling a method of one.
    pub(super) fn touches(&self) -> Vec<String> {
        let words = words(&self.text);
        let mut names = self.assigned();
        match &self.kind {
            Kind::Let(name) | Kind::Assign(name) => names.push(name.clone()),
            Kind::Function => names.extend(self.head().split('/').next().map(str::to_owned)),
            Kind::Import => names.extend(words.last().map(|token| token.of(&self.text).to_owned())),
            Kind::Block | Kind::Expression => {}
        }
        let said = |at: usize| words.get(at).map_or("", |token| token.of(&self.text));
        for (at, token) in words.iter().enumerate() {
            let called = said(at + 1) == "." && said(at + 3) == "(";
            let first = at.checked_sub(1).is_none_or(|before| !matches!(said(before), "." | "?." | "::"));
            if token.part == Part::Word && called && first {
                names.push(token.of(&self.text).to_owned());
            }
        }
        names
    }

    /// Whether it has a place of its own in the journal already.
    pub(super) fn flows(&self) -> bool {
        calls(&self.text).iter().any(|name| FLOW.contains(&name.as_str()))
    }

    /// Variables from outside that a block gives a new value.
    pub(super) fn assigned(&self) -> Vec<String> {
        let text = &self.text;
        let words = words(text);
        let mut own: Vec<&str> = Vec::new();
        let mut found: Vec<String> = Vec::new();
        for (at, token) in words.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |before| words[before].of(text));
            let word = token.of(text);
            if matches!(before, "let" | "const" | "for") {
                own.push(word);
            }
            if token.part != Part::Word || matches!(before, "." | "?." | "let" | "const" | ":") {
                continue;
            }
            // `x.y[0] = …` changes x.
            let mut end = at + 1;
            while let Some(next) = words.get(end).map(|token| token.of(text)) {
                match next {
                    "." => end += 2,
                    "[" => match closing(text, &words, end) {
                        Some(close) => end = close + 1,
                        None => break,
                    },
                    _ => break,
                }
            }
            let assigns = words.get(end).is_some_and(|token| ASSIGNMENTS.contains(&token.of(text)));
            if assigns && !own.contains(&word) && !found.iter().any(|name| name == word) {
                found.push(word.to_owned());
            }
        }
        found
    }
}

/// Parts that mean something.
pub(super) fn words(text: &str) -> Vec<Token> {
    tokens(text).into_iter().filter(|token| !matches!(token.part, Part::Space | Part::Comment)).collect()
}

fn closing(text: &str, words: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in words.iter().enumerate().skip(open) {
        match token.of(text) {
            "(" | "[" | "{" | "#{" | "?[" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Where the value of a plain assignment begins.
fn assignment(text: &str, words: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    for token in words {
        match token.of(text) {
            "(" | "[" | "{" | "#{" | "?[" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "|" => return None,
            symbol if depth == 0 && ASSIGNMENTS.contains(&symbol) => return Some(token.end),
            _ => {}
        }
    }
    None
}

/// Every name that is called, `space::name`, `.method` or plain, in order.
pub(super) fn calls(text: &str) -> Vec<String> {
    let words = words(text);
    let said = |at: Option<usize>| at.and_then(|at| words.get(at)).map_or("", |token| token.of(text));
    let mut found = Vec::new();
    for (at, token) in words.iter().enumerate() {
        if token.part == Part::Word && said(Some(at + 1)) == "(" {
            let name = token.of(text);
            found.push(match (said(at.checked_sub(1)), said(at.checked_sub(2))) {
                ("::", space) => format!("{space}::{name}"),
                ("." | "?.", _) => format!(".{name}"),
                _ => name.to_owned(),
            });
        }
    }
    found
}

/// The statements of all good lines, results that later lines use bound to a name.
pub(super) fn all(good: &[Good]) -> Vec<Statement> {
    let referred: Vec<usize> = good.iter().flat_map(|line| refers(&line.text, line.last)).collect();
    let mut all = Vec::new();
    for line in good {
        let text = renamed(&line.text, line.last);
        let parts = split(&text);
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.into_iter().enumerate() {
            let bound = line.number.filter(|number| at == last && referred.contains(number));
            let mut one = Statement::of(&part, line.data);
            if let (Some(number), Kind::Expression) = (bound, &one.kind) {
                one = Statement::of(&format!("let result_{number} = {part}"), line.data);
            }
            all.push(one);
        }
    }
    all
}

/// The numbers of the results a line uses.
fn refers(text: &str, last: Option<usize>) -> Vec<usize> {
    let of = |word: &str| match word.strip_prefix('_') {
        Some("") => last,
        Some(digits) => digits.parse().ok(),
        None => None,
    };
    tokens(text).into_iter().filter(|token| token.part == Part::Word).filter_map(|token| of(token.of(text))).collect()
}

/// `_` and `_3` as names of variables.
fn renamed(text: &str, last: Option<usize>) -> String {
    let mut out = String::new();
    for token in tokens(text) {
        let word = token.of(text);
        match refers(word, last).first() {
            Some(number) if token.part == Part::Word => out.push_str(&format!("result_{number}")),
            _ => out.push_str(word),
        }
    }
    out
}

/// The statements of a text: after a `;`, and after the brace that ends a block.
fn split(text: &str) -> Vec<String> {
    let all = words(text);
    let (mut parts, mut depth) = (Vec::new(), 0_usize);
    let mut start: Option<usize> = None;
    let mut block = false;
    for (at, token) in all.iter().enumerate() {
        let word = token.of(text);
        if start.is_none() {
            start = Some(token.start);
            block = BLOCKS.contains(&word) || matches!(word, "fn" | "private");
        }
        match word {
            "(" | "[" | "{" | "#{" | "?[" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let next = all.get(at + 1).map(|token| token.of(text));
        let ends = depth == 0
            && (word == ";"
                || block && word == "}" && !matches!(next, Some("else" | "catch" | "until" | "while" | "." | ";")));
        if ends && let Some(from) = start.take() {
            parts.push(text[from..token.end].trim_end_matches(';').trim().to_owned());
        }
    }
    if let (Some(from), Some(last)) = (start, all.last()) {
        parts.push(text[from..last.end].trim_end_matches(';').trim().to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A name that says what a statement does.
pub(super) fn name(session: &Session, one: &Statement) -> String {
    let natives = session.docs();
    let called = calls(&one.text).into_iter().find(|name| {
        natives
            .iter()
            .any(|doc| doc.name == *name || doc.name.split_once('.').is_some_and(|(_, own)| name[1..] == *own))
    });
    let texts: Vec<String> = words(&one.text)
        .into_iter()
        .filter(|token| token.part == Part::Text && !token.open)
        .map(|token| token.of(&one.text).trim_matches(['"', '`', '\'']).to_owned())
        .collect();
    let first = calls(&one.text).into_iter().next().unwrap_or_else(|| "look".to_owned());
    let said = match called.as_deref() {
        Some(".exec") => texts.iter().take(3).cloned().collect::<Vec<_>>().join(" "),
        other => {
            let path = texts.iter().rev().find(|text| text.contains('/')).map(String::as_str).unwrap_or_default();
            let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            format!("{} {last}", other.unwrap_or(&first))
        }
    };
    let slug: String =
        said.chars().map(|c| if c.is_alphanumeric() || c == '_' || c == '.' { c } else { ' ' }).collect();
    let slug = slug.split_whitespace().collect::<Vec<_>>().join("-");
    let slug: String = slug.trim_matches('.').chars().take(40).collect();
    if slug.is_empty() { "line".to_owned() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_statements_end() {
        assert_eq!(
            split("let a = #{ b: 1; };\nfor x in a { f(x); } g(); if a { 1 } else { 2 }\nlet c = || { 1; 2 }; // end"),
            ["let a = #{ b: 1; }", "for x in a { f(x); }", "g()", "if a { 1 } else { 2 }", "let c = || { 1; 2 }"]
        );
        assert_eq!(split("fn f(x) { x } f(1)"), ["fn f(x) { x }", "f(1)"]);
    }

    #[test]
    fn statements_know_what_they_are() {
        let kind = |text: &str| Statement::of(text, true).kind;
        assert_eq!(kind("let a = f(|x| x)"), Kind::Let("a".into()));
        assert_eq!(kind("a.b[1] += 2"), Kind::Assign("a".into()));
        assert_eq!(kind("a == 2"), Kind::Expression);
        assert_eq!(kind("f(#{ a: 1 })"), Kind::Expression);
        assert_eq!(Statement::of("let a = f(1)", true).value(), "f(1)");
        let block = Statement::of("for x in xs { let y = x; y += 1; total += y; map.a = x; f(z == 1); }", true);
        assert_eq!(block.assigned(), ["total", "map"]);
        assert_eq!(calls("copy::tree(a.b(1), f(2))"), ["copy::tree", ".b", "f"]);
    }

    #[test]
    fn results_that_are_used_get_a_name() {
        let line = |text: &str, number, last| Good { text: text.into(), number, last, data: true };
        let good = [
            line("copy::scan(\"/a\")", Some(1), None),
            line("_.counts", Some(2), Some(1)),
            line("_1 + 1", Some(3), Some(2)),
        ];
        let texts: Vec<String> = all(&good).into_iter().map(|one| one.text).collect();
        assert_eq!(texts, ["let result_1 = copy::scan(\"/a\")", "result_1.counts", "result_1 + 1"]);
    }
}
