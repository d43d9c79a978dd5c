//! The decoder of client messages from outside: the rows of `docs/BAD_INPUT.md`, and a plain
//! model of the rules of `docs/WIRE.md` beside it.

mod model;
mod properties;
mod rows;

use cpi_hub::wire::Dialect;
use cpi_hub::wire::client_message::{ClientMessage, DecodeRules, Decoder};
use cpi_hub::wire::reject::Reject;

#[track_caller]
fn check_in(dialect: Dialect, json: impl AsRef<[u8]>, expected: Result<ClientMessage<'_>, Reject>) {
    let rules = DecodeRules { dialect, depth_max: 32 };
    let mut bytes = json.as_ref().to_vec();
    let decoded = Decoder::default().decode(&mut bytes, rules);
    assert_eq!(decoded, expected, "{}", String::from_utf8_lossy(json.as_ref()));
}
