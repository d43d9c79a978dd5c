//! A WebSocket frame parser of its own, for what a server may send (RFC 6455 5): unmasked, whole
//! messages, shortest lengths; a compressed one is inflated as zlib does it (RFC 7692 7.2.2).

use flate2::{Decompress, FlushDecompress};

/// One frame.
#[derive(PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    /// A compressed text.
    Deflated(&'a [u8]),
    Close(Option<u16>, &'a str),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
}

/// The first frame of `bytes` and its length; `None` while it is cut. Panics at what is no frame
/// of a server.
pub fn next(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    assert!(first & 0xF0 == 0x80 || first == 0xC1, "FIN, RSV1 on texts: {first:#x}");
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (header, length) = match second {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let shortest = match length {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    assert_eq!(header, shortest, "the length is in its shortest form");
    let end = header + usize::try_from(length).expect("a length of memory");
    let payload = bytes.get(header..end)?;
    let opcode = first & 0x0F;
    assert!(opcode < 8 || payload.len() <= 125, "control frames are short");
    let frame = match opcode {
        1 if first == 0xC1 => Frame::Deflated(payload),
        1 => Frame::Text(payload),
        8 => close(payload),
        9 => Frame::Ping(payload),
        10 => Frame::Pong(payload),
        _ => panic!("no opcode of ours: {opcode}"),
    };
    Some((frame, end))
}

/// What a compressed text says. It must not be longer so than plain.
pub fn inflated(payload: &[u8]) -> Vec<u8> {
    let stream = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    let mut text = Vec::with_capacity(1 << 18);
    let mut inflate = Decompress::new(false);
    inflate.decompress_vec(&stream, &mut text, FlushDecompress::Sync).expect("a stream");
    assert_eq!(inflate.total_in(), stream.len() as u64, "a whole one");
    assert!(text.len() > payload.len() && text.len() < 1 << 18);
    text
}

fn close(payload: &[u8]) -> Frame<'_> {
    if payload.is_empty() {
        return Frame::Close(None, "");
    }
    let (code, reason) = payload.split_first_chunk::<2>().expect("a close body has a code");
    let reason = std::str::from_utf8(reason).expect("a reason is UTF-8");
    Frame::Close(Some(u16::from_be_bytes(*code)), reason)
}
