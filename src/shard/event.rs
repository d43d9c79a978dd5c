//! What goes into a shard and what comes out: [`Input`]s with the time beside them, and
//! [`Effects`], which a turn carries out.

use std::collections::BTreeSet;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::wire::close::Close;
use crate::wire::nonce::NonceKey;
use crate::wire::reject::Reject;
use crate::wire::server_message::Resumed;
use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Dialect, Encoding, Id, SpaceId, SpaceKey, UserId};

/// Names a member: its slot in the arena, and which of the slot's tenants it is.
pub type MemberKey = super::arena::Key;

/// Names a request of the edge's, which gets [`Reply`]s under this number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What a peer's address counts as for rates: a hash of the IPv4 address or the IPv6 /64.
/// `None` is exempt (loopback).
pub type AddressKey = Option<u64>;

/// What a connection may do: the edge has read it from a token or a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Whether it may say something in its space.
    pub may_say: bool,
    /// When its token ends; `None`: it needs none.
    pub until: Option<Micros>,
    /// The token, as far as it can be told from others.
    pub mark: TokenMark,
}

/// What tells a token from others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TokenMark {
    /// A digest of its id; 0: it has none.
    pub id: u64,
    /// When it was made, in seconds since 1970; before all others if it does not say so.
    pub issued: i64,
    /// A digest of the key that has signed it, or of the key that was shown in its place; 0: there
    /// was none.
    pub key: u64,
}

impl Revocation {
    /// Whether it is about a token, or a key, by which a user came.
    pub fn is_of(self, user: UserId, mark: TokenMark) -> bool {
        match self {
            Revocation::User(whose, by) => whose == user && mark.issued <= by,
            Revocation::Token(id) => mark.id == id,
            Revocation::Key(key) => mark.key == key,
        }
    }
}

/// Tokens that are called back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revocation {
    /// Those of a user that were made by then, in seconds since 1970.
    User(UserId, i64),
    /// The one whose id has this digest.
    Token(u64),
    /// Those of the key that has this digest.
    Key(u64),
}

impl Grant {
    /// What everybody may do where nobody is asked who they are.
    pub const ALL: Grant =
        Grant { may_say: true, until: None, mark: TokenMark { id: 0, issued: 0, key: 0 } };
}

/// A token that a member shows in place of the one that it came by.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The member.
    pub member: MemberKey,
    /// The user as whom it came: the token has to be of the same.
    pub user: UserId,
    /// The space.
    pub space: SpaceKey,
    /// Whence the member came: what it shows counts there.
    pub address: AddressKey,
    /// The token.
    pub token: Box<str>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Renewal").field("member", &self.member).finish_non_exhaustive()
    }
}

/// As what a member is in its space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guise {
    /// As its user: the others are told, and it is counted among them.
    Member,
    /// It only watches: nobody is told of it, and it is not counted. It is its user's all the same.
    Watcher,
    /// It only watches, and is no user.
    Nobody,
}

/// A connection that wants to be a member.
#[derive(Clone, Debug)]
pub struct Join {
    /// The answer to the handshake: the first bytes that the connection is sent.
    pub opening: BytesMut,
    /// The space.
    pub space: SpaceKey,
    /// Who; from the query or the token, checked by the edge. 0 for nobody.
    pub user: UserId,
    /// The name; at most `username_chars_max`, without controls.
    pub username: Box<str>,
    /// Which messages it understands.
    pub dialect: Dialect,
    /// How it is sent them.
    pub encoding: Encoding,
    /// As what it is there.
    pub guise: Guise,
    /// Resume: what comes after this id.
    pub after: Option<Id>,
    /// For rates.
    pub address: AddressKey,
    /// What it may do.
    pub grant: Grant,
}

/// A chat that came by HTTP; the edge has checked its shape, the shard checks its text.
#[derive(Clone, Debug)]
pub struct Post {
    /// The space.
    pub space: SpaceId,
    /// Who.
    pub user: UserId,
    /// The name to show and keep.
    pub username: Box<str>,
    /// The text.
    pub content: Box<str>,
    /// The sender's picture, or "".
    pub image: Box<str>,
    /// `Idempotency-Key`.
    pub nonce: Option<Box<str>>,
    /// For rates.
    pub address: AddressKey,
}

/// A message that is sent back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo<'a> {
    /// It came as a binary message.
    pub is_binary: bool,
    /// What it says.
    pub payload: &'a [u8],
}

