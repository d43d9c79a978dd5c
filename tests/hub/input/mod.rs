//! Bad input, in raw bytes: `docs/BAD_INPUT.md` names the test of each kind.

mod doors;
mod hostile;
mod junk;
