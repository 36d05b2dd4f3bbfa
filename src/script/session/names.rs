//! `_` and `_1`: the results of earlier lines, under names the language allows.

use super::lex::{self, Part};

/// The name of the last result.
pub(super) const LAST: &str = "_last";

/// The name of result `number`.
pub(super) fn numbered(number: usize) -> String {
    format!("_r{number}")
}

/// Whether a name is one of these.
pub(super) fn own(name: &str) -> bool {
    name == LAST || number_of(name).is_some()
}

fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix("_r").and_then(|digits| digits.parse().ok())
}

/// The name a person knows it by.
pub(super) fn shown(name: &str) -> String {
    match (name, number_of(name)) {
        (LAST, _) => "_".to_owned(),
        (_, Some(number)) => format!("_{number}"),
        _ => name.to_owned(),
    }
}

/// `_` and `_N` of `text` as names of variables. The `_` of a `switch` stays what it is.
pub(super) fn rewrite(text: &str) -> String {
    let all = lex::tokens(text);
    let mut out = String::with_capacity(text.len());
    for (index, token) in all.iter().enumerate() {
        let word = token.of(text);
        let number = word.strip_prefix('_').filter(|digits| !digits.is_empty()).and_then(|digits| digits.parse().ok());
        let arm = || {
            let next = all[index + 1..].iter().find(|token| token.part != Part::Space).map(|token| token.of(text));
            matches!(next, Some("=>" | "if"))
        };
        match (token.part, word, number) {
            (Part::Word, "_", _) if !arm() => out.push_str(LAST),
            (Part::Word, _, Some(number)) => out.push_str(&numbered(number)),
            _ => out.push_str(word),
        }
    }
    out
}

/// Whether the text stops inside a comment.
pub(super) fn open_comment(text: &str) -> bool {
    lex::tokens(text).last().is_some_and(|token| token.part == Part::Comment && token.open)
}

/// Whether the text stops inside a text in backticks.
pub(super) fn open_backtick(text: &str) -> bool {
    let open = lex::tokens(text).last().is_some_and(|last| {
        last.part == Part::Text && last.open && (last.of(text).starts_with('`') || last.of(text).starts_with('}'))
    });
    open || lex::open_insertion(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_names_the_language_allows() {
        assert_eq!(rewrite("_.len + _12 - \"_\" + _err"), "_last.len + _r12 - \"_\" + _err");
        assert_eq!(
            rewrite("switch _ { 1 => _1, _ => 2, _ if x => 3 }"),
            "switch _last { 1 => _r1, _ => 2, _ if x => 3 }"
        );
        assert_eq!(rewrite("`a ${_} _`"), "`a ${_last} _`");
        assert_eq!((shown("_last"), shown("_r12"), shown("_rx")), ("_".into(), "_12".into(), "_rx".into()));
    }
}
