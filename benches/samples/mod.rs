//! What benches of the wire are given: frames, bodies, a chat and its row.

use cpi_hub::wire::record::Record;
use cpi_hub::wire::server_message::Chat;
use cpi_hub::wire::time::Micros;
use cpi_hub::wire::{Id, SpaceId, UserId};

const FIRST: u128 = 1_469_918_176_385 << 80;
const CONTENT: &str = "A message of 128 bytes, as the figures of the design had them: long enough \
to say something, short enough to be said many times.";
const _: () = assert!(CONTENT.len() == 128);
/// About as long as a chat may be, in prose.
#[allow(dead_code)]
pub const LONG: &str = "\
Who compresses what many people read pays once and saves many times; who compresses it anew \
for each of them pays every time. So a space keeps one log of compressed frames beside the \
plain one, and only while somebody reads it. A frame is compressed alone: without what was \
said before it there is less to refer to, and a short message keeps more of its bytes than it \
would in one long stream. On the other hand nobody has to be remembered. A member who falls \
behind, is cut off in the middle and comes back from another place finds the same bytes that \
all the others have had, and the shard needs no table for it. What is left to choose is the \
window. Seven of ten texts are shorter than the smallest one, and longer texts in plain words \
repeat themselves within a few lines, or not at all. A window that every client can hold means \
that no offer has to be declined for its size. Last of all comes the level, which decides how \
long one looks for a match: little is gained by looking long.";

/// A masked text frame of at least 126 bytes.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A chat of exactly this many bytes; `piece` is repeated as its content.
pub fn body(bytes: usize, piece: &str) -> Vec<u8> {
    let (open, close) = (r#"{"type":"chat","data":{"content":""#, r#""}}"#);
    let room = bytes - open.len() - close.len();
    let content = piece.repeat(room / piece.len()) + &"a".repeat(room % piece.len());
    format!("{open}{content}{close}").into_bytes()
}

/// A chat of 128 bytes of content.
pub fn outgoing_chat() -> Chat<'static> {
    Chat {
        id: Id(FIRST),
        space: SpaceId(1),
        user: UserId(1),
        username: "Ana Paz",
        content: CONTENT,
        image: "",
    }
}

/// The `number`th of a batch's records, of the same content.
pub fn record(number: usize) -> Record<'static> {
    Record {
        id: Id(FIRST + number as u128),
        at: Micros(1_767_333_845_678_901),
        space: SpaceId(1),
        user: UserId(1),
        username: "Ana Paz",
        // Its length is known at run time only, as everybody's is.
        content: std::hint::black_box(CONTENT),
        nonce: None,
    }
}
