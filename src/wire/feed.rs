//! The feed: what the owner of a slot has put in order, as numbered messages to all that replicate
//! the slot's spaces. A message holds what one turn of the owner's had to say, its frames as the
//! logs hold them.
//!
//! Read in place: nothing is copied or allocated, whatever the bytes say, and all of a message is
//! checked before anything of it is given out. What is read is written as it was, to the byte.
//! Little-endian: `version u8 | kind u8 | slot u8`, then by kind
//! - a feed message: `count u16 | epoch u64 | n u64`, then its entries (`entry`);
//! - a stretch: `number u32 | newest | count u16`, then each message as `len u32 | message`;
//! - a question: `boot u64 | number u32 | from`, a place;
//! - an anew: `number u32 | epoch u64`.
//!
//! A place is `epoch u64 | n u64`. Nothing guards against bits that flip: what carries the bytes
//! does. `follower` and `ring` say what becomes of the numbers.

use bytes::BufMut;

use crate::limits::FEED_BYTES_MAX;

mod cursor;
pub mod entry;
pub mod follower;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod ring;
#[cfg(test)]
mod tests;

use cursor::Cursor;
use entry::{Begin, Entry};

/// What all versions of today write; another one is refused.
const VERSION: u8 = 1;
const FEED: u8 = 1;
const STRETCH: u8 = 2;
const QUESTION: u8 = 3;
const ANEW: u8 = 4;
/// What a feed message begins with.
const HEAD_BYTES: usize = 3 + 2 + 16;
/// Where its count of entries stands.
const COUNT_AT: usize = 3;

/// A part of all spaces: what is owned, fed and handed over as one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u8);

/// A hub process, from its start to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Boot(pub u64);

/// Where a message stands in the feed of its slot. Epochs count a slot's owners and need not follow
/// each other; within one of them `n` ascends by one, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Which owner's it is.
    pub epoch: u64,
    /// Which message of that owner's.
    pub n: u64,
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("ends within {0}")]
    Truncated(&'static str),
    /// More of them than a message may have.
    #[error("takes {0} bytes")]
    TooLong(usize),
    /// Something follows the end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// A version that this one does not know.
    #[error("has the version {0}")]
    Version(u8),
    /// No kind of message, or of entry.
    #[error("{0} is the kind of {1}")]
    Kind(u8, &'static str),
    /// A byte that says what there is, and has another value than it may.
    #[error("{0} says what there is of {1}")]
    Flag(u8, &'static str),
    /// No space that is fed.
    #[error("names no space that is fed")]
    Space,
    /// What is said to be a text frame of ours is not just that.
    #[error("has a frame that is none")]
    Frame,
    /// A name is no UTF-8.
    #[error("has a name that is no UTF-8")]
    Name,
    /// An epoch begins where none does, or does not where one should.
    #[error("begins an epoch elsewhere than at its begin")]
    Begin,
    /// An epoch begins from a later one.
    #[error("begins an epoch from one that is not before it")]
    Base,
    /// A part of a stretch is of another slot, or not behind the part before it.
    #[error("has parts that do not follow each other")]
    Order,
    /// A message without an entry.
    #[error("says nothing")]
    Empty,
}

/// What was received.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Received<'a> {
    /// What an owner had to say.
    Feed(Feed<'a>),
    /// The answer to a question.
    Stretch(Stretch<'a>),
    /// A node has missed something.
    Question(Question),
    /// What a node asked for is no longer kept: it begins the slot anew.
    Anew(Anew),
}

/// A message of the feed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Feed<'a> {
    /// The slot whose feed it is of.
    pub slot: Slot,
    /// Where it stands there.
    pub place: Place,
    count: u16,
    /// All of it, and its entries.
    bytes: &'a [u8],
}

/// The messages of a slot's feed from one that was missed on, all at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stretch<'a> {
    /// The slot whose feed it is of.
    pub slot: Slot,
    /// The question's number.
    pub number: u32,
    /// The newest message that the owner has.
    pub newest: Place,
    count: u16,
    parts: &'a [u8],
}

/// What a node asks that has missed something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// The slot whose feed has not all come.
    pub slot: Slot,
    /// Who asks.
    pub boot: Boot,
    /// Counts the asker's questions.
    pub number: u32,
    /// What it has up to there.
    pub from: Place,
}

/// An answer: what was asked for is no longer kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anew {
    /// The slot whose feed it was of.
    pub slot: Slot,
    /// The question's number.
    pub number: u32,
    /// Which owner says so.
    pub epoch: u64,
}

impl<'a> Received<'a> {
    /// Reads one message, which is all of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Result<Received<'a>, Malformed> {
        let (kind, slot, mut cursor) = read_head(bytes)?;
        match kind {
            FEED => Feed::read(slot, bytes, cursor).map(Received::Feed),
            STRETCH => Stretch::read(slot, cursor).map(Received::Stretch),
            QUESTION => {
                let boot = Boot(cursor.u64("the boot")?);
                let (number, from) = (cursor.u32("the number")?, cursor.place("the place")?);
                cursor.end()?;
                Ok(Received::Question(Question { slot, boot, number, from }))
            }
            ANEW => {
                let (number, epoch) = (cursor.u32("the number")?, cursor.u64("the epoch")?);
                cursor.end()?;
                Ok(Received::Anew(Anew { slot, number, epoch }))
            }
            _ => Err(Malformed::Kind(kind, "the message")),
        }
    }

    /// Reads one message of the feed, and nothing of another kind: parts of a stretch are none
    /// themselves, or they could be as deep as they are long.
    pub fn read_feed(bytes: &'a [u8]) -> Result<Feed<'a>, Malformed> {
        match read_head(bytes)? {
            (FEED, slot, cursor) => Feed::read(slot, bytes, cursor),
            (kind, ..) => Err(Malformed::Kind(kind, "the message")),
        }
    }
}

