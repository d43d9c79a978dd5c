//! Client messages: what a member may say, read from JSON in place (WIRE A2, C).
//!
//! A [`Decoder`] owns the JSON parser's buffers and is shared by all connections of a shard; it
//! keeps nothing of a message. Reads `type`, `data` and what WIRE lists of it; all else must be
//! JSON and is not looked at. Never checks the text of a chat: [`check_content`] does, for posts
//! too.

use std::fmt;
use std::mem;
use std::ops::Range;

use serde::de::IgnoredAny;
use simd_json::{Buffers, ErrorType, Node, StaticNode, Tape};

use super::Dialect;
use super::reject::Reject;
use crate::limits::NONCE_BYTES_MAX;

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
    /// `cpi-hub.v1`: a token in place of the one that the member came by.
    Auth(ShownToken<'a>),
}

/// A token that a client shows. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShownToken<'a>(pub &'a str);

impl fmt::Debug for ShownToken<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ShownToken")
    }
}

const BAD_NONCE: Reject =
    Reject::InvalidParameter { field: "nonce", message: "nonce no es válido" };
const BAD_ACK: Reject = Reject::InvalidParameter { field: "ack", message: "ack no es válido" };

/// How messages are read.
#[derive(Clone, Copy, Debug)]
pub struct DecodeRules {
    /// Whether `nonce` and `ack` are read.
    pub dialect: Dialect,
    /// Objects and arrays within each other.
    pub depth_max: usize,
}

/// Reads client messages; allocates nothing once its buffers have grown to their size.
pub struct Decoder {
    buffers: Buffers,
    depth_max: usize,
    tape: Tape<'static>,
    /// The message before the parser unescaped it in place, for the second try.
    original: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            buffers: Buffers::with_max_depth(512, 0),
            depth_max: 0,
            tape: Tape(Vec::new()),
            original: Vec::new(),
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Decoder").field("depth_max", &self.depth_max).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Reads one message. `json` is overwritten; the message borrows from it.
    pub fn decode<'a>(
        &mut self,
        json: &'a mut [u8],
        rules: DecodeRules,
    ) -> Result<ClientMessage<'a>, Reject> {
        if self.depth_max != rules.depth_max {
            self.buffers = Buffers::with_max_depth(512, rules.depth_max);
            self.depth_max = rules.depth_max;
        }
        self.original.clear();
        self.original.extend_from_slice(json);
        let found = match self.read(json, rules.dialect) {
            Err(Unread::Number) => {
                blank_numbers(&mut self.original)?;
                json.copy_from_slice(&self.original);
                self.read(json, rules.dialect)
            }
            found => found,
        };
        match found {
            Ok(FoundMessage::Ping) => Ok(ClientMessage::Ping),
            Ok(FoundMessage::Chat(chat)) => chat.borrow(json).map(ClientMessage::Chat),
            Ok(FoundMessage::Auth(token)) => {
                borrow(json, token).map(ShownToken).map(ClientMessage::Auth)
            }
            Err(Unread::Rejected(reject)) => Err(reject),
            Err(Unread::Number) => Err(Reject::InvalidMessageFormat),
        }
    }

    /// Parses `json` and finds what is read of it.
    fn read(&mut self, json: &mut [u8], dialect: Dialect) -> Result<FoundMessage, Unread> {
        let start = json.as_ptr().addr();
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let found = match simd_json::fill_tape(json, &mut self.buffers, &mut tape) {
            Ok(()) => read_message(&tape.0, dialect, start).map_err(Unread::Rejected),
            Err(error) if matches!(error.error(), ErrorType::InvalidNumber) => Err(Unread::Number),
            Err(_) => Err(Unread::Rejected(Reject::InvalidMessageFormat)),
        };
        self.tape = tape.reset();
        found
    }
}

/// Why a message was not read.
enum Unread {
    Rejected(Reject),
    /// A number that is no JSON, or that the parser can't hold (1e400, 2^64). No number is read,
    /// so their size is no reason to refuse a message.
    Number,
}

