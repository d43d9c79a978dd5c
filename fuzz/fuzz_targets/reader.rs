//! Any bytes, cut anywhere: the frame reader never panics, holds no more than its bound, and
//! gives the same events as for one read. The first byte chooses the cuts.
#![no_main]

use libfuzzer_sys::fuzz_target;

use cpi_hub::wire::close::Close;
use cpi_hub::wire::frame_reader::{Incoming, ReadLimits, Reader};

const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 512, fragments_max: 16, is_heard: true };

#[derive(PartialEq, Debug)]
enum Event {
    Message(String),
    Ping(Vec<u8>),
    Pong,
    Closed(u16),
    Refused(Close),
}

fn events<'r>(reads: impl Iterator<Item = &'r [u8]>) -> Vec<Event> {
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    for read in reads {
        let mut read = read.to_vec();
        let mut input = &mut read[..];
        while let Some(next) = reader.next(&mut input, LIMITS) {
            events.push(match next {
                Ok(Incoming::Message(text)) => {
                    Event::Message(String::from_utf8(text.to_vec()).expect("UTF-8"))
                }
                Ok(Incoming::Unheard(_)) => unreachable!("messages are heard"),
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
        assert!(reader.held_bytes() <= LIMITS.message_bytes_max + Reader::EXTRA_BYTES_MAX);
    }
    events
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let whole = events([bytes].into_iter());
    assert_eq!(events(bytes.chunks(usize::from(step).max(1))), whole);
});