/// One thing that happens to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A whole message of a member's, checked to be UTF-8.
    Message(MemberKey, &'a mut [u8]),
    /// A whole message of a member in a space where nothing is said: how many bytes it had.
    Unheard(MemberKey, usize),
    /// A whole message of a member whose messages are sent back.
    Echo(MemberKey, Echo<'a>),
    /// A protocol ping with its payload.
    Ping(MemberKey, &'a [u8]),
    /// A protocol pong.
    Pong(MemberKey),
    /// The member's socket ended, its peer closed, or broke the protocol.
    Close(MemberKey, Close),
    /// A socket that was full takes bytes again.
    Writable(MemberKey),
    /// A chat by HTTP: answered by `Reply::Posted` or `Reply::Rejected`, then `Reply::Durable`.
    Post(Ticket, Post),
    /// Closes a user's members of a space: answered by `Reply::Count`.
    Kick(Ticket, SpaceId, UserId),
    /// Closes the members whose tokens are called back: answered by `Reply::Count`.
    Revoke(Ticket, Revocation),
    /// Pushes a notification: kind, JSON data, timestamp. Answered by `Reply::Count`.
    Notify(Ticket, UserId, Box<Notification>),
    /// Who is in a space: answered by `Reply::Presence`.
    Presence(Ticket, SpaceId, usize),
    /// How a space's members stand, from this user on, up to this number of them: answered by
    /// `Reply::Seen`.
    Look(Ticket, SpaceId, UserId, usize),
    /// In which spaces most is said, up to this number of them: answered by `Reply::Hottest`.
    Hottest(Ticket, usize),
    /// The store has committed this shard's journal up to this offset. Whatever the offset, the
    /// journals of earlier runs are stored as well.
    Committed(u64),
    /// The store has found something out; comes before the commit that covers it.
    Verdict(Verdict),
    /// A page for a member that catches up, by the number of its [`Fetch`]. `None`: the store
    /// could not be read.
    Fetched(MemberKey, u32, Option<Stretch>),
    /// What a member may do by the token that it showed; `None`: it was none, or of somebody else.
    Granted(MemberKey, Option<Grant>),
    /// A frame that was made elsewhere, for the log of a space: how a replica is said to.
    Fed(SpaceKey, Fed<'a>),
    /// Memory is short: of the members that take nothing, those that are owed most are closed,
    /// until this many bytes are freed.
    Relieve(u64),
    /// Shutdown: members are closed with 1012 over this many milliseconds.
    Drain(u64),
}

/// A frame that was made elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fed<'a> {
    /// The whole frame, as members are sent it.
    pub frame: &'a [u8],
    /// If it is a chat: its id, above all that the space has seen, and the store has it.
    pub chat: Option<Id>,
}

/// What a member that catches up needs of the store: the chats of its space in `(after, up_to]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Who gets it.
    pub member: MemberKey,
    /// Which of its questions this is.
    pub number: u32,
    /// The space.
    pub space: SpaceId,
    /// Only ids above.
    pub after: Id,
    /// Only ids up to this one; the store has committed them all.
    pub up_to: Id,
    /// Only the newest of them, this number at most.
    pub newest_max: usize,
    /// Bytes of frames at most, but one frame in any case.
    pub bytes_max: usize,
    /// Until when the member waits for it.
    pub until: MonoMs,
}

/// The first page of what a [`Fetch`] asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Chat frames, ascending by id.
    pub frames: Bytes,
    /// How many.
    pub chats: usize,
    /// Behind which they begin: above the fetch's `after` where `newest_max` left some out.
    pub from: Id,
    /// The last one's id.
    pub last: Id,
    /// Whether more lie behind it.
    pub more: bool,
}

/// What the store has found out about what it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It will never hold this message.
    Refused {
        /// The message's.
        id: Id,
        /// What it was published under: said again, it is a new message.
        nonce: Option<NonceKey>,
        /// Why, as far as its sender is told.
        reject: Reject,
    },
    /// There is no such user.
    NoUser(UserId),
    /// There is no such space.
    NoSpace(SpaceId),
}

/// A push to one user's sockets.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The message's type: `notification` or `event`.
    pub kind: Box<str>,
    /// Compact JSON, checked by the edge.
    pub data: Box<str>,
    /// Form `T`; `None`: the instant of the push.
    pub timestamp: Option<Box<str>>,
}

/// One user of a space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresentUser {
    /// Who.
    pub user: UserId,
    /// The name of its newest connection.
    pub username: Box<str>,
    /// Its connections there.
    pub connections: u32,
}

/// Who is in a space.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Present {
    /// Connections.
    pub members: usize,
    /// Ascending by user id, up to the limit asked for.
    pub users: Vec<PresentUser>,
    /// Whether there are more users.
    pub truncated: bool,
}

/// A space in which much is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HotSpace {
    /// The space.
    pub space: SpaceId,
    /// Connections, without those that only watch.
    pub members: usize,
    /// All that are sent what is said.
    pub readers: usize,
    /// Chats that are said in a thousand seconds, at the pace of late.
    pub chats_in_1000_s: u64,
    /// Bytes of all that is said, joins and leaves too, in a thousand seconds.
    pub bytes_in_1000_s: u64,
}

impl HotSpace {
    /// What it costs to store and to send that.
    pub fn heat(&self) -> u64 {
        self.bytes_in_1000_s.saturating_mul(1 + self.readers as u64)
    }
}

