//! What handshakes are held to: WIRE A1, row by row.

use super::*;
use crate::wire::SpaceId;
use axum::http::{HeaderMap, HeaderName};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn claim(space: &str, raw: &str) -> Result<Claim, &'static str> {
    let query = Query::parse(Some(raw));
    chat_claim(space, &query, &Limits::default(), None).map_err(|refusal| {
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, "invalid_parameter"));
        refusal.message
    })
}

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
    offer(Version::HTTP_11, &headers)
}

#[test]
fn a_request_is_checked_in_the_order_of_the_wire_contract() {
    let long = format!("user_id=7&username={}", "n".repeat(257));
    for (space, raw, expected) in [
        ("1", "", "user_id es requerido"),
        ("1", "user_id=&username=%07", "user_id es requerido"),
        ("abc", "username=%07", "user_id es requerido"),
        ("abc", "user_id=x&username=%07&after=x", "username no es válido"),
        ("1", "user_id=7&username=%00", "username no es válido"),
        ("1", "user_id=7&username=%0A", "username no es válido"),
        ("1", "user_id=7&username=%C2%85", "username no es válido"),
        ("1", "user_id=7&username=%FF", "username no es válido"),
        ("1", long.as_str(), "username no es válido"),
        ("abc", "user_id=x&after=x", "space_id debe ser un número"),
        ("2147483648", "user_id=7", "space_id debe ser un número"),
        ("1/2", "user_id=7", "space_id debe ser un número"),
        ("1\0", "user_id=7", "space_id debe ser un número"),
        ("", "user_id=7", "space_id debe ser un número"),
        ("1", "user_id=x&after=x", "user_id debe ser un número"),
        ("1", "user_id=1e3", "user_id debe ser un número"),
        ("1", "user_id=%00", "user_id debe ser un número"),
        ("1", "user_id=%zz", "user_id debe ser un número"),
        ("1", "user_id=%D9%A1", "user_id debe ser un número"),
        ("1", "user_id=2147483648", "user_id debe ser un número"),
        ("1", "user_id=7&after=x", "after no es una posición válida"),
        ("1", "user_id=7&after=", "after no es una posición válida"),
    ] {
        assert_eq!(claim(space, raw).expect_err(raw), expected, "{space} {raw}");
    }
}

#[test]
fn a_person_is_who_the_query_says() {
    let (space, user) = (SpaceKey::Chat(SpaceId(1)), UserId(7));
    let (username, grant) = ("User7".into(), Grant::ALL);
    let (after, guise) = (None, Guise::Member);
    let nameless = Claim { space, user, username, after, guise, grant };
    for raw in ["user_id=7", "user_id=%2B007&username=", "user_id=7&user_id=8&x=y"] {
        assert_eq!(claim("1", raw), Ok(nameless.clone()), "{raw}");
    }
    let named = claim("+1", "user_id=7&username=Ana%20Paz+%F0%9F%98%80");
    assert_eq!(named.map(|claim| claim.username), Ok("Ana Paz 😀".into()));
    let after = claim("-5", &format!("user_id=0&after={}", Id(77))).expect("a sound query");
    assert_eq!((after.space, after.user), (SpaceKey::Chat(SpaceId(-5)), UserId(0)));
    assert_eq!(after.after, Some(Id(77)));
}

#[test]
fn the_other_endpoints_read_the_user_only() {
    let read = |raw: &str| other_claim(&Query::parse(Some(raw)), SpaceKey::Inbox, None);
    let message = |raw: &str| read(raw).expect_err(raw).message;
    assert_eq!(message("username=%07"), "user_id is required");
    assert_eq!(message("user_id="), "user_id is required");
    assert_eq!(message("user_id=x&after=x"), "user_id must be a number");
    let inbox = read("user_id=7&username=%07&after=x").expect("a sound query");
    assert_eq!((inbox.space, &*inbox.username), (SpaceKey::Inbox(UserId(7)), "User7"));
    assert_eq!(inbox.after, None);
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
    assert_eq!(offer(Version::HTTP_10, &HeaderMap::new()), None);
}
