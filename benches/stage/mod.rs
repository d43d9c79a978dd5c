//! The heart with members whose sockets only count: what benches of it stand on.

use std::hint::black_box;

use bytes::BytesMut;
use cpi_hub::limits::{Limits, Rate};
use cpi_hub::shard::event::{
    Fetch, Grant, Guise, Input, Join, MemberKey, PIECES, Renewal, Reply, Sent, Sockets, Ticket,
};
use cpi_hub::shard::turn::{Broken, Host, Journal};
use cpi_hub::shard::{Accept, Shard, ShardSetup};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::server_message::Resumed;
use cpi_hub::wire::time::{Micros, MonoMs, Now};
use cpi_hub::wire::{Dialect, Encoding, Id, SpaceId, SpaceKey, UserId};

const SPACE: SpaceKey = SpaceKey::Chat(SpaceId(1));

/// Sockets that take everything.
#[derive(Default)]
pub struct Counting {
    pub sends: u64,
    pub bytes: u64,
}

impl Sockets for Counting {
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent {
        self.sends += 1;
        self.bytes += black_box(bytes).len() as u64;
        black_box(member);
        Sent::Bytes(bytes.len())
    }

    fn sendv(&mut self, member: MemberKey, pieces: [&[u8]; PIECES]) -> Sent {
        let bytes = black_box(pieces).iter().map(|piece| piece.len()).sum();
        self.sends += 1;
        self.bytes += bytes as u64;
        black_box(member);
        Sent::Bytes(bytes)
    }

    fn arm(&mut self, _member: MemberKey) {}

    fn finish(&mut self, _member: MemberKey) {}
}

/// A journal that only counts.
#[derive(Default)]
struct Records {
    end: u64,
}

impl Journal for Records {
    fn append(&mut self, records: &[u8], _highest: Id) -> Result<u64, Broken> {
        self.end += black_box(records).len() as u64;
        Ok(self.end)
    }

    fn room(&self) -> u64 {
        1 << 40
    }
}

/// What turns are carried out on.
#[derive(Default)]
pub struct Around {
    pub sockets: Counting,
    journal: Records,
}

impl Host for Around {
    fn journal(&mut self) -> &mut impl Journal {
        &mut self.journal
    }

    fn sockets(&mut self) -> &mut impl Sockets {
        &mut self.sockets
    }

    fn reply(&mut self, _ticket: Ticket, _reply: Reply) {}

    fn offended(&mut self, _member: MemberKey, _close: Close) {}

    fn ended(&mut self, _member: MemberKey, _close: Close) {}

    fn fetch(&mut self, _fetch: &Fetch) -> bool {
        true
    }

    fn renew(&mut self, _renewal: Renewal) -> bool {
        false
    }

    fn resumed(&mut self, _member: MemberKey, _resumed: &Resumed) {}

    fn readable(&mut self, _member: MemberKey) {}

    fn occupancy(&mut self, _space: SpaceKey, _members: usize) {}
}

/// A shard with one space.
pub struct Stage {
    pub shard: Shard,
    pub now: Now,
    pub around: Around,
    pub members: Vec<MemberKey>,
    /// What the next member says.
    pub json: Vec<u8>,
    scratch: Vec<u8>,
    committed: u64,
}

impl Stage {
    pub fn new(members: usize, announce_members_max: usize) -> Stage {
        let off = Rate::new(0, 0);
        let limits = Limits {
            message_rate: off,
            user_message_rate: off,
            compression: 6,
            announce_members_max,
            ..Limits::default()
        };
        let now = Now { mono: MonoMs(1_000), unix: Micros(1_767_225_600_000_000) };
        let (highest, published) = (Id::MIN, Vec::new());
        let accept = Accept::Journaled;
        let setup = ShardSetup { number: 0, limits, accept, seed: 1, highest, published, now };
        let mut stage = Stage {
            shard: Shard::new(setup),
            now,
            around: Around::default(),
            members: Vec::new(),
            json: chat(128),
            scratch: Vec::new(),
            committed: 0,
        };
        stage.shard.tick(now, &stage.around.journal);
        for user in 0..members {
            // All ids are of one length, and so all frames.
            let member = stage.join(1_000_000 + user as i32);
            stage.members.push(member);
            stage.sweep();
        }
        stage
    }

    pub fn join(&mut self, user: i32) -> MemberKey {
        self.join_as(user, Encoding::Frames)
    }

    pub fn join_as(&mut self, user: i32, encoding: Encoding) -> MemberKey {
        let join = Join {
            opening: BytesMut::new(),
            space: SPACE,
            user: UserId(user),
            username: "Ana Paz".into(),
            dialect: Dialect::V1,
            encoding,
            guise: Guise::Member,
            after: None,
            address: None,
            grant: Grant::ALL,
        };
        self.shard.join(self.now, join)
    }

    pub fn say(&mut self, from: MemberKey) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.json);
        self.shard.input(self.now, Input::Message(from, &mut self.scratch));
    }

    /// Turns, until everyone is sent what is owed. The store has what the turns before had.
    pub fn sweep(&mut self) {
        let end = self.around.journal.end;
        if end > self.committed {
            self.committed = end;
            self.shard.input(self.now, Input::Committed(end));
        }
        while self.shard.turn(self.now, &mut self.around) {}
        self.now.unix.0 += 50;
    }

    /// Chats of the members one after the other, in this number, then one sweep.
    pub fn turn(&mut self, frames: usize) {
        for frame in 0..frames {
            let from = self.members[frame % self.members.len()];
            self.say(from);
        }
        self.sweep();
    }
}

/// A chat with this many bytes of content.
pub fn chat(bytes: usize) -> Vec<u8> {
    let content: String = "hola ".chars().cycle().take(bytes).collect();
    format!(r#"{{"type":"chat","data":{{"content":"{content}"}}}}"#).into_bytes()
}
