//! What each chat's content begins with: a mark, then who published it, which it is, and when it
//! was due.
//!
//! The mark is looked for once in a connection's first chat; from then on stamp and id are read at
//! the places where they stood, with a few shifts, and no JSON parser runs for a delivery. The
//! letters of a stamp are `a` to `p`, four bits each, and need no escape in any server's frame. A
//! frame without a mark that calls itself a chat is reported, never guessed at.

use crate::client::dialect::{Dialect, NONCE_PLACE, Seat};

/// The letters of a mark and its stamp.
pub const STAMP_BYTES: usize = MARK.len() + NUMBERS_BYTES;
/// The letters of an id (a ULID).
pub const ID_BYTES: usize = 26;

/// Letters that no stamp has, so that no stamp can be taken for a mark.
const MARK: [u8; 8] = *b"zyxwvuts";
const NUMBERS_BYTES: usize = 24;
const BEFORE_ID: &[u8] = b"\"id\":\"";
const CHATS: [&[u8]; 3] =
    [b"\"type\":\"chat\"", b"\"event\":\"client-chat\"", b"\"pub\":{\"data\":"];
/// How far into a frame its type is looked for: behind any server's own framing.
const CHAT_WITHIN: usize = 64;

/// One message's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Which publisher of the run.
    pub publisher: u32,
    /// How many messages this publisher had sent before.
    pub sequence: u32,
    /// When it was sent or, in an open loop, due: microseconds of the run.
    pub at: u32,
}

/// What a text of the server's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen<'a> {
    /// A chat of this run's, with its id where the server gives one.
    Chat(Stamp, Option<&'a [u8; ID_BYTES]>),
    /// A chat of somebody else's, or of an unknown shape.
    Foreign,
    /// Any other message.
    Other,
}

impl Stamp {
    /// Writes mark and stamp over the first letters of a content.
    pub fn write(self, content: &mut [u8]) {
        content[..MARK.len()].copy_from_slice(&MARK);
        self.write_numbers(&mut content[MARK.len()..]);
    }

    fn write_numbers(self, letters: &mut [u8]) {
        let numbers = [self.publisher, self.sequence, self.at];
        for (letters, number) in letters[..NUMBERS_BYTES].chunks_exact_mut(8).zip(numbers) {
            for (index, letter) in letters.iter_mut().enumerate() {
                *letter = b'a' + ((number >> (4 * index)) & 15) as u8;
            }
        }
    }

    /// Reads the stamp that a text begins with, without a mark.
    pub(crate) fn read_letters(text: &[u8]) -> Option<Stamp> {
        Stamp::read(text.first_chunk()?)
    }

    fn read(letters: &[u8; NUMBERS_BYTES]) -> Option<Stamp> {
        let mut numbers = [0; 3];
        for (letters, number) in letters.chunks_exact(8).zip(&mut numbers) {
            *number = read_number(letters.try_into().ok()?)?;
        }
        let [publisher, sequence, at] = numbers;
        Some(Stamp { publisher, sequence, at })
    }
}

fn read_number(letters: [u8; 8]) -> Option<u32> {
    const ALL_A: u64 = 0x6161_6161_6161_6161;
    let nibbles = u64::from_le_bytes(letters).wrapping_sub(ALL_A);
    if nibbles & 0xF0F0_F0F0_F0F0_F0F0 != 0 {
        return None;
    }
    let bytes = (nibbles | nibbles >> 4) & 0x00FF_00FF_00FF_00FF;
    let words = (bytes | bytes >> 8) & 0x0000_FFFF_0000_FFFF;
    Some((words | words >> 16) as u32)
}

/// Where a connection's chats have their mark and their id; learned from the first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shape {
    mark_at: u32,
    /// 0: no id.
    id_at: u32,
}

impl Shape {
    /// Reads what one text is, and learns where to look where that has changed.
    pub fn see<'a>(&mut self, text: &'a [u8]) -> Seen<'a> {
        if let Some(seen) = self.see_here(text) {
            return seen;
        }
        match Shape::learn(text) {
            Some(shape) => {
                *self = shape;
                self.see_here(text).unwrap_or(Seen::Foreign)
            }
            None if is_chat(text) => Seen::Foreign,
            None => Seen::Other,
        }
    }

    fn see_here<'a>(&self, text: &'a [u8]) -> Option<Seen<'a>> {
        let (mark, rest) = text.get(self.mark_at as usize..)?.split_first_chunk()?;
        if *mark != MARK {
            return None;
        }
        let stamp = Stamp::read(rest.first_chunk()?)?;
        let id = match self.id_at as usize {
            0 => None,
            at => {
                // A key of another length would shift the id: then its quotes aren't here.
                let quoted = text[at - 1] == b'"' && text[at + ID_BYTES] == b'"';
                Some(text.get(at..)?.first_chunk().filter(|_| quoted)?)
            }
        };
        Some(Seen::Chat(stamp, id))
    }

    fn learn(text: &[u8]) -> Option<Shape> {
        let mark_at = find(text, &MARK)?;
        let id_at = find(&text[..mark_at], BEFORE_ID).map(|at| at + BEFORE_ID.len());
        let id_at = id_at.filter(|at| at + ID_BYTES < mark_at && text[at + ID_BYTES] == b'"');
        Some(Shape { mark_at: mark_at as u32, id_at: id_at.unwrap_or(0) as u32 })
    }
}

