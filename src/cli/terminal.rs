//! What a terminal gets beside the text: colours, and a bar that shows how far something is.
//! A pipe or a file gets neither, and a terminal no colours where `NO_COLOR` asks for none.
//!
//! Owns the bar's last line. Never writes to standard output.

use std::io::{IsTerminal, Write};

/// A colour of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
    Dim,
}

/// Whether words are coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// For standard output: a terminal that takes colours, where nobody asks for none.
    pub(super) fn of_stdout() -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Paint { is_on: std::io::stdout().is_terminal() && !set("NO_COLOR") && !is_dumb }
    }

    /// No colours.
    #[cfg(test)]
    pub(super) const NONE: Paint = Paint { is_on: false };

    /// A word in its colour.
    pub(super) fn word(self, colour: Colour, word: &str) -> String {
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31;1",
            Colour::Dim => "2",
        };
        if self.is_on { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

const CELLS: u64 = 30;

/// A bar on standard error, where that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_on: bool,
    shown: Option<u64>,
}

impl Progress {
    /// One that shows nothing yet; where `is_wanted` is false it never does.
    pub(super) fn new(is_wanted: bool) -> Progress {
        Progress { is_on: is_wanted && std::io::stderr().is_terminal(), shown: None }
    }

    /// Shows that `done` of `all` are done of what is named.
    pub(super) fn show(&mut self, name: &str, done: u64, all: u64) {
        let percent = done.min(all).saturating_mul(100).checked_div(all).unwrap_or(100);
        if !self.is_on || self.shown.replace(percent) == Some(percent) {
            return;
        }
        let full = percent * CELLS / 100;
        let bar: String = (0..CELLS).map(|cell| if cell < full { '#' } else { '.' }).collect();
        // If nobody reads it, nobody misses it.
        _ = write!(std::io::stderr(), "\r\x1b[K{name:<20} [{bar}] {percent:>3} %");
        _ = std::io::stderr().flush();
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_words_without_colours() {
        assert_eq!(Paint::NONE.word(Colour::Red, "problem"), "problem");
        let on = Paint { is_on: true };
        assert_eq!(on.word(Colour::Green, "ok"), "\x1b[32mok\x1b[0m");
    }
}
