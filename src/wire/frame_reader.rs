//! Frames in: the frame reader. It finds the messages and control frames in what a socket gave,
//! unmasks them in place, and holds RFC 6455 and the limits against every header before anything
//! is allocated.
//!
//! Owns what is kept of a frame or message that is cut over reads, and nothing while none is.
//! Never allocates by a declared length, never reads a socket, never answers.

use std::mem;

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::{Close, peer_may_send};
use super::deflate::Inflater;
use crate::limits::DEFLATED_EXTRA_BYTES;

mod head;

use head::{FrameHead, OpenMessage};

/// Bytes of the longest header: flags and opcode, length, mask (RFC 6455 5.2).
const HEADER_BYTES_MAX: usize = 14;
const MASK_BYTES: usize = 4;
/// Bytes of a control frame's payload (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of a message that nobody reads that are checked at a time.
const UNHEARD_BYTES_MAX: usize = 256;

/// The bit that no ASCII byte has, in each byte of a word.
const NOT_ASCII: u64 = u64::from_ne_bytes([0x80; 8]);

/// What one connection's reader may let through.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Bytes of one message, all its fragments together.
    pub message_bytes_max: usize,
    /// Frames of one message, empty ones too.
    pub fragments_max: u32,
    /// What becomes of its messages.
    pub heard: Heard,
    /// They may come compressed.
    pub may_deflate: bool,
}

impl ReadLimits {
    /// Bytes of one compressed message: letters that occur once take an eighth more than plain.
    pub fn deflated_bytes_max(&self) -> usize {
        self.message_bytes_max + self.message_bytes_max / 8 + DEFLATED_EXTRA_BYTES
    }
}

/// What becomes of a connection's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// They are read, binary ones as text.
    Read,
    /// They are checked, counted and dropped as they come.
    Dropped,
    /// They are sent back as they came; binary ones are any bytes.
    Echoed,
}

/// Something whole that a peer sent; unmasked, in the read buffer, in the reader or in what
/// inflates.
#[derive(PartialEq, Eq, Debug)]
pub enum Incoming<'a> {
    /// A text or binary message, checked to be UTF-8. Mutable, because the JSON reader works in
    /// place.
    Message(&'a mut [u8]),
    /// A binary message that is to be sent back.
    Binary(&'a [u8]),
    /// A message that nobody reads, of which nothing was kept: how many bytes it had. A plain one
    /// was checked to be UTF-8; one that came whole is an [`Incoming::Message`] all the same.
    Unheard(usize),
    /// A ping with its payload of at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong,
    /// A close frame that keeps RFC 6455 7.4: its code, 1005 for none.
    Close(u16),
}

/// Reads the frames of one connection; 8 bytes while no frame or message is cut.
#[derive(Debug, Default)]
pub struct Reader {
    cut: Option<Box<Cut>>,
}

// Every connection has one, and most are idle.
const _: () = assert!(size_of::<Reader>() == size_of::<usize>());

impl Reader {
    /// What a reader holds at most beyond `message_bytes_max`: a header and a control payload.
    pub const EXTRA_BYTES_MAX: usize = HEADER_BYTES_MAX + CONTROL_BYTES_MAX;
    /// What it holds at most of a message that nobody reads.
    pub const UNHEARD_BYTES_MAX: usize = 2 * UNHEARD_BYTES_MAX;

    /// Takes the next whole message or control frame off the front of `input`; what is compressed
    /// comes inflated. `None`: all of `input` is read, what was cut is kept for the next call.
    /// After an error or a close frame nothing more may be read.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i mut [u8],
        limits: ReadLimits,
        inflater: &'a mut Inflater,
    ) -> Option<Result<Incoming<'a>, Close>> {
        if self.cut.as_ref().is_some_and(|cut| cut.is_spent()) {
            self.cut = None;
        }
        if self.cut.is_none() {
            if input.is_empty() {
                return None;
            }
            match take_whole(input, limits).transpose() {
                Some(Ok(Whole::Deflated(message))) => {
                    return Some(message.inflate(limits, inflater));
                }
                Some(Ok(Whole::Plain(incoming))) => return Some(Ok(incoming)),
                Some(Err(close)) => return Some(Err(close)),
                None => {}
            }
        }
        let cut = self.cut.get_or_insert_default();
        match cut.read(input, limits).transpose()? {
            Ok(found) => Some(cut.deliver(found, limits, inflater)),
            Err(close) => Some(Err(close)),
        }
    }

    /// Bytes of frames that the reader keeps: what a connection costs while something is cut.
    pub fn held_bytes(&self) -> usize {
        self.cut.as_ref().map_or(0, |cut| {
            cut.message.capacity() + usize::from(cut.header_bytes) + usize::from(cut.control_bytes)
        })
    }
}

/// A compressed message.
struct Deflated<'a> {
    payload: &'a [u8],
    /// It is to be sent back as it is, and is no text.
    is_binary: bool,
}