/// Where something stands in a text.
pub(crate) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Whether a text calls itself a chat.
pub(crate) fn is_chat(text: &[u8]) -> bool {
    let start = &text[..text.len().min(CHAT_WITHIN)];
    CHATS.iter().any(|chat| find(start, chat).is_some())
}

/// A client's chat message, whose stamp is written anew for each sending.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Vec<u8>,
    content_at: usize,
    nonce_at: Option<usize>,
}

impl Message {
    /// A message as a dialect has it, with a content of `content_bytes`, at least a stamp's.
    pub fn new(dialect: Dialect, seat: Seat, content_bytes: usize) -> Message {
        let content = ".".repeat(content_bytes.max(STAMP_BYTES));
        Message::around(&content, dialect.around_content(seat, content.len()))
    }

    /// A message of the hub's `cpi-hub.v1` that asks for one acknowledgement, of this level.
    pub fn acked(content_bytes: usize, level: &str) -> Message {
        let content = ".".repeat(content_bytes.max(STAMP_BYTES));
        let (before, _) = Dialect::Hub.around_content(Seat { space: 0, user: 0 }, content.len());
        let after = format!("\",\"nonce\":\"{NONCE_PLACE}\",\"ack\":\"{level}\"}}}}");
        Message::around(&content, (before, after))
    }

    fn around(content: &str, (before, after): (String, String)) -> Message {
        let bytes = [before.as_bytes(), content.as_bytes(), after.as_bytes()].concat();
        let nonce_at = after.find(NONCE_PLACE).map(|at| before.len() + content.len() + at);
        Message { bytes, content_at: before.len(), nonce_at }
    }

    /// The message with this stamp.
    pub fn stamped(&mut self, stamp: Stamp) -> &[u8] {
        stamp.write(&mut self.bytes[self.content_at..]);
        if let Some(at) = self.nonce_at {
            stamp.write_numbers(&mut self.bytes[at..]);
        }
        &self.bytes
    }
}

const _: () = assert!(NONCE_PLACE.len() == NUMBERS_BYTES, "a nonce is a stamp");

/// What an acknowledgement says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The message that it is about.
    pub stamp: Stamp,
    /// Whether it is stored; else it is accepted.
    pub is_durable: bool,
    /// Whether the hub had seen the nonce before.
    pub is_duplicate: bool,
}

