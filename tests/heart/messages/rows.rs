//! What each kind of message is answered with, by the rows of `docs/BAD_INPUT.md` and the
//! tables of `docs/WIRE.md`.

use cpi_hub::wire::Dialect;
use cpi_hub::wire::client_message::{AckLevel, ChatMessage, ClientMessage, check_content};
use cpi_hub::wire::reject::Reject;

use super::check_in;

const FORMAT: Reject = Reject::InvalidMessageFormat;
const UNKNOWN: Reject = Reject::UnknownMessageType;
const BAD_NONCE: Reject =
    Reject::InvalidParameter { field: "nonce", message: "nonce no es válido" };
const BAD_ACK: Reject = Reject::InvalidParameter { field: "ack", message: "ack no es válido" };
const BAD_CHAT: Reject = Reject::InvalidChatMessage;

/// Both dialects read it alike.
#[track_caller]
fn check(json: impl AsRef<[u8]>, expected: Result<ClientMessage<'_>, Reject>) {
    check_in(Dialect::Seed, json.as_ref(), expected);
    check_in(Dialect::V1, json.as_ref(), expected);
}

fn chat(content: &str) -> Result<ClientMessage<'_>, Reject> {
    chat_with(content, "", None, AckLevel::None)
}

fn chat_with<'a>(
    content: &'a str,
    image: &'a str,
    nonce: Option<&'a str>,
    ack: AckLevel,
) -> Result<ClientMessage<'a>, Reject> {
    Ok(ClientMessage::Chat(ChatMessage { content, image, nonce, ack }))
}