impl Deflated<'_> {
    /// The message as if it had come plain.
    fn inflate(self, limits: ReadLimits, inflater: &mut Inflater) -> Result<Incoming<'_>, Close> {
        let message = inflater.inflate(self.payload, limits.message_bytes_max)?;
        if self.is_binary {
            return Ok(Incoming::Binary(message));
        }
        match simdutf8::basic::from_utf8(message) {
            Ok(_) => Ok(Incoming::Message(message)),
            Err(_) => Err(Close::InvalidUtf8),
        }
    }
}

/// What came whole.
enum Whole<'a> {
    Plain(Incoming<'a>),
    Deflated(Deflated<'a>),
}

/// Takes a whole message or control frame that needs nothing kept, in place.
#[inline]
fn take_whole<'a>(
    input: &mut &'a mut [u8],
    limits: ReadLimits,
) -> Result<Option<Whole<'a>>, Close> {
    let Some(head) = FrameHead::parse(input, limits)? else { return Ok(None) };
    head.admit(OpenMessage::default(), limits)?;
    if !head.is_final {
        return Ok(None);
    }
    let Some(frame) = input.split_off_mut(..head.header_bytes + head.payload_bytes) else {
        return Ok(None);
    };
    let payload = &mut frame[head.header_bytes..];
    let is_ascii = unmask(payload, head.mask);
    let plain = match head.opcode {
        OpCode::Control(control) => read_control(control, payload)?,
        OpCode::Data(_) if head.is_deflated && limits.heard == Heard::Dropped => {
            Incoming::Unheard(payload.len())
        }
        OpCode::Data(kind) if head.is_deflated => {
            let is_binary = kind == Data::Binary && limits.heard == Heard::Echoed;
            return Ok(Some(Whole::Deflated(Deflated { payload, is_binary })));
        }
        OpCode::Data(Data::Binary) if limits.heard == Heard::Echoed => Incoming::Binary(payload),
        OpCode::Data(_) if is_ascii || simdutf8::basic::from_utf8(payload).is_ok() => {
            Incoming::Message(payload)
        }
        OpCode::Data(_) => return Err(Close::InvalidUtf8),
    };
    Ok(Some(Whole::Plain(plain)))
}

/// What is kept of a frame or message that is not whole.
#[derive(Debug)]
struct Cut {
    /// What is kept of the message so far, unmasked: all, or what the next check needs.
    message: Vec<u8>,
    /// How much of that is known to be UTF-8; ends at a character's end.
    checked: usize,
    /// Bytes of the message so far.
    bytes: usize,
    /// Frames of that message so far; 0 while none is open.
    fragments: u32,
    /// That message is sent back as it is, and is no text.
    is_binary: bool,
    /// That message is compressed.
    is_deflated: bool,
    /// The frame whose header is whole and whose payload is not.
    frame: Option<Frame>,
    /// A header that is cut.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: u8,
    /// The payload of the control frame being read, or last read.
    control: [u8; CONTROL_BYTES_MAX],
    control_bytes: u8,
}

/// A frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// The frame's mask, turned so that it begins at the next byte.
    mask: [u8; MASK_BYTES],
    /// Payload bytes still to come.
    left: usize,
}

/// What became whole in a [`Cut`].
enum WholeFrame {
    Message,
    Binary,
    Deflated,
    Unheard,
    Control(Control),
}

impl Default for Cut {
    fn default() -> Cut {
        Cut {
            message: Vec::new(),
            checked: 0,
            bytes: 0,
            fragments: 0,
            is_binary: false,
            is_deflated: false,
            frame: None,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            control: [0; CONTROL_BYTES_MAX],
            control_bytes: 0,
        }
    }
}

impl Cut {
    /// Whether nothing is kept that a later byte could complete.
    fn is_spent(&self) -> bool {
        self.fragments == 0 && self.frame.is_none() && self.header_bytes == 0
    }

