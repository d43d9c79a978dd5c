//! How a server is spoken to: the hub's own two dialects, and the framing of those peers that
//! bring one of their own.
//!
//! A dialect is a table of bytes; it keeps no state. The peers written in `perf/peers` by a
//! library that leaves the protocol to its user speak the hub's seed dialect.

use std::borrow::Cow;

use crate::client::frames::{BINARY, TEXT};
use crate::client::pusher;

/// Which member of which space a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The space's number.
    pub space: i32,
    /// The user's number.
    pub user: i32,
}

/// The place of a nonce in a message that is made in advance: each sending writes letters there.
pub const NONCE_PLACE: &str = "NNNNNNNNNNNNNNNNNNNNNNNN";

/// A server's language.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dialect {
    /// The hub's seed dialect, also spoken by uWebSockets.js, Bun, `ws` and axum's servers.
    #[default]
    Hub,
    /// The hub's `cpi-hub.v1`, with a nonce and the durable acknowledgement for each message.
    HubV1,
    /// Socket.IO 4: Engine.IO packets in text frames.
    SocketIo,
    /// The NATS client protocol, a byte stream in binary frames.
    Nats,
    /// The floor's: whole frames of the hub's, which come back as they are.
    Bytes,
    /// The Pusher protocol, as Sockudo speaks it: client events on private channels.
    Pusher,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 6] = [
        Dialect::Hub,
        Dialect::HubV1,
        Dialect::SocketIo,
        Dialect::Nats,
        Dialect::Bytes,
        Dialect::Pusher,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Hub => "hub",
            Dialect::HubV1 => "hub-v1",
            Dialect::SocketIo => "socketio",
            Dialect::Nats => "nats",
            Dialect::Bytes => "bytes",
            Dialect::Pusher => "pusher",
        }
    }

    /// The dialect of this name.
    pub fn named(name: &str) -> Result<Dialect, String> {
        let known = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
        known.ok_or_else(|| {
            format!("no dialect {name}: {}", Dialect::ALL.map(Self::name).join(", "))
        })
    }

    /// What is asked for in the handshake.
    pub fn path(self, Seat { space, user }: Seat) -> String {
        match self {
            Dialect::Hub | Dialect::HubV1 | Dialect::Bytes => {
                format!("/v1/ws/spaces/{space}?user_id={user}&username=m{user}")
            }
            Dialect::SocketIo => {
                format!("/socket.io/?EIO=4&transport=websocket&space={space}&user_id={user}")
            }
            Dialect::Nats => "/".into(),
            Dialect::Pusher => format!("/app/{}?protocol=7&client=perf&version=1", pusher::KEY),
        }
    }

    /// Header lines of the handshake beyond those that every WebSocket has.
    pub fn headers(self) -> &'static str {
        match self {
            Dialect::HubV1 => "Sec-WebSocket-Protocol: cpi-hub.v1\r\n",
            _ => "",
        }
    }

    /// What a client says first; empty: it waits for the server.
    pub fn greeting(self, seat: Seat) -> String {
        match self {
            Dialect::Nats => format!(
                "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"perf\",\
                 \"version\":\"1\",\"protocol\":1}}\r\nSUB space.{} 1\r\nPING\r\n",
                seat.space
            ),
            _ => String::new(),
        }
    }

    /// What must be answered at once to a text that is the protocol's own; the scenario does not
    /// hear of it then.
    pub fn answer(self, seat: Seat, text: &[u8]) -> Option<Cow<'static, [u8]>> {
        match (self, text) {
            (Dialect::SocketIo, [b'0', b'{', ..]) => Some(Cow::Borrowed(b"40")),
            (Dialect::SocketIo, b"2") => Some(Cow::Borrowed(b"3")),
            (Dialect::Pusher, text) => pusher::answer(text, seat.space).map(Cow::Owned),
            _ => None,
        }
    }

    /// The opcode of what a client sends.
    pub fn opcode(self) -> u8 {
        if self.is_stream() { BINARY } else { TEXT }
    }

    /// Whether frames are pieces of a byte stream, not messages.
    pub fn is_stream(self) -> bool {
        self == Dialect::Nats
    }

    /// Whether the server itself gives each chat an id that must ascend in its space.
    pub fn has_ids(self) -> bool {
        !matches!(self, Dialect::Nats | Dialect::Bytes | Dialect::Pusher)
    }

    /// Whether who sends a message gets it too, as all others do.
    pub fn echoes(self) -> bool {
        self != Dialect::Pusher
    }

    /// What a client's message has before and behind a content of `content_bytes`.
    pub fn around_content(self, seat: Seat, content_bytes: usize) -> (String, String) {
        const SEED: &str = "{\"type\":\"chat\",\"data\":{\"content\":\"";
        match self {
            Dialect::Hub => (SEED.into(), "\"}}".into()),
            Dialect::HubV1 => {
                (SEED.into(), format!("\",\"nonce\":\"{NONCE_PLACE}\",\"ack\":\"durable\"}}}}"))
            }
            Dialect::SocketIo => (format!("42[\"chat\",{SEED}"), "\"}}]".into()),
            Dialect::Nats => {
                let (head, tail) = envelope(seat);
                let bytes = head.len() + content_bytes + tail.len();
                (format!("PUB space.{} {bytes}\r\n{head}", seat.space), format!("{tail}\r\n"))
            }
            Dialect::Bytes => envelope(seat),
            Dialect::Pusher => {
                let (head, tail) = message_data(seat);
                let channel = pusher::channel(seat.space);
                let event = format!("{{\"event\":\"client-chat\",\"channel\":\"{channel}\",");
                (format!("{event}\"data\":{head}"), format!("{tail},\"sent_at\":\"{TIME}\"}}}}"))
            }
        }
    }
}

