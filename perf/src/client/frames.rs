//! WebSocket framing as a client needs it: whole frames of a server in, masked frames out.
//!
//! A server's frame that breaks RFC 6455, or that cpi-hub never sends (a fragment), is a fault;
//! nothing here copies a payload or allocates for one that has not come.

/// Opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary frame.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xA;

const FIN: u8 = 0x80;
/// The message is compressed (RFC 7692 6).
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const CONTROL_BYTES_MAX: usize = 125;
/// Above any frame of the hub's, whose messages are some KiB; a frame must fit in one read.
pub const PAYLOAD_BYTES_MAX: u64 = 128 * 1024;

/// One whole frame of a server's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Text, binary, close, ping or pong.
    pub opcode: u8,
    /// As sent: servers don't mask.
    pub payload: &'a [u8],
    /// The payload is compressed. Only who has asked for that may be sent such a frame.
    pub is_deflated: bool,
    /// What it took of the input, header included.
    pub bytes: usize,
}

/// One whole frame of a client's.
#[derive(PartialEq, Eq, Debug)]
pub struct Masked<'a> {
    /// Text, binary, close, ping or pong.
    pub opcode: u8,
    /// Unmasked, in place.
    pub payload: &'a [u8],
    /// What it took of the input, header and mask included.
    pub bytes: usize,
}

/// The frame of this generator's that `input` begins with, unmasked in place; `None` while it is
/// cut.
pub fn first_masked(input: &mut [u8]) -> Option<Masked<'_>> {
    let [head, length, ..] = *input else { return None };
    let (payload_bytes, header_bytes) = length_of(input, length & !MASKED)?;
    let mask = *input.get(header_bytes..)?.first_chunk::<4>()?;
    let start = header_bytes + mask.len();
    let bytes = start.checked_add(usize::try_from(payload_bytes).ok()?)?;
    let payload = input.get_mut(start..bytes)?;
    apply(payload, mask);
    Some(Masked { opcode: head & 0x0F, payload, bytes })
}

/// A frame that a server must not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Servers don't mask.
    Masked,
    /// Reserved bits, an unknown opcode, or a control frame that is long or cut.
    Malformed,
    /// The hub sends whole messages.
    Fragment,
    /// A length that no message of the hub's has.
    TooLong,
}

/// The head of a data frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the head itself took.
    pub bytes: usize,
    /// What follows it.
    pub payload_bytes: u64,
}

/// The head of the frame that `input` begins with, where frames carry a stream and may be of any
/// length and in fragments; `None` while it is cut, and for control frames, which [`first`] reads.
pub fn stream_head(input: &[u8]) -> Option<Head> {
    let [head, length, ..] = *input else { return None };
    if head & 0x0F >= CLOSE || length & MASKED != 0 {
        return None;
    }
    let (payload_bytes, bytes) = length_of(input, length)?;
    Some(Head { bytes, payload_bytes })
}

/// The first frame of `input`; `None` while it is cut.
pub fn first(input: &[u8]) -> Result<Option<Frame<'_>>, Fault> {
    let [head, length, ..] = *input else { return Ok(None) };
    let opcode = head & 0x0F;
    let is_control = opcode >= CLOSE;
    let is_deflated = head & RSV1 != 0;
    if head & 0x30 != 0 || is_deflated && is_control || !matches!(opcode, 0..=2 | CLOSE..=PONG) {
        return Err(Fault::Malformed);
    }
    if length & MASKED != 0 {
        return Err(Fault::Masked);
    }
    if is_control && (head & FIN == 0 || usize::from(length) > CONTROL_BYTES_MAX) {
        return Err(Fault::Malformed);
    }
    if head & FIN == 0 || opcode == 0 {
        return Err(Fault::Fragment);
    }
    let Some((payload_bytes, header_bytes)) = length_of(input, length) else { return Ok(None) };
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let bytes = header_bytes + payload_bytes as usize;
    let payload = input.get(header_bytes..bytes);
    Ok(payload.map(|payload| Frame { opcode, payload, is_deflated, bytes }))
}

fn length_of(input: &[u8], length: u8) -> Option<(u64, usize)> {
    match length {
        126 => {
            let [_, _, a, b, ..] = *input else { return None };
            Some((u64::from(u16::from_be_bytes([a, b])), 4))
        }
        127 => {
            let bytes = input.get(2..10)?.try_into().ok()?;
            Some((u64::from_be_bytes(bytes), 10))
        }
        short => Some((u64::from(short), 2)),
    }
}

