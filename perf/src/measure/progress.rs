//! What a run is doing, on standard error while it runs.
//!
//! A terminal gets one line that is written over each second, anything else a line every ten.

use std::io::{self, IsTerminal, Write};

const TERMINAL_EVERY_US: u64 = 1_000_000;
const LOG_EVERY_US: u64 = 10_000_000;

/// The line about one run.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    due: u64,
    is_shown: bool,
}

impl Default for Progress {
    fn default() -> Progress {
        let is_terminal = io::stderr().is_terminal();
        Progress { is_terminal, due: Progress::every(is_terminal), is_shown: false }
    }
}

impl Progress {
    fn every(is_terminal: bool) -> u64 {
        if is_terminal { TERMINAL_EVERY_US } else { LOG_EVERY_US }
    }

    /// Shows a line when it is time; `now` is the run's microsecond.
    pub fn tell(&mut self, now: u64, line: impl FnOnce() -> String) {
        if now < self.due {
            return;
        }
        self.due = now + Progress::every(self.is_terminal);
        let (before, after) = if self.is_terminal { ("\r\x1b[2K", "") } else { ("", "\n") };
        self.is_shown = self.is_terminal;
        // A caller who closed standard error doesn't want to know.
        let _ = write!(io::stderr(), "{before}{:4} s  {}{after}", now / 1_000_000, line());
        let _ = io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