/// The hub's frame for a server that passes bytes on as they came: the same size, made here.
fn envelope(seat: Seat) -> (String, String) {
    let (head, tail) = message_data(seat);
    let Seat { space, user } = seat;
    let outer = format!("}},\"timestamp\":\"{TIME}\",\"user_id\":{user},\"space_id\":{space}}}");
    (format!("{{\"type\":\"chat\",\"data\":{head}"), tail + &outer)
}

/// What is in that frame's `data`, without the end; most of the rest a Pusher event says by itself.
fn message_data(Seat { space, user }: Seat) -> (String, String) {
    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let head = format!("{{\"id\":\"{ID}\",\"content\":\"");
    let tail = format!(
        "\",\"user_id\":{user},\"username\":\"m{user}\",\"space_id\":{space},\
         \"timestamp\":\"{TIME}\",\"image\":\"\""
    );
    (head, tail)
}

const TIME: &str = "2026-01-02T03:04:05.678901-03:00";

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT: Seat = Seat { space: 12, user: 34 };

    #[test]
    fn every_dialect_is_found_by_its_name() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::named(dialect.name()), Ok(dialect));
        }
        let error = Dialect::named("morse").expect_err("unknown");
        assert!(error.contains("morse") && error.contains("socketio"), "{error}");
    }

    #[test]
    fn a_nats_message_is_as_long_as_it_says() {
        let (before, after) = Dialect::Nats.around_content(SEAT, 100);
        let (line, head) = before.split_once("\r\n").expect("a line");
        let bytes: usize = line.rsplit(' ').next().expect("a size").parse().expect("a number");
        assert_eq!(bytes, head.len() + 100 + after.len() - 2);
        assert!(line.starts_with("PUB space.12 "), "{line}");
    }

    #[test]
    fn a_pusher_message_is_a_client_event_about_as_long_as_the_hubs_frame() {
        let (before, after) = Dialect::Pusher.around_content(SEAT, 100);
        let event: serde_json::Value =
            serde_json::from_str(&format!("{before}{after}")).expect("JSON");
        assert_eq!(
            (&event["event"], &event["channel"]),
            (&"client-chat".into(), &"private-space-12".into())
        );
        assert_eq!(event["data"]["content"], "");
        let (head, tail) = envelope(SEAT);
        let difference = (before.len() + after.len()).abs_diff(head.len() + tail.len());
        assert!(difference < 16, "{difference} bytes");
    }

    #[test]
    fn the_protocols_own_texts_are_answered() {
        let answer = |dialect: Dialect, text: &[u8]| dialect.answer(SEAT, text);
        assert_eq!(answer(Dialect::SocketIo, b"0{\"sid\":\"x\"}").as_deref(), Some(&b"40"[..]));
        assert_eq!(answer(Dialect::SocketIo, b"2").as_deref(), Some(&b"3"[..]));
        assert_eq!(answer(Dialect::SocketIo, b"40{\"sid\":\"x\"}"), None);
        assert_eq!(answer(Dialect::Hub, b"2"), None);
        let ping = b"{\"event\":\"pusher:ping\"}";
        assert!(answer(Dialect::Pusher, ping).is_some());
        assert_eq!(answer(Dialect::Hub, ping), None);
    }
}
