//! Server-sent events (docs/WIRE.md, I; WHATWG HTML, "Server-sent events"): what the hub says over
//! WebSockets, as readers of a `text/event-stream` get it.
//!
//! An event is made of a text frame: its JSON becomes `data`, its type the event's name, and a
//! chat's id the event's. JSON of the hub's has no line end, since strings escape theirs, so one
//! `data` line holds it. Nothing here is told apart by space or member: whoever reads a stream
//! reads the same bytes.

use bytes::BytesMut;

use super::close::Close;
use super::frame_writer;
use super::server_message::{self, Resumed, TimeText, Welcome};
use super::{Encoding, Id};

/// What stands before the type in every JSON of the hub's.
const TYPE: &[u8] = b"{\"type\":\"";
/// What stands before the id in a chat's JSON.
const CHAT: &[u8] = b"{\"type\":\"chat\",\"data\":{\"id\":\"";
/// How much longer than its text frame an event is at most: the lines around the JSON.
pub const EVENT_BYTES: usize = 96;
/// A reader comes back so soon where its stream has ended untold, in ms; with jitter on top, so
/// that a herd comes back spread.
const RETRY: u32 = 1_000;
const RETRY_JITTER: u32 = 4_000;
/// Readers come back by themselves, also where nobody wants them to: then it is so late, in ms.
const RETRY_NEVER: u32 = 3_600_000;

impl Encoding {
    /// Has `write` add text frames, which are added to `out` in this encoding: plain ones where a
    /// space's would be compressed, since these are for one member alone.
    pub fn add(self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        match self {
            Encoding::Frames | Encoding::Deflated => write(out),
            Encoding::Events => {
                let mut all = BytesMut::new();
                write(&mut all);
                events(out, &all);
            }
        }
    }

    /// Adds whole text frames in this encoding; nothing is compressed.
    pub fn add_frames(self, out: &mut BytesMut, all: &[u8]) {
        match self {
            Encoding::Frames | Encoding::Deflated => out.extend_from_slice(all),
            Encoding::Events => events(out, all),
        }
    }

    /// How much longer than its text frame a message is at most in this encoding.
    pub fn bytes_more(self) -> usize {
        match self {
            Encoding::Frames | Encoding::Deflated => 0,
            Encoding::Events => EVENT_BYTES,
        }
    }

    /// Puts in the place of a whole message, which nobody has been sent, what every reader skips:
    /// pongs that nobody asked for (RFC 6455 5.5.3), or a comment.
    pub fn blank(self, message: &mut [u8]) {
        match self {
            Encoding::Frames | Encoding::Deflated => frame_writer::blank(message),
            Encoding::Events => blank(message),
        }
    }

    /// Adds what is said last to somebody who is not a member, or no more: a close frame, or an
    /// event.
    pub fn goodbye(self, out: &mut BytesMut, close: Close, jitter: u32, at: &TimeText) {
        match self {
            Encoding::Frames | Encoding::Deflated => {
                frame_writer::close(out, close.code(), close.reason());
            }
            Encoding::Events => closing(out, close, jitter, at),
        }
    }

    /// The length of the whole message that `bytes` begin with, as this encoding has it.
    pub fn message_bytes(self, bytes: &[u8]) -> usize {
        match self {
            Encoding::Frames | Encoding::Deflated => {
                let (header, payload) = frame(bytes);
                header + payload
            }
            Encoding::Events => {
                let end = bytes.windows(2).position(|two| two == b"\n\n");
                end.map_or(bytes.len(), |end| end + 2)
            }
        }
    }
}

/// Lengths of the header and the payload of the frame of ours that `bytes` begin with.
pub(super) fn frame(bytes: &[u8]) -> (usize, usize) {
    match bytes[1] {
        126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 => {
            let length = bytes[2..10].first_chunk().expect("8 bytes");
            (10, usize::try_from(u64::from_be_bytes(*length)).expect("a length of memory"))
        }
        length => (2, usize::from(length)),
    }
}