/// A message as places in its JSON: the parser's own borrow would last through the second try.
enum FoundMessage {
    Ping,
    Chat(FoundChat),
    Auth(Range<usize>),
}

struct FoundChat {
    content: Range<usize>,
    image: Range<usize>,
    nonce: Option<Range<usize>>,
    ack: AckLevel,
}

impl FoundChat {
    fn borrow(self, json: &[u8]) -> Result<ChatMessage<'_>, Reject> {
        let text = |place| borrow(json, place);
        Ok(ChatMessage {
            content: text(self.content)?,
            image: text(self.image)?,
            nonce: self.nonce.map(text).transpose()?,
            ack: self.ack,
        })
    }
}

/// A text by its place in the JSON.
fn borrow(json: &[u8], place: Range<usize>) -> Result<&str, Reject> {
    // The parser has checked it already; checking again costs less than a second parser for what
    // it refuses would.
    let bytes = json.get(place).ok_or(Reject::InvalidMessageFormat)?;
    simdutf8::basic::from_utf8(bytes).map_err(|_| Reject::InvalidMessageFormat)
}

/// Makes each number of a JSON text a 0, spaces after it; refuses what is no JSON.
fn blank_numbers(json: &mut [u8]) -> Result<(), Reject> {
    // serde_json skips numbers by their grammar, whatever their size.
    if serde_json::from_slice::<IgnoredAny>(json).is_err() {
        return Err(Reject::InvalidMessageFormat);
    }
    let (mut is_string, mut is_escaped, mut is_number) = (false, false, false);
    for byte in json {
        if is_string {
            is_string = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        match *byte {
            b'"' => (is_string, is_number) = (true, false),
            b'-' | b'0'..=b'9' if !is_number => (*byte, is_number) = (b'0', true),
            b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9' if is_number => *byte = b' ',
            _ => is_number = false,
        }
    }
    Ok(())
}

/// The fields of an object: each key with its value, and the nodes inside that.
struct Fields<'t, 'j> {
    nodes: &'t [Node<'j>],
}

impl<'t, 'j> Iterator for Fields<'t, 'j> {
    type Item = (&'j str, &'t Node<'j>, &'t [Node<'j>]);

    fn next(&mut self) -> Option<Self::Item> {
        let [Node::String(key), value, rest @ ..] = self.nodes else { return None };
        let inner = match value {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            Node::String(_) | Node::Static(_) => 0,
        };
        let (inner, rest) = rest.split_at_checked(inner)?;
        self.nodes = rest;
        Some((key, value, inner))
    }
}

/// Keeps the value of a key that is read; twice is once too often.
fn keep<T>(slot: &mut Option<T>, value: T) -> Result<(), Reject> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Reject::InvalidMessageFormat),
    }
}

