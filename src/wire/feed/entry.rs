//! An entry of the feed: something that a space says, or that is known of its members.
//!
//! `len u32`, then that many bytes: `kind u8`, what is fixed of it, and at its end the frame, as
//! the space's log holds it. A chat: `space i32 | id u128 | flags u8`, its nonce
//! (`key u128 | content u64`) and its origin (`boot u64 | number u64`) where the flags have them.
//! Joins and leaves: the space (`kind u8 | number i32`), the connection
//! (`boot u64 | shard u16 | slot u32 | generation u32`), `user i32`, of a join the name
//! (`len u16`). An empty frame: the space is too big for it to be announced.

use bytes::BufMut;

use super::cursor::Cursor;
use super::{Boot, Malformed, Place};
use crate::wire::nonce::{Nonce, NonceKey};
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

const BEGIN: u8 = 0;
const CHAT: u8 = 1;
const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const MEMBERS: u8 = 4;
const KICK: u8 = 5;
const STATUS: u8 = 6;
const PUSH: u8 = 7;

const WITH_NONCE: u8 = 1;
const WITH_ORIGIN: u8 = 2;

/// An entry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Entry<'a> {
    /// An epoch begins: the first entry of its first message.
    Begin(Begin),
    /// Something was said, and is stored.
    Chat(Chat<'a>),
    /// Somebody has come.
    Join(Join<'a>),
    /// Somebody has gone.
    Leave(Leave<'a>),
    /// How many are in a space that is too big for joins to be announced.
    Members {
        /// The space.
        space: SpaceId,
        /// Its members.
        count: u32,
    },
    /// A user's members in a space are to be closed.
    Kick {
        /// The space.
        space: SpaceId,
        /// The user.
        user: UserId,
    },
    /// A user is online now, or offline.
    Status {
        /// The user.
        user: UserId,
        /// Whether online.
        is_online: bool,
        /// What the lobby is told.
        frame: &'a [u8],
    },
    /// A user is pushed something.
    Push {
        /// The user.
        user: UserId,
        /// What the user's inbox is told.
        frame: &'a [u8],
    },
}

/// What an epoch begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// What its owner had of the feed when it took over; `None`: nothing.
    pub base: Option<Place>,
    /// The highest id that was stored before.
    pub highest: Id,
}

/// Something that was said.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Chat<'a> {
    /// Where.
    pub space: SpaceId,
    /// Its id, which is its position.
    pub id: Id,
    /// What it was said once under.
    pub nonce: Option<Nonce>,
    /// Who asked for it to be said, where that was another node than the owner.
    pub origin: Option<Origin>,
    /// The frame.
    pub frame: &'a [u8],
}

/// What a node asked an owner to put in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// The node.
    pub boot: Boot,
    /// Counts what that node asks of a slot.
    pub number: u64,
}

/// A member's connection, among those of all nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Connection {
    /// The node that it is connected to.
    pub boot: Boot,
    /// The shard there.
    pub shard: u16,
    /// The slot there.
    pub slot: u32,
    /// Which of the slot's tenants it is.
    pub generation: u32,
}

/// Somebody has come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Join<'a> {
    /// Where.
    pub space: SpaceKey,
    /// The connection that has come.
    pub connection: Connection,
    /// Who.
    pub user: UserId,
    /// The name shown.
    pub name: &'a str,
    /// What the space is told; empty: nothing.
    pub frame: &'a [u8],
}

