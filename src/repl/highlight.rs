//! Colours while typing.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText, ValidationResult, Validator};
use rhai::Token;

use super::command;
use crate::script::session::incomplete;
use crate::script::session::lex::{self, Part};

/// Colours the parts of a line.
pub(super) struct Colors;

impl Highlighter for Colors {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        let command = line.len() - line.trim_start().len();
        let mut from = 0;
        if line[command..].starts_with(':') {
            from = line[command..].find(char::is_whitespace).map_or(line.len(), |end| command + end);
            let known = command::parse(&format!("{} x", &line[command..from])).is_ok()
                || command::parse(&line[command..from]).is_ok();
            let style = if known { Style::new().bold() } else { Style::new().fg(Color::Red) };
            styled.push((style, line[..from].to_owned()));
        }
        let all = lex::tokens(&line[from..]);
        for (at, token) in all.iter().enumerate() {
            let text = token.of(&line[from..]);
            let next = all.get(at + 1).map(|next| next.of(&line[from..]));
            styled.push((style(token.part, text, next), text.to_owned()));
        }
        styled
    }
}

fn style(part: Part, text: &str, next: Option<&str>) -> Style {
    match part {
        Part::Comment => Style::new().fg(Color::DarkGray),
        Part::Text => Style::new().fg(Color::Green),
        Part::Number => Style::new().fg(Color::Cyan),
        Part::Word if keyword(text) => Style::new().fg(Color::Magenta),
        Part::Word if matches!(next, Some("(" | "::")) => Style::new().fg(Color::Blue),
        Part::Word | Part::Symbol | Part::Space => Style::new(),
    }
}

/// Whether the language gives a word a meaning of its own.
pub(super) fn keyword(word: &str) -> bool {
    Token::lookup_symbol_from_syntax(word).is_some_and(|token| token.is_standard_keyword())
}

/// Keeps on reading where a line is the beginning of something longer.
pub(super) struct Whole;

impl Validator for Whole {
    fn validate(&self, line: &str) -> ValidationResult {
        if !line.trim_start().starts_with(':') && incomplete(line) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Complete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_keeps_its_place() {
        for line in ["let x = `a ${b} c` // d", ":live copy::tree(\"a\", \"é", "\"open", "", ":nothing x"] {
            assert_eq!(Colors.highlight(line, 0).raw_string(), line);
        }
        assert!(keyword("let") && keyword("true") && !keyword("copy"));
    }
}
