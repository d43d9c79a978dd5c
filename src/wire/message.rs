//! Client messages: what a member may say, read from JSON without copying (WIRE A2, C).

/// How far a message must be before its sender is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AckLevel {
    /// No ack.
    None,
    /// The id is final and the record is in the journal.
    Accepted,
    /// The store's transaction has committed.
    Durable,
}

impl AckLevel {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            AckLevel::None => "none",
            AckLevel::Accepted => "accepted",
            AckLevel::Durable => "durable",
        }
    }
}

/// What a chat says; borrowed from the read buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChatMessage<'a> {
    /// The text, not yet checked.
    pub content: &'a str,
    /// The sender's picture; "" if none.
    pub image: &'a str,
    /// `cpi-hub.v1`: names the message for acks and for publishing once.
    pub nonce: Option<&'a str>,
    /// `cpi-hub.v1`: the acks wanted.
    pub ack: AckLevel,
}

/// A message of a client's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientMessage<'a> {
    /// Something to say to the space.
    Chat(ChatMessage<'a>),
    /// A JSON ping.
    Ping,
}
// --- stub until wire-in lands ---
use super::Dialect;
use super::reject::Reject;
#[derive(Clone, Copy, Debug)]
pub struct DecodeRules {
    pub dialect: Dialect,
    pub depth_max: usize,
}
#[derive(Debug, Default)]
pub struct Decoder {}
impl Decoder {
    pub fn decode<'a>(
        &mut self,
        _json: &'a mut [u8],
        _rules: DecodeRules,
    ) -> Result<ClientMessage<'a>, Reject> {
        Err(Reject::InvalidMessageFormat)
    }
}
pub fn check_content(_content: &str, _chars_max: usize) -> Result<(), Reject> {
    Ok(())
}
