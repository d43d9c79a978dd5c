//! Text that is shown to nobody, and how it is compared.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest as hash};

/// A secret as it was given. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps a secret.
    pub(crate) fn new(bytes: impl Into<Box<[u8]>>) -> Secret {
        Secret(bytes.into())
    }

    /// The contents of a file, which editors end in a line break.
    pub(crate) fn of_file(bytes: &[u8]) -> Secret {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        Secret(bytes.strip_suffix(b"\r").unwrap_or(bytes).into())
    }

    /// The secret itself.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// A digest that is short, and above 0: what tells keys and tokens from others where none of them
/// may be known.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(bytes);
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) | 1
}

/// SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_a_file_ends_before_its_line_break_and_is_shown_to_nobody() {
        for text in ["hush", "hush\n", "hush\r\n"] {
            assert_eq!(Secret::of_file(text.as_bytes()).bytes(), b"hush");
        }
        assert_eq!(Secret::of_file(b"hush\n\n").bytes(), b"hush\n");
        assert_eq!(format!("{:?}", Secret::of_file(b"hush")), "Secret");
    }
}