/// Reads an acknowledgement of a message of ours.
pub fn read_ack(text: &[u8]) -> Option<Ack> {
    let rest = text.strip_prefix(b"{\"type\":\"ack\",\"data\":{\"nonce\":\"")?;
    let stamp = Stamp::read(rest.first_chunk()?)?;
    Some(Ack {
        stamp,
        is_durable: find(rest, b"\"level\":\"durable\"").is_some(),
        is_duplicate: find(rest, b"\"duplicate\":true").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8; ID_BYTES] = b"01ARZ3NDEKTSV4RRFFQ69G5FAV";
    const SEAT: Seat = Seat { space: 3, user: 4 };

    fn chat(content: &str) -> String {
        let id = String::from_utf8_lossy(ID);
        format!("{{\"type\":\"chat\",\"data\":{{\"id\":\"{id}\",\"content\":\"{content}\",\"user")
    }

    fn content(stamp: Stamp) -> String {
        let mut content = vec![b'.'; 100];
        stamp.write(&mut content);
        String::from_utf8(content).expect("letters")
    }

    #[test]
    fn a_stamp_survives_its_letters() {
        let mut shape = Shape::default();
        for number in [0, 1, 0xFEDC_BA98, u32::MAX] {
            let stamp = Stamp { publisher: number, sequence: !number, at: number / 3 };
            let json = Message::new(Dialect::Hub, SEAT, 100).stamped(stamp).to_vec();
            let json = String::from_utf8(json).expect("letters");
            let content = json.split('"').nth(9).expect("the content");
            assert_eq!(content.len(), 100);
            assert_eq!(shape.see(chat(content).as_bytes()), Seen::Chat(stamp, Some(ID)));
        }
    }

    #[test]
    fn chats_of_others_and_other_messages_are_told_apart() {
        let mut shape = Shape::default();
        let others = "hola, this is what another client of the hub says";
        for _ in 0..2 {
            assert_eq!(shape.see(chat(others).as_bytes()), Seen::Foreign);
            assert_eq!(shape.see(b"{\"type\":\"chat\",\"data\":{}}"), Seen::Foreign);
            assert_eq!(shape.see(b"{\"event\":\"client-chat\",\"data\":{}}"), Seen::Foreign);
            let others = b"{\"push\":{\"channel\":\"space:2147483647\",\"pub\":{\"data\":{}}}}";
            assert_eq!(shape.see(others), Seen::Foreign);
            let join = b"{\"push\":{\"channel\":\"space:1\",\"join\":{\"info\":{}}}}";
            assert_eq!(shape.see(join), Seen::Other);
            assert_eq!(shape.see(b"{\"type\":\"join\",\"data\":{}}"), Seen::Other);
            assert_eq!(shape.see(b""), Seen::Other);
            // Once more with a shape that was learned.
            shape.see(chat(&content(Stamp { publisher: 1, sequence: 2, at: 3 })).as_bytes());
        }
    }

    #[test]
    fn the_stamp_is_found_behind_any_framing_and_found_again_when_it_moves() {
        let stamp = Stamp { publisher: 7, sequence: 8, at: 9 };
        let plain = chat(&content(stamp));
        let mut shape = Shape::default();
        for before in
            ["", "42[\"chat\",", "{\"event\":\"client-chat\",\"channel\":\"private-1\",", ""]
        {
            let text = format!("{before}{plain}");
            assert_eq!(shape.see(text.as_bytes()), Seen::Chat(stamp, Some(ID)), "{before}");
            let learned = shape;
            assert_eq!(shape.see(text.as_bytes()), Seen::Chat(stamp, Some(ID)));
            assert_eq!(shape, learned, "looked for once");
        }
    }

    #[test]
    fn a_frame_without_an_id_has_none_and_a_cut_one_is_foreign() {
        let stamp = Stamp { publisher: 7, sequence: 8, at: 9 };
        let mut shape = Shape::default();
        let bare = format!("{{\"type\":\"chat\",\"content\":\"{}\"}}", content(stamp));
        assert_eq!(shape.see(bare.as_bytes()), Seen::Chat(stamp, None));
        let cut = &bare[..bare.find("zyxw").expect("the mark") + 20];
        assert_eq!(shape.see(cut.as_bytes()), Seen::Foreign);
        let short = format!("{{\"id\":\"1\",\"content\":\"{}\"}}", content(stamp));
        assert_eq!(Shape::default().see(short.as_bytes()), Seen::Chat(stamp, None));
    }

    #[test]
    fn every_dialects_message_carries_its_stamp() {
        let stamp = Stamp { publisher: 1, sequence: 2, at: 3 };
        for dialect in Dialect::ALL {
            let mut message = Message::new(dialect, SEAT, 128);
            let seen = Shape::default().see(message.stamped(stamp));
            assert!(matches!(seen, Seen::Chat(found, _) if found == stamp), "{dialect:?}");
        }
    }

    #[test]
    fn an_ack_names_its_message_and_its_level() {
        let stamp = Stamp { publisher: 70, sequence: 80, at: 90 };
        let mut message = Message::new(Dialect::HubV1, SEAT, 64);
        let json = String::from_utf8(message.stamped(stamp).to_vec()).expect("letters");
        let (_, rest) = json.split_once("\"nonce\":\"").expect("a nonce");
        let nonce = &rest[..NUMBERS_BYTES];
        let ack = |level: &str, duplicate: bool| {
            format!(
                "{{\"type\":\"ack\",\"data\":{{\"nonce\":\"{nonce}\",\"id\":\"X\",\
                 \"level\":\"{level}\",\"duplicate\":{duplicate}}}}}"
            )
        };
        let read = |text: &str| read_ack(text.as_bytes());
        let accepted = Ack { stamp, is_durable: false, is_duplicate: false };
        assert_eq!(read(&ack("accepted", false)), Some(accepted));
        assert_eq!(read(&ack("durable", false)), Some(Ack { is_durable: true, ..accepted }));
        assert_eq!(read(&ack("accepted", true)), Some(Ack { is_duplicate: true, ..accepted }));
        assert_eq!(read("{\"type\":\"join\"}"), None);
    }
}
