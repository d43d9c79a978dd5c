//! How a text is written in the file of settings. Owns nothing.

use std::fmt::Write;

/// A TOML string; backslashes and quotes escaped, controls as `\uXXXX`.
pub(super) fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                // A string takes whatever is written to it.
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