/// Makes a comment of an event's bytes.
fn blank(event: &mut [u8]) {
    event.fill(b' ');
    if let [b' ', .., end, last] = event {
        (*end, *last) = (b'\n', b'\n');
        event[0] = b':';
    }
}

/// Adds whole text frames as events. What stands blank among them is none.
pub fn events(out: &mut BytesMut, mut frames: &[u8]) {
    while !frames.is_empty() {
        let (header, payload) = frame(frames);
        if frame_writer::is_text(frames[0]) {
            event(out, &frames[header..header + payload]);
        }
        frames = &frames[header + payload..];
    }
}

/// Adds a message as an event. Returns the bytes of it.
fn event(out: &mut BytesMut, json: &[u8]) -> usize {
    let begin = out.len();
    debug_assert!(!json.contains(&b'\n') && !json.contains(&b'\r'), "strings escape line ends");
    let name = json.strip_prefix(TYPE).unwrap_or_default();
    let name = &name[..name.iter().position(|byte| *byte == b'"').unwrap_or(0)];
    if let Some(id) = json.strip_prefix(CHAT).and_then(|rest| rest.get(..Id::TEXT_BYTES)) {
        line(out, b"id: ", id);
    }
    line(out, b"event: ", name);
    line(out, b"data: ", json);
    out.extend_from_slice(b"\n");
    out.len() - begin
}

fn line(out: &mut BytesMut, field: &[u8], value: &[u8]) {
    out.extend_from_slice(field);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\n");
}

fn retry(out: &mut BytesMut, wait: u32) {
    line(out, b"retry: ", wait.to_string().as_bytes());
}

/// Adds a comment, which keeps a connection alive that is otherwise silent.
pub fn ping(out: &mut BytesMut) {
    out.extend_from_slice(b": ping\n\n");
}

/// Greets a reader. Who comes without a position has that of the space from here on; who comes
/// back keeps its own, up to which it was sent everything.
pub fn welcome(
    out: &mut BytesMut,
    welcome: &Welcome<'_>,
    after: Option<Id>,
    (at, jitter): (&TimeText, u32),
) {
    retry(out, RETRY + jitter % RETRY_JITTER);
    if let Some(id) = after.or(welcome.space.map(|(_, newest, _)| newest)) {
        line(out, b"id: ", &id.text());
    }
    Encoding::Events.add(out, |out| server_message::welcome(out, welcome, at));
}

/// Ends a resume: the reader's position is where that has led, hole or not.
pub fn resumed(out: &mut BytesMut, resumed: &Resumed, at: &TimeText) {
    line(out, b"id: ", &resumed.to.text());
    Encoding::Events.add(out, |out| server_message::resumed(out, resumed, at));
}

/// The last event of a stream: why it ends, and when to come back.
pub fn closing(out: &mut BytesMut, close: Close, jitter: u32, at: &TimeText) {
    let Some(code) = close.code().filter(|_| close.is_ours()) else { return };
    let wait = close.retry_after_ms(jitter);
    retry(out, wait.unwrap_or(RETRY_NEVER));
    Encoding::Events.add(out, |out| server_message::closing(out, code, close.reason(), wait, at));
}

#[cfg(test)]
mod tests {
    use super::super::server_message::Chat;
    use super::super::{SpaceId, UserId};
    use super::*;
    use proptest::prelude::*;