#[test]
fn chats_and_pings_are_read_and_all_else_in_them_is_not() {
    check(r#"{"type":"chat","data":{"content":"hola"}}"#, chat("hola"));
    check(r#" {"data":{"content":"\u00f1\ud83d\ude00\n"},"type":"chat"} "#, chat("ñ😀\n"));
    let seen = chat_with("a", "https://x", None, AckLevel::None);
    check(r#"{"type":"chat","data":{"content":"a","image":"https:\/\/x"}}"#, seen);
    check(r#"{"type":"ping"}"#, Ok(ClientMessage::Ping));
    check(r#"{"type":"ping","data":[{"a":[]},7],"id":9}"#, Ok(ClientMessage::Ping));
    // Row 45: what the client says of ids, names and times is not looked at.
    let forged = r#"{"type":"chat","user_id":"x","timestamp":{},"space_id":null,"data":
        {"id":1,"user_id":2,"username":[],"content":"a","timestamp":0,"space_id":3}}"#;
    check(forged, chat("a"));
    // Rows 43 and 44: exact.
    let odd = "\u{202E}\u{200B}\u{FFFE}'; -- \u{2028}\u{7F}";
    check(format!(r#"{{"type":"chat","data":{{"content":"{odd}"}}}}"#), chat(odd));
    check(r#"{"type":"chat","data":{"content":"\u0000\\N\u001b"}}"#, chat("\0\\N\u{1B}"));
}

#[test]
fn row_36_what_is_no_json_object_is_a_bad_format() {
    for json in [
        "",
        " ",
        "[]",
        "7",
        "true",
        "\"chat\"",
        "{",
        "{}}",
        "{} {}",
        "{},",
        "nul",
        "NaN",
        "\u{FEFF}{\"type\":\"ping\"}",
        r#"{"type":"ping",}"#,
        r#"{"type":"ping"}x"#,
        r#"{'type':'ping'}"#,
        r#"{type:"ping"}"#,
        r#"{"type":"ping"/**/}"#,
        r#"{"type":"ping","a":NaN}"#,
        r#"{"type":"ping","a":01}"#,
        r#"{"type":"ping","a":1.}"#,
        r#"{"type":"ping","a":.5}"#,
        r#"{"type":"ping","a":--1}"#,
        r#"{"type":"ping","a":+1}"#,
        r#"{"type":"ping","a":1e}"#,
        r#"{"type":"ping","a":1e400x}"#,
        r#"{"type":"ping","a":"\x"}"#,
        "{\"type\":\"ping\",\"a\":\"\0\"}",
        "{\"type\":\"ping\",\"a\":\"\n\"}",
        "{\"type\":\"ping\"\x0C}",
        "{\"type\":\"ping\"}\0",
    ] {
        check(json, Err(FORMAT));
    }
    check(b"{\"type\":\"ping\",\"a\":\"\xFF\"}", Err(FORMAT));
}

#[test]
fn row_37_depth_is_bounded() {
    let nested = |depth: usize| {
        let inner = depth - 1;
        format!(r#"{{"type":"ping","a":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
    };
    check(nested(32), Ok(ClientMessage::Ping));
    check(nested(33), Err(FORMAT));
    check("[".repeat(10_000), Err(FORMAT));
    check(nested(10_000), Err(FORMAT));
}

#[test]
fn row_38_numbers_are_not_read_whatever_their_size() {
    for number in [
        "1e400",
        "-1E+400",
        "18446744073709551616",
        "-9223372036854775809",
        "-0",
        "-0.0e-0",
        "123456789012345678901234567890",
        "0.1e-400",
        "1e99999999999",
        &"9".repeat(400),
    ] {
        // Escapes on both sides: the second try must see the text as it was.
        let json = format!(
            r#"{{"\u0074ype":"chat","a":{number},"data":{{"content":"a\n-1\"2e5","b":[{number},-7]}}}}"#
        );
        check(json, chat("a\n-1\"2e5"));
        check(format!(r#"{{"type":"chat","data":{{"content":{number}}}}}"#), Err(BAD_CHAT));
        check(format!(r#"{{"type":{number}}}"#), Err(FORMAT));
    }
}

#[test]
fn row_39_a_key_that_is_read_may_come_once_also_when_escaped() {
    check(r#"{"type":"ping","type":"ping"}"#, Err(FORMAT));
    check(r#"{"type":"ping","t\u0079pe":"ping"}"#, Err(FORMAT));
    check(r#"{"type":"chat","data":{"content":"a"},"data":null}"#, Err(FORMAT));
    check(r#"{"type":"chat","data":{"content":"a","content":"a"}}"#, Err(FORMAT));
    check(r#"{"type":"chat","data":{"content":"a","image":"","\u0069mage":""}}"#, Err(FORMAT));
    check(r#"{"t\u0079pe":"chat","d\u0061ta":{"c\u006fntent":"a"}}"#, chat("a"));
    check(
        r#"{"type":"ping","a":1,"a":2,"data":{"content":1,"content":2}}"#,
        Ok(ClientMessage::Ping),
    );
    let twice = r#"{"type":"chat","data":{"content":"a","nonce":"n","nonce":"n"}}"#;
    check_in(Dialect::Seed, twice, chat("a"));
    check_in(Dialect::V1, twice, Err(FORMAT));
}

#[test]
fn row_40_wrong_types_and_unknown_ones() {
    for kind in ["1", "true", "null", "[]", "{}"] {
        check(format!(r#"{{"type":{kind}}}"#), Err(FORMAT));
    }
    check("{}", Err(UNKNOWN));
    check("null", Err(UNKNOWN));
    for kind in ["", "Chat", "join", "leave", "pong", "error", "auth", "welcome"] {
        check(format!(r#"{{"type":"{kind}","data":{{"content":"a"}}}}"#), Err(UNKNOWN));
    }
    check(r#"{"data":{"content":"a"}}"#, Err(UNKNOWN));
    check(r#"{"type":"chat"}"#, Err(BAD_CHAT));
    for data in ["null", "\"a\"", "1", "[]", r#"[{"content":"a"}]"#] {
        check(format!(r#"{{"type":"chat","data":{data}}}"#), Err(BAD_CHAT));
    }
    for value in ["1", "true", "[]", "{}"] {
        check(format!(r#"{{"type":"chat","data":{{"content":{value}}}}}"#), Err(BAD_CHAT));
        let image = format!(r#"{{"type":"chat","data":{{"content":"a","image":{value}}}}}"#);
        check(image, Err(BAD_CHAT));
    }
    check(r#"{"type":"chat","data":{}}"#, chat(""));
    check(r#"{"type":"chat","data":{"content":null,"image":null}}"#, chat(""));
}

#[test]
fn row_42_lone_surrogates_are_a_bad_format_wherever_they_are() {
    for text in ["\\ud83d", "\\ude00", "\\ude00\\ud83d", "\\ud83dx", "\\ud83d\\n", "\\ud83d\\u0041"]
    {
        check(format!(r#"{{"type":"chat","data":{{"content":"{text}"}}}}"#), Err(FORMAT));
        check(format!(r#"{{"type":"ping","x":"{text}"}}"#), Err(FORMAT));
        check(format!(r#"{{"type":"ping","{text}":1}}"#), Err(FORMAT));
    }
}

#[test]
fn nonces_and_acks_are_read_in_the_second_dialect_only() {
    let check = |fields: &str, expected| {
        let json = format!(r#"{{"type":"chat","data":{{"content":"a",{fields}}}}}"#);
        check_in(Dialect::Seed, &json, chat("a"));
        check_in(Dialect::V1, &json, expected);
    };
    let with = |nonce, ack| chat_with("a", "", Some(nonce), ack);
    check(r#""nonce":"a1""#, with("a1", AckLevel::Accepted));
    check(r#""nonce":"\u0021~","ack":null"#, with("!~", AckLevel::Accepted));
    check(r#""ack":"durable","nonce":"a1""#, with("a1", AckLevel::Durable));
    check(r#""ack":"accepted","nonce":"a1""#, with("a1", AckLevel::Accepted));
    check(r#""ack":"none","nonce":"a1""#, with("a1", AckLevel::None));
    check(r#""ack":"none""#, chat("a"));
    check(r#""ack":null,"nonce":null"#, chat("a"));
    let longest = "x".repeat(64);
    check(&format!(r#""nonce":"{longest}""#), with(&longest, AckLevel::Accepted));
    for nonce in ["\"\"", "\"a b\"", "\"ñ\"", "\"\\u0000\"", "1", "[]", &format!("\"{longest}x\"")]
    {
        check(&format!(r#""nonce":{nonce}"#), Err(BAD_NONCE));
        check(&format!(r#""nonce":{nonce},"ack":"none""#), Err(BAD_NONCE));
    }
    for ack in ["\"\"", "\"Durable\"", "1", "{}"] {
        check(&format!(r#""nonce":"a1","ack":{ack}"#), Err(BAD_ACK));
    }
    check(r#""ack":"durable""#, Err(BAD_ACK));
    check(r#""ack":"accepted""#, Err(BAD_ACK));
    check(r#""ack":"durable","nonce":null"#, Err(BAD_ACK));
}

#[test]
fn content_is_1_to_1000_characters_without_nul() {
    assert_eq!(check_content("", 1_000), Err(Reject::ContentEmpty));
    assert_eq!(check_content(" ", 1_000), Ok(()));
    assert_eq!(check_content(&"😀".repeat(1_000), 1_000), Ok(()));
    assert_eq!(check_content(&"a".repeat(1_000), 1_000), Ok(()));
    assert_eq!(check_content(&"a".repeat(1_001), 1_000), Err(Reject::ContentTooLong));
    assert_eq!(check_content(&"ñ".repeat(1_001), 1_000), Err(Reject::ContentTooLong));
    assert_eq!(check_content("a\0", 1_000), Err(Reject::ContentInvalid));
    assert_eq!(check_content(&"\0".repeat(1_001), 1_000), Err(Reject::ContentTooLong));
}
