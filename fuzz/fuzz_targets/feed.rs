//! See `feed` of src/wire/feed/fuzzing.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cpi_hub::fuzzing::feed(bytes));
