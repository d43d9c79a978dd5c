//! What a handshake offers, and the head of the answer to a sound one (RFC 6455 4.2, WIRE A1).
//!
//! Pure. Knows nothing of who it is that comes.

use axum::http::{Version, header};
use bytes::BytesMut;
use tungstenite::handshake::derive_accept_key;

use super::extension::{Accepted, accepted};
use crate::edge::http::head::{Fields, text};
use crate::edge::http::request_id::RequestId;
use crate::wire::{Dialect, Encoding, SUBPROTOCOL};

/// What a sound handshake asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    accept_key: String,
    pub(super) dialect: Dialect,
    /// How messages are compressed; `None`: they are not.
    deflate: Option<Accepted>,
    /// The id that the request came with.
    pub(super) request: Option<RequestId>,
}

/// Room for the answer to a handshake and the welcome behind it.
const HEAD_BYTES: usize = 768;

impl Offer {
    /// How the member is sent what it is sent.
    pub(super) fn encoding(&self) -> Encoding {
        if self.deflate.is_some() { Encoding::Deflated } else { Encoding::Frames }
    }
}

/// What a handshake offers, if it is one (RFC 6455 4.2.1). Extensions are looked at if messages
/// may be compressed.
pub(super) fn offer<F: Fields + ?Sized>(
    version: Version,
    headers: &F,
    may_deflate: bool,
) -> Option<Offer> {
    let sound = version == Version::HTTP_11
        && lists(headers, header::UPGRADE.as_str(), |it| it.eq_ignore_ascii_case("websocket"))
        && lists(headers, header::CONNECTION.as_str(), |it| it.eq_ignore_ascii_case("upgrade"))
        && one(headers, header::SEC_WEBSOCKET_VERSION.as_str()) == Some("13")
        && has_no_body(headers);
    let key = one(headers, header::SEC_WEBSOCKET_KEY.as_str()).filter(|key| is_key(key))?;
    let v1 = lists(headers, header::SEC_WEBSOCKET_PROTOCOL.as_str(), |it| it == SUBPROTOCOL);
    let dialect = if v1 { Dialect::V1 } else { Dialect::Seed };
    let extensions = headers.all(header::SEC_WEBSOCKET_EXTENSIONS.as_str()).filter_map(text);
    sound.then(|| Offer {
        accept_key: derive_accept_key(key.as_bytes()),
        dialect,
        deflate: if may_deflate { accepted(extensions) } else { None },
        request: RequestId::given(headers),
    })
}

/// Whether a list header has an element, in whichever of its lines.
fn lists<F: Fields + ?Sized>(headers: &F, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
    let lines = headers.all(name).filter_map(text);
    lines.flat_map(|line| line.split(',')).any(|element| wanted(element.trim()))
}

/// A header's value, if it is there exactly once.
fn one<'a, F: Fields + ?Sized>(headers: &'a F, name: &str) -> Option<&'a str> {
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => text(value),
        _ => None,
    }
}

/// Bytes of a body would be taken for frames.
fn has_no_body<F: Fields + ?Sized>(headers: &F) -> bool {
    let length = headers.all(header::CONTENT_LENGTH.as_str()).next();
    length.is_none_or(|length| length == b"0") && !headers.has(header::TRANSFER_ENCODING.as_str())
}

/// 16 bytes in base64; the 4 bits that are left over are not looked at.
fn is_key(key: &str) -> bool {
    let Some(digits) = key.strip_suffix("==") else { return false };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    digits.len() == 22 && digits.bytes().all(known)
}