/// Finds the message in its parsed form; `start` is the address of the JSON.
fn read_message(
    nodes: &[Node<'_>],
    dialect: Dialect,
    start: usize,
) -> Result<FoundMessage, Reject> {
    let fields = match nodes.split_first() {
        Some((Node::Object { .. }, fields)) => fields,
        Some((Node::Static(StaticNode::Null), _)) => return Err(Reject::UnknownMessageType),
        _ => return Err(Reject::InvalidMessageFormat),
    };
    let (mut kind, mut data) = (None, None);
    for (key, value, inner) in (Fields { nodes: fields }) {
        match key {
            "type" => keep(&mut kind, value)?,
            "data" => keep(&mut data, (value, inner))?,
            _ => {}
        }
    }
    match (kind, data) {
        (Some(Node::String("chat")), Some((Node::Object { .. }, fields))) => {
            read_chat(fields, dialect, start).map(FoundMessage::Chat)
        }
        (Some(Node::String("chat")), _) => Err(Reject::InvalidChatMessage),
        (Some(Node::String("ping")), _) => Ok(FoundMessage::Ping),
        (Some(Node::String("auth")), Some((Node::Object { .. }, fields)))
            if dialect == Dialect::V1 =>
        {
            read_auth(fields, start).map(FoundMessage::Auth)
        }
        (Some(Node::String(_)) | None, _) => Err(Reject::UnknownMessageType),
        (Some(_), _) => Err(Reject::InvalidMessageFormat),
    }
}

fn read_chat(fields: &[Node<'_>], dialect: Dialect, start: usize) -> Result<FoundChat, Reject> {
    let (mut content, mut image, mut nonce, mut ack) = (None, None, None, None);
    for (key, value, _) in (Fields { nodes: fields }) {
        match key {
            "content" => keep(&mut content, value)?,
            "image" => keep(&mut image, value)?,
            "nonce" if dialect == Dialect::V1 => keep(&mut nonce, value)?,
            "ack" if dialect == Dialect::V1 => keep(&mut ack, value)?,
            _ => {}
        }
    }
    let text = |value| match read_text(value) {
        Ok(text) => Ok(text.map_or(0..0, |text| place(text, start))),
        Err(NotText) => Err(Reject::InvalidChatMessage),
    };
    let (content, image) = (text(content)?, text(image)?);
    let nonce = read_text(nonce).map_err(|NotText| BAD_NONCE)?;
    if nonce.is_some_and(|nonce| !is_nonce(nonce)) {
        return Err(BAD_NONCE);
    }
    let ack = match (read_text(ack).map_err(|NotText| BAD_ACK)?, nonce) {
        (Some("none"), _) | (None, None) => AckLevel::None,
        (Some("accepted") | None, Some(_)) => AckLevel::Accepted,
        (Some("durable"), Some(_)) => AckLevel::Durable,
        _ => return Err(BAD_ACK),
    };
    Ok(FoundChat { content, image, nonce: nonce.map(|nonce| place(nonce, start)), ack })
}

fn read_auth(fields: &[Node<'_>], start: usize) -> Result<Range<usize>, Reject> {
    let mut tokens = Fields { nodes: fields }.filter(|(key, ..)| *key == "token");
    match (tokens.next(), tokens.next()) {
        (Some((_, Node::String(text), _)), None) => Ok(place(text, start)),
        _ => Err(Reject::UnknownMessageType),
    }
}

/// A value that should be a string or missing and is neither.
struct NotText;

/// A string that may be missing, which null is too.
fn read_text<'j>(value: Option<&Node<'j>>) -> Result<Option<&'j str>, NotText> {
    match value {
        None | Some(Node::Static(StaticNode::Null)) => Ok(None),
        Some(Node::String(text)) => Ok(Some(text)),
        Some(_) => Err(NotText),
    }
}

fn place(text: &str, start: usize) -> Range<usize> {
    let from = text.as_ptr().addr() - start;
    from..from + text.len()
}

/// Whether a text (printable ASCII without space) may name a message for acks and for publishing
/// once: a chat's `nonce`, and the `Idempotency-Key` of a post.
pub fn is_nonce(text: &str) -> bool {
    (1..=NONCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The picture that is stored and sent with a message: the one given, or none ("") if it is too
/// long.
pub fn kept_image(image: &str, bytes_max: usize) -> &str {
    if image.len() > bytes_max { "" } else { image }
}

/// Holds the text of a chat against the rules, whether it came over a socket or by post.
pub fn check_content(content: &str, chars_max: usize) -> Result<(), Reject> {
    if content.is_empty() {
        return Err(Reject::ContentEmpty);
    }
    // No text has more characters than bytes, so most are not counted.
    if content.len() > chars_max && content.chars().count() > chars_max {
        return Err(Reject::ContentTooLong);
    }
    if content.as_bytes().contains(&0) {
        return Err(Reject::ContentInvalid);
    }
    Ok(())
}