/// Somebody has gone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Leave<'a> {
    /// From where.
    pub space: SpaceKey,
    /// The connection that has gone.
    pub connection: Connection,
    /// Who.
    pub user: UserId,
    /// What the space is told; empty: nothing.
    pub frame: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads the next entry.
    pub(super) fn read(bytes: &mut Cursor<'a>) -> Result<Entry<'a>, Malformed> {
        let mut body = Cursor::new(bytes.sized("an entry")?);
        let kind = body.u8("an entry's kind")?;
        let entry = match kind {
            BEGIN => {
                let has_base = body.flag("a base")?;
                let base = if has_base { Some(body.place("a base")?) } else { None };
                let highest = Id(body.u128("the highest id")?);
                body.end()?;
                Entry::Begin(Begin { base, highest })
            }
            CHAT => Entry::Chat(Chat::read(body)?),
            JOIN => {
                let (space, connection, user) = who(&mut body)?;
                let length = body.u16("a name")?;
                let name = body.bytes(length.into(), "a name")?;
                let name = std::str::from_utf8(name).map_err(|_| Malformed::Name)?;
                let frame = frame_or_none(body)?;
                Entry::Join(Join { space, connection, user, name, frame })
            }
            LEAVE => {
                let (space, connection, user) = who(&mut body)?;
                let frame = frame_or_none(body)?;
                Entry::Leave(Leave { space, connection, user, frame })
            }
            MEMBERS => {
                let space = SpaceId(body.i32("a space")?);
                let count = body.u32("how many members")?;
                body.end()?;
                Entry::Members { space, count }
            }
            KICK => {
                let (space, user) = (SpaceId(body.i32("a space")?), UserId(body.i32("a user")?));
                body.end()?;
                Entry::Kick { space, user }
            }
            STATUS => {
                let user = UserId(body.i32("a user")?);
                let is_online = body.flag("a status")?;
                Entry::Status { user, is_online, frame: frame(body)? }
            }
            PUSH => Entry::Push { user: UserId(body.i32("a user")?), frame: frame(body)? },
            _ => return Err(Malformed::Kind(kind, "an entry")),
        };
        Ok(entry)
    }

    /// Adds it to `out`. Its frame is one text frame of ours; its name below 64 KiB.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let before = out.len();
        out.put_u32_le(0);
        match *self {
            Entry::Begin(Begin { base, highest }) => {
                out.extend_from_slice(&[BEGIN, base.is_some().into()]);
                if let Some(base) = base {
                    base.append_to(out);
                }
                out.put_u128_le(highest.0);
            }
            Entry::Chat(chat) => chat.append_to(out),
            Entry::Join(Join { space, connection, user, name, frame }) => {
                put_who(out, JOIN, (space, connection, user));
                out.put_u16_le(name.len().try_into().expect("the door bounds names"));
                out.extend_from_slice(name.as_bytes());
                put_frame(out, frame);
            }
            Entry::Leave(Leave { space, connection, user, frame }) => {
                put_who(out, LEAVE, (space, connection, user));
                put_frame(out, frame);
            }
            Entry::Members { space, count } => {
                out.put_u8(MEMBERS);
                out.put_i32_le(space.0);
                out.put_u32_le(count);
            }
            Entry::Kick { space, user } => {
                out.put_u8(KICK);
                out.put_i32_le(space.0);
                out.put_i32_le(user.0);
            }
            Entry::Status { user, is_online, frame } => {
                out.put_u8(STATUS);
                out.put_i32_le(user.0);
                out.put_u8(is_online.into());
                put_frame(out, frame);
            }
            Entry::Push { user, frame } => {
                out.put_u8(PUSH);
                out.put_i32_le(user.0);
                put_frame(out, frame);
            }
        }
        let length = u32::try_from(out.len() - before - 4).expect("a message is bounded");
        out[before..before + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Whether what it says is in the store: who has missed it may read it there. Of an epoch's
    /// begin there is nothing to be missed.
    pub fn is_stored(&self) -> bool {
        matches!(self, Entry::Chat(_) | Entry::Begin(_))
    }
}

impl<'a> Chat<'a> {
    fn read(mut body: Cursor<'a>) -> Result<Chat<'a>, Malformed> {
        let space = SpaceId(body.i32("a space")?);
        let id = Id(body.u128("an id")?);
        let flags = body.u8("a chat's flags")?;
        if flags & !(WITH_NONCE | WITH_ORIGIN) != 0 {
            return Err(Malformed::Flag(flags, "a chat"));
        }
        let nonce = match flags & WITH_NONCE {
            0 => None,
            _ => {
                let key = NonceKey(body.u128("a nonce")?);
                Some(Nonce { key, content: body.u64("a nonce")? })
            }
        };
        let origin = match flags & WITH_ORIGIN {
            0 => None,
            _ => {
                let boot = Boot(body.u64("an origin")?);
                Some(Origin { boot, number: body.u64("an origin")? })
            }
        };
        Ok(Chat { space, id, nonce, origin, frame: frame(body)? })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        let Chat { space, id, nonce, origin, frame } = *self;
        out.put_u8(CHAT);
        out.put_i32_le(space.0);
        out.put_u128_le(id.0);
        let with_nonce = if nonce.is_some() { WITH_NONCE } else { 0 };
        let with_origin = if origin.is_some() { WITH_ORIGIN } else { 0 };
        out.put_u8(with_nonce | with_origin);
        if let Some(Nonce { key, content }) = nonce {
            out.put_u128_le(key.0);
            out.put_u64_le(content);
        }
        if let Some(Origin { boot, number }) = origin {
            out.put_u64_le(boot.0);
            out.put_u64_le(number);
        }
        put_frame(out, frame);
    }
}

/// Who has come or gone, and where.
fn who(body: &mut Cursor<'_>) -> Result<(SpaceKey, Connection, UserId), Malformed> {
    let (kind, number) = (body.u8("a space")?, body.i32("a space")?);
    let space = match (kind, number) {
        (0, space) => SpaceKey::Chat(SpaceId(space)),
        (1, 0) => SpaceKey::Lobby,
        (2, user) => SpaceKey::Inbox(UserId(user)),
        _ => return Err(Malformed::Space),
    };
    let connection = Connection {
        boot: Boot(body.u64("a connection")?),
        shard: body.u16("a connection")?,
        slot: body.u32("a connection")?,
        generation: body.u32("a connection")?,
    };
    Ok((space, connection, UserId(body.i32("a user")?)))
}

fn put_who(out: &mut Vec<u8>, entry: u8, who: (SpaceKey, Connection, UserId)) {
    let (space, Connection { boot, shard, slot, generation }, user) = who;
    let (kind, number) = match space {
        SpaceKey::Chat(space) => (0, space.0),
        SpaceKey::Lobby => (1, 0),
        SpaceKey::Inbox(user) => (2, user.0),
        SpaceKey::Echo => unreachable!("who is sent back its own is told of to nobody"),
    };
    out.extend_from_slice(&[entry, kind]);
    out.put_i32_le(number);
    out.put_u64_le(boot.0);
    out.put_u16_le(shard);
    out.put_u32_le(slot);
    out.put_u32_le(generation);
    out.put_i32_le(user.0);
}

/// All that is left is one text frame of ours: a log finds its frames by their lengths.
fn frame(body: Cursor<'_>) -> Result<&[u8], Malformed> {
    let bytes = body.rest();
    if is_frame(bytes) { Ok(bytes) } else { Err(Malformed::Frame) }
}

fn frame_or_none(body: Cursor<'_>) -> Result<&[u8], Malformed> {
    if body.rest().is_empty() { Ok(&[]) } else { frame(body) }
}

fn put_frame(out: &mut Vec<u8>, frame: &[u8]) {
    debug_assert!(frame.is_empty() || is_frame(frame), "a frame as a log holds it");
    out.extend_from_slice(frame);
}

/// Whether bytes are one whole unmasked text frame, its length in the shortest form.
fn is_frame(bytes: &[u8]) -> bool {
    /// The opcode of a text frame with FIN set (RFC 6455 5.2).
    const TEXT: u8 = 0x81;
    match bytes {
        [TEXT, length @ 0..=125, payload @ ..] => payload.len() == usize::from(*length),
        [TEXT, 126, high, low, payload @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            length >= 126 && payload.len() == length
        }
        [TEXT, 127, rest @ ..] => rest.split_first_chunk().is_some_and(|(length, payload)| {
            let length = u64::from_be_bytes(*length);
            length > u64::from(u16::MAX) && payload.len() as u64 == length
        }),
        _ => false,
    }
}