/// Adds a masked frame of a client's to `out`.
pub fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    let length_at = out.len() + 1;
    write_head(out, opcode, payload.len());
    out[length_at] |= MASKED;
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply(&mut out[start..], mask);
}

/// Adds the header of a server's frame to `out`.
pub fn write_head(out: &mut Vec<u8>, opcode: u8, payload_bytes: usize) {
    out.push(FIN | opcode);
    match payload_bytes {
        short @ 0..=125 => out.push(short as u8),
        long @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        huge => {
            out.push(127);
            out.extend_from_slice(&(huge as u64).to_be_bytes());
        }
    }
}

/// Masks or unmasks (RFC 6455 5.3).
fn apply(payload: &mut [u8], mask: [u8; 4]) {
    // Whole words first: a byte at a time is what a load generator would spend its time on.
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        write(&mut masked, opcode, payload, [0; 4]);
        let header = masked.len() - payload.len() - 4;
        masked[1] &= !MASKED;
        masked.drain(header..header + 4);
        masked
    }

    #[test]
    fn a_frame_is_read_whole_and_never_early() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = server_frame(TEXT, &payload);
            for cut in [0, 1, 2, 3, bytes.len() / 2, bytes.len() - 1] {
                let part = &bytes[..cut.min(bytes.len() - 1)];
                assert_eq!(first(part), Ok(None), "{length} cut at {cut}");
            }
            let frame = first(&bytes).expect("no fault").expect("whole");
            assert_eq!(
                (frame.opcode, frame.payload, frame.bytes),
                (TEXT, &payload[..], bytes.len())
            );
        }
    }

    #[test]
    fn a_compressed_frame_says_so() {
        let frame = first(&[0xC1, 1, b'x']).expect("no fault").expect("whole");
        assert!(frame.is_deflated && frame.opcode == TEXT && frame.payload == b"x");
    }

    #[test]
    fn a_streams_heads_are_read_without_their_payloads() {
        for length in [5, 200, 70_000, 300_000] {
            let bytes = server_frame(BINARY, &vec![b'x'; length]);
            let header = bytes.len() - length;
            assert_eq!(stream_head(&bytes[..header - 1]), None);
            let expected = Head { bytes: header, payload_bytes: length as u64 };
            assert_eq!(stream_head(&bytes[..header]), Some(expected));
        }
        assert_eq!(stream_head(&server_frame(PING, b"x")), None);
    }

    #[test]
    fn what_a_server_must_not_send_is_a_fault() {
        for (bytes, fault) in [
            (&[0x81, 0x80][..], Fault::Masked),
            (&[0xA1, 0][..], Fault::Malformed),
            (&[0xC9, 0][..], Fault::Malformed),
            (&[0x83, 0][..], Fault::Malformed),
            (&[0x8B, 0][..], Fault::Malformed),
            (&[0x89, 126][..], Fault::Malformed),
            (&[0x09, 0][..], Fault::Malformed),
            (&[0x01, 0][..], Fault::Fragment),
            (&[0x80, 0][..], Fault::Fragment),
            (&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0][..], Fault::TooLong),
        ] {
            assert_eq!(first(bytes), Err(fault), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_clients_frame_is_unmasked_whole_and_never_early() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, TEXT, &payload, [9, 8, 7, 6]);
            for cut in [0, 1, 2, 3, bytes.len() / 2, bytes.len() - 1] {
                let cut = cut.min(bytes.len() - 1);
                assert_eq!(first_masked(&mut bytes[..cut]), None, "{length} cut at {cut}");
            }
            bytes.push(b'x');
            let taken = bytes.len() - 1;
            let expected = Masked { opcode: TEXT, payload: &payload, bytes: taken };
            assert_eq!(first_masked(&mut bytes), Some(expected));
        }
    }

    #[test]
    fn a_payload_is_masked_byte_by_byte_in_turn() {
        let payload: Vec<u8> = (0..=20).collect();
        let mask = [1, 2, 3, 4];
        let mut out = Vec::new();
        write(&mut out, TEXT, &payload, mask);
        assert_eq!(&out[..6], &[0x81, 0x80 | 21, 1, 2, 3, 4]);
        let unmasked: Vec<u8> =
            out[6..].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(unmasked, payload);
    }
}
