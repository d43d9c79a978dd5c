//! The rules of `docs/WIRE.md` A2 and C put as plainly as they can be, over serde_json. The fuzz
//! target for decoding uses it too.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use cpi_hub::wire::Dialect;
use cpi_hub::wire::client_message::{AckLevel, ClientMessage, DecodeRules, Decoder};
use cpi_hub::wire::reject::Reject;

/// Nesting allowed.
const DEPTH_MAX: usize = 32;

/// What a message says, owned.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Said {
    Ping,
    Chat { content: String, image: String, nonce: Option<String>, ack: AckLevel },
    Auth(String),
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

/// What the decoder says.
pub(crate) fn decoded(
    decoder: &mut Decoder,
    json: &[u8],
    dialect: Dialect,
) -> Result<Said, Reject> {
    let rules = DecodeRules { dialect, depth_max: DEPTH_MAX };
    decoder.decode(&mut json.to_vec(), rules).map(|message| match message {
        ClientMessage::Ping => Said::Ping,
        ClientMessage::Auth(token) => Said::Auth(token.0.into()),
        ClientMessage::Chat(chat) => Said::Chat {
            content: chat.content.into(),
            image: chat.image.into(),
            nonce: chat.nonce.map(String::from),
            ack: chat.ack,
        },
    })
}

/// What the rules say.
pub(crate) fn expected(json: &[u8], dialect: Dialect) -> Result<Said, Reject> {
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
            expected_chat(data.and_then(Pairs::of).ok_or(Reject::InvalidChatMessage)?, dialect)
        }
        "auth" if dialect == Dialect::V1 => {
            let data = data.and_then(Pairs::of).ok_or(Reject::UnknownMessageType)?;
            let token = data.only("token").map_err(|_| Reject::UnknownMessageType)?;
            let token = text(token, Reject::UnknownMessageType)?;
            token.map(Said::Auth).ok_or(Reject::UnknownMessageType)
        }
        _ => Err(Reject::UnknownMessageType),
    }
}

fn expected_chat(data: Pairs<'_>, dialect: Dialect) -> Result<Said, Reject> {
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
