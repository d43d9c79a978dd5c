//! Any cuts give the same events, nothing makes the reader panic or hold too much, and
//! tungstenite's reader agrees.
//!
//! Where the two differ on purpose (the hub's rule first):
//! - binary is read as text, so its UTF-8 is checked; tungstenite hands bytes over;
//! - a length not in its shortest form, or of 2^63 and more, is a protocol error; tungstenite
//!   takes the first and calls the second too big;
//! - at most `fragments_max` frames a message; tungstenite has no such bound;
//! - a refusal comes with the header, and for bad UTF-8 with the bad byte; tungstenite waits for
//!   the frame to be whole, for binary for ever;
//! - a header that is wrong and too long is wrong; tungstenite says too big. A close frame whose
//!   code and text are both bad has a bad code; tungstenite looks at the text first.

use std::io::{self, Cursor, ErrorKind, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use cpi_hub::wire::close::Close;
use cpi_hub::wire::frame_reader::{Heard, ReadLimits, Reader};

use super::{Event, LIMITS, events, frame};

/// One thing to send: a message in pieces with control frames between, or a control frame.
fn one() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Event>)> {
    let control = || {
        prop_oneof![
            vec(any::<u8>(), 0..126)
                .prop_map(|payload| (frame(0x89, &payload), Event::Ping(payload))),
            vec(any::<u8>(), 0..126).prop_map(|payload| (frame(0x8A, &payload), Event::Pong)),
        ]
    };
    let text = prop_oneof![any::<String>(), "[a-z ñ€😀]{0,120}", "[ -~]{480,512}"]
        .prop_filter("within the limit", |text| text.len() <= LIMITS.message_bytes_max);
    let message =
        (text, any::<bool>(), vec((any::<Index>(), proptest::option::of(control())), 0..4));
    let message = message.prop_map(|(text, is_binary, mut cuts)| {
        cuts.sort_by_key(|(at, _)| at.index(text.len() + 1));
        let (mut frames, mut expected, mut from) = (Vec::new(), Vec::new(), 0);
        let mut opcode = if is_binary { 2 } else { 1 };
        for (at, between) in cuts {
            let to = at.index(text.len() + 1);
            frames.push(frame(opcode, &text.as_bytes()[from..to]));
            (opcode, from) = (0, to);
            if let Some((control, event)) = between {
                frames.push(control);
                expected.push(event);
            }
        }
        frames.push(frame(0x80 | opcode, &text.as_bytes()[from..]));
        expected.push(Event::Message(text));
        (frames, expected)
    });
    prop_oneof![
        4 => message,
        1 => control().prop_map(|(frame, event)| (vec![frame], vec![event])),
    ]
}

/// Bytes of a valid stream and its events, perhaps with a close frame at the end.
fn valid() -> impl Strategy<Value = (Vec<u8>, Vec<Event>)> {
    let close = prop_oneof![
        Just(None),
        prop::sample::select(vec![1000_u16, 1001, 3000, 4999]).prop_map(Some)
    ];
    (vec(one(), 0..8), close).prop_map(|(all, close)| {
        let (frames, expected): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let mut bytes = frames.concat().concat();
        let mut expected = expected.concat();
        if let Some(code) = close {
            bytes.extend(frame(0x88, &code.to_be_bytes()));
            expected.push(Event::Closed(code));
        }
        (bytes, expected)
    })
}

/// A valid stream with some bytes overwritten, or bytes that mean nothing.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let hits =
        vec((any::<Index>(), prop_oneof![any::<u8>(), (0..8).prop_map(|bit| 1_u8 << bit)]), 0..4);
    let mutated = (valid(), hits, any::<Index>()).prop_map(|((mut bytes, _), hits, end)| {
        for (at, byte) in hits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
            }
        }
        bytes.truncate(end.index(2 * bytes.len() + 1));
        bytes
    });
    // Odd frames, whole: each rule about headers is met often.
    let odd = vec((any::<u8>(), vec(any::<u8>(), 0..130)), 0..5).prop_map(|frames| {
        frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
    });
    prop_oneof![4 => mutated, 2 => odd, 1 => vec(any::<u8>(), 0..2_000)]
}

/// `bytes` in reads that end at `cuts`.
fn cut<'b>(bytes: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|at| at.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort();
    let mut from = 0;
    let to_read = |to| {
        let read = &bytes[from..to];
        from = to;
        read
    };
    ends.into_iter().map(to_read).collect()
}

/// Gives its bytes once, then would block; swallows what is written.
struct Fed<'b>(&'b [u8]);

impl Read for Fed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Fed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite's server makes of the same bytes.
fn events_of_tungstenite(bytes: &[u8]) -> Vec<Event> {
    let bytes_max = Some(LIMITS.message_bytes_max);
    let config = WebSocketConfig::default().max_message_size(bytes_max).max_frame_size(bytes_max);
    let mut socket = WebSocket::from_raw_socket(Fed(bytes), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => Event::Message(text.to_string()),
            Ok(Message::Binary(bytes)) => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => Event::Message(text),
                Err(_) => Event::Refused(Close::InvalidUtf8),
            },
            Ok(Message::Ping(payload)) => Event::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => Event::Pong,
            Ok(Message::Close(None)) => Event::Closed(1005),
            // How it answers a code that it doesn't allow.
            Ok(Message::Close(Some(frame)))
                if frame.code == CloseCode::Protocol && frame.reason == "Protocol violation" =>
            {
                Event::Refused(Close::ProtocolError)
            }
            Ok(Message::Close(Some(frame))) => Event::Closed(frame.code.into()),
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return events,
            Err(Error::Protocol(_)) => Event::Refused(Close::ProtocolError),
            Err(Error::Capacity(_)) => Event::Refused(Close::MessageTooBig),
            Err(Error::Utf8(_)) => Event::Refused(Close::InvalidUtf8),
            Err(error) => panic!("{error}"),
        };
        let is_last = event.is_last();
        events.push(event);
        if is_last {
            return events;
        }
    }
}

