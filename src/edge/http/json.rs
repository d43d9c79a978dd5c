//! JSON as answers have it: compact, in one line; and what of others' JSON may be passed on. Pure.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value as compact JSON with one newline behind it (WIRE, common forms).
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("plain structs with string keys serialise");
    text.push(b'\n');
    text
}

/// An answer whose body is a value.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    response(status, Body::from(line(value)))
}

/// An answer whose body is JSON that is written elsewhere.
pub(super) fn response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Any JSON that all parsers read alike: no object has a key twice, each text is Unicode, and each
/// number is one.
pub(crate) struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sound, D::Error> {
        deserializer.deserialize_any(SoundVisitor)
    }
}

struct SoundVisitor;

macro_rules! sound {
    ($($visit:ident $type:ty;)*) => {$(
        fn $visit<E: Error>(self, _: $type) -> Result<Sound, E> {
            Ok(Sound)
        }
    )*};
}

impl<'de> Visitor<'de> for SoundVisitor {
    type Value = Sound;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    sound! {
        visit_bool bool;
        visit_i64 i64;
        visit_u64 u64;
        visit_f64 f64;
        visit_str &str;
    }

    fn visit_unit<E: Error>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Sound, A::Error> {
        while items.next_element::<Sound>()?.is_some() {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Sound, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("a key is there twice"));
            }
            entries.next_value::<Sound>()?;
        }
        Ok(Sound)
    }
}
