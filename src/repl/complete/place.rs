//! What is being typed at the end of a text.

use crate::script::session::lex::{Part, Token, tokens};

/// The kind of thing that is being typed, what there is of it, and where that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing that could be completed.
    Nothing,
    /// A path inside a text.
    File { typed: String, from: usize },
    /// The path of an import.
    Module { typed: String, from: usize },
    /// Behind a dot: the way from a variable to here, `[]` for an item of a list.
    Key { path: Vec<String>, typed: String, from: usize },
    /// Behind `space::`.
    Member { space: String, typed: String, from: usize },
    /// A key of the map given to a function, and those that are there already.
    Option { function: String, typed: String, from: usize, given: Vec<String> },
    /// A name of any kind.
    Word { typed: String, from: usize },
}

/// The place at the end of `text`.
pub(super) fn of(text: &str) -> Place {
    let all = tokens(text);
    let Some(last) = all.last() else { return Place::Word { typed: String::new(), from: 0 } };
    let words: Vec<Token> =
        all.iter().filter(|token| !matches!(token.part, Part::Space | Part::Comment)).copied().collect();
    let (typed, from, before) = match last.part {
        Part::Comment => return Place::Nothing,
        Part::Text => {
            let piece = last.of(text);
            if !last.open || !piece.starts_with(['"', '`']) {
                return Place::Nothing;
            }
            let (typed, from) = (piece[1..].to_owned(), last.start + 1);
            let import = words.iter().rev().nth(1).is_some_and(|token| token.of(text) == "import");
            return if import { Place::Module { typed, from } } else { Place::File { typed, from } };
        }
        Part::Number => return Place::Nothing,
        Part::Word => (last.of(text).to_owned(), last.start, &words[..words.len() - 1]),
        Part::Space | Part::Symbol => (String::new(), text.len(), &words[..]),
    };
    let said = |back: usize| before.len().checked_sub(back).and_then(|at| before.get(at)).map(|token| token.of(text));
    match said(1) {
        Some("." | "?.") => match path(text, &before[..before.len() - 1]) {
            Some(path) => Place::Key { path, typed, from },
            None => Place::Nothing,
        },
        Some("::") => match said(2) {
            Some(space) => Place::Member { space: space.to_owned(), typed, from },
            None => Place::Nothing,
        },
        // A name that is being given, not used.
        Some("let" | "const" | "fn" | "as") => Place::Nothing,
        Some("#{" | ",") => match option(text, before) {
            Some((function, given)) => Place::Option { function, typed, from, given },
            None => Place::Word { typed, from },
        },
        _ => Place::Word { typed, from },
    }
}

/// The names from a variable to the end of `words`; none if it is no plain way.
fn path(text: &str, words: &[Token]) -> Option<Vec<String>> {
    let mut back = Vec::new();
    let mut at = words.len();
    loop {
        at = at.checked_sub(1)?;
        match words[at].of(text) {
            "]" => {
                let mut depth = 1;
                while depth > 0 {
                    at = at.checked_sub(1)?;
                    match words[at].of(text) {
                        "]" => depth += 1,
                        "[" | "?[" => depth -= 1,
                        _ => {}
                    }
                }
                back.push("[]".to_owned());
                continue;
            }
            word if words[at].part == Part::Word => back.push(word.to_owned()),
            _ => return None,
        }
        match at.checked_sub(1).map(|before| words[before].of(text)) {
            Some("." | "?.") => at -= 1,
            _ => break,
        }
    }
    back.reverse();
    Some(back)
}

/// If the end of `words` is where a key of a function's own map stands: that function, and the keys before.
fn option(text: &str, words: &[Token]) -> Option<(String, Vec<String>)> {
    let mut given = Vec::new();
    let mut depth = 0_usize;
    let mut at = words.len();
    // Back to the brace of this map.
    loop {
        at = at.checked_sub(1)?;
        match words[at].of(text) {
            ")" | "]" | "}" => depth += 1,
            "(" | "[" | "{" if depth == 0 => return None,
            "(" | "[" | "{" => depth -= 1,
            "#{" if depth == 0 => break,
            "#{" => depth -= 1,
            ":" if depth == 0 => given.extend(at.checked_sub(1).map(|key| words[key].of(text).to_owned())),
            _ => {}
        }
    }
    // Back to the bracket of the call.
    loop {
        at = at.checked_sub(1)?;
        match words[at].of(text) {
            ")" | "]" | "}" => depth += 1,
            "[" | "{" | "#{" if depth == 0 => return None,
            "(" if depth == 0 => break,
            "(" | "[" | "{" | "#{" => depth -= 1,
            _ => {}
        }
    }
    let name = at.checked_sub(1).map(|name| words[name]).filter(|token| token.part == Part::Word)?;
    let name = name.of(text);
    let lead = at.checked_sub(2).map(|lead| words[lead].of(text));
    let function = match (lead, at.checked_sub(3).map(|space| words[space].of(text))) {
        (Some("::"), Some(space)) => format!("{space}::{name}"),
        (Some("." | "?."), _) => format!(".{name}"),
        _ => name.to_owned(),
    };
    Some((function, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_from_the_text_alone() {
        let word = |typed: &str, from| Place::Word { typed: typed.into(), from };
        assert_eq!(of("let x = co"), word("co", 8));
        assert_eq!(of("let x"), Place::Nothing);
        assert_eq!(of("f(1, "), word("", 5));
        assert_eq!(of("x."), Place::Key { path: vec!["x".into()], typed: String::new(), from: 2 });
        assert_eq!(of("f().y"), Place::Nothing);
        assert_eq!(
            of("a.b[c.d].e"),
            Place::Key { path: vec!["a".into(), "b".into(), "[]".into()], typed: "e".into(), from: 9 }
        );
        assert_eq!(of("`a ${x."), Place::Key { path: vec!["x".into()], typed: String::new(), from: 7 });
        assert_eq!(of("`a` // x."), Place::Nothing);
        let option = |function: &str, given: &[&str]| Place::Option {
            function: function.into(),
            typed: "de".into(),
            from: 0,
            given: given.iter().map(|key| (*key).to_owned()).collect(),
        };
        for (text, wanted) in [
            ("copy::tree(a, b, #{ de", option("copy::tree", &[])),
            ("copy::tree(a, b, #{ jobs: f(1, 2), de", option("copy::tree", &["jobs"])),
            ("h.exec([1, 2], #{ de", option(".exec", &[])),
            ("step(\"a\", #{ key: #{ b: 1 }, de", option("step", &["key"])),
        ] {
            match (of(text), wanted) {
                (
                    Place::Option { function, given, typed, .. },
                    Place::Option { function: f, given: g, typed: t, .. },
                ) => {
                    assert_eq!((function, given, typed), (f, g, t), "{text}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        assert!(matches!(of("let m = #{ de"), Place::Word { .. }));
        assert!(matches!(of("copy::tree(a, b, #{ jobs: de"), Place::Word { .. }));
    }
}
