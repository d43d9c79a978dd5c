//! Frames out: a WebSocket text frame whose JSON is written straight to where it is sent from.
//!
//! A [`FrameWriter`] appends to the end of a buffer (a space log's segment, a private queue) and
//! patches the header in when the length is known. Nothing is formatted twice or copied.

use bytes::BytesMut;

/// Opcode of a text frame with FIN set (RFC 6455 5.2).
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// RSV1: the message is compressed (RFC 7692 6).
const DEFLATED: u8 = 0x40;
/// Most payloads are 126 to 65,535 bytes: their header takes 4 bytes.
const HEADER_BYTES: usize = 4;

/// Writes one text frame at the end of a buffer.
pub struct FrameWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame at the end of `out`.
    pub fn begin(out: &'a mut BytesMut) -> FrameWriter<'a> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        FrameWriter { out, start }
    }

    /// Adds text as it stands: the caller's own JSON.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// Adds ASCII bytes as they stand: ids and times.
    pub fn ascii(&mut self, text: &[u8]) -> &mut Self {
        debug_assert!(text.is_ascii());
        self.out.extend_from_slice(text);
        self
    }

    /// Adds a decimal number.
    pub fn number(&mut self, number: i64) -> &mut Self {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            at -= 1;
            digits[at] = b'-';
        }
        self.out.extend_from_slice(&digits[at..]);
        self
    }

    /// Adds `text` as a JSON string with its quotes: `"`, `\` and controls escaped, all else raw
    /// (WIRE, common forms).
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(b"\"");
        let bytes = text.as_bytes();
        let mut clean_from = 0;
        let mut at = 0;
        while at < bytes.len() {
            // Eight at a time, the last eight where fewer are left: most text has no escapes.
            if let Some(eight) = bytes[at..].first_chunk().or_else(|| bytes.last_chunk())
                && !any_escape(u64::from_le_bytes(*eight))
            {
                at += 8;
                continue;
            }
            let end = (at + 8).min(bytes.len());
            for (at, &byte) in bytes[..end].iter().enumerate().skip(at) {
                if ESCAPES[usize::from(byte)] {
                    self.out.extend_from_slice(&bytes[clean_from..at]);
                    self.escape(byte);
                    clean_from = at + 1;
                }
            }
            at = end;
        }
        self.out.extend_from_slice(&bytes[clean_from..]);
        self.out.extend_from_slice(b"\"");
        self
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0C => b"\\f",
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let low = HEX[usize::from(byte & 15)];
                self.out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
                return;
            }
        };
        self.out.extend_from_slice(short);
    }

    /// Ends the frame: its header now says its length, in the shortest form (RFC 6455 5.2).
    /// Returns the bytes of the whole frame.
    pub fn end(self) -> usize {
        let payload = self.out.len() - self.start - HEADER_BYTES;
        let header = &mut self.out[self.start..self.start + HEADER_BYTES];
        header[0] = TEXT;
        match u16::try_from(payload) {
            Ok(length @ 126..) => {
                header[1] = 126;
                header[2..].copy_from_slice(&length.to_be_bytes());
            }
            Ok(length) => {
                header[1] = length as u8;
                self.out.copy_within(self.start + HEADER_BYTES.., self.start + 2);
                self.out.truncate(self.start + 2 + payload);
            }
            Err(_) => {
                header[1] = 127;
                self.out.extend_from_slice(&[0; 6]);
                let body = self.start + HEADER_BYTES..self.start + HEADER_BYTES + payload;
                self.out.copy_within(body, self.start + 10);
                let length = (payload as u64).to_be_bytes();
                self.out[self.start + 2..self.start + 10].copy_from_slice(&length);
            }
        }
        self.out.len() - self.start
    }
}

/// Whether any of eight bytes is escaped (Bit Twiddling Hacks, "Determine if a word has a byte
/// less than n" and "... equal to n").
fn any_escape(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 128;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGHS;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) != 0
}

/// Which bytes a JSON string escapes; bytes of multi-byte characters never are.
const ESCAPES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Adds a message as it came, text or binary.
pub fn echo(out: &mut BytesMut, is_binary: bool, payload: &[u8]) {
    let frame = FrameWriter::begin(out);
    let start = frame.start;
    frame.out.extend_from_slice(payload);
    frame.end();
    if is_binary {
        out[start] = BINARY;
    }
}

/// Adds the frame of a compressed message, text or binary.
pub(super) fn deflated(out: &mut BytesMut, is_binary: bool, payload: &[u8]) {
    let frame = FrameWriter::begin(out);
    let start = frame.start;
    frame.out.extend_from_slice(payload);
    frame.end();
    out[start] = DEFLATED | if is_binary { BINARY } else { TEXT };
}

