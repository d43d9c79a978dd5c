//! What the hub says to one member alone in `cpi-hub.v1`: `welcome`, `resumed`, `closing`, `error`.
//!
//! Nothing is parsed that is not asked for: each is known by its first letters, and a key is looked
//! for where it stands.

use crate::client::stamp::{ID_BYTES, Stamp, find};

/// A place in a space's history: the id of a message.
pub type Position = [u8; ID_BYTES];

/// One of those frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// The member is in; the newest message of its space.
    Welcome(Position),
    /// What it missed has come.
    Resumed {
        /// How many messages that were.
        count: u64,
        /// Whether none is missing.
        is_complete: bool,
    },
    /// The hub is about to close the connection.
    Closing {
        /// With which code.
        code: u16,
        /// After how many milliseconds the member may come again, where it may.
        retry_after_ms: Option<u64>,
    },
    /// A message was refused.
    Refused {
        /// Which, where it had a nonce of this run.
        message: Option<Stamp>,
        /// After how many milliseconds it may be sent again, where it may.
        retry_after_ms: Option<u64>,
    },
}

/// Reads a text; `None`: it is something else.
pub fn read(text: &[u8]) -> Option<Said> {
    let rest = text.strip_prefix(b"{\"type\":\"")?;
    let kind = &rest[..rest.iter().position(|byte| *byte == b'"')?];
    match kind {
        b"welcome" => Some(Said::Welcome(*behind(text, b"\"position\":\"")?.first_chunk()?)),
        b"resumed" => Some(Said::Resumed {
            count: number(text, b"\"count\":")?,
            is_complete: find(text, b"\"complete\":true").is_some(),
        }),
        b"closing" => Some(Said::Closing {
            code: number(text, b"\"code\":")?.try_into().ok()?,
            retry_after_ms: number(text, RETRY_AFTER),
        }),
        b"error" => Some(Said::Refused {
            message: behind(text, b"\"ref\":\"").and_then(Stamp::read_letters),
            retry_after_ms: number(text, RETRY_AFTER),
        }),
        _ => None,
    }
}

const RETRY_AFTER: &[u8] = b"\"retry_after_ms\":";

fn behind<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    find(text, key).map(|at| &text[at + key.len()..])
}

fn number(text: &[u8], key: &[u8]) -> Option<u64> {
    let digits = behind(text, key)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::stamp::Message;

    #[test]
    fn each_frame_is_read_as_the_contract_has_it() {
        let framed = |kind: &str, data: &str| {
            format!("{{\"type\":\"{kind}\",\"data\":{{{data}}},\"timestamp\":\"T\"}}")
        };
        for (kind, data, expected) in [
            (
                "welcome",
                r#""connection_id":"3-41-9","position":"01ARZ3NDEKTSV4RRFFQ69G5FAV","members":3"#,
                Said::Welcome(*b"01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            ),
            (
                "resumed",
                r#""from":"A","to":"B","count":12,"complete":true"#,
                Said::Resumed { count: 12, is_complete: true },
            ),
            (
                "closing",
                r#""code":1012,"reason":"restart","retry_after_ms":4200"#,
                Said::Closing { code: 1_012, retry_after_ms: Some(4_200) },
            ),
            (
                "closing",
                r#""code":4009,"reason":"kicked""#,
                Said::Closing { code: 4_009, retry_after_ms: None },
            ),
        ] {
            assert_eq!(read(framed(kind, data).as_bytes()), Some(expected), "{kind}");
        }
        assert_eq!(read(br#"{"type":"join","data":{}}"#), None);
        assert_eq!(read(b"{\"type\":\"welcome"), None);
    }

    #[test]
    fn a_refusal_names_its_message_and_its_hint() {
        let stamp = Stamp { publisher: 7, sequence: 8, at: 9 };
        let message = Message::acked(64, "accepted").stamped(stamp).to_vec();
        let message = String::from_utf8(message).expect("letters");
        let nonce = message.split("\"nonce\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let nonce = nonce.expect("a nonce");
        let error = format!(
            "{{\"type\":\"error\",\"data\":{{\"code\":\"rate_limited\",\"message\":\"m\",\
             \"ref\":\"{nonce}\",\"retry_after_ms\":120}},\"timestamp\":\"T\"}}"
        );
        let expected = Said::Refused { message: Some(stamp), retry_after_ms: Some(120) };
        assert_eq!(read(error.as_bytes()), Some(expected));
        let bare = br#"{"type":"error","data":{"code":"x","message":"m"},"timestamp":"T"}"#;
        assert_eq!(read(bare), Some(Said::Refused { message: None, retry_after_ms: None }));
    }
}
