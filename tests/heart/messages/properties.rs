//! The decoder against the model, on messages that make sense, nearly make sense, or don't.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use cpi_hub::wire::Dialect;
use cpi_hub::wire::client_message::Decoder;

use super::model::{decoded, expected};

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?([eE][-+]?[0-9]{1,3})?",
        6 => "-?[1-9][0-9]{15,40}(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,12})?",
        1 => "-?[0-9.eE+-]{1,8}",
    ]
}

/// A string literal; escapes may be lone surrogates.
fn literal() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ !#-\\[\\]-~]{1,9}",
        2 => "[ñ€😀\u{7F}\u{2028}\u{FFFF}]",
        3 => r#"\\["\\/bfnrt]"#,
        2 => "\\\\u00[0-9a-fA-F]{2}",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\ud83d\\\\ude0[0-9]",
    ];
    vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![9 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

fn object(pairs: impl Strategy<Value = Vec<(String, String)>>) -> impl Strategy<Value = String> {
    (pairs, space()).prop_map(|(pairs, space)| {
        let pairs = pairs.iter().map(|(key, value)| format!("{space}{key}{space}:{value}{space}"));
        format!("{space}{{{}}}{space}", pairs.collect::<Vec<_>>().join(","))
    })
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        literal(),
        number(),
        select(vec!["null", "true", "false", "{}", "[]"]).prop_map(String::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            object(vec((literal(), inner), 0..4)),
        ]
    })
}

/// One of a key's ways to be written, with one of the values that make sense, or any.
fn field(
    keys: &'static [&'static str],
    values: &'static [&'static str],
) -> impl Strategy<Value = (String, String)> {
    let key = select(keys).prop_map(|key| format!("\"{key}\""));
    let value = prop_oneof![
        16 => select(values).prop_map(String::from),
        1 => literal(),
        1 => any_value(),
    ];
    (key, value)
}

/// Fields in any order, each perhaps missing.
fn some_of(fields: Vec<(f64, BoxedStrategy<(String, String)>)>) -> impl Strategy<Value = String> {
    let each: Vec<_> = fields
        .into_iter()
        .map(|(chance, field)| proptest::option::weighted(chance, field))
        .collect();
    object(each.prop_map(|fields| fields.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle())
}

fn data() -> impl Strategy<Value = String> {
    let content =
        field(&["content", "c\\u006Fntent"], &["\"hola\"", "\"\"", "null", "\"\\u00f1\\n\""]);
    let image = field(&["image", "\\u0069mage"], &["\"https:\\/\\/x\"", "null"]);
    let nonce = field(&["nonce", "nonc\\u0065"], &["\"a1\"", "\"\\u0041\"", "\"a b\"", "null"]);
    let ack = field(&["ack"], &["\"none\"", "\"accepted\"", "\"durable\"", "null"]);
    let again = field(&["content", "image", "nonce", "ack"], &["\"a\""]);
    some_of(vec![
        (0.9, content.boxed()),
        (0.5, image.boxed()),
        (0.6, nonce.boxed()),
        (0.5, ack.boxed()),
        (0.2, (literal(), any_value()).boxed()),
        (0.05, again.boxed()),
    ])
}

fn message() -> impl Strategy<Value = String> {
    let kind = field(&["type", "t\\u0079pe"], &["\"chat\"", "\"chat\"", "\"ping\"", "\"join\""]);
    let data_key = select(vec!["\"data\"", "\"d\\u0061ta\""]).prop_map(String::from);
    let again = field(&["type", "data"], &["\"chat\"", "null", "{}"]);
    some_of(vec![
        (0.95, kind.boxed()),
        (0.95, (data_key, data()).boxed()),
        (0.2, (literal(), any_value()).boxed()),
        (0.05, again.boxed()),
    ])
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(b"{}[]\",:\\ 0e-.nu\0\n".to_vec())];
    let hit = (any::<Index>(), 0_usize..3, vec(byte, 0..3));
    let json = prop_oneof![8 => message(), 1 => any_value()];
    (json, prop_oneof![2 => vec(hit.clone(), 0..1), 1 => vec(hit, 1..3)]).prop_map(
        |(json, hits)| {
            let mut json = json.into_bytes();
            for (at, removed, bytes) in hits {
                let at = at.index(json.len() + 1);
                let end = json.len().min(at + removed);
                json.splice(at..end, bytes);
            }
            json
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_decoder_reads_what_a_plain_model_of_the_rules_reads(
        messages in vec((mutated(), select(vec![Dialect::Seed, Dialect::V1])), 1..4),
    ) {
        // One decoder, so that what one message leaves in the buffers would show in the next.
        let mut decoder = Decoder::default();
        for (json, dialect) in messages {
            let said = decoded(&mut decoder, &json, dialect);
            prop_assert_eq!(said, expected(&json, dialect), "{}", String::from_utf8_lossy(&json));
        }
    }
}

#[test]
fn what_fuzzers_have_found_is_decoded_as_the_model_says() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/decode");
    let mut decoder = Decoder::default();
    let files: Vec<_> = std::fs::read_dir(corpus).expect("a corpus").collect();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let path = file.expect("a file").path();
        let json = std::fs::read(&path).expect("a file");
        for dialect in [Dialect::V1, Dialect::Seed] {
            let said = decoded(&mut decoder, &json, dialect);
            assert_eq!(said, expected(&json, dialect), "{}", path.display());
        }
    }
}
