//! Frames in: the frame reader. It finds the messages and control frames in what a socket gave,
//! unmasks them in place, and holds RFC 6455 and the limits against every header before anything
//! is allocated.

use super::close::Close;

/// What one connection's reader may let through.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Of one message, all its fragments together.
    pub message_bytes_max: usize,
    /// Frames of one message, empty ones too.
    pub fragments_max: u32,
}

/// Something whole that a peer sent; unmasked, in the read buffer or in the reader.
#[derive(PartialEq, Eq, Debug)]
pub enum Incoming<'a> {
    /// A text or binary message, checked to be UTF-8. Mutable, because the JSON reader works in
    /// place.
    Message(&'a mut [u8]),
    /// A ping with its payload of at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong,
    /// A close frame that keeps RFC 6455 7.4: its code, 1005 for none.
    Close(u16),
}

/// Reads the frames of one connection; about 40 bytes while no frame is cut.
#[derive(Debug, Default)]
pub struct Reader {}

impl Reader {
    /// Takes the next whole message or control frame off the front of `input`. `None`: all of
    /// `input` is read, what was cut is kept for the next call. After an error nothing more may
    /// be read.
    pub fn next<'a>(
        &'a mut self,
        _input: &mut &'a mut [u8],
        _limits: ReadLimits,
    ) -> Option<Result<Incoming<'a>, Close>> {
        unimplemented!("written by its owner")
    }
}
