//! Bad input in raw bytes, row by row of `docs/BAD_INPUT.md`.

mod doors;
mod hostile;
mod junk;