/// Adds a ping without payload.
pub fn ping(out: &mut BytesMut) {
    out.extend_from_slice(&[PING, 0]);
}

/// Adds the answer to a ping: the same payload (RFC 6455 5.5.3), at most 125 bytes.
pub fn pong(out: &mut BytesMut, payload: &[u8]) {
    control(out, PONG, payload);
}

/// Adds a close frame with a code and a reason of at most 123 bytes; `None`: an empty one.
pub fn close(out: &mut BytesMut, code: Option<u16>, reason: &str) {
    let Some(code) = code else { return control(out, CLOSE, &[]) };
    let mut payload = [0; 125];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    control(out, CLOSE, &payload[..2 + reason.len()]);
}

/// Whether a frame that begins so is a plain text.
pub(super) fn is_text(first: u8) -> bool {
    first == TEXT
}

/// Makes pongs of a frame's bytes, of which there are at least two.
pub(super) fn blank(mut frame: &mut [u8]) {
    while !frame.is_empty() {
        // The last one takes two bytes at least.
        let length = if frame.len() == 128 { 126 } else { frame.len().min(127) };
        let (pong, rest) = frame.split_at_mut(length);
        pong.fill(b' ');
        pong[..2].copy_from_slice(&[PONG, (length - 2) as u8]);
        frame = rest;
    }
}

fn control(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    assert!(payload.len() <= 125, "the reader bounds control frames");
    out.extend_from_slice(&[opcode, payload.len() as u8]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Encoding;
    use proptest::prelude::*;

    fn frame_of(text: &str) -> BytesMut {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut frame = FrameWriter::begin(&mut out);
        frame.raw(text);
        let bytes = frame.end();
        assert_eq!(bytes + 6, out.len());
        out.split_off(6)
    }

    #[test]
    fn a_blank_message_of_any_length_is_pongs_or_a_comment() {
        for length in 3..1_000 {
            let mut frame = vec![b'x'; length];
            blank(&mut frame);
            let mut rest = &frame[..];
            while let [first, payload, more @ ..] = rest {
                assert!(*first == PONG && *payload <= 125, "{length}");
                assert!(more[..usize::from(*payload)].iter().all(|byte| *byte == b' '));
                rest = &more[usize::from(*payload)..];
            }
            assert!(rest.is_empty(), "{length}");
            let mut event = vec![b'x'; length];
            Encoding::Events.blank(&mut event);
            let text = format!(":{}\n\n", " ".repeat(length - 3));
            assert_eq!(std::str::from_utf8(&event), Ok(&*text));
        }
    }

    #[test]
    fn the_header_is_the_shortest_for_each_length() {
        for (length, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xFF, 0xFF]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text: String = ('a'..='z').cycle().take(length).collect();
            let frame = frame_of(&text);
            assert_eq!(&frame[..header.len()], header);
            assert_eq!(&frame[header.len()..], text.as_bytes());
        }
    }

    #[test]
    fn control_frames_have_their_exact_bytes() {
        let mut out = BytesMut::new();
        ping(&mut out);
        pong(&mut out, b"hi");
        close(&mut out, Some(1009), "message_too_big");
        close(&mut out, None, "");
        assert_eq!(&out[..], b"\x89\x00\x8a\x02hi\x88\x11\x03\xf1message_too_big\x88\x00");
    }

    #[test]
    fn an_echo_is_of_the_sort_of_its_message() {
        let mut out = BytesMut::new();
        echo(&mut out, false, "é".as_bytes());
        echo(&mut out, true, b"\xFF\xFE");
        assert_eq!(&out[..], b"\x81\x02\xC3\xA9\x82\x02\xFF\xFE");
    }

    proptest! {
        #[test]
        fn a_string_is_what_a_json_parser_reads(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = BytesMut::new();
            let mut frame = FrameWriter::begin(&mut out);
            frame.string(&text);
            let start = if frame.end() < 128 { 2 } else { 4 };
            let read: String = serde_json::from_slice(&out[start..]).expect("valid JSON");
            prop_assert_eq!(read, text);
        }

        #[test]
        fn a_number_is_its_decimal_text(number: i64) {
            let mut out = BytesMut::new();
            let mut frame = FrameWriter::begin(&mut out);
            frame.number(number);
            frame.end();
            let text = number.to_string();
            prop_assert_eq!(&out[2..], text.as_bytes());
        }
    }
}
