//! How a server is spoken to: the hub's own two dialects, and the framing of those peers that
//! bring one of their own.
//!
//! A dialect is a table of bytes; it keeps no state. The peers written in `perf/peers` by a
//! library that leaves the protocol to its user speak the hub's seed dialect.

use std::borrow::Cow;

use crate::client::frames::{BINARY, TEXT};
use crate::client::{centrifugo, pusher};

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

/// What a text of the server's asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asks {
    /// It is for the scenario.
    TheScenario,
    /// It is the protocol's own, and must be answered at once.
    Answer(Cow<'static, [u8]>),
    /// It is the protocol's own; there is nothing to do.
    Nothing,
    /// It keeps the member out: the connection is over.
    TheEnd,
}

/// A server's language.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dialect {
    /// The hub's seed dialect, also spoken by uWebSockets.js, Bun, `ws` and axum's servers.
    #[default]
    Hub,
    /// The hub's `cpi-hub.v1`, with a nonce and the durable acknowledgement for each message.
    HubV1,
    /// The seed dialect with `permessage-deflate`, so that chats come compressed.
    HubDeflate,
    /// Socket.IO 4: Engine.IO packets in text frames.
    SocketIo,
    /// The NATS client protocol, a byte stream in binary frames.
    Nats,
    /// The floor's: whole frames of the hub's, which come back as they are.
    Bytes,
    /// The Pusher protocol, as Sockudo speaks it: client events on private channels.
    Pusher,
    /// Centrifugo's JSON protocol: publications of clients in the channels of one namespace.
    Centrifugo,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 8] = [
        Dialect::Hub,
        Dialect::HubV1,
        Dialect::HubDeflate,
        Dialect::SocketIo,
        Dialect::Nats,
        Dialect::Bytes,
        Dialect::Pusher,
        Dialect::Centrifugo,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Hub => "hub",
            Dialect::HubV1 => "hub-v1",
            Dialect::HubDeflate => "hub-deflate",
            Dialect::SocketIo => "socketio",
            Dialect::Nats => "nats",
            Dialect::Bytes => "bytes",
            Dialect::Pusher => "pusher",
            Dialect::Centrifugo => "centrifugo",
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
            Dialect::Hub | Dialect::HubV1 | Dialect::HubDeflate | Dialect::Bytes => {
                format!("/v1/ws/spaces/{space}?user_id={user}&username=m{user}")
            }
            Dialect::SocketIo => {
                format!("/socket.io/?EIO=4&transport=websocket&space={space}&user_id={user}")
            }
            Dialect::Nats => "/".into(),
            Dialect::Pusher => format!("/app/{}?protocol=7&client=perf&version=1", pusher::KEY),
            Dialect::Centrifugo => centrifugo::PATH.into(),
        }
    }

    /// Header lines of the handshake beyond those that every WebSocket has.
    pub fn headers(self, seat: Seat) -> String {
        match self {
            Dialect::HubV1 => "Sec-WebSocket-Protocol: cpi-hub.v1\r\n".into(),
            Dialect::HubDeflate => "Sec-WebSocket-Extensions: permessage-deflate\r\n".into(),
            Dialect::Centrifugo => format!("{}: {}\r\n", centrifugo::USER_HEADER, seat.user),
            _ => String::new(),
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
            Dialect::Centrifugo => centrifugo::greeting(seat.space),
            _ => String::new(),
        }
    }

    /// What a text asks for.
    pub fn asks(self, seat: Seat, text: &[u8]) -> Asks {
        match (self, text) {
            (Dialect::SocketIo, [b'0', b'{', ..]) => Asks::Answer(Cow::Borrowed(b"40")),
            (Dialect::SocketIo, b"2") => Asks::Answer(Cow::Borrowed(b"3")),
            (Dialect::Pusher, text) => match pusher::answer(text, seat.space) {
                Some(answer) => Asks::Answer(Cow::Owned(answer)),
                None => Asks::TheScenario,
            },
            (Dialect::Centrifugo, line) => centrifugo::asks(line),
            _ => Asks::TheScenario,
        }
    }

    /// Whether a frame's lines are texts each.
    pub fn has_lines(self) -> bool {
        self == Dialect::Centrifugo
    }

    /// The opcode of what a client sends.
    pub fn opcode(self) -> u8 {
        if self.is_stream() { BINARY } else { TEXT }
    }

    /// Whether frames are pieces of a byte stream, not messages.
    pub fn is_stream(self) -> bool {
        self == Dialect::Nats
    }

    /// Whether messages may come compressed.
    pub fn inflates(self) -> bool {
        self == Dialect::HubDeflate
    }

    /// Whether the server itself gives each chat an id that must ascend in its space.
    pub fn has_ids(self) -> bool {
        !matches!(self, Dialect::Nats | Dialect::Bytes | Dialect::Pusher | Dialect::Centrifugo)
    }

    /// Whether who sends a message gets it too, as all others do.
    pub fn echoes(self) -> bool {
        self != Dialect::Pusher
    }

    /// What a client's message has before and behind a content of `content_bytes`.
    pub fn around_content(self, seat: Seat, content_bytes: usize) -> (String, String) {
        const SEED: &str = "{\"type\":\"chat\",\"data\":{\"content\":\"";
        match self {
            Dialect::Hub | Dialect::HubDeflate => (SEED.into(), "\"}}".into()),
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
            Dialect::Centrifugo => {
                // The server adds who published.
                let head = centrifugo::publication(seat.space) + &message_start();
                (head, format!("\",{}}}}}}}", message_rest(seat)))
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
fn message_data(seat: Seat) -> (String, String) {
    (message_start(), format!("\",\"user_id\":{},{}", seat.user, message_rest(seat)))
}

fn message_start() -> String {
    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    format!("{{\"id\":\"{ID}\",\"content\":\"")
}

/// What stands behind the content and who it is of.
fn message_rest(Seat { space, user }: Seat) -> String {
    format!("\"username\":\"m{user}\",\"space_id\":{space},\"timestamp\":\"{TIME}\",\"image\":\"\"")
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
    fn a_centrifugo_message_comes_about_as_long_as_the_hubs_frame() {
        let (before, after) = Dialect::Centrifugo.around_content(SEAT, 100);
        let command: serde_json::Value =
            serde_json::from_str(&format!("{before}{after}")).expect("JSON");
        let publication = &command["publish"];
        assert_eq!(publication["channel"], "space:12");
        assert_eq!((&publication["data"]["content"], &command["id"]), (&"".into(), &3.into()));
        // As the server passes it on; a client's id is a UUID.
        const INFO: &str =
            r#""info":{"user":"34","client":"01234567-89ab-cdef-0123-456789abcdef"}"#;
        const PUSH: &str = r#"{"push":{"channel":"space:12","pub":{"data":,}}}"#;
        let bytes = PUSH.len() + INFO.len() + publication["data"].to_string().len();
        let (head, tail) = envelope(SEAT);
        let difference = bytes.abs_diff(head.len() + tail.len());
        assert!(difference < 16, "{difference} bytes");
    }

    #[test]
    fn the_protocols_own_texts_are_answered() {
        let asks = |dialect: Dialect, text: &[u8]| dialect.asks(SEAT, text);
        let answer = |text| Asks::Answer(Cow::Borrowed(text));
        assert_eq!(asks(Dialect::SocketIo, b"0{\"sid\":\"x\"}"), answer(b"40"));
        assert_eq!(asks(Dialect::SocketIo, b"2"), answer(b"3"));
        assert_eq!(asks(Dialect::SocketIo, b"40{\"sid\":\"x\"}"), Asks::TheScenario);
        assert_eq!(asks(Dialect::Hub, b"2"), Asks::TheScenario);
        let ping = b"{\"event\":\"pusher:ping\"}";
        assert!(matches!(asks(Dialect::Pusher, ping), Asks::Answer(_)));
        assert_eq!(asks(Dialect::Hub, ping), Asks::TheScenario);
        assert_eq!(asks(Dialect::Centrifugo, b"{}"), answer(b"{}"));
        assert_eq!(asks(Dialect::Hub, b"{}"), Asks::TheScenario);
    }
}
