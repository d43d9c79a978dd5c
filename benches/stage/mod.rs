//! The heart with members whose sockets only count: what benches of it stand on.

use std::hint::black_box;

use cpi_hub::limits::{Limits, Rate};
use cpi_hub::shard::event::{Effects, Input, Join, MemberKey, Sent, Sockets};
use cpi_hub::shard::{Shard, ShardSetup};
use cpi_hub::wire::time::{Micros, MonoMs, Now};
use cpi_hub::wire::{Dialect, Id, SpaceId, SpaceKey, UserId};

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

    fn sendv(&mut self, member: MemberKey, first: &[u8], second: &[u8]) -> Sent {
        self.send(member, first);
        self.sends -= 1;
        self.bytes += black_box(second).len() as u64;
        Sent::Bytes(first.len() + second.len())
    }

    fn arm(&mut self, _member: MemberKey) {}

    fn finish(&mut self, _member: MemberKey) {}
}

/// A shard with one space.
pub struct Stage {
    pub shard: Shard,
    pub fx: Effects,
    pub now: Now,
    pub sockets: Counting,
    pub members: Vec<MemberKey>,
    /// What the next member says.
    pub json: Vec<u8>,
    scratch: Vec<u8>,
    journal: u64,
}

impl Stage {
    pub fn new(members: usize, announce_members_max: usize) -> Stage {
        let off = Rate::new(0, 0);
        let limits = Limits {
            message_rate: off,
            user_message_rate: off,
            announce_members_max,
            ..Limits::default()
        };
        let now = Now { mono: MonoMs(1_000), unix: Micros(1_767_225_600_000_000) };
        let (highest, published) = (Id::MIN, Vec::new());
        let setup = ShardSetup { number: 0, limits, seed: 1, highest, published, now };
        let mut stage = Stage {
            shard: Shard::new(setup),
            fx: Effects::default(),
            now,
            sockets: Counting::default(),
            members: Vec::new(),
            json: chat(128),
            scratch: Vec::new(),
            journal: 0,
        };
        stage.shard.input(now, Input::JournalRoom(1 << 40), &mut stage.fx);
        for user in 0..members {
            // All ids are of one length, and so all frames.
            let member = stage.join(1_000_000 + user as i32);
            stage.members.push(member);
            stage.sweep();
        }
        stage
    }

    pub fn join(&mut self, user: i32) -> MemberKey {
        let join = Join {
            space: SPACE,
            user: UserId(user),
            username: "Ana Paz".into(),
            dialect: Dialect::V1,
            after: None,
            address: None,
        };
        self.shard.input(self.now, Input::Join(join), &mut self.fx);
        self.fx.joined.take().expect("a join makes a member")
    }

    pub fn say(&mut self, from: MemberKey) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.json);
        self.shard.input(self.now, Input::Message(from, &mut self.scratch), &mut self.fx);
    }

    /// The turn ends: the journal has its records, everyone is sent what is owed.
    pub fn sweep(&mut self) {
        if !self.fx.records.is_empty() {
            self.journal += self.fx.records.len() as u64;
            self.fx.records.clear();
            self.shard.input(self.now, Input::Appended(self.journal), &mut self.fx);
            self.shard.input(self.now, Input::Committed(self.journal), &mut self.fx);
        }
        while self.shard.sweep(self.now, &mut self.sockets, &mut self.fx) {}
        self.fx.occupancy.clear();
        self.fx.ended.clear();
        self.now.unix.0 += 50;
    }

    /// So many chats by turns, then one sweep.
    pub fn turn(&mut self, frames: usize) {
        for frame in 0..frames {
            let from = self.members[frame % self.members.len()];
            self.say(from);
        }
        self.sweep();
    }
}

/// A chat with so many bytes of content.
pub fn chat(bytes: usize) -> Vec<u8> {
    let content: String = "hola ".chars().cycle().take(bytes).collect();
    format!(r#"{{"type":"chat","data":{{"content":"{content}"}}}}"#).into_bytes()
}
