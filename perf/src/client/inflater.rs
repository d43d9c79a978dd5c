//! Compressed messages of the hub's (RFC 7692 without context takeover), inflated one by one.

use flate2::{Decompress, FlushDecompress};

use crate::client::frames::PAYLOAD_BYTES_MAX;

/// What a sender leaves out at the end of each message (RFC 7692 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Inflates messages, with one room for all of them.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    deflated: Vec<u8>,
    message: Vec<u8>,
}

impl Inflater {
    /// Room for the longest message that is taken.
    pub fn new() -> Inflater {
        let message = Vec::with_capacity(PAYLOAD_BYTES_MAX as usize);
        Inflater { stream: Decompress::new(false), deflated: Vec::new(), message }
    }

    /// The message; `None` where the payload is none, or is too long.
    pub fn inflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        self.deflated.clear();
        self.deflated.extend_from_slice(payload);
        self.deflated.extend_from_slice(&TAIL);
        self.message.clear();
        self.stream.reset(false);
        let done = self.stream.decompress_vec(
            &self.deflated,
            &mut self.message,
            FlushDecompress::Sync,
        );
        let is_whole = done.is_ok() && self.stream.total_in() == self.deflated.len() as u64;
        is_whole.then_some(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 64);
        let mut stream = Compress::new(Compression::default(), false);
        stream.compress_vec(text, &mut out, FlushCompress::Sync).expect("it is compressed");
        out.truncate(out.len() - TAIL.len());
        out
    }

    #[test]
    fn messages_are_inflated_one_after_the_other() {
        let mut inflater = Inflater::new();
        for text in [&b"one"[..], b"", &[b'x'; 5_000], b"two"] {
            assert_eq!(inflater.inflate(&deflated(text)), Some(text));
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        let mut inflater = Inflater::new();
        assert_eq!(inflater.inflate(&[0xFF; 8]), None);
        let bomb = deflated(&vec![b'x'; PAYLOAD_BYTES_MAX as usize + 1_000]);
        assert_eq!(inflater.inflate(&bomb), None);
        assert_eq!(inflater.inflate(&deflated(b"next")), Some(&b"next"[..]));
    }
}