/// The bytes before the first header whose length the two read differently.
fn before_odd_length(bytes: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(bytes);
    loop {
        let start = cursor.position() as usize;
        let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else { return bytes };
        let header_bytes = cursor.position() as usize - start;
        if header_bytes != header.len(length) || length >> 63 == 1 {
            return &bytes[..start];
        }
        cursor.set_position(cursor.position().saturating_add(length));
    }
}

fn refusal(events: &[Event]) -> Option<Close> {
    match events.last() {
        Some(Event::Refused(close)) => Some(*close),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_stream_gives_what_was_sent_however_it_is_cut(
        (bytes, expected) in valid(),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let mut reader = Reader::default();
        prop_assert_eq!(&events(&mut reader, cut(&bytes, &cuts), LIMITS), &expected);
        let nothing: [&[u8]; 1] = [&[]];
        events(&mut reader, nothing, LIMITS);
        prop_assert_eq!(reader.held_bytes(), 0);
        prop_assert_eq!(&events_of_tungstenite(&bytes), &expected);
    }

    #[test]
    fn any_bytes_give_the_same_events_however_they_are_cut(
        bytes in mutated(),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        let whole = events(&mut Reader::default(), [&bytes[..]], LIMITS);
        prop_assert_eq!(&events(&mut Reader::default(), cut(&bytes, &cuts), LIMITS), &whole);
        prop_assert_eq!(&events(&mut Reader::default(), bytes.chunks(1), LIMITS), &whole);
    }

    #[test]
    fn what_nobody_reads_is_checked_all_the_same_and_not_kept(
        bytes in mutated(),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        let unheard = ReadLimits { heard: Heard::Dropped, ..LIMITS };
        let mut heard = events(&mut Reader::default(), [&bytes[..]], LIMITS);
        for event in &mut heard {
            if let Event::Message(text) = event {
                *event = Event::Unheard(text.len());
            }
        }
        prop_assert_eq!(&events(&mut Reader::default(), [&bytes[..]], unheard), &heard);
        prop_assert_eq!(&events(&mut Reader::default(), cut(&bytes, &cuts), unheard), &heard);
        prop_assert_eq!(&events(&mut Reader::default(), bytes.chunks(1), unheard), &heard);
    }

    #[test]
    fn what_is_sent_back_is_read_alike_however_it_is_cut_and_binary_is_any_bytes(
        bytes in mutated(),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        let echoed = ReadLimits { heard: Heard::Echoed, ..LIMITS };
        let whole = events(&mut Reader::default(), [&bytes[..]], echoed);
        prop_assert_eq!(&events(&mut Reader::default(), cut(&bytes, &cuts), echoed), &whole);
        prop_assert_eq!(&events(&mut Reader::default(), bytes.chunks(1), echoed), &whole);
        let as_text = events(&mut Reader::default(), [&bytes[..]], LIMITS);
        for (event, text) in whole.iter().zip(&as_text) {
            match (event, text) {
                (Event::Binary(bytes), Event::Message(text)) => {
                    prop_assert_eq!(&bytes[..], text.as_bytes());
                }
                // The bytes of a binary message mean nothing.
                (Event::Binary(bytes), Event::Refused(Close::InvalidUtf8)) => {
                    prop_assert!(str::from_utf8(bytes).is_err());
                }
                (event, text) => {
                    // It was cut, or something broken came behind what is no text.
                    if *text != Event::Refused(Close::InvalidUtf8) {
                        prop_assert_eq!(event, text);
                    }
                }
            }
        }
    }

    #[test]
    fn tungstenite_takes_and_refuses_the_same(bytes in mutated(), is_padded in any::<bool>()) {
        let mut bytes = before_odd_length(&bytes).to_vec();
        if is_padded {
            // Completes the last frame; what is left of it is an unmasked frame.
            bytes.extend([0; 1_100]);
            bytes.truncate(before_odd_length(&bytes).len());
        }
        let limits = ReadLimits { fragments_max: u32::MAX, ..LIMITS };
        let ours = events(&mut Reader::default(), [&bytes[..]], limits);
        let theirs = events_of_tungstenite(&bytes);
        let Some(close) = refusal(&ours) else {
            prop_assert_eq!(ours, theirs);
            return Ok(());
        };
        let accepted = &ours[..ours.len() - 1];
        match refusal(&theirs) {
            // The reader goes on to the end of a frame, or of a message.
            _ if close == Close::InvalidUtf8 => prop_assert!(theirs.starts_with(accepted)),
            None => prop_assert!(!is_padded && theirs == accepted, "{:?} {:?}", ours, theirs),
            Some(their) => {
                prop_assert_eq!(&theirs[..theirs.len() - 1], accepted);
                // Where two faults meet, the hub names the broken protocol.
                prop_assert!(close == their || close == Close::ProtocolError);
            }
        }
    }
}
