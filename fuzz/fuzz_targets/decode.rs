//! Any bytes: the decoder never panics and says what the plain model of the rules says.
#![no_main]

use libfuzzer_sys::fuzz_target;

use cpi_hub::wire::Dialect;
use cpi_hub::wire::client_message::Decoder;

#[path = "../../tests/heart/messages/model.rs"]
mod model;

fuzz_target!(|json: &[u8]| {
    let mut decoder = Decoder::default();
    for dialect in [Dialect::V1, Dialect::Seed] {
        let said = model::decoded(&mut decoder, json, dialect);
        assert_eq!(said, model::expected(json, dialect));
    }
});
