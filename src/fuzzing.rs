//! What any bytes are held to, a function for each reader of them. Fuzzers call these (`fuzz/`,
//! `scripts/fuzz`), and the tests here replay what they have found (`fuzz/corpus`). Compiled for
//! these alone: a hub has none of it.

pub use parts::{feed, forwarded, head, journal, proxy, query, token};

use bytes::BytesMut;

use crate::store::copy::{self, WallMicros};
use crate::wire::close::Close;
use crate::wire::deflate::{Deflater, Inflater};
use crate::wire::frame_reader::{Heard, Incoming, ReadLimits, Reader};
use crate::wire::record::{Record, records as read_records};

/// What bytes are held to.
pub type Target = fn(&[u8]);

/// All of them but `decode`, whose model is in `tests/heart/messages`.
pub const TARGETS: [(&str, Target); 10] = [
    ("reader", reader),
    ("inflate", inflate),
    ("head", head),
    ("query", query),
    ("token", token),
    ("proxy", proxy),
    ("forwarded", forwarded),
    ("journal", journal),
    ("records", records),
    ("feed", feed),
];

/// The others' functions, with a door to the outside.
mod parts {
    macro_rules! parts {
        ($($name:ident of $path:path;)*) => {$(
            #[doc = concat!("See `", stringify!($path), "`.")]
            pub fn $name(bytes: &[u8]) {
                $path(bytes);
            }
        )*};
    }
    parts! {
        head of crate::edge::fuzzing::head;
        query of crate::edge::fuzzing::query;
        proxy of crate::edge::fuzzing::proxy;
        forwarded of crate::edge::fuzzing::forwarded;
        token of crate::edge::auth::token_fuzzing;
        journal of crate::store::journal::fuzzing::journal;
        feed of crate::wire::feed::fuzzing::feed;
    }
}

#[derive(PartialEq, Debug)]
enum Event {
    Message(String),
    Binary(Vec<u8>),
    Unheard(usize),
    Ping(Vec<u8>),
    Pong,
    Closed(u16),
    Refused(Close),
}

fn events<'r>(reads: impl Iterator<Item = &'r [u8]>, limits: ReadLimits) -> Vec<Event> {
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    let mut inflater = Inflater::default();
    for read in reads {
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        while let Some(next) = reader.next(&mut input, limits, &mut inflater) {
            events.push(match next {
                Ok(Incoming::Message(text)) if limits.heard == Heard::Dropped => {
                    Event::Unheard(text.len())
                }
                Ok(Incoming::Message(text)) => {
                    Event::Message(String::from_utf8(text.to_vec()).expect("UTF-8"))
                }
                Ok(Incoming::Binary(bytes)) => Event::Binary(bytes.to_vec()),
                Ok(Incoming::Unheard(bytes)) => Event::Unheard(bytes),
                Ok(Incoming::Ping(payload)) => Event::Ping(payload.to_vec()),
                Ok(Incoming::Pong) => Event::Pong,
                Ok(Incoming::Close(code)) => Event::Closed(code),
                Err(close) => Event::Refused(close),
            });
            if let Some(Event::Closed(_) | Event::Refused(_)) = events.last() {
                return events;
            }
        }
        assert!(input.is_empty());
        let bytes_max = match limits.may_deflate {
            true => limits.deflated_bytes_max(),
            false => limits.message_bytes_max,
        };
        assert!(reader.held_bytes() <= bytes_max + Reader::EXTRA_BYTES_MAX);
    }
    events
}

/// Frames, cut anywhere: the reader holds no more than its bound, and gives the same events as for
/// one read. The first byte chooses the cuts, the second what becomes of messages.
pub fn reader(bytes: &[u8]) {
    let [step, heard, bytes @ ..] = bytes else { return };
    let heard = [Heard::Read, Heard::Dropped, Heard::Echoed][usize::from(heard % 3)];
    let limits =
        ReadLimits { message_bytes_max: 512, fragments_max: 16, heard, may_deflate: false };
    let whole = events([bytes].into_iter(), limits);
    assert_eq!(events(bytes.chunks(usize::from(*step).max(1)), limits), whole);
}

/// The same where messages may come compressed; and a message of those bytes, which comes to no
/// more than it may, and again to that when it has been compressed here.
pub fn inflate(bytes: &[u8]) {
    let [step, heard, bytes @ ..] = bytes else { return };
    let heard = [Heard::Read, Heard::Dropped, Heard::Echoed][usize::from(heard % 3)];
    let limits = ReadLimits { message_bytes_max: 512, fragments_max: 16, heard, may_deflate: true };
    let whole = events([bytes].into_iter(), limits);
    assert_eq!(events(bytes.chunks(usize::from(*step).max(1)), limits), whole);
    let mut inflater = Inflater::default();
    let Ok(message) = inflater.inflate(bytes, limits.message_bytes_max) else { return };
    assert!(message.len() <= limits.message_bytes_max);
    let message = message.to_vec();
    let mut frame = BytesMut::new();
    Deflater::new(6).echo(&mut frame, true, &message);
    let payload = &frame[if frame[1] < 126 { 2 } else { 4 }..];
    if frame[0] == 0x82 {
        return assert_eq!(payload, message);
    }
    let again = inflater.inflate(payload, limits.message_bytes_max);
    assert_eq!(again.as_deref(), Ok(&message[..]));
}

/// Records: what is read of any bytes is written as it was, and comes to the database's columns.
pub fn records(bytes: &[u8]) {
    let all: Vec<Record<'_>> = read_records(bytes).collect();
    let mut again = Vec::new();
    all.iter().for_each(|record| record.append_to(&mut again));
    assert!(bytes.starts_with(&again), "{all:?}");
    let wall = WallMicros::new(-10_800);
    let bound = copy::bytes_for(all.len(), again.len());
    let rows = copy::rows(all.iter().copied(), wall, bound);
    assert!(rows.len() <= bound);
    let rows = copy::decode(&rows);
    assert_eq!(rows.len(), all.len());
    for (row, record) in rows.iter().zip(&all) {
        let [id, content, user, name, space, at] = &row[..] else { panic!("{row:?}") };
        let texts = [&id[..], content, name];
        assert_eq!(
            texts,
            [&record.id.text(), record.content.as_bytes(), record.username.as_bytes()]
        );
        let numbers = [&user[..], space];
        assert_eq!(numbers, [record.user.0.to_be_bytes(), record.space.0.to_be_bytes()]);
        let since_2000 = wall.of(record.at).saturating_sub(946_684_800_000_000);
        assert_eq!(at[..], since_2000.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn what_fuzzers_have_found_is_read_without_harm() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files = fs::read_dir(corpora.join(name)).expect(name);
            let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
            files.sort();
            assert!(files.len() >= 10, "{name} has a corpus");
            for file in files {
                let bytes = fs::read(&file).expect("a file");
                // Shown if it fails.
                println!("{}", file.display());
                target(&bytes);
            }
        }
    }
}