/// How a member stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenMember {
    /// The member.
    pub key: MemberKey,
    /// Who it is.
    pub user: UserId,
    /// The name that it came with.
    pub username: Box<str>,
    /// Which messages it understands.
    pub dialect: Dialect,
    /// Whence it came; `None`: from where limits do not hold.
    pub address: AddressKey,
    /// Bytes of its space's log that it has not been sent.
    pub behind_bytes: u64,
    /// Bytes of frames meant for it alone that wait.
    pub private_bytes: usize,
    /// Its socket takes nothing.
    pub is_blocked: bool,
    /// How long nothing was heard of it, in milliseconds.
    pub silent_ms: u64,
}

/// How the members of a space stand.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// Members in all.
    pub members: usize,
    /// A stretch of them, by user.
    pub listed: Vec<SeenMember>,
    /// Whether there are more behind it.
    pub more: bool,
}

/// An answer to the edge, given out after the turn's records are in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A post was accepted under this id; `duplicate`: by an earlier one with its nonce.
    /// `Durable` follows in any case.
    Posted {
        /// The message's id.
        id: Id,
        /// The instant of acceptance.
        at: Micros,
        /// Whether no new message was made.
        duplicate: bool,
    },
    /// The store has committed the posted message, or refused it.
    Durable(Result<(), Reject>),
    /// Members closed, or sockets pushed to.
    Count(u32),
    /// Who is there.
    Presence(Present),
    /// How members stand.
    Seen(Seen),
    /// Where most is said.
    Hottest(Vec<HotSpace>),
    /// Refused; nothing was done.
    Rejected(Reject),
}

/// What inputs, and the sweep, ask of the thread that runs the shard: a turn carries it out.
#[derive(Default, Debug)]
pub struct Effects {
    /// Encoded records, to be appended to the journal in one write before the next sweep.
    pub records: Vec<u8>,
    /// For the edge; held back until `records` are in the journal.
    pub replies: Vec<(Ticket, Reply)>,
    /// Connections that are over: their sockets are to be shut and dropped.
    pub ended: Vec<(MemberKey, Close)>,
    /// Spaces whose number of members changed, with it.
    pub occupancy: Vec<(SpaceKey, usize)>,
    /// Members whose way back is settled, with what they are told at its end; in the order in which
    /// their joins were announced.
    pub resumed: Vec<(MemberKey, Resumed)>,
    /// Pages to be read from the store, each answered by an [`Input::Fetched`].
    pub fetches: Vec<Fetch>,
    /// Members whose sockets may be read again after a pause.
    pub readable: Vec<MemberKey>,
    /// Members that are closed for what they did.
    pub offended: Vec<(MemberKey, Close)>,
    /// Tokens to be judged, each answered by an [`Input::Granted`].
    pub renewals: Vec<Renewal>,
}

impl Effects {
    /// Posts of a turn that failed are refused instead, and hear of no commit. Returns which.
    pub(super) fn take_back_posts(&mut self) -> BTreeSet<Ticket> {
        let mut refused = BTreeSet::new();
        for (ticket, reply) in &mut self.replies {
            if matches!(reply, Reply::Posted { .. }) {
                *reply = Reply::Rejected(Reject::StoreUnavailable);
                refused.insert(*ticket);
            }
        }
        self.replies.retain(|(ticket, reply)| {
            !(matches!(reply, Reply::Durable(_)) && refused.contains(ticket))
        });
        refused
    }

    /// Whether there is nothing to be carried out.
    pub fn is_empty(&self) -> bool {
        let Effects { records, replies, ended, occupancy, resumed, fetches, .. } = self;
        let Effects { readable, offended, renewals, .. } = self;
        records.is_empty()
            && replies.is_empty()
            && ended.is_empty()
            && occupancy.is_empty()
            && resumed.is_empty()
            && fetches.is_empty()
            && readable.is_empty()
            && offended.is_empty()
            && renewals.is_empty()
    }
}

/// What became of one send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// So many bytes were taken, at least one.
    Bytes(usize),
    /// The socket is full.
    Blocked,
    /// The socket is broken; a read will show it too.
    Broken,
}

/// Pieces that one send is made of at most: frames for the member alone, two of the log, answers.
pub const PIECES: usize = 4;

/// The sockets of a shard's members, as the sweep sees them.
pub trait Sockets {
    /// Sends what the socket takes at once of `bytes`.
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent;
    /// Sends what the socket takes at once of pieces that follow each other; some are empty.
    fn sendv(&mut self, member: MemberKey, pieces: [&[u8]; PIECES]) -> Sent;
    /// Nothing more will be sent: the peer is to see the end once it has read what was.
    fn finish(&mut self, member: MemberKey);
    /// Asks for an [`Input::Writable`] when a full socket takes bytes again.
    fn arm(&mut self, member: MemberKey);
}
