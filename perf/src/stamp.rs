//! What each chat's content begins with: who published it, which it is, and when it was due.
//!
//! A stamp stands at a fixed place in the hub's chat frame and is written in letters `a` to `p`,
//! four bits each, so that it is read with a few shifts, needs no escape, and no JSON parser runs
//! for a delivery. A frame of another shape is reported, never guessed at.

/// The letters of a stamp.
pub const STAMP_BYTES: usize = 24;
/// The letters of an id (a ULID).
pub const ID_BYTES: usize = 26;

const BEFORE_ID: &[u8] = b"{\"type\":\"chat\",\"data\":{\"id\":\"";
const BEFORE_CONTENT: &[u8] = b"\",\"content\":\"";
const CONTENT_AT: usize = BEFORE_ID.len() + ID_BYTES + BEFORE_CONTENT.len();
const CHAT: &[u8] = b"{\"type\":\"chat\"";

/// One message's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Which publisher of the run.
    pub publisher: u32,
    /// Its how manieth message, from 0.
    pub sequence: u32,
    /// When it was sent or, in an open loop, due: microseconds of the run.
    pub at: u32,
}

/// What a text of the hub's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen<'a> {
    /// A chat of this run's, with its id.
    Chat(Stamp, &'a [u8; ID_BYTES]),
    /// A chat of somebody else's, or of an unknown shape.
    Foreign,
    /// Any other message.
    Other,
}

impl Stamp {
    /// Writes the stamp over the first letters of a content.
    pub fn write(self, content: &mut [u8]) {
        let numbers = [self.publisher, self.sequence, self.at];
        for (letters, number) in content[..STAMP_BYTES].chunks_exact_mut(8).zip(numbers) {
            for (index, letter) in letters.iter_mut().enumerate() {
                *letter = b'a' + ((number >> (4 * index)) & 15) as u8;
            }
        }
    }

    fn read(content: &[u8; STAMP_BYTES]) -> Option<Stamp> {
        let mut numbers = [0; 3];
        for (letters, number) in content.chunks_exact(8).zip(&mut numbers) {
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

/// Reads what one text of the hub's is.
pub fn see(text: &[u8]) -> Seen<'_> {
    if !text.starts_with(CHAT) {
        return Seen::Other;
    }
    see_chat(text).unwrap_or(Seen::Foreign)
}

fn see_chat(text: &[u8]) -> Option<Seen<'_>> {
    let rest = text.strip_prefix(BEFORE_ID)?;
    let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
    let (content, _) = rest.strip_prefix(BEFORE_CONTENT)?.split_first_chunk::<STAMP_BYTES>()?;
    debug_assert_eq!(text.len() - rest.len() + BEFORE_CONTENT.len(), CONTENT_AT);
    Some(Seen::Chat(Stamp::read(content)?, id))
}

/// A client's chat message, whose stamp is written anew for each sending.
#[derive(Clone, Debug)]
pub struct Message {
    json: Vec<u8>,
}

impl Message {
    const HEAD: &'static [u8] = b"{\"type\":\"chat\",\"data\":{\"content\":\"";

    /// A message with a content of so many bytes, at least a stamp's.
    pub fn new(content_bytes: usize) -> Message {
        let mut json = Message::HEAD.to_vec();
        json.resize(Message::HEAD.len() + content_bytes.max(STAMP_BYTES), b'.');
        json.extend_from_slice(b"\"}}");
        Message { json }
    }

    /// The JSON with this stamp.
    pub fn stamped(&mut self, stamp: Stamp) -> &[u8] {
        stamp.write(&mut self.json[Message::HEAD.len()..]);
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8; ID_BYTES] = b"01ARZ3NDEKTSV4RRFFQ69G5FAV";

    fn chat(content: &str) -> String {
        let id = String::from_utf8_lossy(ID);
        format!("{{\"type\":\"chat\",\"data\":{{\"id\":\"{id}\",\"content\":\"{content}\",\"user")
    }

    #[test]
    fn a_stamp_survives_its_letters() {
        for number in [0, 1, 0xFEDC_BA98, u32::MAX] {
            let stamp = Stamp { publisher: number, sequence: !number, at: number / 3 };
            let json = Message::new(100).stamped(stamp).to_vec();
            let json = String::from_utf8(json).expect("letters");
            let content = json.split('"').nth(9).expect("the content");
            assert_eq!(content.len(), 100);
            assert_eq!(see(chat(content).as_bytes()), Seen::Chat(stamp, ID));
        }
    }

    #[test]
    fn chats_of_others_and_other_messages_are_told_apart() {
        let others = "hola, this is what another client of the hub says";
        assert_eq!(see(chat(others).as_bytes()), Seen::Foreign);
        assert_eq!(see(b"{\"type\":\"chat\",\"data\":{}}"), Seen::Foreign);
        assert_eq!(see(b"{\"type\":\"join\",\"data\":{}}"), Seen::Other);
        assert_eq!(see(b""), Seen::Other);
    }
}
