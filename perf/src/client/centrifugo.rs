//! What Centrifugo asks of a client in its JSON protocol: to connect, to subscribe to the channel
//! of its space, and pongs. Commands, replies and pushes are a line each, and a frame may have
//! several.
//!
//! The ids of commands are the same for every member; a publication's comes back in its reply,
//! which says nothing that the message itself doesn't.

use std::borrow::Cow;

use crate::client::dialect::Asks;

/// Where it serves WebSockets as it is shipped.
pub const PATH: &str = "/connection/websocket";
/// The header that it takes the user from, as `perf/peers/centrifugo.toml` has it too.
pub const USER_HEADER: &str = "X-User-Id";
/// What the refusal of a publication begins with: the connection goes on.
pub const NOT_PUBLISHED: &[u8] = b"{\"id\":3,\"error\":";

const CONNECTED: &[u8] = b"{\"id\":1,\"connect\":";
const NOT_CONNECTED: &[u8] = b"{\"id\":1,\"error\":";
const NOT_SUBSCRIBED: &[u8] = b"{\"id\":2,\"error\":";
const PUBLISHED: &[u8] = b"{\"id\":3,\"publish\":";
const PING: &[u8] = b"{}";

/// The channel of a space, in the one namespace of `perf/peers/centrifugo.toml`.
fn channel(space: i32) -> String {
    format!("space:{space}")
}

/// What a member says first: two commands in one frame, which are done in their order.
pub fn greeting(space: i32) -> String {
    let channel = channel(space);
    format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
    )
}

/// What a publication has before its data; two braces end it.
pub fn publication(space: i32) -> String {
    format!("{{\"id\":3,\"publish\":{{\"channel\":\"{}\",\"data\":", channel(space))
}

/// What one line is for the connection. The reply to the subscription is the scenario's: with it
/// a member is in.
pub fn asks(line: &[u8]) -> Asks {
    match line {
        PING => Asks::Answer(Cow::Borrowed(PING)),
        b"" => Asks::Nothing,
        line if [CONNECTED, PUBLISHED].iter().any(|own| line.starts_with(own)) => Asks::Nothing,
        line if [NOT_CONNECTED, NOT_SUBSCRIBED].iter().any(|no| line.starts_with(no)) => {
            Asks::TheEnd
        }
        _ => Asks::TheScenario,
    }
}

/// The lines of a frame.
pub fn lines(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    frame.split(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_member_connects_and_subscribes_in_one_frame() {
        let greeting = greeting(12);
        let commands = lines(greeting.as_bytes()).map(serde_json::from_slice);
        let commands = commands.collect::<Result<Vec<Value>, _>>().expect("JSON");
        let [connect, subscribe] = &commands[..] else { panic!("two: {greeting}") };
        assert_eq!((&connect["id"], connect["connect"].is_object()), (&1.into(), true));
        assert_eq!(subscribe["id"], 2);
        assert_eq!(subscribe["subscribe"]["channel"], "space:12");
    }

    #[test]
    fn each_line_is_taken_for_what_it_is() {
        for (line, expected) in [
            ("{}", Asks::Answer(Cow::Borrowed(b"{}"))),
            ("", Asks::Nothing),
            (r#"{"id":1,"connect":{"client":"a","ping":25,"pong":true}}"#, Asks::Nothing),
            (r#"{"id":3,"publish":{}}"#, Asks::Nothing),
            (r#"{"id":1,"error":{"code":101,"message":"unauthorized"}}"#, Asks::TheEnd),
            (r#"{"id":2,"error":{"code":103}}"#, Asks::TheEnd),
            (r#"{"id":2,"subscribe":{}}"#, Asks::TheScenario),
            (r#"{"id":3,"error":{"code":103}}"#, Asks::TheScenario),
            (r#"{"push":{"channel":"space:1","pub":{"data":{}}}}"#, Asks::TheScenario),
            (r#"{"push":{"channel":"space:1","join":{"info":{}}}}"#, Asks::TheScenario),
        ] {
            assert_eq!(asks(line.as_bytes()), expected, "{line}");
        }
    }
}
