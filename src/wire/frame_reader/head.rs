//! A frame's header: its bytes, and what it may say at its place and within the limits.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CONTROL_BYTES_MAX, MASK_BYTES, ReadLimits};
use crate::wire::close::Close;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// RSV1: the message is compressed (RFC 7692 6).
const DEFLATED: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;

/// A frame's header (RFC 6455 5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub opcode: OpCode,
    pub is_final: bool,
    pub is_deflated: bool,
    pub mask: [u8; MASK_BYTES],
    pub header_bytes: usize,
    pub payload_bytes: usize,
}

/// The message that frames have begun and not ended; without fragments there is none.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct OpenMessage {
    pub fragments: u32,
    pub bytes: usize,
    pub is_deflated: bool,
}

impl FrameHead {
    /// Reads the header at the front of `bytes`; `None`: it is cut. What a header may not say
    /// whatever came before it is refused here.
    #[inline]
    pub(super) fn parse(bytes: &[u8], limits: ReadLimits) -> Result<Option<FrameHead>, Close> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let allowed = if limits.may_deflate { DEFLATED } else { 0 };
        if first & RESERVED & !allowed != 0 || second & MASKED == 0 {
            return Err(Close::ProtocolError);
        }
        let (length, rest) = match second & !MASKED {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u16::from_be_bytes(*length).into(), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (short.into(), rest),
        };
        let shortest_form = match second & !MASKED {
            126 => length >= 126,
            127 => length > u16::MAX.into() && length >> 63 == 0,
            _ => true,
        };
        if !shortest_form {
            return Err(Close::ProtocolError);
        }
        let Some(&mask) = rest.first_chunk() else { return Ok(None) };
        Ok(Some(FrameHead {
            opcode: OpCode::from(first & OPCODE),
            is_final: first & FINAL != 0,
            is_deflated: first & DEFLATED != 0,
            mask,
            header_bytes: bytes.len() - rest.len() + MASK_BYTES,
            // Where a length overflows usize, no limit lets it through.
            payload_bytes: usize::try_from(length).unwrap_or(usize::MAX),
        }))
    }

    /// Holds the header against what came before it and against the limits.
    #[inline]
    pub(super) fn admit(&self, open: OpenMessage, limits: ReadLimits) -> Result<(), Close> {
        let in_order = match self.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => false,
            OpCode::Control(_) => self.is_final && self.payload_bytes <= CONTROL_BYTES_MAX,
            OpCode::Data(Data::Continue) => open.fragments > 0,
            OpCode::Data(Data::Text | Data::Binary) => open.fragments == 0,
        };
        // Only a message's first frame says that it is compressed.
        let may_deflate = matches!(self.opcode, OpCode::Data(Data::Text | Data::Binary));
        if !in_order || self.is_deflated && !may_deflate {
            return Err(Close::ProtocolError);
        }
        let bytes_max = match self.is_deflated || open.is_deflated {
            true => limits.deflated_bytes_max(),
            false => limits.message_bytes_max,
        };
        let is_data = matches!(self.opcode, OpCode::Data(_));
        let bytes = open.bytes.saturating_add(self.payload_bytes);
        if is_data && (bytes > bytes_max || open.fragments >= limits.fragments_max) {
            return Err(Close::MessageTooBig);
        }
        Ok(())
    }
}
