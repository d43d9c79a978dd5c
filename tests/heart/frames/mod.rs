//! The frame reader from outside: the rows of `docs/BAD_INPUT.md` on frames, properties over cuts
//! and mutations, and tungstenite's reader beside it.

mod properties;
mod rows;

use cpi_hub::wire::close::Close;
use cpi_hub::wire::deflate::Inflater;
use cpi_hub::wire::frame_reader::{Heard, Incoming, ReadLimits, Reader};

const LIMITS: ReadLimits = ReadLimits {
    message_bytes_max: 512,
    fragments_max: 16,
    heard: Heard::Read,
    may_deflate: false,
};
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const MASKED: u8 = 0x80;

/// What the reader gave, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Message(String),
    Binary(Vec<u8>),
    Unheard(usize),
    Ping(Vec<u8>),
    Pong,
    Closed(u16),
    Refused(Close),
}

impl Event {
    fn is_last(&self) -> bool {
        matches!(self, Event::Closed(_) | Event::Refused(_))
    }
}

/// A masked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(MASKED | length as u8),
        length => {
            frame.push(MASKED | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// All that one read after the other gives; a close or an error ends it. What the reader holds
/// stays within its bound.
fn events<'r>(
    reader: &mut Reader,
    reads: impl IntoIterator<Item = &'r [u8]>,
    limits: ReadLimits,
) -> Vec<Event> {
    let (mut events, mut inflater) = (Vec::new(), Inflater::default());
    for read in reads {
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        while let Some(next) = reader.next(&mut input, limits, &mut inflater) {
            let event = match next {
                Ok(Incoming::Message(text)) if limits.heard == Heard::Dropped => {
                    Event::Unheard(text.len())
                }
                Ok(Incoming::Message(text)) => {
                    Event::Message(String::from_utf8(text.to_vec()).expect("checked by the reader"))
                }
                Ok(Incoming::Binary(bytes)) => Event::Binary(bytes.to_vec()),
                Ok(Incoming::Unheard(bytes)) => Event::Unheard(bytes),
                Ok(Incoming::Ping(payload)) => Event::Ping(payload.to_vec()),
                Ok(Incoming::Pong) => Event::Pong,
                Ok(Incoming::Close(code)) => Event::Closed(code),
                Err(close) => Event::Refused(close),
            };
            let is_last = event.is_last();
            events.push(event);
            if is_last {
                return events;
            }
        }
        assert!(input.is_empty(), "None means that all is read");
        let text_bytes_max = match limits.heard {
            Heard::Dropped => Reader::UNHEARD_BYTES_MAX,
            Heard::Read | Heard::Echoed if limits.may_deflate => limits.deflated_bytes_max(),
            Heard::Read | Heard::Echoed => limits.message_bytes_max,
        };
        assert!(reader.held_bytes() <= text_bytes_max + Reader::EXTRA_BYTES_MAX);
    }
    events
}

/// Short names for tables: a message is its text.
fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Message(text) => text.clone(),
        Event::Binary(bytes) => format!("binary {bytes:?}"),
        Event::Unheard(bytes) => format!("unheard {bytes}"),
        Event::Ping(payload) => format!("ping {payload:?}"),
        Event::Pong => "pong".into(),
        Event::Closed(code) => format!("close {code}"),
        Event::Refused(close) => close.name().into(),
    };
    events.iter().map(name).collect()
}