impl<'a> Feed<'a> {
    fn read(slot: Slot, bytes: &'a [u8], mut cursor: Cursor<'a>) -> Result<Feed<'a>, Malformed> {
        if bytes.len() > FEED_BYTES_MAX {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let count = cursor.u16("the count")?;
        let place = cursor.place("the place")?;
        if count == 0 {
            return Err(Malformed::Empty);
        }
        for at in 0..count {
            let entry = Entry::read(&mut cursor)?;
            let is_begin = matches!(entry, Entry::Begin(_));
            if is_begin != (place.n == 0 && at == 0) {
                return Err(Malformed::Begin);
            }
            if let Entry::Begin(Begin { base: Some(base), .. }) = entry
                && base.epoch >= place.epoch
            {
                return Err(Malformed::Base);
            }
        }
        cursor.end()?;
        Ok(Feed { slot, place, count, bytes })
    }

    /// Its entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        // All were read before: none fails.
        let mut cursor = Cursor::new(&self.bytes[HEAD_BYTES..]);
        (0..self.count).map_while(move |_| Entry::read(&mut cursor).ok())
    }

    /// What its epoch begins with, if that begins here.
    pub fn begin(&self) -> Option<Begin> {
        match self.entries().next() {
            Some(Entry::Begin(begin)) => Some(begin),
            _ => None,
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Stretch<'a> {
    fn read(slot: Slot, mut cursor: Cursor<'a>) -> Result<Stretch<'a>, Malformed> {
        let number = cursor.u32("the number")?;
        let newest = cursor.place("the place")?;
        let count = cursor.u16("the count")?;
        let parts = cursor.rest();
        let mut before = None;
        for _ in 0..count {
            let part = Received::read_feed(cursor.sized("a part")?)?;
            if part.slot != slot || before >= Some(part.place) || part.place > newest {
                return Err(Malformed::Order);
            }
            before = Some(part.place);
        }
        cursor.end()?;
        Ok(Stretch { slot, number, newest, count, parts })
    }

    /// Its messages, in order.
    pub fn parts(&self) -> impl Iterator<Item = Feed<'a>> {
        // All were read before: none fails.
        let mut cursor = Cursor::new(self.parts);
        (0..self.count).map_while(move |_| {
            let part = cursor.sized("a part").ok()?;
            Received::read_feed(part).ok()
        })
    }

    /// Begins a stretch in `out`, of which `count` parts are to be added.
    pub(crate) fn begin(out: &mut Vec<u8>, question: &Question, newest: Place, count: u16) {
        head(out, STRETCH, question.slot);
        out.put_u32_le(question.number);
        newest.append_to(out);
        out.put_u16_le(count);
    }

    /// Adds a part, a whole message of the feed.
    pub(crate) fn add(out: &mut Vec<u8>, part: &[u8]) {
        out.put_u32_le(part.len().try_into().expect("a message is bounded"));
        out.extend_from_slice(part);
    }
}

impl Question {
    /// Adds it to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        head(out, QUESTION, self.slot);
        out.put_u64_le(self.boot.0);
        out.put_u32_le(self.number);
        self.from.append_to(out);
    }
}

impl Anew {
    /// Adds it to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        head(out, ANEW, self.slot);
        out.put_u32_le(self.number);
        out.put_u64_le(self.epoch);
    }
}

impl Place {
    /// Adds it to `out`.
    fn append_to(self, out: &mut Vec<u8>) {
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.n);
    }
}

/// What each message begins with: its kind and its slot.
fn read_head(bytes: &[u8]) -> Result<(u8, Slot, Cursor<'_>), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.u8("the version")?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let kind = cursor.u8("the kind")?;
    Ok((kind, Slot(cursor.u8("the slot")?), cursor))
}

fn head(out: &mut Vec<u8>, kind: u8, slot: Slot) {
    out.extend_from_slice(&[VERSION, kind, slot.0]);
}

/// An entry does not fit into what is left of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message is full")]
pub struct Full;

/// Writes one message of the feed.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    count: u16,
}

impl Writer {
    /// Begins the message that stands there.
    pub fn new(slot: Slot, place: Place) -> Writer {
        let mut out = Vec::new();
        head(&mut out, FEED, slot);
        out.put_u16_le(0);
        place.append_to(&mut out);
        debug_assert_eq!(out.len(), HEAD_BYTES);
        Writer { out, count: 0 }
    }

    /// Adds an entry; nothing of it, if it does not fit.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), Full> {
        let before = self.out.len();
        let count = self.count.checked_add(1).ok_or(Full)?;
        entry.append_to(&mut self.out);
        if self.out.len() > FEED_BYTES_MAX {
            self.out.truncate(before);
            return Err(Full);
        }
        self.count = count;
        Ok(())
    }

    /// Whether it has no entry yet: then there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The whole message.
    pub fn end(mut self) -> Vec<u8> {
        assert!(self.count > 0, "a message says something");
        self.out[COUNT_AT..COUNT_AT + 2].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}