    const AT: &TimeText = b"2026-01-02T03:04:05.678901-03:00";
    const ID: Id = Id((1_469_918_176_385u128 << 80) | 7);

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).expect("events are UTF-8")
    }

    fn chat(out: &mut BytesMut, content: &str) {
        let (space, user, image) = (SpaceId(1), UserId(1), "");
        let chat = Chat { id: ID, space, user, username: "Ana Paz", content, image };
        server_message::chat(out, &chat, AT);
    }

    #[test]
    fn events_have_the_bytes_of_the_wire_contract() {
        let join = |out: &mut BytesMut| {
            server_message::join(out, SpaceId(1), UserId(2), "Beto Rey", AT);
        };
        assert_eq!(
            text(|out| Encoding::Events.add(out, join)),
            "event: join\ndata: {\"type\":\"join\",\"data\":{\"space_id\":1,\"user_id\":2,\
             \"username\":\"\"},\"timestamp\":\"2026-01-02T03:04:05.678901-03:00\",\"user_id\":2,\
             \"space_id\":1,\"username\":\"Beto Rey\"}\n\n"
        );
        let said = text(|out| Encoding::Events.add(out, |out| chat(out, "hola\r\n\nadiós")));
        let begin = format!("id: {ID}\nevent: chat\ndata: {{\"type\":\"chat\",\"data\":{{");
        assert!(said.starts_with(&begin) && said.ends_with("}\n\n"), "{said}");
        assert!(said.contains("\"content\":\"hola\\r\\n\\nadiós\""), "{said}");
        assert_eq!(said.lines().count(), 4, "{said}");
        let resumed = Resumed { from: Id(1), to: ID, count: 3, missing: None };
        let told = text(|out| super::resumed(out, &resumed, AT));
        assert!(told.starts_with(&format!("id: {ID}\nevent: resumed\ndata: {{")), "{told}");
        assert_eq!(text(ping), ": ping\n\n");
    }

    #[test]
    fn a_welcome_moves_no_position_that_its_reader_has() {
        let greeted = |after| {
            text(|out| {
                let whom = Welcome {
                    connection: (0, 1, 2),
                    user: Some((UserId(1), "Ana")),
                    space: Some((SpaceId(1), ID, 3)),
                    message_bytes_max: 512,
                    content_chars_max: 1_000,
                    ping_period_ms: 54_000,
                };
                welcome(out, &whom, after, (AT, 4_321));
            })
        };
        let new = greeted(None);
        assert!(new.starts_with(&format!("retry: 1321\nid: {ID}\nevent: welcome\n")), "{new}");
        let back = greeted(Some(Id(5)));
        assert!(back.contains(&format!("\nid: {}\n", Id(5))), "{back}");
    }

    #[test]
    fn the_last_event_says_why_and_when_to_come_back() {
        let closing = |close| text(|out| super::closing(out, close, 1_000, AT));
        let restart = closing(Close::Restart);
        assert!(restart.starts_with("retry: 1500\nevent: closing\ndata: "), "{restart}");
        assert!(restart.contains("\"code\":1012,\"reason\":\"restart\",\"retry_after_ms\":1500"));
        let kicked = closing(Close::Kicked);
        assert!(kicked.starts_with("retry: 3600000\n") && !kicked.contains("retry_after_ms"));
        assert_eq!(closing(Close::Gone), "");
    }

    proptest! {
        #[test]
        fn an_event_is_as_long_as_it_says_and_holds_the_frames_json(
            contents in proptest::collection::vec("\\PC{0,40}|[\\x00-\\x7f]{0,300}", 1..5),
        ) {
            let mut frames = BytesMut::new();
            contents.iter().for_each(|content| chat(&mut frames, content));
            let mut all = BytesMut::new();
            events(&mut all, &frames);
            let mut left = &all[..];
            let mut sources = &frames[..];
            for content in &contents {
                let (header, payload) = frame(sources);
                prop_assert_eq!(Encoding::Frames.message_bytes(sources), header + payload);
                let length = Encoding::Events.message_bytes(left);
                prop_assert!(length <= header + payload + EVENT_BYTES);
                let event = std::str::from_utf8(&left[..length]).expect("UTF-8");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.expect("an event has data");
                prop_assert_eq!(data.as_bytes(), &sources[header..header + payload]);
                let json: serde_json::Value = serde_json::from_str(data).expect("JSON");
                prop_assert_eq!(&json["data"]["content"], content);
                (left, sources) = (&left[length..], &sources[header + payload..]);
            }
            prop_assert!(left.is_empty() && sources.is_empty());
        }
    }
}