    /// Reads frames until something is whole or `input` is empty.
    fn read(
        &mut self,
        input: &mut &mut [u8],
        limits: ReadLimits,
    ) -> Result<Option<WholeFrame>, Close> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin_frame(input, limits)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            self.read_payload(&mut frame, input, limits.heard)?;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            match frame.opcode {
                OpCode::Control(control) => return Ok(Some(WholeFrame::Control(control))),
                OpCode::Data(_) if frame.is_final => {
                    self.fragments = 0;
                    return Ok(Some(match limits.heard {
                        Heard::Dropped => WholeFrame::Unheard,
                        _ if self.is_deflated => WholeFrame::Deflated,
                        _ if self.is_binary => WholeFrame::Binary,
                        _ => WholeFrame::Message,
                    }));
                }
                OpCode::Data(_) => {}
            }
        }
    }

    /// Reads a header, kept bytes first; `None`: it is still cut.
    fn begin_frame(
        &mut self,
        input: &mut &mut [u8],
        limits: ReadLimits,
    ) -> Result<Option<Frame>, Close> {
        let kept = usize::from(self.header_bytes);
        let seen = HEADER_BYTES_MAX.min(kept + input.len());
        self.header[kept..seen].copy_from_slice(&input[..seen - kept]);
        let head = FrameHead::parse(&self.header[..seen], limits)?;
        let used = head.map_or(seen, |head| head.header_bytes) - kept;
        *input = &mut mem::take(input)[used..];
        let Some(head) = head else {
            self.header_bytes += used as u8;
            return Ok(None);
        };
        self.header_bytes = 0;
        let Cut { fragments, bytes, is_deflated, .. } = *self;
        head.admit(OpenMessage { fragments, bytes, is_deflated }, limits)?;
        match head.opcode {
            OpCode::Control(_) => self.control_bytes = 0,
            OpCode::Data(kind) => {
                self.fragments += 1;
                self.is_deflated |= head.is_deflated;
                self.is_binary |= kind == Data::Binary && limits.heard == Heard::Echoed;
            }
        }
        let FrameHead { opcode, is_final, mask, payload_bytes: left, .. } = head;
        Ok(Some(Frame { opcode, is_final, mask, left }))
    }

    /// Moves what `input` has of a frame's payload in here.
    fn read_payload(
        &mut self,
        frame: &mut Frame,
        input: &mut &mut [u8],
        heard: Heard,
    ) -> Result<(), Close> {
        let bytes = frame.left.min(input.len());
        let (part, rest) = mem::take(input).split_at_mut(bytes);
        *input = rest;
        unmask(part, frame.mask);
        frame.mask.rotate_left(bytes % MASK_BYTES);
        let declared = self.message.len() + frame.left;
        frame.left -= bytes;
        let is_end = frame.is_final && frame.left == 0;
        if let OpCode::Control(_) = frame.opcode {
            let from = usize::from(self.control_bytes);
            self.control[from..from + bytes].copy_from_slice(part);
            self.control_bytes += bytes as u8;
            return Ok(());
        }
        self.bytes += bytes;
        if heard == Heard::Dropped {
            // What is compressed nobody inflates for nobody.
            return if self.is_deflated { Ok(()) } else { self.drop_text(part, is_end) };
        }
        let needed = self.message.len() + bytes;
        if needed > self.message.capacity() {
            // Doubled, so that a payload of single bytes is not copied for each; never beyond
            // what the header declared, which the limit bounds.
            let room = needed.max(2 * self.message.capacity()).min(declared);
            self.message.reserve_exact(room - self.message.len());
        }
        self.message.extend_from_slice(part);
        if self.is_binary || self.is_deflated { Ok(()) } else { self.check_text(is_end) }
    }

    /// Checks a part of a message that nobody reads, and keeps no more of it than the beginning of
    /// a character.
    fn drop_text(&mut self, part: &[u8], is_end: bool) -> Result<(), Close> {
        let mut pieces = part.chunks(UNHEARD_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            self.message.extend_from_slice(piece);
            self.check_text(is_end && pieces.peek().is_none())?;
            self.message.drain(..mem::take(&mut self.checked));
        }
        // The last character may have been cut, and nothing of it comes any more.
        if is_end { self.check_text(true) } else { Ok(()) }
    }

    /// Checks what came since the last check, as far as characters are whole.
    fn check_text(&mut self, is_end: bool) -> Result<(), Close> {
        match std::str::from_utf8(&self.message[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if is_end || error.error_len().is_some() => return Err(Close::InvalidUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }

    fn deliver<'a>(
        &'a mut self,
        found: WholeFrame,
        limits: ReadLimits,
        inflater: &'a mut Inflater,
    ) -> Result<Incoming<'a>, Close> {
        match found {
            WholeFrame::Message => Ok(Incoming::Message(&mut self.message)),
            WholeFrame::Binary => Ok(Incoming::Binary(&self.message)),
            WholeFrame::Deflated => {
                let (payload, is_binary) = (&*self.message, self.is_binary);
                Deflated { payload, is_binary }.inflate(limits, inflater)
            }
            WholeFrame::Unheard => Ok(Incoming::Unheard(self.bytes)),
            WholeFrame::Control(control) => {
                read_control(control, &self.control[..usize::from(self.control_bytes)])
            }
        }
    }
}

fn read_control(control: Control, payload: &[u8]) -> Result<Incoming<'_>, Close> {
    match control {
        Control::Ping => Ok(Incoming::Ping(payload)),
        Control::Pong => Ok(Incoming::Pong),
        Control::Close => read_close(payload).map(Incoming::Close),
        Control::Reserved(_) => Err(Close::ProtocolError),
    }
}

/// The code of a close frame's payload (RFC 6455 5.5.1, 7.4).
fn read_close(payload: &[u8]) -> Result<u16, Close> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(1005) } else { Err(Close::ProtocolError) };
    };
    let code = u16::from_be_bytes(*code);
    if !peer_may_send(code) {
        return Err(Close::ProtocolError);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(code),
        Err(_) => Err(Close::InvalidUtf8),
    }
}

/// Takes the mask off (RFC 6455 5.3), eight bytes at a time. Returns whether all is ASCII, which
/// this loop learns for free and which saves most messages the UTF-8 check.
#[inline]
fn unmask(payload: &mut [u8], mask: [u8; MASK_BYTES]) -> bool {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut seen = 0;
    let (words, tail) = payload.as_chunks_mut();
    for word in words {
        let plain = u64::from_ne_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & NOT_ASCII == 0
}

#[cfg(test)]
mod tests;
