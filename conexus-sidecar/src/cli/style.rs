//! Style: how does output look on a terminal?

use std::io::{self, IsTerminal};

/// Colours, if they are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// Colours for standard output: on a terminal and without NO_COLOR.
    pub fn stdout() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: io::stdout().is_terminal() && !forbidden }
    }

    /// No colours.
    pub fn plain() -> Self {
        Self { colours: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Headings and names.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Failures.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is well.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Warnings.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Places and times.
    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// Replaces what could steer a terminal: control characters become visible.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }

    #[test]
    fn plain_text_has_no_codes() {
        assert_eq!(Style::plain().red("x"), "x");
    }
}
