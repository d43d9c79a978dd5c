//! WIRE A2's and C's rules put as plainly as they can be, over serde_json, against the decoder.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use cpi_hub::wire::Dialect;
use cpi_hub::wire::message::{AckLevel, ClientMessage, DecodeRules, Decoder};
use cpi_hub::wire::reject::Reject;

use super::DEPTH_MAX;

/// What a message says, owned.
#[derive(PartialEq, Eq, Debug)]
enum Said {
    Ping,
    Chat { content: String, image: String, nonce: Option<String>, ack: AckLevel },
}

/// An object with its keys in order, doubled ones too.
struct Pairs<'j>(Vec<(String, &'j RawValue)>);

impl<'j> Deserialize<'j> for Pairs<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Pairs<'j>, D::Error> {
        struct Gather;
        impl<'j> Visitor<'j> for Gather {
            type Value = Pairs<'j>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<M: MapAccess<'j>>(self, mut map: M) -> Result<Pairs<'j>, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Gather)
    }
}

impl<'j> Pairs<'j> {
    fn of(raw: &'j RawValue) -> Option<Pairs<'j>> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The value of a key that may come once.
    fn only(&self, key: &str) -> Result<Option<&'j RawValue>, Reject> {
        let mut found = self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| *value);
        let value = found.next();
        if found.next().is_some() {
            return Err(Reject::InvalidMessageFormat);
        }
        Ok(value)
    }
}

fn first(raw: &RawValue) -> char {
    raw.get().chars().next().expect("a value is never empty")
}

/// Whether all strings and the depth of a value keep the rules.
fn is_sound(raw: &RawValue, depth_left: usize) -> bool {
    match first(raw) {
        '"' => serde_json::from_str::<String>(raw.get()).is_ok(),
        '{' | '[' if depth_left == 0 => false,
        '{' => Pairs::of(raw)
            .is_some_and(|pairs| pairs.0.iter().all(|(_, value)| is_sound(value, depth_left - 1))),
        '[' => serde_json::from_str::<Vec<&RawValue>>(raw.get())
            .is_ok_and(|values| values.iter().all(|value| is_sound(value, depth_left - 1))),
        _ => true,
    }
}

/// A string, or none where it is missing or null; otherwise the refusal.
fn text(value: Option<&RawValue>, reject: Reject) -> Result<Option<String>, Reject> {
    match value {
        None => Ok(None),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| reject),
    }
}

fn model(json: &[u8], dialect: Dialect) -> Result<Said, Reject> {
    let raw: &RawValue = serde_json::from_slice(json).map_err(|_| Reject::InvalidMessageFormat)?;
    if !is_sound(raw, DEPTH_MAX) {
        return Err(Reject::InvalidMessageFormat);
    }
    if raw.get() == "null" {
        return Err(Reject::UnknownMessageType);
    }
    let fields = Pairs::of(raw).ok_or(Reject::InvalidMessageFormat)?;
    let (kind, data) = (fields.only("type")?, fields.only("data")?);
    let Some(kind) = kind else { return Err(Reject::UnknownMessageType) };
    let kind: String =
        serde_json::from_str(kind.get()).map_err(|_| Reject::InvalidMessageFormat)?;
    match kind.as_str() {
        "ping" => Ok(Said::Ping),
        "chat" => {
            model_of_chat(data.and_then(Pairs::of).ok_or(Reject::InvalidChatMessage)?, dialect)
        }
        _ => Err(Reject::UnknownMessageType),
    }
}

fn model_of_chat(data: Pairs<'_>, dialect: Dialect) -> Result<Said, Reject> {
    let (content, image) = (data.only("content")?, data.only("image")?);
    let (nonce, ack) = match dialect {
        Dialect::Seed => (None, None),
        Dialect::V1 => (data.only("nonce")?, data.only("ack")?),
    };
    let content = text(content, Reject::InvalidChatMessage)?.unwrap_or_default();
    let image = text(image, Reject::InvalidChatMessage)?.unwrap_or_default();
    let bad_nonce = Reject::InvalidParameter { field: "nonce", message: "nonce no es válido" };
    let nonce = text(nonce, bad_nonce)?;
    if let Some(nonce) = &nonce
        && (nonce.is_empty()
            || nonce.len() > 64
            || !nonce.chars().all(|c| ('!'..='~').contains(&c)))
    {
        return Err(bad_nonce);
    }
    let bad_ack = Reject::InvalidParameter { field: "ack", message: "ack no es válido" };
    let ack = match text(ack, bad_ack)?.as_deref() {
        None if nonce.is_some() => AckLevel::Accepted,
        None | Some("none") => AckLevel::None,
        Some("accepted") if nonce.is_some() => AckLevel::Accepted,
        Some("durable") if nonce.is_some() => AckLevel::Durable,
        Some(_) => return Err(bad_ack),
    };
    Ok(Said::Chat { content, image, nonce, ack })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?([eE][-+]?[0-9]{1,3})?",
        1 => "-?[1-9][0-9]{15,40}(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,12})?",
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
        5 => select(values).prop_map(String::from),
        1 => literal(),
        1 => any_value(),
    ];
    (key, value)
}

fn data() -> impl Strategy<Value = String> {
    let fields = prop_oneof![
        field(&["content", "c\\u006Fntent"], &["\"hola\"", "\"\"", "null", "\"\\u00f1\\n\""]),
        field(&["image", "\\u0069mage"], &["\"https:\\/\\/x\"", "null"]),
        field(&["nonce", "nonc\\u0065"], &["\"a1\"", "\"\\u0041\"", "\"a b\"", "null"]),
        field(&["ack"], &["\"none\"", "\"accepted\"", "\"durable\"", "null"]),
        (literal(), any_value()),
    ];
    object(vec(fields, 0..5))
}

fn message() -> impl Strategy<Value = String> {
    let fields = (
        proptest::option::weighted(
            0.95,
            field(
                &["type", "t\\u0079pe"],
                &["\"chat\"", "\"chat\"", "\"ping\"", "\"join\"", "null"],
            ),
        ),
        proptest::option::weighted(
            0.95,
            (select(vec!["\"data\"", "\"d\\u0061ta\""]).prop_map(String::from), data()),
        ),
        vec((literal(), any_value()), 0..2),
        proptest::option::weighted(0.1, field(&["type", "data"], &["\"chat\"", "null", "{}"])),
    );
    let fields = fields.prop_map(|(kind, data, extra, again)| {
        kind.into_iter().chain(data).chain(extra).chain(again).collect::<Vec<_>>()
    });
    object(fields.prop_shuffle())
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
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn the_decoder_reads_what_a_plain_model_of_the_rules_reads(
        messages in vec((mutated(), select(vec![Dialect::Seed, Dialect::V1])), 1..4),
    ) {
        // One decoder, so that what one message leaves in the buffers would show in the next.
        let mut decoder = Decoder::default();
        for (json, dialect) in messages {
            let mut bytes = json.clone();
            let rules = DecodeRules { dialect, depth_max: DEPTH_MAX };
            let said = decoder.decode(&mut bytes, rules).map(|message| match message {
                ClientMessage::Ping => Said::Ping,
                ClientMessage::Chat(chat) => Said::Chat {
                    content: chat.content.into(),
                    image: chat.image.into(),
                    nonce: chat.nonce.map(String::from),
                    ack: chat.ack,
                },
            });
            prop_assert_eq!(said, model(&json, dialect), "{}", String::from_utf8_lossy(&json));
        }
    }
}
