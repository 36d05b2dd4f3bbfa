//! Colour, where the person and the terminal want it.

use std::io::IsTerminal;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// As `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` say, else only on a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    on: bool,
}

impl Style {
    /// The style for a stream: `choice` first, then the environment, then whether the stream is a terminal.
    #[must_use]
    pub fn new(choice: Color, stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let forced = set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let on = match choice {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto if forced => true,
            Color::Auto => stream.is_terminal() && set("TERM").is_none_or(|term| term != "dumb"),
        };
        Self { on }
    }

    /// A style that colours nothing.
    #[must_use]
    pub fn plain() -> Self {
        Self { on: false }
    }

    /// Whether anything is coloured.
    #[must_use]
    pub fn on(self) -> bool {
        self.on
    }

    /// For what went wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For what needs care.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// For what went well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For hints.
    #[must_use]
    pub fn hint(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// For headings.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For what matters less.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Whether standard error is a terminal on which lines can be drawn over.
#[must_use]
pub fn redraws() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_beats_the_stream() {
        let stream = std::io::stdout();
        assert_eq!(Style::new(Color::Always, &stream).bad("x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(Style::new(Color::Never, &stream).bad("x"), "x");
    }
}
