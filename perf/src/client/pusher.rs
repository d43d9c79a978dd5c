//! What a Pusher server (Sockudo) asks of a client: a signed subscription to the channel of its
//! space, and pongs.
//!
//! Only private channels take messages of clients, and a private channel wants the signature that
//! an application's own server would give its users; the generator signs for itself.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// The application's key; with its secret in `perf/peers/sockudo.toml` too.
pub const KEY: &str = "perf";
const SECRET: &str = "perf-secret";
/// What the protocol's own texts begin with, and no message of a client's.
const OWN: &[u8] = b"{\"event\":\"pusher:";

/// The channel of a space.
pub fn channel(space: i32) -> String {
    format!("private-space-{space}")
}

/// The answer to one of the protocol's own texts, by a member of this space.
pub fn answer(text: &[u8], space: i32) -> Option<Vec<u8>> {
    let event = text.strip_prefix(OWN)?;
    if event.starts_with(b"ping\"") {
        return Some(b"{\"event\":\"pusher:pong\",\"data\":{}}".to_vec());
    }
    if !event.starts_with(b"connection_established\"") {
        return None;
    }
    let established: Value = serde_json::from_slice(text).ok()?;
    // JSON in a text of JSON, as the protocol has it.
    let data: Value = serde_json::from_str(established.get("data")?.as_str()?).ok()?;
    let (socket, channel) = (data.get("socket_id")?.as_str()?, channel(space));
    let signature = signature(SECRET, socket, &channel)?;
    let subscription = format!(
        "{{\"event\":\"pusher:subscribe\",\"data\":{{\"auth\":\"{KEY}:{signature}\",\
         \"channel\":\"{channel}\"}}}}"
    );
    Some(subscription.into_bytes())
}

fn signature(secret: &str, socket: &str, channel: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{socket}:{channel}").as_bytes());
    Some(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_signed_as_pushers_own_example_is() {
        let signature = signature("7ad3773142a6692b25b8", "1234.1234", "private-foobar");
        let expected = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert_eq!(signature.as_deref(), Some(expected));
    }

    #[test]
    fn a_new_connection_is_answered_with_a_subscription_and_a_ping_with_a_pong() {
        let established = br#"{"event":"pusher:connection_established",
            "data":"{\"activity_timeout\":120,\"socket_id\":\"1.2\"}"}"#;
        let answered = answer(established, 12).expect("an answer");
        let answered: Value = serde_json::from_slice(&answered).expect("JSON");
        assert_eq!(answered["event"], "pusher:subscribe");
        assert_eq!(answered["data"]["channel"], "private-space-12");
        let expected = signature(SECRET, "1.2", "private-space-12").expect("signed");
        assert_eq!(answered["data"]["auth"], format!("perf:{expected}"));
        let pong = answer(br#"{"event":"pusher:ping","data":{}}"#, 12).expect("an answer");
        assert!(pong.starts_with(br#"{"event":"pusher:pong""#));
    }

    #[test]
    fn what_is_the_scenarios_is_not_answered() {
        for text in [
            &br#"{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}"#[..],
            br#"{"event":"client-chat","channel":"a","data":{}}"#,
            br#"{"event":"pusher:error","data":{"code":4001}}"#,
            br#"{"event":"pusher:connection_established","data":"junk"}"#,
            b"",
        ] {
            assert_eq!(answer(text, 1), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
