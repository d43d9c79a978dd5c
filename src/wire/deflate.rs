//! Compressed messages (RFC 7692, docs/WIRE.md, J), each by itself: whoever takes what the hub says
//! compressed reads the same bytes, and no connection has a state.
//!
//! Owns the tables of one compressor and of one that inflates, which all members of a shard share,
//! and takes memory for each when it is first needed. Never writes more than a message may have.

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::close::Close;
use super::event_stream;
use super::frame_writer;
use crate::limits::{
    DEFLATED_EXTRA_BYTES, INFLATED_KEPT_BYTES, INFLATED_ROOM_BYTES, LAST_BLOCKS_MAX,
};

/// The window of what the hub compresses, as a power of two: the least there is, so that whatever
/// a client asks for can be kept. Messages are short: a larger one gains 2 % where a text has 1,000
/// characters, and nothing where it has 128.
pub const WINDOW_BITS: u8 = 9;
/// What every flush ends with, and no message has (RFC 7692 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
/// The same, and an empty block that is the last: whatever is whole ends exactly here.
const END: [u8; 6] = [0, 0, 0xFF, 0xFF, 3, 0];

/// Compresses what a shard's spaces say.
#[derive(Debug)]
pub struct Deflater {
    level: Compression,
    stream: Option<Compress>,
    /// Room for a whole message, however badly it compresses: what a stream has not got rid of by
    /// its next reset takes its memory for good, and a stream without any ends in a bug (zlib-rs
    /// 0.6.8).
    room: Vec<u8>,
    /// Bytes of frames that it was given, and of those that it made of them, since these were last
    /// taken.
    bytes: (u64, u64),
}

impl Deflater {
    /// One of a level from 1, which is fast, to 9.
    pub fn new(level: u32) -> Deflater {
        let level = Compression::new(level);
        Deflater { level, stream: None, room: Vec::new(), bytes: (0, 0) }
    }

    /// Adds whole text frames, each compressed if that makes it shorter.
    pub fn frames(&mut self, out: &mut BytesMut, mut frames: &[u8]) {
        while !frames.is_empty() {
            let (header, payload) = event_stream::frame(frames);
            let (frame, rest) = frames.split_at(header + payload);
            let before = out.len();
            if !self.add(out, false, &frame[header..]) {
                out.extend_from_slice(frame);
            }
            self.bytes.0 += frame.len() as u64;
            self.bytes.1 += (out.len() - before) as u64;
            frames = rest;
        }
    }

    /// Adds a message as it came, as [`frame_writer::echo`] does, compressed if that makes it
    /// shorter.
    pub fn echo(&mut self, out: &mut BytesMut, is_binary: bool, payload: &[u8]) {
        if !self.add(out, is_binary, payload) {
            frame_writer::echo(out, is_binary, payload);
        }
    }

    /// Adds a message compressed, if that is shorter than as it is.
    fn add(&mut self, out: &mut BytesMut, is_binary: bool, payload: &[u8]) -> bool {
        let Some(deflated) = self.deflate(payload) else {
            self.stream = None;
            return false;
        };
        // With a header that is longer by two than the shortest.
        let is_shorter = deflated.len() + 2 < payload.len();
        if is_shorter {
            frame_writer::deflated(out, is_binary, deflated);
        }
        is_shorter
    }

    /// A message compressed, without its tail; `None`: the stream is of no more use.
    fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        let bytes_max = payload.len() + payload.len() / 4 + DEFLATED_EXTRA_BYTES;
        if self.room.len() > INFLATED_KEPT_BYTES {
            self.room = Vec::new();
        }
        if self.room.len() < bytes_max {
            self.room.resize(bytes_max, 0);
        }
        let level = self.level;
        let make = || Compress::new_with_window_bits(level, false, WINDOW_BITS);
        let stream = self.stream.get_or_insert_with(make);
        stream.reset();
        stream.compress(payload, &mut self.room, FlushCompress::Sync).ok()?;
        let bytes = stream.total_out() as usize;
        // Where the room is full, there may be more to come.
        let is_whole = stream.total_in() == payload.len() as u64 && bytes < self.room.len();
        is_whole.then_some(())?;
        self.room[..bytes].strip_suffix(&TAIL)
    }

    /// Takes the bytes that it was given, and those that it made of them, since the last time.
    pub(crate) fn take_bytes(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.bytes)
    }
}

/// Inflates what members say.
#[derive(Default, Debug)]
pub struct Inflater {
    stream: Option<Decompress>,
    /// Room for a message, and the last one.
    message: Vec<u8>,
}

impl Inflater {
    /// Inflates a message of at most `max` bytes, and never more than one beyond. `payload` is
    /// without the tail that every flush ends with.
    ///
    /// # Errors
    ///
    /// It is longer than it may be, or no whole stream.
    pub fn inflate(&mut self, payload: &[u8], max: usize) -> Result<&mut [u8], Close> {
        if self.message.len() > INFLATED_KEPT_BYTES {
            self.message = Vec::new();
        }
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        let (mut bytes, mut last_blocks, mut is_ended) = (0, 0, payload.is_empty());
        // Some send an empty message as no byte at all.
        let parts = if payload.is_empty() { [payload, payload] } else { [payload, &END] };
        for mut input in parts {
            while !input.is_empty() {
                let room = room(&mut self.message, bytes, max);
                let (before, filled) = (stream.total_in(), stream.total_out());
                let status = stream.decompress(input, room, FlushDecompress::Sync);
                let status = status.map_err(|_| Close::InvalidDeflate)?;
                let taken = (stream.total_in() - before) as usize;
                let made = (stream.total_out() - filled) as usize;
                (input, bytes) = (&input[taken..], bytes + made);
                if bytes > max {
                    return Err(Close::MessageTooBig);
                }
                // A last block ends a stream; a message may have more than one (RFC 7692 7.2.3.5).
                is_ended = status == Status::StreamEnd && input.is_empty();
                if status == Status::StreamEnd {
                    last_blocks += 1;
                    stream.reset(false);
                }
                if last_blocks > LAST_BLOCKS_MAX || (taken, made) == (0, 0) {
                    return Err(Close::InvalidDeflate);
                }
            }
        }
        // What was cut takes the end for a part of itself.
        if !is_ended {
            return Err(Close::InvalidDeflate);
        }
        Ok(&mut self.message[..bytes])
    }
}

/// Where the next bytes of a message go: some room, up to one byte more than it may have.
fn room(message: &mut Vec<u8>, bytes: usize, max: usize) -> &mut [u8] {
    if bytes == message.len() {
        message.resize((2 * bytes).max(INFLATED_ROOM_BYTES).min(max + 1), 0);
    }
    let end = message.len().min(max + 1);
    &mut message[bytes..end]
}

#[cfg(test)]
mod tests;