/// The answer to a sound handshake: three headers, in this order (WIRE A1), and up to three that
/// were asked for.
pub(super) fn accepted_head(offer: &Offer) -> BytesMut {
    let protocol: &[&str] = match offer.dialect {
        Dialect::Seed => &[],
        Dialect::V1 => &["Sec-WebSocket-Protocol: ", SUBPROTOCOL, "\r\n"],
    };
    let extension = offer.deflate.map(Accepted::value);
    let extension = extension.as_ref().map(|it| ["Sec-WebSocket-Extensions: ", it, "\r\n"]);
    let extension = extension.as_ref().map_or(&[][..], |line| &line[..]);
    let request = offer.request.as_ref();
    let request = request.map(|id| ["X-Request-Id: ", id.as_str(), "\r\n"]);
    let request = request.as_ref().map_or(&[][..], |line| &line[..]);
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let common = [
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: ",
        &offer.accept_key,
        "\r\n",
    ];
    let asked = protocol.iter().chain(extension).chain(request);
    for part in common.iter().chain(asked).chain(&["\r\n"]) {
        head.extend_from_slice(part.as_bytes());
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// A sound handshake, with some of its headers replaced (several: in lines of their own).
    fn offered(replaced: &[(&'static str, &[&str])]) -> Option<Offer> {
        let mut headers = HeaderMap::new();
        let sound: [(&'static str, &[&str]); 4] = [
            ("upgrade", &["websocket"]),
            ("connection", &["keep-alive, Upgrade"]),
            ("sec-websocket-version", &["13"]),
            ("sec-websocket-key", &[KEY]),
        ];
        for (name, _) in replaced {
            headers.remove(*name);
        }
        let kept = sound.iter().filter(|(name, _)| replaced.iter().all(|(it, _)| it != name));
        for (name, values) in kept.chain(replaced) {
            for value in *values {
                let value = HeaderValue::from_str(value).expect("a header value");
                headers.append(HeaderName::from_static(name), value);
            }
        }
        offer(Version::HTTP_11, &headers, true)
    }

    #[test]
    fn a_sound_handshake_gets_three_headers_and_a_fourth_if_offered() {
        let seed = offered(&[]).expect("a sound handshake");
        assert_eq!(
            str::from_utf8(&accepted_head(&seed)).expect("ASCII"),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        for protocols in [&["cpi-hub.v1"][..], &["chat, cpi-hub.v1"], &["chat", "cpi-hub.v1"]] {
            let v1 = offered(&[("sec-websocket-protocol", protocols)]).expect("sound");
            let head = accepted_head(&v1);
            let head = str::from_utf8(&head).expect("ASCII");
            let last = "\r\nSec-WebSocket-Protocol: cpi-hub.v1\r\n\r\n";
            assert!(head.ends_with(last), "{head}");
        }
        let extension = [("sec-websocket-extensions", &["permessage-deflate"][..])];
        let deflated = offered(&extension).expect("sound");
        let head = accepted_head(&deflated);
        let line = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                    client_no_context_takeover\r\n\r\n";
        assert!(head.ends_with(line.as_bytes()), "{head:?}");
        assert_eq!((seed.encoding(), deflated.encoding()), (Encoding::Frames, Encoding::Deflated));
        let known = offered(&[("x-request-id", &["a-1"])]).expect("sound");
        let head = accepted_head(&known);
        assert!(head.ends_with(b"xOo=\r\nX-Request-Id: a-1\r\n\r\n"), "{head:?}");
        let other = offered(&[("sec-websocket-protocol", &["chat, CPI-HUB.v1"])]);
        assert_eq!(other.map(|offer| offer.dialect), Some(Dialect::Seed));
    }

    #[test]
    fn an_unsound_handshake_is_none() {
        let unsound: [(&'static str, &[&str]); 13] = [
            ("upgrade", &[]),
            ("upgrade", &["h2c"]),
            ("connection", &[]),
            ("connection", &["close"]),
            ("sec-websocket-version", &[]),
            ("sec-websocket-version", &["8"]),
            ("sec-websocket-version", &["13", "13"]),
            ("sec-websocket-key", &[]),
            ("sec-websocket-key", &["c2hvcnQ="]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j\u{5c}Q=="]),
            ("sec-websocket-key", &[KEY, KEY]),
            ("content-length", &["5"]),
            ("transfer-encoding", &["chunked"]),
        ];
        for (name, values) in unsound {
            assert_eq!(offered(&[(name, values)]), None, "{name} {values:?}");
        }
        for (name, values) in [
            ("upgrade", &["h2c, WebSocket"][..]),
            ("connection", &["keep-alive", "upgrade"]),
            ("content-length", &["0"]),
        ] {
            assert!(offered(&[(name, values)]).is_some(), "{name} {values:?}");
        }
        assert_eq!(offer(Version::HTTP_10, &HeaderMap::new(), true), None);
    }
}
